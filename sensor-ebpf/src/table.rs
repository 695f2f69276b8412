//! The table of listed names: where a hash may lie, and how it is looked for. The same source in the kernel,
//! which finds the table in a map, and on the host, which makes it.
//!
//! A table is an array of [`Line`]s of 64 bytes, which is one line of a CPU's cache:
//!
//! | lines | what |
//! |---|---|
//! | the first | [`Head`]: the key of the hash, and how many lines follow |
//! | [`Head::buckets`] | eight entries each, 0 where there is none |
//! | the rest | sets: four [`DomainEntry`] each, from number 0, which is that of no name |
//!
//! An entry is the low 48 bits of a name's hash, its tag, above the number of its set, 1 to [`SETS_MAX`](crate::abi::table::SETS_MAX). Names of
//! which the same is known share a set. A name may lie in two buckets, which its hash tells: with that choice, and
//! entries that move to their other bucket when one is full, nine tenths of the room can be filled. A look-up reads
//! both, so an unlisted name costs two lines of memory a suffix, and a listed one a third.
//!
//! # What a table says of a name that is not listed
//!
//! It takes it for a listed one where an entry in either of its buckets has its tag. With `n` names listed, and keys
//! nobody knows, the odds are below `n / 2^64 + 16 / 2^48`: another name has the very same hash, or one of the
//! sixteen entries there has the tag by chance. A look-up asks for [`LISTED_LABELS_MAX`] suffixes at most, so one
//! unlisted name in 2 x 10^11 is taken for a listed one where five million are, one in 6 x 10^10 where sixteen are:
//! see [`mistaken`]. Most names have three suffixes, not sixteen. Where names are locked each suffix is looked for
//! once more, under its SHA-256: one in 10^11.
//!
//! Two listed names are never taken for each other: who makes a table looks each of its names up, and where one
//! finds two entries he refuses the key and draws another one. One key in a million is refused where five million
//! names are listed.
//!
//! The hash can be inverted by who knows its key, and so two names be made that it does not tell apart. The key is drawn
//! on the machine it is used on and never leaves it: it lies in the kernel's maps and in files that only root reads.

use crate::abi::table::{Head, Line, SET_BITS, SETS_A_LINE, WORDS, entry, unpack};
use crate::abi::{DomainEntry, LISTED_LABELS_MAX};
use crate::cursor::{bound, or_if_short};
use crate::name::SuffixReader;

/// The two buckets a hash may lie in, which may be one: 0 to `buckets` - 1.
///
/// The first grows with the hash, so that who places names in the order of their hashes goes through memory once.
#[inline(always)]
pub const fn places(hash: u64, buckets: u32) -> [u32; 2] {
    /// Any odd number without a pattern; this one is 2^64 over the golden ratio.
    const OTHER: u64 = 0x9e37_79b9_7f4a_7c15;
    [reduce(hash, buckets), reduce(hash.wrapping_mul(OTHER), buckets)]
}

/// The upper half of `hash`, as a share of 2^32, of `buckets`: no division, and any number of buckets will do.
#[inline(always)]
const fn reduce(hash: u64, buckets: u32) -> u32 {
    (((hash >> 32) * buckets as u64) >> 32) as u32
}

/// Number of the set of the entry in this bucket that has the hash's tag; 0 where none has it.
///
/// Without branches: which of the eight it is no predictor knows.
#[inline(always)]
pub fn probe(bucket: &Line, hash: u64) -> u64 {
    let wanted = entry(hash, 0);
    let mut found = 0;
    for word in bucket.words {
        // Of equal tags nothing is left.
        found = or_if_short(found, word ^ wanted);
    }
    found
}

/// Number of the set of the name with this hash; 0 where none is listed. `line` gives a table's lines by number;
/// `None` where one is missing that the head speaks of.
#[inline(always)]
pub fn find<'table>(
    head: Head,
    hash: u64,
    line: impl Fn(u32) -> Option<&'table Line>,
) -> Option<u32> {
    let [first, second] = places(hash, head.buckets);
    let (first, second) = (line(first + 1)?, line(second + 1)?);
    Some((probe(first, hash) | probe(second, hash)) as u32)
}

/// What is known of the names of a set; all zero where there is no such set.
#[inline(always)]
pub fn set<'table>(
    head: Head,
    number: u32,
    line: impl Fn(u32) -> Option<&'table Line>,
) -> DomainEntry {
    let Some(line) = line(1 + head.buckets + number / SETS_A_LINE) else {
        return DomainEntry { categories: 0, list: 0, canary: 0, reserved: [0; 5] };
    };
    let word = |at: u32| {
        let at = bound::<{ WORDS as u32 - 1 }>(at) as usize;
        // SAFETY: the mask keeps the index below `WORDS`, the length of the array.
        unsafe { *line.words.as_ptr().add(at) }
    };
    let at = number % SETS_A_LINE * 2;
    unpack([word(at), word(at + 1)])
}

/// The entry of the deepest listed suffix of the name that was read; all zero where none is listed. `line` gives a
/// table's lines by number.
#[inline(always)]
pub fn deepest<'table>(
    head: Head,
    name: &SuffixReader,
    line: impl Fn(u32) -> Option<&'table Line> + Copy,
) -> DomainEntry {
    let mut labels = name.listable();
    // The compiler must not know this number, or it unrolls the loop and keeps all hashes on the stack;
    // the verifier must: before 6.8 it learns nothing of a count from its not being zero.
    let rounds = bound::<{ LISTED_LABELS_MAX as u32 * 2 - 1 }>(LISTED_LABELS_MAX as u32);
    let mut number = 0;
    for _ in 0..rounds {
        if labels == 0 {
            break;
        }
        // A table without its lines ends the search: to go on would be another way for the verifier each time.
        let Some(found) = find(head, name.suffix(labels), line) else { break };
        if found != 0 {
            number = found;
            break;
        }
        labels -= 1;
    }
    set(head, number, line)
}

/// A bound of the odds that a look-up takes an unlisted name for a listed one, in units of 2^-64, where so many
/// names are listed.
///
/// ```
/// use sensor_ebpf::table::mistaken;
/// let one_in = |names| (1_u128 << 64) / u128::from(mistaken(names));
/// assert!(one_in(5_000_000) > 190_000_000_000);
/// assert!(one_in(1 << 24) > 60_000_000_000);
/// ```
pub const fn mistaken(names: u32) -> u64 {
    let chance = 2 * WORDS as u64 * (1 << SET_BITS);
    (names as u64 + chance) * LISTED_LABELS_MAX as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::table::SETS_MAX;
    use crate::name::HashKey;

    const HASH: u64 = 0xfedc_ba98_7654_3210;

    #[test]
    fn every_slot_of_a_bucket_is_seen() {
        for slot in 0..WORDS {
            let mut bucket = Line { words: [entry(!HASH, 9); WORDS] };
            assert_eq!(probe(&bucket, HASH), 0);
            bucket.words[slot] = entry(HASH, SETS_MAX as u16);
            assert_eq!(probe(&bucket, HASH), u64::from(SETS_MAX), "{slot}");
            bucket.words[slot] = entry(HASH, 1);
            assert_eq!(probe(&bucket, HASH), 1, "{slot}");
        }
    }

    #[test]
    fn a_tag_is_48_bits() {
        let bucket = Line { words: [entry(HASH, 5); WORDS] };
        for bit in 0..48 {
            assert_eq!(probe(&bucket, HASH ^ 1 << bit), 0, "{bit}");
        }
        for bit in 48..64 {
            assert_eq!(probe(&bucket, HASH ^ 1 << bit), 5, "{bit}");
        }
        // Neither the empty bucket nor the tag 0 is a match by itself.
        assert_eq!(probe(&Line::default(), 0), 0);
        assert_eq!(probe(&bucket, 0), 0);
        assert_eq!(probe(&bucket, u64::MAX), 0);
    }

    #[test]
    fn places_are_buckets_and_the_first_grows_with_the_hash() {
        for buckets in [1, 2, 3, 1000, u32::MAX] {
            for hash in [0, 1, HASH, 1 << 63, u64::MAX] {
                assert!(places(hash, buckets).iter().all(|place| *place < buckets));
            }
            assert_eq!(places(u64::MAX, buckets)[0], buckets - 1);
            assert_eq!(places(0, buckets), [0, 0]);
        }
        let mut last = 0;
        for step in 0..1000 {
            let [first, _] = places(step << 54, 777);
            assert!(first >= last);
            last = first;
        }
    }

    #[test]
    fn a_line_beyond_the_table_lists_nothing() {
        let key = HashKey { start: 0, multiplier: 1 };
        let head = Head { key, buckets: 1, sets: 0, names: 0, locked: 0 };
        assert_eq!(find(head, HASH, |_| None), None);
        assert_eq!(set(head, 9, |_| None), DomainEntry::default());
    }
}
