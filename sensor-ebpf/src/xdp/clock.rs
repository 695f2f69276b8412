//! The sensor's clock: `CLOCK_MONOTONIC` of the last tick, or the capture's time in a replay.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

use crate::maps;

/// 1 in a replay; set when the object is loaded.
#[unsafe(no_mangle)]
static REPLAY: u8 = 0;

/// Now, in ns. The coarse clock costs 2 ns where the exact one costs 24, more than all the parsing.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: a read of an initialised static; volatile, because the loader rewrites it.
    if unsafe { core::ptr::read_volatile(&raw const REPLAY) } == 0 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        maps::control().map_or(0, |control| control.replay_clock_ns)
    }
}
