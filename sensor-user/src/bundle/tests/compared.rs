//! What a bundle would change: counts that are right, and flows judged at their time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::super::diff::{Counts, Diff};
use super::super::dry_run::{Change, DryRun, NameChange};
use super::super::tables::{TableChange, Written, changes};
use super::{Bed, Policy, now};
use crate::record::sample::{NOON_US, record};
use crate::record::{EndReason, Initiator, Record};
use crate::store::DayStore;
use sensor_ebpf::abi::{NameSource, Verdict};

const HEAD: &str = "version = \"1\"\ndefault_group = \"all\"\n\
    category = [{ id = \"a\", title = \"\", covers = \"\" }, { id = \"b\", title = \"\", covers = \"\" }]\n\
    group = [{ name = \"all\", block = [\"a\"] }]\n";

/// A generator whose numbers are the same in each run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Names of up to three lists.
type Lists = Vec<(&'static str, BTreeSet<String>)>;

fn some_lists(numbers: &mut Numbers) -> Lists {
    let mut lists = Lists::new();
    for id in ["one", "two", "three"] {
        if numbers.below(4) > 0 {
            let count = numbers.below(30);
            lists.push((
                id,
                (0..count).map(|_| format!("n{}.example", numbers.below(40))).collect(),
            ));
        }
    }
    lists
}

/// Lists one and three are of category a, two is of both.
fn categories(id: &str) -> &'static [&'static str] {
    if id == "two" { &["a", "b"] } else { &["a"] }
}

fn load(folder: &Path, lists: &Lists) -> Policy {
    let mut text = HEAD.to_owned();
    for (id, names) in lists {
        let categories = categories(id);
        writeln!(text, "[[list]]\nid = {id:?}\nfile = {id:?}\ncategories = {categories:?}")
            .unwrap();
        fs::write(folder.join(id), names.iter().fold(String::new(), |all, name| all + name + "\n"))
            .unwrap();
    }
    fs::write(folder.join("policy.toml"), text).unwrap();
    Policy::load(&folder.join("policy.toml")).unwrap()
}

fn naive(old: &BTreeSet<String>, new: &BTreeSet<String>) -> Counts {
    let count = |names: usize| names as u64;
    Counts {
        before: count(old.len()),
        after: count(new.len()),
        added: count(new.difference(old).count()),
        removed: count(old.difference(new).count()),
    }
}

#[test]
fn counts_are_those_of_sets() {
    let folder = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(7);
    for round in 0..200 {
        let (old, new) = (some_lists(&mut numbers), some_lists(&mut numbers));
        let policies = [load(folder.path(), &old), load(folder.path(), &new)];
        let diff = Diff::of(Some(&policies[0]), &policies[1], 3);
        let names = |lists: &Lists, wanted: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
            let lists = lists.iter().filter(|(id, _)| wanted(id));
            lists.flat_map(|(_, names)| names.iter().cloned()).collect()
        };
        assert_eq!(diff.names, naive(&names(&old, &|_| true), &names(&new, &|_| true)), "{round}");
        for id in ["one", "two", "three"] {
            let (old, new) = (names(&old, &|list| list == id), names(&new, &|list| list == id));
            let found = diff.lists.iter().find(|change| change.list == id);
            let expected = naive(&old, &new);
            assert_eq!(found.is_some(), expected.differ(), "{round} {id}");
            if let Some(found) = found {
                assert_eq!(found.counts, expected, "{round} {id}");
                let first: Vec<_> = new.difference(&old).take(3).cloned().collect();
                assert_eq!(found.added_names, first, "{round} {id}");
                let first: Vec<_> = old.difference(&new).take(3).cloned().collect();
                assert_eq!(found.removed_names, first, "{round} {id}");
            }
        }
        for id in ["a", "b"] {
            let is_of = |list: &str| categories(list).contains(&id);
            let expected = naive(&names(&old, &is_of), &names(&new, &is_of));
            let found = diff.categories.iter().find(|change| change.category == id).unwrap();
            assert_eq!(found.counts, expected, "{round} {id}");
        }
    }
}

#[test]
fn protected_names_are_counted_and_not_told() {
    let bed = Bed::new();
    let old = Policy::load(&bed.path("policy/policy.toml")).unwrap();
    bed.write("help.txt", "help.example\nsos.example\n");
    bed.write("hosts.txt", "0.0.0.0 games.example\n0.0.0.0 chat.sos.example\n0.0.0.0 z.example\n");
    let new = Policy::load(&bed.path("policy/policy.toml")).unwrap();
    let diff = Diff::of(Some(&old), &new, 10);
    let list = |id: &str| diff.lists.iter().find(|list| list.list == id).unwrap();
    assert_eq!(list("help").counts.added, 1);
    assert!(list("help").added_names.is_empty());
    // Under a protected name.
    assert_eq!(list("games").counts.added, 2);
    assert_eq!(list("games").added_names, ["z.example"]);
    assert_eq!(list("games").removed_names, ["a.example", "b.example"]);
    let all_new = Diff::of(None, &new, 0);
    assert_eq!((all_new.names.before, all_new.names.added), (0, new.entry_count() as u64));
}

#[test]
fn tables_are_told_by_name() {
    let bed = Bed::new();
    let before = bed.make(1);
    let old = super::Unpacked::open(&before, None).unwrap();
    let text = fs::read_to_string(bed.path("policy/policy.toml")).unwrap();
    let text = text
        .replace("version = \"1\"", "version = \"2\"")
        .replace("block = [\"games\", \"drugs\"]", "block = [\"drugs\"]")
        .replace("the chess club", "the chess clubs")
        .replace("[[list]]\nid = \"own\"\nfile = \"own.txt\"\ncategories = [\"drugs\"]\n", "");
    let more = "[dns]\ncanaries = false\n[[block]]\nname = \"x.help.example\"\nreason = \"x\"\n\
        [[exception]]\nname = \"e.example\"\ngroups = [\"staff\"]\nowner = \"o\"\nreason = \"x\"\nuntil = \"2999-01-01\"\n";
    bed.write("policy.toml", &(text + more));
    bed.write(
        "presets/college.toml",
        &super::PRESET.replacen("covers = \"\"", "covers = \"all\"", 1),
    );
    let file = bed.path("policy/policy.toml");
    let new = Policy::load(&file).unwrap();
    let written = Written { policy: &new, file: &file };
    let old_file = old.policy_file();
    let before = Written { policy: &old.policy, file: &old_file };
    let said: Vec<String> = changes(Some(before), written)
        .unwrap()
        .into_iter()
        .map(|TableChange { table, name, change }| format!("{change} {table} {name:?}"))
        .collect();
    // Lists differ in nothing but where they are, and are not told.
    assert_eq!(
        said,
        [
            "changed allow Some(\"chess.games.example\")",
            "added block None",
            "changed category Some(\"games\")",
            "added dns Some(\"\")",
            "added exception Some(\"e.example\")",
            "changed group Some(\"student\")",
            "removed list Some(\"own\")",
            "changed version Some(\"\")",
        ]
    );
    assert!(changes(Some(written), written).unwrap().is_empty());
    assert!(changes(None, written).unwrap().iter().all(|change| change.change == "added"));
}

const TIMED: &str = r#"
    version = "1"
    default_group = "student"
    time_zone = "Europe/London"
    category = [{ id = "games", title = "", covers = "" }, { id = "help", title = "", covers = "" }]
    list = [{ id = "help", file = "help", categories = ["help"], protected = true },
        { id = "games", file = "games", categories = ["games"] }]
    schedule = [{ id = "lessons", hours = ["09:00-12:00"] }]
    [[group]]
    name = "student"
    [[group.during]]
    schedule = "lessons"
    block = ["games"]
    [[group]]
    name = "staff"
    prefixes = ["10.9.0.0/16"]
"#;

#[test]
fn flows_are_judged_at_their_time_and_for_their_group() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("help", "help.example\n");
    write("games", "games.example\n");
    write("policy.toml", TIMED);
    let policy = || Policy::load(&folder.path().join("policy.toml")).unwrap();
    let mut new = policy();
    write("games", "other.example\n");
    write("help", "");
    let mut old = policy();

    // Noon is the end of lessons; flows of the sample begin a moment before.
    let minute = 60_000_000;
    let flow = |sequence, name: &str, device: [u8; 4], minutes: i64| Record {
        name: Some(name.to_owned()),
        device: device.into(),
        start_us: NOON_US + minutes * minute,
        end_us: NOON_US + minutes * minute + 1,
        ..record(sequence)
    };
    let (one, two, staff) = ([10, 0, 0, 5], [10, 0, 0, 6], [10, 9, 0, 5]);
    let mut records = vec![
        flow(0, "www.games.example", one, -1),
        flow(1, "www.games.example", two, -1),
        flow(2, "GAMES.example", one, -30),
        flow(3, "games.example", staff, -1),
        flow(4, "games.example", one, 0),
        flow(5, "other.example", one, -1),
        flow(6, "www.help.example", one, -1),
        flow(7, "news.example", one, -1),
        // The week before.
        flow(8, "games.example", one, -8 * 24 * 60),
    ];
    records
        .push(Record { name_source: NameSource::DnsAnswer, ..flow(9, "games.example", one, -1) });
    records.push(Record {
        end_reason: EndReason::ActiveTimeout,
        ..flow(10, "games.example", one, -1)
    });
    records.push(Record { name: None, ..flow(11, "", one, -1) });
    let store = folder.path().join("store");
    DayStore::open(&store, "gw-1").unwrap().append(&records).unwrap();

    let at = Timestamp::from_microsecond(NOON_US + minute).unwrap();
    let run = DryRun::of(&store, 7, at, Some(&mut old), &mut new).unwrap();
    let name = |name: Option<&str>, flows, devices| NameChange {
        name: name.map(str::to_owned),
        flows,
        devices,
    };
    let top = vec![name(Some("www.games.example"), 2, 2), name(Some("GAMES.example"), 1, 1)];
    assert_eq!(run.to_block, Change { flows: 3, devices: 2, names: 2, top });
    let top = vec![name(Some("other.example"), 1, 1)];
    assert_eq!(run.to_pass, Change { flows: 1, devices: 1, names: 1, top });
    assert_eq!((run.flows, run.passed, run.changed, run.left_out), (8, 7, 4, 0));

    // With nothing in force, what was recorded stands for it.
    let recorded = DryRun::of(&store, 30, at, None, &mut new).unwrap();
    assert_eq!((recorded.flows, recorded.passed), (9, 0), "the sample is blocked");
    assert_eq!(recorded.to_pass.flows, 6);
    let nothing = DryRun::of(&folder.path().join("none"), 7, now(), None, &mut new).unwrap();
    assert_eq!(nothing, DryRun { days: 7, ..DryRun::default() });
}

/// Where policies list addresses and ports, flows are judged by where they went, those without a name too; where groups are by
/// more than addresses, for the group that was recorded.
#[test]
fn flows_are_judged_by_where_they_went() {
    let bed = Bed::new();
    bed.write("own.txt", "own.example\n");
    let file = bed.path("policy/policy.toml");
    let load = |more: &str| {
        bed.policy("1", more);
        Policy::load(&file).unwrap()
    };
    let block = |what: &str| format!("[[block]]\nname = {what:?}\nreason = \"x\"\n");
    let mut old = load("");
    let flow = |sequence, name: Option<&str>, protocol, peer_port| Record {
        name: name.map(str::to_owned),
        protocol,
        peer_port,
        verdict: Verdict::Allow,
        ..record(sequence)
    };
    let records = [
        flow(0, Some("news.example"), 6, 443),
        flow(1, None, 6, 443),
        flow(2, None, 17, 1194),
        Record { peer: [198, 51, 100, 7].into(), ..flow(3, Some("news.example"), 6, 443) },
        // What the other end began went nowhere.
        Record { initiator: Initiator::Peer, ..flow(4, None, 6, 443) },
    ];
    let store = bed.path("store");
    DayStore::open(&store, "gw-1").unwrap().append(&records).unwrap();
    let mut to_block = |mut new: Policy| {
        let at = now() + std::time::Duration::from_secs(1);
        let run = DryRun::of(&store, 7, at, Some(&mut old), &mut new).unwrap();
        let names = run.to_block.top.into_iter().map(|change| (change.name.unwrap(), change.flows));
        (run.flows, names.collect::<Vec<_>>())
    };
    let told = |names: &[(&str, u64)]| {
        names.iter().map(|(name, flows)| ((*name).to_owned(), *flows)).collect::<Vec<_>>()
    };
    let at_address = told(&[("192.0.2.80", 2), ("news.example", 1)]);
    assert_eq!(to_block(load(&block("192.0.2.0/24"))), (5, at_address));
    assert_eq!(to_block(load(&block("udp/1194"))), (5, told(&[("192.0.2.80", 1)])));
    assert_eq!(to_block(load(&block("news.example"))), (2, told(&[("news.example", 2)])));
}

#[test]
fn protected_names_are_tried_and_not_told() {
    let bed = Bed::new();
    let file = bed.path("policy/policy.toml");
    let mut new = Policy::load(&file).unwrap();
    bed.policy("0", "[[block]]\nname = \"sos.example\"\nreason = \"x\"\n");
    let mut old = Policy::load(&file).unwrap();
    bed.policy("1", "");
    bed.write("help.txt", "sos.example\n");
    let mut protected = Policy::load(&file).unwrap();
    let store = bed.path("store");
    let name = Some("www.sos.example".to_owned());
    DayStore::open(&store, "gw-1")
        .unwrap()
        .append(&[Record { name, verdict: Verdict::Block, ..record(0) }])
        .unwrap();
    let told = |old: &mut Policy, new: &mut Policy| {
        DryRun::of(&store, 7, now() + std::time::Duration::from_secs(1), Some(old), new)
            .unwrap()
            .to_pass
            .top[0]
            .name
            .clone()
    };
    assert_eq!(told(&mut old, &mut new).as_deref(), Some("www.sos.example"));
    assert_eq!(told(&mut old, &mut protected), None);
}
