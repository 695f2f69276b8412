//! Events to user space. A full ring is counted and changes nothing else.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::maps::RingBuf;
use sensor_ebpf::abi::{ABI_VERSION, Flow, FlowEnd, FlowEndEvent, FlowKey, VerdictEvent, Volume};

use crate::maps::{FLOW_ENDS, VERDICTS};

/// The ring had no room.
pub(crate) struct RingFull;

/// `BPF_RB_NO_WAKEUP`: the reader comes by itself every few milliseconds.
const NO_WAKEUP: u64 = 1;

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

/// Tells that a connection is closed, whose flow stays; `event` is scratch memory.
#[inline(always)]
pub(crate) fn closed(
    event: &mut FlowEndEvent,
    key: &FlowKey,
    flow: &Flow,
    now_ns: u64,
) -> Result<(), RingFull> {
    fill(event, FlowEnd::Closed, key, flow, now_ns);
    send(&FLOW_ENDS, event, NO_WAKEUP)
}

/// Tells a flow that another one takes the place of. `take` takes from it what is told, once there is room for that.
#[inline(always)]
pub(crate) fn replaced(
    key: &FlowKey,
    flow: &mut Flow,
    now_ns: u64,
    take: impl FnOnce(&mut Flow) -> [Volume; 2],
) -> Result<(), RingFull> {
    let mut room = FLOW_ENDS.reserve::<FlowEndEvent>(0).ok_or(RingFull)?;
    let [to_peer, to_lan] = take(flow);
    // SAFETY: every byte of it is written before anybody reads one.
    let event = unsafe { &mut *room.as_mut_ptr() };
    fill(event, FlowEnd::Replaced, key, flow, now_ns);
    (event.flow.to_peer, event.flow.to_lan) = (to_peer, to_lan);
    room.submit(NO_WAKEUP);
    Ok(())
}

#[inline(always)]
fn fill(event: &mut FlowEndEvent, end: FlowEnd, key: &FlowKey, flow: &Flow, now_ns: u64) {
    event.abi = ABI_VERSION;
    event.end = end as u8;
    event.reserved = [0; 3];
    event.time_ns = now_ns;
    event.key = *key;
    event.flow = *flow;
}
