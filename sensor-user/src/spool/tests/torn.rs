//! Files as a crash leaves them.

use std::fs;

use super::super::file::FILE_NAME;
use super::*;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) as usize % limit
    }
}

/// Opens a file's bytes as a spool.
fn open_bytes(bytes: &[u8]) -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
    let spool = open(dir.path());
    (dir, spool)
}

/// The machine stops while a batch is written: some of its sectors are on the disk, in no order, and the header does not
/// point at them yet. All that was confirmed is there, and it goes on with the next number.
#[test]
fn a_torn_batch_leaves_all_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let mut spool = open(dir.path());
    let mut draw = Draw(3);
    let mut torn = 0;
    for confirmed in 1..=40_u64 {
        append(&mut spool, &mixed((confirmed - 1) * 50, 50));
        let before = fs::read(&path).unwrap();
        if confirmed % 4 != 0 {
            continue;
        }
        let mut next_dir_spool = open_bytes(&before);
        append(&mut next_dir_spool.1, &mixed(confirmed * 50, 50));
        let after = fs::read(next_dir_spool.0.path().join(FILE_NAME)).unwrap();
        drop(next_dir_spool);
        let length = before.len().max(after.len());
        for _ in 0..6 {
            let (mut left, mut right) = (before.clone(), after.clone());
            left.resize(length, 0);
            right.resize(length, 0);
            let share = 1 + draw.below(8);
            // The first sector is written when all the others are on the disk.
            for start in (SECTOR..length).step_by(SECTOR) {
                let sector = start..(start + SECTOR).min(length);
                if left[sector.clone()] != right[sector.clone()] && draw.below(9) < share {
                    left[sector.clone()].copy_from_slice(&right[sector]);
                    torn += 1;
                }
            }
            let (_dir, mut spool) = open_bytes(&left);
            assert_eq!((status(&spool).put_aside, status(&spool).latest), (0, confirmed));
            let mut reader = spool.reader("one", Start::Oldest).unwrap();
            assert_eq!(sequences(&rest(&mut reader)), (0..confirmed * 50).collect::<Vec<_>>());
            assert_eq!(append(&mut spool, &mixed(confirmed * 50, 3)), confirmed + 1);
        }
    }
    assert!(torn > 200, "{torn} sectors");
}

/// What no crash does: a file that ends early, or whose end was written over. All that was confirmed is there, or what is
/// missing is counted, or the file is put aside and the numbers go on as far as they can be found.
#[test]
fn a_file_that_was_cut_or_written_over_is_put_aside_or_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let mut spool = open(dir.path());
    for batch in 0..30 {
        append(&mut spool, &mixed(batch * 50, 50));
    }
    let whole = fs::read(&path).unwrap();
    let mut draw = Draw(5);
    let [mut read, mut aside] = [0; 2];
    for round in 0..60 {
        let mut bytes = whole.clone();
        let at = 1 + draw.below(whole.len() - 1);
        if round % 2 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at..].iter_mut().for_each(|byte| *byte = draw.below(256) as u8);
        }
        let (one, mut spool) = open_bytes(&bytes);
        let mut reader = spool.reader("one", Start::Oldest).unwrap();
        let mut found = Vec::new();
        // After an error the next batch has the file looked at.
        while let Ok(Next::Batch(batch)) = reader.next(NOW) {
            found.push(batch);
        }
        let number = append(&mut spool, &mixed(1_500, 50));
        let after = status(&spool);
        if after.put_aside > 0 {
            aside += 1;
            let kept = fs::read(one.path().join(format!("{FILE_NAME}.corrupt-1"))).unwrap();
            assert!(!kept.is_empty(), "nothing is thrown away");
            assert!(number <= 31);
        } else {
            read += 1;
            let count = sequences(&found).len() as u64;
            assert_eq!(count + after.damaged, 1_500, "at {at} of {}", whole.len());
            assert_eq!(number, 31);
        }
    }
    assert!(read > 0 && aside > 0, "{read} {aside}");
}
