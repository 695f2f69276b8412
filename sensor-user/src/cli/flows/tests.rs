//! What `flows` shows.

use std::fs;

use clap::Parser;
use jiff::Timestamp;
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use tempfile::TempDir;

use super::{FlowsArgs, flows_at, table};
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
    flows_at(now, dir.path(), &args, None, json, &mut out, &mut Vec::new())?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn the_table_fits_its_width() {
    let shown = run(&store(), &[], false).unwrap();
    assert!(shown.lines().all(|line| line.len() <= usize::from(table::TABLE_WIDTH)), "{shown}");
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
    let more = "the 2 newest are shown; --limit shows more, --after \
                1773144060000000.1773144002000000.1.2 the next";
    assert_eq!(last(&["--limit", "2"]), more);
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
        flows_at(Timestamp::UNIX_EPOCH, dir.path(), &args, None, false, &mut out, &mut Vec::new())
            .unwrap_err();
    assert!(format!("{error:#}").contains("flows-2026-03-09.db: the day file is corrupt"));
    assert_eq!(String::from_utf8(out).unwrap(), run(&store(), &[], false).unwrap());
}

#[test]
fn pages_follow_each_other() {
    let dir = store();
    let mut after = String::new();
    let mut shown = Vec::new();
    for page in 0.. {
        // The time that is counted back from is that of the first page.
        let now = NOON_US + 60_000_000 + page * 20_000_000;
        let mut arguments = vec!["flows", "--limit", "1", "--since", "59s"];
        if !after.is_empty() {
            arguments.extend(["--after", &after]);
        }
        let args = Command::try_parse_from(arguments).unwrap().flows;
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let now = Timestamp::from_microsecond(now).unwrap();
        flows_at(now, dir.path(), &args, None, true, &mut out, &mut notes).unwrap();
        let record: Record = serde_json::from_slice(&out).unwrap();
        shown.push(record.sequence);
        let note = String::from_utf8(notes).unwrap();
        let Some((_, next)) = note.trim().split_once("campus-sensor: there is more: --after ")
        else {
            assert_eq!(note, "");
            break;
        };
        after = next.to_owned();
    }
    assert_eq!(shown, [3, 2, 1]);
    let error = run(&dir, &["--after", "7"], true).unwrap_err().to_string();
    assert!(error.contains("give what the last page said after --after"), "{error}");
}
