//! Opening an Initial: with the keys of the connection that it names, with those made of its own connection ID,
//! or with those of the flow's other connections, whose clients send another ID once the server has chosen one.

use core::ffi::c_void;

use sensor_ebpf::abi::NoName;
use sensor_ebpf::quic::{
    FRAME_STEPS_MAX, Frame, KEY_STEPS_MAX, OPENING_STEPS_MAX, Opened as Step, Unread,
};

use crate::maps::Examination;
use crate::payload;
use crate::quic::{Context, Quic};
use crate::quic_stream;
use crate::steps::{StepFn, run_loop};

/// What came of a set of keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The packet is plain, and its frames end where it does.
    Yes,
    /// Other keys are to be tried.
    Other,
    /// There are no others.
    No,
}

// Values of `Quic::progress` while a packet is opened.
const GOES_ON: u32 = 0;
const DONE: u32 = 1;
const REFUSED: u32 = 2;

/// Makes the Initial at hand plain in the window, with the keys that it is the turn of.
///
/// A packet has a tag that proves its keys, which would cost more than all the rest. That its frames end where it
/// ends is proof enough for what is read here: a packet that is none says nothing to a server.
#[inline(always)]
pub(crate) fn open(examination: &mut Examination, quic: &mut Quic) -> Opened {
    let Some(expected) = choose(examination, quic) else { return Opened::No };
    quic.opening.begin(&quic.datagram.header, expected);
    if !stepped(examination, quic, OPENING_STEPS_MAX, opening_step) {
        return Opened::Other;
    }
    // The window is not as it was filled.
    examination.window_from = payload::NOWHERE;
    quic.frames.begin(quic.opening.payload_at, quic.opening.payload_end);
    if !stepped(examination, quic, FRAME_STEPS_MAX, walk_step) {
        return Opened::Other;
    }
    Opened::Yes
}

/// Puts the keys to try next in place; gives the packet number that is expected with them.
#[inline(always)]
fn choose(examination: &mut Examination, quic: &mut Quic) -> Option<u64> {
    let tried = quic.tried;
    let is_own = tried == 0 && quic.kept.with_id == 0;
    if is_own {
        quic.reason = NoName::QuicKeys as u32;
        quic.schedule.begin(&quic.id, quic.datagram.header.version());
        return stepped(examination, quic, KEY_STEPS_MAX, key_step).then_some(0);
    }
    let number = quic_stream::to_try(quic)?;
    let slot = quic_stream::peek(number, &examination.event.key)?;
    quic.schedule.keys = slot.connection.keys;
    // A packet with a high number that reached no server must not hide those that do.
    let is_again = tried != 0 && quic.kept.with_id != 0;
    Some(if is_again { 0 } else { slot.connection.expected })
}

/// True where the steps came to an end that is good.
#[inline(always)]
fn stepped(examination: &mut Examination, quic: &mut Quic, most: u32, step: StepFn) -> bool {
    quic.progress = GOES_ON;
    run_loop(&mut Context { examination, quic: &mut *quic }, most, step);
    quic.progress == DONE
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
        Step::More => return 0,
        Step::Done => DONE,
        Step::Stop(_) => REFUSED,
    };
    1
}

unsafe extern "C" fn walk_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.frames.step(&examination.window) {
        Frame::More | Frame::Crypto => return 0,
        Frame::End => DONE,
        Frame::Stop(unread) => {
            if unread == Unread::Oversize && quic.tried == 0 {
                quic.reason = NoName::Oversize as u32;
            }
            REFUSED
        }
    };
    1
}

/// Goes on to the next CRYPTO frame of a packet that was walked. `false`: there is none.
#[inline(always)]
pub(crate) fn next_piece(examination: &mut Examination, quic: &mut Quic) -> bool {
    stepped(examination, quic, FRAME_STEPS_MAX, piece_step)
}

unsafe extern "C" fn piece_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `stepped` passes the context.
    let Context { examination, quic } = unsafe { &mut *context.cast::<Context<'_>>() };
    quic.progress = match quic.frames.step(&examination.window) {
        Frame::More => return 0,
        Frame::Crypto => DONE,
        Frame::End | Frame::Stop(_) => REFUSED,
    };
    1
}
