//! From names to a table.
//!
//! Names are hashed, sorted by hash and placed. Then each is looked up: a table is handed out only if every name
//! finds its entry, and no other. Where two names cannot be told apart the next key is tried.

use std::collections::HashMap;
use std::thread;

use sensor_ebpf::abi::DomainEntry;
use sensor_ebpf::abi::table::{Head, Line, SETS_A_LINE, SETS_MAX, WORDS, entry, pack};
use sensor_ebpf::name::{HashKey, listed_hash};
use sensor_ebpf::table::{places, probe};

use super::Image;
use super::placement::{self, NOBODY};

/// Keys tried: of one in a million is one refused where five million names are listed, so that all of them are tells
/// that the names were made for it, or that they are not what they seem.
pub const KEYS_MAX: u32 = 4;

/// Names that are given [`BUCKETS_A_STEP`] buckets: nine tenths of what these have room for. With more, ever more names
/// have to move before there is room for another one, and from 98 hundredths on there may be none.
const NAMES_A_STEP: u32 = 36;

/// Buckets of so many names.
const BUCKETS_A_STEP: u32 = 5;

/// Sizes tried with one key. Only small tables need the second: of some tens of names too many may share a bucket.
const SIZES_MAX: u32 = 8;

/// Why there is no table of these names.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// Two names are one to the table under every key that was tried.
    #[error(
        "the names {0} and {1} cannot be told apart under {KEYS_MAX} keys; leave one of them out"
    )]
    SameHash(String, String),
    /// Two of the hashes given cannot be told apart.
    #[error("two hashes cannot be told apart; hash the names with another key")]
    SameTag,
    /// More kinds of names than there are numbers for.
    #[error(
        "names have more than {SETS_MAX} different sets of categories and lists; join lists that always block together"
    )]
    TooManySets,
    /// More names than a table can number.
    #[error("more than {NAMES_MAX} names; drop lists that no group blocks")]
    TooManyNames,
    /// No room was found for a name in tables of several sizes.
    #[error("the names do not fit a table of {0} buckets; report this")]
    NoRoom(u32),
}

/// Most names of one table: four times what lists may have together, and its buckets can be numbered.
const NAMES_MAX: usize = 1 << 26;

/// A name on its way into the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    pub(super) hash: u64,
    pub(super) set: u16,
}

impl Image {
    /// Makes a table of canonical names. Of a name that is given twice the last entry counts. Where `key` will not
    /// do, another one is made of it: [`Image::key`] says which.
    ///
    /// Takes 20 bytes a name beside the table while it is made, and about three seconds for five million.
    pub fn build<'a>(
        names: &(impl Iterator<Item = (&'a str, DomainEntry)> + Clone),
        key: HashKey,
    ) -> Result<Self, BuildError> {
        Self::build_with_locked(names, &[], key)
    }

    /// The same with names of which only the first 64 bits of their SHA-256 are known, each given once.
    pub fn build_with_locked<'a>(
        names: &(impl Iterator<Item = (&'a str, DomainEntry)> + Clone),
        locked: &[(u64, DomainEntry)],
        key: HashKey,
    ) -> Result<Self, BuildError> {
        let (mut key, mut refusal) = (key, BuildError::SameTag);
        for _ in 0..KEYS_MAX {
            match build_with(names, locked, key) {
                Err(again @ (BuildError::SameHash(..) | BuildError::SameTag)) => refusal = again,
                done => return done,
            }
            key = key.another();
        }
        Err(refusal)
    }

    /// Makes a table of names that were hashed with `key` by [`listed_hash`]. Of a hash that is given twice the last
    /// entry counts: that two names do not have one must be seen to by who hashed them.
    pub fn of_hashes(
        hashes: impl Iterator<Item = (u64, DomainEntry)>,
        key: HashKey,
    ) -> Result<Self, BuildError> {
        let (mut hashed, sets) = number_sets(hashes)?;
        // Equal hashes stay in their order.
        hashed.sort_by_key(|name| name.hash);
        keep_last_of_equal(&mut hashed);
        fill(&hashed, &sets, key, 0)
    }
}

fn build_with<'a>(
    names: &(impl Iterator<Item = (&'a str, DomainEntry)> + Clone),
    locked: &[(u64, DomainEntry)],
    key: HashKey,
) -> Result<Image, BuildError> {
    let hash = |(name, entry): (&str, DomainEntry)| (listed_hash(name, key), entry);
    let mixed = locked.iter().map(|(digest, entry)| (key.mix(*digest), *entry));
    let (mut hashed, sets) = number_sets(names.clone().map(hash).chain(mixed.clone()))?;
    hashed.sort_by_key(|name| name.hash);
    let doubles: HashMap<u64, Option<&str>> = hashed
        .windows(2)
        .filter_map(|pair| match pair {
            [one, other] if one.hash == other.hash => Some((one.hash, None)),
            _ => None,
        })
        .collect();
    if mixed.into_iter().any(|(hash, _)| doubles.contains_key(&hash)) {
        return Err(BuildError::SameTag);
    }
    if !doubles.is_empty() {
        check_doubles(doubles, names.clone(), key)?;
        keep_last_of_equal(&mut hashed);
    }
    let locked = u32::try_from(locked.len()).unwrap_or(u32::MAX);
    fill(&hashed, &sets, key, locked)
}

/// Sees to it that hashes which come more than once do so of one name.
fn check_doubles<'a>(
    mut doubles: HashMap<u64, Option<&'a str>>,
    names: impl Iterator<Item = (&'a str, DomainEntry)>,
    key: HashKey,
) -> Result<(), BuildError> {
    for (name, _) in names {
        let Some(first) = doubles.get_mut(&listed_hash(name, key)) else { continue };
        if let Some(other) = first.filter(|other| *other != name) {
            return Err(BuildError::SameHash(other.to_owned(), name.to_owned()));
        }
        *first = Some(name);
    }
    Ok(())
}

/// Gives each different entry a number from 1 on.
fn number_sets(
    names: impl Iterator<Item = (u64, DomainEntry)>,
) -> Result<(Vec<Hashed>, Vec<DomainEntry>), BuildError> {
    let mut sets = vec![DomainEntry::default()];
    let mut numbers: HashMap<[u64; 2], u16> = HashMap::new();
    let mut hashed = Vec::with_capacity(names.size_hint().0);
    // Names of a list mostly come together.
    let mut last = (DomainEntry::default(), 0);
    for (hash, entry) in names {
        if last.1 == 0 || last.0 != entry {
            let number = if let Some(number) = numbers.get(&pack(&entry)) {
                *number
            } else {
                let next = u16::try_from(sets.len()).ok().ok_or(BuildError::TooManySets)?;
                numbers.insert(pack(&entry), next);
                sets.push(entry);
                next
            };
            last = (entry, number);
        }
        hashed.push(Hashed { hash, set: last.1 });
        if hashed.len() > NAMES_MAX {
            return Err(BuildError::TooManyNames);
        }
    }
    Ok((hashed, sets))
}

fn keep_last_of_equal(sorted: &mut Vec<Hashed>) {
    sorted.dedup_by(|later, kept| {
        let equal = later.hash == kept.hash;
        if equal {
            *kept = *later;
        }
        equal
    });
}

/// Buckets of a table of so many names: nine tenths of their room.
pub(super) const fn buckets_for(names: u32) -> u32 {
    let buckets = names.div_ceil(NAMES_A_STEP) * BUCKETS_A_STEP;
    if buckets == 0 { BUCKETS_A_STEP } else { buckets }
}

/// Places names, which are in the order of their hashes, and writes the table.
fn fill(
    hashed: &[Hashed],
    sets: &[DomainEntry],
    key: HashKey,
    locked: u32,
) -> Result<Image, BuildError> {
    let mut buckets = buckets_for(u32::try_from(hashed.len()).unwrap_or(u32::MAX));
    for _ in 0..SIZES_MAX {
        if let Some(owners) = placement::place(hashed, buckets) {
            return write(hashed, &owners, sets, key, locked);
        }
        buckets += buckets.div_ceil(32);
    }
    Err(BuildError::NoRoom(buckets))
}

fn write(
    hashed: &[Hashed],
    owners: &[[u32; WORDS]],
    sets: &[DomainEntry],
    key: HashKey,
    locked: u32,
) -> Result<Image, BuildError> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let head = Head {
        key,
        buckets: number(owners.len()),
        sets: number(sets.len()) - 1,
        names: number(hashed.len()),
        locked,
    };
    let word = |owner: &u32| {
        let name = if *owner == NOBODY { None } else { hashed.get(*owner as usize) };
        name.map_or(0, |name| entry(name.hash, name.set))
    };
    let bucket = |owners: &[u32; WORDS]| Line { words: owners.each_ref().map(word) };
    let mut lines = Vec::with_capacity(usize::try_from(head.lines()).unwrap_or(0));
    lines.push(head.line());
    lines.extend(owners.iter().map(bucket));
    check(hashed, lines.get(1..).unwrap_or_default())?;
    lines.extend(sets.chunks(SETS_A_LINE as usize).map(set_line));
    Ok(Image { lines, head })
}

/// The line of so many sets as there are in one.
pub(super) fn set_line(sets: &[DomainEntry]) -> Line {
    let mut line = Line::default();
    for (pair, set) in line.words.chunks_exact_mut(2).zip(sets) {
        pair.copy_from_slice(&pack(set));
    }
    line
}

/// Threads that look names up: what they wait for is memory, and a gateway has two CPUs at least.
const THREADS: usize = 2;

/// Looks every name up: it must find its own entry and no other.
pub(super) fn check(hashed: &[Hashed], buckets: &[Line]) -> Result<(), BuildError> {
    let share = hashed.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let shares = hashed.chunks(share).map(|names| scope.spawn(|| check_some(names, buckets)));
        let checks: Vec<_> = shares.collect();
        checks.into_iter().try_for_each(|check| match check.join() {
            Ok(checked) => checked,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn check_some(hashed: &[Hashed], buckets: &[Line]) -> Result<(), BuildError> {
    let count = u32::try_from(buckets.len()).unwrap_or(u32::MAX);
    for name in hashed {
        let [first, second] = places(name.hash, count);
        let at = |place: u32| buckets.get(place as usize);
        let (Some(one), Some(other)) = (at(first), at(second)) else {
            return Err(BuildError::NoRoom(count));
        };
        let tag = entry(name.hash, 0);
        let has_tag = |word: &&u64| *word ^ tag <= u64::from(SETS_MAX) && **word != 0;
        let others = if first == second { &[][..] } else { &other.words };
        let entries = one.words.iter().chain(others).filter(has_tag).count();
        let set = probe(one, name.hash) | probe(other, name.hash);
        if entries != 1 || set != u64::from(name.set) {
            return Err(BuildError::SameTag);
        }
    }
    Ok(())
}
