//! Events to user space. A full ring is counted and changes nothing else.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_query};
use aya_ebpf::maps::RingBuf;
use sensor_ebpf::abi::{ABI_VERSION, FlowEndEvent, FlowKey, VerdictEvent};

use crate::maps::{FLOW_ENDS, VERDICTS};

/// The ring had no room.
pub(crate) struct RingFull;

/// `BPF_RB_NO_WAKEUP`: the reader comes by itself every few milliseconds.
const NO_WAKEUP: u64 = 1;

/// CPUs that find room for their event where there is room for one, at worst. Were there more, what finds none is put back.
const AT_ONCE: u64 = 8;

/// `BPF_RINGBUF_HDR_SZ`.
const SAMPLE_HEADER: u64 = 8;

/// Sends an event that lies in map memory.
#[inline(always)]
fn send<T>(ring: &'static RingBuf, event: &T, flags: u64) -> Result<(), RingFull> {
    let ring = core::ptr::from_ref(ring).cast_mut().cast::<c_void>();
    let data = core::ptr::from_ref(event).cast_mut().cast::<c_void>();
    // SAFETY: `data` is `size_of::<T>()` bytes of initialised map memory.
    match unsafe { bpf_ringbuf_output(ring, data, size_of::<T>() as u64, flags) } {
        0 => Ok(()),
        _ => Err(RingFull),
    }
}

/// Tells a verdict, at once.
#[inline(always)]
pub(crate) fn verdict(event: &VerdictEvent) -> Result<(), RingFull> {
    send(&VERDICTS, event, 0)
}

/// Tells the end of a flow; `event` is scratch memory that has the flow and what ended.
#[inline(always)]
pub(crate) fn flow_end(
    event: &mut FlowEndEvent,
    key: &FlowKey,
    now_ns: u64,
) -> Result<(), RingFull> {
    event.abi = ABI_VERSION;
    event.reserved = [0; 3];
    event.time_ns = now_ns;
    event.key = *key;
    send(&FLOW_ENDS, event, NO_WAKEUP)
}

/// Whether the ring of flow ends has room for another one, and for those of some other CPUs that ask at this moment.
///
/// To reserve the room would be surer, but a reservation is a reference that the verifier of Linux 6.1 follows through all
/// that comes after: it took three times the instructions.
#[inline(always)]
pub(crate) fn has_room() -> bool {
    const ROOM: u64 = AT_ONCE * (size_of::<FlowEndEvent>() as u64 + SAMPLE_HEADER);
    let ring = (&raw const FLOW_ENDS).cast_mut().cast::<c_void>();
    // SAFETY: the ring is a map of this object.
    let (used, size) = unsafe {
        (
            bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)),
            bpf_ringbuf_query(ring, u64::from(BPF_RB_RING_SIZE)),
        )
    };
    used + ROOM <= size
}
