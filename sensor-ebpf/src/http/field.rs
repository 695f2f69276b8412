//! The field lines of a head (RFC 9112 section 5) that name a host or frame the message.

use super::{MISMATCH, RequestReader, State, fact};
use crate::abi::NoName;
use crate::step::Step;

/// Fields that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Upgrade,
}

/// A lower-case word, 16 bytes at most, eight a number, the first in the lowest byte.
#[derive(Clone, Copy)]
struct Word {
    low: u64,
    high: u64,
    length: u32,
}

impl Word {
    #[expect(clippy::indexing_slicing, reason = "all words are made at compile time")]
    const fn new(word: &str) -> Self {
        let bytes = word.as_bytes();
        assert!(bytes.len() <= 17);
        let (mut low, mut high) = (0, 0);
        let mut at = 0;
        while at < bytes.len() {
            if at < 8 {
                low |= (bytes[at] as u64) << (8 * at);
            } else if at < 16 {
                high |= (bytes[at] as u64) << (8 * (at - 8));
            }
            at += 1;
        }
        Self { low, high, length: bytes.len() as u32 }
    }

    /// The byte at `at`; behind the sixteenth, whatever stands there.
    #[inline(always)]
    const fn byte(self, at: u32, byte: u8) -> u8 {
        if at >= 16 {
            return byte;
        }
        let word = if at < 8 { self.low } else { self.high };
        (word >> (8 * (at & 7))) as u8
    }
}

const HOST: Word = Word::new("host");
const CONTENT_LENGTH: Word = Word::new("content-length");
const TRANSFER_ENCODING: Word = Word::new("transfer-encoding");
const UPGRADE: Word = Word::new("upgrade");
const CHUNKED: Word = Word::new("chunked");
const HTTP2: Word = Word::new("h2c");

impl Field {
    /// The field whose name starts with this byte.
    #[inline(always)]
    const fn starting_with(byte: u8) -> Self {
        match fold(byte) {
            b'h' => Self::Host,
            b'c' => Self::ContentLength,
            b't' => Self::TransferEncoding,
            b'u' => Self::Upgrade,
            _ => Self::Other,
        }
    }

    #[inline(always)]
    const fn name(self) -> Word {
        match self {
            Self::ContentLength => CONTENT_LENGTH,
            Self::TransferEncoding => TRANSFER_ENCODING,
            Self::Upgrade => UPGRADE,
            Self::Host | Self::Other => HOST,
        }
    }
}

impl RequestReader {
    #[inline(always)]
    pub(super) fn field_line(&mut self, byte: u8) -> Step {
        match self.state {
            State::LineStart => return self.line_start(byte),
            State::FieldName => self.field_name(byte),
            State::FieldColon => match byte {
                b':' => self.state = State::FieldSpace,
                b' ' | b'\t' => {}
                b'\n' => self.state = State::LineStart,
                _ => self.state = State::FieldValue,
            },
            State::FieldSpace => return self.value_start(byte),
            State::HostValue => return self.host_value(byte),
            State::LengthValue => self.length_value(byte),
            State::CodingValue => self.coding_value(byte),
            State::UpgradeValue => self.upgrade_value(byte),
            State::HostFold => {
                if byte == b' ' || byte == b'\t' {
                    self.state = State::FieldSpace;
                } else {
                    return self.line_start(byte);
                }
            }
            State::HeadEnd => {
                if byte == b'\n' {
                    return self.head_end();
                }
                return self.lose(NoName::Malformed);
            }
            _ => self.end_line(byte),
        }
        Step::More
    }

    #[inline(always)]
    fn line_start(&mut self, byte: u8) -> Step {
        match byte {
            b'\r' => self.state = State::HeadEnd,
            b'\n' => return self.head_end(),
            // A folded line goes on with the field before it (RFC 9112 section 5.2).
            b' ' | b'\t' => self.state = State::FieldValue,
            _ => {
                self.matched = 0;
                self.field = Field::starting_with(byte);
                self.state = State::FieldName;
                self.field_name(byte);
            }
        }
        Step::More
    }

    #[inline(always)]
    fn field_name(&mut self, byte: u8) {
        let name = self.field.name();
        if !matches!(self.field, Field::Other) && fold(byte) == name.byte(self.matched, fold(byte))
        {
            self.matched += 1;
            if self.matched == name.length {
                self.state = State::FieldColon;
            }
        } else if byte == b'\n' {
            self.state = State::LineStart;
        } else {
            self.field = Field::Other;
            self.state = State::FieldValue;
        }
    }

    /// The first byte behind the colon that is no space.
    #[inline(always)]
    fn value_start(&mut self, byte: u8) -> Step {
        if byte == b' ' || byte == b'\t' {
            return Step::More;
        }
        self.matched = 0;
        match self.field {
            Field::Host => {
                if byte == b'\r' {
                    return Step::More;
                }
                if byte == b'\n' {
                    self.state = State::HostFold;
                    return Step::More;
                }
                self.begin_name();
                self.bracket = 0;
                self.state = State::HostValue;
                return self.host_value(byte);
            }
            Field::ContentLength => {
                if self.facts & fact::LENGTH != 0 {
                    // One is enough; two are how requests are smuggled.
                    self.facts |= fact::UNCLEAR;
                }
                self.facts |= fact::LENGTH;
                self.left = 0;
                self.state = State::LengthValue;
                self.length_value(byte);
            }
            Field::TransferEncoding => {
                self.facts &= !fact::CHUNKED;
                self.state = State::CodingValue;
                self.coding_value(byte);
            }
            Field::Upgrade => {
                self.state = State::UpgradeValue;
                self.upgrade_value(byte);
            }
            Field::Other => self.end_line(byte),
        }
        Step::More
    }

    #[inline(always)]
    fn host_value(&mut self, byte: u8) -> Step {
        match byte {
            b'[' => self.bracket = 1,
            b']' => self.bracket = 0,
            b':' if self.bracket != 0 => {}
            b':' | b',' | b' ' | b'\t' | b'\r' => {
                self.state = State::FieldValue;
                return self.found();
            }
            b'\n' => {
                self.state = State::LineStart;
                return self.found();
            }
            _ => {}
        }
        self.push(byte);
        Step::More
    }

    #[inline(always)]
    const fn length_value(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' => {
                self.left = self.left.wrapping_mul(10).wrapping_add((byte - b'0') as u64);
                if self.matched > LENGTH_DIGITS_MAX {
                    self.facts |= fact::UNCLEAR;
                }
                self.matched += 1;
            }
            b' ' | b'\t' | b'\r' => {}
            b'\n' => self.state = State::LineStart,
            _ => {
                self.facts |= fact::UNCLEAR;
                self.state = State::FieldValue;
            }
        }
    }

    /// Compares the last coding of the list with `chunked` (RFC 9112 section 6.1).
    #[inline(always)]
    fn coding_value(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' => {}
            b',' => self.matched = 0,
            b'\n' => {
                self.facts |=
                    if self.matched == CHUNKED.length { fact::CHUNKED } else { fact::UNCLEAR };
                self.state = State::LineStart;
            }
            _ if self.matched < CHUNKED.length && fold(byte) == CHUNKED.byte(self.matched, 0) => {
                self.matched += 1;
            }
            _ => self.matched = MISMATCH,
        }
    }

    /// Compares each protocol of the list with `h2c`.
    #[inline(always)]
    fn upgrade_value(&mut self, byte: u8) {
        let is_end = matches!(byte, b' ' | b'\t' | b',' | b'\r' | b'\n');
        if is_end {
            if self.matched == HTTP2.length {
                self.facts |= fact::HTTP2;
            }
            self.matched = 0;
            if byte == b'\n' {
                self.state = State::LineStart;
            }
        } else if self.matched < HTTP2.length && fold(byte) == HTTP2.byte(self.matched, 0) {
            self.matched += 1;
        } else {
            self.matched = MISMATCH;
        }
    }

    #[inline(always)]
    const fn end_line(&mut self, byte: u8) {
        self.state = if byte == b'\n' { State::LineStart } else { State::FieldValue };
    }

    /// Behind the empty line: how the message goes on (RFC 9112 section 6.3).
    #[inline(always)]
    const fn head_end(&mut self) -> Step {
        let facts = self.facts;
        let framed_twice = facts & fact::LENGTH != 0 && facts & fact::CHUNKED != 0;
        self.state = if facts & fact::TUNNEL != 0 {
            State::Tunnel
        } else if facts & fact::UNCLEAR != 0 || framed_twice {
            return self.lose(NoName::HttpFraming);
        } else if facts & fact::CHUNKED != 0 {
            self.left = 0;
            State::ChunkSize
        } else if facts & fact::LENGTH != 0 && self.left > 0 {
            State::Body
        } else {
            State::Start
        };
        self.matched = 0;
        self.head_end = self.window_from.wrapping_add(self.at);
        if facts & fact::NAMED == 0 {
            return Step::Stop(NoName::NoHost);
        }
        if facts & fact::HTTP2 != 0 { Step::Stop(NoName::Http2) } else { Step::More }
    }
}

/// Digits of the largest length that is believed: more than a connection carries.
const LENGTH_DIGITS_MAX: u32 = 17;

/// Lower case, of letters only.
#[inline(always)]
const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_uppercase() { byte | 0x20 } else { byte }
}
