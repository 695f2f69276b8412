//! `campus-sensor flows`: records of the store, newest first.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use sensor_ebpf::abi::{NameSource, Verdict};

use super::table::{self, Cell, Column};
use super::time::{self, Moment};
use crate::identity::{Confidence, Source};
use crate::policy::member::{self, Mac};
use crate::record::{Named as _, Record};
use crate::store::{Query, Reader};

/// Rows a table holds in memory, about 10 MiB; CSV and JSON are written as they are read.
const TABLE_ROWS_MAX: u64 = 10_000;

/// What to show of the store.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor flows --since 1h --verdict block
  campus-sensor flows --device 10.20.0.17 --since 2026-03-10 --until 2026-03-11
  campus-sensor flows --name example.org --limit 0 --csv > example.csv")]
pub struct FlowsArgs {
    /// Flows that end at this time or later: 1h, 2d, a day (UTC) or an RFC 3339 time
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Flows that end before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
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
    /// At most so many flows; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u64,
    /// Write CSV with every field
    #[arg(long)]
    pub csv: bool,
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
fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::of(text).ok_or_else(|| {
        let names: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
        format!("give one of {}", names.join(", "))
    })
}

/// Writes the flows asked for.
pub fn flows(
    store_dir: &Path,
    args: &FlowsArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    flows_at(Timestamp::now(), store_dir, args, json, out)
}

/// The same at a given time.
fn flows_at(
    now: Timestamp,
    store_dir: &Path,
    args: &FlowsArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if json && args.csv {
        bail!("--json and --csv exclude one another");
    }
    let reader = Reader::open(store_dir).context("open the store")?;
    let query = Query {
        since: args.since.map(|since| since.at(now)),
        until: args.until.map(|until| until.at(now)),
        device: args.device,
        mac: args.mac,
        user: args.user.clone(),
        name: args.name.clone(),
        verdict: args.verdict,
        category: args.category.clone(),
        group: args.group.clone(),
        limit: (args.limit > 0).then_some(args.limit),
        ..Query::default()
    };
    if json {
        reader.visit(&query, |record| anyhow::Ok(table::write_json(&record, out)?))?;
        return Ok(());
    }
    if args.csv {
        table::write_csv(CSV_HEADER.map(Cell::Text), out)?;
        reader.visit(&query, |record| anyhow::Ok(write_csv(&record, out)?))?;
        return Ok(());
    }
    write_table(&reader, query, out)
}

/// Writes a table, and a line that says so where there is more.
fn write_table(reader: &Reader, query: Query, out: &mut impl Write) -> anyhow::Result<()> {
    let limit = query.limit.unwrap_or(TABLE_ROWS_MAX).min(TABLE_ROWS_MAX);
    let mut rows = Vec::new();
    // One more than is shown tells whether there is more. What was read before an error is shown.
    let outcome = reader.visit(&Query { limit: Some(limit + 1), ..query }, |record| {
        rows.push(row(&record));
        anyhow::Ok(())
    });
    let more = rows.len() as u64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    if rows.is_empty() {
        writeln!(out, "no flows")?;
    } else {
        table::write_table(&COLUMNS, rows, out)?;
    }
    if more && limit == TABLE_ROWS_MAX {
        writeln!(out, "the {limit} newest are shown; --csv and --json show more")?;
    } else if more {
        writeln!(out, "the {limit} newest are shown; --limit shows more")?;
    }
    outcome.map(|_visited| ())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use jiff::Timestamp;
    use sensor_ebpf::abi::{NameSource, NoName, Verdict};
    use tempfile::TempDir;

    use super::{FlowsArgs, flows_at};
    use crate::record::Record;
    use crate::record::sample::{NOON_US, record, unnamed};
    use crate::store::DayStore;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flows: FlowsArgs,
    }

    const HOSTILE: &str = "=\u{1b}[2J\u{202e}\",\n\\evil.example.org";

    fn store() -> TempDir {
        let dir = TempDir::new().unwrap();
        let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
        let long = "a-rather-long-label.and-another-one.content-delivery.cdn.example.org";
        store
            .append(&[
                Record { zone: 0, ..record(0) },
                Record { end_us: NOON_US + 1_000_000, zone: 0, ..unnamed(1) },
                Record {
                    end_us: NOON_US + 2_000_000,
                    device: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap(),
                    bytes_to_lan: 1_234_567_890,
                    packets_to_lan: 900_000,
                    name: Some(long.into()),
                    ..record(2)
                },
                Record { end_us: NOON_US + 3_000_000, name: Some(HOSTILE.into()), ..record(3) },
            ])
            .unwrap();
        dir
    }

    fn run(dir: &TempDir, arguments: &[&str], json: bool) -> anyhow::Result<String> {
        let arguments = ["flows"].iter().chain(arguments);
        let args = Command::try_parse_from(arguments)?.flows;
        let now = Timestamp::from_microsecond(NOON_US + 60_000_000)?;
        let mut out = Vec::new();
        flows_at(now, dir.path(), &args, json, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn the_table_fits_its_width() {
        let shown = run(&store(), &[], false).unwrap();
        assert!(
            shown.lines().all(|line| line.len() <= usize::from(super::table::TABLE_WIDTH)),
            "{shown}"
        );
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn a_flow_without_a_name_shows_the_reason() {
        for reason in NoName::ALL.iter().copied().filter(|reason| *reason != NoName::Named) {
            let dir = TempDir::new().unwrap();
            let blocked = Record { no_name: reason, verdict: Verdict::Block, ..unnamed(0) };
            DayStore::open(dir.path(), "gw-1").unwrap().append(&[blocked]).unwrap();
            let shown = run(&dir, &["--verdict", "block"], false).unwrap();
            assert!(shown.contains(&format!("({}) ", reason.name())), "{shown}");
        }
    }

    #[test]
    fn a_name_that_only_dns_gave_shows_the_reason_too() {
        let dir = TempDir::new().unwrap();
        let name = Some("asked.example".to_owned());
        let (name_source, no_name) = (NameSource::DnsAnswer, NoName::NoSni);
        let flow = Record { name, name_source, no_name, ..unnamed(0) };
        DayStore::open(dir.path(), "gw-1").unwrap().append(&[flow]).unwrap();
        let shown = run(&dir, &[], false).unwrap();
        assert!(shown.contains("(no-sni) asked.example"), "{shown}");
    }

    #[test]
    fn the_table_says_when_there_is_more() {
        let dir = store();
        let last = |arguments: &[&str]| {
            run(&dir, arguments, false).unwrap().lines().last().map(str::to_owned).unwrap()
        };
        assert_eq!(last(&["--limit", "2"]), "the 2 newest are shown; --limit shows more");
        assert!(!last(&["--limit", "4"]).contains("shown"));
        assert!(!last(&["--limit", "0"]).contains("shown"));
        assert_eq!(last(&["--group", "nobody"]), "no flows");
    }

    #[test]
    fn csv_has_every_field_and_no_formula() {
        let shown = run(&store(), &["--csv"], false).unwrap();
        let header = shown.lines().next().unwrap();
        let json = serde_json::to_value(record(0)).unwrap();
        for key in json.as_object().unwrap().keys() {
            let key = key.trim_end_matches("_us");
            assert!(header.contains(&format!("\"{key}\"")), "{key} in {header}");
        }
        assert_eq!(shown.split("\r\n").count(), 6);
        insta::assert_snapshot!(shown.replace("\r\n", "\n"));
    }

    #[test]
    fn json_is_the_whole_record() {
        let shown = run(&store(), &[], true).unwrap();
        assert!(shown.is_ascii());
        let records: Vec<Record> =
            shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 4);
        assert_eq!(records[0].name.as_deref(), Some(HOSTILE));
        assert_eq!(records[3], Record { zone: 0, ..record(0) });
    }

    #[test]
    fn arguments_filter() {
        let dir = store();
        let check = |arguments: &[&str], expected: &[u64]| {
            let shown = run(&dir, arguments, true).unwrap();
            let sequence = |line| serde_json::from_str::<Record>(line).unwrap().sequence;
            assert_eq!(shown.lines().map(sequence).collect::<Vec<_>>(), expected, "{arguments:?}");
        };
        check(&["--since", "58s"], &[3, 2]);
        check(&["--until", "2026-03-10T12:00:01Z"], &[0]);
        check(&["--since", "2026-03-11"], &[]);
        check(&["--device", "2001:db8:1234:5678:9abc:def0:1234:5678"], &[2]);
        check(&["--user", "A.Smith"], &[3, 2, 0]);
        check(&["--user", "b.jones"], &[]);
        check(&["--mac", "02-53-00-00-00-07", "--verdict", "block"], &[3, 2, 0]);
        check(&["--mac", "00:53:00:00:00:07"], &[]);
        check(&["--name", "*.Example.org."], &[3, 2, 0]);
        check(&["--name", "cdn.example.org", "--verdict", "block"], &[2]);
        check(&["--verdict", "undecided"], &[1]);
        check(&["--category", "adult", "--group", "students", "--limit", "1"], &[3]);
    }

    #[test]
    fn wrong_arguments_say_what_is_right() {
        let dir = store();
        let check = |arguments: &[&str], expected: &str| {
            let error = run(&dir, arguments, true).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&["--verdict", "blocked"], "give one of undecided, allow, alert, block");
        check(&["--since", "noon"], "give how long ago (30m, 1h, 2d)");
        check(&["--mac", "7"], "give one like 00:53:0a:00:00:07");
        check(&["--name", "*."], "give one like example.org");
        check(&["--csv"], "--json and --csv exclude one another");
    }

    #[test]
    fn rows_before_an_unreadable_day_are_shown_and_the_command_fails() {
        let dir = store();
        fs::write(dir.path().join("flows-2026-03-09.db"), "nothing a store would have written")
            .unwrap();
        let args = Command::try_parse_from(["flows"]).unwrap().flows;
        let mut out = Vec::new();
        let error =
            flows_at(Timestamp::UNIX_EPOCH, dir.path(), &args, false, &mut out).unwrap_err();
        assert!(format!("{error:#}").contains("flows-2026-03-09.db: the day file is corrupt"));
        assert_eq!(String::from_utf8(out).unwrap(), run(&store(), &[], false).unwrap());
    }
}
