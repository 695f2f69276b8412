//! A disk that is full: nothing is enforced less, nothing that was stored is lost, and records go on when there is room.

use std::fs;

use anyhow::Result;
use sensor_lab::clients::Outcome;
use sensor_lab::disk::Disk;
use sensor_lab::process;
use sensor_user::control::status::Status;
use sensor_user::record::Record;

use super::{ALLOWED, BLOCKED, SOON, Site, page, record, records, setup, status};

/// Room for a day file and its journal, and little more.
const DISK_MIB: u32 = 4;

/// Room for a spool, and little more.
const SPOOL_DISK_MIB: u32 = 16;

/// Records wait in the spool, and flows go as ever.
#[test]
fn a_full_disk_loses_no_record_and_no_verdict() -> Result<()> {
    let mut site = Site::build(&setup())?;
    site.sensor.stop()?;
    let disk = Disk::mount(&site.sensor.store_directory(), DISK_MIB)?;
    site.sensor.resume()?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    record(&site.sensor, "a record before the disk is full", is_of(ALLOWED))?;
    let before = records(&site.sensor)?;

    let filler = disk.fill()?;
    for _ in 0..5 {
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    }
    let refused = process::wait_until("the store to refuse", SOON, || {
        let status: Status = status(&site.sensor)?;
        Ok((status.records.store_failures >= 2).then_some(status.records))
    })?;
    assert!(refused.made > refused.stored, "{refused:?}");
    assert_eq!(refused.lost, 0, "{refused:?}");
    // What was stored is still there to be read.
    let after = records(&site.sensor)?;
    assert!(before.iter().all(|one| after.contains(one)), "{before:?} {after:?}");
    let log = site.sensor.log()?;
    assert!(log.contains("the store refused; trying again"), "{log}");
    assert!(log.contains("cannot read or write the day file"), "{log}");

    fs::remove_file(filler)?;
    process::wait_until("the records of the time between", SOON, || {
        let records = records(&site.sensor)?;
        let blocked = records.iter().filter(|one| is_of(BLOCKED)(one)).count();
        Ok((blocked >= 5).then_some(()))
    })?;
    numbers_have_no_gap(&mut site)?;
    drop(site);
    drop(disk);
    Ok(())
}

/// Flows wait in their table, and go on from there.
#[test]
fn a_full_disk_of_the_spool_loses_no_record_and_no_verdict() -> Result<()> {
    let mut site = Site::build(&setup())?;
    site.sensor.stop()?;
    let disk = Disk::mount(&site.sensor.spool_directory(), SPOOL_DISK_MIB)?;
    site.sensor.resume()?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    record(&site.sensor, "a record before the disk is full", is_of(ALLOWED))?;

    let filler = disk.fill()?;
    for _ in 0..5 {
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    }
    let refused = process::wait_until("the spool to refuse", SOON, || {
        let status: Status = status(&site.sensor)?;
        Ok((status.records.spool_failures >= 2).then_some(status.records))
    })?;
    assert!(refused.made > refused.spooled, "{refused:?}");
    assert_eq!(refused.lost, 0, "{refused:?}");
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    let log = site.sensor.log()?;
    assert!(log.contains("the spool refused; trying again"), "{log}");

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
