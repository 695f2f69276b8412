//! Tables against a list that is searched in the plainest way.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sensor_ebpf::abi::DomainEntry;
use sensor_ebpf::abi::table::SETS_MAX;
use sensor_ebpf::name::{HashKey, listed_hash};
use sensor_ebpf::table::mistaken;
use sha2::{Digest as _, Sha256};

use super::file::FileFault;
use super::{BuildError, Change, Image};

const KEY: HashKey = HashKey { start: 0x0123_4567_89ab_cdef, multiplier: 0x9e37_79b9_7f4a_7c15 };

/// A small generator (xorshift64*), so that a failing case can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }

    /// Of few labels, so that names lie below each other; some of a list's length, some longer than can be listed.
    fn name(&mut self) -> String {
        let labels = [1, 2, 2, 3, 3, 3, 4, 5, 15, 16, 17, 30][self.below(12) as usize];
        let label =
            |_| ["a", "b", "co", "uk", "com", "example", "x-1", "_y"][self.below(8) as usize];
        (0..labels).map(label).collect::<Vec<_>>().join(".")
    }

    fn entry(&mut self) -> DomainEntry {
        let canary = u8::from(self.below(8) == 0);
        let (categories, list) = (1 << self.below(5) | 1 << 63, self.below(3) as u16);
        DomainEntry { categories, list, canary, reserved: [0; 5] }
    }

    fn list(&mut self, count: usize) -> HashMap<String, DomainEntry> {
        (0..count).map(|_| (self.name(), self.entry())).collect()
    }
}

fn image(list: &HashMap<String, DomainEntry>, key: HashKey) -> Image {
    Image::build(&list.iter().map(|(name, entry)| (name.as_str(), *entry)), key).unwrap()
}

/// What the plainest search says.
fn searched(list: &HashMap<String, DomainEntry>, name: &str) -> DomainEntry {
    let lower = name.to_ascii_lowercase();
    let labels: Vec<_> = lower.strip_suffix('.').unwrap_or(&lower).split('.').collect();
    let suffixes = (0..labels.len()).filter(|at| labels.len() - at <= 16);
    let mut found = suffixes.filter_map(|at| list.get(&labels[at..].join(".")));
    found.next().copied().unwrap_or_default()
}

fn first_of_sha256(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    u64::from_be_bytes(digest[..8].try_into().unwrap())
}

#[test]
fn a_locked_suffix_beats_what_is_listed() {
    let mut random = Random(11);
    for count in [0, 1, 30, 1000] {
        let (list, locked) = (random.list(count), random.list(count / 4 + 1));
        let is_lockable = |name: &&String| name.contains('.') && name.len() < 200;
        let of = |list| DomainEntry { categories: 1 << 61, list, ..DomainEntry::default() };
        let hashes: Vec<_> = (1000..)
            .zip(locked.keys().filter(is_lockable))
            .map(|(list, name)| (first_of_sha256(name), of(list)))
            .collect();
        let entries = list.iter().map(|(name, entry)| (name.as_str(), *entry));
        let image = Image::build_with_locked(&entries, &hashes, KEY).unwrap();
        assert_eq!(image.names() as usize, list.len() + hashes.len());
        let by_hash: HashMap<u64, DomainEntry> = hashes.iter().copied().collect();
        for name in list.keys().chain(locked.keys()).cloned().chain((0..300).map(|_| random.name()))
        {
            let name = format!("W.{name}");
            let lower = name.to_ascii_lowercase();
            let labels: Vec<_> = lower.split('.').collect();
            let depth = labels.len();
            let mut suffixes =
                (depth.saturating_sub(16)..depth - 1).map(|at| labels[at..].join("."));
            let locked = suffixes.find_map(|suffix| by_hash.get(&first_of_sha256(&suffix)));
            let expected = locked.copied().unwrap_or_else(|| searched(&list, &name));
            assert_eq!(image.look_up(&name), expected, "{name} of {count}");
        }
    }
}

#[test]
fn a_table_says_of_every_name_what_its_list_says() {
    let mut random = Random(7);
    for count in [0, 1, 2, 7, 8, 9, 30, 100, 3000] {
        for _ in 0..20_usize.min(20_000 / (count + 1)) {
            let list = random.list(count);
            let key = HashKey { start: random.next(), multiplier: random.next() | 1 };
            let image = image(&list, key);
            assert_eq!(image.names() as usize, list.len());
            assert!(image.bytes() <= Image::bytes_max(image.names()));
            for name in list.keys().cloned().chain((0..300).map(|_| random.name())) {
                for name in [format!("w.{name}"), name.to_ascii_uppercase() + ".", name] {
                    assert_eq!(image.look_up(&name), searched(&list, &name), "{name} of {count}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_name_is_not_listed() {
    let list = HashMap::from([("a".to_owned(), Random(1).entry())]);
    let image = image(&list, KEY);
    assert_eq!(image.look_up(&"a.".repeat(127)), searched(&list, "a"));
    assert_eq!(image.look_up(&"a.".repeat(128)), searched(&list, "a"));
    for name in ["", ".", "..", "a..", &"a".repeat(256), &"a.".repeat(129)] {
        assert_eq!(image.look_up(name), DomainEntry::default(), "{name:?}");
    }
}

#[test]
fn a_table_is_filled_to_nine_tenths() {
    let mut random = Random(11);
    let entry = random.entry();
    let hashes: Vec<_> = (0..100_000).map(|_| (random.next(), entry)).collect();
    let image = Image::of_hashes(hashes.iter().copied(), KEY).unwrap();
    assert_eq!((image.names(), image.key()), (100_000, KEY));
    assert_eq!(image.bytes(), 64 * (1 + 13_890 + 1));
    assert_eq!(image.bytes(), Image::bytes_max(100_000) - 64 * (65_535 / 4));
}

#[test]
fn of_a_name_that_comes_twice_the_last_entry_counts() {
    let mut random = Random(3);
    let (one, two) = (random.entry(), DomainEntry { list: 77, ..random.entry() });
    let image = Image::build(&[("a.b", one), ("c", one), ("a.b", two)].into_iter(), KEY).unwrap();
    assert_eq!((image.names(), image.look_up("a.b"), image.look_up("c")), (2, two, one));
    let hashes = [one, two].map(|entry| (listed_hash("a.b", KEY), entry));
    let image = Image::of_hashes(hashes.into_iter(), KEY).unwrap();
    assert_eq!((image.names(), image.look_up("a.b")), (1, two));
}

/// The multiplier throws away half of every word.
const POOR: HashKey = HashKey { start: 5, multiplier: 1 << 32 };

#[test]
fn a_key_that_does_not_tell_names_apart_is_refused_and_another_one_drawn() {
    let mut random = Random(5);
    let (one, two) = (random.entry(), DomainEntry { list: 9, ..DomainEntry::default() });
    let names = [("ab.example", one), ("ac.example", two), ("b.example", two)];
    assert_eq!(listed_hash("ab.example", POOR), listed_hash("ac.example", POOR));
    let image = Image::build(&names.into_iter(), POOR).unwrap();
    assert_eq!(image.key(), POOR.another());
    for (name, entry) in names {
        assert_eq!(image.look_up(name), entry, "{name}");
    }
}

#[test]
fn hashes_that_share_a_tag_and_a_bucket_are_refused() {
    let entry = Random(5).entry();
    // One bucket: every tag meets every other.
    let check = |hashes: &[u64], expected| {
        let hashes = hashes.iter().map(|hash| (*hash, entry));
        assert_eq!(Image::of_hashes(hashes, KEY).err(), expected);
    };
    check(&[1, 1 | 1 << 63], Some(BuildError::SameTag));
    check(&[1, 2 | 1 << 63], None);
    check(&[0, 1 << 48], Some(BuildError::SameTag));
}

#[test]
fn sets_are_numbered_with_16_bits() {
    let entry = |number: u32| DomainEntry { categories: number.into(), ..DomainEntry::default() };
    let hashes = |count: u32| {
        (0..count).map(move |number| (Random(u64::from(number) + 1).next(), entry(number)))
    };
    let image = Image::of_hashes(hashes(SETS_MAX), KEY).unwrap();
    assert_eq!(image.names(), SETS_MAX);
    assert_eq!(Image::of_hashes(hashes(SETS_MAX + 1), KEY), Err(BuildError::TooManySets));
}

#[test]
fn the_odds_of_a_mistake_are_below_one_in_a_thousand_million() {
    assert!(u128::from(mistaken(1 << 24)) * 1_000_000_000 < 1 << 64);
}

#[test]
fn a_file_gives_back_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.table");
    let mut random = Random(13);
    for count in [0, 1, 5000] {
        let image = image(&random.list(count), KEY);
        image.write(&path).unwrap();
        assert_eq!(Image::read(&path).unwrap(), image);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.table");
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = Image::read(&path).unwrap_err();
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        error.fault
    };
    assert!(matches!(Image::read(&path).unwrap_err().fault, FileFault::System { .. }));
    image(&Random(17).list(40), KEY).write(&path).unwrap();
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len() % 64, 0);
    for at in 0..good.len() * 8 {
        let mut changed = good.clone();
        changed[at / 8] ^= 1 << (at % 8);
        let fault = refusal(&changed);
        match at / 64 {
            0 => assert!(matches!(fault, FileFault::NoTable), "{at}: {fault}"),
            1 => assert!(matches!(fault, FileFault::OtherVersion(_)), "{at}: {fault}"),
            2 => assert!(matches!(fault, FileFault::Size { .. }), "{at}: {fault}"),
            _ => assert!(matches!(fault, FileFault::Changed), "{at}: {fault}"),
        }
    }
    for length in 0..good.len() {
        let fault = refusal(&good[..length]);
        assert!(matches!(fault, FileFault::NoTable | FileFault::Size { .. }), "{length}: {fault}");
    }
    let fault = refusal(&[&good[..], &[0; 64]].concat());
    assert!(matches!(fault, FileFault::Size { .. }), "{fault}");
    let mut swapped = good.clone();
    let (one, other) = swapped.split_at_mut(192);
    one[128..].swap_with_slice(&mut other[..64]);
    let fault = refusal(&swapped).to_string();
    assert_eq!(fault, "was changed since it was written; remove it, it is made again");
}

/// What changed between two lists, in order.
fn changes<'a>(
    was: &'a HashMap<String, DomainEntry>,
    is: &'a HashMap<String, DomainEntry>,
) -> impl Iterator<Item = Change<'a>> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let change =
        |name: &'a String| Change { name, was: was.get(name).copied(), is: is.get(name).copied() };
    names.into_iter().map(change).filter(|change| change.was != change.is)
}

fn patched(
    image: &Image,
    was: &HashMap<String, DomainEntry>,
    is: &HashMap<String, DomainEntry>,
) -> Option<Image> {
    let names = is.iter().map(|(name, entry)| (&**name, *entry));
    image.patched(changes(was, is), names, &[])
}

#[test]
fn a_patched_table_says_what_a_new_one_does() {
    let mut random = Random(11);
    let mut rounds = 0;
    for _ in 0..60 {
        let mut was = random.list(2000);
        let mut image = image(&was, KEY);
        for _ in 0..10 {
            let mut is = was.clone();
            for _ in 0..random.below(20) {
                let nth = random.below(is.len() as u64) as usize;
                let name = is.keys().nth(nth).unwrap().clone();
                match random.below(3) {
                    0 => is.remove(&name),
                    1 => is.insert(name, random.entry()),
                    _ => is.insert(random.name(), random.entry()),
                };
            }
            let Some(next) = patched(&image, &was, &is) else { break };
            rounds += 1;
            assert_eq!(next.names() as usize, is.len());
            assert_eq!(next.lines().len() as u64, next.bytes() / 64);
            for name in is.keys().chain(was.keys()) {
                assert_eq!(next.look_up(name), searched(&is, name), "{name}");
            }
            for _ in 0..100 {
                let name = random.name();
                assert_eq!(next.look_up(&name), searched(&is, &name), "{name}");
            }
            (was, image) = (is, next);
        }
    }
    assert!(rounds > 100, "{rounds} patches");
}

#[test]
fn what_cannot_be_patched_is_refused() {
    let mut random = Random(5);
    let was = random.list(500);
    let image = image(&was, KEY);
    let grown: HashMap<_, _> = was.clone().into_iter().chain(random.list(2000)).collect();
    assert!(patched(&image, &was, &grown).is_none(), "there is no room");
    // The table is not that of what is said to have been.
    let mut other = was.clone();
    let gone = other.keys().next().unwrap().clone();
    other.remove(&gone);
    assert!(patched(&image, &other, &other).is_none(), "{gone} is left over");
    other.insert("never.example".to_owned(), DomainEntry::default());
    assert!(patched(&image, &other, &was).is_none());
    assert_eq!(patched(&image, &was, &was).as_ref(), Some(&image));
}

#[test]
fn locked_names_stay_in_a_patched_table() {
    let locked_entry = DomainEntry { categories: 1 << 60, list: 9, ..DomainEntry::default() };
    let digest = |name: &str| {
        let digest: [u8; 32] = Sha256::digest(name).into();
        u64::from_be_bytes(*digest.first_chunk().unwrap())
    };
    let locked = [(digest("locked.example"), locked_entry)];
    let entry = DomainEntry { categories: 2, list: 1, ..DomainEntry::default() };
    let (was, is) = ([("a.example", entry)], [("a.example", entry), ("b.example", entry)]);
    let image = Image::build_with_locked(&was.into_iter(), &locked, KEY).unwrap();
    let change = Change { name: "b.example", was: None, is: Some(entry) };
    let next = image.patched([change].into_iter(), is.into_iter(), &locked).unwrap();
    assert_eq!(next.look_up("www.locked.example"), locked_entry);
    assert_eq!((next.look_up("b.example"), next.names()), (entry, 3));
}
