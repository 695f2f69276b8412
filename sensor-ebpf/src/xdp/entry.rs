//! LAN ingress: count, find the flow, act on what is known, or go deeper.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    Accounting, Direction, Flow, FlowKey, Happening, Interface, NoName, Side, Verdict, Volume,
};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::dns::is_query;
use sensor_ebpf::flow::{Phase, mark, peer_mark};
use sensor_ebpf::http::framing;
use sensor_ebpf::parse::{FIN, Packet, RST, Skip, TCP, UDP};
use sensor_ebpf::probe::{PROBE_BYTES, Probe};
use sensor_ebpf::quic;

use crate::account::{self, Row};
use crate::clock;
use crate::dns;
use crate::flows::{self, Found, NOWHERE, Sight};
use crate::maps::{self, STAGES, sight, stage};
use crate::payload;
use crate::rejudge;

/// What the rest of the program needs of this packet.
struct Seen {
    packet: Packet,
    interface: &'static Interface,
    ifindex: u32,
    row: Row,
    now_ns: u64,
}

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(interface) = account::interface(ifindex) else { return XDP_PASS };
    let Some(row) = Row::find(Row::number(interface.slot, Direction::Ingress)) else {
        return XDP_PASS;
    };
    // SAFETY: the context is the one this program was called with.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    row.saw(1, bytes);
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    let packet = match Packet::parse(cursor, bytes as u32) {
        Ok(packet) => packet.blurred_where_asked(interface.reserved[0]),
        Err(skip) => {
            row.account(skip.accounting(), 1, bytes);
            return unread(ctx, interface, skip, row);
        }
    };
    let seen = Seen { packet, interface, ifindex, row, now_ns: clock::now_ns() };
    let mut key = FlowKey::from_lan(&seen.packet, interface.zone);
    let sight = match sight(&seen, &mut key) {
        Ok(sight) => sight,
        Err(accounting) => {
            row.account(accounting, 1, bytes);
            // Judged by its bytes all the same; without a flow only this one packet is acted on.
            let plan = match seen.packet.protocol {
                TCP if seen.packet.opens_connection() => Plan::Followed,
                TCP => Plan::Alone,
                _ => Plan::First,
            };
            return finish(ctx, &seen, &key, NOWHERE, plan);
        }
    };
    row.account(Accounting::Flow, 1, bytes);
    if seen.packet.opens_connection() {
        connect(&seen, &sight);
    }
    let volume = Volume { packets: 1, bytes };
    flows::add(&sight, &seen.packet, volume, Direction::Ingress, row, seen.now_ns);
    let plan = act(&seen, &sight);
    finish(ctx, &seen, sight.key, sight.entry, plan)
}

/// What is to be done with a packet that was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// It goes on.
    Pass,
    /// It is dropped.
    Drop,
    /// It is sent back as a reset.
    Answer,
    /// It is a piece of a stream that is followed.
    Followed,
    /// It is followed only where it starts like a hello or a request.
    FollowedRequest,
    /// It is read by its bytes alone, where it starts like that.
    Alone,
    /// It is a DNS query.
    Query,
    /// It opens a flow that is no connection.
    First,
    /// It is read where it could have an Initial of QUIC.
    Datagram,
    /// The same on a blocked flow, and else dropped.
    BlockedDatagram,
    /// It goes on, once its flow is judged by the policy in force.
    Rejudged,
}

/// A SYN on a flow that may have been there: another connection takes the key at once, or waits for
/// the server to say that it has taken it.
#[inline(always)]
fn connect(seen: &Seen, sight: &Sight<'_>) {
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *sight.flow };
    let takes_it = if sight.from_lan {
        let next = seen.packet.sequence.wrapping_add(1);
        if next == flow.examined_from || next == flow.pending_sequence {
            return;
        }
        flow.yields_to_new_connection()
    } else {
        flow.yields_to_peers_connection(&seen.packet)
    };
    // In one place, because the verifier walks every copy of it.
    if takes_it {
        let new = Flow::first(&seen.packet, sight.from_lan, seen.ifindex, seen.now_ns);
        flows::replace(sight, new, Direction::Ingress, seen.row, seen.now_ns);
    } else if sight.from_lan {
        flow.note_pending(&seen.packet);
    }
}

/// Finds or makes the flow of `key`, which has the LAN side first; where the packet's own reverse is
/// known, its sender is that flow's peer, on the LAN too or seen through a tap, and `key` becomes that one.
#[inline(always)]
fn sight<'key>(seen: &Seen, key: &'key mut FlowKey) -> Result<Sight<'key>, Accounting> {
    let found = if let Some(found) = flows::find(key) {
        found
    } else {
        let hook = Direction::Ingress;
        flows::make(key, &seen.packet, true, seen.ifindex, hook, seen.now_ns)?
    };
    let Found { flow, entry, is_reverse } = found;
    if is_reverse {
        *key = FlowKey::from_peer(&seen.packet, seen.interface.zone);
        // SAFETY: the pointer is a live map value; a lost race is repaired by the next packet.
        unsafe { (*flow).peer_marks |= peer_mark::AT_INGRESS };
    }
    Ok(Sight { key, flow, entry, from_lan: !is_reverse })
}

#[inline(always)]
fn act(seen: &Seen, sight: &Sight<'_>) -> Plan {
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *sight.flow };
    let packet = &seen.packet;
    if flow.verdict == Verdict::Block as u8 && seen.interface.side == Side::Lan as u8 {
        return blocked(seen, flow);
    }
    let phase = flow.phase;
    if packet.protocol != TCP {
        return datagram(sight, flow, packet);
    }
    if phase == Phase::Done as u8 {
        return if sight.from_lan { goes_on(flow, sight, Plan::Pass) } else { Plan::Pass };
    }
    if !sight.from_lan {
        flows::hear_peer(flow, sight.key, packet);
        return Plan::Alone;
    }
    if phase == Phase::Requests as u8 {
        return between_requests(flow, sight, packet);
    }
    if packet.payload_length > 0 || packet.opens_connection() {
        Plan::Followed
    } else {
        goes_on(flow, sight, Plan::Pass)
    }
}

/// A packet of a flow that is no connection: the first is looked at for where it goes, all of UDP for names.
#[inline(always)]
fn datagram(sight: &Sight<'_>, flow: &Flow, packet: &Packet) -> Plan {
    let is_query = is_query(packet);
    if !sight.from_lan {
        return if is_query { Plan::Query } else { Plan::Pass };
    }
    let has_payload = packet.payload_length != 0;
    if flow.phase == Phase::Waiting as u8 && (has_payload || packet.protocol != UDP) {
        Plan::First
    } else if is_query {
        Plan::Query
    } else {
        let is_read = has_payload && packet.protocol == UDP;
        goes_on(flow, sight, if is_read { Plan::Datagram } else { Plan::Pass })
    }
}

/// What becomes of a device's packet that goes on, unless its flow is to be judged again.
#[inline(always)]
fn goes_on(flow: &Flow, sight: &Sight<'_>, plan: Plan) -> Plan {
    if rejudge::is_due(flow, sight.key.lan_address) { Plan::Rejudged } else { plan }
}

/// A segment of a connection that carries requests: a body passes.
#[inline(always)]
fn between_requests(flow: &Flow, sight: &Sight<'_>, packet: &Packet) -> Plan {
    if packet.payload_length == 0 || flow.is_in_body(packet) {
        goes_on(flow, sight, Plan::Pass)
    } else if flow.framing == framing::LOST {
        Plan::FollowedRequest
    } else {
        Plan::Followed
    }
}

/// A packet of a blocked flow: answered while its budget lasts, then dropped. A reset is never
/// answered (RFC 9293 section 3.5.2).
#[inline(always)]
fn blocked(seen: &Seen, flow: &mut Flow) -> Plan {
    let packet = &seen.packet;
    let by_destination =
        flow.no_name == NoName::ListedPort as u8 || flow.no_name == NoName::ListedAddress as u8;
    if packet.protocol == UDP {
        if by_destination {
            return Plan::Drop;
        }
        // Source ports come again: another connection's hello is judged by its own name, as each query is.
        return if is_query(packet) { Plan::Query } else { Plan::BlockedDatagram };
    }
    // A connection that would come after it may be asked for: its data waits for the answer. Not where asking
    // is what was blocked.
    let at_syn = by_destination || flow.no_name == NoName::MptcpJoin as u8;
    if packet.opens_connection() && packet.payload_length == 0 && !at_syn {
        return Plan::Pass;
    }
    // What acknowledges a block page wants no answer.
    let is_bare = packet.payload_length == 0 && packet.tcp_flags & FIN == 0;
    let is_receipt = is_bare && flow.marks & mark::PAGED != 0;
    let answerable = packet.protocol == TCP && packet.tcp_flags & RST == 0 && !is_receipt;
    if answerable && flow.resets < sensor_ebpf::flow::RESETS_MAX {
        flow.resets += 1;
        return Plan::Answer;
    }
    Plan::Drop
}

/// Carries a plan out. In one place, because the verifier walks every copy of it.
#[inline(always)]
fn finish(ctx: &XdpContext, seen: &Seen, key: &FlowKey, entry: u32, plan: Plan) -> u32 {
    if plan == Plan::Pass {
        return XDP_PASS;
    }
    if plan == Plan::Drop {
        seen.row.happened(Happening::BlockedDropped);
        return XDP_DROP;
    }
    if plan == Plan::Answer {
        if let Some(examination) = maps::examination() {
            examination.counters = Row::number(seen.interface.slot, Direction::Ingress);
            examination.event.key = *key;
            examination.entry = entry;
            examination.server_next = seen.packet.sequence;
            examination.outcome = crate::reject::ANSWER;
            // SAFETY: same context; on failure control comes back.
            unsafe { STAGES.tail_call(ctx, stage::REJECT) };
            seen.row.happened(Happening::StageMissing);
        }
        seen.row.happened(Happening::BlockedDropped);
        return XDP_DROP;
    }
    if plan == Plan::BlockedDatagram && !could_have_initial(ctx, &seen.packet) {
        seen.row.happened(Happening::BlockedDropped);
        return XDP_DROP;
    }
    let is_read = match plan {
        Plan::Pass | Plan::Drop | Plan::Answer => false,
        Plan::Followed | Plan::Query | Plan::First | Plan::BlockedDatagram => true,
        Plan::Datagram | Plan::Rejudged => could_have_initial(ctx, &seen.packet),
        Plan::FollowedRequest | Plan::Alone => could_name(ctx, seen),
    };
    // The Initial of another connection is read first: the flow is judged again by the packet behind it.
    let plan = if plan == Plan::Rejudged && is_read { Plan::Datagram } else { plan };
    if !is_read && plan != Plan::Rejudged {
        return XDP_PASS;
    }
    examine(ctx, seen, key, entry, plan)
}

/// True where a segment starts like a hello or a request.
#[inline(always)]
fn could_name(ctx: &XdpContext, seen: &Seen) -> bool {
    let packet = &seen.packet;
    if packet.protocol != TCP || packet.payload_length < PROBE_BYTES as u32 {
        return false;
    }
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let mut cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    // The longest link headers, the longest IPv6 walk and the longest TCP header fit 511 bytes.
    cursor.skip(sensor_ebpf::cursor::bound::<511>(packet.payload) as usize);
    let Ok(first) = cursor.header::<PROBE_BYTES>() else { return false };
    let first = [first.u8::<0>(), first.u8::<1>(), first.u8::<2>()];
    Probe::of(first, PROBE_BYTES as u32) != Probe::Neither
}

/// True where a datagram could have an Initial of QUIC, whatever its flow is.
#[inline(always)]
fn could_have_initial(ctx: &XdpContext, packet: &Packet) -> bool {
    if packet.protocol != UDP {
        return false;
    }
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let mut cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    // As above.
    cursor.skip(sensor_ebpf::cursor::bound::<511>(packet.payload) as usize);
    let Ok(first) = cursor.header::<{ quic::FIRST_BYTES }>() else { return false };
    quic::could_have_initial(first.u8::<0>(), first.u32::<1>(), packet.destination_port)
}

/// Goes deeper.
#[inline(always)]
fn examine(ctx: &XdpContext, seen: &Seen, key: &FlowKey, entry: u32, plan: Plan) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    examination.packet = seen.packet;
    examination.window_from = payload::NOWHERE;
    examination.counters = Row::number(seen.interface.slot, Direction::Ingress);
    examination.sight = sight_of(seen.interface);
    examination.server_next = seen.packet.sequence;
    examination.event.key = *key;
    examination.entry = entry;
    examination.event.ifindex = seen.ifindex;
    examination.event.time_ns = seen.now_ns;
    examination.event.from_peer = u8::from(plan == Plan::Alone);
    examination.is_further_name = 0;
    examination.connection = 0;
    examination.goes_on = maps::FRESH;
    // SAFETY: same context; on failure control comes back.
    unsafe {
        if plan == Plan::Query {
            examination.dns.judged = 0;
            examination.dns.stream = dns::DATAGRAM;
            STAGES.tail_call(ctx, stage::DNS);
        } else if plan == Plan::First || plan == Plan::Datagram || plan == Plan::BlockedDatagram {
            examination.sight |= sight::FOLLOWED;
            if plan == Plan::BlockedDatagram {
                examination.sight |= sight::BLOCKED;
            }
            if plan == Plan::First {
                STAGES.tail_call(ctx, stage::DESTINATION);
            } else {
                STAGES.tail_call(ctx, stage::QUIC);
            }
        } else if plan == Plan::Rejudged {
            STAGES.tail_call(ctx, stage::REJUDGE);
        } else if plan != Plan::Alone {
            examination.sight |= sight::FOLLOWED;
            examination.dns.stream = dns::FRESH;
            if seen.packet.opens_connection() {
                STAGES.tail_call(ctx, stage::DESTINATION);
            } else {
                STAGES.tail_call(ctx, stage::NORMALISE);
            }
        } else {
            STAGES.tail_call(ctx, stage::HANDSHAKE);
        }
    }
    seen.row.happened(Happening::StageMissing);
    XDP_PASS
}

#[inline(always)]
fn sight_of(interface: &Interface) -> u32 {
    let tap = if interface.side == Side::Tap as u8 { sight::TAP } else { 0 };
    let merged = if interface.merged != 0 { sight::MERGED } else { 0 };
    tap | merged
}

/// A frame that belongs to no flow: some could carry a piece of a handshake.
#[inline(always)]
fn unread(ctx: &XdpContext, interface: &Interface, skip: Skip, row: Row) -> u32 {
    let reason = match skip {
        Skip::Fragment => NoName::Fragment,
        Skip::ExtensionHeaders => NoName::ExtensionHeaders,
        Skip::Truncated | Skip::Malformed | Skip::NotIp => return XDP_PASS,
    };
    let Some(examination) = maps::examination() else { return XDP_PASS };
    examination.counters = Row::number(interface.slot, Direction::Ingress);
    examination.sight = sight_of(interface);
    examination.event.no_name = reason as u8;
    examination.entry = NOWHERE;
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::UNREAD) };
    row.happened(Happening::StageMissing);
    XDP_PASS
}
