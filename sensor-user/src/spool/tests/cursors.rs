//! Who reads how far.

use std::thread;

use super::*;

#[test]
fn a_cursor_survives_and_gives_again_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    for batch in 0..4 {
        append(&mut spool, &mixed(batch * 10, 10));
    }
    assert_eq!(rest(&mut reader).len(), 4);
    reader.acknowledge(2);
    drop(reader);
    spool.close().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Newest).unwrap();
    assert_eq!(sequences(&rest(&mut reader)), (20..40).collect::<Vec<_>>());
    reader.rewind();
    assert_eq!(next(&mut reader).number, 3);
}

#[test]
fn only_what_was_read_can_be_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    append(&mut spool, &mixed(0, 3));
    append(&mut spool, &mixed(3, 3));
    reader.acknowledge(2);
    assert_eq!(status(&spool).cursors[0].acknowledged, 0, "nothing was read");
    assert_eq!(next(&mut reader).number, 1);
    reader.acknowledge(2);
    assert_eq!(status(&spool).cursors[0].acknowledged, 1);
    reader.acknowledge(0);
    assert_eq!(status(&spool).cursors[0].acknowledged, 1, "a cursor does not go back");
}

#[test]
fn chunks_go_when_the_slowest_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut quick = spool.reader("quick", Start::Oldest).unwrap();
    let mut slow = spool.reader("slow", Start::Oldest).unwrap();
    append(&mut spool, &mixed(0, 6));
    append(&mut spool, &mixed(6, 6));
    assert_eq!(rest(&mut quick).len(), 2);
    quick.acknowledge(2);
    spool.tend(NOON_US).unwrap();
    assert_eq!(records_in(&status(&spool)), 12);
    assert_eq!(next(&mut slow).number, 1);
    slow.acknowledge(1);
    spool.tend(NOON_US).unwrap();
    assert_eq!(records_in(&status(&spool)), 6);
    let behind: Vec<_> =
        status(&spool).cursors.iter().map(|cursor| cursor.behind_records).collect();
    assert_eq!(behind, [0, 6]);
    assert!(spool.watch().losses().is_empty(), "that is no loss");
    assert_eq!(status(&spool).shed.values().sum::<u64>(), 0);
}

#[test]
fn a_new_cursor_begins_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, &mixed(0, 3));
    append(&mut spool, &mixed(3, 3));
    assert_eq!(records_in(&status(&spool)), 6, "nobody reads: all stays");
    let mut oldest = spool.reader("oldest", Start::Oldest).unwrap();
    let mut newest = spool.reader("newest", Start::Newest).unwrap();
    append(&mut spool, &mixed(6, 3));
    assert_eq!(sequences(&rest(&mut oldest)), (0..9).collect::<Vec<_>>());
    assert_eq!(sequences(&rest(&mut newest)), (6..9).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_is_gone_holds_nothing_once_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut here = spool.reader("here", Start::Oldest).unwrap();
    drop(spool.reader("gone", Start::Oldest).unwrap());
    append(&mut spool, &mixed(0, 3));
    assert_eq!(rest(&mut here).len(), 1);
    here.acknowledge(1);
    spool.tend(NOON_US).unwrap();
    assert_eq!(records_in(&status(&spool)), 3);
    assert_eq!(spool.retain(&["other"]).unwrap(), ["gone"], "who reads stays");
    spool.tend(NOON_US).unwrap();
    assert_eq!(records_in(&status(&spool)), 0);
    assert!(spool.retain(&[]).unwrap().is_empty());
    drop(here);
    drop(spool);
    let spool = open(dir.path());
    assert_eq!(status(&spool).cursors.len(), 1, "it stays gone");
}

#[test]
fn a_cursor_has_one_reader_and_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let one = spool.reader("one", Start::Oldest).unwrap();
    let error = spool.reader("one", Start::Oldest).unwrap_err();
    assert_eq!(error.to_string(), "the spool is read as \"one\" already: one reader for a cursor");
    drop(one);
    drop(spool.reader("one", Start::Oldest).unwrap());
    for name in ["", &"n".repeat(NAME_BYTES_MAX + 1)] {
        let error = spool.reader(name, Start::Oldest).unwrap_err();
        assert!(matches!(error, SpoolError::Name { .. }), "{error}");
    }
    for number in 1..CURSORS_MAX {
        drop(spool.reader(&number.to_string(), Start::Newest).unwrap());
    }
    let error = spool.reader("one too many", Start::Newest).unwrap_err();
    assert!(matches!(error, SpoolError::Cursors), "{error}");
}

#[test]
fn a_reader_waits_for_a_batch_and_ends_with_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    let reads = thread::spawn(move || {
        let mut read = Vec::new();
        loop {
            match reader.next(SOON).unwrap() {
                Next::Batch(batch) => {
                    reader.acknowledge(batch.number);
                    read.push(batch.number);
                }
                Next::Nothing => panic!("nobody woke the reader"),
                Next::Ended => return read,
            }
        }
    });
    for batch in 0..20 {
        append(&mut spool, &mixed(batch * 3, 3));
    }
    spool.finish();
    assert_eq!(reads.join().unwrap(), (1..=20).collect::<Vec<_>>());
    assert_eq!(status(&spool).cursors[0].acknowledged, 20);
    spool.close().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, &mixed(60, 1));
    assert_eq!(records_in(&status(&spool)), 1);
}

#[test]
fn a_reader_of_a_closed_spool_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    append(&mut spool, &mixed(0, 3));
    let watch = spool.watch();
    spool.close().unwrap();
    assert_eq!(reader.next(SOON).unwrap(), Next::Ended);
    assert!(!watch.status(NOON_US).open);
    drop(reader);
    let mut spool = open(dir.path());
    assert_eq!(
        rest(&mut spool.reader("one", Start::Oldest).unwrap()).len(),
        1,
        "it is still there"
    );
}

#[test]
fn readers_go_on_beside_the_writer() {
    const BATCHES: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let readers: Vec<_> = (0..3)
        .map(|number| {
            let mut reader = spool.reader(&number.to_string(), Start::Oldest).unwrap();
            thread::spawn(move || {
                let mut read = Vec::new();
                while let Next::Batch(batch) = reader.next(SOON).unwrap() {
                    // One acknowledges each, one every tenth, one goes back now and then.
                    if number == 0 || batch.number % 10 == 0 {
                        reader.acknowledge(batch.number);
                        read.push(batch);
                    } else if number == 1 || batch.number % 10 != 3 {
                        read.push(batch);
                    } else if read.last().is_none_or(|last: &Batch| last.number + 1 == batch.number)
                    {
                        let from = batch.number - 3;
                        reader.rewind();
                        read.retain(|read| read.number <= from);
                        for expected in from + 1..=batch.number {
                            let again = reader.next(SOON).unwrap();
                            let Next::Batch(again) = again else { panic!("{again:?}") };
                            assert_eq!(again.number, expected);
                            read.push(again);
                        }
                    }
                }
                sequences(&read)
            })
        })
        .collect();
    for batch in 0..BATCHES {
        append(&mut spool, &mixed(batch * 5, 5));
    }
    spool.finish();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), (0..BATCHES * 5).collect::<Vec<_>>());
    }
}

#[test]
fn the_newest_are_told_whoever_has_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    assert!(spool.newest(5).unwrap().is_empty());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    for batch in 0..10 {
        append(&mut spool, &mixed(batch * 30, 30));
    }
    assert_eq!(rest(&mut reader).len(), 10);
    reader.acknowledge(7);
    let newest = |records| {
        let found = spool.newest(records).unwrap();
        let mut found: Vec<_> = found.into_iter().map(|record| record.sequence).collect();
        found.sort_unstable();
        found
    };
    // Of each class the newest, with the rest of their batches.
    assert_eq!(newest(12), (240..300).collect::<Vec<_>>());
    assert!(newest(0).is_empty());
    assert_eq!(newest(1000), (0..300).collect::<Vec<_>>(), "nothing is removed yet");
}
