//! From a client's Initial to a name: its keys, its frames, and the slot that its hello is put together in.
//!
//! A sketch that no stage leads to. Of a datagram the first Initial is read, with the keys of its own connection
//! ID; connections are not told apart, and nothing is said of what cannot be read.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::Flow;
use sensor_ebpf::quic::{
    ConnectionId, DATAGRAM_STEPS_MAX, Datagram, FRAME_STEPS_MAX, Frame, FrameReader, KEY_STEPS_MAX,
    KeySchedule, OPENING_STEPS_MAX, Opened, Opening, Packet, Place,
};
use sensor_ebpf::slot::{Cover, Slot};

use crate::account::Row;
use crate::assemble::{claim, cover, differs, read_waiting};
use crate::handshake::{self, Fate, carry_out, followed};
use crate::hello::{self, Outcome};
use crate::maps::{self, Examination, stage};
use crate::steps::run_loop;
use crate::{lock, payload, slots};

/// CRYPTO frames taken of a packet: browsers make some ten, and a frame that says nothing has four bytes.
const PIECES_MAX: u32 = 64;

/// What an Initial is opened with.
#[repr(C)]
pub(crate) struct Quic {
    datagram: Datagram,
    id: ConnectionId,
    schedule: KeySchedule,
    opening: Opening,
    frames: FrameReader,
    /// [`GOES_ON`], [`DONE`] or [`REFUSED`].
    progress: u32,
    reserved: u32,
}

const GOES_ON: u32 = 0;
const DONE: u32 = 1;
const REFUSED: u32 = 2;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(quic) = maps::quic() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    handshake::begin(examination);
    if payload::fill_window(ctx, examination, 0).is_err() || !open(examination, quic) {
        return XDP_PASS;
    }
    let Some(flow) = followed(examination) else { return XDP_PASS };
    if !lock::take(&mut flow.lock) {
        return XDP_PASS;
    }
    let fate = take(examination, quic, flow, row);
    lock::give_up(&mut flow.lock);
    carry_out::<{ stage::ASSEMBLE }>(ctx, examination, fate, row)
}

struct Context<'a> {
    examination: &'a mut Examination,
    quic: &'a mut Quic,
}

/// Makes the first Initial of the window plain, and walks its frames to the end.
#[inline(always)]
fn open(examination: &mut Examination, quic: &mut Quic) -> bool {
    quic.datagram.begin();
    if !stepped(examination, quic, DATAGRAM_STEPS_MAX, packet_step) {
        return false;
    }
    let header = &quic.datagram.header;
    quic.id.take(header, &examination.window);
    quic.schedule.begin(&quic.id, header.version());
    if !stepped(examination, quic, KEY_STEPS_MAX, key_step) {
        return false;
    }
    quic.opening.begin(&quic.datagram.header, 0);
    if !stepped(examination, quic, OPENING_STEPS_MAX, opening_step) {
        return false;
    }
    // The window is not as it was filled.
    examination.window_from = payload::NOWHERE;
    quic.frames.begin(quic.opening.payload_at, quic.opening.payload_end);
    stepped(examination, quic, FRAME_STEPS_MAX, walk_step)
}

/// True where the steps came to an end that is good.
#[inline(always)]
fn stepped(
    examination: &mut Examination,
    quic: &mut Quic,
    most: u32,
    step: unsafe extern "C" fn(u32, *mut c_void) -> i64,
) -> bool {
    quic.progress = GOES_ON;
    run_loop(&mut Context { examination, quic: &mut *quic }, most, step);
    quic.progress == DONE
}

unsafe extern "C" fn packet_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.datagram.step(&examination.window) {
        Ok(Packet::Other) => return 0,
        Ok(Packet::Initial) => DONE,
        Ok(Packet::Retry | Packet::End) | Err(_) => REFUSED,
    };
    1
}

unsafe extern "C" fn key_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let quic = unsafe { &mut *(*context.cast::<Context<'_>>()).quic };
    if quic.schedule.step() {
        return 0;
    }
    quic.progress = DONE;
    1
}

unsafe extern "C" fn opening_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.opening.step(&quic.schedule.keys, &mut examination.window) {
        Opened::More => return 0,
        Opened::Done => DONE,
        Opened::Stop(_) => REFUSED,
    };
    1
}

unsafe extern "C" fn walk_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.frames.step(&examination.window) {
        Frame::More | Frame::Crypto => return 0,
        Frame::End => DONE,
        Frame::Stop(_) => REFUSED,
    };
    1
}

/// Takes the pieces of a plain Initial to the slot of its flow, and reads what is in order.
#[inline(always)]
fn take(examination: &mut Examination, quic: &mut Quic, flow: &mut Flow, row: Row) -> Fate {
    let slot = if flow.slot == 0 {
        let Ok(slot) = claim(examination, flow, 0, 0, row) else { return Fate::Pass };
        slot.reader.begin_message();
        slot
    } else {
        let event = &examination.event;
        let slots::Opened::Own(slot) = slots::open(flow.slot, &event.key, event.time_ns) else {
            return Fate::Pass;
        };
        slot
    };
    let was_named = slot.reader.is_named();
    quic.frames.begin(quic.opening.payload_at, quic.opening.payload_end);
    let mut context = Pieces { examination: &mut *examination, quic: &mut *quic, slot: &mut *slot };
    run_loop(&mut context, PIECES_MAX, piece_step);
    let outcome = read_waiting(examination, slot, Outcome::Paused);
    if outcome != Outcome::Paused {
        slot.done = 1;
    }
    let named = slot.reader.is_named() && !was_named;
    if named {
        hello::take_name(examination, &slot.reader);
    }
    slots::unlock(slot);
    if named { Fate::Judge } else { Fate::Pass }
}

struct Pieces<'a> {
    examination: &'a mut Examination,
    quic: &'a mut Quic,
    slot: &'a mut Slot,
}

/// Finds the next CRYPTO frame, compares it and keeps it.
unsafe extern "C" fn piece_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `take` passes the context.
    let Pieces { examination, quic, slot } = unsafe { &mut *context.cast::<Pieces<'_>>() };
    if !stepped(examination, quic, FRAME_STEPS_MAX, next_step) {
        return 1;
    }
    let piece = quic.frames.piece;
    let place = piece.place(slot);
    if matches!(place, Place::TooOld | Place::TooFar) {
        return 1;
    }
    let comparison = piece.comparison(slot);
    let (from, to, at) = (comparison.at, comparison.to, comparison.window_at);
    if from < to && differs(examination, slot, from, to, at) {
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

unsafe extern "C" fn next_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.frames.step(&examination.window) {
        Frame::More => return 0,
        Frame::Crypto => DONE,
        Frame::End | Frame::Stop(_) => REFUSED,
    };
    1
}
