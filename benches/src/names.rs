//! Look-ups of names in lists of thousands and of millions: the sensor's table beside what else the kernel has for
//! it, a hash map that is asked for each suffix and a trie of names from their end on. All three hash or turn round the
//! same names; a row of its own tells what the hashing is.
//!
//! Another name is looked up each time, of 65,536, so that its lines are in no cache; the names themselves come in order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::DomainEntry;
use sensor_ebpf::name::HashKey;
use sensor_user::engine::Image;
use sensor_user::kernel::lab::names::{ASKED, Means, NamesLab};
use sensor_user::kernel::test_run::action;

use crate::measure::{WARM_UP, per_packet, timed};
use crate::scenarios::{Course, MIDDLE, Peer, Scenario, scenario};

const KEY: HashKey = HashKey { start: 0x5eed, multiplier: 0xd134_2543_de82_ef95 };

/// Numbers of names that no list has.
const UNLISTED: u32 = 1 << 31;

/// A look-up of names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookUp {
    means: Means,
    /// True where the names are listed, every second one by a name above it.
    is_hit: bool,
    /// Names listed.
    names: u32,
}

/// What is measured of a list in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListCost {
    /// From names in memory to a table.
    Build,
    /// From a file to a table.
    Read,
    /// From a table in memory to one the kernel looks names up in.
    Load,
    /// From names in memory to a hash map.
    LoadMap,
    /// Bytes of the table.
    Bytes,
}

/// Rows of one size: what its name ends in, names, and the rows of the three means.
struct Size {
    names: u32,
    is_large: bool,
    hit: [&'static str; 3],
    miss: [&'static str; 3],
    costs: [&'static str; 5],
}

const SIZES: [Size; 3] = [
    Size {
        names: 10_000,
        is_large: false,
        hit: ["engine-hit-10k", "engine-hit-10k-map", "engine-hit-10k-trie"],
        miss: ["engine-miss-10k", "engine-miss-10k-map", "engine-miss-10k-trie"],
        costs: [
            "engine-build-10k",
            "engine-read-10k",
            "engine-load-10k",
            "engine-load-10k-map",
            "engine-bytes-10k",
        ],
    },
    Size {
        names: 1_000_000,
        is_large: false,
        hit: ["engine-hit-1m", "engine-hit-1m-map", "engine-hit-1m-trie"],
        miss: ["engine-miss-1m", "engine-miss-1m-map", "engine-miss-1m-trie"],
        costs: [
            "engine-build-1m",
            "engine-read-1m",
            "engine-load-1m",
            "engine-load-1m-map",
            "engine-bytes-1m",
        ],
    },
    Size {
        names: 5_000_000,
        is_large: true,
        hit: ["engine-hit-5m", "engine-hit-5m-map", "engine-hit-5m-trie"],
        miss: ["engine-miss-5m", "engine-miss-5m-map", "engine-miss-5m-trie"],
        costs: [
            "engine-build-5m",
            "engine-read-5m",
            "engine-load-5m",
            "engine-load-5m-map",
            "engine-bytes-5m",
        ],
    },
];

const MEANS: [Means; 3] = [Means::Table, Means::HashMap, Means::Trie];

const HITS: [&str; 3] = [
    "listed names, looked up in the table",
    "the same in a hash map, a look-up a suffix",
    "the same in a trie of names from their end on",
];

const MISSES: [&str; 3] = [
    "unlisted names, looked up in the table",
    "the same in a hash map, a look-up a suffix",
    "the same in a trie of names from their end on",
];

const COSTS: [(ListCost, &str); 5] = [
    (ListCost::Build, "ns a name: from names in memory to a table; once a run"),
    (ListCost::Read, "ns a name: from a file to a table; once a run"),
    (ListCost::Load, "ns a name: from a table to one that is in force; once a run"),
    (ListCost::LoadMap, "ns a name: from names in memory to a hash map; once a run"),
    (ListCost::Bytes, "bytes a name of the table"),
];

/// How many times the cost of the hash map's look-up one in the table should have at most, the hashing in both.
const TARGET: f64 = 0.5;

pub(crate) fn all() -> Vec<Scenario> {
    let hashed = LookUp { means: Means::Nothing, is_hit: false, names: 10_000 };
    let about = "suffixes of a name hashed, none looked up: 18 characters, 2 to 4 labels";
    let mut all = vec![scenario("engine-hash", MIDDLE, Course::LookUp(hashed), about)];
    for size in &SIZES {
        let kinds = [(true, size.hit, HITS), (false, size.miss, MISSES)];
        for (is_hit, names, abouts) in kinds {
            for ((means, name), about) in MEANS.into_iter().zip(names).zip(abouts) {
                let look_up = LookUp { means, is_hit, names: size.names };
                let [_, map, _] = names;
                let peer = Peer { name: map, target: TARGET };
                all.push(Scenario {
                    peer: (means == Means::Table).then_some(peer),
                    is_large: size.is_large,
                    ..scenario(name, MIDDLE, Course::LookUp(look_up), about)
                });
            }
        }
        for (name, (cost, about)) in size.costs.into_iter().zip(COSTS) {
            // What is not optimised says nothing of the product.
            let is_ours = matches!(cost, ListCost::Build | ListCost::Read);
            if !(is_ours && cfg!(debug_assertions)) {
                let course = Course::List(cost, size.names);
                let is_large = size.is_large;
                all.push(Scenario { is_large, ..scenario(name, 1, course, about) });
            }
        }
    }
    all
}

/// The lists that were measured so far.
#[derive(Default)]
pub(crate) struct Lists {
    loaded: BTreeMap<u32, Loaded>,
    costs: BTreeMap<(ListCost, u32), f64>,
}

/// A list, in all three.
struct Loaded {
    list: List,
    table: Image,
    lab: NamesLab,
    has_trie: bool,
    has_map: bool,
}

impl Lists {
    /// ns of a look-up.
    pub(crate) fn look_up(&mut self, look_up: LookUp, packets: u32) -> Result<f64> {
        let LookUp { means, is_hit, names } = look_up;
        let Loaded { list, lab, has_trie, has_map, .. } = self.of(names)?;
        if means == Means::HashMap && !*has_map {
            lab.list_in_map(list.entries())?;
            *has_map = true;
        }
        if means == Means::Trie && !*has_trie {
            lab.list_in_trie(list.entries())?;
            *has_trie = true;
        }
        let asked: Vec<_> = (0..ASKED).filter_map(|turn| list.asked(turn, is_hit)).collect();
        lab.ask(asked.iter().map(String::as_str))?;
        let before = lab.found()?;
        lab.repeat(means, WARM_UP)?;
        let (time, result) = timed(|| lab.repeat(means, packets));
        ensure!(result? == action::PASS, "a look-up was broken off");
        let found = lab.found()? - before;
        let is_found = is_hit && means != Means::Nothing;
        let expected = if is_found { u64::from(WARM_UP + packets) } else { 0 };
        ensure!(found == expected, "{found} names were found, not {expected}");
        Ok(per_packet(time, packets))
    }

    /// What a list costs user space, for each name: measured once.
    pub(crate) fn cost(&mut self, cost: ListCost, names: u32) -> Result<f64> {
        if let Some(known) = self.costs.get(&(cost, names)) {
            return Ok(*known);
        }
        let Loaded { list, table, lab, has_map, .. } = self.of(names)?;
        let (time, result) = match cost {
            ListCost::Build => timed(|| build(list).map(drop)),
            ListCost::Read => {
                let path = std::env::temp_dir().join(format!("names-{}.table", std::process::id()));
                table.write(&path)?;
                let (time, read) = timed(|| Image::read(&path));
                std::fs::remove_file(&path)?;
                ensure!(read? == *table, "another table was read");
                (time, Ok(()))
            }
            ListCost::Load => timed(|| Ok(lab.list_in_table(table)?)),
            ListCost::LoadMap => {
                *has_map = true;
                timed(|| Ok(lab.list_in_map(list.entries())?))
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            ListCost::Bytes => return Ok(table.bytes() as f64 / f64::from(names)),
        };
        result?;
        let each = per_packet(time, names);
        self.costs.insert((cost, names), each);
        Ok(each)
    }

    fn of(&mut self, names: u32) -> Result<&mut Loaded> {
        match self.loaded.entry(names) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let list = List::of(names);
                let table = build(&list)?;
                let mut lab = NamesLab::load(names)?;
                lab.list_in_table(&table)?;
                Ok(place.insert(Loaded { list, table, lab, has_trie: false, has_map: false }))
            }
        }
    }
}

fn build(list: &List) -> Result<Image> {
    Ok(Image::build(&list.entries(), KEY)?)
}

/// Names in one text, as a policy has them.
struct List {
    text: String,
    ends: Vec<u32>,
}

impl List {
    fn of(names: u32) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for number in 0..names {
            push_name(&mut text, number);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        Self { text, ends }
    }

    fn get(&self, number: usize) -> Option<&str> {
        let start = number.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.text.get(*start as usize..*self.ends.get(number)? as usize)
    }

    fn entries(&self) -> impl Iterator<Item = (&str, DomainEntry)> + Clone {
        (0_u16..=u16::MAX).cycle().zip(0..self.ends.len()).filter_map(|(turn, number)| {
            let categories = 1 << (turn % 32);
            let entry = DomainEntry { categories, list: turn % 37, ..DomainEntry::default() };
            Some((self.get(number)?, entry))
        })
    }

    /// The name that is asked for on this turn.
    fn asked(&self, turn: usize, is_listed: bool) -> Option<String> {
        /// Odd, and no list is a multiple of it: turns go all over the list.
        const STRIDE: usize = 2_654_435_761;
        let prefix = if turn.is_multiple_of(2) { "www." } else { "" };
        if is_listed {
            let name = self.get(turn.wrapping_mul(STRIDE) % self.ends.len())?;
            return Some(format!("{prefix}{name}"));
        }
        let mut name = prefix.to_owned();
        push_name(&mut name, UNLISTED + u32::try_from(turn).ok()?);
        Some(name)
    }
}

/// Adds the name of a number: each has another one.
fn push_name(text: &mut String, number: u32) {
    const ABOVE: [&str; 8] = ["com", "net", "org", "co.uk", "de", "info", "com.br", "xyz"];
    const BELOW: [&str; 8] = ["", "", "", "", "m.", "static.", "cdn3.", "images."];
    const LETTERS: [&str; 4] = ["on", "shop", "media", ""];
    let mixed = number.wrapping_mul(0x9e37_79b1);
    let pick = |from: [&'static str; 8], at: u32| {
        from.get((mixed >> at) as usize % from.len()).copied().unwrap_or_default()
    };
    let letters = LETTERS.get((mixed >> 20) as usize % 4).copied().unwrap_or_default();
    let (below, above) = (pick(BELOW, 29), pick(ABOVE, 25));
    // A `String` takes all that is written.
    let _written = write!(text, "{below}{mixed:x}{letters}.{above}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sensor_user::kernel::lab::names::NAME_MAX;

    use super::List;

    #[test]
    fn names_are_like_those_of_lists_and_none_comes_twice() {
        let list = List::of(100_000);
        let names: HashSet<_> = list.entries().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 100_000);
        let mean = list.text.len() / names.len();
        assert!((16..=24).contains(&mean), "{mean} characters");
        assert!(names.iter().all(|name| (2..=4).contains(&name.split('.').count())));
        for turn in 0..1000 {
            for is_listed in [true, false] {
                let asked = list.asked(turn, is_listed).unwrap();
                assert!(asked.len() <= NAME_MAX);
                let above = asked.strip_prefix("www.").unwrap_or(&asked);
                assert_eq!(names.contains(above), is_listed, "{asked}");
            }
        }
    }
}
