//! Running the reader of requests over a packet, and over what waited for it.

use core::ffi::c_void;

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::NoName;
use sensor_ebpf::http::{STEPS_MAX, State};
use sensor_ebpf::step::Step;

use crate::handshake::first_byte;
use crate::maps::Examination;
use crate::steps::run_loop;
use crate::{payload, told};

/// Windows of one packet: a merged frame of 64 KiB.
const WINDOWS_MAX: u32 = 16;

/// How the reader left the bytes it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It wants more.
    Paused,
    /// Where the next request starts is not known.
    Stopped(NoName),
}

/// [`Examination::outcome`] of a reader that wants more.
const PAUSED: u32 = 0;
/// Added to a [`NoName`] in [`Examination::outcome`].
const STOPPED: u32 = 1;

/// Runs the reader over the window and the rest of the payload behind it. What the requests name is told
/// to [`told`].
#[inline(always)]
pub(crate) fn read_payload(ctx: &XdpContext, examination: &mut Examination) -> Outcome {
    examination.outcome = PAUSED;
    run_loop(&mut Windows { ctx, examination }, WINDOWS_MAX, window_step);
    outcome_of(examination)
}

/// Runs the reader over the window.
#[inline(always)]
pub(crate) fn read_window(examination: &mut Examination) -> Outcome {
    examination.outcome = PAUSED;
    run_loop(&mut Context { examination }, STEPS_MAX, step);
    outcome_of(examination)
}

#[inline(always)]
fn outcome_of(examination: &Examination) -> Outcome {
    match examination.outcome {
        PAUSED => Outcome::Paused,
        stopped => Outcome::Stopped(
            NoName::try_from((stopped - STOPPED) as u8).unwrap_or(NoName::Malformed),
        ),
    }
}

struct Windows<'a> {
    ctx: &'a XdpContext,
    examination: &'a mut Examination,
}

/// Reads one window and fills the next.
unsafe extern "C" fn window_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_payload` passes the context.
    let Windows { ctx, examination } = unsafe { &mut *context.cast::<Windows<'_>>() };
    run_loop(&mut Context { examination }, STEPS_MAX, step);
    if examination.outcome != PAUSED {
        return 1;
    }
    let payload = examination.packet.payload;
    let at = examination.window_from - payload + examination.window.length;
    if at >= examination.packet.payload_length
        || payload::fill_window(ctx, examination, at).is_err()
    {
        return 1;
    }
    let sequence = window_sequence(examination);
    examination.requests.resume(0, sequence);
    0
}

/// Sequence number of the window's first byte, where it was filled from the packet.
#[inline(always)]
pub(crate) fn window_sequence(examination: &Examination) -> u32 {
    let at = examination.window_from - examination.packet.payload;
    first_byte(examination).wrapping_add(at)
}

struct Context<'a> {
    examination: &'a mut Examination,
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only the functions above pass the context.
    let examination = unsafe { &mut *(*context.cast::<Context<'_>>()).examination };
    let reason = match examination.requests.step(&examination.window) {
        Step::More => return 0,
        Step::Pause => return 1,
        Step::Found => {
            if told::name(examination) {
                return 0;
            }
            NoName::Oversize
        }
        Step::Stop(reason) => {
            if examination.requests.state() != State::Lost {
                examination.requests.forget_name();
                told::reason(examination, reason);
                return 0;
            }
            reason
        }
    };
    examination.outcome = STOPPED + reason as u32;
    1
}
