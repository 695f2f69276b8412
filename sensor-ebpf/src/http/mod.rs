//! The hosts of a stream of HTTP/1 requests (RFC 9112), wherever it is cut.
//!
//! [`RequestReader`] is a machine over the bytes a client sends. It reads the head of each request,
//! passes over its body, and so finds the next one: what looks like a request inside an upload is none.
//! Each step takes a byte of a head, or as many of a body as are at hand.
//!
//! The host is named by an absolute-form or authority-form target, or by Host (RFC 9112 section 3.2).
//! A head can name several; a correct server refuses most of those, but each is told.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each part of the machine has states of its own"
)]

mod body;
mod field;
pub mod framing;
mod request_line;

use crate::abi::{NAME_BUFFER, NAME_MAX, NoName};
use crate::cursor::{Window, bound};
use crate::normalise::is_before;
use crate::step::Step;

/// Bytes of one head: eight times what servers take by default (nginx 8 KiB, Apache 8 KiB a line).
pub const HEAD_MAX: u32 = 65_536;

/// Steps over one window: each takes a byte at least.
pub const STEPS_MAX: u32 = crate::cursor::WINDOW as u32 + 1;

/// What the reader expects next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// How the messages are framed is not known: no request was read yet, or what followed was unclear.
    #[default]
    Lost = 0,
    /// A request, perhaps behind empty lines (RFC 9112 section 2.2).
    Start,
    /// A body of known length.
    Body,
    /// The size of a chunk.
    ChunkSize,
    /// What follows the size up to the end of its line.
    ChunkExtension,
    /// The bytes of a chunk.
    ChunkData,
    /// The end of the line behind a chunk's data.
    ChunkEnd,
    /// A line of the trailer section, or its end.
    TrailerStart,
    /// The rest of such a line.
    TrailerLine,
    /// What follows a CONNECT: TLS, or requests.
    Tunnel,

    // From here on the reader is inside of a head.
    /// The method.
    Method,
    /// The space before the target.
    TargetStart,
    /// `http:` of an absolute-form target, or the host of an authority-form one.
    Scheme,
    /// What follows that colon.
    SchemeColon,
    /// The second slash.
    SchemeSlash,
    /// The authority of an absolute-form target.
    Authority,
    /// What follows its host.
    AuthorityRest,
    /// The rest of the target.
    Target,
    /// `HTTP/1.`.
    Version,
    /// The rest of the request line.
    RequestLineEnd,
    /// A field line, a folded one, or the end of the head.
    LineStart,
    /// A field's name.
    FieldName,
    /// Between a field's name and its colon.
    FieldColon,
    /// The space before a value.
    FieldSpace,
    /// The value of Host.
    HostValue,
    /// The value of Content-Length.
    LengthValue,
    /// The value of Transfer-Encoding.
    CodingValue,
    /// The value of Upgrade.
    UpgradeValue,
    /// The rest of another value.
    FieldValue,
    /// The start of a line behind a Host without a value: folded, it has the value.
    HostFold,
    /// The second byte of the empty line.
    HeadEnd,
}

impl State {
    /// True inside of a head.
    #[inline(always)]
    pub const fn is_head(self) -> bool {
        self as u8 > Self::Tunnel as u8
    }
}

/// Bits of [`RequestReader::facts`].
mod fact {
    /// The head has a name.
    pub(super) const NAMED: u8 = 1;
    /// A Content-Length was read.
    pub(super) const LENGTH: u8 = 2;
    /// The last transfer coding is `chunked`.
    pub(super) const CHUNKED: u8 = 4;
    /// How long the body is cannot be told, or servers may disagree about it.
    pub(super) const UNCLEAR: u8 = 8;
    /// The target is an authority: CONNECT.
    pub(super) const TUNNEL: u8 = 16;
    /// The connection may go on with HTTP/2 (RFC 7540 section 3.2).
    pub(super) const HTTP2: u8 = 32;
}

/// Where the reader is in a stream of requests, and the name found last.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RequestReader {
    /// The name as sent.
    name: [u8; NAME_BUFFER],
    /// Bytes of a body or chunk still to come; of a chunk's size, or of a Content-Length, so far.
    left: u64,
    /// Offset of the next byte in the window.
    at: u32,
    /// Bytes of the name.
    name_length: u32,
    /// Bytes of an expected word matched so far; [`MISMATCH`] where it is another one.
    matched: u32,
    /// Bytes of this head so far.
    head_length: u32,
    state: State,
    /// The word a field's name is compared with.
    field: field::Field,
    /// Bits of [`fact`].
    facts: u8,
    /// Inside the brackets of an IPv6 literal, colons belong to the name.
    bracket: u8,
    /// Names that this head has told.
    names: u32,
    /// Bytes of the name found before, in this buffer too; 0 where none was.
    known_length: u32,
    /// 1 while the name is the one found before, byte for byte.
    is_known: u32,
    /// Sequence number of the window's first byte.
    window_from: u32,
    /// Sequence number of the first byte of the last head.
    head_from: u32,
    /// Sequence number after it, once it is whole.
    head_end: u32,
}

/// [`RequestReader::matched`] of another word.
const MISMATCH: u32 = u32::MAX;

impl Default for RequestReader {
    fn default() -> Self {
        Self {
            name: [0; NAME_BUFFER],
            left: 0,
            at: 0,
            name_length: 0,
            matched: 0,
            head_length: 0,
            state: State::Start,
            field: field::Field::Other,
            facts: 0,
            bracket: 0,
            names: 0,
            known_length: 0,
            is_known: 0,
            window_from: 0,
            head_from: 0,
            head_end: 0,
        }
    }
}

impl RequestReader {
    /// Starts where a request does, field by field: the value lives in a map.
    #[inline(always)]
    pub const fn begin(&mut self) {
        self.left = 0;
        self.at = 0;
        self.state = State::Start;
        self.known_length = 0;
        self.is_known = 0;
        self.begin_head();
    }

    #[inline(always)]
    const fn begin_head(&mut self) {
        self.name_length = 0;
        self.matched = 0;
        self.head_length = 0;
        self.field = field::Field::Other;
        self.facts = 0;
        self.bracket = 0;
        self.names = 0;
    }

    /// Goes on at this offset of a window whose first byte has this sequence number.
    #[inline(always)]
    pub const fn resume(&mut self, at: u32, sequence: u32) {
        self.at = at;
        self.window_from = sequence;
    }

    /// True inside of a head that starts at this byte or before it.
    #[inline(always)]
    pub const fn is_within_head(&self, sequence: u32) -> bool {
        self.state.is_head() && !is_before(sequence, self.head_from)
    }

    /// What is expected next.
    #[inline(always)]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Bytes of the name found last, 1 to 255.
    #[inline(always)]
    pub const fn name_length(&self) -> u32 {
        self.name_length
    }

    /// The name's buffer.
    #[inline(always)]
    pub const fn name(&self) -> &[u8; NAME_BUFFER] {
        &self.name
    }

    /// True where the name found last is not the first of its head.
    #[inline(always)]
    pub const fn is_further_name(&self) -> bool {
        self.names > 1
    }

    /// True where the name found last is, byte for byte, the one found before it.
    #[inline(always)]
    pub const fn is_known_name(&self) -> bool {
        self.is_known != 0
    }

    /// Forgets the name found before: the next one counts as new.
    #[inline(always)]
    pub const fn forget_name(&mut self) {
        self.known_length = 0;
    }

    /// Reads on. [`Step::Found`]: a name. [`Step::Stop`]: a head without one, or bytes that are no request;
    /// where the state is then not [`State::Lost`], the reader can go on.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> Step {
        let at_hand = window.length.saturating_sub(self.at);
        if at_hand == 0 {
            return Step::Pause;
        }
        if matches!(self.state, State::Body | State::ChunkData) {
            return self.pass_over(at_hand);
        }
        // Long targets and values go by eight bytes at a time.
        if matches!(self.state, State::Target | State::FieldValue)
            && window.u64(self.at).is_ok_and(is_plain)
        {
            return self.take(8);
        }
        let Ok(byte) = window.u8(self.at) else { return Step::Pause };
        if !self.state.is_head() {
            self.at += 1;
            return self.between(byte);
        }
        let Step::More = self.take(1) else { return Step::Stop(NoName::Oversize) };
        if (self.state as u8) < State::LineStart as u8 {
            self.request_line(byte)
        } else {
            self.field_line(byte)
        }
    }

    /// Takes bytes of a head.
    #[inline(always)]
    const fn take(&mut self, count: u32) -> Step {
        self.at += count;
        self.head_length += count;
        if self.head_length > HEAD_MAX { self.lose(NoName::Oversize) } else { Step::More }
    }

    /// Ends the reading: what follows has no known start.
    #[inline(always)]
    const fn lose(&mut self, reason: NoName) -> Step {
        self.state = State::Lost;
        Step::Stop(reason)
    }

    #[inline(always)]
    const fn begin_name(&mut self) {
        self.name_length = 0;
        self.is_known = 1;
    }

    /// Starts a name in place of what was taken for one: the buffer has no longer the one found before.
    #[inline(always)]
    const fn restart_name(&mut self) {
        self.known_length = 0;
        self.begin_name();
    }

    /// Adds a byte to the name; one that is too long only counts.
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        let index = bound::<{ NAME_BUFFER as u32 - 1 }>(self.name_length) as usize;
        if self.name_length < NAME_BUFFER as u32 {
            // SAFETY: the mask keeps the index below the length of the array.
            let place = unsafe { &mut *self.name.as_mut_ptr().add(index) };
            self.is_known &= u32::from(*place == byte);
            *place = byte;
            self.name_length += 1;
        }
    }

    /// A whole name.
    #[inline(always)]
    const fn found(&mut self) -> Step {
        self.facts |= fact::NAMED;
        self.is_known &= (self.name_length == self.known_length) as u32;
        self.known_length = self.name_length;
        if self.name_length == 0 || self.name_length > NAME_MAX as u32 {
            return Step::Stop(NoName::Malformed);
        }
        self.names += 1;
        Step::Found
    }

    /// Steps over a whole window, as the kernel does.
    pub fn read(&mut self, window: &Window) -> Step {
        for _ in 0..STEPS_MAX {
            match self.step(window) {
                Step::More => {}
                end @ (Step::Pause | Step::Found | Step::Stop(_)) => return end,
            }
        }
        Step::Pause
    }
}

/// True where none of eight bytes is a space or a control byte: nothing that ends a target or a line.
#[inline(always)]
const fn is_plain(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte below 0x21 borrows; one that borrows without need only costs eight single steps.
    word.wrapping_sub(ONES * 0x21) & !word & HIGH == 0
}

#[cfg(test)]
mod tests;
