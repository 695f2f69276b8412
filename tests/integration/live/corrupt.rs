//! A day file that is damaged: it is named, put aside, and nothing stops for it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sensor_lab::clients::Outcome;
use sensor_user::record::Record;

use super::{ALLOWED, BLOCKED, Site, page, record, records, setup};

/// More than `SQLite`'s header, so that what follows it is wrong too.
const GARBAGE: [u8; 8_192] = [0xA5; 8_192];

#[test]
fn a_corrupt_day_file_is_named_moved_aside_and_replaced() -> Result<()> {
    let mut site = Site::build(&setup())?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    record(&site.sensor, "a record to lose", is_of(BLOCKED))?;
    site.sensor.stop()?;
    let day = day_file(&site)?;
    fs::write(&day, GARBAGE)?;

    // Whoever reads is told which file it is, and what can be done.
    let finished = site.sensor.ask(&["flows"])?;
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    for part in [&*day.to_string_lossy(), "corrupt", ".recover"] {
        assert!(finished.stderr.contains(part), "{part:?} is not in {finished:?}");
    }

    site.sensor.resume()?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    let aside = PathBuf::from(format!("{}.corrupt-1", day.display()));
    sensor_lab::process::wait_until("the file to be put aside", super::SOON, || {
        Ok(aside.exists().then_some(()))
    })?;
    assert_eq!(fs::read(&aside)?, GARBAGE);
    record(&site.sensor, "a record in the new file", is_of(ALLOWED))?;
    assert!(records(&site.sensor)?.iter().all(|one| one.name.as_deref() != Some(BLOCKED)));
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    record(&site.sensor, "a record of the next block", is_of(BLOCKED))?;

    let log = site.sensor.log()?;
    assert!(log.contains("corrupt day file moved aside"), "{log}");
    assert!(log.contains(&*aside.to_string_lossy()), "{log}");
    Ok(())
}

fn is_of(name: &str) -> impl Fn(&Record) -> bool {
    move |one| one.name.as_deref() == Some(name)
}

/// The only one there is.
fn day_file(site: &Site) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(site.sensor.store_directory())? {
        let path = entry?.path();
        files.extend(path.extension().is_some_and(|ending| ending == "db").then_some(path));
    }
    assert_eq!(files.len(), 1, "{files:?}");
    files.pop().context("no day file")
}
