//! From a segment to a name: copy its payload, run the reader for what it could be.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Happening, NAME_BUFFER, NAME_MAX, NameSource, NoName};
use sensor_ebpf::cursor::{WINDOW, bound};
use sensor_ebpf::flow::{Phase, Probe};
use sensor_ebpf::step::Step;
use sensor_ebpf::tls::EXTENSIONS_MAX;

use crate::account::Row;
use crate::flows;
use crate::maps::{self, Examination, STAGES, stage};
use crate::steps::{self, StepFn, run_loop};

/// [`Examination::outcome`] of a reader that ran out of steps.
const UNFINISHED: u32 = 0;
/// [`Examination::outcome`] of a reader that found a name.
const FOUND: u32 = 1;
/// Added to a [`NoName`] in [`Examination::outcome`].
const STOPPED: u32 = 2;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    if let Err(reason) = read_name(ctx, examination) {
        nameless(examination, reason);
        return XDP_PASS;
    }
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::JUDGE) };
    if let Some(row) = Row::find(examination.counters) {
        row.happened(Happening::StageMissing);
    }
    XDP_PASS
}

/// Leaves the name in the event, not yet canonical.
#[inline(always)]
fn read_name(ctx: &XdpContext, examination: &mut Examination) -> Result<(), NoName> {
    let length = examination.payload_length.min(WINDOW as u32);
    load::<WINDOW, { WINDOW as u32 - 1 }>(
        ctx,
        examination.payload,
        &mut examination.window.bytes,
        length,
    )?;
    examination.window.length = length;
    let (at, length) = if examination.probe == Probe::Hello as u32 {
        examination.event.name_source = NameSource::Tls as u8;
        run_hello(examination)?;
        (examination.hello.name_at, examination.hello.name_length)
    } else {
        examination.event.name_source = NameSource::Http as u8;
        run_head(examination)?;
        (examination.head.name_at, examination.head.name_length)
    };
    if length == 0 || length > NAME_MAX as u32 {
        return Err(NoName::Malformed);
    }
    let name = &mut examination.event.name.bytes;
    load::<NAME_BUFFER, { NAME_BUFFER as u32 - 1 }>(ctx, examination.payload + at, name, length)?;
    examination.event.name.length = length as u16;
    Ok(())
}

/// Copies `length` bytes, 1 to `N`, wherever in the packet's fragments they lie. `LAST` is `N - 1`.
#[inline(always)]
fn load<const N: usize, const LAST: u32>(
    ctx: &XdpContext,
    from: u32,
    to: &mut [u8; N],
    length: u32,
) -> Result<(), NoName> {
    const { assert!(N.is_power_of_two() && N == LAST as usize + 1) };
    if length == 0 {
        return Err(NoName::Truncated);
    }
    // The verifier wants the bound right before the call.
    let length = bound::<LAST>(length - 1) + 1;
    // SAFETY: `length` is 1 to `N`.
    match unsafe { bpf_xdp_load_bytes(ctx.ctx, from, to.as_mut_ptr().cast(), length) } {
        0 => Ok(()),
        _ => Err(NoName::Truncated),
    }
}

#[inline(always)]
fn run_hello(examination: &mut Examination) -> Result<(), NoName> {
    let begun = examination.hello.begin(&examination.window);
    if let Step::Stop(reason) = begun {
        return Err(reason);
    }
    run_steps(examination, EXTENSIONS_MAX, hello_step)
}

#[inline(always)]
fn run_head(examination: &mut Examination) -> Result<(), NoName> {
    examination.head.begin();
    run_steps(examination, WINDOW as u32 + 1, head_step)
}

#[inline(always)]
fn run_steps(examination: &mut Examination, most: u32, step: StepFn) -> Result<(), NoName> {
    examination.outcome = UNFINISHED;
    run_loop(examination, most, step);
    match examination.outcome {
        UNFINISHED => Err(NoName::Malformed),
        FOUND => Ok(()),
        stopped => Err(NoName::try_from((stopped - STOPPED) as u8).unwrap_or(NoName::Malformed)),
    }
}

unsafe extern "C" fn hello_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `run_loop` passes the context.
    let examination = unsafe { steps::examination(context) };
    let step = examination.hello.step(&examination.window);
    keep(examination, step)
}

unsafe extern "C" fn head_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `run_loop` passes the context.
    let examination = unsafe { steps::examination(context) };
    let step = examination.head.step(&examination.window);
    keep(examination, step)
}

/// Tells `bpf_loop` whether to go on.
#[inline(always)]
fn keep(examination: &mut Examination, step: Step) -> i64 {
    examination.outcome = match step {
        Step::More => return 0,
        Step::Found => FOUND,
        Step::Stop(reason) => STOPPED + reason as u32,
    };
    1
}

/// Keeps the reason in the flow, unless an earlier segment gave a name.
#[inline(always)]
fn nameless(examination: &Examination, reason: NoName) {
    let Some(flow) = flows::find(&examination.event.key) else { return };
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *flow };
    if flow.name_hash == 0 {
        flow.no_name = reason as u8;
    }
    let is_hello = examination.probe == Probe::Hello as u32 && reason != NoName::NotTls;
    if is_hello && flow.phase == Phase::Waiting as u8 {
        flow.phase = Phase::Named as u8;
    }
}
