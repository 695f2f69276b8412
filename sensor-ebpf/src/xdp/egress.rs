//! TC egress of a watched interface: what goes to the LAN side. Counted as the wire will see it, and
//! dropped where its flow is blocked.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::bpf_skb_pull_data;
use aya_ebpf::programs::TcContext;
use sensor_ebpf::abi::{
    Accounting, Direction, Flow, FlowKey, Happening, Interface, Verdict, Volume,
};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::dns::is_answer;
use sensor_ebpf::flow::peer_mark;
use sensor_ebpf::parse::{Packet, Skip, TCP};
use sensor_ebpf::reset::OWN_RESET_MARK;

use crate::account::{self, Row};
use crate::clock;
use crate::flows::{self, Sight};

/// `TC_ACT_UNSPEC`: whoever comes next decides.
const CONTINUE: i32 = -1;

/// Bytes of a VLAN tag that the driver will insert.
const OFFLOADED_TAG: u64 = 4;

/// Bytes made linear where the headers are not: two VLAN tags, the longest IPv6 walk, TCP.
const HEADERS_LINEAR: u32 = 384;

#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the one this program was called with.
    let ifindex = unsafe { (*skb).ifindex };
    let Some(interface) = account::interface(ifindex) else { return CONTINUE };
    let Some(row) = Row::find(Row::number(interface.slot, Direction::Egress)) else {
        return CONTINUE;
    };
    let volume = on_the_wire(skb);
    row.saw(volume.packets, volume.bytes);
    let (accounting, verdict) = account_for(ctx, interface, ifindex, row, volume);
    row.account(accounting, volume.packets, volume.bytes);
    verdict
}

/// A super-packet counts as the segments it will become, each with its headers.
#[inline(always)]
fn on_the_wire(skb: *mut __sk_buff) -> Volume {
    // SAFETY: the pointer is this program's context.
    let segments = unsafe { (*skb).gso_segs };
    // SAFETY: as above.
    let length = unsafe { (*skb).wire_len };
    // SAFETY: as above.
    let tagged = unsafe { (*skb).vlan_present };
    let packets = if segments == 0 { 1 } else { u64::from(segments) };
    let tags = if tagged == 0 { 0 } else { OFFLOADED_TAG * packets };
    Volume { packets, bytes: u64::from(length) + tags }
}

#[inline(always)]
fn account_for(
    ctx: &TcContext,
    interface: &Interface,
    ifindex: u32,
    row: Row,
    volume: Volume,
) -> (Accounting, i32) {
    // SAFETY: the context is the one this program was called with.
    if unsafe { (*ctx.skb.skb).mark } == OWN_RESET_MARK {
        return (Accounting::OwnReset, CONTINUE);
    }
    let packet = match parse(ctx) {
        Ok(packet) => packet.blurred(interface.reserved[0]),
        Err(skip) => return (skip.accounting(), CONTINUE),
    };
    let now_ns = clock::now_ns();
    let key = FlowKey::from_peer(&packet, interface.zone);
    let flow = if let Some(flow) = flows::find(&key) {
        // SAFETY: the pointer is a live map value.
        let known: &Flow = unsafe { &*flow };
        if known.peer_marks & peer_mark::AT_INGRESS != 0 {
            return (Accounting::Transit, verdict_of(flow, &packet, row));
        }
        flow
    } else {
        if let Some(flow) = flows::find(&FlowKey::from_lan(&packet, interface.zone)) {
            return (Accounting::Transit, verdict_of(flow, &packet, row));
        }
        match flows::make(&key, &packet, false, ifindex, Direction::Egress, now_ns) {
            Some(flow) => flow,
            None => return (Accounting::TableFull, CONTINUE),
        }
    };
    let sight = Sight { key: &key, flow, from_lan: false };
    // SAFETY: the pointer is a live map value.
    let known = unsafe { &mut *flow };
    if known.accepts_pending(&packet) {
        let new = known.take_pending(&packet, ifindex, now_ns);
        flows::replace(&sight, new, Direction::Egress, row, now_ns);
    } else if packet.opens_connection() && known.yields_to_peers_connection(&packet) {
        let new = Flow::first(&packet, false, ifindex, now_ns);
        flows::replace(&sight, new, Direction::Egress, row, now_ns);
    }
    flows::add(&sight, &packet, volume, Direction::Egress, row, now_ns);
    if packet.protocol == TCP {
        flows::hear_peer(known, &key, &packet);
    }
    (Accounting::Flow, verdict_of(flow, &packet, row))
}

/// Headers may lie in fragments of the buffer; they are made linear once.
#[inline(always)]
fn parse(ctx: &TcContext) -> Result<Packet, Skip> {
    // SAFETY: the kernel keeps `data..data_end` readable until a helper changes the packet.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    let parsed = Packet::parse(cursor, ctx.len());
    if parsed != Err(Skip::Truncated) || ctx.data_end() - ctx.data() >= ctx.len() as usize {
        return parsed;
    }
    let linear = ctx.len().min(HEADERS_LINEAR);
    // SAFETY: the context is the one this program was called with.
    if unsafe { bpf_skb_pull_data(ctx.skb.skb, linear) } != 0 {
        return parsed;
    }
    // SAFETY: as above, read anew after the helper.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    Packet::parse(cursor, ctx.len())
}

#[inline(always)]
fn verdict_of(flow: *mut Flow, packet: &Packet, row: Row) -> i32 {
    // SAFETY: the pointer is a live map value.
    if unsafe { (*flow).verdict } != Verdict::Block as u8 || is_answer(packet) {
        return CONTINUE;
    }
    row.happened(Happening::BlockedDropped);
    TC_ACT_SHOT
}
