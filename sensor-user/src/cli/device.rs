//! `campus-sensor device`: where a device or a user was seen, as records say it.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::flows::device;
use super::table::{self, Column};
use super::time::{self, Moment};
use crate::policy::member::{self, Mac};
use crate::record::display_name;
use crate::store::{Query, Reader, Seen, Sighting};

/// Whom to look for.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor device a.smith
  campus-sensor device 00:53:0a:00:00:07 --since 2026-03-10
  campus-sensor device 10.20.0.17 --since 7d")]
pub struct DeviceArgs {
    /// A user, a MAC address or an address
    #[arg(value_name = "USER|MAC|ADDRESS")]
    pub who: Who,
    /// Flows that end at this time or later: 1h, 2d, a day (UTC) or an RFC 3339 time
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub since: Moment,
}

/// What a device is looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Its address.
    Address(IpAddr),
    /// Its MAC address.
    Mac(Mac),
    /// Its user.
    User(String),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Ok(mac) = text.parse() {
            return Ok(Self::Mac(mac));
        }
        let user = member::user(text);
        user.map(Self::User).ok_or_else(|| "not a user's name".to_owned())
    }
}

/// A line of JSON.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    seen: &'a Seen,
    #[serde(flatten)]
    sighting: Sighting,
}

const COLUMNS: [Column; 8] = [
    Column::Word("first (UTC)"),
    Column::Word("last (UTC)"),
    Column::Text("address", 16),
    Column::Word("MAC (* made up)"),
    Column::Text("host name", 10),
    Column::Text("user", 12),
    Column::Text("told by", 10),
    Column::Number("records"),
];

/// Writes where somebody was seen.
pub fn show(
    store_dir: &Path,
    args: &DeviceArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    show_at(Timestamp::now(), store_dir, args, json, out)
}

/// The same at a given time.
fn show_at(
    now: Timestamp,
    store_dir: &Path,
    args: &DeviceArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let reader = Reader::open(store_dir).context("open the store")?;
    let mut query = Query { since: Some(args.since.at(now)), ..Query::default() };
    match args.who.clone() {
        Who::Address(address) => query.device = Some(address),
        Who::Mac(mac) => query.mac = Some(mac),
        Who::User(user) => query.user = Some(user),
    }
    let sightings = reader.sightings(&query)?;
    if json {
        for (seen, sighting) in &sightings {
            table::write_json(&Shown { seen, sighting: *sighting }, out)?;
        }
        return Ok(());
    }
    if sightings.is_empty() {
        writeln!(out, "not seen")?;
        return Ok(());
    }
    Ok(table::write_table(&COLUMNS, sightings.iter().map(row), out)?)
}

fn row((seen, sighting): &(Seen, Sighting)) -> Vec<String> {
    let text = |text: &Option<String>| display_name(text.as_deref().unwrap_or("")).into_owned();
    let mac = seen.mac.map(|mac| {
        let how = if mac.is_local() { "*" } else { "" };
        format!("{mac}{how}")
    });
    vec![
        time::short(sighting.first_us),
        time::short(sighting.last_us),
        device(&seen.address.to_string(), seen.zone),
        mac.unwrap_or_default(),
        text(&seen.host_name),
        text(&seen.user),
        text(&seen.identity_source),
        sighting.records.to_string(),
    ]
}

#[cfg(test)]
mod tests {
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
        show_at(now, dir.path(), &args, json, &mut out)?;
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
                .map(|(address, user, records)| {
                    ((*address).to_owned(), (*user).to_owned(), *records)
                })
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
            &[
                ("10.0.0.5", "a.smith", 1),
                ("10.0.0.5", "b.jones", 1),
                ("2001:db8::5", "a.smith", 1),
            ],
        );
        check(
            &["10.0.0.5"],
            &[("10.0.0.5", "", 1), ("10.0.0.5", "a.smith", 1), ("10.0.0.5", "b.jones", 1)],
        );
        assert_eq!(run(&dir, &["nobody"], false).unwrap(), "not seen\n");
        assert!(run(&dir, &["a\nb"], false).unwrap_err().to_string().contains("not a user's name"));
    }
}
