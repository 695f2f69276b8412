//! Programs for tests and benches, never part of the product: a baseline, mutators that make many
//! flows of one frame, a meter that sums what the wire sees with code of its own, and look-ups of names
//! by several means ([`names`]).
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(not(target_arch = "bpf"), allow(dead_code, reason = "only the kernel runs these"))]
#![expect(clippy::needless_pass_by_value, reason = "the shape the program macros want")]
#![expect(clippy::cast_possible_truncation, reason = "halves of words, cut on purpose")]

mod names;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// `TC_ACT_UNSPEC`: whoever comes next decides.
const CONTINUE: i32 = -1;

/// What the mutator goes on with: the program under test, or nothing for its own cost.
#[map]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same of the one at TC egress.
#[map]
static NEXT_BACK: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The mutators' counter.
#[map]
static TURN: Array<u32> = Array::with_max_entries(1, 0);

/// Packets and bytes the meter summed: row 0 ingress, row 1 egress.
#[map]
static METER: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(2, 0);

/// The cheapest program there is.
#[xdp(frags)]
pub(crate) fn pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Gives each run another source address of 10.0.0.0/8 in an untagged IPv4 frame of TCP or UDP, then goes on. The
/// port takes off what the address adds, so that the checksum stays as right as it was: the sensor
/// checks it only where the SYN's was right.
#[xdp(frags)]
pub(crate) fn mutate(ctx: XdpContext) -> u32 {
    // SAFETY: the frame is this program's.
    if unsafe { turn(ctx.data(), ctx.data_end(), Side { address: 26, port: 34 }) } {
        // SAFETY: same context; without a program in the slot control comes back.
        unsafe { NEXT.tail_call(&ctx, 0) };
    }
    XDP_PASS
}

/// The same at TC egress with the destination: the same turns give the answers to the same flows.
#[classifier]
pub(crate) fn mutate_back(ctx: TcContext) -> i32 {
    // SAFETY: the frame is this program's.
    if unsafe { turn(ctx.data(), ctx.data_end(), Side { address: 30, port: 36 }) } {
        // SAFETY: same context; without a program in the slot control comes back.
        unsafe { NEXT_BACK.tail_call(&ctx, 0) };
    }
    CONTINUE
}

/// Where an end of a flow stands in a frame.
struct Side {
    address: usize,
    port: usize,
}

/// Takes the next turn; false if the frame is too short for one.
///
/// # Safety
/// Both bounds are those of a frame that may be written.
#[inline(always)]
unsafe fn turn(data: usize, data_end: usize, side: Side) -> bool {
    // The ports end here.
    if data + 38 > data_end {
        return false;
    }
    let Some(turn) = TURN.get_ptr_mut(0) else { return false };
    // SAFETY: a live map value; only one run at a time uses it.
    let turn = unsafe {
        *turn = (*turn).wrapping_add(1);
        *turn
    };
    // SAFETY: the frame was checked to reach behind the ports.
    unsafe {
        let high = (data + side.address) as *mut u16;
        let low = (data + side.address + 2) as *mut u16;
        let port = (data + side.port) as *mut u16;
        let sum = u32::from(*high) + u32::from(*low) + u32::from(*port);
        *high = 0x0a | ((turn >> 16 & 0xff) << 8) as u16;
        *low = (turn & 0xffff) as u16;
        *port = fold(sum + u32::from(!*high) + u32::from(!*low));
    }
    true
}

/// One's complement sum of at most five words; never 0 where one of them is not.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Sums packets and bytes at TC ingress.
#[classifier]
pub(crate) fn meter_ingress(ctx: TcContext) -> i32 {
    meter(&ctx, 0)
}

/// Sums packets and bytes at TC egress.
#[classifier]
pub(crate) fn meter_egress(ctx: TcContext) -> i32 {
    meter(&ctx, 1)
}

#[inline(always)]
fn meter(ctx: &TcContext, row: u32) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the one this program was called with.
    let (segments, length) = unsafe { ((*skb).gso_segs, (*skb).wire_len) };
    if let Some(sums) = METER.get_ptr_mut(row) {
        // SAFETY: this CPU's own element.
        unsafe {
            (*sums)[0] += u64::from(segments.max(1));
            (*sums)[1] += u64::from(length);
        }
    }
    CONTINUE
}

#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
