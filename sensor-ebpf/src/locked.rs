//! Names that are listed by their SHA-256 alone, which the locked class is: neither the table nor the file it was
//! made of tells them.
//!
//! [`LockedReader`] hashes the suffixes of a name, from the whole name on to its last two labels; a top-level domain by
//! itself cannot be locked. It is stepped by one byte or by sixteen rounds, as [`Sha256`] is.

use crate::abi::{LISTED_LABELS_MAX, NAME_BUFFER};
use crate::cursor::bound;
use crate::name::HashKey;
use crate::sha256::{BLOCK, BLOCK_BYTES, COMPRESSION_STEPS, INITIAL_STATE, Sha256};

/// Steps of a name at most: each byte of it once for every suffix of [`LISTED_LABELS_MAX`], their blocks and ends, and what
/// is passed over before the first.
pub const LOCKED_STEPS_MAX: u32 = NAME_BUFFER as u32 * 2
    + LISTED_LABELS_MAX as u32 * (NAME_BUFFER as u32 + BLOCKS_MAX * (COMPRESSION_STEPS + 1) + 1);

/// Blocks of the longest suffix and its padding (FIPS 180-4 section 5.1.1).
const BLOCKS_MAX: u32 = (NAME_BUFFER as u32 + 9).div_ceil(BLOCK_BYTES);

/// Bytes of a block before the length of the message.
const BEFORE_LENGTH: u32 = BLOCK_BYTES - 8;

/// Hashes suffixes of a canonical name, one after the other.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LockedReader {
    sha: Sha256,
    /// Where the suffix under way starts.
    start: u32,
    /// Its next byte.
    at: u32,
    /// Length of the name.
    end: u32,
    /// Where the next suffix starts; 0 until its dot was seen.
    next: u32,
    /// Labels that are passed over before the next suffix.
    passed_over: u32,
    /// Bytes in the block.
    taken: u32,
    /// Of [`part`].
    part: u32,
}

/// What the next step does.
mod part {
    /// Passes over a byte of a label that is too deep, or too long.
    pub(super) const PASS_OVER: u32 = 0;
    /// Takes a byte of the suffix, or ends it.
    pub(super) const TAKE: u32 = 1;
    /// Goes on with a compression, behind which there are more bytes.
    pub(super) const COMPRESS: u32 = 2;
    /// The same; behind it the block with the length is due.
    pub(super) const THEN_LENGTH: u32 = 3;
    /// The same with the last block.
    pub(super) const LAST: u32 = 4;
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// The hash of a suffix is [`LockedReader::hash`].
    Hashed,
    /// There is no further suffix.
    Done,
}

impl LockedReader {
    /// Starts with a name of `length` bytes that has `dots` dots.
    #[inline(always)]
    pub const fn begin(&mut self, length: u32, dots: u32) {
        self.end = length;
        self.passed_over = dots.saturating_sub(LISTED_LABELS_MAX as u32 - 1);
        self.part = if self.passed_over == 0 { part::TAKE } else { part::PASS_OVER };
        self.start_at(0);
    }

    /// Does one step on the name it was started with.
    #[inline(always)]
    pub fn step(&mut self, name: &[u8; NAME_BUFFER]) -> Step {
        match self.part {
            part::PASS_OVER => self.pass_over(name),
            part::TAKE if self.at < self.end => self.take(name),
            part::TAKE => self.pad(),
            _ => self.compress(),
        }
    }

    /// What stands for the suffix just hashed in a table with this key: the first 64 bits of its SHA-256, mixed with
    /// the key.
    #[inline(always)]
    pub const fn hash(&self, key: HashKey) -> u64 {
        let [first, second, ..] = self.sha.state;
        key.mix((first as u64) << 32 | second as u64)
    }

    #[inline(always)]
    const fn start_at(&mut self, start: u32) {
        self.start = start;
        self.at = start;
        self.next = 0;
        self.taken = 0;
        self.sha.state = INITIAL_STATE;
        self.sha.block = [0; BLOCK];
    }

    #[inline(always)]
    fn pass_over(&mut self, name: &[u8; NAME_BUFFER]) -> Step {
        if self.at >= self.end {
            return Step::Done;
        }
        let byte = byte_of(name, self.at);
        self.at += 1;
        if byte == b'.' {
            self.passed_over -= 1;
            if self.passed_over == 0 {
                self.part = part::TAKE;
                self.start_at(self.at);
            }
        }
        Step::More
    }

    /// One byte of the suffix.
    #[inline(always)]
    fn take(&mut self, name: &[u8; NAME_BUFFER]) -> Step {
        let byte = byte_of(name, self.at);
        self.at += 1;
        if byte == b'.' && self.next == 0 {
            self.next = self.at;
        }
        self.put(byte);
        if self.taken == BLOCK_BYTES {
            if self.next == 0 {
                // No listed name has so long a label; what is behind it may be one.
                self.passed_over = 1;
                self.part = part::PASS_OVER;
            } else {
                self.part = part::COMPRESS;
                self.sha.begin_block();
            }
        }
        Step::More
    }

    /// The end of the suffix: the mark behind it, and its length where there is room.
    #[inline(always)]
    fn pad(&mut self) -> Step {
        if self.next == 0 {
            // The last label by itself.
            return Step::Done;
        }
        let has_room = self.taken < BEFORE_LENGTH;
        self.put(0x80);
        self.part = if has_room { part::LAST } else { part::THEN_LENGTH };
        if has_room {
            self.put_length();
        }
        self.sha.begin_block();
        Step::More
    }

    #[inline(always)]
    fn compress(&mut self) -> Step {
        if self.sha.step() {
            return Step::More;
        }
        if self.part == part::LAST {
            return Step::Hashed;
        }
        self.sha.block = [0; BLOCK];
        self.taken = 0;
        if self.part == part::THEN_LENGTH {
            self.put_length();
            self.part = part::LAST;
            self.sha.begin_block();
        } else {
            self.part = part::TAKE;
        }
        Step::More
    }

    /// Goes on with the next suffix, behind one that was hashed.
    #[inline(always)]
    pub const fn go_on(&mut self) {
        self.part = part::TAKE;
        self.start_at(self.next);
    }

    #[inline(always)]
    fn put(&mut self, byte: u8) {
        let word = bound::<{ BLOCK as u32 - 1 }>(self.taken / 4) as usize;
        let shift = 24 - self.taken % 4 * 8;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.sha.block.as_mut_ptr().add(word) |= u32::from(byte) << shift };
        self.taken += 1;
    }

    /// In bits, in the last word: a name's fits it.
    #[inline(always)]
    const fn put_length(&mut self) {
        let [.., last] = &mut self.sha.block;
        *last = (self.end - self.start) * 8;
    }
}

#[inline(always)]
fn byte_of(name: &[u8; NAME_BUFFER], at: u32) -> u8 {
    let at = bound::<{ NAME_BUFFER as u32 - 1 }>(at) as usize;
    // SAFETY: the mask keeps the index below `NAME_BUFFER`, the length of the array.
    unsafe { *name.as_ptr().add(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey { start: 7, multiplier: 0x9e37_79b9_7f4a_7c15 };

    /// First 64 bits of each hash, whole name first, and steps taken.
    fn hashes(name: &str) -> (Vec<u64>, u32) {
        let mut buffer = [0xaa; NAME_BUFFER];
        buffer[..name.len()].copy_from_slice(name.as_bytes());
        let mut reader = LockedReader::default();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        reader.begin(name.len() as u32, dots as u32);
        let (mut found, mut steps) = (Vec::new(), 0);
        loop {
            steps += 1;
            match reader.step(&buffer) {
                Step::More => {}
                Step::Hashed => {
                    found.push(reader.hash(KEY));
                    reader.go_on();
                }
                Step::Done => return (found, steps),
            }
        }
    }

    fn expected(suffix: &str) -> u64 {
        let blocks = crate::sha256::padded(suffix.as_bytes());
        let [first, second, ..] = blocks.into_iter().fold(INITIAL_STATE, crate::sha256::compress);
        KEY.mix(u64::from(first) << 32 | u64::from(second))
    }

    #[test]
    fn suffixes_of_two_labels_and_more_are_hashed() {
        // `printf abc.de | sha256sum`
        let known = KEY.mix(0x641c_fa06_9efe_9952);
        assert_eq!(hashes("abc.de").0, [known]);
        assert_eq!(hashes("x.abc.de").0[1], known);
        assert!(hashes("").0.is_empty());
        assert!(hashes("de").0.is_empty());
        assert_eq!(hashes("a..b").0, [expected("a..b"), expected(".b")]);
        assert_eq!(hashes("a.b.").0, [expected("a.b."), expected("b.")]);
    }

    #[test]
    fn every_length_is_padded_as_the_standard_says() {
        for length in 3..=255_usize {
            let name: String =
                (0..length).map(|at| if at % 40 == 20 { '.' } else { 'x' }).collect();
            let starts = name.match_indices('.').map(|(at, _)| at + 1);
            let suffixes: Vec<&str> = [0].into_iter().chain(starts).map(|at| &name[at..]).collect();
            let hashed: Vec<u64> =
                suffixes[..suffixes.len() - 1].iter().map(|suffix| expected(suffix)).collect();
            assert_eq!(hashes(&name).0, hashed, "{length}");
        }
    }

    #[test]
    fn the_rightmost_suffixes_of_many_labels_are_hashed() {
        let name = format!("{}example.org", "x.".repeat(100));
        let (found, steps) = hashes(&name);
        assert_eq!(found.len(), LISTED_LABELS_MAX - 1);
        assert_eq!(found.last(), Some(&expected("example.org")));
        assert!(steps < LOCKED_STEPS_MAX, "{steps}");
        // The most that a name can take: sixteen labels, the first as long as can be.
        let name =
            [&"x".repeat(63), &"y".repeat(63), &"z".repeat(63)].map(|label| &**label).join(".")
                + &".ab".repeat(13)
                + &"c".repeat(22);
        assert_eq!(name.len(), 252);
        let (found, steps) = hashes(&name);
        assert_eq!(found.len(), 15);
        assert!(steps < LOCKED_STEPS_MAX, "{steps}");
    }

    #[test]
    fn a_label_that_is_too_long_is_passed_over() {
        for length in [64, 65, 128, 200] {
            let name = format!("{}.example.org", "x".repeat(length));
            assert_eq!(hashes(&name).0, [expected("example.org")], "{length}");
        }
        assert!(hashes(&"x".repeat(255)).0.is_empty());
    }
}
