//! Running the reader of requests over one segment, name by name: each is judged before the next is
//! looked for.

use core::ffi::c_void;

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{NameSource, NoName};
use sensor_ebpf::http::STEPS_MAX;
use sensor_ebpf::step::Step;

use crate::maps::Examination;
use crate::payload;
use crate::steps::run_loop;

/// Names of one segment that are judged. Each takes two tail calls, and the kernel makes 33
/// (`MAX_TAIL_CALL_CNT`); nobody pipelines as many requests.
const NAMES_MAX: u32 = 12;

/// Windows of one packet: a merged frame of 64 KiB.
const WINDOWS_MAX: u32 = 16;

/// [`Examination::outcome`] of a reader that came to the end of the segment.
const PAUSED: u32 = 0;
/// [`Examination::outcome`] of a reader that found a name.
const FOUND: u32 = 1;
/// Added to a [`NoName`] in [`Examination::outcome`].
const STOPPED: u32 = 2;

/// Puts the first name of the requests that start with the window into the event.
#[inline(always)]
pub(crate) fn first_name(ctx: &XdpContext, examination: &mut Examination) -> Result<(), NoName> {
    examination.requests.begin();
    examination.names = 0;
    next_name(ctx, examination)
}

/// Puts the next name into the event. [`NoName::Truncated`]: the segment has no more.
#[inline(always)]
pub(crate) fn next_name(ctx: &XdpContext, examination: &mut Examination) -> Result<(), NoName> {
    examination.outcome = PAUSED;
    run_loop(&mut Windows { ctx, examination }, WINDOWS_MAX, window_step);
    match examination.outcome {
        PAUSED => return Err(NoName::Truncated),
        FOUND => {}
        stopped => {
            return Err(NoName::try_from((stopped - STOPPED) as u8).unwrap_or(NoName::Malformed));
        }
    }
    if examination.names >= NAMES_MAX {
        return Err(NoName::Oversize);
    }
    examination.names += 1;
    examination.is_further_name = u32::from(examination.requests.is_further_name());
    let event = &mut examination.event;
    event.name_source = NameSource::Http as u8;
    event.name.length = examination.requests.name_length() as u16;
    payload::copy_value(&mut event.name.bytes, examination.requests.name());
    Ok(())
}

struct Windows<'a> {
    ctx: &'a XdpContext,
    examination: &'a mut Examination,
}

/// Reads one window and fills the next.
unsafe extern "C" fn window_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `next_name` passes the context.
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
    examination.requests.resume(0);
    0
}

struct Context<'a> {
    examination: &'a mut Examination,
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `window_step` passes the context.
    let examination = unsafe { &mut *(*context.cast::<Context<'_>>()).examination };
    examination.outcome = match examination.requests.step(&examination.window) {
        Step::More => return 0,
        Step::Pause => PAUSED,
        Step::Found => FOUND,
        Step::Stop(reason) => STOPPED + reason as u32,
    };
    1
}
