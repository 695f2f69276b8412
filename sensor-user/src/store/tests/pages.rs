//! Pages of records: each record once, whatever is written meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::store::Position;

/// Reads page by page, with something done between two.
fn in_pages(dir: &TempDir, query: &Query, limit: u64, mut between: impl FnMut()) -> Vec<u64> {
    let reader = Reader::open(dir.path()).unwrap();
    let mut sequences = Vec::new();
    let mut after: Option<Position> = None;
    loop {
        let page = reader.flows(&Query { limit: Some(limit), after, ..query.clone() }).unwrap();
        sequences.extend(page.iter().map(|record| record.sequence));
        let Some(last) = page.last() else { return sequences };
        after = Some(reader.position(last).unwrap());
        between();
    }
}

/// Records of three days, many of which end at one time, from two boots.
fn crowded() -> Vec<Record> {
    let boots = ["boot-a", "boot-b"];
    let all = (0..500_u64).map(|number| Record {
        boot: boots[usize::from(number.is_multiple_of(3))].to_owned(),
        end_us: NOON_US + (number / 40).cast_signed() * 5 * HOUR_US,
        ..record(number)
    });
    all.collect()
}

#[test]
fn pages_are_the_whole() {
    let (dir, mut store) = store();
    store.append(&crowded()).unwrap();
    let all = sequences(&dir, &Query::default());
    assert_eq!(all.len(), 500);
    for limit in [1, 7, 40, 499, 500, 501] {
        assert_eq!(in_pages(&dir, &Query::default(), limit, || {}), all, "{limit}");
    }
    let some = Query {
        since: Some(time(NOON_US + 4 * HOUR_US)),
        until: Some(time(NOON_US + 31 * HOUR_US)),
        boot: Some("boot-a".into()),
        ..Query::default()
    };
    let expected = sequences(&dir, &some);
    assert!(expected.len() > 100);
    assert_eq!(in_pages(&dir, &some, 13, || {}), expected);
}

#[test]
fn what_is_written_meanwhile_moves_no_page() {
    let (dir, mut store) = store();
    store.append(&crowded()).unwrap();
    let all = sequences(&dir, &Query::default());
    let mut next = 1000;
    // Before the end of every page, at it and behind it, and of a new boot that day.
    let found = in_pages(&dir, &Query::default(), 9, || {
        if next > 2000 {
            return;
        }
        let boots = ["boot-a", "boot-b", "boot-c"];
        let late = (0..60_u64).map(|number| Record {
            boot: boots[usize::try_from(number % 3).unwrap()].to_owned(),
            end_us: NOON_US + (number / 5).cast_signed() * 5 * HOUR_US,
            ..record(next + number)
        });
        store.append(&late.collect::<Vec<_>>()).unwrap();
        next += 60;
    });
    let old: Vec<u64> = found.iter().copied().filter(|sequence| *sequence < 1000).collect();
    assert_eq!(old, all, "every record that was there is on one page, in its order");
    let mut once = found.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), found.len(), "no record is on two pages");
}

#[test]
fn a_writer_beside_the_reader_moves_no_page() {
    let (dir, mut store) = store();
    store.append(&crowded()).unwrap();
    let all = sequences(&dir, &Query::default());
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut next = 1000_u64;
            while !stop.load(Ordering::Relaxed) && next < 2000 {
                let end_us = NOON_US + (next % 60).cast_signed() * HOUR_US;
                store.append(&[Record { end_us, ..record(next) }]).unwrap();
                next += 1;
            }
            next - 1000
        });
        for _ in 0..3 {
            let found = in_pages(&dir, &Query::default(), 11, || {});
            let old = found.iter().copied().filter(|sequence| *sequence < 1000);
            assert_eq!(old.collect::<Vec<_>>(), all);
            let mut once = found.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), found.len());
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(written > 5, "{written}");
}

#[test]
fn a_day_that_expired_between_two_pages_is_said() {
    let (dir, mut store) = store();
    store.append(&[record(0)]).unwrap();
    drop(store);
    let reader = Reader::open(dir.path()).unwrap();
    let last = reader.flows(&Query::default()).unwrap().remove(0);
    fs::remove_file(dir.path().join(TODAY)).unwrap();
    let error = reader.position(&last).unwrap_err();
    assert!(error.to_string().ends_with("its day has expired; ask again"), "{error}");
}
