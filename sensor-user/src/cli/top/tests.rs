//! What `top` shows.

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
    top_at(now, dir.path(), &args, json, &mut out, &mut Vec::new()).unwrap();
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
        run(&["--by", "site"], false),
        run(&["--by", "group,category", "--verdict", "block"], false),
        run(&["--by", "site,device", "--on", "2026-03-10"], false),
    ];
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn json_lines() {
    let shown = run(&["--by", "device"], true);
    let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = json!({
        "device": "10.0.0.5", "zone": 3, "flows": 3, "records": 3, "packets": 18, "bytes": 3060,
        "unnamed_flows": 1, "unnamed_bytes": 1020,
    });
    assert_eq!(lines[0], first);
    assert_eq!(lines.len(), 2);
}

#[test]
fn pages_follow_each_other_beside_a_writer() {
    let dir = TempDir::new().unwrap();
    let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
    let of = |site: u64, sequence: u64| Record {
        name: Some(format!("site-{site}.example")),
        ..record(sequence)
    };
    // Site 19 has nineteen flows; sites 0 to 3 have three each.
    let sites = (0..20_u64).flat_map(|site| (0..site.max(3)).map(move |_| site));
    let records: Vec<Record> = sites.zip(0..).map(|(site, sequence)| of(site, sequence)).collect();
    store.append(&records).unwrap();
    let mut pages = Vec::new();
    let mut after = String::new();
    for page in 0.. {
        let mut arguments = vec!["top", "--by", "site", "--limit", "3"];
        if !after.is_empty() {
            arguments.extend(["--after", &after]);
        }
        let args = Command::try_parse_from(arguments).unwrap().top;
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let now = Timestamp::from_microsecond(NOON_US + 60_000_000).unwrap();
        top_at(now, dir.path(), &args, true, &mut out, &mut notes).unwrap();
        let out = String::from_utf8(out).unwrap();
        let sites = out.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["site"].as_str().unwrap().to_owned()
        });
        pages.extend(sites);
        let note = String::from_utf8(notes).unwrap();
        let Some((_, next)) = note.trim().split_once("--after ") else { break };
        after = next.to_owned();
        // What was shown grows, and hours that the first page did not have fill.
        let later = Record { end_us: NOON_US + 3_600_000_000, ..of(0, 2000 + page) };
        store.append(&[of(19, 3000 + page), later]).unwrap();
    }
    let mut expected: Vec<String> =
        (4..20).rev().map(|site| format!("site-{site}.example")).collect();
    expected.extend((0..4).map(|site| format!("site-{site}.example")));
    assert_eq!(pages, expected);
}

#[test]
fn wrong_arguments_say_what_is_right() {
    let dir = TempDir::new().unwrap();
    let now = Timestamp::from_microsecond(NOON_US).unwrap();
    for by in ["site,site", "site,group,verdict"] {
        let args = Command::try_parse_from(["top", "--by", by]).unwrap().top;
        let error =
            top_at(now, dir.path(), &args, true, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("--by takes one or two different ones"), "{error}");
    }
    let check = |arguments: &[&str], expected: &str| {
        let parsed = Command::try_parse_from(["top"].iter().chain(arguments));
        let error = parsed.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&["--on", "noon"], "give a date (2026-03-10), today, yesterday or a weekday");
    check(&["--on", "today", "--since", "1h"], "cannot be used with");
    check(&["--after", "00"], "give what the last page said after --after");
}
