//! TC egress of a watched interface: what goes to the LAN side. Counted as the wire will see it, and
//! dropped where its flow is blocked. DNS answers go on to a stage of their own.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use sensor_ebpf::abi::{
    Accounting, Direction, Flow, FlowKey, Happening, Interface, Verdict, Volume,
};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::dns::is_answer;
use sensor_ebpf::flow::peer_mark;
use sensor_ebpf::parse::{Packet, Skip, TCP, UDP};
use sensor_ebpf::reset::OWN_RESET_MARK;

use crate::account::{self, Row};
use crate::clock;
use crate::dns_reply;
use crate::flows::{self, Found, NOWHERE, Sight};
use crate::maps::{EGRESS_STAGES, egress_stage};
use crate::quic_stream;

/// `TC_ACT_UNSPEC`: whoever comes next decides.
pub(crate) const CONTINUE: i32 = -1;

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
    // SAFETY: the context is the one this program was called with.
    let (joined, single) = unsafe { ((*skb).wire_len, (*skb).len) };
    // Nothing for most: a question about it would have the verifier walk all that follows twice.
    row.joined(volume.packets - 1, u64::from(joined).wrapping_sub(u64::from(single)));
    row.saw(volume.packets, volume.bytes);
    let (accounting, plan) = account_for(ctx, interface, ifindex, row, volume);
    row.account(accounting, volume.packets, volume.bytes);
    match plan {
        Plan::Pass => CONTINUE,
        Plan::Drop => {
            row.happened(Happening::BlockedDropped);
            row.dropped(volume);
            TC_ACT_SHOT
        }
        Plan::Read => {
            // SAFETY: same context; on failure control comes back.
            unsafe { EGRESS_STAGES.tail_call(ctx, egress_stage::DNS_REPLY) };
            row.happened(Happening::StageMissing);
            CONTINUE
        }
    }
}

/// What is to be done with a packet that was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// It goes on.
    Pass,
    /// It is dropped.
    Drop,
    /// It is a DNS answer, and is read.
    Read,
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
) -> (Accounting, Plan) {
    // SAFETY: the context is the one this program was called with.
    if unsafe { (*ctx.skb.skb).mark } == OWN_RESET_MARK {
        return (Accounting::OwnReset, Plan::Pass);
    }
    let packet = match parse(ctx) {
        Ok(packet) => packet.blurred(interface.reserved[0]),
        Err(skip) => return (skip.accounting(), Plan::Pass),
    };
    let now_ns = clock::now_ns();
    let key = FlowKey::from_peer(&packet, interface.zone);
    let read = |entry| read_answer(&packet, &key, entry, interface, now_ns);
    let (flow, entry) = match flows::find(&key) {
        Some(Found { flow, entry, is_reverse }) => {
            // SAFETY: the pointer is a live map value.
            let known: &Flow = unsafe { &*flow };
            if is_reverse || known.peer_marks & peer_mark::AT_INGRESS != 0 {
                // The answer's flow, where there is one, has the ends as the packet has them.
                let read = || read(if is_reverse { NOWHERE } else { entry });
                return (Accounting::Transit, plan_for(flow, &packet, read));
            }
            (flow, entry)
        }
        None => match flows::make(&key, &packet, false, ifindex, Direction::Egress, now_ns) {
            Ok(made) => (made.flow, made.entry),
            Err(accounting) if is_answer(&packet) => return (accounting, read(NOWHERE)),
            Err(accounting) => return (accounting, Plan::Pass),
        },
    };
    let sight = Sight { key: &key, flow, entry, from_lan: false };
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
    } else if known.slot != 0 && packet.protocol == UDP && packet.payload_length != 0 {
        hear_server(ctx, known, &key, packet.payload);
    }
    (Accounting::Flow, plan_for(flow, &packet, || read(entry)))
}

/// Has a server's QUIC packet end the examination of the hello that it answers.
#[inline(always)]
fn hear_server(ctx: &TcContext, flow: &mut Flow, key: &FlowKey, payload: u32) {
    let mut first = 0_u8;
    // SAFETY: the context is the one this program was called with, and there is room for the byte.
    let read =
        unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), payload, (&raw mut first).cast(), 1) };
    if read == 0 {
        quic_stream::hear_server(flow, key, first);
    }
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

/// A flow of queries is never blocked, whatever its verdict says of one of them.
#[inline(always)]
fn plan_for(flow: *mut Flow, packet: &Packet, read: impl FnOnce() -> Plan) -> Plan {
    if is_answer(packet) {
        return read();
    }
    // SAFETY: the pointer is a live map value.
    if unsafe { (*flow).verdict } == Verdict::Block as u8 { Plan::Drop } else { Plan::Pass }
}

/// Hands a DNS answer to its stage.
#[inline(always)]
fn read_answer(
    packet: &Packet,
    key: &FlowKey,
    entry: u32,
    interface: &Interface,
    now_ns: u64,
) -> Plan {
    let counters = Row::number(interface.slot, Direction::Egress);
    match dns_reply::hand_over(packet, key, entry, counters, now_ns) {
        Some(()) => Plan::Read,
        None => Plan::Pass,
    }
}
