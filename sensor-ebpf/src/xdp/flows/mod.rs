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
        tell_end(sight.key, flow, FlowEnd::Closed, Happening::FlowEndLost, hook, row, now_ns);
    }
}

/// Starts a new flow in the place of an old one whose connection is over.
///
/// Without room in the ring the two share a record: the old volumes stay.
#[inline(always)]
pub(crate) fn replace(sight: &Sight<'_>, new: Flow, hook: Direction, row: Row, now_ns: u64) {
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *sight.flow };
    let told =
        tell_end(sight.key, flow, FlowEnd::Replaced, Happening::FlowMerged, hook, row, now_ns);
    crate::slots::free_of(flow, sight.key);
    let volumes = (flow.to_peer, flow.to_lan, flow.first_ns);
    *flow = new;
    if !told {
        (flow.to_peer, flow.to_lan, flow.first_ns) = volumes;
    }
}

/// Tells the end of a blocked datagram flow, and starts one in its place that goes on with what is kept of its hello.
#[inline(always)]
pub(crate) fn begin_again(flow: &mut Flow, key: &FlowKey, row: Row, now_ns: u64) {
    let hook = Direction::Ingress;
    let told = tell_end(key, flow, FlowEnd::Replaced, Happening::FlowMerged, hook, row, now_ns);
    if told {
        flow.to_peer = Volume { packets: 0, bytes: 0 };
        flow.to_lan = Volume { packets: 0, bytes: 0 };
        flow.first_ns = now_ns;
        flow.end_sent = 0;
    }
    flow.verdict = Verdict::Undecided as u8;
}

/// Keeps what the peer's segment says about the handshake. Once it has answered, the slot is free.
#[inline(always)]
pub(crate) fn hear_peer(flow: &mut Flow, key: &FlowKey, packet: &Packet) {
    if flow.hear_peer(packet) {
        crate::slots::free_of(flow, key);
    }
}

#[inline(always)]
fn tell_end(
    key: &FlowKey,
    flow: &Flow,
    end: FlowEnd,
    lost: Happening,
    hook: Direction,
    row: Row,
    now_ns: u64,
) -> bool {
    let told = staging(hook)
        .is_some_and(|staging| events::flow_end(&mut staging.end, end, key, flow, now_ns).is_ok());
    if !told {
        row.happened(lost);
    }
    told
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
