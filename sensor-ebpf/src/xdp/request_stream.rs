//! The bytes of a connection's requests in order: read on, or kept in a slot until those before them come.

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Anomaly, Flow, NoName};
use sensor_ebpf::flow::Phase;
use sensor_ebpf::http::framing;
use sensor_ebpf::probe::Probe;
use sensor_ebpf::slot::{Cover, SLOT_BYTES, Slot};

use crate::account::Row;
use crate::assemble::{claim, cover};
use crate::handshake::note_reason;
use crate::maps::Examination;
use crate::request_reading::{Outcome, read_payload, read_window, window_sequence};
use crate::requests::{Fate, Span, is_seen, look_for_hello, lose, probe, settle};
use crate::{payload, slots, told};

/// Runs of waiting bytes read after one segment: the ring wraps once.
const RUNS_MAX: u32 = 3;

/// Keeps a segment that came ahead of others.
#[inline(always)]
pub(crate) fn wait(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Option<&'static mut Slot>,
    span: Span,
    row: Row,
) -> Fate {
    let ahead = span.last.wrapping_sub(span.next);
    if ahead > SLOT_BYTES as u32 {
        return Err(Anomaly::OutOfWindow);
    }
    if flow.framing != framing::KEPT {
        flow.restore_framing(&mut examination.requests);
    }
    if slot.is_none() {
        match claim(examination, flow, span.next, 0, row) {
            Ok(new) => {
                new.reader.begin();
                *slot = Some(new);
            }
            Err(reason) => {
                lose(flow, span);
                told::reason(examination, reason);
                return Ok(());
            }
        }
    }
    let Some(slot) = slot else { return Ok(()) };
    if flow.framing != framing::KEPT {
        move_to(slot, span.next);
        payload::copy_value(&mut slot.requests, &examination.requests);
        flow.framing = framing::KEPT;
        flow.examined_to = span.next;
    }
    let begin = span.first.wrapping_sub(slot.base);
    let end = span.last.wrapping_sub(slot.base);
    payload::keep(ctx, examination, 0, slot, begin);
    cover(examination, slot, Cover::Wait, begin, end);
    slot.ahead = slot.ahead.max(end);
    Ok(())
}

/// Goes on at this byte: what lies before it, of a body, was not kept.
#[inline(always)]
fn move_to(slot: &mut Slot, next: u32) {
    let offset = next.wrapping_sub(slot.base);
    if offset != slot.next {
        slot.next = offset;
        slot.kept = offset;
    }
}

/// Reads what the segment adds to the stream, and what waited for it.
#[inline(always)]
pub(crate) fn read_on(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Option<&'static mut Slot>,
    span: Span,
    row: Row,
) -> Fate {
    let is_start = flow.framing == framing::START || flow.framing == framing::TUNNEL;
    if is_start && span.old() == 0 && probe(examination) == Probe::Hello {
        look_for_hello(examination, flow, span);
        return Ok(());
    }
    let mut at = span.old();
    if at >= examination.window.length {
        if payload::fill_window(ctx, examination, at).is_err() {
            return Ok(());
        }
        at = 0;
    }
    let is_merged = span.last.wrapping_sub(span.next) > examination.window.length - at;
    match slot {
        Some(slot) if is_merged && slot.has_waiting() => return Err(Anomaly::OutOfWindow),
        Some(slot) if flow.framing == framing::KEPT => {
            payload::copy_value(&mut examination.requests, &slot.requests);
        }
        Some(_) | None => flow.restore_framing(&mut examination.requests),
    }
    let sequence = window_sequence(examination);
    examination.requests.resume(at, sequence);
    let mut outcome = read_payload(ctx, examination);
    if outcome == Outcome::Paused {
        if slot.is_none()
            && let Err(reason) = hold(examination, flow, slot, span, row)
        {
            lose(flow, span);
            told::reason(examination, reason);
            return Ok(());
        }
        if let Some(slot) = slot {
            move_to(slot, span.next);
            let next = span.last.wrapping_sub(slot.base);
            let from = if is_merged { next - examination.window.length } else { slot.next };
            payload::keep(ctx, examination, if is_merged { 0 } else { at }, slot, from);
            if is_merged {
                slot.kept = from;
            }
            if slot.has_waiting() {
                let from = slot.next;
                cover(examination, slot, Cover::Forget, from, next);
            }
            slot.next = next;
            outcome = read_waiting(examination, slot);
        }
    }
    conclude(examination, flow, slot, span, outcome, row);
    Ok(())
}

/// Claims a slot where one is needed: for a head that is incomplete, or to compare what the server has not
/// acknowledged with what is sent again.
#[inline(always)]
fn hold(
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Option<&'static mut Slot>,
    span: Span,
    row: Row,
) -> Result<(), NoName> {
    let is_head = examination.requests.framing() == framing::KEPT;
    let is_spare = is_seen(flow) && slots::has_room_for_whole(&examination.event.key.lan_address);
    if !is_head && !is_spare {
        return Ok(());
    }
    match claim(examination, flow, span.next, 0, row) {
        Ok(new) => {
            new.reader.begin();
            *slot = Some(new);
            Ok(())
        }
        Err(reason) if is_head => Err(reason),
        Err(_) => Ok(()),
    }
}

/// Reads what waited for the last segment.
#[inline(always)]
fn read_waiting(examination: &mut Examination, slot: &mut Slot) -> Outcome {
    let mut outcome = Outcome::Paused;
    for _ in 0..RUNS_MAX {
        if outcome != Outcome::Paused || !slot.has_waiting() {
            break;
        }
        let (from, most) = (slot.next, slot.run_end());
        let run = cover(examination, slot, Cover::Measure, from, most);
        if run == 0 {
            break;
        }
        cover(examination, slot, Cover::Forget, from, from + run);
        payload::recall(examination, slot, from, run);
        slot.next += run;
        examination.requests.resume(0, slot.base.wrapping_add(from));
        outcome = read_window(examination);
    }
    outcome
}

/// Keeps what was read, in the flow or in its slot.
#[inline(always)]
fn conclude(
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Option<&'static mut Slot>,
    span: Span,
    outcome: Outcome,
    row: Row,
) {
    let is_first = flow.phase != Phase::Requests as u8 && examination.names == 0;
    if examination.names > 0 {
        flow.phase = Phase::Requests as u8;
    }
    let Outcome::Stopped(reason) = outcome else {
        let next = slot.as_ref().map_or(span.last, |slot| slot.base.wrapping_add(slot.next));
        if examination.names == 0 && flow.name_hash == 0 {
            // Until the rest comes.
            flow.no_name = NoName::Truncated as u8;
        }
        let mut is_kept = examination.requests.framing() == framing::KEPT;
        if let Some(slot) = slot
            && slot.has_waiting()
        {
            let (from, to) = (slot.next, slot.ahead);
            if examination.requests.passes_over(to - from) {
                cover(examination, slot, Cover::Forget, from, to);
                slot.ahead = 0;
            } else {
                is_kept = true;
            }
        }
        if is_kept && let Some(slot) = slot {
            payload::copy_value(&mut slot.requests, &examination.requests);
        }
        flow.keep_framing(&examination.requests, next);
        if is_kept {
            flow.framing = framing::KEPT;
            flow.examined_to = next;
        } else {
            if !is_seen(flow) {
                flow.slot = 0;
            }
            settle(flow, next);
        }
        return;
    };
    if reason != NoName::NotTls {
        lose(flow, span);
        flow.phase = Phase::Requests as u8;
        told::reason(examination, reason);
        return;
    }
    if examination.requests.is_tunnel() && !is_first {
        look_for_hello(examination, flow, span);
        return;
    }
    row.no_name(NoName::NotTls);
    note_reason(flow, NoName::NotTls);
    if is_first {
        // No HTTP: other protocols' lines start with upper-case letters too.
        flow.framing = framing::NONE;
        flow.slot = 0;
        examination.then_hello = 1;
    } else {
        lose(flow, span);
    }
}
