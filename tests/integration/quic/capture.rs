//! What clients' Initials told on a wire, opened with the keys that everybody can make from them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sensor_lab::lab::{HOST_INTERFACE, Lab};
use sensor_lab::namespace::Namespace;
use sensor_lab::process::{self, Running};
use serde::Deserialize;

use super::hex;
use super::http3::{Answer, python};
use super::other_udp::unhex;

const READER: &str = include_str!("initials.py");

/// As long as any frame here.
const FRAME_BYTES: &str = "2048";
/// Nothing is written for so long when tcpdump has written what it has.
const QUIET: Duration = Duration::from_millis(100);
/// Room for what comes while tcpdump gets no processor.
const BUFFER_KIB: &str = "16384";

/// tcpdump on a wire; dropping it ends it.
pub(super) struct Capture {
    tcpdump: Running,
    file: PathBuf,
    log: PathBuf,
}

/// What was on the wire.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) connections: Vec<Connection>,
    pub(super) others: Vec<Datagram>,
}

/// A QUIC connection, as an onlooker sees it.
#[derive(Debug, Deserialize)]
pub(super) struct Connection {
    /// The first destination identifier.
    #[serde(rename = "connection")]
    pub(super) identifier: String,
    /// When the client's datagrams came, in seconds since 1970.
    pub(super) sent: Vec<f64>,
    /// The client's datagrams that have a part of its hello.
    pub(super) initials: usize,
    /// Its Initials that could not be opened.
    pub(super) unread: usize,
    /// Bytes of the hello that came more than once.
    pub(super) repeated: usize,
    /// Bytes of it that came, also behind a gap.
    pub(super) hello_bytes: usize,
    pub(super) is_whole: bool,
    /// The name, where the hello is whole.
    pub(super) name: Option<String>,
    /// The hello as far as it came without a gap, in hexadecimal digits.
    text: String,
    /// The client's datagrams that made it whole, in hexadecimal digits.
    hellos: Vec<String>,
}

/// A datagram of no connection that began in the capture.
#[derive(Debug, Deserialize)]
pub(super) struct Datagram {
    /// In hexadecimal digits.
    pub(super) payload: String,
}

impl Capture {
    /// Behind the gateway: what the server gets, and sends. Returns when every later packet will be in it.
    pub(super) fn behind(lab: &Lab) -> Result<Self> {
        Self::start(lab, lab.server(), "behind")
    }

    /// Before the gateway: what the client sends, and gets.
    pub(super) fn before(lab: &Lab) -> Result<Self> {
        Self::start(lab, lab.client(), "before")
    }

    fn start(lab: &Lab, place: &Namespace, name: &str) -> Result<Self> {
        let in_directory = |kind: &str| lab.directory().join(format!("{name}.{kind}"));
        let (file, log) = (in_directory("pcap"), in_directory("tcpdump"));
        // Of an earlier capture at this place.
        fs::write(&log, "").context("clear tcpdump's log")?;
        let mut tcpdump = place.command("tcpdump");
        tcpdump.args(["--immediate-mode", "-Z", "root", "-U", "-i", HOST_INTERFACE]);
        tcpdump.args(["-s", FRAME_BYTES, "-B", BUFFER_KIB, "-w"]);
        tcpdump.arg(&file).arg("udp");
        let tcpdump = Running::start(&mut tcpdump, &log)?;
        process::wait_until("tcpdump listens", process::SHORT, || {
            let said = fs::read_to_string(&log).context("read tcpdump's log")?;
            Ok(said.contains("listening on").then_some(()))
        })?;
        Ok(Self { tcpdump, file, log })
    }

    /// Waits until tcpdump has written what it has: when it is ended it forgets the rest.
    fn settle(&self) -> Result<()> {
        let mut length = None;
        process::wait_until("tcpdump has written all", process::SHORT, || {
            let before =
                length.replace(fs::metadata(&self.file).context("look at the capture")?.len());
            if before != length {
                thread::sleep(QUIET);
                return Ok(None);
            }
            Ok(Some(()))
        })
    }

    pub(super) fn finish(self) -> Result<Captured> {
        self.settle()?;
        self.tcpdump.stop(process::SHORT)?;
        let said = fs::read_to_string(&self.log).context("read tcpdump's log")?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "not all was captured: {said}");
        let mut reader = Command::new(python()?);
        let text = process::run(reader.args(["-I", "-c", READER]).arg(&self.file))?;
        let mut captured = Captured::default();
        for line in text.lines() {
            if line.contains("\"connection\"") {
                captured.connections.push(serde_json::from_str(line).context("read a connection")?);
            } else {
                captured.others.push(serde_json::from_str(line).context("read a datagram")?);
            }
        }
        Ok(captured)
    }
}

impl Captured {
    /// The connection of an answer, if any of it was there.
    pub(super) fn of(&self, answer: &Answer) -> Option<&Connection> {
        self.connections.iter().find(|one| one.identifier == answer.connection)
    }

    /// How often a datagram with this payload was there.
    pub(super) fn count(&self, payload: &[u8]) -> usize {
        let digits = hex(payload);
        self.others.iter().filter(|one| one.payload == digits).count()
    }
}

impl Connection {
    /// The client's datagrams that made its hello whole, in the order they came.
    pub(super) fn hellos(&self) -> Result<Vec<Vec<u8>>> {
        self.hellos.iter().map(|digits| unhex(digits)).collect()
    }

    /// True where a server can read a name in what came of the hello.
    pub(super) fn tells(&self, name: &str) -> bool {
        self.text.contains(&hex(name.as_bytes()))
    }

    /// The client's datagrams until it had the first byte of the answer.
    pub(super) fn sent_until(&self, answer: &Answer) -> usize {
        self.sent.iter().filter(|at| **at <= answer.answered_at).count()
    }
}
