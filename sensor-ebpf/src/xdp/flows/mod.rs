//! Flows, behind the few operations the hooks need: find or make, add, end, replace. They lie in [`table`]; in
//! [`stock`] where that is to be compared with it.

mod stock;
mod table;

use sensor_ebpf::abi::{Accounting, Direction, Flow, FlowEnd, FlowKey, Happening, Verdict, Volume};
use sensor_ebpf::parse::{Packet, TCP};

use crate::account::Row;
use crate::events;
use crate::maps::{Examination, STAGING, Staging};

/// 1 where flows lie in the kernel's hash map; set when the object is loaded.
#[unsafe(no_mangle)]
static STOCK_TABLE: u8 = 0;

#[inline(always)]
fn is_stock() -> bool {
    // SAFETY: a read of an initialised static; volatile, because the loader rewrites it.
    unsafe { core::ptr::read_volatile(&raw const STOCK_TABLE) != 0 }
}

/// A packet's flow. The key stays where it was looked up from: a copy costs more than the parsing.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'key> {
    pub(crate) key: &'key FlowKey,
    pub(crate) flow: *mut Flow,
    /// Number of its entry, see [`at`].
    pub(crate) entry: u32,
    /// The sender is the flow's LAN side.
    pub(crate) from_lan: bool,
}

/// A flow that was looked for.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) flow: *mut Flow,
    /// Number of its entry, see [`at`].
    pub(crate) entry: u32,
    /// The key has the ends the other way round.
    pub(crate) is_reverse: bool,
}

/// [`Found::entry`] of no flow.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The flow between the two ends of `key`, whichever way round, if it lives.
#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<Found> {
    if is_stock() { stock::find(key) } else { table::find(key) }
}

/// The flow that this run, or the program before this one in it, has found in an entry: it stays there until all of
/// them have ended. `key` is the flow's own.
#[inline(always)]
pub(crate) fn at(entry: u32, key: &FlowKey) -> Option<*mut Flow> {
    if is_stock() { stock::at(key) } else { table::at(entry) }
}

/// The flow of the packet that is examined.
#[inline(always)]
pub(crate) fn of(examination: &Examination) -> Option<*mut Flow> {
    at(examination.entry, &examination.event.key)
}

/// This CPU's and hook's scratch memory.
#[inline(always)]
pub(crate) fn staging(hook: Direction) -> Option<&'static mut Staging> {
    // SAFETY: per-CPU memory with one element a hook; a hook does not nest in itself, and each use
    // is over before the next begins.
    STAGING.get_ptr_mut(hook as u32).map(|staging| unsafe { &mut *staging })
}

/// Makes a flow that was not found. Without one the packet is judged by its bytes, and counted as is said here.
#[inline(always)]
pub(crate) fn make(
    key: &FlowKey,
    packet: &Packet,
    from_lan: bool,
    ifindex: u32,
    hook: Direction,
    now_ns: u64,
) -> Result<Found, Accounting> {
    if !is_stock() {
        return table::make(key, || Flow::first(packet, from_lan, ifindex, now_ns));
    }
    let Some(staging) = staging(hook) else { return Err(Accounting::TableFull) };
    staging.flow = Flow::first(packet, from_lan, ifindex, now_ns);
    stock::make(key, &staging.flow)
}

/// Adds a packet, and says so when it closed the connection.
#[inline(always)]
pub(crate) fn add(
    sight: &Sight<'_>,
    packet: &Packet,
    volume: Volume,
    hook: Direction,
    row: Row,
    now_ns: u64,
) {
    // SAFETY: the pointer is a live map value; counters are added to atomically, the other fields
    // are single stores that may race with the other direction without harm.
    let flow = unsafe { &mut *sight.flow };
    let direction = if sight.from_lan { &mut flow.to_peer } else { &mut flow.to_lan };
    atomic_add(&mut direction.packets, volume.packets);
    atomic_add(&mut direction.bytes, volume.bytes);
    flow.last_ns = now_ns;
    if packet.protocol != TCP {
        return;
    }
    if sight.from_lan {
        flow.lan_tcp_flags |= packet.tcp_flags;
    } else {
        flow.peer_tcp_flags |= packet.tcp_flags;
    }
    if flow.is_closed() && flow.end_sent == 0 {
        flow.end_sent = 1;
        let told = staging(hook).is_some_and(|staging| {
            staging.end.end = FlowEnd::Closed as u8;
            staging.end.flow = *flow;
            events::flow_end(&mut staging.end, sight.key, now_ns).is_ok()
        });
        if !told {
            row.happened(Happening::FlowEndLost);
        }
    }
}

/// Starts a new flow in the place of an old one whose connection is over.
///
/// What the other direction adds meanwhile, on another CPU, is the new flow's. Without room in the ring the two share a
/// record: the old volumes stay.
#[inline(always)]
pub(crate) fn replace(sight: &Sight<'_>, new: Flow, hook: Direction, row: Row, now_ns: u64) {
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *sight.flow };
    crate::slots::free_of(flow, sight.key);
    let told = tell_replaced(sight.key, flow, hook, row, now_ns);
    let first_ns = if told { new.first_ns } else { flow.first_ns };
    put(flow, &new);
    flow.first_ns = first_ns;
}

/// Tells the end of a blocked datagram flow, and starts one in its place that goes on with what is kept of its hello.
#[inline(always)]
pub(crate) fn begin_again(flow: &mut Flow, key: &FlowKey, row: Row, now_ns: u64) {
    if tell_replaced(key, flow, Direction::Ingress, row, now_ns) {
        flow.first_ns = now_ns;
        flow.end_sent = 0;
    }
    flow.verdict = Verdict::Undecided as u8;
}

/// Writes all of a flow but its volumes, which others may be adding to.
#[inline(always)]
fn put(flow: &mut Flow, new: &Flow) {
    const BEHIND: usize = core::mem::offset_of!(Flow, first_ns);
    const WORDS: usize = (size_of::<Flow>() - BEHIND) / size_of::<u64>();
    const {
        let volumes = core::mem::offset_of!(Flow, to_lan) + size_of::<Volume>();
        assert!(BEHIND == volumes, "nothing but `last_ns` lies before or between the volumes");
        assert!(BEHIND + WORDS * size_of::<u64>() == size_of::<Flow>(), "whole words lie behind");
    }
    flow.last_ns = new.last_ns;
    let from = (&raw const new.first_ns).cast::<[u64; WORDS]>();
    let to = (&raw mut flow.first_ns).cast::<[u64; WORDS]>();
    // SAFETY: both are so many words of whole flows, and not of the same one.
    unsafe { *to = *from };
}

/// Keeps what the peer's segment says about the handshake. Once it has answered, the slot is free.
#[inline(always)]
pub(crate) fn hear_peer(flow: &mut Flow, key: &FlowKey, packet: &Packet) {
    if flow.hear_peer(packet) {
        crate::slots::free_of(flow, key);
    }
}

/// Tells a flow that another one takes the place of, and takes from it what is told; false where the ring has no room.
///
/// A function that is called: what it leaves in registers and on the stack would have the verifier of Linux 6.1 walk all that
/// follows twice.
#[inline(never)]
fn tell_replaced(key: &FlowKey, flow: &mut Flow, hook: Direction, row: Row, now_ns: u64) -> bool {
    if let Some(Staging { end: event, .. }) = staging(hook)
        && events::has_room()
    {
        event.end = FlowEnd::Replaced as u8;
        event.flow = *flow;
        // Of two CPUs that do this at once each packet is told by one.
        event.flow.to_peer = take(&mut flow.to_peer);
        event.flow.to_lan = take(&mut flow.to_lan);
        if events::flow_end(event, key, now_ns).is_ok() {
            return true;
        }
        put_back(&mut flow.to_peer, event.flow.to_peer);
        put_back(&mut flow.to_lan, event.flow.to_lan);
    }
    row.happened(Happening::FlowMerged);
    false
}

#[inline(always)]
fn put_back(to: &mut Volume, taken: Volume) {
    atomic_add(&mut to.packets, taken.packets);
    atomic_add(&mut to.bytes, taken.bytes);
}

/// What was added so far; what others add from now on is kept.
#[inline(always)]
fn take(volume: &mut Volume) -> Volume {
    Volume { packets: atomic_take(&mut volume.packets), bytes: atomic_take(&mut volume.bytes) }
}

/// Leaves 0.
#[inline(always)]
fn atomic_take(counter: &mut u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_xchg};
        // SAFETY: the reference is to an aligned, live map value.
        unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(counter, 0) }
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        core::mem::take(counter)
    }
}

/// Both hooks add to one flow, on any CPU.
#[inline(always)]
fn atomic_add(counter: &mut u64, amount: u64) {
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_xadd};
        // SAFETY: the reference is to an aligned, live map value. The result is used nowhere, so
        // this is one `lock *(u64 *)(r += …)`.
        let _before =
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        *counter += amount;
    }
}
