//! The whole sensor: what the store has goes to a file, each record once, also when the file is put aside.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use sensor_lab::clients::Outcome;
use sensor_lab::process;
use sensor_lab::sensor::Setup;
use sensor_user::record::Record;
use serde_json::Value;
use tempfile::TempDir;

use super::SOON;
use crate::live::{ALLOWED, BLOCKED, Site, page, setup};

#[test]
fn a_file_has_what_the_store_has() -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("eve.json");
    let extra =
        format!("[[export]]\nname = \"eve\"\nkind = \"eve\"\ntarget = \"{}\"\n", path.display());
    let mut site = Site::build(&Setup { extra, ..setup() })?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    process::wait_until("the block in the file", SOON, || {
        let events = events(dir.path())?;
        Ok(events.iter().any(|event| is_alert_of(event, BLOCKED)).then_some(()))
    })?;

    let pid = site.sensor.pid().context("the daemon runs")?;
    process::run(Command::new("kill").args(["-USR1", &pid.to_string()]))?;
    process::wait_until("another file", SOON, || {
        Ok((fs::read_dir(dir.path())?.count() == 2).then_some(()))
    })?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    site.sensor.stop()?;

    let stored = site.sensor.cli(&["flows", "--limit", "0", "--json"])?;
    let stored =
        stored.lines().map(serde_json::from_str::<Record>).collect::<Result<Vec<_>, _>>()?;
    let stored: BTreeMap<u64, Record> =
        stored.into_iter().map(|record| (record.sequence, record)).collect();
    let events = events(dir.path())?;
    let mut told = BTreeMap::new();
    for event in events.iter().filter(|event| event["event_type"] == "flow") {
        let sequence = event["campus_sensor"]["sequence"].as_u64().context("a number")?;
        assert!(told.insert(sequence, event).is_none(), "{sequence} twice");
    }
    assert!(told.keys().eq(stored.keys()), "{told:?} {stored:?}");
    for (sequence, record) in &stored {
        let event = told[sequence];
        assert_eq!(event["src_ip"], record.device.to_string());
        assert_eq!(event["flow"]["bytes_toserver"], record.bytes_to_peer);
        assert_eq!(event["flow"]["bytes_toclient"], record.bytes_to_lan);
        assert_eq!(event["campus_sensor"]["verdict"], record.verdict.name());
        assert_eq!(event["campus_sensor"]["name"].as_str(), record.name.as_deref());
    }
    assert!(stored.values().any(|record| record.name.as_deref() == Some(ALLOWED)));
    let now = fs::read_to_string(&path)?;
    assert!(now.contains(ALLOWED) && !now.contains(BLOCKED), "what came later is in the new file");
    Ok(())
}

fn is_alert_of(event: &Value, name: &str) -> bool {
    event["event_type"] == "alert"
        && event["alert"]["action"] == "blocked"
        && event["tls"]["sni"] == name
}

/// The events of the file and of those put aside.
fn events(dir: &Path) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    for entry in fs::read_dir(dir)? {
        let text = fs::read_to_string(entry?.path())?;
        // The last line may be on its way.
        events.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
    }
    Ok(events)
}
