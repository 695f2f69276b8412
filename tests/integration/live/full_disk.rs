//! A disk that is full: nothing is enforced less, nothing that was stored is lost, and records go on when there is room.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use sensor_lab::clients::Outcome;
use sensor_lab::disk::Disk;
use sensor_lab::process;
use sensor_lab::sensor::Sensor;
use sensor_user::control::status::{RecordStatus, Status};
use sensor_user::record::Record;

use super::{ALLOWED, BLOCKED, SOON, Site, page, record, records, setup, status};

/// Room for a day file and its journal, and little more.
const DISK_MIB: u32 = 4;

/// Room for a spool, and little more.
const SPOOL_DISK_MIB: u32 = 16;

/// Records wait in the spool, and flows go as ever.
#[test]
fn a_full_disk_loses_no_record_and_no_verdict() -> Result<()> {
    fill(Sensor::store_directory, DISK_MIB, |site| {
        let stored = records(&site.sensor)?;
        let refused = refusal(site, "the store", |records| records.store_failures)?;
        assert!(refused.made > refused.stored, "{refused:?}");
        // What was stored is still there to be read.
        let after = records(&site.sensor)?;
        assert!(stored.iter().all(|one| after.contains(one)), "{stored:?} {after:?}");
        assert!(site.sensor.log()?.contains("cannot read or write the day file"));
        Ok(())
    })
}

/// Flows wait in their table, and go on from there.
#[test]
fn a_full_disk_of_the_spool_loses_no_record_and_no_verdict() -> Result<()> {
    fill(Sensor::spool_directory, SPOOL_DISK_MIB, |site| {
        let refused = refusal(site, "the spool", |records| records.spool_failures)?;
        assert!(refused.made > refused.spooled, "{refused:?}");
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
        Ok(())
    })
}

/// Fills the disk of a directory, has flows end and `check` what that does, and makes room again.
fn fill(
    directory: impl FnOnce(&Sensor) -> PathBuf,
    mib: u32,
    check: impl FnOnce(&Site) -> Result<()>,
) -> Result<()> {
    let mut site = Site::build(&setup())?;
    site.sensor.stop()?;
    let disk = Disk::mount(&directory(&site.sensor), mib)?;
    site.sensor.resume()?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    record(&site.sensor, "a record before the disk is full", is_of(ALLOWED))?;

    let filler = disk.fill()?;
    for _ in 0..5 {
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    }
    check(&site)?;

    fs::remove_file(filler)?;
    process::wait_until("the records of the time between", SOON, || {
        let blocked = records(&site.sensor)?.iter().filter(|one| is_of(BLOCKED)(one)).count();
        Ok((blocked >= 5).then_some(()))
    })?;
    numbers_have_no_gap(&mut site)?;
    drop(site);
    drop(disk);
    Ok(())
}

/// What is counted once `who` has refused twice: nothing is given up, and the log says so.
fn refusal(
    site: &Site,
    who: &str,
    failures: impl Fn(&RecordStatus) -> u64,
) -> Result<RecordStatus> {
    let refused = process::wait_until("a refusal", SOON, || {
        let Status { records, .. } = status(&site.sensor)?;
        Ok((failures(&records) >= 2).then_some(records))
    })?;
    assert_eq!(refused.lost, 0, "{refused:?}");
    let log = site.sensor.log()?;
    assert!(log.contains(&format!("{who} refused; trying again")), "{log}");
    Ok(refused)
}

fn numbers_have_no_gap(site: &mut Site) -> Result<()> {
    site.sensor.stop()?;
    site.sensor.resume()?;
    let mut all = records(&site.sensor)?;
    all.sort_by_key(|one| one.sequence);
    for (expected, one) in (0..).zip(&all) {
        assert_eq!(one.sequence, expected, "numbers have no gap");
    }
    Ok(())
}

fn is_of(name: &str) -> impl Fn(&Record) -> bool {
    move |one| one.name.as_deref() == Some(name)
}
