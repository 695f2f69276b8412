//! `campus-sensor flows`: records of the store, newest first.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use sensor_ebpf::abi::{NameSource, Verdict};

use super::period::Period;
use super::table::{self, Cell, Column};
use super::time;
use crate::identity::{Confidence, Source};
use crate::policy::member::{self, Mac};
use crate::privacy::Pseudonyms;
use crate::record::{Named as _, Record};
use crate::store::{Query, Reader};

mod cursor;
#[cfg(test)]
mod tests;

pub use cursor::Cursor;

/// Rows a table holds in memory, about 10 MiB; CSV and JSON are written as they are read.
const TABLE_ROWS_MAX: u64 = 10_000;

/// What to show of the store.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor flows --since 1h --verdict block
  campus-sensor flows --device 10.20.0.17 --on tuesday
  campus-sensor flows --since 2026-03-10 --until 2026-03-11T12:00:00Z
  campus-sensor flows --name example.org --limit 0 --csv > example.csv")]
pub struct FlowsArgs {
    /// When they ended
    #[command(flatten)]
    pub period: Period,
    /// Flows of this address
    #[arg(long, value_name = "ADDR")]
    pub device: Option<IpAddr>,
    /// Flows of the device with this MAC address
    #[arg(long, value_parser = mac)]
    pub mac: Option<Mac>,
    /// Flows of this user
    #[arg(long, value_parser = user)]
    pub user: Option<String>,
    /// Flows to this name or one below it
    #[arg(long, value_name = "SUFFIX", value_parser = suffix)]
    pub name: Option<String>,
    /// Flows with this verdict: undecided, allow, alert or block
    #[arg(long, value_parser = verdict)]
    pub verdict: Option<Verdict>,
    /// Flows with this category among theirs
    #[arg(long)]
    pub category: Option<String>,
    /// Flows of this group
    #[arg(long)]
    pub group: Option<String>,
    /// What somebody is looked for by name for, where records have pseudonyms: it is noted
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// At most so many flows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u64,
    /// The next page: flows behind where the last one ended, as it says
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<Cursor>,
    /// Write CSV with every field
    #[arg(long)]
    pub csv: bool,
}

impl FlowsArgs {
    /// Whom it asks for by name.
    pub fn named(&self) -> Vec<String> {
        self.user.iter().cloned().chain(self.mac.map(|mac| mac.to_string())).collect()
    }
}

/// A name as the store has it: canonical, without what stands for "anything below".
fn suffix(text: &str) -> Result<String, String> {
    let name = text.trim().trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.');
    if name.is_empty() {
        return Err("not a name; give one like example.org".to_owned());
    }
    idna::domain_to_ascii(name).map_err(|error| format!("not a name: {error}"))
}

fn mac(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|()| "not a MAC address; give one like 00:53:0a:00:00:07".to_owned())
}

fn user(text: &str) -> Result<String, String> {
    member::user(text).ok_or_else(|| "not a user's name".to_owned())
}

/// A verdict by its name.
pub(super) fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::of(text).ok_or_else(|| {
        let names: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
        format!("give one of {}", names.join(", "))
    })
}

/// Writes the flows asked for to `out`, and to `notes` where the next page begins, unless a table says so.
pub fn flows(
    store_dir: &Path,
    args: &FlowsArgs,
    pseudonyms: Option<Pseudonyms>,
    json: bool,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    flows_at(Timestamp::now(), store_dir, args, pseudonyms, json, out, notes)
}

/// The same at a given time.
fn flows_at(
    now: Timestamp,
    store_dir: &Path,
    args: &FlowsArgs,
    pseudonyms: Option<Pseudonyms>,
    json: bool,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    if json && args.csv {
        bail!("--json and --csv exclude one another");
    }
    let reader = Reader::open(store_dir).context("open the store")?;
    // What is counted back from now is counted back from when the first page was asked for.
    let now = args.after.map_or(now, Cursor::asked_at);
    let (since, until) = args.period.span(now, None);
    let query = Query {
        since,
        until,
        device: args.device,
        mac: args.mac,
        user: args.user.clone(),
        name: args.name.clone(),
        verdict: args.verdict,
        category: args.category.clone(),
        group: args.group.clone(),
        limit: (args.limit > 0).then_some(args.limit),
        after: args.after.map(Cursor::position),
        pseudonyms,
        ..Query::default()
    };
    if json {
        let next = page(&reader, now, &query, |record| Ok(table::write_json(record, out)?))?;
        return note(next, notes);
    }
    if args.csv {
        table::write_csv(CSV_HEADER.map(Cell::Text), out)?;
        let next = page(&reader, now, &query, |record| Ok(write_csv(record, out)?))?;
        return note(next, notes);
    }
    write_table(&reader, now, query, out)
}

/// Gives a page of records to `each`, and tells where the next one begins, if there is one.
fn page(
    reader: &Reader,
    now: Timestamp,
    query: &Query,
    mut each: impl FnMut(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Cursor>> {
    let limit = query.limit.unwrap_or(u64::MAX);
    let mut shown = 0;
    let mut last = None;
    let mut more = false;
    // One more than is shown tells whether there is more.
    let query = Query { limit: Some(limit.saturating_add(1)), ..query.clone() };
    reader.visit(&query, |record| {
        if shown == limit {
            more = true;
            return Ok(());
        }
        each(&record)?;
        shown += 1;
        last = Some(record);
        anyhow::Ok(())
    })?;
    let Some(last) = last.filter(|_| more) else { return Ok(None) };
    Ok(Some(Cursor::new(now, reader.position(&last)?)))
}

fn note(next: Option<Cursor>, notes: &mut impl Write) -> anyhow::Result<()> {
    if let Some(next) = next {
        writeln!(notes, "campus-sensor: there is more: --after {next}")?;
    }
    Ok(())
}

/// Writes a table, and a line that says so where there is more.
fn write_table(
    reader: &Reader,
    now: Timestamp,
    query: Query,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let limit = query.limit.unwrap_or(TABLE_ROWS_MAX).min(TABLE_ROWS_MAX);
    let mut rows = Vec::new();
    // What was read before an error is shown.
    let outcome = page(reader, now, &Query { limit: Some(limit), ..query }, |record| {
        rows.push(row(record));
        Ok(())
    });
    if rows.is_empty() {
        writeln!(out, "no flows")?;
    } else {
        table::write_table(&COLUMNS, rows, out)?;
    }
    let Some(next) = outcome? else { return Ok(()) };
    let more = if limit == TABLE_ROWS_MAX { "--csv and --json show" } else { "--limit shows" };
    writeln!(out, "the {limit} newest are shown; {more} more, --after {next} the next")?;
    Ok(())
}

const COLUMNS: [Column; 8] = [
    Column::Word("time (UTC)"),
    Column::Text("device", 16),
    Column::Text("name", 34),
    Column::Word("verdict"),
    Column::Text("category", 17),
    Column::Text("group", 9),
    Column::Number("bytes"),
    Column::Number("packets"),
];

fn row(record: &Record) -> Vec<String> {
    vec![
        time::short(record.end_us),
        device(&record.device.to_string(), record.zone),
        name(record),
        record.verdict.name().to_owned(),
        record.categories.join(", "),
        record.group.clone().unwrap_or_default(),
        table::bytes(record.bytes()),
        record.packets().to_string(),
    ]
}

/// A name that only DNS gave for the address stands behind the reason that there is none better.
fn name(record: &Record) -> String {
    let reason = record.no_name.name();
    match &record.name {
        Some(name) if record.name_source == NameSource::DnsAnswer => format!("({reason}) {name}"),
        Some(name) => name.clone(),
        None => format!("({reason})"),
    }
}

/// A device as tables show it; the zone only where there are several.
pub(super) fn device(address: &str, zone: u16) -> String {
    if zone == 0 { address.to_owned() } else { format!("{address} zone {zone}") }
}

const CSV_HEADER: [&str; 41] = [
    "start",
    "end",
    "device",
    "device_port",
    "mac",
    "mac_randomised",
    "host_name",
    "user",
    "identity_source",
    "identity_confidence",
    "peer",
    "peer_port",
    "protocol",
    "zone",
    "interface",
    "packets_to_peer",
    "bytes_to_peer",
    "packets_to_lan",
    "bytes_to_lan",
    "name",
    "name_source",
    "no_name",
    "verdict",
    "categories",
    "list",
    "policy",
    "group",
    "tls_version",
    "alpn",
    "ech",
    "ja4",
    "application",
    "quic_version",
    "quic_datagrams",
    "end_reason",
    "initiator",
    "sensor",
    "boot",
    "sequence",
    "flow_id",
    "schema_version",
];

/// Every field, in the order of [`CSV_HEADER`]. Categories share a cell, parted by a
/// space, and so do application protocols.
fn write_csv(record: &Record, out: &mut impl Write) -> std::io::Result<()> {
    let optional = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let cells: [Cell<'_>; 41] = [
        Cell::Text(&time::full(record.start_us)),
        Cell::Text(&time::full(record.end_us)),
        Cell::Text(&record.device.to_string()),
        Cell::Number(record.device_port.into()),
        Cell::Text(&record.mac.map(|mac| mac.to_string()).unwrap_or_default()),
        Cell::Text(&record.mac_randomised.map(|is| is.to_string()).unwrap_or_default()),
        Cell::Text(&optional(&record.host_name)),
        Cell::Text(&optional(&record.user)),
        Cell::Text(record.identity_source.map(Source::name).unwrap_or_default()),
        Cell::Text(record.identity_confidence.map(Confidence::name).unwrap_or_default()),
        Cell::Text(&record.peer.to_string()),
        Cell::Number(record.peer_port.into()),
        Cell::Number(record.protocol.into()),
        Cell::Number(record.zone.into()),
        Cell::Text(&record.interface),
        Cell::Number(record.packets_to_peer),
        Cell::Number(record.bytes_to_peer),
        Cell::Number(record.packets_to_lan),
        Cell::Number(record.bytes_to_lan),
        Cell::Text(&optional(&record.name)),
        Cell::Text(record.name_source.name()),
        Cell::Text(record.no_name.name()),
        Cell::Text(record.verdict.name()),
        Cell::Text(&record.categories.join(" ")),
        Cell::Text(&optional(&record.list)),
        Cell::Text(&optional(&record.policy)),
        Cell::Text(&optional(&record.group)),
        Cell::Text(&optional(&record.tls_version)),
        Cell::Text(&record.alpn.join(" ")),
        Cell::Text(&record.ech.map(|ech| ech.to_string()).unwrap_or_default()),
        Cell::Text(&optional(&record.ja4)),
        Cell::Text(&optional(&record.application)),
        Cell::Text(&optional(&record.quic_version)),
        Cell::Text(&record.quic_datagrams.map(|count| count.to_string()).unwrap_or_default()),
        Cell::Text(record.end_reason.name()),
        Cell::Text(record.initiator.name()),
        Cell::Text(&record.sensor),
        Cell::Text(&record.boot),
        Cell::Number(record.sequence),
        Cell::Text(&format!("{:016x}", record.flow_id)),
        Cell::Number(record.schema_version.into()),
    ];
    table::write_csv(cells, out)
}
