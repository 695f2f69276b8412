//! `campus-sensor device`: where a device or a user was seen, and what was visited there, as records say it.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::flows::device;
use super::period::{LAST_DAY, Period};
use super::table::{self, Column};
use super::time;
use crate::policy::member::{self, Mac};
use crate::privacy::Pseudonyms;
use crate::record::display_name;
use crate::store::{Query, Reader, Seen, Sighting, Visits};

#[cfg(test)]
mod tests;

/// Whom to look for.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor device a.smith
  campus-sensor device 10.20.0.17 --on tuesday
  campus-sensor device 00:53:0a:00:00:07 --since 7d --sites --limit 0 --json")]
pub struct DeviceArgs {
    /// A user, a MAC address or an address
    #[arg(value_name = "USER|MAC|ADDRESS")]
    pub who: Who,
    /// When flows ended
    #[command(flatten)]
    pub period: Period,
    /// What somebody is looked for by name for, where records have pseudonyms: it is noted
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only the sites that were visited; with --json they are shown by this alone
    #[arg(long)]
    pub sites: bool,
    /// At most so many sites, those with most flows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u64,
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

impl DeviceArgs {
    /// Whom it asks for by name; an address is none.
    pub fn named(&self) -> Vec<String> {
        match &self.who {
            Who::Address(_) => Vec::new(),
            Who::Mac(mac) => vec![mac.to_string()],
            Who::User(user) => vec![user.clone()],
        }
    }
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

/// A line of JSON.
#[derive(Serialize)]
struct ShownSite<'a> {
    site: Option<&'a str>,
    verdict: &'static str,
    first_us: i64,
    last_us: i64,
    records: u64,
    flows: u64,
    unnamed_flows: u64,
    packets: u64,
    bytes: u64,
}

const SITE_COLUMNS: [Column; 7] = [
    Column::Text("site", 30),
    Column::Word("verdict"),
    Column::Word("first hour (UTC)"),
    Column::Word("last hour"),
    Column::Number("flows ended"),
    Column::Number("by DNS alone"),
    Column::Number("bytes"),
];

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

/// Writes where somebody was seen, and what was visited.
pub fn show(
    store_dir: &Path,
    args: &DeviceArgs,
    pseudonyms: Option<Pseudonyms>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    show_at(Timestamp::now(), store_dir, args, pseudonyms, json, out)
}

/// The same at a given time.
fn show_at(
    now: Timestamp,
    store_dir: &Path,
    args: &DeviceArgs,
    pseudonyms: Option<Pseudonyms>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let reader = Reader::open(store_dir).context("open the store")?;
    let (since, until) = args.period.span(now, Some(LAST_DAY));
    let mut query = Query { since, until, pseudonyms, ..Query::default() };
    match args.who.clone() {
        Who::Address(address) => query.device = Some(address),
        Who::Mac(mac) => query.mac = Some(mac),
        Who::User(user) => query.user = Some(user),
    }
    if !args.sites {
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
        table::write_table(&COLUMNS, sightings.iter().map(row), out)?;
        writeln!(out)?;
    }
    write_sites(&reader, &query, args.limit, json, out)
}

/// Writes the sites, and a line that says so where there are more.
fn write_sites(
    reader: &Reader,
    query: &Query,
    limit: u64,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let all = reader.visits(query)?;
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit)? };
    let shown = all.iter().take(limit);
    if json {
        for visits in shown {
            table::write_json(&object(visits), out)?;
        }
        return Ok(());
    }
    if all.is_empty() {
        writeln!(out, "no flows")?;
        return Ok(());
    }
    table::write_table(&SITE_COLUMNS, shown.map(site_row), out)?;
    if all.len() > limit {
        writeln!(out, "{limit} of {} are shown; --limit shows more", all.len())?;
    }
    Ok(())
}

fn object(visits: &Visits) -> ShownSite<'_> {
    ShownSite {
        site: visits.site.as_deref(),
        verdict: visits.verdict.name(),
        first_us: visits.first_us,
        last_us: visits.last_us,
        records: visits.records,
        flows: visits.flows,
        unnamed_flows: visits.unnamed_flows,
        packets: visits.packets,
        bytes: visits.bytes,
    }
}

/// Where there is no name, none is by DNS either.
fn site_row(visits: &Visits) -> Vec<String> {
    let by_dns = visits.site.as_ref().map(|_| visits.unnamed_flows.to_string());
    vec![
        visits.site.clone().unwrap_or_else(|| "(none)".to_owned()),
        visits.verdict.name().to_owned(),
        time::hour(visits.first_us),
        time::hour(visits.last_us),
        visits.flows.to_string(),
        by_dns.unwrap_or_default(),
        table::bytes(visits.bytes),
    ]
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
