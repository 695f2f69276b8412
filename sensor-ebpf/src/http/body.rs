//! What lies between two heads: bodies of known length and chunks (RFC 9112 sections 6 and 7.1).

use super::request_line::is_token_byte;
use super::{RequestReader, State};
use crate::abi::NoName;
use crate::step::Step;

/// Bits of the largest chunk that is believed: 4 GiB, in any number of zeroes. A flow keeps so many of a
/// number that is cut.
const SIZE_BITS_MAX: u32 = 32;

impl RequestReader {
    /// Passes over what is at hand of a body or chunk.
    #[inline(always)]
    pub(super) fn pass_over(&mut self, at_hand: u32) -> Step {
        let count = if self.left < u64::from(at_hand) { self.left as u32 } else { at_hand };
        self.at += count;
        self.left -= u64::from(count);
        if self.left == 0 {
            self.end_body();
        }
        Step::More
    }

    /// Goes on behind a body or chunk.
    #[inline(always)]
    pub(super) const fn end_body(&mut self) {
        self.state = if matches!(self.state, State::Body) { State::Start } else { State::ChunkEnd };
    }

    /// Reads a byte that is in no head and no data.
    #[inline(always)]
    pub(super) const fn between(&mut self, byte: u8) -> Step {
        match self.state {
            State::Start | State::Tunnel => {
                if byte == b'\r' || byte == b'\n' {
                    return Step::More;
                }
                if !is_token_byte(byte) {
                    return self.lose(NoName::NotTls);
                }
                self.begin_head();
                self.head_from = self.window_from.wrapping_add(self.at - 1);
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
        self.left = self.left << 4 | digit as u64;
        if self.left >> SIZE_BITS_MAX != 0 {
            return self.lose(NoName::Malformed);
        }
        Step::More
    }

    #[inline(always)]
    const fn chunk_starts(&mut self) {
        self.state = if self.left == 0 { State::TrailerStart } else { State::ChunkData };
    }
}
