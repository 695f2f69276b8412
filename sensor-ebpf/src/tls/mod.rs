//! A TLS `ClientHello` (RFC 8446 section 4.1.2, RFC 6066 section 3), wherever it is cut.
//!
//! [`HelloReader`] is a machine over the bytes of a TCP stream. Each step takes what is at hand of one
//! field; where the bytes end, in a segment or in a record, it pauses and goes on with the next.
//! It keeps the name, and what the hello offers ([`StoredHello`]) for records.

mod field;
mod offer;
mod scan;

use crate::abi::{
    CIPHER_SUITES_BYTES, COPY_ROOM, EXTENSION_TYPES, NAME_BUFFER, NoName, StoredHello,
};
use crate::cursor::{Window, zero};
use crate::step::Step;

use field::{Field, RECORD_HEADER};
pub use offer::{OFFER_STEPS_MAX, OfferHash};
pub use scan::{SCAN_STEPS_MAX, Scan};

/// Bytes of a stream in which a hello must end: four times what `BoringSSL` takes, sixteen times the
/// largest one seen from a browser.
pub const STREAM_MAX: u32 = 65_536;

/// Steps over one window: each takes a byte at least, but for the last of a list and the last of all.
pub const STEPS_MAX: u32 = 4096 + 64;

/// RFC 8446 section 5.2: 2^14 bytes and 256 of expansion.
const RECORD_LENGTH_MAX: u32 = (1 << 14) + 256;

/// Bytes of a record that is not a handshake, before a hello: a warning alert or a change of ciphers.
/// Servers pass over them (RFC 8446 section 5, appendix D.4).
const OTHER_RECORD_MAX: u32 = 2;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// First byte of every version from SSL 3.0 on. Servers do not look at the second one.
const VERSION_MAJOR: u8 = 3;
const CLIENT_HELLO: u8 = 1;

/// Where the reader is in a hello, the name, and what is offered.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct HelloReader {
    /// What is read next, a [`Field`].
    field: u32,
    /// Bytes to pass over before it.
    gap: u32,
    /// Bytes of a number still to come.
    need: u32,
    /// Bytes of a list or name still to come.
    collect: u32,
    /// The number so far.
    value: u64,
    /// Header of the record so far.
    record_value: u64,
    /// Bytes of a record header still to come; 0 inside of a record.
    record_need: u32,
    /// Bytes of the record still to come.
    record_left: u32,
    /// 1 where the record is passed over.
    record_other: u32,
    /// Bytes of the hello still to come.
    message_left: u32,
    /// Bytes of the extensions behind the one being read.
    extensions_left: u32,
    /// Bytes of this extension that nothing is read from yet.
    extension_left: u32,
    /// Bytes of the list of names still to come.
    names_left: u32,
    /// Where in `name` and `offer` the next collected bytes go.
    store_at: u32,
    /// Bytes of room there.
    store_room: u32,
    /// Offset of the next byte in the window.
    at: u32,
    /// Sum over the types of the extensions, whatever their order.
    types_hash: u64,
    /// 1 once the whole name is there.
    named: u32,
    /// Bytes of the name.
    name_length: u32,
    /// The name as sent.
    name: [u8; NAME_BUFFER + COPY_ROOM],
    /// What the hello offers.
    offer: StoredHello,
}

/// Offset of the area that bytes are collected in.
const AREA: usize = core::mem::offset_of!(HelloReader, name);

/// Mask of an offset in that area, for the verifier: see [`HelloReader::store`].
const AREA_MASK: u32 = 1023;
const _: () = assert!(size_of::<HelloReader>() - AREA <= AREA_MASK as usize);

/// Bytes of the longest part of [`HelloReader::used`], as a power of two: the verifier takes any part for as
/// long.
pub const USED_MAX: u32 = 512;

/// Bytes that must follow a reader in its map value, because of the mask and of `USED_MAX`.
pub const READER_ROOM: usize = USED_MAX as usize;
const _: () = assert!(READER_ROOM + size_of::<HelloReader>() > AREA + AREA_MASK as usize + 8);

impl HelloReader {
    /// A reader that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            field: 0,
            gap: 0,
            need: 0,
            collect: 0,
            value: 0,
            record_value: 0,
            record_need: 0,
            record_left: 0,
            record_other: 0,
            message_left: 0,
            extensions_left: 0,
            extension_left: 0,
            names_left: 0,
            store_at: 0,
            store_room: 0,
            at: 0,
            types_hash: 0,
            named: 0,
            name_length: 0,
            name: [0; NAME_BUFFER + COPY_ROOM],
            offer: StoredHello::EMPTY,
        }
    }

    /// Steps over a whole window, as the kernel does. Gives [`Step::Pause`] at its end.
    pub fn read(&mut self, window: &Window) -> Step {
        for _ in 0..STEPS_MAX {
            match self.step(window) {
                Step::More => {}
                end @ (Step::Pause | Step::Found | Step::Stop(_)) => return end,
            }
        }
        Step::Pause
    }

    /// Starts at the first byte of a stream, or of a segment in the middle of one.
    #[inline(always)]
    pub fn begin(&mut self) {
        let none = zero();
        self.field = Field::MessageHeader as u32;
        self.gap = u32::from(none);
        self.need = 4;
        self.collect = u32::from(none);
        self.value = u64::from(none);
        self.record_value = u64::from(none);
        self.record_need = RECORD_HEADER;
        self.record_left = u32::from(none);
        self.record_other = u32::from(none);
        self.message_left = u32::MAX;
        self.extensions_left = u32::from(none);
        self.extension_left = u32::from(none);
        self.names_left = u32::from(none);
        self.store_at = u32::from(none);
        self.store_room = u32::from(none);
        self.at = u32::from(none);
        self.types_hash = u64::from(none);
        self.named = u32::from(none);
        self.name_length = u32::from(none);
        self.offer.legacy_version = u16::from(none);
        self.offer.extensions = u16::from(none);
        self.offer.cipher_suites_length = u16::from(none);
        self.offer.signature_algorithms_length = u16::from(none);
        self.offer.alpn_length = u16::from(none);
        self.offer.supported_versions_length = u16::from(none);
        self.offer.reserved = [0; 2];
    }

    /// Starts at the first byte of a handshake message that comes without records, as QUIC's CRYPTO frames
    /// carry it (RFC 9001 section 4.1.3): the message lies in one record without end.
    #[inline(always)]
    pub fn begin_message(&mut self) {
        self.begin();
        self.record_need = u32::from(zero());
        self.record_left = u32::MAX;
    }

    /// True where the hello lies in records.
    #[inline(always)]
    const fn has_records(&self) -> bool {
        self.record_left <= RECORD_LENGTH_MAX
    }

    /// Goes on at this offset of a window.
    #[inline(always)]
    pub fn resume(&mut self, at: u32) {
        self.at = at;
    }

    /// True once a whole name was read.
    #[inline(always)]
    pub const fn is_named(&self) -> bool {
        self.named != 0
    }

    /// True from the first byte of the hello itself on.
    #[inline(always)]
    pub const fn is_begun(&self) -> bool {
        self.message_left != u32::MAX
    }

    /// Bytes of the name, 1 to 255; 0 before it is there.
    #[inline(always)]
    pub const fn name_length(&self) -> u32 {
        if self.named != 0 { self.name_length } else { 0 }
    }

    /// The name's buffer.
    #[inline(always)]
    pub const fn name(&self) -> &[u8; NAME_BUFFER + COPY_ROOM] {
        &self.name
    }

    /// What the hello offers; whole once a step gave [`Step::Found`].
    #[inline(always)]
    pub const fn offer(&self) -> &StoredHello {
        &self.offer
    }

    /// Where in the struct what is in use lies: offset and bytes, which may be 0. The rest is room for longer
    /// lists and names than any browser's, two thirds of it all.
    #[inline(always)]
    pub fn used(&self) -> [(usize, u32); 4] {
        const OFFER: usize = core::mem::offset_of!(HelloReader, offer);
        const SUITES: usize = OFFER + core::mem::offset_of!(StoredHello, cipher_suites);
        const LISTS: usize = OFFER + core::mem::offset_of!(StoredHello, signature_algorithms);
        const TYPES: usize = OFFER + core::mem::offset_of!(StoredHello, extension_types);
        let name = if self.name_length != 0 && self.named == 0 { NAME_BUFFER as u32 } else { 0 };
        let suites = u32::from(self.offer.cipher_suites_length).min(CIPHER_SUITES_BYTES as u32);
        let types = u32::from(self.offer.extensions).min(EXTENSION_TYPES as u32) * 2;
        [
            (0, AREA as u32),
            (AREA, name),
            (OFFER, (SUITES - OFFER) as u32 + suites),
            (LISTS, (TYPES - LISTS) as u32 + types),
        ]
    }

    /// Takes what is at hand of one field.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> Step {
        if self.at >= window.length {
            return Step::Pause;
        }
        let mut run = window.length - self.at;
        if self.record_need != 0 {
            return self.record_header(window, run);
        }
        if run > self.record_left {
            run = self.record_left;
        }
        if self.record_other != 0 {
            self.at += run;
            self.leave_record(run);
            return Step::More;
        }
        if self.need != 0 && run >= self.gap + self.need {
            return self.whole_number(window);
        }
        if self.gap != 0 {
            let passed = if run < self.gap { run } else { self.gap };
            self.gap -= passed;
            self.advance(passed);
            run -= passed;
            if self.message_left == 0 {
                // The rest of a hello without records.
                return Step::Found;
            }
            if run == 0 {
                return Step::More;
            }
        }
        if self.need != 0 {
            // Byte by byte across a cut.
            self.value = self.value << 8 | window.word(self.at) & 0xff;
            self.need -= 1;
            self.advance(1);
            return Step::More;
        }
        let mut taken = if run < self.collect { run } else { self.collect };
        if taken > 8 {
            taken = 8;
        }
        self.store(window.word(self.at), taken);
        self.collect -= taken;
        self.advance(taken);
        if self.collect != 0 { Step::More } else { self.collected() }
    }

    /// A number of which all bytes that are missing are at hand, behind what is passed over.
    #[inline(always)]
    fn whole_number(&mut self, window: &Window) -> Step {
        let need = self.need;
        let passed = self.gap + need;
        let word = u64::from_be(window.word(self.at + self.gap));
        let value = self.value << (8 * need) | word >> (64 - 8 * need);
        self.gap = 0;
        self.need = 0;
        self.value = 0;
        self.advance(passed);
        self.number(value as u32)
    }

    /// The header of the next record (RFC 8446 section 5.1).
    #[inline(always)]
    fn record_header(&mut self, window: &Window, run: u32) -> Step {
        let taken = if run < self.record_need { 1 } else { self.record_need };
        let word = u64::from_be(window.word(self.at));
        self.record_value = self.record_value << (8 * taken) | word >> (64 - 8 * taken);
        self.record_need -= taken;
        self.at += taken;
        // What cannot be a record is told from its first bytes, so that no other protocol is waited for.
        let have = RECORD_HEADER - self.record_need;
        let kind = (self.record_value >> (8 * (have - 1))) as u8;
        let other = kind == ALERT || kind == CHANGE_CIPHER_SPEC;
        let refused = Step::Stop(if self.is_begun() { NoName::Malformed } else { NoName::NotTls });
        if kind != HANDSHAKE && (!other || self.is_begun()) {
            return refused;
        }
        if have >= 2 && (self.record_value >> (8 * (have - 2))) as u8 != VERSION_MAJOR {
            return refused;
        }
        if self.record_need != 0 {
            return Step::More;
        }
        let length = self.record_value as u32 & 0xffff;
        if length > RECORD_LENGTH_MAX || (other && length > OTHER_RECORD_MAX) {
            return refused;
        }
        self.record_value = 0;
        self.record_other = u32::from(other);
        self.record_left = length;
        // An empty record is passed over, as servers do.
        self.leave_record(0);
        Step::More
    }

    #[inline(always)]
    fn leave_record(&mut self, taken: u32) {
        self.record_left -= taken;
        if self.record_left == 0 {
            self.record_need = RECORD_HEADER;
        }
    }

    #[inline(always)]
    fn advance(&mut self, taken: u32) {
        self.at += taken;
        if self.message_left != u32::MAX {
            self.message_left -= taken;
        }
        self.leave_record(taken);
    }

    /// Keeps the first `taken` bytes of `word`; what does not fit is left out.
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the store does without it")]
    fn store(&mut self, word: u64, taken: u32) {
        if taken > self.store_room {
            self.store_room = 0;
            return;
        }
        let index = crate::cursor::bound::<AREA_MASK>(self.store_at) as usize;
        let to = core::ptr::from_mut(self).cast::<u8>().wrapping_add(AREA + index).cast::<u64>();
        // SAFETY: `store_at` is within a list of the area and has room for `taken` bytes; each list
        // has `COPY_ROOM` bytes behind it for the rest of the word.
        unsafe { crate::cursor::store_unaligned(to, word) };
        self.store_at += taken;
        self.store_room -= taken;
    }
}

impl Default for HelloReader {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
