//! The store as a whole: what is written is what is read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::date;
use rusqlite::Connection;
use sensor_ebpf::abi::{NoName, Verdict};
use tempfile::TempDir;

mod clock;
mod files;
mod pages;
mod sites;
mod told;

use super::{
    Counters, DAY_US, DayStore, HOUR_US, Query, Reader, StoreError, Told, TopBy, TopOrder, TopRow,
    day_of, day_of_file, file_name, start_of,
};
use crate::names::{Meter, Tally};
use crate::record::sample::{NOON_US, record, unnamed};
use crate::record::{EndReason, Record};

const TODAY: &str = "flows-2026-03-10.db";

fn store() -> (TempDir, DayStore) {
    let dir = TempDir::new().unwrap();
    let store = DayStore::open(dir.path(), "gw-1").unwrap();
    (dir, store)
}

fn read(dir: &TempDir, query: &Query) -> Vec<Record> {
    Reader::open(dir.path()).unwrap().flows(query).unwrap()
}

fn sequences(dir: &TempDir, query: &Query) -> Vec<u64> {
    read(dir, query).iter().map(|record| record.sequence).collect()
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn time(time_us: i64) -> Timestamp {
    Timestamp::from_microsecond(time_us).unwrap()
}

/// Records of two days that differ in everything a query asks for.
fn assorted() -> Vec<Record> {
    vec![
        record(0),
        Record { end_us: NOON_US + 1, verdict: Verdict::Allow, ..record(1) },
        Record { end_us: NOON_US + 2, device: [10, 0, 0, 6].into(), ..record(2) },
        Record { end_us: NOON_US + 3, name: Some("example.org".into()), ..record(3) },
        Record { end_us: NOON_US + 4, name: Some("notexample.org".into()), ..record(4) },
        Record { end_us: NOON_US + 5, categories: vec!["adult".into()], ..record(5) },
        Record { end_us: NOON_US + 6, group: Some("staff".into()), ..record(6) },
        Record { end_us: NOON_US + 7, zone: 4, interface: "lan1".into(), ..record(7) },
        Record { end_us: NOON_US + DAY_US, ..unnamed(8) },
        Record { end_us: NOON_US + 8, end_reason: EndReason::ActiveTimeout, ..record(9) },
    ]
}

#[test]
fn what_is_written_is_read() {
    let (dir, mut store) = store();
    let extremes = Record {
        device: "2001:db8::1".parse().unwrap(),
        peer: "fe80::1".parse().unwrap(),
        sequence: 2,
        flow_id: 0,
        start_us: -1,
        device_port: u16::MAX,
        peer_port: 0,
        protocol: u8::MAX,
        zone: u16::MAX,
        bytes_to_lan: 1 << 53,
        name: Some("\u{1b}[31m'); DROP TABLE flows; --\0\u{202e}".into()),
        categories: vec!["a,b".into(), "c\"d".into()],
        group: Some(String::new()),
        alpn: vec!["\u{1b}\"]".into(), String::new()],
        ech: Some(false),
        ja4: None,
        application: None,
        quic_version: None,
        quic_datagrams: None,
        ..record(2)
    };
    let records = [extremes, unnamed(1), record(0)];
    store.append(&records).unwrap();
    assert_eq!(read(&dir, &Query::default()), records);
    drop(store);
    assert_eq!(read(&dir, &Query::default()), records, "after the writer left");
    assert_eq!(names(&dir), [TODAY], "a closed day is one file");
}

#[test]
fn files_are_not_for_everyone() {
    let (dir, mut store) = store();
    store.append(&[record(0)]).unwrap();
    for name in names(&dir) {
        let mode = fs::metadata(dir.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{name}: {mode:o}");
    }
}

#[test]
fn a_second_delivery_changes_nothing() {
    let (dir, mut store) = store();
    let records = assorted();
    store.append(&records).unwrap();
    let before = tops(&dir);
    store.append(&records).unwrap();
    drop(store);
    let mut store = DayStore::open(dir.path(), "renamed").unwrap();
    let changed = Record { bytes_to_lan: 7, ..record(0) };
    store.append(&[records[3].clone(), record(100), changed]).unwrap();
    assert_eq!(store.counters(), Counters { stored: 1, duplicates: 2, corrupt_files: 0 });
    assert_eq!(sequences(&dir, &Query::default()).len(), records.len() + 1);
    assert_ne!(tops(&dir), before);
    let another_boot = Record { boot: "other".into(), ..record(0) };
    let another_sensor = Record { sensor: "gw-2".into(), ..record(0) };
    store.append(&[another_boot, another_sensor]).unwrap();
    assert_eq!(store.counters().stored, 3);
}

const EVERY_TOP: [TopBy; 8] = [
    TopBy::Name,
    TopBy::Site,
    TopBy::Device,
    TopBy::Category,
    TopBy::Verdict,
    TopBy::Group,
    TopBy::Reason,
    TopBy::Interface,
];

/// All sums by everything.
fn tops(dir: &TempDir) -> Vec<Vec<TopRow>> {
    let reader = Reader::open(dir.path()).unwrap();
    EVERY_TOP.map(|by| reader.top(&[by], TopOrder::Flows, &Query::default()).unwrap()).into()
}

#[test]
fn roll_ups_sum_to_flows() {
    let (dir, mut store) = store();
    for hour in 0..24 {
        let moved = assorted().into_iter().map(|record| Record {
            end_us: record.end_us + (hour - 12) * HOUR_US,
            sequence: record.sequence + 100 * hour.cast_unsigned(),
            ..record
        });
        store.append(&moved.collect::<Vec<_>>()).unwrap();
    }
    drop(store);
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    let sums = |sql: &str| -> Vec<Vec<i64>> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        rows.unwrap().map(Result::unwrap).collect()
    };
    let from_flows = sums(
        "SELECT (end_us - 1773100800000000) / 3600000000, device, ifnull(device_group, 0),
             categories, verdict, no_name, interface, count(*),
             sum(end_reason <> (SELECT id FROM labels WHERE text = 'active-timeout')),
             sum(packets_to_peer), sum(bytes_to_peer), sum(packets_to_lan), sum(bytes_to_lan)
         FROM flows GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7",
    );
    assert!(from_flows.len() > 24);
    assert_eq!(sums("SELECT * FROM rollup ORDER BY 1, 2, 3, 4, 5, 6, 7"), from_flows);
}

#[test]
fn top_of_any_span_is_the_sum_of_its_records() {
    let (dir, mut store) = store();
    let records: Vec<Record> = (0..200)
        .map(|step: u64| Record {
            end_us: NOON_US - 12 * HOUR_US + step.cast_signed() * (HOUR_US / 4),
            verdict: if step.is_multiple_of(3) { Verdict::Allow } else { Verdict::Block },
            bytes_to_lan: step,
            ..record(step)
        })
        .collect();
    store.append(&records).unwrap();
    let check = |since: i64, until: i64, name: Option<&str>| {
        let query = Query {
            since: Some(time(since)),
            until: Some(time(until)),
            name: name.map(str::to_owned),
            ..Query::default()
        };
        let mut expected = (0, 0);
        for record in records.iter().filter(|record| (since..until).contains(&record.end_us)) {
            expected = (expected.0 + 1, expected.1 + record.bytes());
        }
        for by in EVERY_TOP {
            let rows =
                Reader::open(dir.path()).unwrap().top(&[by], TopOrder::Bytes, &query).unwrap();
            // Both categories of every record count it.
            let times = if by == TopBy::Category { 2 } else { 1 };
            let flows: u64 = rows.iter().map(|row| row.flows).sum();
            let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
            assert_eq!((flows, bytes), (times * expected.0, times * expected.1), "{by:?}");
        }
    };
    let midnight = NOON_US - 12 * HOUR_US;
    check(midnight, midnight + 3 * DAY_US, None);
    check(midnight + 1, midnight + DAY_US - 1, None);
    check(midnight + HOUR_US, midnight + 5 * HOUR_US, None);
    check(midnight + HOUR_US / 2, midnight + HOUR_US / 2 + 1, None);
    check(midnight + HOUR_US / 4, midnight + HOUR_US * 3 / 4, None);
    check(midnight + HOUR_US / 2, midnight + 3 * HOUR_US / 2, None);
    check(midnight + 20 * HOUR_US + 5, midnight + 29 * HOUR_US - 5, None);
    check(midnight + 5, midnight + DAY_US, Some("example.org"));
    check(midnight - DAY_US, midnight, None);
    check(NOON_US, NOON_US, None);
}

#[test]
fn top_is_ordered_and_limited() {
    let (dir, mut store) = store();
    store.append(&assorted()).unwrap();
    let top = |by, order, query: Query| {
        let rows = Reader::open(dir.path()).unwrap().top(&[by], order, &query).unwrap();
        let row = |row: TopRow| (row.keys[0].clone(), row.zone, row.records, row.flows);
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let some = |key: &str| Some(key.to_owned());
    assert_eq!(
        top(TopBy::Device, TopOrder::Flows, Query::default()),
        [
            (some("10.0.0.5"), Some(3), 8, 7),
            (some("10.0.0.5"), Some(4), 1, 1),
            (some("10.0.0.6"), Some(3), 1, 1),
        ]
    );
    assert_eq!(
        top(TopBy::Category, TopOrder::Bytes, Query { limit: Some(2), ..Query::default() }),
        [(some("adult"), None, 9, 8), (some("gambling"), None, 8, 7)]
    );
    assert_eq!(
        top(TopBy::Group, TopOrder::Flows, Query::default()),
        [(some("students"), None, 8, 7), (None, None, 1, 1), (some("staff"), None, 1, 1)]
    );
    let blocked = Query { verdict: Some(Verdict::Block), ..Query::default() };
    assert_eq!(top(TopBy::Verdict, TopOrder::Flows, blocked), [(some("block"), None, 8, 7)]);
}

#[test]
fn a_record_belongs_to_the_day_it_ends_in() {
    let (dir, mut store) = store();
    let midnight = NOON_US + 12 * HOUR_US;
    let last = Record { end_us: midnight - 1, ..record(0) };
    let first = Record { start_us: midnight - DAY_US, end_us: midnight, ..record(1) };
    store.append(&[first.clone(), last.clone()]).unwrap();
    drop(store);
    assert_eq!(names(&dir), [TODAY, "flows-2026-03-11.db"]);
    assert_eq!(read(&dir, &Query::default()), [first, last]);
    assert_eq!(sequences(&dir, &Query { since: Some(time(midnight)), ..Query::default() }), [1]);
    assert_eq!(sequences(&dir, &Query { until: Some(time(midnight)), ..Query::default() }), [0]);
}

#[test]
fn more_days_than_are_kept_open() {
    let (dir, mut store) = store();
    for round in 0..2 {
        for day in 0..7 {
            let end_us = NOON_US + day * DAY_US + round;
            let sequence = (10 * round + day).cast_unsigned();
            store.append(&[Record { end_us, ..record(sequence) }]).unwrap();
        }
    }
    drop(store);
    assert_eq!(names(&dir).len(), 7);
    assert_eq!(sequences(&dir, &Query::default())[..3], [16, 6, 15]);
}

#[test]
fn a_time_without_a_date_is_refused() {
    let (dir, mut store) = store();
    let error = store.append(&[record(0), Record { end_us: i64::MAX, ..record(1) }]).unwrap_err();
    assert!(matches!(error, StoreError::Time { sequence: 1, end_us: i64::MAX }), "{error}");
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn queries_filter() {
    let (dir, mut store) = store();
    store.append(&assorted()).unwrap();
    let check = |query: Query, expected: &[u64]| {
        assert_eq!(sequences(&dir, &query), expected, "{query:?}");
    };
    let all = Query::default;
    let name = |name: &str| Query { name: Some(name.into()), ..all() };
    let device = |device: &str| Query { device: Some(device.parse().unwrap()), ..all() };
    let category = |category: &str| Query { category: Some(category.into()), ..all() };
    check(all(), &[8, 9, 7, 6, 5, 4, 3, 2, 1, 0]);
    check(Query { limit: Some(3), ..all() }, &[8, 9, 7]);
    check(Query { limit: Some(0), ..all() }, &[]);
    check(device("10.0.0.6"), &[2]);
    check(device("::ffff:10.0.0.6"), &[2]);
    check(device("10.0.0.7"), &[]);
    check(name("example.org"), &[9, 7, 6, 5, 3, 2, 1, 0]);
    check(name("casino.example.org"), &[9, 7, 6, 5, 2, 1, 0]);
    check(name("xample.org"), &[]);
    check(name("%.org"), &[]);
    check(name("_xample.org"), &[]);
    check(Query { verdict: Some(Verdict::Allow), ..all() }, &[1]);
    check(category("gambling"), &[9, 7, 6, 4, 3, 2, 1, 0]);
    check(category("adult"), &[9, 7, 6, 5, 4, 3, 2, 1, 0]);
    check(category("gamb"), &[]);
    check(Query { group: Some("staff".into()), ..all() }, &[6]);
    check(
        Query { since: Some(time(NOON_US + 6)), until: Some(time(NOON_US + 8)), ..all() },
        &[7, 6],
    );
    check(Query { since: Some(time(NOON_US + 2)), until: Some(time(NOON_US + 2)), ..all() }, &[]);
    let both =
        Query { since: Some(time(NOON_US + 1)), limit: Some(1), ..name("casino.example.org") };
    check(both, &[9]);
}

#[test]
fn a_visitor_may_stop() {
    let (dir, mut store) = store();
    store.append(&assorted()).unwrap();
    let mut seen = 0;
    let outcome = Reader::open(dir.path()).unwrap().visit(&Query::default(), |_| {
        seen += 1;
        if seen == 4 { Err(anyhow::anyhow!("enough")) } else { Ok(()) }
    });
    assert_eq!(outcome.unwrap_err().to_string(), "enough");
    assert_eq!(seen, 4);
}

#[test]
fn the_last_sequence_is_that_of_the_boot() {
    let (dir, mut store) = store();
    let boot = record(0).boot;
    assert_eq!(store.last_sequence(&boot).unwrap(), None);
    store.append(&assorted()).unwrap();
    store.append(&[Record { boot: "later".into(), ..record(70) }]).unwrap();
    store.append(&[Record { sensor: "gw-2".into(), ..record(80) }]).unwrap();
    assert_eq!(store.last_sequence(&boot).unwrap(), Some(9));
    assert_eq!(store.last_sequence("later").unwrap(), Some(70));
    assert_eq!(store.last_sequence("never").unwrap(), None);
    drop(dir);
}

#[test]
fn names_are_summed_by_device_and_by_hour() {
    let (dir, mut store) = store();
    let records = [
        record(0),
        unnamed(1),
        Record { end_reason: EndReason::ActiveTimeout, bytes_to_lan: 500, ..unnamed(2) },
        Record { no_name: NoName::Unlogged, ..unnamed(3) },
        Record { device: [10, 0, 0, 6].into(), no_name: NoName::NoSni, ..unnamed(4) },
        Record { end_us: NOON_US + DAY_US, interface: "lan1".into(), ..unnamed(5) },
    ];
    store.append(&records).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let tally = |flows, bytes| Tally { flows, bytes };
    // With and without an hour that is cut off.
    for since in [NOON_US, NOON_US - 1] {
        let query = Query { since: Some(time(since)), ..Query::default() };
        let devices = reader.names_by_device(&query).unwrap();
        let shown: Vec<_> = devices
            .iter()
            .map(|one| (one.address.as_str(), one.zone, one.sums.unnamed(), one.sums.total()))
            .collect();
        let expected = [
            ("10.0.0.5", 3, tally(2, 1020 + 1400 + 1020), tally(4, 4 * 1020 + 1400)),
            ("10.0.0.6", 3, tally(1, 1020), tally(1, 1020)),
        ];
        assert_eq!(shown, expected);
        assert_eq!(devices[1].sums.missing(), [(NoName::NoSni, tally(1, 1020))]);

        let top = reader.top(&[TopBy::Interface], TopOrder::Unnamed, &query).unwrap();
        let top: Vec<_> = top.into_iter().map(|row| (row.keys[0].clone(), row.unnamed)).collect();
        let lan = |number: u8| Some(format!("lan{number}"));
        assert_eq!(top, [(lan(0), tally(2, 1400 + 2040)), (lan(1), tally(1, 1020))]);

        let resumed = Meter::resume(reader.names_by_hour(time(since)).unwrap());
        for (interface, now_us) in [("lan0", NOON_US), ("lan1", NOON_US + DAY_US)] {
            let mut counted = Meter::default();
            counted.add(&records, now_us);
            assert_eq!(resumed.recent(interface, now_us), counted.recent(interface, now_us));
        }
    }
    assert_eq!(reader.names_by_hour(time(NOON_US + HOUR_US)).unwrap().len(), 1);
}
