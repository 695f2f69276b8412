//! Canonical names and the hashes of their suffixes.
//!
//! A name is judged by every suffix that starts at a label: `a.b.example` by itself, `b.example` and
//! `example`. One pass from the right gives all their hashes.

use crate::abi::{LISTED_LABELS_MAX, NAME_BUFFER};
use crate::cursor::bound;

/// Key of the name hash, drawn at random on the machine it is used on: who does not know it cannot search for
/// names that collide. Who knows it can, so it lies only in the kernel's maps and in files that only root reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey {
    /// Where every hash starts.
    pub start: u64,
    /// What every byte is multiplied by; odd.
    pub multiplier: u64,
}

impl HashKey {
    /// The key to go on with where this one will not do: as hard to guess, and the same each time.
    #[must_use]
    pub const fn another(self) -> Self {
        let start = finish(self.start.wrapping_add(self.multiplier));
        Self { start, multiplier: finish(start ^ self.multiplier) | 1 }
    }
}

impl HashKey {
    /// A number that is random already, as one that only who has the key can tell.
    #[inline(always)]
    #[must_use]
    pub const fn mix(self, number: u64) -> u64 {
        finish((number ^ self.start).wrapping_mul(self.multiplier))
    }
}

/// Spreads the state of a hash over all its bits (the finaliser of `MurmurHash3`).
#[inline(always)]
const fn finish(mut state: u64) -> u64 {
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ state >> 33
}

/// Reads a name from its last byte to its first: folds it to lower case in place, and keeps the hash
/// of each suffix.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SuffixReader {
    /// Hash states of the suffixes, shortest first.
    suffixes: [u64; LISTED_LABELS_MAX],
    multiplier: u64,
    state: u64,
    /// Bytes still to be read.
    left: u32,
    /// Dots read so far.
    dots: u32,
    /// Suffixes that can be listed, of what was read. Kept here, not reckoned: the verifier would go on with each way it
    /// was come by.
    listable: u32,
}

impl Default for SuffixReader {
    fn default() -> Self {
        Self {
            suffixes: [0; LISTED_LABELS_MAX],
            multiplier: 1,
            state: 0,
            left: 0,
            dots: 0,
            listable: 0,
        }
    }
}

impl SuffixReader {
    /// Starts at the end of a name of `length` bytes.
    #[inline(always)]
    pub const fn begin(&mut self, length: u32, key: HashKey) {
        self.multiplier = key.multiplier;
        self.state = key.start;
        self.left = length;
        self.dots = 0;
        self.listable = 0;
    }

    /// Reads one byte; false when there is none left.
    #[inline(always)]
    pub fn step(&mut self, name: &mut [u8; NAME_BUFFER]) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let index = bound::<{ NAME_BUFFER as u32 - 1 }>(self.left) as usize;
        // SAFETY: the mask keeps the index below `NAME_BUFFER`, the length of the array.
        let byte = unsafe { &mut *name.as_mut_ptr().add(index) };
        if byte.is_ascii_uppercase() {
            *byte |= 0x20;
        }
        if *byte == b'.' {
            self.dots += 1;
        }
        self.state = (self.state ^ u64::from(*byte)).wrapping_mul(self.multiplier);
        if self.dots < LISTED_LABELS_MAX as u32 {
            let label = bound::<{ LISTED_LABELS_MAX as u32 - 1 }>(self.dots) as usize;
            // SAFETY: the mask keeps the index below `LISTED_LABELS_MAX`, the length of the array.
            unsafe { *self.suffixes.as_mut_ptr().add(label) = self.state };
            self.listable = self.dots + 1;
        }
        true
    }

    /// Hash of the whole name, once every byte was read. Never 0, which means no name.
    #[inline(always)]
    pub const fn whole(&self) -> u64 {
        finish(self.state) | 1
    }

    /// Dots of the name, once every byte was read.
    #[inline(always)]
    pub const fn dots(&self) -> u32 {
        self.dots
    }

    /// Suffixes that can be listed, once every byte was read: 0 of an empty name, else 1 to [`LISTED_LABELS_MAX`].
    #[inline(always)]
    pub const fn listable(&self) -> u32 {
        self.listable
    }

    /// Hash of the suffix of `labels` labels, 1 to [`Self::listable`].
    #[inline(always)]
    pub fn suffix(&self, labels: u32) -> u64 {
        let label = bound::<{ LISTED_LABELS_MAX as u32 - 1 }>(labels.wrapping_sub(1)) as usize;
        // SAFETY: the mask keeps the index below `LISTED_LABELS_MAX`, the length of the array.
        finish(unsafe { *self.suffixes.as_ptr().add(label) })
    }
}

/// Length of `name` without its final dot. Two dots at the end are no name's end and stay.
#[inline(always)]
pub const fn without_final_dot(length: u32, last: u8) -> u32 {
    if length > 1 && last == b'.' { length - 1 } else { length }
}

/// Hash of a canonical name as the domain table keys it. Host side; the kernel steps a [`SuffixReader`].
#[must_use]
pub fn listed_hash(name: &str, key: HashKey) -> u64 {
    let state = name
        .bytes()
        .rev()
        .fold(key.start, |state, byte| (state ^ u64::from(byte)).wrapping_mul(key.multiplier));
    finish(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey =
        HashKey { start: 0x0123_4567_89ab_cdef, multiplier: 0x9e37_79b9_7f4a_7c15 };

    fn read(name: &str) -> (SuffixReader, String) {
        let mut buffer = [0; NAME_BUFFER];
        buffer[..name.len()].copy_from_slice(name.as_bytes());
        let mut reader = SuffixReader::default();
        reader.begin(name.len() as u32, KEY);
        while reader.step(&mut buffer) {}
        (reader, String::from_utf8(buffer[..name.len()].to_vec()).unwrap())
    }

    #[test]
    fn every_suffix_has_the_hash_of_the_name_it_is() {
        let (reader, folded) = read("A.b.Example.ORG");
        assert_eq!(folded, "a.b.example.org");
        assert_eq!(reader.listable(), 4);
        for (labels, suffix) in [(1, "org"), (2, "example.org"), (3, "b.example.org")] {
            assert_eq!(reader.suffix(labels), listed_hash(suffix, KEY), "{suffix}");
        }
        assert_eq!(reader.suffix(4), listed_hash("a.b.example.org", KEY));
        assert_eq!(reader.whole(), listed_hash("a.b.example.org", KEY) | 1);
    }

    #[test]
    fn a_name_with_more_labels_than_can_be_listed_keeps_its_rightmost_suffixes() {
        let name = format!("{}example.org", "x.".repeat(60));
        let (reader, _) = read(&name);
        assert_eq!(reader.listable(), LISTED_LABELS_MAX as u32);
        assert_eq!(reader.suffix(2), listed_hash("example.org", KEY));
        assert_eq!(reader.suffix(16), listed_hash(&name[name.len() - 39..], KEY));
        assert_eq!(reader.whole(), listed_hash(&name, KEY) | 1);
    }

    #[test]
    fn another_key_gives_other_hashes() {
        let other = HashKey { start: KEY.start + 1, ..KEY };
        assert_ne!(listed_hash("example.org", KEY), listed_hash("example.org", other));
    }

    #[test]
    fn keys_follow_each_other_without_an_end() {
        let mut seen = std::collections::HashSet::new();
        let mut key = KEY;
        for _ in 0..1000 {
            key = key.another();
            assert_eq!(key.multiplier & 1, 1);
            assert!(seen.insert((key.start, key.multiplier)));
        }
        assert_eq!(KEY.another(), KEY.another());
    }

    #[test]
    fn one_final_dot_is_cut() {
        assert_eq!(without_final_dot(4, b'.'), 3);
        assert_eq!(without_final_dot(4, b'm'), 4);
        assert_eq!(without_final_dot(1, b'.'), 1);
    }
}
