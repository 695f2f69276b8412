//! The table of listed names, as it lies in memory.

use crate::name::HashKey;

use super::policy::DomainEntry;

/// Words of a line, and entries of a bucket.
pub const WORDS: usize = 8;

/// Highest number of a set: it has the low 16 bits of an entry.
pub const SETS_MAX: u32 = 0xffff;

/// Bits of an entry below its tag.
pub const SET_BITS: u32 = 16;

/// Sets in a line.
pub const SETS_A_LINE: u32 = 4;

/// Eight words that a CPU reads at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line {
    /// Words in host byte order.
    pub words: [u64; WORDS],
}

/// The first line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Key its names were hashed with.
    pub key: HashKey,
    /// Lines of entries behind this one, 1 at least.
    pub buckets: u32,
    /// Highest number of a set.
    pub sets: u32,
    /// Names listed.
    pub names: u32,
    /// Those of them that are listed by their SHA-256.
    pub locked: u32,
}

impl Head {
    /// Reads the first line.
    #[inline(always)]
    pub const fn of(line: &Line) -> Self {
        let [start, multiplier, counts, listed, ..] = line.words;
        Self {
            key: HashKey { start, multiplier },
            buckets: counts as u32,
            sets: (counts >> 32) as u32,
            names: listed as u32,
            locked: (listed >> 32) as u32,
        }
    }

    /// The first line.
    pub const fn line(&self) -> Line {
        let counts = self.buckets as u64 | (self.sets as u64) << 32;
        let listed = self.names as u64 | (self.locked as u64) << 32;
        let HashKey { start, multiplier } = self.key;
        Line { words: [start, multiplier, counts, listed, 0, 0, 0, 0] }
    }

    /// Lines of the whole table, this one too.
    pub const fn lines(&self) -> u64 {
        1 + self.buckets as u64 + (self.sets / SETS_A_LINE) as u64 + 1
    }
}

/// The entry of a name with this hash and this set.
#[inline(always)]
pub const fn entry(hash: u64, set: u16) -> u64 {
    hash << SET_BITS | set as u64
}

/// A set as it lies in a line.
pub const fn pack(entry: &DomainEntry) -> [u64; 2] {
    [entry.categories, entry.list as u64 | (entry.canary as u64) << 16]
}

/// What [`pack`] made a set of.
#[inline(always)]
pub const fn unpack([categories, rest]: [u64; 2]) -> DomainEntry {
    let (list, canary) = (rest as u16, (rest >> 16) as u8);
    DomainEntry { categories, list, canary, reserved: [0; 5] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let key = HashKey { start: u64::MAX - 1, multiplier: 7 };
        let head = Head { key, buckets: u32::MAX, sets: SETS_MAX, names: u32::MAX - 2, locked: 3 };
        assert_eq!(Head::of(&head.line()), head);
        assert_eq!(Head { buckets: 3, sets: 3, ..head }.lines(), 5);
        assert_eq!(Head { buckets: 3, sets: 4, ..head }.lines(), 6);
    }

    #[test]
    fn a_set_is_read_as_it_was_written() {
        let entry = DomainEntry { categories: u64::MAX, list: 0xfffe, canary: 1, reserved: [0; 5] };
        assert_eq!(unpack(pack(&entry)), entry);
    }
}
