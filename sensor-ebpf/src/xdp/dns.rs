//! A DNS query over UDP: each name it asks for is judged, and a query for a blocked one becomes its own
//! answer.
//!
//! One question is read and judged a turn, and a turn is one tail call: a segment of DNS over TCP may bring
//! many messages.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
    bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    Anomaly, DnsRules, GROUPS_MAX, Happening, HttpsRecords, NameSource, NoName, Verdict,
};
use sensor_ebpf::cursor::{WINDOW, bound};
use sensor_ebpf::dns::{
    ANSWER_MAX, Content, MESSAGE_STEPS_MAX, NAME_STEPS_MAX, TYPE_HTTPS, TYPE_SVCB, compose,
    is_query,
};
use sensor_ebpf::parse::UDP;
use sensor_ebpf::reset;
use sensor_ebpf::step::Step;

use crate::account::Row;
use crate::judge::{self, Decision};
use crate::maps::{self, Examination, GROUPS, STAGES, sight, stage};
use crate::normalise::leave_out;
use crate::steps::run_loop;
use crate::{dns_stream, payload, rewrite};

/// [`Examination::outcome`] of a name reader that ran out of steps.
const UNFINISHED: u32 = 0;
/// [`Examination::outcome`] of one that found the end of its name.
const FOUND: u32 = 1;
/// Added to a [`NoName`] in [`Examination::outcome`].
const STOPPED: u32 = 2;

/// [`Query::stream`](crate::maps::Query): the message is a datagram.
pub(crate) const DATAGRAM: u32 = 0;
/// The segment was not looked at yet.
pub(crate) const FRESH: u32 = 1;
/// The message ends at [`Query::end`](crate::maps::Query) of the stream, and is judged.
pub(crate) const JUDGED: u32 = 2;

/// Bytes summed at once: what kernels before 6.12 allow.
const PIECE: u32 = 512;

/// Where in the window the headers of a packet that grows are kept: behind any answer.
const HEADERS_AT: usize = 2048;

/// Pieces of the longest answer.
const PIECES: u32 = ANSWER_MAX.div_ceil(PIECE);

/// The stage that reads the next name, or the reason for none.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    if examination.dns.judged == 0 {
        walk(ctx, examination);
    }
    let question = examination.dns.judged;
    examination.dns.judged = question + 1;
    let reason = if question < examination.dns.message.questions {
        read_name(examination, question)
    } else {
        examination.dns.message.reason()
    };
    if reason == NoName::Named && question >= examination.dns.message.questions {
        return over(ctx, examination, row);
    }
    examination.sight |= sight::DNS;
    examination.event.name_source = NameSource::Dns as u8;
    examination.event.no_name = reason as u8;
    let Some(decision) = judge::judge(ctx, examination, row) else { return XDP_PASS };
    if decision.is_enforced(examination) && examination.dns.stream != DATAGRAM {
        // A connection is reset as any other.
        return judge::reset(ctx, examination, row);
    }
    judged(ctx, examination, decision, row)
}

/// A message is judged: a connection may have brought another one.
#[inline(always)]
fn over(ctx: &XdpContext, examination: &mut Examination, row: Row) -> u32 {
    if examination.dns.stream == DATAGRAM {
        return XDP_PASS;
    }
    dns_stream::go_on(ctx, examination, row)
}

/// What becomes of a packet whose next stage was not reached: the questions of a datagram are few, but a
/// segment may hold more messages than there are tail calls.
#[inline(always)]
pub(crate) fn beyond(examination: &Examination, row: Row) -> u32 {
    if examination.dns.stream == DATAGRAM {
        row.happened(Happening::StageMissing);
        return XDP_PASS;
    }
    if leave_out(examination, Anomaly::OutOfWindow, row) { XDP_DROP } else { XDP_PASS }
}

/// Finds the questions of the message in the payload.
#[inline(always)]
fn walk(ctx: &XdpContext, examination: &mut Examination) {
    let is_datagram = examination.dns.stream == DATAGRAM;
    if is_datagram && payload::fill_window(ctx, examination, 0).is_err() {
        examination.window.length = 0;
    }
    examination.dns.message.begin_query();
    run_loop(&mut Context { examination }, MESSAGE_STEPS_MAX, message_step);
}

struct Context<'a> {
    examination: &'a mut Examination,
}

unsafe extern "C" fn message_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `walk` passes the context.
    let examination = unsafe { &mut *(*context.cast::<Context<'_>>()).examination };
    i64::from(!examination.dns.message.step(&examination.window))
}

/// Puts the name of a question into the event.
#[inline(always)]
fn read_name(examination: &mut Examination, question: u32) -> NoName {
    let at = examination.dns.message.name_at(question);
    examination.dns.name.begin(at);
    examination.outcome = UNFINISHED;
    run_loop(&mut Context { examination }, NAME_STEPS_MAX, name_step);
    match examination.outcome {
        FOUND => {
            examination.event.name.length = examination.dns.name.length as u16;
            NoName::Named
        }
        UNFINISHED => NoName::DnsCompression,
        stopped => NoName::try_from((stopped - STOPPED) as u8).unwrap_or(NoName::DnsMalformed),
    }
}

unsafe extern "C" fn name_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_name` passes the context.
    let examination = unsafe { &mut *(*context.cast::<Context<'_>>()).examination };
    let name = &mut examination.event.name.bytes;
    examination.outcome = match examination.dns.name.step(&examination.window, name) {
        Step::More | Step::Pause => return 0,
        Step::Found => FOUND,
        Step::Stop(reason) => STOPPED + reason as u32,
    };
    1
}

/// Rules of the group that the event was judged for.
#[inline(always)]
fn rules(examination: &Examination) -> Option<&'static DnsRules> {
    let event = &examination.event;
    let row = (event.policy & 1) * GROUPS_MAX + u32::from(event.group).min(GROUPS_MAX - 1);
    GROUPS.get(row).map(|masks| &masks.dns)
}

/// What becomes of a judged query: the next question, an answer from here, or the server's.
#[inline(always)]
fn judged(
    ctx: &XdpContext,
    examination: &mut Examination,
    Decision { verdict, is_canary }: Decision,
    row: Row,
) -> u32 {
    let enforced = examination.sight & sight::TAP == 0;
    let is_named = examination.event.no_name == NoName::Named as u8;
    let kind = examination.dns.message.kind(examination.dns.judged.wrapping_sub(1));
    let refused = is_named
        && examination.dns.stream == DATAGRAM
        && (kind == TYPE_HTTPS || kind == TYPE_SVCB)
        && rules(examination)
            .is_some_and(|rules| rules.https_records == HttpsRecords::NoData as u8);
    if !enforced || (verdict != Verdict::Block && !refused) {
        let message = &examination.dns.message;
        let all = message.questions + u32::from(message.reason != NoName::Named as u32);
        if examination.dns.judged >= all {
            return over(ctx, examination, row);
        }
        // SAFETY: same context; on failure control comes back.
        unsafe { STAGES.tail_call(ctx, stage::DNS) };
        return beyond(examination, row);
    }
    if !is_named {
        // There is no question to answer.
        row.happened(Happening::BlockedDropped);
        return XDP_DROP;
    }
    let content = if verdict != Verdict::Block {
        Content::NoRecord
    } else if is_canary {
        Content::NoSuchName
    } else {
        Content::Blocked
    };
    examination.dns.content = content as u32;
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::ANSWER) };
    row.happened(Happening::StageMissing);
    row.happened(Happening::BlockedDropped);
    XDP_DROP
}

/// The stage that sends a query back as its answer.
#[inline(always)]
pub(crate) fn answer(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_DROP };
    let Some(row) = Row::find(examination.counters) else { return XDP_DROP };
    if send_back(ctx, examination).is_none() {
        row.happened(Happening::DnsAnswerFailed);
        return XDP_DROP;
    }
    row.happened(Happening::DnsAnswered);
    row.sent_back(ctx);
    XDP_TX
}

#[inline(always)]
fn send_back(ctx: &XdpContext, examination: &mut Examination) -> Option<()> {
    if !is_query(&examination.packet) {
        return None;
    }
    let rules = rules(examination)?;
    let content = match examination.dns.content {
        0 => Content::Blocked,
        1 => Content::NoSuchName,
        _ => Content::NoRecord,
    };
    const {
        assert!(Content::Blocked as u32 == 0 && Content::NoSuchName as u32 == 1);
    }
    let length = compose(&mut examination.window, &examination.dns.message, content, rules);
    // SAFETY: the context is the one this program was called with.
    let frame = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    let delta = (examination.packet.payload + length).wrapping_sub(frame).cast_signed();
    if delta > 0 {
        grow(ctx, examination, delta)?;
    } else {
        // SAFETY: as above.
        let cut = unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) };
        if cut != 0 {
            return None;
        }
    }
    let header = header(examination, length);
    let packet = &examination.packet;
    let datagram = rewrite::UDP_HEADER + length;
    rewrite::datagram(ctx.data(), ctx.data_end(), packet, header, datagram)?;
    let message = examination.window.bytes.as_mut_ptr().cast();
    let bytes = bound::<{ WINDOW as u32 - 1 }>(length - 1) + 1;
    // SAFETY: so many bytes of the window are there.
    (unsafe { bpf_xdp_store_bytes(ctx.ctx, packet.payload, message, bytes) } == 0).then_some(())
}

/// Makes the packet longer. In front there is room in every driver's buffers, behind it there need not
/// be, so the headers move; what follows them is written anew.
#[inline(always)]
fn grow(ctx: &XdpContext, examination: &mut Examination, by: i32) -> Option<()> {
    let headers = bound::<511>(examination.packet.payload - 1) + 1;
    let kept = examination.window.bytes.as_mut_ptr().wrapping_add(HEADERS_AT).cast();
    // SAFETY: the window has room for 512 bytes behind the longest answer.
    if unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, kept, headers) } != 0 {
        return None;
    }
    // SAFETY: the context is the one this program was called with.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -by) } != 0 {
        return None;
    }
    // SAFETY: so many bytes of the window are there.
    (unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, kept, headers) } == 0).then_some(())
}

/// The UDP header of the answer in the window, as two words in memory order (RFC 768, RFC 8200 section
/// 8.1).
#[inline(always)]
fn header(examination: &mut Examination, length: u32) -> [u32; 2] {
    let packet = &examination.packet;
    let bytes = rewrite::UDP_HEADER + length;
    let ports = u32::from(packet.destination_port) << 16 | u32::from(packet.source_port);
    let ports = ports.to_be();
    let length_word = u32::from((bytes as u16).to_be());
    let pseudo = reset::pseudo_header_of(UDP, packet.source, packet.destination, bytes);
    let sum = pseudo + u64::from(ports) + u64::from(length_word);
    let checksum = reset::fold(sum + u64::from(sum_window(examination, length)));
    // A sum of 0 would say that there is none.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    [ports, length_word | u32::from(checksum) << 16]
}

/// Sums the first `length` bytes of the window, behind which zeroes follow.
#[inline(always)]
fn sum_window(examination: &mut Examination, length: u32) -> u32 {
    let mut sum = 0;
    for at in 0..PIECES {
        let left = length.saturating_sub(at * PIECE);
        let words = bound::<{ PIECE * 2 - 4 }>(left.min(PIECE) + 3);
        let words = if words > PIECE { PIECE } else { words };
        let from = examination.window.bytes.as_mut_ptr().wrapping_add((at * PIECE) as usize);
        // SAFETY: so many bytes of the window are initialised.
        let summed = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from.cast(), words, sum) };
        sum = summed.cast_unsigned() as u32;
    }
    sum
}

const _: () = assert!(PIECES * PIECE <= HEADERS_AT as u32 && HEADERS_AT + 512 <= WINDOW);
