//! `campus-sensor top`: where flows and bytes go.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::flows::device;
use super::table::{self, Column};
use super::time::Moment;
use crate::store::{Query, Reader, TopBy, TopOrder, TopRow};

/// What to sum up.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor top --by category
  campus-sensor top --by device --since 7d --sort bytes --limit 50
  campus-sensor top --by device --sort unnamed
  campus-sensor top --by reason --device 10.20.0.5")]
pub struct TopArgs {
    /// What to sum by
    #[arg(long, value_enum, default_value_t = By::Name)]
    pub by: By,
    /// Flows that end at this time or later: 1h, 2d, a day (UTC) or an RFC 3339 time
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub since: Moment,
    /// Only flows of this device
    #[arg(long, value_name = "ADDRESS")]
    pub device: Option<IpAddr>,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Flows)]
    pub sort: Sort,
    /// At most so many rows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u64,
}

/// [`TopBy`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The name
    Name,
    /// The device
    Device,
    /// The category; a flow with two counts for both
    Category,
    /// The verdict
    Verdict,
    /// The group of the device
    Group,
    /// Why flows have no name
    Reason,
    /// The interface
    Interface,
}

/// [`TopOrder`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Most flows first
    Flows,
    /// Most bytes first
    Bytes,
    /// Most bytes without a usable name first
    Unnamed,
}

impl By {
    const fn title(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Device => "device",
            Self::Category => "category",
            Self::Verdict => "verdict",
            Self::Group => "group",
            Self::Reason => "reason",
            Self::Interface => "interface",
        }
    }
}

impl From<By> for TopBy {
    fn from(by: By) -> Self {
        match by {
            By::Name => Self::Name,
            By::Device => Self::Device,
            By::Category => Self::Category,
            By::Verdict => Self::Verdict,
            By::Group => Self::Group,
            By::Reason => Self::Reason,
            By::Interface => Self::Interface,
        }
    }
}

impl From<Sort> for TopOrder {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Flows => Self::Flows,
            Sort::Bytes => Self::Bytes,
            Sort::Unnamed => Self::Unnamed,
        }
    }
}

/// Writes the sums asked for.
pub fn top(
    store_dir: &Path,
    args: &TopArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    top_at(Timestamp::now(), store_dir, args, json, out)
}

/// The same at a given time.
fn top_at(
    now: Timestamp,
    store_dir: &Path,
    args: &TopArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let query = Query {
        since: Some(args.since.at(now)),
        device: args.device,
        limit: (args.limit > 0).then_some(args.limit),
        ..Query::default()
    };
    let reader = Reader::open(store_dir).context("open the store")?;
    let rows = reader.top(args.by.into(), args.sort.into(), &query).context("sum up the store")?;
    if json {
        return rows.iter().try_for_each(|row| Ok(table::write_json(&object(args.by, row), out)?));
    }
    if rows.is_empty() {
        writeln!(out, "no flows")?;
        return Ok(());
    }
    let columns = [
        Column::Text(args.by.title(), 10),
        Column::Number("flows ended"),
        Column::Number("packets"),
        Column::Number("bytes"),
        Column::Number("unnamed flows"),
        Column::Number("unnamed bytes"),
    ];
    let rows = rows.into_iter().map(|row| {
        let key = match (row.key, row.zone) {
            (Some(address), Some(zone)) => device(&address, zone),
            (Some(key), None) => key,
            (None, _) => "(none)".to_owned(),
        };
        vec![
            key,
            row.flows.to_string(),
            row.packets.to_string(),
            table::bytes(row.bytes),
            row.unnamed.flows.to_string(),
            table::bytes(row.unnamed.bytes),
        ]
    });
    table::write_table(&columns, rows, out)?;
    Ok(())
}

/// A row as JSON; what is summed by is a key of that name.
fn object(by: By, row: &TopRow) -> Value {
    let mut object = json!({
        by.title(): row.key,
        "flows": row.flows,
        "records": row.records,
        "packets": row.packets,
        "bytes": row.bytes,
        "unnamed_flows": row.unnamed.flows,
        "unnamed_bytes": row.unnamed.bytes,
    });
    if let (Some(zone), Some(fields)) = (row.zone, object.as_object_mut()) {
        fields.insert("zone".to_owned(), zone.into());
    }
    object
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::{TopArgs, top_at};
    use crate::record::Record;
    use crate::record::sample::{NOON_US, record, unnamed};
    use crate::store::DayStore;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        top: TopArgs,
    }

    fn run(arguments: &[&str], json: bool) -> String {
        let dir = TempDir::new().unwrap();
        let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
        let hostile = Some("\u{1b}]0;x\u{7}.example.org".to_owned());
        store
            .append(&[
                record(0),
                record(1),
                Record { name: hostile, zone: 0, bytes_to_lan: 5_000_000, ..record(2) },
                unnamed(3),
            ])
            .unwrap();
        let args = Command::try_parse_from(["top"].iter().chain(arguments)).unwrap().top;
        let now = Timestamp::from_microsecond(NOON_US + 60_000_000).unwrap();
        let mut out = Vec::new();
        top_at(now, dir.path(), &args, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables() {
        let shown = [
            run(&[], false),
            run(&["--by", "device", "--sort", "bytes"], false),
            run(&["--by", "category", "--limit", "1"], false),
            run(&["--by", "verdict", "--sort", "unnamed"], false),
            run(&["--since", "1s"], false),
        ];
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn json_lines() {
        let shown = run(&["--by", "device"], true);
        let lines: Vec<Value> =
            shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = json!({
            "device": "10.0.0.5", "zone": 3, "flows": 3, "records": 3, "packets": 18, "bytes": 3060,
            "unnamed_flows": 1, "unnamed_bytes": 1020,
        });
        assert_eq!(lines[0], first);
        assert_eq!(lines.len(), 2);
    }
}
