//! TCP options (RFC 9293 section 3.1): the few that say whether a receiver takes a segment.

use crate::cursor::bound;

/// Bytes of options: a header of fifteen words without its five fixed ones.
pub const OPTIONS_MAX: usize = 40;

/// Bytes of a TCP header without options.
pub const HEADER: usize = 20;

/// Room for a whole header: a power of two, for the mask.
pub const HEADER_BUFFER: usize = 64;

const END_OF_LIST: u8 = 0;
const NO_OPERATION: u8 = 1;
/// RFC 7323 section 3.2.
const TIMESTAMPS: u8 = 8;
const TIMESTAMPS_LENGTH: u32 = 10;
/// RFC 2385.
const MD5_SIGNATURE: u8 = 19;
/// RFC 8684 section 3.
const MPTCP: u8 = 30;
const MPTCP_JOIN: u8 = 1;
/// RFC 7413 section 4.1.1; shorter ones ask for a cookie.
const FAST_OPEN: u8 = 34;

/// What was found.
pub mod found {
    /// A timestamp, in [`super::OptionsReader::timestamp`].
    pub const TIMESTAMP: u32 = 1;
    /// An MD5 signature.
    pub const MD5: u32 = 2;
    /// A Fast Open cookie.
    pub const FAST_OPEN_COOKIE: u32 = 4;
    /// An MPTCP join.
    pub const MPTCP_JOIN: u32 = 8;
}

/// The options of one segment, and a machine that reads one at a step.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OptionsReader {
    /// The TCP header, with its options; what lies beyond `end` is left over.
    pub bytes: [u8; HEADER_BUFFER],
    room: [u8; 4],
    at: u32,
    end: u32,
    /// Bits of [`found`].
    pub found: u32,
    /// `TSval`.
    pub timestamp: u32,
}

impl OptionsReader {
    /// Starts over a header of `length` bytes, which are in `bytes` already. `false`: nothing is left to step.
    #[inline(always)]
    pub fn begin(&mut self, length: u32) -> bool {
        self.at = HEADER as u32;
        self.end = length;
        self.found = 0;
        self.timestamp = 0;
        // Nearly every segment of today has these and no other: two bytes of padding, timestamps.
        let usual = [NO_OPERATION, NO_OPERATION, TIMESTAMPS, TIMESTAMPS_LENGTH as u8];
        if length == HEADER as u32 + 12 && self.word(HEADER as u32) == u32::from_ne_bytes(usual) {
            self.found = found::TIMESTAMP;
            self.timestamp = u32::from_be(self.word(HEADER as u32 + 4));
            return false;
        }
        length > HEADER as u32
    }

    /// Reads one option. `false`: the list is over.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        if self.at >= self.end {
            return false;
        }
        let kind = self.byte(self.at);
        if kind == END_OF_LIST {
            return false;
        }
        if kind == NO_OPERATION {
            self.at += 1;
            return true;
        }
        let length = u32::from(self.byte(self.at + 1));
        if length < 2 || length > self.end - self.at {
            return false;
        }
        match kind {
            TIMESTAMPS if length == TIMESTAMPS_LENGTH => {
                self.found |= found::TIMESTAMP;
                self.timestamp = u32::from_be(self.word(self.at + 2));
            }
            MD5_SIGNATURE => self.found |= found::MD5,
            FAST_OPEN if length > 2 => self.found |= found::FAST_OPEN_COOKIE,
            MPTCP if length > 2 && self.byte(self.at + 2) >> 4 == MPTCP_JOIN => {
                self.found |= found::MPTCP_JOIN;
            }
            _ => {}
        }
        self.at += length;
        true
    }

    #[inline(always)]
    fn byte(&self, at: u32) -> u8 {
        let index = bound::<{ HEADER_BUFFER as u32 - 1 }>(at) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.bytes.as_ptr().add(index) }
    }

    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the load does without it")]
    fn word(&self, at: u32) -> u32 {
        let index = bound::<{ HEADER_BUFFER as u32 - 1 }>(at) as usize;
        let at = core::ptr::from_ref(self).cast::<u8>().wrapping_add(index).cast::<u32>();
        // SAFETY: the index is within the array, and four bytes of this struct follow it.
        unsafe { crate::cursor::load_unaligned(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[u8]) -> (u32, u32) {
        let mut reader = OptionsReader {
            bytes: [0xff; HEADER_BUFFER],
            room: [0; 4],
            at: 0,
            end: 0,
            found: 0,
            timestamp: 0,
        };
        reader.bytes[HEADER..HEADER + options.len()].copy_from_slice(options);
        if reader.begin((HEADER + options.len()) as u32) {
            let steps = (0..OPTIONS_MAX).take_while(|_| reader.step()).count();
            assert!(steps <= options.len());
        }
        (reader.found, reader.timestamp)
    }

    #[test]
    fn options_wherever_they_lie() {
        let timestamps = [8, 10, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];
        let usual = [&[1, 1][..], &timestamps].concat();
        assert_eq!(read(&usual), (found::TIMESTAMP, 0xdead_beef));
        // As Linux orders them in a SYN: MSS, SACK, timestamps, no operation, window scale.
        let syn = [&[2, 4, 5, 180, 4, 2][..], &timestamps, &[1, 3, 3, 7]].concat();
        assert_eq!(read(&syn), (found::TIMESTAMP, 0xdead_beef));
        let md5 = [&[1, 1, 19, 18][..], &[0; 16]].concat();
        assert_eq!(read(&md5).0, found::MD5);
        assert_eq!(read(&[34, 2, 1, 1]).0, 0, "a cookie is asked for");
        assert_eq!(read(&[34, 10, 1, 2, 3, 4, 5, 6, 7, 8]).0, found::FAST_OPEN_COOKIE);
        assert_eq!(read(&[30, 12, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0]).0, found::MPTCP_JOIN);
        assert_eq!(read(&[30, 4, 0x01, 0x81]).0, 0, "a capable one is no join");
    }

    #[test]
    fn what_contradicts_itself_ends_the_list() {
        for bad in
            [&[8][..], &[8, 0], &[8, 1, 19, 18], &[8, 11, 0, 0, 0, 0, 0, 0, 0, 0], &[0, 19, 18]]
        {
            assert_eq!(read(bad).0, 0, "{bad:?}");
        }
        assert_eq!(read(&[]), (0, 0));
        assert_eq!(read(&[1; 40]), (0, 0));
    }
}
