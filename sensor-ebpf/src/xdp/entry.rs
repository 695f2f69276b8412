//! LAN ingress: count, find the flow, act on what is known, or go deeper.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    Accounting, Direction, Flow, FlowKey, Happening, Interface, NoName, Side, Verdict, Volume,
};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::flow::{EXAMINED_SEGMENTS_MAX, PROBE_BYTES, Phase, Probe, mark};
use sensor_ebpf::parse::{Packet, RST, TCP};

use crate::account::{self, Row};
use crate::clock;
use crate::flows::{self, Sight};
use crate::maps::{self, STAGES, stage};

/// What the rest of the program needs of this packet.
struct Seen {
    packet: Packet,
    interface: Interface,
    ifindex: u32,
    row: Row,
    bytes: u64,
    now_ns: u64,
}

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(interface) = account::interface(ifindex) else { return XDP_PASS };
    let Some(row) = Row::find(Row::number(interface, Direction::Ingress)) else { return XDP_PASS };
    // SAFETY: the context is the one this program was called with.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    row.saw(1, bytes);
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    let packet = match Packet::parse(cursor, bytes as u32) {
        Ok(packet) => packet,
        Err(skip) => {
            row.account(skip.accounting(), 1, bytes);
            return XDP_PASS;
        }
    };
    let seen = Seen { packet, interface, ifindex, row, bytes, now_ns: clock::now_ns() };
    let Some(sight) = sight(&seen) else {
        row.account(Accounting::TableFull, 1, bytes);
        // Judged by its bytes all the same; without a flow only this one packet is acted on.
        return examine(ctx, &seen, FlowKey::from_lan(&seen.packet, interface.zone), false);
    };
    row.account(Accounting::Flow, 1, bytes);
    if seen.packet.opens_connection() {
        // SAFETY: the pointer is a live map value.
        let flow: &Flow = unsafe { &*sight.flow };
        if flow.yields_to_new_connection() {
            flows::replace(&sight, &seen.packet, ifindex, Direction::Ingress, row, seen.now_ns);
        }
    }
    let volume = Volume { packets: 1, bytes };
    flows::add(&sight, &seen.packet, volume, Direction::Ingress, row, seen.now_ns);
    act(ctx, &seen, &sight)
}

/// Finds or makes the flow. The LAN side comes first in the key; where the packet's own reverse is
/// known, its sender is that flow's peer, on the LAN too or seen through a tap.
#[inline(always)]
fn sight(seen: &Seen) -> Option<Sight> {
    let key = FlowKey::from_lan(&seen.packet, seen.interface.zone);
    if let Some(flow) = flows::find(&key) {
        return Some(Sight { key, flow, from_lan: true });
    }
    let reverse = FlowKey::from_peer(&seen.packet, seen.interface.zone);
    if let Some(flow) = flows::find(&reverse) {
        // SAFETY: the pointer is a live map value; a lost race is repaired by the next packet.
        unsafe { (*flow).marks |= mark::PEER_AT_INGRESS };
        return Some(Sight { key: reverse, flow, from_lan: false });
    }
    let flow =
        flows::make(&key, &seen.packet, true, seen.ifindex, Direction::Ingress, seen.now_ns)?;
    Some(Sight { key, flow, from_lan: true })
}

#[inline(always)]
fn act(ctx: &XdpContext, seen: &Seen, sight: &Sight) -> u32 {
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *sight.flow };
    if flow.verdict == Verdict::Block as u8 && seen.interface.side == Side::Lan as u8 {
        return blocked(ctx, seen, flow);
    }
    if seen.packet.protocol != TCP || seen.packet.payload_length == 0 {
        return XDP_PASS;
    }
    let phase = flow.phase;
    if phase == Phase::Done as u8 {
        return XDP_PASS;
    }
    if phase == Phase::Named as u8 && !sight.from_lan {
        // The server has answered: it has its hello.
        flow.phase = Phase::Done as u8;
        return XDP_PASS;
    }
    if flow.no_name == NoName::NoPayload as u8 {
        flow.no_name = if flow.marks & mark::MID_STREAM == 0 {
            NoName::NotTls as u8
        } else {
            NoName::MidStream as u8
        };
    }
    if phase == Phase::Waiting as u8 {
        if flow.examined >= EXAMINED_SEGMENTS_MAX {
            flow.phase = Phase::Done as u8;
            return XDP_PASS;
        }
        flow.examined += 1;
    }
    examine(ctx, seen, sight.key, !sight.from_lan)
}

/// A packet of a blocked flow: answered while the budget lasts, then dropped. A reset is never
/// answered (RFC 9293 section 3.5.2).
#[inline(always)]
fn blocked(ctx: &XdpContext, seen: &Seen, flow: &mut Flow) -> u32 {
    let answerable = seen.packet.protocol == TCP && seen.packet.tcp_flags & RST == 0;
    if answerable && flow.resets < sensor_ebpf::flow::RESETS_MAX {
        flow.resets += 1;
        if let Some(examination) = maps::examination() {
            examination.counters = Row::number(seen.interface, Direction::Ingress);
            examination.outcome = crate::reject::ANSWER;
            // SAFETY: same context; on failure control comes back.
            unsafe { STAGES.tail_call(ctx, stage::REJECT) };
            seen.row.happened(Happening::StageMissing);
        }
    }
    seen.row.happened(Happening::BlockedDropped);
    XDP_DROP
}

/// Looks at the first bytes of a segment, and goes deeper where a name could be in it.
#[inline(always)]
fn examine(ctx: &XdpContext, seen: &Seen, key: FlowKey, from_peer: bool) -> u32 {
    let packet = &seen.packet;
    if packet.protocol != TCP || packet.payload_length < PROBE_BYTES as u32 {
        return XDP_PASS;
    }
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let mut cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    // Two VLAN tags, the longest IPv6 walk and the longest TCP header fit 511 bytes.
    cursor.skip(sensor_ebpf::cursor::bound::<511>(packet.payload) as usize);
    let Ok(first) = cursor.header::<PROBE_BYTES>() else { return XDP_PASS };
    let probe = Probe::of([
        first.u8::<0>(),
        first.u8::<1>(),
        first.u8::<2>(),
        first.u8::<3>(),
        first.u8::<4>(),
        first.u8::<5>(),
    ]);
    if probe == Probe::Neither {
        return XDP_PASS;
    }
    let Some(examination) = maps::examination() else { return XDP_PASS };
    examination.payload = packet.payload;
    examination.payload_length = packet.payload_length;
    examination.probe = probe as u32;
    examination.counters = Row::number(seen.interface, Direction::Ingress);
    examination.tap = u32::from(seen.interface.side == Side::Tap as u8);
    examination.event.key = key;
    examination.event.ifindex = seen.ifindex;
    examination.event.time_ns = seen.now_ns;
    examination.event.from_peer = u8::from(from_peer);
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::HANDSHAKE) };
    seen.row.happened(Happening::StageMissing);
    XDP_PASS
}
