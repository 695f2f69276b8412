//! What lies between two heads: bodies of known length and chunks (RFC 9112 sections 6 and 7.1).

use super::{RequestReader, State};
use crate::abi::NoName;
use crate::flow::is_method_byte;
use crate::step::Step;

/// Hexadecimal digits of the largest chunk that is believed.
const SIZE_DIGITS_MAX: u32 = 15;

impl RequestReader {
    /// Passes over what is at hand of a body or chunk.
    #[inline(always)]
    pub(super) fn pass_over(&mut self, at_hand: u32) -> Step {
        let count = if self.left < u64::from(at_hand) { self.left as u32 } else { at_hand };
        self.at += count;
        self.left -= u64::from(count);
        if self.left == 0 {
            self.state = if self.state == State::Body { State::Start } else { State::ChunkEnd };
        }
        Step::More
    }

    /// Reads a byte that is in no head and no data.
    #[inline(always)]
    pub(super) const fn between(&mut self, byte: u8) -> Step {
        match self.state {
            State::Start | State::Tunnel => {
                if byte == b'\r' || byte == b'\n' {
                    return Step::More;
                }
                if !is_method_byte(byte) {
                    return self.lose(NoName::NotTls);
                }
                self.begin_head();
                self.head_length = 1;
                self.state = State::Method;
            }
            State::ChunkSize => return self.chunk_size(byte),
            State::ChunkExtension => {
                if byte == b'\n' {
                    self.chunk_starts();
                }
            }
            State::ChunkEnd => {
                if byte == b'\n' {
                    self.left = 0;
                    self.matched = 0;
                    self.state = State::ChunkSize;
                } else if byte != b'\r' {
                    return self.lose(NoName::Malformed);
                }
            }
            State::TrailerStart => {
                if byte == b'\n' {
                    self.state = State::Start;
                } else if byte != b'\r' {
                    self.state = State::TrailerLine;
                }
            }
            State::TrailerLine => {
                if byte == b'\n' {
                    self.state = State::TrailerStart;
                }
            }
            _ => return self.lose(NoName::NotTls),
        }
        Step::More
    }

    #[inline(always)]
    const fn chunk_size(&mut self, byte: u8) -> Step {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\n' => {
                self.chunk_starts();
                return Step::More;
            }
            b'\r' | b';' | b' ' | b'\t' => {
                self.state = State::ChunkExtension;
                return Step::More;
            }
            _ => return self.lose(NoName::Malformed),
        };
        if self.left >> (4 * SIZE_DIGITS_MAX) != 0 {
            return self.lose(NoName::Malformed);
        }
        self.left = self.left << 4 | digit as u64;
        Step::More
    }

    #[inline(always)]
    const fn chunk_starts(&mut self) {
        self.state = if self.left == 0 { State::TrailerStart } else { State::ChunkData };
    }
}
