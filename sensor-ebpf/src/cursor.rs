//! Bounds-checked readers: the parsers' only `unsafe`, the same source on the host and in BPF.
//!
//! [`Cursor`] reads headers in place: one check for a whole header, in the form the verifier can follow
//! (a pointer compared with the packet's end). [`Window`] reads payload that was copied to a fixed buffer,
//! by an index that is checked against the length and then masked, so that it is in bounds on every path.

use core::marker::PhantomData;

/// The packet ended before the header did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// Keeps `value` within `mask` in a way the compiler cannot reason away before the verifier has seen it.
#[inline(always)]
pub fn bound<const MASK: u32>(value: u32) -> u32 {
    bound_wide::<MASK>(u64::from(value)) as u32
}

/// [`bound`] for an offset, which is a whole register: the compiler does not see that the upper half is 0,
/// and would clear it once more.
#[inline(always)]
fn bound_wide<const MASK: u32>(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut bounded = value;
        // SAFETY: one arithmetic instruction on a register, no memory is touched.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) bounded, const MASK,
                options(pure, nomem, nostack, preserves_flags));
        }
        bounded
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value & u64::from(MASK)
    }
}

/// Nothing, in a way the compiler does not see: of stores of zeroes side by side it would make a call that
/// stores them byte by byte.
#[inline(always)]
pub fn zero() -> u8 {
    #[cfg(target_arch = "bpf")]
    {
        let zero: u64;
        // SAFETY: one instruction on a register, no memory is touched.
        unsafe {
            core::arch::asm!("{0} = 0", out(reg) zero,
                options(pure, nomem, nostack, preserves_flags));
        }
        zero as u8
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        0
    }
}

/// 1 of 0 and 0 of everything else: without a branch, as [`or_if_short`].
#[inline(always)]
pub fn is_zero(word: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut is_zero = word;
        // SAFETY: arithmetic on registers, no memory is touched.
        unsafe {
            core::arch::asm!(
                "{is_zero} = -{is_zero}",
                "{is_zero} |= {word}",
                "{is_zero} >>= 63",
                "{is_zero} ^= 1",
                word = in(reg) word,
                is_zero = inout(reg) is_zero,
                options(pure, nomem, nostack, preserves_flags));
        }
        is_zero
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        u64::from(word == 0)
    }
}

/// `found`, with the bits of `word` added if it has none above the lowest 16: without a branch, which the compiler
/// would make of it and the verifier go both ways at, and one after the other, so that few registers serve many.
#[inline(always)]
pub fn or_if_short(found: u64, word: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut found = found;
        // SAFETY: arithmetic on registers, no memory is touched.
        unsafe {
            core::arch::asm!(
                "{mask} = {word}",
                "{mask} >>= 16",
                "{mask} += -1",
                "{mask} s>>= 63",
                "{mask} &= {word}",
                "{found} |= {mask}",
                mask = out(reg) _,
                word = in(reg) word,
                found = inout(reg) found,
                options(pure, nomem, nostack, preserves_flags));
        }
        found
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // Of 0 alone, one less has the highest bit.
        let mask = (word >> 16).wrapping_sub(1).cast_signed() >> 63;
        found | word & mask.cast_unsigned()
    }
}

/// The unread rest of a packet.
///
/// ```
/// use sensor_ebpf::cursor::{Cursor, Truncated};
/// let frame = [0x12, 0x34, 0x56];
/// let mut cursor = Cursor::new(&frame);
/// assert_eq!(cursor.header::<2>().unwrap().u16::<0>(), 0x1234);
/// assert_eq!(cursor.header::<2>().err(), Some(Truncated));
/// ```
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    start: *const u8,
    end: *const u8,
    offset: usize,
    packet: PhantomData<&'a [u8]>,
}

impl<'a> Cursor<'a> {
    /// A cursor over `start..end`, as the kernel hands packets to a program.
    ///
    /// # Safety
    /// `start..end` must be readable for `'a`.
    #[inline(always)]
    pub const unsafe fn from_raw(start: usize, end: usize) -> Self {
        Self { start: start as *const u8, end: end as *const u8, offset: 0, packet: PhantomData }
    }

    /// A cursor over a slice.
    #[must_use]
    pub const fn new(packet: &'a [u8]) -> Self {
        let range = packet.as_ptr_range();
        Self { start: range.start, end: range.end, offset: 0, packet: PhantomData }
    }

    /// Bytes read so far.
    #[inline(always)]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Forgets by which way the offset, which is below 512, came to be: the verifier then walks what
    /// follows once, not once for every chain of headers before it.
    #[inline(always)]
    pub fn converge(&mut self) {
        self.offset = bound_wide::<511>(self.offset as u64) as usize;
    }

    /// Takes the next `N` bytes.
    #[inline(always)]
    pub fn header<const N: usize>(&mut self) -> Result<Header<'a, N>, Truncated> {
        // A check of a single byte compiles to a comparison the verifier learns nothing from.
        const { assert!(N >= 2) };
        let at = self.start.wrapping_add(self.offset);
        if at.wrapping_add(N) > self.end {
            return Err(Truncated);
        }
        self.offset += N;
        Ok(Header { at, packet: PhantomData })
    }

    /// Passes over `count` bytes, which the caller has bounded; the next [`Self::header`] checks them.
    #[inline(always)]
    pub const fn skip(&mut self, count: usize) {
        self.offset += count;
    }
}

/// `N` bytes that are known to be there. Integers are read from network byte order.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a, const N: usize> {
    at: *const u8,
    packet: PhantomData<&'a [u8]>,
}

impl<const N: usize> Header<'_, N> {
    /// Reads a `T` at `AT` without asking for alignment: BPF loads it in one instruction.
    #[inline(always)]
    fn load<T: Copy, const AT: usize>(&self) -> T {
        const { assert!(AT + size_of::<T>() <= N) };
        let at = self.at.wrapping_add(AT).cast::<T>();
        // SAFETY: `at..at + size_of::<T>()` lies within the checked header, and any bytes are a
        // valid integer.
        unsafe { load_unaligned(at) }
    }

    /// The byte at `AT`.
    #[inline(always)]
    pub fn u8<const AT: usize>(&self) -> u8 {
        self.load::<u8, AT>()
    }

    /// The big-endian integer at `AT`.
    #[inline(always)]
    pub fn u16<const AT: usize>(&self) -> u16 {
        u16::from_be(self.load::<u16, AT>())
    }

    /// The big-endian integer at `AT`.
    #[inline(always)]
    pub fn u32<const AT: usize>(&self) -> u32 {
        u32::from_be(self.load::<u32, AT>())
    }

    /// Two bytes at `AT` in memory order.
    #[inline(always)]
    pub fn word16<const AT: usize>(&self) -> u16 {
        self.load::<u16, AT>()
    }

    /// Four bytes at `AT` in memory order.
    #[inline(always)]
    pub fn word32<const AT: usize>(&self) -> u32 {
        self.load::<u32, AT>()
    }

    /// Eight bytes at `AT` in memory order.
    #[inline(always)]
    pub fn word64<const AT: usize>(&self) -> u64 {
        self.load::<u64, AT>()
    }
}

/// Reads a word at any address: one instruction in BPF, where `read_unaligned` is split into bytes.
///
/// # Safety
/// The word must be readable.
#[inline(always)]
pub(crate) unsafe fn load_unaligned<T: Copy>(at: *const T) -> T {
    #[cfg(target_arch = "bpf")]
    // SAFETY: readable by contract; BPF on the supported machines loads unaligned words.
    unsafe {
        *at
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: readable by contract.
    unsafe {
        at.read_unaligned()
    }
}

/// Writes a word at any address.
///
/// # Safety
/// The word must be writable.
#[inline(always)]
pub(crate) unsafe fn store_unaligned<T: Copy>(at: *mut T, word: T) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: writable by contract; BPF on the supported machines stores unaligned words.
    unsafe {
        *at = word;
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: writable by contract.
    unsafe {
        at.write_unaligned(word);
    }
}

/// Bytes of payload that are looked at: the longest hello or head that is read in one piece.
pub const WINDOW: usize = 4096;

/// The first bytes of a segment's payload, copied out of the packet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Window {
    /// The payload; what lies beyond `length` is left over from earlier packets.
    pub bytes: [u8; WINDOW],
    /// Bytes used.
    pub length: u32,
    /// Always 0.
    pub reserved: u32,
}

impl Window {
    /// The first [`WINDOW`] bytes of `payload`.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let mut bytes = [0; WINDOW];
        for (to, from) in bytes.iter_mut().zip(payload) {
            *to = *from;
        }
        Self { bytes, length: payload.len().min(WINDOW) as u32, reserved: 0 }
    }

    /// The byte at `at`.
    #[inline(always)]
    pub fn u8(&self, at: u32) -> Result<u8, Truncated> {
        if at >= self.length {
            return Err(Truncated);
        }
        Ok(self.masked(at))
    }

    /// The big-endian integer at `at`.
    #[inline(always)]
    pub fn u16(&self, at: u32) -> Result<u32, Truncated> {
        if at + 1 >= self.length {
            return Err(Truncated);
        }
        Ok(u32::from(self.masked(at)) << 8 | u32::from(self.masked(at + 1)))
    }

    /// Eight bytes from `at` on, the first in the lowest byte.
    #[inline(always)]
    pub fn u64(&self, at: u32) -> Result<u64, Truncated> {
        if at >= self.length || self.length - at < 8 {
            return Err(Truncated);
        }
        Ok(self.word(at))
    }

    /// Eight bytes from `at` on in memory order, wrapped into the window: what lies behind the length is
    /// left over from before.
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the load below does without it")]
    pub fn word(&self, at: u32) -> u64 {
        let index = bound::<{ WINDOW as u32 - 1 }>(at) as usize;
        let at = core::ptr::from_ref(self).cast::<u8>().wrapping_add(index).cast::<u64>();
        // SAFETY: the index is below `WINDOW`, and eight bytes of this struct follow the last byte of
        // the array.
        unsafe { load_unaligned(at) }
    }

    /// Writes a byte at `at`, wrapped into the window.
    #[inline(always)]
    pub fn put8(&mut self, at: u32, value: u8) {
        self.store(at, value);
    }

    /// Writes a big-endian integer at `at`, wrapped into the window.
    #[inline(always)]
    pub fn put16(&mut self, at: u32, value: u32) {
        self.store(at, (value as u16).to_be());
    }

    /// Writes a big-endian integer at `at`, wrapped into the window.
    #[inline(always)]
    pub fn put32(&mut self, at: u32, value: u32) {
        self.store(at, value.to_be());
    }

    /// Writes four bytes in memory order at `at`, wrapped into the window.
    #[inline(always)]
    pub fn put_word(&mut self, at: u32, word: u32) {
        self.store(at, word);
    }

    /// Writes eight bytes in memory order at `at`, wrapped into the window: what lies behind the length may be
    /// written too.
    #[inline(always)]
    pub fn put_word64(&mut self, at: u32, word: u64) {
        self.store(at, word);
    }

    #[inline(always)]
    fn store<T: Copy>(&mut self, at: u32, word: T) {
        const { assert!(size_of::<T>() <= 8) };
        let index = bound::<{ WINDOW as u32 - 1 }>(at) as usize;
        let at = core::ptr::from_mut(self).cast::<u8>().wrapping_add(index).cast::<T>();
        // SAFETY: the index is below `WINDOW`, and eight bytes of this struct, integers like these,
        // follow the last byte of the array.
        unsafe { store_unaligned(at, word) };
    }

    /// The byte at `at`, wrapped into the window.
    #[inline(always)]
    fn masked(&self, at: u32) -> u8 {
        let index = bound::<{ WINDOW as u32 - 1 }>(at) as usize;
        // SAFETY: the mask keeps the index below `WINDOW`, the length of the array.
        unsafe { *self.bytes.as_ptr().add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_checked_as_a_whole() {
        let frame = [1, 2, 3, 4, 5];
        let mut cursor = Cursor::new(&frame);
        assert_eq!(cursor.header::<4>().unwrap().u32::<0>(), 0x0102_0304);
        assert_eq!(cursor.offset(), 4);
        assert_eq!(cursor.header::<2>().err(), Some(Truncated));
        cursor.skip(9);
        assert_eq!(cursor.header::<2>().err(), Some(Truncated));
    }

    #[test]
    fn a_window_ends_at_its_length() {
        let mut window = Window::new(&[0xaa; WINDOW + 9]);
        assert_eq!(window.length as usize, WINDOW);
        assert_eq!(window.u8(WINDOW as u32), Err(Truncated));
        window.length = 3;
        assert_eq!(window.u8(2), Ok(0xaa));
        assert_eq!(window.u8(3), Err(Truncated));
        assert_eq!(window.u16(1), Ok(0xaaaa));
        assert_eq!(window.u16(2), Err(Truncated));
    }

    #[test]
    fn a_word_lies_within_the_length() {
        let mut window = Window::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(window.u64(1), Ok(u64::from_le_bytes([2, 3, 4, 5, 6, 7, 8, 9])));
        assert_eq!(window.u64(2), Err(Truncated));
        assert_eq!(window.u64(u32::MAX), Err(Truncated));
        window.length = WINDOW as u32;
        assert_eq!(window.u64(WINDOW as u32 - 8), Ok(0));
    }
}
