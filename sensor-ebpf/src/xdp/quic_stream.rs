//! The hellos of a flow's connections: each is kept in a slot of its own, since who sends one between the pieces
//! of another must hide neither. The flow knows the newest slot, and each slot the one before it.

use core::ffi::c_void;

use sensor_ebpf::abi::{Anomaly, Flow, FlowKey, Happening, NameSource, NoName};
use sensor_ebpf::cursor::bound;
use sensor_ebpf::flow::Phase;
use sensor_ebpf::quic::Place;
use sensor_ebpf::slot::{Cover, REFUSED, Slot, WHOLE};
use sensor_ebpf::tls::STREAM_MAX;

use crate::account::Row;
use crate::assemble::{claim, cover, differs, read_waiting};
use crate::handshake::{Fate, followed, nameless, note_reason};
use crate::hello::{self, Outcome};
use crate::initial::next_piece;
use crate::lock;
use crate::maps::Examination;
use crate::payload;
use crate::quic::{Context, Quic};
use crate::slots::{self, Opened};
use crate::steps::run_loop;

/// Connections of a flow whose hellos are under examination. A browser has one; the others are a server's that
/// talks to servers from one port.
const CONNECTIONS_MAX: u32 = 4;

/// CRYPTO frames taken of a packet: browsers make some twenty. A datagram with more is judged as one over bounds.
const PIECES_MAX: u32 = 256;

/// A flow's connections, as far as they are kept.
#[repr(C)]
pub(crate) struct Kept {
    /// Numbers of their slots, the newest first.
    numbers: [u32; CONNECTIONS_MAX as usize],
    /// Number of the slot whose connection has the ID of the Initial at hand, 0 of none.
    pub(crate) with_id: u32,
    /// Slots found.
    count: u32,
    /// Those of them whose hello is not whole, or which are blocked: whatever comes of them must be known as theirs.
    halves: u32,
    /// Number of the next slot.
    next: u32,
}

/// A slot of this flow, to look at. What another CPU writes meanwhile makes wrong keys at worst.
#[inline(always)]
pub(crate) fn peek(number: u32, key: &FlowKey) -> Option<&'static Slot> {
    slots::peek(number).filter(|slot| slot.last_ns != 0 && slot.key == *key)
}

/// Finds the connections of the flow.
#[inline(always)]
pub(crate) fn find(examination: &mut Examination, quic: &mut Quic) {
    quic.kept.with_id = 0;
    quic.kept.count = 0;
    quic.kept.halves = 0;
    quic.kept.next = followed(examination).map_or(0, |flow| flow.slot);
    run_loop(&mut Context { examination, quic }, CONNECTIONS_MAX, find_step);
}

unsafe extern "C" fn find_step(at: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `find` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    let number = quic.kept.next;
    let Some(slot) = peek(number, &examination.event.key) else { return 1 };
    quic.kept.put(at, number);
    quic.kept.count += 1;
    if slot.connection.id.is(&quic.id) && slot.connection.is_version(quic.datagram.header.version())
    {
        quic.kept.with_id = number;
    }
    if slot.done != WHOLE {
        quic.kept.halves += 1;
    }
    quic.kept.next = slot.also;
    0
}

impl Kept {
    #[inline(always)]
    fn put(&mut self, at: u32, number: u32) {
        let index = bound::<{ CONNECTIONS_MAX - 1 }>(at) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.numbers.as_mut_ptr().add(index) = number };
    }

    #[inline(always)]
    fn at(&self, at: u32) -> u32 {
        let index = bound::<{ CONNECTIONS_MAX - 1 }>(at) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.numbers.as_ptr().add(index) }
    }
}

/// Number of the slot whose keys are to be tried: of the one with the ID twice, else of the others in turn, behind
/// the keys of the packet's own ID.
#[inline(always)]
pub(crate) fn to_try(quic: &Quic) -> Option<u32> {
    let Kept { with_id, count, .. } = quic.kept;
    if with_id != 0 {
        return (quic.tried < 2).then_some(with_id);
    }
    (quic.tried <= count).then(|| quic.kept.at(quic.tried.wrapping_sub(1)))
}

/// Takes the pieces of a plain Initial, and reads what is in order. [`Fate::Pass`]: there may be more of the datagram
/// to read.
#[inline(always)]
pub(crate) fn take(examination: &mut Examination, quic: &mut Quic, row: Row) -> Fate {
    let Some(flow) = followed(examination) else {
        // Without a flow nothing can be kept of it.
        return nameless(examination, NoName::SlotFull);
    };
    if !lock::take(&mut flow.lock) {
        return Fate::Leave(Anomaly::SlotBusy);
    }
    let fate = take_alone(examination, quic, flow, row);
    lock::give_up(&mut flow.lock);
    fate
}

#[inline(always)]
fn take_alone(examination: &mut Examination, quic: &mut Quic, flow: &mut Flow, row: Row) -> Fate {
    flow.note_quic(quic.datagram.header.version());
    // Again: another CPU may have begun the connection while this one opened the packet.
    let used = used(quic);
    find(examination, quic);
    let number = if quic.kept.with_id == 0 { used } else { quic.kept.with_id };
    if u32::from(flow.body_laps) > quic.kept.halves {
        // Half a hello was given up for another flow, and this could be the rest of it.
        return nameless(examination, NoName::SlotLost);
    }
    let slot = match open(examination, quic, flow, number, row) {
        Ok(Some(slot)) => slot,
        Ok(None) => return Fate::Pass,
        Err(fate) => return fate,
    };
    if slot.done == REFUSED {
        slots::unlock(slot);
        return Fate::Drop;
    }
    slot.connection.opened(quic.opening.number);
    let was_done = slot.done != 0;
    let fate = read(examination, quic, flow, slot, row);
    let is_done = slot.done != 0;
    if was_done && !is_done {
        flow.body_laps += 1;
    } else if is_done && !was_done {
        flow.body_laps = flow.body_laps.saturating_sub(1);
    }
    slots::unlock(slot);
    fate
}

/// Number of the slot whose keys opened the packet; 0 where its own did.
#[inline(always)]
fn used(quic: &Quic) -> u32 {
    if quic.kept.with_id == 0 && quic.tried == 0 { 0 } else { to_try(quic).unwrap_or(0) }
}

/// The slot of the connection; `None` where it has none and needs none.
#[inline(always)]
fn open(
    examination: &mut Examination,
    quic: &mut Quic,
    flow: &mut Flow,
    number: u32,
    row: Row,
) -> Result<Option<&'static mut Slot>, Fate> {
    if number != 0 {
        let event = &examination.event;
        return match slots::open(number, &event.key, event.time_ns) {
            Opened::Own(slot) => {
                examination.connection = number;
                Ok(Some(slot))
            }
            Opened::Busy => Err(Fate::Leave(Anomaly::SlotBusy)),
            Opened::Lost => Err(nameless(examination, NoName::SlotLost)),
        };
    }
    if quic.frames.pieces == 0 {
        return Ok(None);
    }
    if quic.kept.count >= CONNECTIONS_MAX {
        return Err(nameless(examination, NoName::SlotShare));
    }
    let before = flow.slot;
    let slot = match claim(examination, flow, 0, 0, row) {
        Ok(slot) => slot,
        Err(reason) => return Err(nameless(examination, reason)),
    };
    examination.connection = flow.slot;
    slot.also = if quic.kept.count == 0 { 0 } else { before };
    slot.reader.begin_message();
    slot.connection.begin(&quic.id, quic.datagram.header.version(), &quic.schedule.keys);
    flow.body_laps += 1;
    Ok(Some(slot))
}

struct Pieces<'a> {
    examination: &'a mut Examination,
    quic: &'a mut Quic,
    slot: &'a mut Slot,
    anomaly: u32,
}

/// [`Pieces::anomaly`] while there is none.
const NONE: u32 = 0;
/// [`Pieces::anomaly`]: a byte came in two versions.
const DIFFERS: u32 = 1;
/// [`Pieces::anomaly`]: a piece lies where nothing is kept.
const OUTSIDE: u32 = 2;
/// [`Pieces::anomaly`]: all were taken.
const OVER: u32 = 3;

#[inline(always)]
fn read(
    examination: &mut Examination,
    quic: &mut Quic,
    flow: &mut Flow,
    slot: &mut Slot,
    row: Row,
) -> Fate {
    quic.frames.begin(quic.opening.payload_at, quic.opening.payload_end);
    let mut context = Pieces {
        examination: &mut *examination,
        quic: &mut *quic,
        slot: &mut *slot,
        anomaly: NONE,
    };
    run_loop(&mut context, PIECES_MAX, take_step);
    match context.anomaly {
        OVER => {}
        OUTSIDE => return Fate::Leave(Anomaly::OutOfWindow),
        DIFFERS => return nameless(examination, NoName::Evasion),
        _ => return nameless(examination, NoName::Oversize),
    }
    if quic.counted == 0 && quic.frames.pieces != 0 {
        quic.counted = 1;
        slot.connection.datagrams += 1;
    }
    if slot.done != 0 {
        return Fate::Pass;
    }
    let was_named = slot.reader.is_named();
    let outcome = read_waiting(examination, slot, Outcome::Paused);
    let named = slot.reader.is_named();
    if named && !was_named {
        hello::take_name(examination, &slot.reader);
        examination.event.name_source = NameSource::Quic as u8;
        quic.named = 1;
    }
    match outcome {
        Outcome::Paused if slot.next > STREAM_MAX && !named => {
            slot.done = WHOLE;
            return nameless(examination, NoName::Oversize);
        }
        Outcome::Paused => {
            // Until the rest comes.
            note_reason(flow, NoName::Truncated);
            return Fate::Pass;
        }
        Outcome::Found => {
            hello::store_offer(examination, &mut slot.reader, flow, row);
            if slot.connection.datagrams > 1 {
                row.happened(Happening::HelloAssembled);
            }
        }
        Outcome::Stopped(_) => {}
    }
    // Kept until the server answers, to compare with what is sent again.
    slot.done = WHOLE;
    flow.examined = slot.connection.datagrams.min(u32::from(u8::MAX)) as u8;
    if named {
        return Fate::Pass;
    }
    let reason = match outcome {
        // It is no hello, and there is no other way to say so here.
        Outcome::Stopped(NoName::NotTls) => NoName::Malformed,
        Outcome::Stopped(reason) => reason,
        Outcome::Found | Outcome::Paused => NoName::NoSni,
    };
    nameless(examination, reason)
}

/// Finds the next CRYPTO frame, compares it and keeps it.
unsafe extern "C" fn take_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read` passes the context.
    let Pieces { examination, quic, slot, anomaly } = unsafe { &mut *context.cast::<Pieces<'_>>() };
    if !next_piece(examination, quic) {
        *anomaly = OVER;
        return 1;
    }
    let piece = quic.frames.piece;
    if slot.done != 0 && piece.end() > slot.next {
        // A second hello, which the server asked for (RFC 8446 section 4.1.4).
        slot.done = 0;
        slot.reader.begin_message();
    }
    let place = piece.place(slot);
    if matches!(place, Place::TooOld | Place::TooFar) {
        *anomaly = OUTSIDE;
        return 1;
    }
    let comparison = piece.comparison(slot);
    let (from, to, at) = (comparison.at, comparison.to, comparison.window_at);
    if from < to && differs(examination, slot, from, to, at) {
        *anomaly = DIFFERS;
        return 1;
    }
    if let Place::Keep(fresh) = place {
        let offset = piece.offset + fresh;
        let count = piece.length - fresh;
        payload::keep_plain(&examination.window, piece.at + fresh, slot, offset, count);
        cover(examination, slot, Cover::Wait, offset, piece.end());
        slot.ahead = slot.ahead.max(piece.end());
    }
    0
}

/// Keeps what a server's packet says: once it has a hello whole, that one is judged.
#[inline(always)]
pub(crate) fn hear_server(flow: &mut Flow, key: &FlowKey, first: u8) {
    if flow.phase == Phase::Named as u8 && flow.is_answered_by(first) {
        flow.phase = Phase::Answered as u8;
        slots::free_whole(flow, key);
    }
}
