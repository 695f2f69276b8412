//! Files that cannot be opened, and what becomes of them.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use redb::{Database, TableDefinition};

use super::super::file::FILE_NAME;
use super::*;

fn file(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

fn refused(dir: &Path) -> String {
    Spool::open(Options::new(dir)).unwrap_err().to_string()
}

#[test]
fn nobody_else_reads_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    let _spool = open(&inner);
    assert_eq!(fs::metadata(file(&inner)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(inner).unwrap().permissions().mode() & 0o027, 0);
}

#[test]
fn a_spool_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append(&mut spool, &mixed(0, 3));
    let error = refused(dir.path());
    assert!(error.contains("another process has the spool open"), "{error}");
    assert_eq!(append(&mut spool, &mixed(3, 3)), 2, "the first goes on");
}

#[test]
fn a_newer_or_foreign_file_stays_where_it_is() {
    const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let database = Database::open(file(dir.path())).unwrap();
    let write = database.begin_write().unwrap();
    let identity = br#"{"format":2,"salt":"00","check":null}"#;
    write.open_table(STATE).unwrap().insert("identity", identity.as_slice()).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = refused(dir.path());
    assert!(
        error.contains("has format 2, this version reads 1; start the newer version"),
        "{error}"
    );

    fs::remove_file(file(dir.path())).unwrap();
    let database = Database::create(file(dir.path())).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("other")).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = refused(dir.path());
    assert!(error.contains("this is no spool"), "{error}");
    assert!(file(dir.path()).exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was put aside");
}

#[test]
fn a_path_that_is_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(file(dir.path())).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("cannot open the spool; check its disk"), "{error}");
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    let error = refused(&plain);
    assert!(error.contains("cannot make or enter the directory"), "{error}");
    let linked = dir.path().join("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", file(&linked)).unwrap();
    assert!(refused(&linked).contains("cannot open the spool"), "links are not followed");
}

#[test]
fn what_is_no_database_is_put_aside_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for batch in 0..5 {
        append(&mut spool, &mixed(batch * 10, 10));
    }
    spool.close().unwrap();
    let whole = fs::read(file(dir.path())).unwrap();
    for round in 1..=2 {
        let mut broken = whole.clone();
        broken[..64].fill(0x55);
        fs::write(file(dir.path()), &broken).unwrap();
        let mut spool = open(dir.path());
        let aside = dir.path().join(format!("{FILE_NAME}.corrupt-{round}"));
        assert_eq!(fs::read(aside).unwrap(), broken, "it is all there");
        let after = status(&spool);
        assert_eq!((after.put_aside, after.latest, records_in(&after)), (1, 5, 0));
        assert_eq!(spool.last_sequence(&sample::record(0).boot), Some(49));
        let losses = spool.watch().losses();
        assert!(losses.iter().all(|loss| loss.reason == Reason::PutAside));
        assert_eq!(losses.iter().map(|loss| loss.records).sum::<u64>(), 50);
        assert_eq!(append(&mut spool, &mixed(50, 3)), 6);
        let mut reader = spool.reader("one", Start::Oldest).unwrap();
        assert_eq!(next(&mut reader).number, 6);
    }
}

/// The file is written over while it is open: whoever reads finds out, and the next batch goes to a new file under the next
/// number. What a sink did not have is counted for it.
#[test]
fn a_file_that_goes_bad_while_it_is_open_is_put_aside() {
    const RECORDS: u64 = 60_000;
    let mut seed = 1;
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for from in (0..RECORDS).step_by(3_000) {
        append(&mut spool, &loud(from, 3_000, &mut seed));
    }
    spool.close().unwrap();
    // With nothing in memory but what opening it reads.
    let mut spool = open(dir.path());
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    let first = next(&mut reader);
    assert_eq!(first.records.len(), 3_000);
    reader.acknowledge(first.number);
    let length = fs::metadata(file(dir.path())).unwrap().len();
    let open_file = fs::OpenOptions::new().write(true).open(file(dir.path())).unwrap();
    open_file.write_all_at(&vec![0x6b; length as usize - 4_096], 4_096).unwrap();

    let mut read = first.records.len() as u64;
    for _ in 0..40 {
        match reader.next(NOW) {
            Ok(Next::Batch(batch)) => read += batch.records.len() as u64,
            Ok(Next::Nothing | Next::Ended) => break,
            Err(error) => assert!(matches!(error, SpoolError::Damaged { .. }), "{error}"),
        }
    }
    let number = append(&mut spool, &mixed(RECORDS, 30));
    assert_eq!(number, 21, "it was 20 before");
    let after = status(&spool);
    assert_eq!((after.put_aside, after.open, records_in(&after)), (1, true, 30));
    let lost: u64 = after.cursors[0].lost.values().sum();
    assert_eq!(lost, RECORDS - 3_000, "all behind what it acknowledged");
    assert!(read >= 3_000);
    let batch = next(&mut reader);
    assert_eq!((batch.number, batch.records), (21, mixed(RECORDS, 30)), "the reader goes on");
    assert_eq!(spool.last_sequence(&sample::record(0).boot), Some(RECORDS + 29));
    assert!(dir.path().join(format!("{FILE_NAME}.corrupt-1")).exists());
}

#[test]
fn an_empty_file_is_a_new_spool() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(file(dir.path()), "").unwrap();
    let mut spool = open(dir.path());
    assert_eq!(append(&mut spool, &mixed(0, 1)), 1);
    assert_eq!(status(&spool).put_aside, 0);
}
