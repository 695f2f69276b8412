//! The requests of a connection: each is found wherever it starts, and nothing within a body is one.
//!
//! What has been read is known to the flow ([`framing`]); bodies pass at [`entry`](crate::entry). A slot
//! is held while a head is incomplete or bytes wait for others, and then until the server has
//! acknowledged the requests: what is sent again is compared with what was read.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Anomaly, Flow, NoName};
use sensor_ebpf::flow::{Phase, peer_mark};
use sensor_ebpf::http::framing;
use sensor_ebpf::normalise::is_before;
use sensor_ebpf::probe::{PROBE_BYTES, Probe};
use sensor_ebpf::slot::Slot;

use crate::account::Row;
use crate::assemble::differs;
use crate::handshake::{first_byte, followed, note_reason};
use crate::maps::{self, Examination, JUDGING};
use crate::normalise::leave_out;
use crate::request_reading::{Outcome, read_payload};
use crate::request_stream::{read_on, wait};
use crate::slots::{self, Opened};
use crate::{flows, lock, payload, told};

/// What becomes of a segment once what it names is judged.
pub(crate) type Fate = Result<(), Anomaly>;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    if examination.goes_on == JUDGING {
        return told::judge_next(ctx, examination, row);
    }
    examination.names = 0;
    examination.names_judged = 0;
    examination.then_hello = 0;
    examination.server_next = first_byte(examination);
    let mut fate = Ok(());
    if let Some(flow) = followed(examination) {
        if lock::take(&mut flow.lock) {
            fate = in_stream(ctx, examination, flow, row);
            lock::give_up(&mut flow.lock);
        } else {
            fate = Err(Anomaly::SlotBusy);
        }
    } else {
        alone(ctx, examination, row);
    }
    match fate {
        Err(anomaly) if leave_out(examination, anomaly, row) => XDP_DROP,
        Ok(()) | Err(_) => told::judge_next(ctx, examination, row),
    }
}

/// A segment of which nothing is known but its bytes.
#[inline(always)]
fn alone(ctx: &XdpContext, examination: &mut Examination, row: Row) {
    if payload::fill_window(ctx, examination, 0).is_err() {
        return;
    }
    examination.requests.begin();
    let reason = match read_payload(ctx, examination) {
        Outcome::Paused if examination.names > 0 => return,
        Outcome::Paused => NoName::Truncated,
        Outcome::Stopped(NoName::NotTls) => NoName::NotTls,
        Outcome::Stopped(reason) => return told::reason(examination, reason),
    };
    row.no_name(reason);
    if let Some(flow) = flows::of(examination) {
        // SAFETY: the pointer is a live map value.
        note_reason(unsafe { &mut *flow }, reason);
    }
}

/// A segment of a client's stream.
#[inline(always)]
fn in_stream(ctx: &XdpContext, examination: &mut Examination, flow: &mut Flow, row: Row) -> Fate {
    let mut slot = None;
    if flow.slot != 0 {
        match slots::open(flow.slot, &examination.event.key, examination.event.time_ns) {
            Opened::Busy => return Err(Anomaly::SlotBusy),
            Opened::Own(own) => slot = Some(own),
            Opened::Lost => {
                flow.slot = 0;
                if flow.framing == framing::KEPT {
                    flow.framing = framing::LOST;
                    told::reason(examination, NoName::SlotLost);
                    return Ok(());
                }
            }
        }
    }
    let fate = follow(ctx, examination, flow, &mut slot, row);
    if let Some(slot) = slot {
        if flow.slot == 0 {
            slots::release(slot);
        } else {
            slots::unlock(slot);
        }
    }
    fate
}

/// Where a segment lies in the stream, by sequence numbers.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: u32,
    /// Behind its last byte.
    pub(crate) last: u32,
    /// The first byte that was not read.
    pub(crate) next: u32,
}

impl Span {
    /// Bytes at the start of the segment that were read before.
    #[inline(always)]
    pub(crate) const fn old(self) -> u32 {
        let old = self.next.wrapping_sub(self.first).cast_signed();
        if old > 0 { old.cast_unsigned() } else { 0 }
    }
}

#[inline(always)]
fn follow(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Option<&'static mut Slot>,
    row: Row,
) -> Fate {
    let first = first_byte(examination);
    let last = first.wrapping_add(examination.packet.payload_length);
    if flow.has_body() && flow.is_behind_body_start(first) {
        if flow.ends_body(last) {
            flow.next_lap();
        }
        if !flow.ends_body(last) {
            return Ok(());
        }
    }
    // SAFETY: a live map value; once, because the other direction's hook writes it.
    let from = unsafe { core::ptr::read_volatile(&raw const flow.examined_from) };
    let next = if flow.has_body() { flow.body_end } else { flow.examined_to };
    let mut span = Span { first, last, next };
    let is_seen = is_seen(flow);
    if is_seen && !is_before(from, last) {
        return Ok(());
    }
    if payload::fill_window(ctx, examination, 0).is_err() {
        return Ok(());
    }
    let is_missed = is_seen && is_before(next, from);
    if flow.framing != framing::NONE && is_missed {
        // The server has bytes that did not come by here.
        flow.framing = framing::LOST;
        flow.examined_to = first;
        flow.slot = 0;
        if let Some(slot) = slot.take() {
            slots::release(slot);
        }
    }
    if flow.framing == framing::LOST && !is_before(first, flow.examined_to) {
        flow.examined_to = first;
        span.next = first;
        match probe(examination) {
            Probe::Request => flow.framing = framing::START,
            Probe::Hello => {
                look_for_hello(examination, flow, span);
                return Ok(());
            }
            Probe::Neither => {
                lose(flow, span);
                return Ok(());
            }
        }
    }
    if is_before(first, span.next) {
        examination.server_next = if is_seen && is_before(first, from) { from } else { first };
    } else {
        examination.server_next = span.next;
    }
    if let Some(slot) = slot
        && is_other(examination, slot, span)
    {
        lose(flow, span);
        told::reason(examination, NoName::Evasion);
        return Ok(());
    }
    if flow.framing == framing::LOST && probe(examination) != Probe::Request {
        return Ok(());
    }
    if span.old() > 0
        && let Some(within_head) = is_unkept(examination, flow, slot.as_deref(), span)
    {
        read_anew(ctx, examination, flow, span, within_head);
        return Ok(());
    }
    if !is_before(span.next, last) {
        return Ok(());
    }
    if is_before(span.next, first) {
        return wait(ctx, examination, flow, slot, span, row);
    }
    read_on(ctx, examination, flow, slot, span, row)
}

#[inline(always)]
pub(crate) fn is_seen(flow: &Flow) -> bool {
    flow.peer_marks & peer_mark::SEEN != 0
}

/// What the window's first bytes could be.
#[inline(always)]
pub(crate) fn probe(examination: &Examination) -> Probe {
    let [a, b, c, ..] = examination.window.word(0).to_le_bytes();
    const { assert!(PROBE_BYTES == 3) };
    Probe::of([a, b, c], examination.window.length)
}

/// From the end of this segment on, requests are looked for at the starts of segments.
#[inline(always)]
pub(crate) fn lose(flow: &mut Flow, span: Span) {
    flow.framing = framing::LOST;
    flow.slot = 0;
    settle(flow, span.last);
}

/// Moves the examination on to this byte.
#[inline(always)]
pub(crate) fn settle(flow: &mut Flow, next: u32) {
    flow.examined_to = next;
    if !is_seen(flow) {
        // Nobody will say what has arrived.
        flow.examined_from = next;
    }
}

/// Leaves the segment to the stages that read hellos: it begins with one, or has one behind a CONNECT.
#[inline(always)]
pub(crate) fn look_for_hello(examination: &mut Examination, flow: &mut Flow, span: Span) {
    flow.framing = framing::NONE;
    flow.phase = Phase::Waiting as u8;
    flow.examined = 0;
    flow.slot = 0;
    settle(flow, span.first);
    examination.then_hello = 1;
}

/// True where the segment has other bytes than those that are kept of the same places.
#[inline(always)]
fn is_other(examination: &mut Examination, slot: &Slot, span: Span) -> bool {
    let begin = span.first.wrapping_sub(slot.base).cast_signed();
    let end = span.last.wrapping_sub(slot.base).cast_signed();
    let oldest = slot.oldest().cast_signed();
    let kept_to = if slot.has_waiting() { slot.ahead } else { slot.next };
    let from = if begin < oldest { oldest } else { begin };
    let to = end.min(kept_to.cast_signed());
    if from >= to {
        return false;
    }
    let at = (from - begin).cast_unsigned();
    let in_window = examination.window.length.saturating_sub(at);
    let to = to.cast_unsigned().min(from.cast_unsigned().saturating_add(in_window));
    differs(examination, slot, from.cast_unsigned(), to, at)
}

/// A segment of heads that were read and are not kept: `true` where it goes on within one, `false` where a
/// request starts with it. `None`: it is kept, or of no use.
#[inline(always)]
fn is_unkept(
    examination: &Examination,
    flow: &Flow,
    slot: Option<&Slot>,
    span: Span,
) -> Option<bool> {
    let mut is_head = flow.is_in_head(span.first);
    let is_request = probe(examination) == Probe::Request;
    let Some(slot) = slot else { return (is_head && is_request).then_some(false) };
    if flow.framing == framing::KEPT {
        is_head |= slot.requests.is_within_head(span.first);
    }
    let begin = span.first.wrapping_sub(slot.base).cast_signed();
    let oldest = slot.oldest().cast_signed();
    if !is_head || begin >= oldest || is_before(span.next, span.last) {
        return None;
    }
    if is_request {
        return Some(false);
    }
    (oldest > slot.kept.cast_signed() && begin >= 0).then_some(true)
}

/// Reads a segment by itself that was read before: what it names now is judged too.
#[inline(always)]
fn read_anew(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    span: Span,
    within_head: bool,
) {
    let goes_on = is_before(span.next, span.last);
    if within_head {
        examination.requests.begin_within_head();
    } else {
        examination.requests.begin();
    }
    examination.requests.resume(0, span.first);
    let outcome = read_payload(ctx, examination);
    let is_paused = outcome == Outcome::Paused;
    let is_first = flow.framing == framing::NONE;
    let is_head = examination.requests.framing() == framing::KEPT;
    if is_first && is_paused && is_head {
        // What passed for something else before goes on as a head, and what follows it has passed too.
        lose(flow, span);
        told::reason(examination, NoName::Evasion);
    } else if is_first && examination.names == 0 {
        examination.then_hello = 1;
    } else if goes_on || is_first {
        if examination.names > 0 {
            flow.phase = Phase::Requests as u8;
        }
        if is_paused && goes_on && !is_head {
            flow.keep_framing(&examination.requests, span.last);
            settle(flow, span.last);
        } else {
            lose(flow, if goes_on { span } else { Span { last: span.next, ..span } });
        }
    }
}
