//! What `device` shows.

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::record::Record;
use crate::record::sample::{NOON_US, record, unnamed};
use crate::store::DayStore;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    device: DeviceArgs,
}

/// µs of a day.
const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn run(dir: &TempDir, arguments: &[&str], json: bool) -> anyhow::Result<String> {
    let args = Command::try_parse_from(["device"].iter().chain(arguments))?.device;
    let now = Timestamp::from_microsecond(NOON_US + 60_000_000)?;
    let mut out = Vec::new();
    show_at(now, dir.path(), &args, None, json, &mut out)?;
    Ok(String::from_utf8(out)?)
}

fn store() -> TempDir {
    let dir = TempDir::new().unwrap();
    let v6 = "2001:db8::5".parse().unwrap();
    let of_day = |day: i64, record: Record| Record {
        start_us: record.start_us - day * DAY_US,
        end_us: record.end_us - day * DAY_US,
        zone: 0,
        ..record
    };
    let records = [
        of_day(0, record(0)),
        of_day(1, record(1)),
        of_day(0, Record { device: v6, end_us: NOON_US - 1, ..record(2) }),
        of_day(0, Record { user: Some("b.jones".to_owned()), ..record(3) }),
        of_day(0, unnamed(4)),
    ];
    DayStore::open(dir.path(), "gw-1").unwrap().append(&records).unwrap();
    dir
}

#[test]
fn a_user_is_found_at_every_address() {
    let shown = run(&store(), &["A.Smith", "--since", "2d"], false).unwrap();
    let width = usize::from(table::TABLE_WIDTH);
    assert!(shown.lines().all(|line| line.len() <= width), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_looked_for_tells_what_it_is() {
    let dir = store();
    let check = |arguments: &[&str], expected: &[(&str, &str, u64)]| {
        let shown = run(&dir, arguments, true).unwrap();
        let mut found: Vec<(String, String, u64)> = shown
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = |key: &str| line[key].as_str().unwrap_or("").to_owned();
                (text("address"), text("user"), line["records"].as_u64().unwrap())
            })
            .collect();
        found.sort();
        let expected: Vec<_> = expected
            .iter()
            .map(|(address, user, records)| ((*address).to_owned(), (*user).to_owned(), *records))
            .collect();
        assert_eq!(found, expected, "{arguments:?}");
    };
    check(&["a.smith"], &[("10.0.0.5", "a.smith", 1), ("2001:db8::5", "a.smith", 1)]);
    check(
        &["a.smith", "--since", "2d"],
        &[("10.0.0.5", "a.smith", 2), ("2001:db8::5", "a.smith", 1)],
    );
    check(
        &["02-53-00-00-00-07"],
        &[("10.0.0.5", "a.smith", 1), ("10.0.0.5", "b.jones", 1), ("2001:db8::5", "a.smith", 1)],
    );
    check(&["a.smith", "--on", "yesterday"], &[("10.0.0.5", "a.smith", 1)]);
    check(
        &["10.0.0.5"],
        &[("10.0.0.5", "", 1), ("10.0.0.5", "a.smith", 1), ("10.0.0.5", "b.jones", 1)],
    );
    assert_eq!(run(&dir, &["nobody"], false).unwrap(), "not seen\n");
    assert!(run(&dir, &["a\nb"], false).unwrap_err().to_string().contains("not a user's name"));
}

#[test]
fn sites_say_when_and_what_became_of_it() {
    let dir = store();
    insta::assert_snapshot!(run(&dir, &["10.0.0.5", "--since", "2d", "--sites"], false).unwrap());
    let shown = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let shown = run(&dir, arguments, true).unwrap();
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // From the roll-up, and from the records of a person.
    for who in ["10.0.0.5", "a.smith", "02-53-00-00-00-07"] {
        let lines = shown(&[who, "--on", "2026-03-09", "--sites"]);
        let expected = serde_json::json!({
            "site": "example.org", "verdict": "block", "first_us": NOON_US - DAY_US,
            "last_us": NOON_US - DAY_US, "records": 1, "flows": 1, "unnamed_flows": 0, "packets": 6,
            "bytes": 1020,
        });
        assert_eq!(lines, [expected], "{who}");
    }
    assert_eq!(shown(&["10.0.0.5", "--sites", "--limit", "1"]).len(), 1);
    assert_eq!(shown(&["10.0.0.9", "--sites"]).len(), 0);
}
