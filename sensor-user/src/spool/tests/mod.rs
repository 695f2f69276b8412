//! What a spool promises, on real files.

use std::path::Path;
use std::time::Duration;

use sensor_ebpf::abi::{NoName, Verdict};

use super::*;
use crate::record::Record;
use crate::record::sample::{self, NOON_US};

mod bounds;
mod chunks;
mod cursors;
mod damage;
mod files;
mod keys;
mod model;
mod torn;

/// For what must be there already.
const NOW: Duration = Duration::ZERO;

/// For what another thread is about to do.
const SOON: Duration = Duration::from_secs(20);

/// A record of a class.
pub(super) fn of_class(class: Class, sequence: u64) -> Record {
    let (verdict, no_name) = match class {
        Class::Allowed => (Verdict::Allow, NoName::Named),
        Class::Alert => (Verdict::Alert, NoName::Named),
        Class::Blocked => (Verdict::Block, NoName::Named),
    };
    Record { no_name, verdict, ..sample::record(sequence) }
}

/// So many records from a number on, every third allowed, alert and blocked.
fn mixed(from: u64, count: u64) -> Vec<Record> {
    let class = |sequence: u64| Class::ALL[(sequence % 3) as usize];
    (from..from + count).map(|sequence| of_class(class(sequence), sequence)).collect()
}

/// So many of one class.
fn of_one(class: Class, from: u64, count: u64) -> Vec<Record> {
    (from..from + count).map(|sequence| of_class(class, sequence)).collect()
}

/// Names that compress as badly as those of a campus do at worst.
fn loud(from: u64, count: u64, seed: &mut u64) -> Vec<Record> {
    let mut draw = || {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 16
    };
    (from..from + count)
        .map(|sequence| {
            let name = format!("{:x}{:x}.{:x}{:x}.example", draw(), draw(), draw(), draw());
            Record { name: Some(name), ..of_class(Class::ALL[(draw() % 3) as usize], sequence) }
        })
        .collect()
}

fn open(dir: &Path) -> Spool {
    Spool::open(Options::new(dir)).unwrap()
}

fn append(spool: &mut Spool, records: &[Record]) -> u64 {
    spool.append(records, NOON_US).unwrap()
}

/// The next batch, which must be there.
fn next(reader: &mut Reader) -> Batch {
    match reader.next(NOW).unwrap() {
        Next::Batch(batch) => batch,
        other @ (Next::Nothing | Next::Ended) => panic!("{other:?} in place of a batch"),
    }
}

/// All that is there.
fn rest(reader: &mut Reader) -> Vec<Batch> {
    let mut batches = Vec::new();
    while let Next::Batch(batch) = reader.next(NOW).unwrap() {
        batches.push(batch);
    }
    batches
}

fn sequences(batches: &[Batch]) -> Vec<u64> {
    batches.iter().flat_map(|batch| &batch.records).map(|record| record.sequence).collect()
}

fn status(spool: &Spool) -> SpoolStatus {
    spool.watch().status(NOON_US)
}

fn records_in(status: &SpoolStatus) -> u64 {
    status.records.values().sum()
}

#[test]
fn what_goes_in_comes_out_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    let batches = [mixed(0, 100), mixed(100, 1), mixed(101, 7)];
    for (number, batch) in (1..).zip(&batches) {
        assert_eq!(append(&mut spool, batch), number);
    }
    assert_eq!(append(&mut spool, &[]), 3, "no records are no batch");
    for (number, batch) in (1..).zip(batches) {
        let read = next(&mut reader);
        assert_eq!((read.number, read.appended_us), (number, NOON_US));
        assert_eq!(read.records, batch);
    }
    assert_eq!(reader.next(NOW).unwrap(), Next::Nothing);
}

#[test]
fn classes_follow_the_verdict_and_an_evasion_is_blocked() {
    let check = |verdict, no_name, class| {
        assert_eq!(Class::of(&Record { no_name, verdict, ..sample::record(1) }), class);
    };
    check(Verdict::Undecided, NoName::NotTls, Class::Allowed);
    check(Verdict::Allow, NoName::Named, Class::Allowed);
    check(Verdict::Alert, NoName::Named, Class::Alert);
    check(Verdict::Block, NoName::Named, Class::Blocked);
    check(Verdict::Alert, NoName::Evasion, Class::Blocked);
    check(Verdict::Allow, NoName::Evasion, Class::Blocked);
}

#[test]
fn numbers_go_on_after_everything_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    append(&mut spool, &mixed(0, 5));
    append(&mut spool, &mixed(5, 5));
    assert_eq!(sequences(&rest(&mut reader)), (0..10).collect::<Vec<_>>());
    reader.acknowledge(2);
    spool.tend(NOON_US).unwrap();
    assert_eq!((records_in(&status(&spool)), status(&spool).bytes), (0, 0));
    drop(reader);
    spool.close().unwrap();
    let mut spool = open(dir.path());
    assert_eq!(status(&spool).latest, 2);
    let boot = sample::record(0).boot;
    assert_eq!(spool.last_sequence(&boot), Some(9));
    assert_eq!(spool.last_sequence("another boot"), None);
    assert_eq!(append(&mut spool, &mixed(10, 1)), 3);
}

#[test]
fn a_batch_of_two_boots_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let other = Record { boot: "b".to_owned(), ..sample::record(2) };
    let error = spool.append(&[sample::record(1), other], NOON_US).unwrap_err();
    assert!(matches!(&error, SpoolError::Boot { boot } if boot == "b"), "{error}");
    let long = Record { boot: "b".repeat(64), ..sample::record(2) };
    let error = spool.append(&[long], NOON_US).unwrap_err();
    assert!(matches!(error, SpoolError::Boot { .. }), "{error}");
    assert_eq!(append(&mut spool, &mixed(0, 1)), 1, "and nothing of it is there");
}

#[test]
fn status_says_what_waits_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut quick = spool.reader("quick", Start::Oldest).unwrap();
    drop(spool.reader("away", Start::Newest).unwrap());
    append(&mut spool, &mixed(0, 9));
    spool.append(&of_one(Class::Blocked, 9, 4), NOON_US + 3_000_000).unwrap();
    let first = next(&mut quick);
    quick.acknowledge(first.number);
    let status = spool.watch().status(NOON_US + 5_500_000);
    assert_eq!(
        status.records,
        [("alert", 3), ("allowed", 3), ("blocked", 7)].map(|(k, v)| (k.to_owned(), v)).into()
    );
    assert_eq!((status.latest, status.oldest_s), (2, Some(5)));
    let cursors: Vec<_> = status
        .cursors
        .iter()
        .map(|one| {
            (one.name.as_str(), one.read, one.acknowledged, one.behind_records, one.behind_s)
        })
        .collect();
    assert_eq!(cursors, [("away", false, 0, 13, 5), ("quick", true, 1, 4, 2)]);
    assert!(status.open && !status.encrypted);
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<SpoolStatus>(&json).unwrap(), status);
    let mut cursors = status.cursors.clone();
    cursors[0].lost = [("allowed".to_owned(), 12)].into();
    let shown = SpoolStatus {
        cursors,
        shed: [("allowed".to_owned(), 12), ("alert".to_owned(), 0)].into(),
        damaged: 3,
        put_aside: 1,
        bytes: 4 << 20,
        bytes_max: 16 << 20,
        open: false,
        encrypted: true,
        ..status.clone()
    };
    insta::assert_snapshot!(format!("{status}\n{shown}"));
}
