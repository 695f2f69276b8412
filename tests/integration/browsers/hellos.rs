//! The hellos on the client's wire: how long, in how many segments, and in which of them the name is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use pcap_file::pcap::PcapReader;
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::{Packet, RST, SYN};
use sensor_lab::lab::{HOST_INTERFACE, Lab};
use sensor_lab::process::{self, Running};

const TLS_PORT: u16 = 443;
/// Type, version and length of a TLS record.
const RECORD_HEADER: usize = 5;

/// As long as any frame a client sends here; what it receives may be cut.
const FRAME_BYTES: &str = "2048";
/// Room for what comes while tcpdump gets no processor.
const BUFFER_KIB: &str = "16384";

/// tcpdump on the client's wire; dropping it ends it.
pub(super) struct Capture {
    tcpdump: Running,
    file: PathBuf,
    log: PathBuf,
}

/// One hello, from the connection's first byte on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) bytes: usize,
    pub(super) segments: usize,
    /// The name it asks for, of those wanted, and the segment that has the name's last byte, from 1.
    pub(super) name: Option<(String, usize)>,
}

/// For whoever reads the test's output.
pub(super) struct Summary<'a>(pub(super) &'a [Hello]);

impl Capture {
    /// Returns when every later packet will be in it.
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let (file, log) =
            (lab.directory().join("hellos.pcap"), lab.directory().join("tcpdump.log"));
        let mut tcpdump = lab.client().command("tcpdump");
        tcpdump.args(["--immediate-mode", "-Z", "root", "-U", "-i", HOST_INTERFACE]);
        tcpdump.args(["-s", FRAME_BYTES, "-B", BUFFER_KIB, "-w"]);
        tcpdump.arg(&file).arg(format!("tcp port {TLS_PORT}"));
        let tcpdump = Running::start(&mut tcpdump, &log)?;
        process::wait_until("tcpdump listens", process::SHORT, || {
            let said = fs::read_to_string(&log).context("read tcpdump's log")?;
            Ok(said.contains("listening on").then_some(()))
        })?;
        Ok(Self { tcpdump, file, log })
    }

    /// The first of each connection. A port that was reset is soon used again.
    pub(super) fn finish(self, names: &[String]) -> Result<Vec<Hello>> {
        self.tcpdump.stop(process::SHORT)?;
        let said = fs::read_to_string(&self.log).context("read tcpdump's log")?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "not all was captured: {said}");
        let file = File::open(&self.file).context("open the capture")?;
        let mut reader = PcapReader::new(file).context("read the capture")?;
        let mut connections = BTreeMap::<_, Connection>::new();
        let mut ended = Vec::new();
        while let Some(frame) = reader.next_packet() {
            let frame = frame.context("read a frame of the capture")?;
            let Ok(packet) = Packet::parse(Cursor::new(&frame.data), frame.orig_len) else {
                continue;
            };
            let is_clients = packet.destination_port == TLS_PORT;
            let port = if is_clients { packet.source_port } else { packet.destination_port };
            let end = (packet.ip_version, port);
            if is_clients && packet.tcp_flags & SYN != 0 {
                let start = packet.sequence.wrapping_add(1);
                let is_new = connections.get(&end).is_none_or(|known| known.start != start);
                if is_new {
                    let connection = Connection { start, ..Connection::default() };
                    ended.extend(connections.insert(end, connection));
                }
            }
            let Some(connection) = connections.get_mut(&end) else { continue };
            if is_clients {
                connection.add(&packet, &frame.data);
            } else {
                connection.answered |= packet.payload_length > 0 || packet.tcp_flags & RST != 0;
            }
        }
        ended.extend(connections.into_values());
        Ok(ended.iter().filter_map(|connection| connection.hello(names)).collect())
    }
}

/// What a client has sent before anything came back.
#[derive(Default)]
struct Connection {
    /// Sequence number of the first byte.
    start: u32,
    /// By their offset; what is sent again is the same.
    segments: BTreeMap<u32, Vec<u8>>,
    answered: bool,
}

impl Connection {
    fn add(&mut self, packet: &Packet, frame: &[u8]) {
        if packet.payload_length > 0 && !self.answered {
            let payload = &frame[packet.payload as usize..][..packet.payload_length as usize];
            let offset = packet.sequence.wrapping_sub(self.start);
            self.segments.entry(offset).or_insert_with(|| payload.to_vec());
        }
    }

    fn hello(&self, names: &[String]) -> Option<Hello> {
        let flight = self.segments.values().flatten().copied().collect::<Vec<_>>();
        let length = flight.get(3..RECORD_HEADER)?;
        let bytes = RECORD_HEADER + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let starts = self.segments.keys().map(|offset| *offset as usize);
        let name = names.iter().find_map(|name| {
            let at = flight.windows(name.len()).position(|part| part == name.as_bytes())?;
            let last = at + name.len() - 1;
            Some((name.clone(), starts.clone().filter(|start| *start <= last).count()))
        });
        Some(Hello { bytes, segments: starts.filter(|start| *start < bytes).count(), name })
    }
}

impl Hello {
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|(asked, _)| asked == name)
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is_it: &dyn Fn(&Hello) -> bool| self.0.iter().filter(|one| is_it(one)).count();
        let bytes = || self.0.iter().map(|hello| hello.bytes);
        let (shortest, longest) = (bytes().min().unwrap_or(0), bytes().max().unwrap_or(0));
        write!(formatter, "{} hellos of {shortest} to {longest} bytes, ", self.0.len())?;
        let split = count(&|hello| hello.segments > 1);
        let behind = count(&|hello| matches!(hello.name, Some((_, 2..))));
        write!(formatter, "{split} of them in two segments, {behind} with the name in the second")
    }
}
