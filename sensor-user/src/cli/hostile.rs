//! Names that strangers chose, through every output there is.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use rusqlite::Connection;
use sensor_ebpf::abi::NAME_MAX;
use tempfile::TempDir;

use super::{flows, top, why};
use crate::record::sample::record;
use crate::record::{Record, name_of_bytes};
use crate::replay::{Row, write_row};
use crate::store::{DayStore, Query, Reader};

/// Names as they may come off the wire.
pub(super) const NAMES: &[&[u8]] = &[
    b"evil\x1b[2J\x1b[31m",
    b"\x1b]0;evil\x07",
    b"evil\x9b2J",
    b"evil\xc2\x9b2J",
    b"evil\nverdict allow",
    b"evil\r\n\"2026-03-10\",\"10.0.0.9\"\r\n",
    b"\revil",
    b"evil\x08\x08\x08\x7f",
    b"evil\0.example",
    b"\0",
    b"\xff\xfe evil \xc3\x28",
    b"\xc0\x8aevil",
    "evil\u{202e}gro.elpmaxe".as_bytes(),
    "evil\u{2028}line\u{85}line".as_bytes(),
    "ev\u{200d}\u{456}l".as_bytes(),
    b"evil\",\"x",
    b"'evil', \"evil\"",
    b"{\"name\":\"evil\"}",
    b"=cmd|' /C calc'!A0",
    b"+evil",
    b"-evil",
    b"@evil",
    b"\t=evil",
    b"  =evil",
    b"\\x1b[2Jevil\\",
    b"%0aevil%00",
    b"evil'); DROP TABLE flows; --",
    b"<script>evil</script>",
    b"$(evil) `evil`",
    b"evil.example          999        1234      1.0 GB",
    &[b'e'; NAME_MAX],
    &[b'\n'; NAME_MAX],
    &[b' '; NAME_MAX],
    &[0xff; NAME_MAX],
    b"",
];

/// The day of the records.
const TODAY: &str = "flows-2026-03-10.db";

/// Fields of a record, and so cells of a line of CSV.
const CELLS: usize = 41;

#[derive(Parser)]
enum Command {
    Flows(flows::FlowsArgs),
    Top(top::TopArgs),
}

/// Records with these names, which also are their first application protocols.
fn named(names: &[String]) -> Vec<Record> {
    let one = |(sequence, name): (u64, &String)| Record {
        name: Some(name.clone()),
        alpn: vec![name.clone(), "h2".to_owned()],
        ..record(sequence)
    };
    (0..).zip(names).map(one).collect()
}

fn stored(records: &[Record]) -> TempDir {
    let dir = TempDir::new().unwrap();
    DayStore::open(dir.path(), "gw-1").unwrap().append(records).unwrap();
    dir
}

/// The names as records have them.
fn kept() -> Vec<String> {
    NAMES.iter().map(|name| name_of_bytes(name)).collect()
}

/// What a command writes about a store.
fn written(dir: &TempDir, arguments: &[&str], json: bool) -> String {
    let mut out = Vec::new();
    let command = Command::try_parse_from(["campus-sensor"].iter().chain(arguments)).unwrap();
    match command {
        Command::Flows(args) => {
            flows::flows(dir.path(), &args, None, json, &mut out, &mut Vec::new()).unwrap();
        }
        Command::Top(args) => top::top(dir.path(), &args, json, &mut out, &mut Vec::new()).unwrap(),
    }
    String::from_utf8(out).unwrap()
}

/// What `why` says of a name, or why it says nothing.
fn explained(name: &str, json: bool) -> String {
    let dir = TempDir::new().unwrap();
    let policy = dir.path().join("policy.toml");
    let groups = r#"group = [{ name = "all" }]"#;
    fs::write(&policy, format!("version = \"1\"\ndefault_group = \"all\"\n{groups}")).unwrap();
    let args = why::WhyArgs { name: Some(name.to_owned()), ..why::WhyArgs::default() };
    let mut out = Vec::new();
    match why::why(&policy, dir.path(), &args, json, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(error) => format!("{error:#}\n"),
    }
}

/// What `replay` writes of a name.
fn replayed(name: &str, json: bool) -> String {
    let row = Row {
        pcap: name.to_owned(),
        src: [10, 0, 0, 5].into(),
        sport: 50_123,
        dst: [192, 0, 2, 80].into(),
        dport: 443,
        proto: "tcp".to_owned(),
        kind: "tls",
        name: name.to_owned(),
    };
    let mut out = Vec::new();
    write_row(&row, json, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What an SQL expression over the view of a day file comes to, a line a record.
fn viewed(dir: &TempDir, expression: &str) -> String {
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    let mut statement = connection.prepare(&format!("SELECT {expression} FROM records")).unwrap();
    let lines = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    lines.map(|line| line.unwrap() + "\n").collect()
}

/// Every output about these names, by what it is.
fn outputs(names: &[String]) -> Vec<(&'static str, String)> {
    let dir = stored(&named(names));
    let top = ["top", "--since", "2026-01-01", "--limit", "0"];
    let each = |write: fn(&str, bool) -> String, json| -> String {
        names.iter().map(|name| write(name, json)).collect()
    };
    vec![
        ("flows", written(&dir, &["flows"], false)),
        ("flows --csv", written(&dir, &["flows", "--csv"], false)),
        ("flows --json", written(&dir, &["flows"], true)),
        ("top", written(&dir, &top, false)),
        ("top --json", written(&dir, &top, true)),
        ("replay", each(replayed, false)),
        ("replay --json", each(replayed, true)),
        ("why", each(explained, false)),
        ("why --json", each(explained, true)),
    ]
}

/// Nothing that steers a terminal or begins a line that is not one.
fn check_plain(what: &str, text: &str) {
    let text = if what.ends_with("--csv") { text.replace("\r\n", "\n") } else { text.to_owned() };
    let odd = text.chars().find(|character| !matches!(character, ' '..='~' | '\n'));
    assert_eq!(odd, None, "{what}: {text:?}");
    assert!(text.ends_with('\n'), "{what}: {text:?}");
}

/// Cells of a line of CSV (RFC 4180).
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cells.last_mut().unwrap().push(other),
        }
    }
    assert!(!quoted, "{line}");
    cells
}

#[test]
fn names_off_the_wire_forge_nothing() {
    let names = kept();
    // As long as the others and all different: a long name may take more than one line of a table.
    let innocent: Vec<String> = (0..)
        .zip(&names)
        .map(|(index, name): (u32, _)| format!("{index:e<0$.0$}", name.len()))
        .collect();
    for ((what, text), (_, expected)) in outputs(&names).iter().zip(outputs(&innocent)) {
        check_plain(what, text);
        // `why` takes the names it can for names, and explains them.
        if !what.starts_with("why") {
            assert_eq!(text.lines().count(), expected.lines().count(), "{what}: {text}");
        }
    }
    for name in &names {
        assert!(matches!(explained(name, false).lines().count(), 1 | 5), "{name}");
        assert_eq!(explained(name, true).lines().count(), 1, "{name}");
    }
}

#[test]
fn a_spreadsheet_has_a_line_a_record_and_no_formula() {
    let dir = stored(&named(&kept()));
    let text = written(&dir, &["flows", "--csv"], false);
    assert_eq!(text.matches("\r\n").count(), NAMES.len() + 1);
    for line in text.split_terminator("\r\n") {
        let cells = cells(line);
        assert_eq!(cells.len(), CELLS, "{line}");
        for cell in cells {
            assert!(!cell.trim_start().starts_with(['=', '+', '-', '@']), "{cell}");
        }
    }
}

#[test]
fn names_in_the_store_are_escaped_again() {
    // As a sensor with a fault would have stored them.
    let lossy = |name: &&[u8]| String::from_utf8_lossy(name).into_owned();
    for (what, text) in outputs(&NAMES.iter().map(lossy).collect::<Vec<_>>()) {
        check_plain(what, &text);
    }
}

#[test]
fn names_come_back_as_they_were_stored() {
    let records = named(&kept());
    let dir = stored(&records);
    let mut read = Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap();
    read.reverse();
    assert_eq!(read, records);
    for column in ["name", "alpn", "name || alpn || ja4"] {
        let text = viewed(&dir, column);
        check_plain(column, &text);
        assert_eq!(text.lines().count(), records.len());
    }
    let text = written(&dir, &["flows"], true);
    assert_eq!(text.lines().count(), records.len());
    for (line, record) in text.lines().rev().zip(&records) {
        assert_eq!(&serde_json::from_str::<Record>(line).unwrap(), record);
        let line = serde_json::to_string(record).unwrap();
        check_plain("the record", &format!("{line}\n"));
        assert_eq!(&serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}

/// Takes what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_name_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let records = named(&kept());
        let dir = stored(&records);
        // A day that cannot be written, and one that cannot be read.
        let day = dir.path().join(TODAY);
        fs::write(&day, "no day file").unwrap();
        DayStore::open(dir.path(), "gw-1").unwrap().append(&records).unwrap();
        fs::write(&day, "no day file").unwrap();
        Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap_err();
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("corrupt day file moved aside"), "{log}");
    assert!(log.contains("day passed over"), "{log}");
    assert!(!log.contains("evil") && !log.contains("eeee"), "{log}");
}
