//! A disk that is full, or read-only: nothing that was confirmed is lost, the error says what helps, and it goes on when there
//! is room.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use sensor_lab::disk::Disk;
use sensor_user::spool::{Spool, SpoolError, Start};

use super::{NOON_US, SINK, open, records, rest};

/// Room for some dozens of batches.
const DISK_MIB: u32 = 4;

/// Records of a batch.
const BATCH: u64 = 500;

/// Batches that surely have no room.
const BATCHES_MAX: u64 = 1_000;

/// Appends until there is no room; how many batches are there, and what was said.
fn append_until_full(spool: &mut Spool) -> Result<(u64, String)> {
    for batch in 0..BATCHES_MAX {
        match spool.append(&records(batch * BATCH, BATCH), NOON_US) {
            Ok(number) => ensure!(number == batch + 1, "batch {batch} has number {number}"),
            Err(error @ SpoolError::Full { .. }) => return Ok((batch, error.to_string())),
            Err(error) => return Err(error).context("not for want of room"),
        }
    }
    bail!("{BATCHES_MAX} batches fit {DISK_MIB} MiB")
}

/// Checks that there are batches of all records up to a number.
fn check_all(spool: &mut Spool, batches: u64) -> Result<()> {
    let mut reader = spool.reader(SINK, Start::Oldest)?;
    reader.rewind();
    let read = rest(&mut reader)?;
    let all: Vec<_> = read.into_iter().flat_map(|batch| batch.records).collect();
    ensure!(all == records(0, batches * BATCH), "{} records of {}", all.len(), batches * BATCH);
    Ok(())
}

#[test]
fn a_full_disk_loses_no_batch_and_it_goes_on_with_room() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::mount(dir.path(), DISK_MIB)?;
    let mut spool = open(dir.path())?;
    drop(spool.reader(SINK, Start::Oldest)?);
    spool.append(&records(0, BATCH), NOON_US)?;
    let filler = disk.fill()?;
    let mut batches = 1;
    // What is left in the file itself.
    let error = loop {
        match spool.append(&records(batches * BATCH, BATCH), NOON_US) {
            Ok(_) => batches += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("disk is full; make room, or lower `spool.size_mib`"), "{text}");
    for _ in 0..3 {
        assert!(spool.append(&records(batches * BATCH, BATCH), NOON_US).is_err());
    }
    fs::remove_file(filler)?;
    assert_eq!(spool.append(&records(batches * BATCH, BATCH), NOON_US)?, batches + 1);
    check_all(&mut spool, batches + 1)?;
    let status = spool.watch().status(NOON_US);
    assert_eq!((status.put_aside, status.damaged), (0, 0));
    spool.close()?;
    check_all(&mut open(dir.path())?, batches + 1)?;
    drop(disk);
    Ok(())
}

#[test]
fn a_spool_that_filled_its_disk_is_read_and_goes_on_when_sinks_have_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::mount(dir.path(), DISK_MIB)?;
    let mut spool = open(dir.path())?;
    drop(spool.reader(SINK, Start::Oldest)?);
    let (batches, _) = append_until_full(&mut spool)?;
    assert!(batches > 20, "{batches}");
    // The daemon is started again meanwhile.
    drop(spool);
    let mut spool = open(dir.path())?;
    check_all(&mut spool, batches)?;
    let mut reader = spool.reader(SINK, Start::Oldest)?;
    let last = rest(&mut reader)?.last().context("a batch")?.number;
    reader.acknowledge(last);
    // A transaction that removes needs pages too; what a failed one leaves is free for the next.
    let mut tries = 0;
    while let Err(error) = spool.append(&records(batches * BATCH, BATCH), NOON_US) {
        assert!(matches!(error, SpoolError::Full { .. } | SpoolError::Closed { .. }), "{error}");
        tries += 1;
        ensure!(tries < 20, "it never goes on: {error}");
    }
    let read = rest(&mut reader)?;
    assert_eq!(read.len(), 1);
    drop(disk);
    Ok(())
}

#[test]
fn a_read_only_disk_is_named_and_nothing_is_touched() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::mount(dir.path(), DISK_MIB)?;
    let mut spool = open(dir.path())?;
    spool.append(&records(0, BATCH), NOON_US)?;
    spool.close()?;
    let file = dir.path().join("spool.redb");
    let before = fs::read(&file)?;
    disk.make_read_only()?;
    let error = Spool::open(sensor_user::spool::Options::new(dir.path())).unwrap_err();
    assert!(matches!(error, SpoolError::File { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("spool.redb: cannot open the spool; check its disk"), "{text}");
    assert_eq!(fs::read(&file)?, before);
    assert!(only(dir.path(), "spool.redb")?);
    drop(disk);
    Ok(())
}

/// Whether a directory has that file alone.
fn only(dir: &Path, name: &str) -> Result<bool> {
    let names = dir.read_dir()?.map(|entry| Ok(entry?.file_name()));
    Ok(names.collect::<std::io::Result<Vec<_>>>()? == [name])
}
