//! Exports at work, with receivers on the loopback interface.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::state::{ExportStatus, State};
use super::{Exports, start, status};
use crate::config::{Config, Export};
use crate::record::Record;
use crate::record::sample::{record, unnamed};
use crate::spool::{Options, Spool};

/// For what takes a tick or two.
const SOON: Duration = Duration::from_secs(10);

fn exports(text: &str) -> Vec<Export> {
    let text = format!("[[interface]]\nname = \"lan0\"\n{text}");
    Config::parse(&text, Path::new("sensor.toml"), "gw").unwrap().export
}

fn export(name: &str, kind: &str, target: &str) -> String {
    format!("[[export]]\nname = {name:?}\nkind = {kind:?}\ntarget = {target:?}\n")
}

/// A spool, and exports that read it.
struct Stand {
    dir: TempDir,
    spool: Spool,
    exports: Option<Exports>,
    states: Vec<Arc<State>>,
}

impl Stand {
    fn new(text: &str) -> Self {
        let dir = TempDir::new().unwrap();
        Self::over(dir, text)
    }

    fn over(dir: TempDir, text: &str) -> Self {
        let mut spool = Spool::open(Options::new(dir.path())).unwrap();
        let exports = start(&exports(text), "gw", &mut spool).unwrap();
        let states = exports.states();
        Self { dir, spool, exports: Some(exports), states }
    }

    fn offer(&mut self, records: &[Record]) {
        self.spool.append(records, 0).unwrap();
    }

    fn states(&self) -> Vec<ExportStatus> {
        status(&self.states, &self.spool.watch().status(0))
    }

    fn state(&self) -> ExportStatus {
        self.states().remove(0)
    }

    /// Has the spool end, and the exports behind it.
    fn finish(&mut self) {
        self.spool.finish();
        self.exports.take().unwrap().stop();
    }

    /// The same, as one daemon ends and the next begins.
    fn again(mut self, text: &str) -> Self {
        self.finish();
        let Self { dir, spool, .. } = self;
        spool.close().unwrap();
        Self::over(dir, text)
    }
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
    let mut stand = Stand::new(&format!("{text}[export.filter]\nverdicts = [\"block\"]\n"));
    for first in (0..10_000).step_by(1000) {
        let records = (first..first + 1000)
            .map(|sequence| if sequence % 2 == 0 { record(sequence) } else { unnamed(sequence) });
        stand.offer(&records.collect::<Vec<_>>());
    }
    stand.finish();
    let state = stand.state();
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
    let mut stand = Stand::new(&export("eve", "eve", path.to_str().unwrap()));
    stand.offer(&[record(1)]);
    wait_until("a record", || stand.state().sent == 1);
    stand.states[0].ask_rotation();
    wait_until("another file", || fs::read_dir(dir.path()).unwrap().count() == 2);
    stand.offer(&[record(2)]);
    stand.finish();
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(r#""sequence":2"#) && !text.contains(r#""sequence":1"#), "{text}");
}

#[test]
fn a_receiver_that_is_away_gets_what_waited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut stand = Stand::new(&export("siem", "eve", &format!("tcp://{address}")));
    stand.offer(&[unnamed(1), unnamed(2)]);
    wait_until("a failure", || stand.state().trouble.is_some());
    assert_eq!((stand.state().sent, stand.state().queued, stand.state().open), (0, 2, false));

    let listener = TcpListener::bind(address).unwrap();
    let (first, _) = listener.accept().unwrap();
    let received = lines(first, 2);
    assert!(received[1].contains(r#""sequence":2"#), "{received:?}");
    // The connection is closed by the receiver: the next record goes over another one.
    stand.offer(&[unnamed(3)]);
    let (second, _) = listener.accept().unwrap();
    assert!(lines(second, 1)[0].contains(r#""sequence":3"#));
    wait_until("all to be counted", || stand.state().sent == 3 && stand.state().queued == 0);
    assert_eq!(stand.state().trouble, None);
    stand.finish();
}

#[test]
fn a_receiver_that_takes_nothing_holds_nobody_up_and_gets_it_from_the_next_daemon() {
    const RECORDS: u64 = 16 * 8192;
    // It accepts, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = export("siem", "eve", &format!("tcp://{address}"));
    let mut stand = Stand::new(&text);
    let (_silent, _) = listener.accept().unwrap();
    let started = Instant::now();
    for first in (0..RECORDS).step_by(8192) {
        stand.offer(&(first..first + 8192).map(unnamed).collect::<Vec<_>>());
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let before = stand.state();
    assert!(before.queued > 0 && before.sent < RECORDS, "{before:?}");
    let stopping = Instant::now();
    let mut stand = stand.again(&text);
    assert!(stopping.elapsed() < Duration::from_secs(9), "{:?}", stopping.elapsed());
    // What the system took is sent for good, as far as TCP tells; the batch it did not take whole is sent again.
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let sequence = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["campus_sensor"]["sequence"].as_u64().unwrap()
    };
    let mut sequences = Vec::new();
    for line in BufReader::new(stream).lines() {
        sequences.push(sequence(&line.unwrap()));
        if sequences.last() == Some(&(RECORDS - 1)) {
            break;
        }
    }
    let first = sequences[0];
    assert!(first <= before.sent && first % 8192 == 0, "{first}: {before:?}");
    assert!(sequences.into_iter().eq(first..RECORDS));
    wait_until("the spool to know", || stand.state().queued == 0);
    assert_eq!(stand.state().lost, 0);
    stand.finish();
}

#[test]
fn datagrams_go_whether_somebody_listens_or_not() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let both = export("log", "syslog", &format!("udp://{address}"))
        + &export("flows", "ipfix", &format!("udp://{address}"));
    let mut stand = Stand::new(&both);
    // A flow that was let through is nothing for syslog.
    stand.offer(&[record(1), unnamed(2)]);
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
        stand.offer(&[record(sequence)]);
    }
    stand.finish();
    for state in stand.states() {
        let shed: u64 = state.shed.values().sum();
        let offered = if state.kind == "syslog" { 101 } else { 102 };
        assert_eq!(state.sent + shed, offered, "{state:?}");
    }
}

#[test]
fn ipfix_over_tcp_begins_each_connection_with_templates() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let mut stand = Stand::new(&export("flows", "ipfix", &target));
    for sequence in 1..=2 {
        let (mut stream, _) = listener.accept().unwrap();
        stand.offer(&[record(sequence)]);
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
    stand.finish();
}

#[test]
fn syslog_over_tcp_counts_octets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let mut stand = Stand::new(&export("log", "syslog", &target));
    stand.offer(&[record(1), record(2)]);
    let (mut stream, _) = listener.accept().unwrap();
    wait_until("both", || stand.state().sent == 2);
    stand.finish();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (length, rest) = text.split_once(' ').unwrap();
    let (first, second) = rest.split_at(length.parse().unwrap());
    assert!(first.starts_with("<133>1 ") && first.ends_with("adult gambling"), "{first}");
    let (length, second) = second.split_once(' ').unwrap();
    assert_eq!(second.len(), length.parse::<usize>().unwrap());
}
