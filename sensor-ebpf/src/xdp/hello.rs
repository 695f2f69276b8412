//! Running the TLS reader over what a segment brings, and keeping what a whole hello offers.

use core::ffi::c_void;

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Flow, Happening, NAME_BUFFER, NameSource, NoName, StoredHello};
use sensor_ebpf::step::Step;
use sensor_ebpf::tls::{HelloReader, OFFER_STEPS_MAX, OfferHash, SCAN_STEPS_MAX, STEPS_MAX};

use crate::account::Row;
use crate::maps::{self, Examination, HELLOS};
use crate::payload;
use crate::steps::run_loop;

/// Windows of one packet: a merged frame of 64 KiB.
const WINDOWS_MAX: u32 = 16;

/// How a reader left the bytes it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It wants more.
    Paused,
    /// The hello is over.
    Found,
    /// It will not be read.
    Stopped(NoName),
}

/// [`Examination::outcome`] while a reader is at work.
const MORE: u32 = 0;
const PAUSED: u32 = 1;
const FOUND: u32 = 2;
/// Added to a [`NoName`].
const STOPPED: u32 = 3;

struct Context<'a> {
    reader: &'a mut HelloReader,
    examination: &'a mut Examination,
}

/// Runs the reader over the window.
#[inline(always)]
pub(crate) fn read_window(examination: &mut Examination, reader: &mut HelloReader) -> Outcome {
    examination.outcome = MORE;
    run_loop(&mut Context { reader, examination }, STEPS_MAX, step);
    outcome_of(examination)
}

#[inline(always)]
fn outcome_of(examination: &Examination) -> Outcome {
    match examination.outcome {
        // Every byte is a step at most, so the steps cannot run out before the window does.
        MORE | PAUSED => Outcome::Paused,
        FOUND => Outcome::Found,
        stopped => Outcome::Stopped(
            NoName::try_from((stopped - STOPPED) as u8).unwrap_or(NoName::Malformed),
        ),
    }
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_window` passes the context.
    let context = unsafe { &mut *context.cast::<Context<'_>>() };
    context.examination.outcome = match context.reader.step(&context.examination.window) {
        Step::More => return 0,
        Step::Pause => PAUSED,
        Step::Found => FOUND,
        Step::Stop(reason) => STOPPED + reason as u32,
    };
    1
}

/// Runs the reader over the payload, whose first part, from `at` on, is in the window already.
#[inline(always)]
pub(crate) fn read_payload(
    ctx: &XdpContext,
    examination: &mut Examination,
    reader: &mut HelloReader,
    at: u32,
) -> Outcome {
    run_loop(&mut Windows { ctx, reader, examination, at }, WINDOWS_MAX, window_step);
    outcome_of(examination)
}

struct Windows<'a> {
    ctx: &'a XdpContext,
    reader: &'a mut HelloReader,
    examination: &'a mut Examination,
    at: u32,
}

/// Reads one window and fills the next.
unsafe extern "C" fn window_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_payload` passes the context.
    let Windows { ctx, reader, examination, at } = unsafe { &mut *context.cast::<Windows<'_>>() };
    let outcome = read_window(examination, reader);
    *at += examination.window.length;
    if outcome != Outcome::Paused
        || *at >= examination.packet.payload_length
        || payload::fill_window(ctx, examination, *at).is_err()
    {
        return 1;
    }
    reader.resume(0);
    0
}

/// Puts the name into the event.
#[inline(always)]
pub(crate) fn take_name(examination: &mut Examination, reader: &HelloReader) {
    let event = &mut examination.event;
    event.name_source = NameSource::Tls as u8;
    event.name.length = reader.name_length() as u16;
    let from = reader.name().as_ptr().cast::<[u8; NAME_BUFFER]>();
    // SAFETY: the reader's buffer is longer than the event's.
    payload::copy_value(&mut event.name.bytes, unsafe { &*from });
}

/// Keeps what a whole hello offers, and notes in the flow where.
#[inline(always)]
pub(crate) fn store_offer(
    examination: &mut Examination,
    reader: &mut HelloReader,
    flow: &mut Flow,
    row: Row,
) {
    let Some(control) = maps::control() else { return };
    examination.offer.begin(reader, control.hash_key);
    let mut context = OfferContext { offer: &mut examination.offer, reader };
    run_loop(&mut context, OFFER_STEPS_MAX, offer_step);
    let key = examination.offer.key();
    let offer: &StoredHello = reader.offer();
    // A look-up also keeps it from being the next to go.
    if HELLOS.get_ptr(key).is_none() && HELLOS.insert(key, offer, 0).is_err() {
        row.happened(Happening::HelloNotStored);
        return;
    }
    flow.hello = key;
}

struct OfferContext<'a> {
    offer: &'a mut OfferHash,
    reader: &'a mut HelloReader,
}

unsafe extern "C" fn offer_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `store_offer` passes the context.
    let context = unsafe { &mut *context.cast::<OfferContext<'_>>() };
    i64::from(!context.offer.step(context.reader))
}

/// Where in the window, behind its first byte, a hello could start.
#[inline(always)]
pub(crate) fn find(examination: &mut Examination) -> Option<u32> {
    examination.scan.begin(1);
    run_loop(&mut ScanContext { examination }, SCAN_STEPS_MAX, scan_step);
    examination.scan.found()
}

struct ScanContext<'a> {
    examination: &'a mut Examination,
}

unsafe extern "C" fn scan_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `find` passes the context.
    let examination = unsafe { &mut *(*context.cast::<ScanContext<'_>>()).examination };
    i64::from(!examination.scan.step(&examination.window))
}
