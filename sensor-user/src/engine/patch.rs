//! A table made of another one, where few names differ.
//!
//! What was listed is taken out of a copy, what is listed now takes the room. Then every name that may lie where something
//! changed is looked up, as all are in a table that is made anew: the others find what they found. And what is left has to
//! be as many entries as there are names.

use std::collections::HashMap;

use sensor_ebpf::abi::DomainEntry;
use sensor_ebpf::abi::table::{Head, Line, SET_BITS, SETS_A_LINE, SETS_MAX, entry, pack, unpack};
use sensor_ebpf::name::listed_hash;
use sensor_ebpf::table::places;

use super::Image;
use super::build::{Hashed, check, set_line};

/// Share of a table's room that may be taken: with more, names would have to move to make room, and the table has to be
/// made anew.
const FULL_PERCENT: u64 = 93;

/// A name of which something else is known now.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The name.
    pub name: &'a str,
    /// Nothing where it was not listed.
    pub was: Option<DomainEntry>,
    /// Nothing where it is listed no more.
    pub is: Option<DomainEntry>,
}

impl Image {
    /// The table with these changes, which has exactly `names` then, each given once, beside the locked ones, which stay.
    /// `None` where it has to be made anew: there is no room, or two names cannot be told apart.
    pub fn patched<'a>(
        &self,
        changes: impl Iterator<Item = Change<'a>>,
        names: impl Iterator<Item = (&'a str, DomainEntry)>,
        locked: &[(u64, DomainEntry)],
    ) -> Option<Self> {
        let mut patch = Patch::of(self)?;
        for Change { name, was, is } in changes {
            let hash = listed_hash(name, self.key());
            if was.is_some() {
                patch.remove(hash)?;
            }
            if let Some(known) = is {
                patch.insert(hash, known)?;
            }
        }
        patch.finish(names, locked)
    }
}

/// A table that is changed.
struct Patch {
    head: Head,
    buckets: Vec<Line>,
    sets: Vec<DomainEntry>,
    numbers: HashMap<[u64; 2], u16>,
    /// A bit for each bucket that is another one now.
    changed: Vec<u64>,
}

impl Patch {
    fn of(image: &Image) -> Option<Self> {
        let head = image.head;
        let (buckets, lines) = image.lines.get(1..)?.split_at_checked(head.buckets as usize)?;
        let sets = lines.iter().flat_map(|line| line.words.as_chunks().0).copied().map(unpack);
        let sets: Vec<DomainEntry> = sets.take(head.sets as usize + 1).collect();
        let numbers = (0..=u16::MAX).zip(&sets).skip(1);
        let numbers = numbers.map(|(number, set)| (pack(set), number)).collect();
        let changed = vec![0; buckets.len().div_ceil(64)];
        Some(Self { head, buckets: buckets.to_vec(), sets, numbers, changed })
    }

    /// Where the entry with this hash's tag is: bucket and slot.
    fn find(&self, hash: u64) -> Option<(usize, usize)> {
        let tag = entry(hash, 0);
        let has_tag = |word: &u64| *word != 0 && (*word ^ tag) >> SET_BITS == 0;
        places(hash, self.head.buckets).into_iter().find_map(|bucket| {
            let bucket = bucket as usize;
            let slot = self.buckets.get(bucket)?.words.iter().position(has_tag)?;
            Some((bucket, slot))
        })
    }

    fn is_changed(&self, bucket: u32) -> bool {
        let bits = self.changed.get(bucket as usize / 64).copied().unwrap_or(u64::MAX);
        bits & 1 << (bucket % 64) != 0
    }

    fn put(&mut self, bucket: usize, slot: usize, word: u64) -> Option<()> {
        *self.buckets.get_mut(bucket)?.words.get_mut(slot)? = word;
        *self.changed.get_mut(bucket / 64)? |= 1 << (bucket % 64);
        Some(())
    }

    fn remove(&mut self, hash: u64) -> Option<()> {
        let (bucket, slot) = self.find(hash)?;
        self.put(bucket, slot, 0)
    }

    fn insert(&mut self, hash: u64, known: DomainEntry) -> Option<()> {
        if self.find(hash).is_some() {
            return None;
        }
        let set = self.number(known)?;
        let words = |bucket: u32| self.buckets.get(bucket as usize).map(|line| line.words);
        let free =
            |bucket: &u32| words(*bucket).into_iter().flatten().filter(|word| *word == 0).count();
        let emptier = places(hash, self.head.buckets).into_iter().max_by_key(free)?;
        let slot = words(emptier)?.iter().position(|word| *word == 0)?;
        self.put(emptier as usize, slot, entry(hash, set))
    }

    fn number(&mut self, known: DomainEntry) -> Option<u16> {
        if let Some(number) = self.numbers.get(&pack(&known)) {
            return Some(*number);
        }
        let number = u16::try_from(self.sets.len()).ok().filter(|n| u32::from(*n) <= SETS_MAX)?;
        self.numbers.insert(pack(&known), number);
        self.sets.push(known);
        Some(number)
    }

    fn finish<'a>(
        mut self,
        names: impl Iterator<Item = (&'a str, DomainEntry)>,
        locked: &[(u64, DomainEntry)],
    ) -> Option<Image> {
        let key = self.head.key;
        let listed = names.map(|(name, known)| (listed_hash(name, key), known));
        let locked = locked.iter().map(|(digest, known)| (key.mix(*digest), *known));
        let mut count = 0;
        let mut near = Vec::new();
        for (hash, known) in listed.chain(locked) {
            count += 1;
            let [first, second] = places(hash, self.head.buckets);
            if self.is_changed(first) || self.is_changed(second) {
                near.push(Hashed { hash, set: *self.numbers.get(&pack(&known))? });
            }
        }
        check(&near, &self.buckets).ok()?;
        let room = self.buckets.iter().flat_map(|line| line.words);
        let taken = room.filter(|word| *word != 0).count();
        let room = self.buckets.len() as u64 * Line::default().words.len() as u64;
        if taken != count || taken as u64 * 100 > room * FULL_PERCENT {
            return None;
        }
        self.head.names = u32::try_from(taken).ok()?;
        self.head.sets = u32::try_from(self.sets.len()).ok()? - 1;
        let mut lines = Vec::with_capacity(usize::try_from(self.head.lines()).ok()?);
        lines.push(self.head.line());
        lines.append(&mut self.buckets);
        lines.extend(self.sets.chunks(SETS_A_LINE as usize).map(set_line));
        Some(Image { lines, head: self.head })
    }
}
