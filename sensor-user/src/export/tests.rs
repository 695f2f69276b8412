//! Exports at work, with receivers on the loopback interface.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::state::{ExportStatus, Shed};
use super::{Exports, QUEUE_RECORDS_MAX, start, status};
use crate::config::{Config, Export};
use crate::record::Record;
use crate::record::sample::{record, unnamed};

/// For what takes a tick or two.
const SOON: Duration = Duration::from_secs(10);

fn exports(text: &str) -> Vec<Export> {
    let text = format!("[[interface]]\nname = \"lan0\"\n{text}");
    Config::parse(&text, Path::new("sensor.toml"), "gw").unwrap().export
}

fn export(name: &str, kind: &str, target: &str) -> String {
    format!("[[export]]\nname = {name:?}\nkind = {kind:?}\ntarget = {target:?}\n")
}

fn offer(exports: &Exports, records: Vec<Record>) {
    exports.feed().offer(&Arc::new(records));
}

fn state(exports: &Exports) -> ExportStatus {
    status(&exports.states()).remove(0)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn lines(stream: TcpStream, count: usize) -> Vec<String> {
    stream.set_read_timeout(Some(SOON)).unwrap();
    BufReader::new(stream).lines().take(count).map(|line| line.unwrap()).collect()
}

#[test]
fn a_file_has_every_record_when_the_exports_stop() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("eve.json");
    let text = export("eve", "eve", path.to_str().unwrap());
    let exports =
        start(&exports(&format!("{text}[export.filter]\nverdicts = [\"block\"]\n")), "gw").unwrap();
    for first in (0..10_000).step_by(1000) {
        let records = (first..first + 1000)
            .map(|sequence| if sequence % 2 == 0 { record(sequence) } else { unnamed(sequence) });
        offer(&exports, records.collect());
    }
    let states = exports.states();
    exports.stop();
    let state = status(&states).remove(0);
    assert_eq!((state.sent, state.queued, state.open), (5000, 0, true));
    assert!(state.shed.values().all(|count| *count == 0), "{state:?}");
    let text = fs::read_to_string(path).unwrap();
    let flows = text.lines().filter(|line| line.contains(r#""event_type":"flow""#));
    let sequences: Vec<u64> = flows
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["campus_sensor"]["sequence"].as_u64().unwrap())
        .collect();
    assert!(sequences.iter().copied().eq((0..10_000).step_by(2)), "in their order, each once");
}

#[test]
fn a_file_is_put_aside_when_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("eve.json");
    let exports = start(&exports(&export("eve", "eve", path.to_str().unwrap())), "gw").unwrap();
    offer(&exports, vec![record(1)]);
    wait_until("a record", || state(&exports).sent == 1);
    exports.states()[0].ask_rotation();
    wait_until("another file", || fs::read_dir(dir.path()).unwrap().count() == 2);
    offer(&exports, vec![record(2)]);
    exports.stop();
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(r#""sequence":2"#) && !text.contains(r#""sequence":1"#), "{text}");
}

#[test]
fn a_receiver_that_is_away_gets_what_waited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let exports =
        start(&exports(&export("siem", "eve", &format!("tcp://{address}"))), "gw").unwrap();
    offer(&exports, vec![unnamed(1), unnamed(2)]);
    wait_until("a failure", || state(&exports).trouble.is_some());
    assert_eq!((state(&exports).sent, state(&exports).open), (0, false));

    let listener = TcpListener::bind(address).unwrap();
    let (first, _) = listener.accept().unwrap();
    let received = lines(first, 2);
    assert!(received[1].contains(r#""sequence":2"#), "{received:?}");
    // The connection is closed by the receiver: the next record goes over another one.
    offer(&exports, vec![unnamed(3)]);
    let (second, _) = listener.accept().unwrap();
    assert!(lines(second, 1)[0].contains(r#""sequence":3"#));
    wait_until("all to be counted", || state(&exports).sent == 3);
    assert_eq!(state(&exports).trouble, None);
    exports.stop();
}

#[test]
fn a_receiver_that_takes_nothing_holds_nobody_up_and_what_is_shed_is_counted() {
    // It accepts, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let exports =
        start(&exports(&export("siem", "eve", &format!("tcp://{address}"))), "gw").unwrap();
    let (_silent, _) = listener.accept().unwrap();
    let batch: Vec<Record> = (0..8192).map(record).collect();
    let started = Instant::now();
    for _ in 0..16 {
        offer(&exports, batch.clone());
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let before = state(&exports);
    assert!(before.queued <= QUEUE_RECORDS_MAX as u64, "{before:?}");
    assert!(before.shed["queue-full"] >= 7 * 8192, "{before:?}");
    let states = exports.states();
    let stopping = Instant::now();
    exports.stop();
    assert!(stopping.elapsed() < Duration::from_secs(9), "{:?}", stopping.elapsed());
    let after = status(&states).remove(0);
    assert_eq!(after.sent + after.shed.values().sum::<u64>(), 16 * 8192, "{after:?}");
    assert!(after.shed[Shed::Stopped.name()] > 0, "{after:?}");
}

#[test]
fn datagrams_go_whether_somebody_listens_or_not() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let both = export("log", "syslog", &format!("udp://{address}"))
        + &export("flows", "ipfix", &format!("udp://{address}"));
    let exports = start(&exports(&both), "gw").unwrap();
    // A flow that was let through is nothing for syslog.
    offer(&exports, vec![record(1), unnamed(2)]);
    socket.set_read_timeout(Some(SOON)).unwrap();
    let (mut messages, mut sets) = (0, 0);
    let mut buffer = [0; 2048];
    while messages < 1 || sets < 4 {
        let bytes = socket.recv(&mut buffer).unwrap();
        match &buffer[..bytes] {
            [b'<', ..] => messages += 1,
            [0, 10, ..] => sets += 1,
            other => panic!("{other:?}"),
        }
    }
    drop(socket);
    for sequence in 0..100 {
        offer(&exports, vec![record(sequence)]);
    }
    let states = exports.states();
    exports.stop();
    for state in status(&states) {
        let shed: u64 = state.shed.values().sum();
        let offered = if state.kind == "syslog" { 101 } else { 102 };
        assert_eq!(state.sent + shed, offered, "{state:?}");
    }
}

#[test]
fn ipfix_over_tcp_begins_each_connection_with_templates() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let exports = start(&exports(&export("flows", "ipfix", &target)), "gw").unwrap();
    for sequence in 1..=2 {
        let (mut stream, _) = listener.accept().unwrap();
        offer(&exports, vec![record(sequence)]);
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut kinds = Vec::new();
        let mut told = 0;
        while kinds.len() < 4 {
            let mut header = [0; 20];
            stream.read_exact(&mut header).unwrap();
            let number = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
            assert_eq!((number(0), number(10)), (10, told), "version and sequence");
            let mut rest = vec![0; number(2) - header.len()];
            stream.read_exact(&mut rest).unwrap();
            kinds.push(number(16));
            // Two data records of options, and one for each of our elements.
            told += [0, 2, 21, 2][kinds.len() - 1];
        }
        assert_eq!(kinds, [2, 3, 3, 256]);
    }
    exports.stop();
}

#[test]
fn syslog_over_tcp_counts_octets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let exports = start(&exports(&export("log", "syslog", &target)), "gw").unwrap();
    offer(&exports, vec![record(1), record(2)]);
    let (mut stream, _) = listener.accept().unwrap();
    wait_until("both", || state(&exports).sent == 2);
    exports.stop();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (length, rest) = text.split_once(' ').unwrap();
    let (first, second) = rest.split_at(length.parse().unwrap());
    assert!(first.starts_with("<133>1 ") && first.ends_with("adult gambling"), "{first}");
    let (length, second) = second.split_once(' ').unwrap();
    assert_eq!(second.len(), length.parse::<usize>().unwrap());
}
