//! Canonical names and the hashes of their suffixes.
//!
//! A name is judged by every suffix that starts at a label: `a.b.example` by itself, `b.example` and
//! `example`. One pass from the right gives all their hashes.

use crate::abi::{LISTED_LABELS_MAX, NAME_BUFFER};
use crate::cursor::{bound, load_unaligned, store_unaligned};

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

/// Steps that read the longest name there is room for.
pub const SUFFIX_STEPS_MAX: u32 = NAME_BUFFER as u32 / WORD;

/// Bytes read in a step.
const WORD: u32 = 8;

/// This byte in each of a word's.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; WORD as usize])
}

/// Lower case for upper case of ASCII, all bytes at once.
#[inline(always)]
pub const fn folded(word: u64) -> u64 {
    let lower_bits = word & each(0x7f);
    let from_a = lower_bits + each(0x80 - b'A');
    let above_z = lower_bits + each(0x7f - b'Z');
    let is_upper = (from_a ^ above_z) & !word & each(0x80);
    word | is_upper >> 2
}

/// The highest bit of each byte that is a dot.
#[inline(always)]
const fn dots_of(word: u64) -> u64 {
    let unlike = word ^ each(b'.');
    let below = (unlike & each(0x7f)) + each(0x7f);
    !(below | unlike | each(0x7f))
}

/// The state of a hash behind eight more bytes. Twice multiplied: a difference in the highest bits, which one
/// multiplication leaves where it is, could be taken back by the next bytes, whatever the key is.
#[inline(always)]
const fn advance(state: u64, word: u64, multiplier: u64) -> u64 {
    let mut state = (state ^ word).wrapping_mul(multiplier);
    state ^= state >> 32;
    state = state.wrapping_mul(multiplier);
    state ^ state >> 32
}

/// The same behind the last bytes of a suffix, `count` of them, 0 to 7, which are the upper ones of `word`.
#[inline(always)]
const fn conclude(state: u64, word: u64, count: u32, multiplier: u64) -> u64 {
    // Zeroes before a short word's bytes are none of the name.
    advance(state.wrapping_add(count as u64 + 1), word, multiplier)
}

/// Reads a name from its last byte to its first, eight bytes a step: folds it to lower case in place, and keeps the hash
/// of each suffix.
///
/// Words are counted from the end of the name, so a suffix has the same words in every name; the one that it begins in
/// is cut at its dot.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SuffixReader {
    /// Hash states of the suffixes, shortest first.
    suffixes: [u64; LISTED_LABELS_MAX],
    multiplier: u64,
    /// Behind the words that were read; of the whole name in the end.
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
    /// Starts at the end of a name of `length` bytes, at most [`NAME_MAX`](crate::abi::NAME_MAX).
    #[inline(always)]
    pub const fn begin(&mut self, length: u32, key: HashKey) {
        self.multiplier = key.multiplier;
        self.state = key.start;
        // No word then reaches over the end of the buffer.
        self.left = length & (NAME_BUFFER as u32 - 1);
        self.dots = 0;
        self.listable = 0;
    }

    /// Reads eight bytes, or those that are left; false when there is none left.
    #[inline(always)]
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the word is read and written as one that lies anywhere"
    )]
    pub fn step(&mut self, name: &mut [u8; NAME_BUFFER]) -> bool {
        if self.left == 0 {
            return false;
        }
        let count = if self.left < WORD { self.left } else { WORD };
        self.left -= count;
        let at = bound::<{ NAME_BUFFER as u32 - 1 }>(self.left) as usize;
        // SAFETY: eight bytes from there on are in the buffer: a name is shorter than it, and of one that is shorter
        // than a word the first eight are taken.
        let place = unsafe { name.as_mut_ptr().add(at) }.cast::<u64>();
        // SAFETY: as above.
        let read = folded(unsafe { load_unaligned(place) });
        // SAFETY: as above.
        unsafe { store_unaligned(place, read) };
        // What is left of a short word goes to its upper end.
        let word = read << (bound::<7>(WORD - count) * 8);
        if dots_of(word) != 0 {
            self.cut(word);
        }
        if count == WORD {
            self.state = advance(self.state, word, self.multiplier);
        }
        if self.left == 0 {
            let (word, count) = if count == WORD { (0, 0) } else { (word, count) };
            self.state = conclude(self.state, word, count, self.multiplier);
            self.keep(self.state);
        }
        true
    }

    /// Keeps the hashes of the suffixes that begin behind a dot in this word.
    #[inline(always)]
    fn cut(&mut self, word: u64) {
        for behind in 0..WORD {
            let last = WORD - 1 - behind;
            if (word >> (last * 8)) as u8 != b'.' {
                continue;
            }
            // The bytes behind the dot; in two steps, since no number is shifted by all its bits.
            let suffix = word >> (last * 8) >> 8 << 8 << (last * 8);
            self.keep(conclude(self.state, suffix, behind, self.multiplier));
            self.dots += 1;
        }
    }

    #[inline(always)]
    fn keep(&mut self, state: u64) {
        if self.dots < LISTED_LABELS_MAX as u32 {
            let label = bound::<{ LISTED_LABELS_MAX as u32 - 1 }>(self.dots) as usize;
            // SAFETY: the mask keeps the index below `LISTED_LABELS_MAX`, the length of the array.
            unsafe { *self.suffixes.as_mut_ptr().add(label) = state };
            self.listable = self.dots + 1;
        }
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
    let (mut state, mut rest) = (key.start, name.as_bytes());
    while let Some((before, word)) = rest.split_last_chunk() {
        state = advance(state, u64::from_le_bytes(*word), key.multiplier);
        rest = before;
    }
    let word = rest
        .iter()
        .rev()
        .fold((0_u64, 64), |(word, at), byte| (word | u64::from(*byte) << (at - 8), at - 8));
    finish(conclude(state, word.0, rest.len() as u32, key.multiplier))
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

    /// Where words begin and end makes no difference to what a suffix is.
    #[test]
    fn suffixes_of_every_length_are_the_names_they_are() {
        for label in 1..20 {
            for above in 0..20 {
                let suffix = format!("{}.org", "s".repeat(label));
                let name = format!("{}.{suffix}", "P".repeat(above));
                let (reader, folded) = read(&name);
                assert_eq!(folded, name.to_lowercase());
                assert_eq!(reader.suffix(1), listed_hash("org", KEY), "{name}");
                assert_eq!(reader.suffix(2), listed_hash(&suffix, KEY), "{name}");
                assert_eq!(reader.whole(), listed_hash(&folded, KEY) | 1, "{name}");
            }
        }
    }

    /// Bytes are told apart wherever they are, also zeroes, which fill a short word up.
    #[test]
    fn no_two_of_many_alike_have_one_hash() {
        let mut seen = std::collections::HashMap::new();
        let mut add = |name: String| {
            let hash = listed_hash(&name, KEY);
            if let Some(other) = seen.insert(hash, name.clone()) {
                assert_eq!(other, name);
            }
        };
        let name = "a-name0of.several-words.example";
        for at in 0..name.len() {
            for other in 0..at {
                for (one, two) in [('0', 'p'), ('-', 'm'), ('\0', '@'), ('1', '2'), ('a', 'b')] {
                    let mut changed: Vec<char> = name.chars().collect();
                    (changed[at], changed[other]) = (one, two);
                    add(changed.iter().collect());
                    (changed[at], changed[other]) = (two, one);
                    add(changed.iter().collect());
                    (changed[at], changed[other]) = (two, two);
                    add(changed.iter().collect());
                }
            }
        }
        for zeroes in 0..40 {
            add(format!("{}example", "\0".repeat(zeroes)));
        }
    }

    #[test]
    fn words_fold_and_show_their_dots() {
        for byte in 0..=255_u8 {
            for at in 0..8 {
                let mut bytes = *b"aZ.@[`{.";
                bytes[at] = byte;
                let expected = bytes.map(|byte| byte.to_ascii_lowercase());
                let word = folded(u64::from_le_bytes(bytes));
                assert_eq!(word.to_le_bytes(), expected, "{byte} at {at}");
                let dots = expected.map(|byte| if byte == b'.' { 0x80 } else { 0 });
                assert_eq!(dots_of(word).to_le_bytes(), dots, "{byte} at {at}");
            }
        }
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
