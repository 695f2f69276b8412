//! Running the HTTP reader over one segment.

use core::ffi::c_void;

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{NAME_BUFFER, NAME_MAX, NameSource, NoName};
use sensor_ebpf::cursor::WINDOW;
use sensor_ebpf::step::Step;

use crate::maps::Examination;
use crate::payload;
use crate::steps::run_loop;

/// [`Examination::outcome`] of a reader that ran out of steps.
const UNFINISHED: u32 = 0;
/// [`Examination::outcome`] of a reader that found a name.
const FOUND: u32 = 1;
/// Added to a [`NoName`] in [`Examination::outcome`].
const STOPPED: u32 = 2;

struct Context<'a> {
    examination: &'a mut Examination,
}

/// Reads the head in the window, whose first byte lies at `at` of the payload, and puts the name into
/// the event.
#[inline(always)]
pub(crate) fn read_name(
    ctx: &XdpContext,
    examination: &mut Examination,
    at: u32,
) -> Result<(), NoName> {
    examination.event.name_source = NameSource::Http as u8;
    examination.head.begin();
    examination.outcome = UNFINISHED;
    run_loop(&mut Context { examination }, WINDOW as u32 + 1, step);
    match examination.outcome {
        UNFINISHED => return Err(NoName::Malformed),
        FOUND => {}
        stopped => {
            return Err(NoName::try_from((stopped - STOPPED) as u8).unwrap_or(NoName::Malformed));
        }
    }
    let length = examination.head.name_length;
    if length == 0 || length > NAME_MAX as u32 {
        return Err(NoName::Malformed);
    }
    let from = examination.packet.payload + at + examination.head.name_at;
    let name = &mut examination.event.name.bytes;
    payload::load::<NAME_BUFFER, { NAME_BUFFER as u32 - 1 }>(ctx, from, name, length)
        .map_err(|payload::Missing| NoName::Truncated)?;
    examination.event.name.length = length as u16;
    Ok(())
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_name` passes the context.
    let examination = unsafe { &mut *(*context.cast::<Context<'_>>()).examination };
    examination.outcome = match examination.head.step(&examination.window) {
        Step::More | Step::Pause => return 0,
        Step::Found => FOUND,
        Step::Stop(reason) => STOPPED + reason as u32,
    };
    1
}
