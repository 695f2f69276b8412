//! Where there is no room for everything.

use super::*;

/// Room for about ten chunks of [`CHUNK_RECORDS`].
const BYTES: u64 = 40 << 10;

/// Records of a chunk that takes 4 KiB of the file or a bit less.
const CHUNK_RECORDS: u64 = 30;

/// µs of a day.
const DAY_US: i64 = 86_400_000_000;

fn small(dir: &Path) -> Spool {
    Spool::open(Options { bytes_max: BYTES, ..Options::new(dir) }).unwrap()
}

fn shed(status: &SpoolStatus) -> [u64; 3] {
    Class::ALL.iter().map(|class| status.shed[class.name()]).collect::<Vec<_>>().try_into().unwrap()
}

fn kept(status: &SpoolStatus) -> [u64; 3] {
    let kept = Class::ALL.iter().map(|class| status.records[class.name()]);
    kept.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn allowed_go_first_then_alerts_then_blocked() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = small(dir.path());
    let mut from = 0;
    let mut add = |spool: &mut Spool, class| {
        append(spool, &of_one(class, from, CHUNK_RECORDS));
        from += CHUNK_RECORDS;
        assert!(status(spool).bytes <= BYTES);
        status(spool)
    };
    while shed(&add(&mut spool, Class::Blocked)) == [0; 3] {
        if kept(&status(&spool))[2] == CHUNK_RECORDS * 4 {
            add(&mut spool, Class::Alert);
            add(&mut spool, Class::Allowed);
            add(&mut spool, Class::Alert);
            add(&mut spool, Class::Allowed);
        }
    }
    // One after the other goes, the oldest of the lowest class first.
    let mut order = vec![shed(&status(&spool))];
    for _ in 0..4 {
        order.push(shed(&add(&mut spool, Class::Blocked)));
    }
    let one = CHUNK_RECORDS;
    let steps = [[one, 0, 0], [2 * one, 0, 0], [2 * one, one, 0], [2 * one, 2 * one, 0]];
    let mut seen = order.clone();
    seen.dedup();
    assert!(steps.iter().all(|step| order.contains(step)), "{order:?}");
    assert_eq!(seen.last(), Some(&[2 * one, 2 * one, one]), "{order:?}");
    // What is left are the newest blocked ones, in order and without a gap.
    let left = sequences(&rest(&mut spool.reader("one", Start::Oldest).unwrap()));
    assert!(left.contains(&(from - 1)) && !left.contains(&0), "{left:?}");
    assert_eq!(left.len() as u64, kept(&status(&spool)).iter().sum::<u64>());
}

#[test]
fn what_is_shed_is_told_by_number_and_for_each_sink() {
    const BATCHES: u64 = 120;
    let dir = tempfile::tempdir().unwrap();
    let mut spool = small(dir.path());
    let mut quick = spool.reader("quick", Start::Oldest).unwrap();
    drop(spool.reader("away", Start::Oldest).unwrap());
    for batch in 0..BATCHES {
        append(&mut spool, &of_one(Class::Allowed, batch * CHUNK_RECORDS, CHUNK_RECORDS));
        let read = next(&mut quick);
        quick.acknowledge(read.number);
    }
    let before = status(&spool);
    let [gone, ..] = shed(&before);
    assert!(gone > 20 * CHUNK_RECORDS, "{before:?}");
    let lost: Vec<_> =
        before.cursors.iter().map(|one| (one.name.as_str(), one.lost["allowed"])).collect();
    assert_eq!(lost, [("away", gone), ("quick", 0)], "only one of them never had it");
    let losses = spool.watch().losses();
    let [loss] = losses.as_slice() else { panic!("{losses:?}") };
    assert_eq!((loss.reason, loss.class, loss.first), (Reason::Size, Class::Allowed, 0));
    assert_eq!((loss.last, loss.records), (gone - 1, gone));
    assert_eq!(before.cursors[0].behind_records, BATCHES * CHUNK_RECORDS - gone);
    drop(quick);
    spool.close().unwrap();

    let mut spool = small(dir.path());
    assert_eq!(spool.watch().losses(), losses, "and that is kept");
    assert_eq!(shed(&status(&spool))[0], gone);
    let mut away = spool.reader("away", Start::Oldest).unwrap();
    assert_eq!(sequences(&rest(&mut away)), (gone..BATCHES * CHUNK_RECORDS).collect::<Vec<_>>());
}

#[test]
fn what_every_sink_has_is_removed_before_anything_is_shed() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = small(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    for batch in 0..100 {
        append(&mut spool, &mixed(batch * 60, 60));
        let read = next(&mut reader);
        reader.acknowledge(read.number);
    }
    assert_eq!(shed(&status(&spool)), [0; 3]);
    assert!(spool.watch().losses().is_empty());
}

#[test]
fn a_smaller_bound_holds_with_the_first_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for batch in 0..700 {
        append(&mut spool, &of_one(Class::Allowed, batch * CHUNK_RECORDS, CHUNK_RECORDS));
    }
    drop(spool);
    let mut spool = small(dir.path());
    spool.tend(NOON_US).unwrap();
    assert!(status(&spool).bytes > BYTES, "one transaction removes only so much");
    spool.tend(NOON_US).unwrap();
    assert!(status(&spool).bytes <= BYTES);
}

#[test]
fn what_is_too_old_goes_and_a_clock_that_leaps_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(Options { days_max: 2, ..Options::new(dir.path()) }).unwrap();
    for day in 0..4 {
        spool.append(&mixed(u64::try_from(day).unwrap() * 3, 3), NOON_US + day * DAY_US).unwrap();
    }
    // Two full days before today: the first day is gone.
    assert_eq!(shed(&status(&spool)), [1, 1, 1]);
    assert!(spool.watch().losses().iter().all(|loss| loss.reason == Reason::Age));
    spool.tend(NOON_US + 400 * DAY_US).unwrap();
    assert_eq!(shed(&status(&spool)), [1, 1, 1], "nobody believes that yet");
    spool.tend(NOON_US + 4 * DAY_US).unwrap();
    assert_eq!(shed(&status(&spool)), [2, 2, 2]);
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    assert_eq!(sequences(&rest(&mut reader)), (6..12).collect::<Vec<_>>());
}

#[test]
fn the_file_stays_near_its_bound_and_shrinks_when_it_is_empty() {
    const LIMIT: u64 = 20 << 20;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { bytes_max: LIMIT, ..Options::new(dir.path()) };
    let mut spool = Spool::open(options).unwrap();
    drop(spool.reader("away", Start::Oldest).unwrap());
    let (mut from, mut seed, mut largest) = (0, 7, 0);
    // Sizes of all kinds, so that pages of all sizes come and go.
    while shed(&status(&spool)).iter().sum::<u64>() < 50_000 {
        let count = [5_000, 700, 40, 2_500, 3][(seed >> 20) as usize % 5];
        append(&mut spool, &loud(from, count, &mut seed));
        from += count;
        largest = largest.max(status(&spool).file_bytes);
    }
    assert!(status(&spool).bytes <= LIMIT);
    assert!(largest <= LIMIT * 13 / 10 + (4 << 20), "{largest}");
    let mut reader = spool.reader("away", Start::Oldest).unwrap();
    let last = rest(&mut reader).last().unwrap().number;
    reader.acknowledge(last);
    for _ in 0..20 {
        spool.tend(NOON_US).unwrap();
    }
    let after = status(&spool);
    assert_eq!(records_in(&after), 0);
    assert!(after.file_bytes < 4 << 20, "{after:?}");
}
