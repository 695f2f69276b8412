//! A stream that is kept in a slot: bytes that came ahead wait, bytes that come again are compared, and
//! the reader goes on as far as there is no gap.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Anomaly, Flow, Happening, NoName};
use sensor_ebpf::cursor::WINDOW;
use sensor_ebpf::flow::{Phase, mark};
use sensor_ebpf::probe::Probe;
use sensor_ebpf::slot::{COVERAGE_STEPS_MAX, Comparison, Cover, Coverage, SLOT_BYTES, Slot, WHOLE};
use sensor_ebpf::tls::{HelloReader, STREAM_MAX};

use crate::account::Row;
use crate::handshake::{self, Fate, Place, carry_out, nameless};
use crate::hello::{self, Outcome};
use crate::maps::{self, Examination, NO_REQUEST, stage};
use crate::slots::{self, Opened};
use crate::steps::run_loop;
use crate::{lock, payload};

/// Steps of a comparison: eight bytes each, and pieces at the edges of words, ring and what was read.
const COMPARISON_STEPS_MAX: u32 = WINDOW as u32 / 8 * 2 + 64;

/// Runs of waiting bytes read after one segment: the ring wraps once.
const RUNS_MAX: u32 = 3;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    handshake::begin(examination);
    let Some(flow) = handshake::followed(examination) else { return XDP_PASS };
    let fate = if lock::take(&mut flow.lock) {
        let fate = in_slot(ctx, examination, flow, row);
        lock::give_up(&mut flow.lock);
        fate
    } else {
        Fate::Leave(Anomaly::SlotBusy)
    };
    carry_out::<{ stage::HANDSHAKE }>(ctx, examination, fate, row)
}

#[inline(always)]
fn in_slot(ctx: &XdpContext, examination: &mut Examination, flow: &mut Flow, row: Row) -> Fate {
    if flow.slot == 0 {
        return Fate::Other;
    }
    let place = match Place::of(examination, flow) {
        Ok(place) => place,
        Err(fate) => return fate,
    };
    match slots::open(flow.slot, &examination.event.key, examination.event.time_ns) {
        Opened::Busy => Fate::Leave(Anomaly::SlotBusy),
        Opened::Own(slot) => go_on(ctx, examination, flow, slot, place, row),
        Opened::Lost => {
            flow.slot = 0;
            if flow.phase == Phase::Named as u8 {
                Fate::Other
            } else {
                nameless(examination, NoName::SlotLost)
            }
        }
    }
}

/// What is to be kept of a stream that gets a slot.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// The segment was read, and the hello goes on in another one. Else it came ahead of others.
    pub(crate) read: bool,
    /// What was read of it has the name already.
    pub(crate) named: bool,
}

/// Keeps a stream from its first segment that cannot be read by itself alone. The window holds that
/// segment, of a merged one its end.
#[inline(always)]
pub(crate) fn start(
    ctx: &XdpContext,
    examination: &mut Examination,
    reader: &HelloReader,
    flow: &mut Flow,
    place: Place,
    start: Start,
    row: Row,
) -> Fate {
    let next = if start.read { place.end } else { 0 };
    let claimed = claim(examination, flow, place.from, next, row);
    if start.read {
        flow.examined_to = place.from.wrapping_add(place.end);
    }
    match claimed {
        Ok(slot) => {
            let at = if start.read {
                payload::copy_reader(&mut slot.reader, reader);
                slot.kept = place.end.saturating_sub(examination.window.length);
                slot.kept
            } else {
                slot.reader.begin();
                cover(examination, slot, Cover::Wait, place.begin, place.end);
                slot.ahead = place.end;
                place.begin
            };
            payload::keep(ctx, examination, 0, slot, at);
            slots::unlock(slot);
        }
        Err(reason) if !start.named => return nameless(examination, reason),
        // The name is there; only what the hello offers is lost.
        Err(_) => row.happened(Happening::HelloNotStored),
    }
    if start.read && flow.name_hash == 0 {
        // Until the rest comes.
        flow.no_name = NoName::Truncated as u8;
    }
    if start.named { Fate::Judge } else { Fate::Pass }
}

/// Claims a slot for a flow whose stream is read up to offset `next`.
#[inline(always)]
pub(crate) fn claim(
    examination: &mut Examination,
    flow: &mut Flow,
    from: u32,
    next: u32,
    row: Row,
) -> Result<&'static mut Slot, NoName> {
    let event = &examination.event;
    let hash_key = maps::control().map_or(0, |control| control.hash_key);
    let (number, slot) = slots::claim(&event.key, event.time_ns, hash_key, row)?;
    if slot.has_waiting() {
        // What the last flow left.
        let (from, to) = (slot.next, slot.ahead);
        cover(examination, slot, Cover::Forget, from, to);
    }
    let event = &examination.event;
    slot.begin(&event.key, from, next);
    flow.slot = number;
    Ok(slot)
}

/// Takes the next segment of a stream that has a slot. [`Fate::Other`]: the slot is of no use to it any
/// more, and the segment is to be read by itself.
#[inline(always)]
fn go_on(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Slot,
    place: Place,
    row: Row,
) -> Fate {
    // Offsets of the slot count from an earlier byte than those of the place, if the server has
    // acknowledged something since.
    let acknowledged = place.from.wrapping_sub(slot.base);
    let begin = acknowledged.wrapping_add(place.begin);
    let end = acknowledged.wrapping_add(place.end);
    if acknowledged > slot.next {
        // The server has bytes that did not come by here: what waits has lost its start.
        let_go(flow, slot);
        flow.examined_to = place.from;
        return Fate::Other;
    }
    if payload::fill_window(ctx, examination, place.old).is_err() {
        slots::unlock(slot);
        return Fate::Pass;
    }
    let [a, b, c, ..] = examination.window.word(0).to_le_bytes();
    let probe = Probe::of([a, b, c], examination.window.length);
    if begin == slot.next
        && !slot.reader.is_begun()
        && slot.next == slot.kept
        && probe != Probe::Hello
    {
        if probe == Probe::Request && examination.goes_on != NO_REQUEST {
            // What waits is the rest of it.
            slots::unlock(slot);
            return Fate::Request;
        }
        let_go(flow, slot);
        return Fate::Other;
    }
    examination.server_next = slot.base.wrapping_add(slot.next);
    let fate = take(ctx, examination, flow, slot, Span { old: place.old, begin, end }, row);
    if fate != Taken::Done {
        flow.examined_to = slot.base.wrapping_add(slot.next);
    }
    match fate {
        Taken::Done | Taken::Kept | Taken::Judge => slots::unlock(slot),
        Taken::Leave(anomaly) => {
            slots::unlock(slot);
            return Fate::Leave(anomaly);
        }
        Taken::Plain => {
            let_go(flow, slot);
            return Fate::Pass;
        }
        Taken::Nameless(reason) => {
            let_go(flow, slot);
            return nameless(examination, reason);
        }
    }
    if fate == Taken::Judge { Fate::Judge } else { Fate::Pass }
}

/// A segment's place in the slot.
#[derive(Clone, Copy)]
struct Span {
    /// Bytes at the start of the payload that the server has acknowledged.
    old: u32,
    begin: u32,
    end: u32,
}

/// What came of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It says nothing new.
    Done,
    /// It was kept, and what is read of it gave no name yet.
    Kept,
    /// A name is in the event.
    Judge,
    /// It should not go on.
    Leave(Anomaly),
    /// The stream is no hello.
    Plain,
    /// There will be no name.
    Nameless(NoName),
}

#[inline(always)]
fn take(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Slot,
    span: Span,
    row: Row,
) -> Taken {
    let Span { mut begin, end, .. } = span;
    let mut at = 0;
    let oldest = slot.oldest();
    if begin < oldest {
        // It was read before it was kept, or so long ago that it is kept no more.
        if oldest > slot.kept || starts_anew(examination, begin) {
            return if oldest > slot.kept {
                Taken::Leave(Anomaly::OutOfWindow)
            } else {
                Taken::Nameless(NoName::Evasion)
            };
        }
        if end <= oldest {
            return Taken::Done;
        }
        at = oldest - begin;
        begin = oldest;
    }
    let merged = end - begin > WINDOW as u32;
    if merged && (begin != slot.next || slot.has_waiting()) {
        return Taken::Leave(Anomaly::OutOfWindow);
    }
    let kept_to = if slot.ahead > slot.next { slot.ahead } else { slot.next };
    if begin < kept_to && differs(examination, slot, begin, end.min(kept_to), at) {
        return Taken::Nameless(NoName::Evasion);
    }
    if slot.done != 0 {
        if end > slot.next {
            flow.marks |= mark::UNKEPT;
        }
        return Taken::Done;
    }
    if end <= slot.next {
        return Taken::Done;
    }
    if begin > slot.next {
        if end > slot.next + SLOT_BYTES as u32 {
            return Taken::Leave(Anomaly::OutOfWindow);
        }
        payload::keep(ctx, examination, at, slot, begin);
        cover(examination, slot, Cover::Wait, begin, end);
        slot.ahead = slot.ahead.max(end);
        return Taken::Done;
    }
    let fresh = slot.next - begin + at;
    let was_named = slot.reader.is_named();
    let outcome = if merged {
        read_merged(ctx, examination, slot, span)
    } else {
        payload::keep(ctx, examination, fresh, slot, slot.next);
        if slot.has_waiting() {
            let from = slot.next;
            cover(examination, slot, Cover::Forget, from, end);
        }
        slot.next = end;
        slot.reader.resume(fresh);
        let outcome = hello::read_window(examination, &mut slot.reader);
        read_waiting(examination, slot, outcome)
    };
    conclude(examination, flow, slot, outcome, was_named, row)
}

/// True where a segment starts a hello at the first byte of what was passed over as none.
#[inline(always)]
fn starts_anew(examination: &Examination, begin: u32) -> bool {
    let [a, b, c, ..] = examination.window.word(0).to_le_bytes();
    begin == 0 && Probe::of([a, b, c], examination.window.length) == Probe::Hello
}

/// Reads what waited for this segment.
#[inline(always)]
pub(crate) fn read_waiting(
    examination: &mut Examination,
    slot: &mut Slot,
    first: Outcome,
) -> Outcome {
    let mut outcome = first;
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
        slot.reader.resume(0);
        outcome = hello::read_window(examination, &mut slot.reader);
    }
    outcome
}

/// Reads a merged frame in order; only its last window stays to be compared.
#[inline(always)]
fn read_merged(
    ctx: &XdpContext,
    examination: &mut Examination,
    slot: &mut Slot,
    span: Span,
) -> Outcome {
    slot.reader.resume(0);
    let outcome = hello::read_payload(ctx, examination, &mut slot.reader, span.old);
    slot.next = span.end;
    slot.kept = span.end.saturating_sub(examination.window.length);
    payload::keep(ctx, examination, 0, slot, slot.kept);
    outcome
}

#[inline(always)]
fn conclude(
    examination: &mut Examination,
    flow: &mut Flow,
    slot: &mut Slot,
    outcome: Outcome,
    was_named: bool,
    row: Row,
) -> Taken {
    let named = slot.reader.is_named() && !was_named;
    if named {
        hello::take_name(examination, &slot.reader);
    }
    match outcome {
        Outcome::Found => {
            row.happened(Happening::HelloAssembled);
            hello::store_offer(examination, &mut slot.reader, flow, row);
            // Kept until the server answers, to compare with what is sent again.
            slot.done = WHOLE;
            if !slot.reader.is_named() {
                return Taken::Nameless(NoName::NoSni);
            }
        }
        Outcome::Stopped(NoName::NotTls) => return Taken::Plain,
        Outcome::Stopped(reason) if !slot.reader.is_named() => return Taken::Nameless(reason),
        Outcome::Stopped(_) => slot.done = WHOLE,
        Outcome::Paused => {
            if slot.next > STREAM_MAX && !slot.reader.is_named() {
                return Taken::Nameless(NoName::Oversize);
            }
        }
    }
    if named { Taken::Judge } else { Taken::Kept }
}

/// Compares the window from `window_at` on with what the slot has of `begin..end`.
#[inline(always)]
pub(crate) fn differs(
    examination: &mut Examination,
    slot: &Slot,
    begin: u32,
    end: u32,
    window_at: u32,
) -> bool {
    examination.comparison = Comparison { at: begin, to: end, window_at, differs: 0 };
    run_loop(&mut Context { examination, slot }, COMPARISON_STEPS_MAX, step);
    examination.comparison.differs != 0
}

struct Context<'a> {
    examination: &'a mut Examination,
    slot: &'a Slot,
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `differs` passes the context.
    let context = unsafe { &mut *context.cast::<Context<'_>>() };
    let examination = &mut *context.examination;
    i64::from(!examination.comparison.step(context.slot, &examination.window))
}

/// Works on the bits of `from..to`; gives how far it came.
#[inline(always)]
pub(crate) fn cover(
    examination: &mut Examination,
    slot: &mut Slot,
    cover: Cover,
    from: u32,
    to: u32,
) -> u32 {
    examination.coverage.begin(cover, from, to);
    let mut context = CoverContext { coverage: &mut examination.coverage, slot };
    run_loop(&mut context, COVERAGE_STEPS_MAX, cover_step);
    examination.coverage.at - from
}

struct CoverContext<'a> {
    coverage: &'a mut Coverage,
    slot: &'a mut Slot,
}

unsafe extern "C" fn cover_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `cover` passes the context.
    let context = unsafe { &mut *context.cast::<CoverContext<'_>>() };
    i64::from(!context.coverage.step(context.slot))
}

/// Gives the slot back.
#[inline(always)]
fn let_go(flow: &mut Flow, slot: &mut Slot) {
    flow.slot = 0;
    slots::release(slot);
}
