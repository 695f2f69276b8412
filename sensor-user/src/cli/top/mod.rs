//! `campus-sensor top`: where flows and bytes go.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use sensor_ebpf::abi::Verdict;
use serde_json::{Value, json};

use super::flows::{device, verdict};
use super::period::{LAST_DAY, Period};
use super::table::{self, Column};
use crate::store::{Query, Reader, TopBy, TopOrder, TopRow};

mod cursor;
#[cfg(test)]
mod tests;

pub use cursor::Cursor;

/// What sums are told apart by at most: a third makes rows that nobody reads.
const KEYS_MAX: usize = 2;

/// What to sum up.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor top --by category
  campus-sensor top --by site --on yesterday --group pupils
  campus-sensor top --by group,category --verdict block --since 30d
  campus-sensor top --by device --since 7d --sort bytes --limit 50
  campus-sensor top --by device --sort unnamed
  campus-sensor top --by reason --device 10.20.0.5")]
pub struct TopArgs {
    /// What to sum by, two at most: `group,category` is each category in each group
    #[arg(long, value_enum, value_delimiter = ',', default_value = "name")]
    pub by: Vec<By>,
    /// When they ended
    #[command(flatten)]
    pub period: Period,
    /// Only flows of this device
    #[arg(long, value_name = "ADDRESS")]
    pub device: Option<IpAddr>,
    /// Only flows of this group
    #[arg(long)]
    pub group: Option<String>,
    /// Only flows with this category among theirs
    #[arg(long)]
    pub category: Option<String>,
    /// Only flows with this verdict: undecided, allow, alert or block
    #[arg(long, value_parser = verdict)]
    pub verdict: Option<Verdict>,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Flows)]
    pub sort: Sort,
    /// At most so many rows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u64,
    /// The next page: rows behind where the last one ended, as it says with --json
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<Cursor>,
}

/// [`TopBy`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The name
    Name,
    /// The site: the registrable domain of the name, such as example.co.uk
    Site,
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
            Self::Site => "site",
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
            By::Site => Self::Site,
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

/// Writes the sums asked for to `out`. With `json`, where the next page begins goes to `notes`.
pub fn top(
    store_dir: &Path,
    args: &TopArgs,
    json: bool,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    top_at(Timestamp::now(), store_dir, args, json, out, notes)
}

/// The same at a given time.
fn top_at(
    now: Timestamp,
    store_dir: &Path,
    args: &TopArgs,
    json: bool,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    let twice = |(at, by): (usize, &By)| args.by.iter().skip(at + 1).any(|other| other == by);
    if args.by.len() > KEYS_MAX || args.by.iter().enumerate().any(twice) {
        bail!("--by takes one or two different ones, as in --by group,category");
    }
    let first_asked = args.after.as_ref().map_or(now, Cursor::asked_at);
    let (since, until) = args.period.span(first_asked, Some(LAST_DAY));
    let query = Query {
        since,
        // Later pages have no hours that the first one did not have.
        until: until.or_else(|| args.after.as_ref().map(Cursor::until)),
        device: args.device,
        group: args.group.clone(),
        category: args.category.clone(),
        verdict: args.verdict,
        ..Query::default()
    };
    let by: Vec<TopBy> = args.by.iter().copied().map(TopBy::from).collect();
    let order = args.sort.into();
    let reader = Reader::open(store_dir).context("open the store")?;
    let mut rows = reader.top(&by, order, &query).context("sum up the store")?;
    if let Some(after) = &args.after {
        rows.retain(|row| after.is_before(order, row));
    }
    let limit = if args.limit == 0 { usize::MAX } else { usize::try_from(args.limit)? };
    let all = rows.len();
    let more = all > limit;
    rows.truncate(limit);
    if json {
        for row in &rows {
            table::write_json(&object(&args.by, row), out)?;
        }
        let next = rows.last().filter(|_| more).map(|row| Cursor::new(first_asked, order, row));
        if let Some(next) = next {
            writeln!(notes, "campus-sensor: there is more: --after {next}")?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "no flows")?;
        return Ok(());
    }
    write_table(&args.by, &rows, out)?;
    if more {
        writeln!(out, "{limit} of {all} are shown; --limit shows more")?;
    }
    Ok(())
}

fn write_table(by: &[By], rows: &[TopRow], out: &mut impl Write) -> anyhow::Result<()> {
    let keys = by.iter().map(|by| Column::Text(by.title(), 10));
    let sums = ["flows ended", "packets", "bytes", "unnamed flows", "unnamed bytes"];
    let columns: Vec<Column> = keys.chain(sums.map(Column::Number)).collect();
    let rows = rows.iter().map(|row| {
        let keys = by.iter().zip(&row.keys).map(|(by, key)| match (by, key, row.zone) {
            (By::Device, Some(address), Some(zone)) => device(address, zone),
            (_, Some(key), _) => key.clone(),
            (_, None, _) => "(none)".to_owned(),
        });
        let sums = [
            row.flows.to_string(),
            row.packets.to_string(),
            table::bytes(row.bytes),
            row.unnamed.flows.to_string(),
            table::bytes(row.unnamed.bytes),
        ];
        keys.chain(sums).collect()
    });
    table::write_table(&columns, rows, out)?;
    Ok(())
}

/// A row as JSON; what is summed by is a key of that name.
fn object(by: &[By], row: &TopRow) -> Value {
    let mut object = json!({
        "flows": row.flows,
        "records": row.records,
        "packets": row.packets,
        "bytes": row.bytes,
        "unnamed_flows": row.unnamed.flows,
        "unnamed_bytes": row.unnamed.bytes,
    });
    if let Some(fields) = object.as_object_mut() {
        for (by, key) in by.iter().zip(&row.keys) {
            fields.insert(by.title().to_owned(), json!(key));
        }
        if let Some(zone) = row.zone {
            fields.insert("zone".to_owned(), zone.into());
        }
    }
    object
}
