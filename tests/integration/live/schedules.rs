//! Hours in which a group has other rules: they begin and end by the clock, while connections go on.

use std::time::Duration;

use anyhow::Result;
use jiff::{Timestamp, ToSpan as _, Zoned};
use sensor_lab::clients::Outcome;
use sensor_lab::process;
use sensor_lab::sensor::Setup;

use super::{ALLOWED, BLOCKED, POLICY, Site, page, record, setup, status};

/// The clock's next minute, and the second in which the daemon looks at it.
const A_MINUTE: Duration = Duration::from_secs(75);

/// The policy with casinos allowed while a schedule of these hours is on.
fn lenient(hours: &str) -> Setup {
    let schedule = format!(
        "default_group = \"visitors\"\ntime_zone = \"UTC\"\n\
            [[schedule]]\nid = \"break\"\nhours = [\"{hours}\"]\n\
            [[schedule]]\nid = \"never\"\nterms = [\"2001-01-01\"]\n"
    );
    let policy = POLICY.replace("default_group = \"visitors\"\n", &schedule).replace(
        "block = [\"gambling\"]",
        "block = [\"gambling\"]\n\
            [[group.during]]\nschedule = \"break\"\npass = [\"gambling\"]\n\
            [[group.during]]\nschedule = \"never\"\nblock = [\"gambling\"]",
    );
    Setup { policy, ..setup() }
}

fn clock(at: &Zoned) -> String {
    at.strftime("%H:%M").to_string()
}

#[test]
fn what_is_on_at_the_start_holds() -> Result<()> {
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let hours = format!("{}-{}", clock(&now), clock(&now.checked_add(5.minutes())?));
    let site = Site::build(&lenient(&hours))?;
    assert_eq!(status(&site.sensor)?.policy.schedules_on, ["break"]);
    assert!(site.sensor.cli(&["status"])?.contains("\nduring    break\n"));
    assert_eq!(site.ask(BLOCKED)?, page(BLOCKED));
    let later = now.checked_add(10.minutes())?.strftime("%Y-%m-%dT%H:%M").to_string();
    let why = ["why", BLOCKED, "--group", "students"];
    assert!(site.sensor.cli(&why)?.starts_with("casino.example: allow\n"));
    let why = site.sensor.cli(&[&why[..], &["--at", &later]].concat())?;
    assert!(why.starts_with("casino.example: block\n"), "{why}");
    Ok(())
}

/// With full counts alone: it waits for the clock's next minute.
#[test]
fn a_schedule_ends_by_the_clock() -> Result<()> {
    if std::env::var_os(sensor_lab::FULL_VARIABLE).is_none() {
        return Ok(());
    }
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    // Not before the sensor has started.
    let next = now.checked_add(if now.second() < 40 { 1.minute() } else { 2.minutes() })?;
    let site = Site::build(&lenient(&format!("{}-{}", clock(&now), clock(&next))))?;
    assert_eq!(site.ask(BLOCKED)?, page(BLOCKED));
    let generation = status(&site.sensor)?.policy.generation;
    process::wait_until("the end of the schedule", A_MINUTE, || {
        // Whatever the minute is, a page on no list is shown.
        assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
        Ok(status(&site.sensor)?.policy.schedules_on.is_empty().then_some(()))
    })?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    let policy = status(&site.sensor)?.policy;
    assert_eq!((policy.generation, &*policy.version), (generation + 1, "live.1"));
    let verdict = sensor_ebpf::abi::Verdict::Block;
    let is_it = |name: Option<&str>| name == Some(BLOCKED);
    record(&site.sensor, "the blocked visit", |one| {
        one.verdict == verdict && is_it(one.name.as_deref())
    })?;
    Ok(())
}
