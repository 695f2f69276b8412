//! How names end, to tell at a glance that one is under none of some others.

use std::collections::HashSet;

/// Ends of some names: few of all names share one, and whatever is under a name ends as it does.
pub(crate) struct Ends(HashSet<u64>);

impl Ends {
    /// Bytes that are compared. Of a shorter name nothing is known.
    const BYTES: usize = 8;

    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(Self::end).collect())
    }

    /// Whether a name may be one of them, or under one.
    pub(crate) fn may_cover(&self, name: &str) -> bool {
        self.0.contains(&0) || self.0.contains(&Self::end(name))
    }

    /// 0 of a name that is shorter.
    fn end(name: &str) -> u64 {
        name.as_bytes().last_chunk().map_or(0, |end: &[u8; Self::BYTES]| u64::from_le_bytes(*end))
    }
}
