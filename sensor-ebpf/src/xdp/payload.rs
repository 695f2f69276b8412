//! Copying a packet's bytes, wherever in its buffers they lie, and bytes between map values.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::cursor::{WINDOW, Window, bound};
use sensor_ebpf::slot::{SLOT_BYTES, Slot};
use sensor_ebpf::tls::{HelloReader, USED_MAX};

use crate::maps::Examination;

/// The packet has fewer bytes than its headers said.
pub(crate) struct Missing;

/// [`Examination::window_from`] where the window was not filled from the packet: a payload lies behind headers.
pub(crate) const NOWHERE: u32 = 0;

/// Bytes copied to a slot at once: so many follow the ring in its map value, which lets the verifier
/// accept any place in the ring for their start.
const PIECE: u32 = 1024;
const _: () = assert!(size_of::<Slot>() >= SLOT_BYTES + PIECE as usize);

/// Pieces of a window that goes into a ring: four whole ones, and one more at the ring's end.
const PIECES: u32 = WINDOW as u32 / PIECE + 2;

/// Copies `length` bytes, 1 to `N`. `LAST` is `N - 1`.
#[inline(always)]
pub(crate) fn load<const N: usize, const LAST: u32>(
    ctx: &XdpContext,
    from: u32,
    to: &mut [u8; N],
    length: u32,
) -> Result<(), Missing> {
    const { assert!(N.is_power_of_two() && N == LAST as usize + 1) };
    if length == 0 {
        return Err(Missing);
    }
    // The verifier wants the bound right before the call.
    let length = bound::<LAST>(length - 1) + 1;
    // SAFETY: `length` is 1 to `N`.
    match unsafe { bpf_xdp_load_bytes(ctx.ctx, from, to.as_mut_ptr().cast(), length) } {
        0 => Ok(()),
        _ => Err(Missing),
    }
}

/// Fills the window with the payload from `at` on, as far as both reach, where it is not filled so yet.
#[inline(always)]
pub(crate) fn fill_window(
    ctx: &XdpContext,
    examination: &mut Examination,
    at: u32,
) -> Result<(), Missing> {
    let length = examination.packet.payload_length.saturating_sub(at).min(WINDOW as u32);
    let from = examination.packet.payload + at;
    if examination.window_from == from && examination.window.length == length {
        return Ok(());
    }
    examination.window.length = length;
    examination.window_from = from;
    load::<WINDOW, { WINDOW as u32 - 1 }>(ctx, from, &mut examination.window.bytes, length)
}

/// Copies what the window was filled with, from `at` to its end, into the ring, where offset `offset` lies.
/// From the packet, because that copies by machine words, and from kernel memory one goes step by step.
#[inline(always)]
pub(crate) fn keep(
    ctx: &XdpContext,
    examination: &Examination,
    at: u32,
    slot: &mut Slot,
    offset: u32,
) {
    let mut at = at;
    let mut offset = offset;
    for _ in 0..PIECES {
        let left = examination.window.length.saturating_sub(at);
        if left == 0 {
            return;
        }
        let index = bound::<{ SLOT_BYTES as u32 - 1 }>(offset);
        let count = left.min(PIECE).min(SLOT_BYTES as u32 - index);
        let from = examination.window_from + at;
        let length = bound::<{ PIECE - 1 }>(count - 1) + 1;
        // SAFETY: the index is within the ring, and `count` ends before it does. That the packet has these
        // bytes was seen when the window was filled.
        let _filled = unsafe {
            let to = slot.bytes.as_mut_ptr().add(index as usize);
            bpf_xdp_load_bytes(ctx.ctx, from, to.cast(), length)
        };
        at += count;
        offset += count;
    }
}

/// Copies `count` bytes of a window that is not as the packet has it, from `at` on, into the ring, where offset
/// `offset` lies.
#[inline(always)]
pub(crate) fn keep_plain(window: &Window, at: u32, slot: &mut Slot, offset: u32, count: u32) {
    let mut at = at;
    let mut offset = offset;
    let mut left = count;
    for _ in 0..PIECES {
        if left == 0 {
            return;
        }
        let index = bound::<{ SLOT_BYTES as u32 - 1 }>(offset);
        let count = left.min(PIECE).min(SLOT_BYTES as u32 - index);
        let from = bound::<{ WINDOW as u32 - 1 }>(at) as usize;
        let length = bound::<{ PIECE - 1 }>(count - 1) + 1;
        // SAFETY: the index is within the ring, and `count` ends before it does; the helper checks what it reads.
        unsafe {
            let to = slot.bytes.as_mut_ptr().add(index as usize);
            copy(to.cast(), length, window.bytes.as_ptr().add(from).cast());
        }
        at += count;
        offset += count;
        left -= count;
    }
}

/// Fills the window with `length` bytes of the ring, 1 to its end from `offset` on.
#[inline(always)]
pub(crate) fn recall(examination: &mut Examination, slot: &Slot, offset: u32, length: u32) {
    let index = bound::<{ SLOT_BYTES as u32 - 1 }>(offset) as usize;
    let length = bound::<{ WINDOW as u32 - 1 }>(length - 1) + 1;
    examination.window.length = length;
    examination.window_from = NOWHERE;
    // SAFETY: the window has room for `length` bytes, and the index is within the ring.
    unsafe {
        copy(
            examination.window.bytes.as_mut_ptr().cast(),
            length,
            slot.bytes.as_ptr().add(index).cast(),
        );
    }
}

/// Moves `length` bytes of a window, 1 to all of it, from `by` on to its start.
#[inline(always)]
pub(crate) fn shift(window: &mut Window, by: u32, length: u32) {
    let from = bound::<{ WINDOW as u32 - 1 }>(by) as usize;
    let length = bound::<{ WINDOW as u32 - 1 }>(length - 1) + 1;
    let bytes = window.bytes.as_mut_ptr();
    // SAFETY: the window has room for `length` bytes; they move towards its start, from the first on.
    unsafe { copy(bytes.cast(), length, bytes.add(from).cast()) };
}

/// Fills the window with `length` bytes of another one, from `at` on.
#[inline(always)]
pub(crate) fn take_out(examination: &mut Examination, kept: &Window, at: u32, length: u32) {
    examination.window.length = length;
    examination.window_from = NOWHERE;
    if length == 0 {
        return;
    }
    let from = bound::<{ WINDOW as u32 - 1 }>(at) as usize;
    let length = bound::<{ WINDOW as u32 - 1 }>(length - 1) + 1;
    // SAFETY: the window has room for `length` bytes, and the index is within the other one.
    unsafe {
        copy(
            examination.window.bytes.as_mut_ptr().cast(),
            length,
            kept.bytes.as_ptr().add(from).cast(),
        );
    }
}

/// Copies what a paused reader goes on from, from one map value to another.
#[inline(always)]
pub(crate) fn copy_reader(to: &mut HelloReader, from: &HelloReader) {
    for (at, length) in from.used() {
        if length == 0 {
            continue;
        }
        let length = bound::<{ USED_MAX - 1 }>(length - 1) + 1;
        // SAFETY: so many bytes from `at` on belong to both readers.
        unsafe {
            let from = core::ptr::from_ref(from).cast::<u8>().add(at);
            copy(core::ptr::from_mut(to).cast::<u8>().add(at).cast(), length, from.cast());
        }
    }
}

/// Copies a plain value from one map value to another.
#[inline(always)]
pub(crate) fn copy_value<T>(to: &mut T, from: &T) {
    // SAFETY: both are whole values of one plain type.
    unsafe {
        copy(
            core::ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
            core::ptr::from_ref(from).cast_mut().cast(),
        );
    }
}

/// # Safety
/// `to` must have room for `length` bytes.
#[inline(always)]
unsafe fn copy(to: *mut c_void, length: u32, from: *const c_void) {
    // SAFETY: by contract; the helper checks what it reads.
    let _read = unsafe { bpf_probe_read_kernel(to, length, from) };
}
