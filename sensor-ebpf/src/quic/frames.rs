//! The frames of an Initial's payload (RFC 9000 sections 12.4 and 19).

use super::header::Varint;
use super::{Piece, Unread};
use crate::cursor::{WINDOW, Window};
use crate::tls::STREAM_MAX;

/// Steps over a payload: each takes a byte at least, but for the last.
pub const FRAME_STEPS_MAX: u32 = WINDOW as u32 + 1;

/// Words of padding that are passed over in one step.
const PADDING_WORDS: u32 = 4;

// Frame types that an Initial may have (RFC 9000 section 12.4, table 3).
const PADDING: u64 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;
const CONNECTION_CLOSE: u64 = 0x1c;

/// Integers of an ACK frame up to its first range (RFC 9000 section 19.3): the third of them counts ranges.
const ACK_INTEGERS: u32 = 4;
/// Integers behind the ranges, where there are ECN counts.
const ECN_INTEGERS: u32 = 3;
/// Integers of a range.
const RANGE_INTEGERS: u32 = 2;
/// Offset and length.
const CRYPTO_INTEGERS: u32 = 2;
/// Error code, type of the frame at fault, and bytes of the reason (RFC 9000 section 19.19).
const CLOSE_INTEGERS: u32 = 3;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Step again.
    More,
    /// A piece of the hello is in [`FrameReader::piece`]. Step again.
    Crypto,
    /// All frames are read.
    End,
    /// The payload is none of an Initial.
    Stop(Unread),
}

/// Goes through the frames of a payload, an integer at a step.
///
/// A payload is to be walked to its end before a piece is taken: what was decrypted with other keys starts
/// as a CRYPTO frame now and then, but its frames do not end where it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FrameReader {
    /// Type of the frame being read; [`PADDING`] between two.
    kind: u64,
    /// Offset of the next byte.
    at: u32,
    /// Offset behind the payload.
    end: u32,
    /// Integers read of the frame.
    read: u32,
    /// Integers still to come.
    left: u32,
    /// The CRYPTO frame that the last step came to.
    pub piece: Piece,
    /// CRYPTO frames so far.
    pub pieces: u32,
}

impl FrameReader {
    /// Starts over the payload between two offsets of the window.
    #[inline(always)]
    pub const fn begin(&mut self, at: u32, end: u32) {
        self.kind = PADDING;
        self.at = at;
        self.end = end;
        self.read = 0;
        self.left = 0;
        self.pieces = 0;
    }

    /// Reads a frame's type, or one of its integers.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> Frame {
        let between = self.kind == PADDING;
        if between {
            if self.at >= self.end {
                return Frame::End;
            }
            if self.pass_padding(window) {
                return Frame::More;
            }
        }
        let Some(integer) = Varint::read(window, self.at, self.end) else {
            return Frame::Stop(Unread::Malformed);
        };
        self.at = integer.behind;
        if between { self.begin_frame(integer.value) } else { self.integer(integer.value) }
    }

    /// Passes over zeroes. `false`: there is none.
    #[inline(always)]
    fn pass_padding(&mut self, window: &Window) -> bool {
        let from = self.at;
        for _ in 0..PADDING_WORDS {
            let zeroes = window.word(self.at).trailing_zeros() / 8;
            self.at += zeroes;
            if zeroes < 8 {
                break;
            }
        }
        if self.at > self.end {
            self.at = self.end;
        }
        self.at != from
    }

    #[inline(always)]
    fn begin_frame(&mut self, kind: u64) -> Frame {
        let integers = match kind {
            PADDING | PING => return Frame::More,
            ACK | ACK_ECN => ACK_INTEGERS,
            CRYPTO => CRYPTO_INTEGERS,
            CONNECTION_CLOSE => CLOSE_INTEGERS,
            _ => return Frame::Stop(Unread::Malformed),
        };
        self.kind = kind;
        self.read = 0;
        self.left = integers;
        Frame::More
    }

    #[inline(always)]
    fn integer(&mut self, value: u64) -> Frame {
        let place = self.read;
        self.read += 1;
        self.left -= 1;
        // What no room is left for cannot be; what is counted below then fits 32 bits.
        let room = u64::from(self.end - self.at);
        if self.kind == ACK || self.kind == ACK_ECN {
            if place == 2 {
                if value > room {
                    return Frame::Stop(Unread::Malformed);
                }
                self.left += RANGE_INTEGERS * value as u32;
                if self.kind == ACK_ECN {
                    self.left += ECN_INTEGERS;
                }
            }
        } else if self.left == 0 {
            // The last integer of the others is the length of what follows it.
            if value > room {
                return Frame::Stop(Unread::Malformed);
            }
            let length = value as u32;
            self.piece.at = self.at;
            self.piece.length = length;
            self.at += length;
        } else if self.kind == CRYPTO {
            if value > u64::from(STREAM_MAX) {
                return Frame::Stop(Unread::Oversize);
            }
            self.piece.offset = value as u32;
        }
        if self.left != 0 {
            return Frame::More;
        }
        let kind = self.kind;
        self.kind = PADDING;
        if kind != CRYPTO {
            return Frame::More;
        }
        self.pieces += 1;
        Frame::Crypto
    }
}
