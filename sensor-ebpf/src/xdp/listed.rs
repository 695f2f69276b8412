//! The table of listed names of one policy.

use sensor_ebpf::abi::table::Head;
use sensor_ebpf::abi::{Control, DomainEntry};
use sensor_ebpf::locked::LockedReader;
use sensor_ebpf::name::{HashKey, SuffixReader};
use sensor_ebpf::table::{deepest, find, set};

use crate::maps::{DOMAINS, Lines};

/// A policy's table.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    /// `None` before the first policy is in force.
    lines: Option<&'static Lines>,
    /// The table's; else one that has no buckets, with the control cell's key.
    head: Head,
}

impl Table {
    /// The table of the policy of this generation.
    #[inline(always)]
    pub(crate) fn of(policy: u32, control: &Control) -> Self {
        let lines = DOMAINS.get(policy & 1);
        let head = lines.and_then(|lines| lines.get(0)).map(Head::of);
        match head {
            // Empty lines take the place of a table that is gone.
            Some(head) if head.buckets != 0 => Self { lines, head },
            _ => {
                let key = HashKey { start: control.hash_key, multiplier: control.hash_multiplier };
                Self { lines: None, head: Head { key, buckets: 0, sets: 0, names: 0, locked: 0 } }
            }
        }
    }

    /// The key that names are hashed with under this policy.
    #[inline(always)]
    pub(crate) const fn key(&self) -> HashKey {
        self.head.key
    }

    /// The entry of the deepest listed suffix of a name that was hashed with this table's key; all zero where none is.
    #[inline(always)]
    pub(crate) fn deepest(&self, name: &SuffixReader) -> DomainEntry {
        let Some(lines) = self.lines else {
            return DomainEntry { categories: 0, list: 0, canary: 0, reserved: [0; 5] };
        };
        deepest(self.head, name, |line| lines.get(line))
    }

    /// True where names are listed by their SHA-256 too.
    #[inline(always)]
    pub(crate) const fn has_locked(&self) -> bool {
        self.head.locked != 0
    }

    /// Number of the set of the suffix that was hashed last; 0 where it is not locked.
    #[inline(always)]
    pub(crate) fn locked(&self, suffix: &LockedReader) -> u32 {
        let Some(lines) = self.lines else { return 0 };
        let hash = suffix.hash(self.head.key);
        find(self.head, hash, |line| lines.get(line)).unwrap_or(0)
    }

    /// What is known of the names of a set.
    #[inline(always)]
    pub(crate) fn set(&self, number: u32) -> DomainEntry {
        let Some(lines) = self.lines else {
            return DomainEntry { categories: 0, list: 0, canary: 0, reserved: [0; 5] };
        };
        set(self.head, number, |line| lines.get(line))
    }
}
