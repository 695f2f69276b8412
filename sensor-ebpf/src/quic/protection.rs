//! Taking the protection off an Initial (RFC 9001 sections 5.3 and 5.4), where it lies in the window.

use super::Unread;
use super::aes::{Aes128, WORDS};
use super::header::LongHeader;
use super::keys::Keys;
use crate::cursor::{WINDOW, Window};

/// Steps over a packet: two key schedules, the mask, and the blocks of a window.
pub const OPENING_STEPS_MAX: u32 = BLOCKS + WINDOW as u32 / BLOCK_BYTES + 1;

const BLOCK_BYTES: u32 = 16;
/// Bytes of the tag behind the payload (RFC 9001 section 5.3).
const TAG_BYTES: u32 = 16;
/// Where the sample lies, as if the packet number had four bytes (RFC 9001 section 5.4.2).
const SAMPLE_AT: u32 = 4;
const SAMPLE_BYTES: u32 = 16;
/// Counter of the first block of payload: the one before it masks the tag (NIST SP 800-38D section 7.1).
const FIRST_COUNTER: u32 = 2;

/// Bits of a long header's first byte that are protected (RFC 9001 section 5.4.1).
const PROTECTED_BITS: u32 = 0x0f;
/// Reserved Bits: endpoints refuse packets that have them (RFC 9000 section 17.2).
const RESERVED_BITS: u32 = 0x0c;
const NUMBER_LENGTH_BITS: u32 = 0x03;

/// Packet numbers are below this (RFC 9000 section 12.3).
const NUMBER_END: u64 = 1 << 62;

// What a step does, by its number.
const EXPAND_HEADER_KEY: u32 = 0;
const UNMASK: u32 = 1;
const EXPAND_KEY: u32 = 2;
/// This one and all that follow decrypt a block.
const BLOCKS: u32 = 3;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Step again.
    More,
    /// The payload is plain.
    Done,
    /// The packet is not to be read.
    Stop(Unread),
}

/// Takes the protection off one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Opening {
    /// The packet number, known from the second step on.
    pub number: u64,
    /// The packet number that is expected.
    expected: u64,
    aes: Aes128,
    nonce: [u32; 3],
    /// Steps done.
    done: u32,
    /// Offset of the first byte of the packet.
    first_at: u32,
    /// Offset of the packet number.
    number_at: u32,
    /// Offset of the first byte of the payload.
    pub payload_at: u32,
    /// Offset behind the payload, where the tag lies; before the mask is off, behind the tag.
    pub payload_end: u32,
    /// Offset of the next block.
    at: u32,
    /// Always 0.
    pub reserved: u32,
}

impl Opening {
    /// An opening that has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            number: 0,
            expected: 0,
            aes: Aes128::new(),
            nonce: [0; 3],
            done: 0,
            first_at: 0,
            number_at: 0,
            payload_at: 0,
            payload_end: 0,
            at: 0,
            reserved: 0,
        }
    }

    /// Starts with a packet. `expected` is the number behind the highest one of the connection, 0 for the first.
    #[inline(always)]
    pub const fn begin(&mut self, header: &LongHeader, expected: u64) {
        self.expected = expected;
        self.done = EXPAND_HEADER_KEY;
        self.first_at = header.at;
        self.number_at = header.number_at;
        self.payload_end = header.end;
    }

    /// Expands a key, takes the mask off the header, or decrypts a block.
    #[inline(always)]
    pub fn step(&mut self, keys: &Keys, window: &mut Window) -> Opened {
        let step = self.done;
        if step == EXPAND_HEADER_KEY || step == EXPAND_KEY {
            self.aes.expand(if step == EXPAND_KEY { keys.key } else { keys.hp });
            self.done += 1;
            return Opened::More;
        }
        if step == UNMASK {
            if self.payload_end - self.number_at < SAMPLE_AT + SAMPLE_BYTES {
                return Opened::Stop(Unread::Malformed);
            }
        } else if self.at >= self.payload_end {
            return Opened::Done;
        }
        // One site for both, as the verifier walks it once for each.
        let block = if step == UNMASK {
            let sample = self.number_at + SAMPLE_AT;
            words(u64::from_be(window.word(sample)), u64::from_be(window.word(sample + 8)))
        } else {
            let [a, b, c] = self.nonce;
            [a, b, c, step - BLOCKS + FIRST_COUNTER]
        };
        let [a, b, c, d] = self.aes.encrypt(block);
        self.done += 1;
        let first = u64::from(a) << 32 | u64::from(b);
        if step == UNMASK {
            return self.unmask(first, keys, window);
        }
        // Up to 15 bytes of the tag are spoilt with the last block.
        let second = u64::from(c) << 32 | u64::from(d);
        window.put_word64(self.at, window.word(self.at) ^ first.to_be());
        window.put_word64(self.at + 8, window.word(self.at + 8) ^ second.to_be());
        self.at += BLOCK_BYTES;
        Opened::More
    }

    /// Reads what the mask, here its first eight bytes, was on (RFC 9001 section 5.4.1).
    #[inline(always)]
    fn unmask(&mut self, mask: u64, keys: &Keys, window: &Window) -> Opened {
        let first = (window.word(self.first_at) as u32 ^ (mask >> 56) as u32) & PROTECTED_BITS;
        if first & RESERVED_BITS != 0 {
            return Opened::Stop(Unread::WrongKeys);
        }
        let bytes = (first & NUMBER_LENGTH_BITS) + 1;
        let bits = 8 * bytes;
        let masked = u64::from_be(window.word(self.number_at)) ^ mask << 8;
        self.number = whole_number(masked >> (64 - bits), bits, self.expected);
        self.payload_at = self.number_at + bytes;
        self.payload_end -= TAG_BYTES;
        if self.payload_at >= self.payload_end {
            // A packet without frames (RFC 9000 section 12.4).
            return Opened::Stop(Unread::Malformed);
        }
        self.at = self.payload_at;
        let [a, b, c] = keys.iv;
        self.nonce = [a, b ^ (self.number >> 32) as u32, c ^ self.number as u32];
        Opened::More
    }
}

impl Default for Opening {
    fn default() -> Self {
        Self::new()
    }
}

/// Two halves of a block as its words.
#[inline(always)]
const fn words(first: u64, second: u64) -> [u32; WORDS] {
    [(first >> 32) as u32, first as u32, (second >> 32) as u32, second as u32]
}

/// The packet number that is closest to the expected one (RFC 9000 appendix A.3).
#[inline(always)]
const fn whole_number(truncated: u64, bits: u32, expected: u64) -> u64 {
    let span = 1_u64 << bits;
    let half = span / 2;
    let candidate = expected & !(span - 1) | truncated;
    if candidate + half <= expected && candidate + span < NUMBER_END {
        candidate + span
    } else if candidate > expected + half && candidate >= span {
        candidate - span
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_closest_ones() {
        for (truncated, bits, expected, number) in [
            (0, 8, 0, 0),
            (255, 8, 0, 255),
            (u32::MAX.into(), 32, 0, u32::MAX.into()),
            // RFC 9000 appendix A.3.
            (0x9b32, 16, 0xa82f_30eb, 0xa82f_9b32),
            (0, 8, 256, 256),
            (0, 8, 255, 256),
            (255, 8, 256, 255),
            (3, 8, 0x1fe, 0x203),
            (0, 8, NUMBER_END - 1, NUMBER_END - 256),
        ] {
            assert_eq!(whole_number(truncated, bits, expected), number, "{truncated} {expected}");
        }
    }
}
