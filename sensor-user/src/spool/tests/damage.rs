//! Bits that a disk gives back wrong.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use super::super::chunk::{HEADER_BYTES, Header, MAGIC};
use super::super::file::FILE_NAME;
use super::*;

/// Headers of a class and batch in a file: where each begins, and whether its records follow it. Pages are copied when they
/// change, so there are older ones too.
fn headers_at(file: &[u8], class: Class, batch: u64) -> Vec<(usize, Header, bool)> {
    let starts = file.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    starts
        .filter_map(|(at, _)| Some((at, Header::decode(&file[at..])?)))
        .filter(|(_, header)| (header.class, header.batch) == (class, batch))
        .map(|(at, header)| {
            let payload = at + HEADER_BYTES..at + HEADER_BYTES + header.payload_bytes as usize;
            let is_whole = file.get(payload).map(crc32fast::hash) == Some(header.payload_crc);
            (at, header, is_whole)
        })
        .collect()
}

/// Damages a byte of every chunk of a class and batch, so far behind its beginning.
fn flip_chunk(path: &Path, class: Class, batch: u64, behind: usize) -> Header {
    let chunks = headers_at(&fs::read(path).unwrap(), class, batch);
    for (at, ..) in chunks.iter().filter(|(.., is_whole)| *is_whole) {
        flip(path, at + behind);
    }
    chunks[0].1.clone()
}

fn flip(path: &Path, at: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at as u64).unwrap();
}

/// A closed spool of five batches, and its file.
fn five(dir: &Path) -> PathBuf {
    let mut spool = open(dir);
    drop(spool.reader("one", Start::Oldest).unwrap());
    for batch in 0..5 {
        append(&mut spool, &mixed(batch * 30, 30));
    }
    spool.close().unwrap();
    dir.join(FILE_NAME)
}

#[test]
fn a_damaged_chunk_is_passed_over_counted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = five(dir.path());
    let header = flip_chunk(&path, Class::Alert, 3, HEADER_BYTES + 40);

    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    let mut other = spool.reader("other", Start::Oldest).unwrap();
    let read = rest(&mut reader);
    assert_eq!(read.len(), 5);
    let is_lost = |sequence: &u64| (60..90).contains(sequence) && sequence % 3 == 1;
    let expected: Vec<_> = (0..150).filter(|sequence| !is_lost(sequence)).collect();
    assert_eq!(sequences(&read), expected);
    assert_eq!(sequences(&rest(&mut other)), expected);
    // One is quicker than the writer, who hears of it afterwards.
    reader.acknowledge(4);
    spool.tend(NOON_US).unwrap();

    let after = status(&spool);
    assert_eq!((after.damaged, after.put_aside, records_in(&after)), (10, 0, 140));
    let lost: Vec<_> = after.cursors.iter().map(|cursor| cursor.lost["alert"]).collect();
    assert_eq!(lost, [10, 10]);
    let losses = spool.watch().losses();
    let [loss] = losses.as_slice() else { panic!("{losses:?}") };
    assert_eq!((loss.reason, loss.class), (Reason::Damage, Class::Alert));
    assert_eq!((loss.first, loss.last), (header.first, header.last));
    assert_eq!((loss.first, loss.last, loss.records), (61, 88, 10));
    other.rewind();
    assert_eq!(sequences(&rest(&mut other)), expected, "it is not counted again");
    reader.acknowledge(5);
    other.acknowledge(5);
    spool.tend(NOON_US).unwrap();
    assert_eq!((status(&spool).damaged, records_in(&status(&spool))), (10, 0));
}

#[test]
fn a_damaged_chunk_does_not_keep_the_file_from_opening_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for batch in 0..5 {
        append(&mut spool, &mixed(batch * 30, 30));
    }
    // As it is while the daemon runs.
    let path = crashed.path().join(FILE_NAME);
    fs::copy(dir.path().join(FILE_NAME), &path).unwrap();
    flip_chunk(&path, Class::Blocked, 2, HEADER_BYTES + 1);
    let mut spool = open(crashed.path());
    assert_eq!(status(&spool).put_aside, 0);
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    assert_eq!(sequences(&rest(&mut reader)).len(), 140);
}

#[test]
fn a_damaged_header_is_made_up_for_by_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = five(dir.path());
    let headers = headers_at(&fs::read(&path).unwrap(), Class::Allowed, 2);
    let alone: Vec<_> = headers.iter().filter(|(.., is_whole)| !is_whole).collect();
    assert!(!alone.is_empty() && alone.len() < headers.len());
    for (at, ..) in alone {
        flip(&path, at + 20);
    }
    let mut spool = open(dir.path());
    assert_eq!(records_in(&status(&spool)), 150);
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    assert_eq!(sequences(&rest(&mut reader)), (0..150).collect::<Vec<_>>());
    reader.acknowledge(5);
    spool.tend(NOON_US).unwrap();
    assert_eq!((status(&spool).damaged, records_in(&status(&spool))), (0, 0));
}

/// One byte of the file is wrong, anywhere: either nothing is missing, or what is missing is counted, or the file is put
/// aside. Nothing that is wrong is read as a record, and nothing panics.
#[test]
fn no_damaged_byte_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = five(dir.path());
    let whole = fs::read(&path).unwrap();
    let expected: Vec<_> = mixed(0, 150);
    let mut seed = 1_u64;
    let [mut unharmed, mut counted, mut aside] = [0; 3];
    for _ in 0..600 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (seed >> 20) as usize % whole.len();
        let one = tempfile::tempdir().unwrap();
        let file = one.path().join(FILE_NAME);
        fs::write(&file, &whole).unwrap();
        flip(&file, at);
        let mut spool = match Spool::open(Options::new(one.path())) {
            Ok(spool) => spool,
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        SpoolError::Newer { .. }
                            | SpoolError::Foreign { .. }
                            | SpoolError::KeyMissing { .. }
                    ),
                    "{error}"
                );
                continue;
            }
        };
        let mut reader = spool.reader("one", Start::Oldest).unwrap();
        let mut read = Vec::new();
        let mut errors = 0;
        loop {
            match reader.next(NOW) {
                Ok(Next::Batch(batch)) => read.extend(batch.records),
                Ok(Next::Nothing | Next::Ended) => break,
                Err(error) => {
                    errors += 1;
                    assert!(errors < 3, "at {at}: {error}");
                    // The writer looks at it.
                    append(&mut spool, &mixed(150, 1));
                }
            }
        }
        read.retain(|record| record.sequence < 150);
        assert!(read.iter().all(|record| expected.contains(record)), "at {at}");
        append(&mut spool, &mixed(151, 1));
        let after = status(&spool);
        if after.put_aside > 0 {
            aside += 1;
        } else if after.damaged > 0 {
            assert_eq!(read.len() as u64 + after.damaged, 150, "at {at}");
            counted += 1;
        } else {
            assert_eq!(read.len(), 150, "at {at}");
            unharmed += 1;
        }
        assert!(after.latest > 5 || after.put_aside > 0, "at {at}: {after:?}");
    }
    assert!(unharmed > 400 && counted > 10 && aside > 3, "{unharmed} {counted} {aside}");
}
