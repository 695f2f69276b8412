//! Captures through the loaded programs: each frame by `BPF_PROG_TEST_RUN`, in capture time, as a tap
//! sees it. Nothing is attached and no network is touched.

use std::fs::File;
use std::io::{BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use sensor_ebpf::abi::{FlowKey, NameSource, Side, VerdictEvent};
use sensor_ebpf::parse::{TCP, UDP};
use serde::Serialize;

use crate::cli::table;
use crate::kernel::attach::Mode;
use crate::kernel::control::ControlCell;
use crate::kernel::counters::Counters;
use crate::kernel::events::Rings;
use crate::kernel::flows::FlowTable;
use crate::kernel::object::{Clock, Object, Sizes};
use crate::kernel::test_run::{FRAME_MIN, TEST_IFINDEX};
use crate::record::{display_name, name_of_bytes};

/// One name that was read: who asked for it, by its innermost 5-tuple, client to server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// File name of the capture.
    pub pcap: String,
    /// Client address.
    pub src: IpAddr,
    /// Client port.
    pub sport: u16,
    /// Server address.
    pub dst: IpAddr,
    /// Server port.
    pub dport: u16,
    /// `tcp`, `udp`, or the protocol's number.
    pub proto: String,
    /// `tls` or `http`.
    pub kind: &'static str,
    /// The name, canonical; bytes outside printable ASCII are escaped.
    pub name: String,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Frames run.
    pub frames: u64,
    /// Frames shorter than an Ethernet header, which the kernel refuses to run.
    pub too_short: u64,
    /// Names read.
    pub names: u64,
}

/// The programs, loaded for replay.
pub struct Replay {
    object: Object,
    control: ControlCell,
    flows: FlowTable,
    rings: Rings,
}

impl Replay {
    /// Loads the programs; needs the privileges of `run`, but attaches nothing.
    pub fn load() -> anyhow::Result<Self> {
        let mut object = Object::load(Sizes::SMALL, Clock::Replay, None)?;
        let control = ControlCell::open(&object)?;
        control.report_all();
        Counters::open(&mut object)?.watch("lo", TEST_IFINDEX, 0, 0, Side::Tap, Mode::Native)?;
        let flows = FlowTable::open(&mut object)?;
        let rings = Rings::open(&mut object)?;
        Ok(Self { object, control, flows, rings })
    }

    /// Runs one capture. The flow table is empty before and after.
    pub fn run(&mut self, path: &Path, mut visit: impl FnMut(Row)) -> anyhow::Result<Summary> {
        let mut capture = Capture::open(path)?;
        let pcap = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let pcap = pcap.unwrap_or_default();
        let mut summary = Summary::default();
        while let Some((time_ns, frame)) = capture.next_frame()? {
            if frame.len() < FRAME_MIN {
                summary.too_short += 1;
                continue;
            }
            self.control.set_replay_clock(time_ns);
            self.object.repeat_xdp(&frame, 1)?;
            summary.frames += 1;
            while let Some(sample) = self.rings.next_verdict() {
                let Some(event) = VerdictEvent::decode(&sample) else { continue };
                summary.names += 1;
                visit(row(&pcap, &event));
            }
            // Their volumes are not asked for.
            while self.rings.take_flow_end().is_some() {}
        }
        self.flows.clear()?;
        Ok(summary)
    }
}

fn row(pcap: &str, event: &VerdictEvent) -> Row {
    let FlowKey { lan_address, peer_address, lan_port, peer_port, protocol, .. } = event.key;
    let (lan, peer) = ((lan_address.into(), lan_port), (peer_address.into(), peer_port));
    let ((src, sport), (dst, dport)) = if event.from_peer == 0 { (lan, peer) } else { (peer, lan) };
    Row {
        pcap: pcap.to_owned(),
        src,
        sport,
        dst,
        dport,
        proto: protocol_name(protocol),
        kind: NameSource::try_from(event.name_source).map_or("unknown", NameSource::name),
        name: name_of_bytes(event.name.as_bytes()),
    }
}

/// Name of an IP protocol, as logs write it.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        other => other.to_string(),
    }
}

/// A classic pcap file, frame by frame.
struct Capture {
    path: PathBuf,
    reader: PcapReader<BufReader<File>>,
    frame: u64,
}

/// First bytes of a pcapng file.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

impl Capture {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let mut file = File::open(path).with_context(|| format!("open {name}"))?;
        let mut magic = [0; 4];
        let read = std::io::Read::read(&mut file, &mut magic).with_context(|| name.to_string())?;
        if read == magic.len() && magic == PCAPNG {
            bail!("{name}: a pcapng file; `editcap -F pcap {name} OUT.pcap` makes it readable");
        }
        std::io::Seek::rewind(&mut file).with_context(|| name.to_string())?;
        let reader = PcapReader::new(BufReader::new(file)).map_err(|error| {
            anyhow::anyhow!("{name}: not a pcap file ({error}); `file {name}` tells what it is")
        })?;
        let link = reader.header().datalink;
        if link != DataLink::ETHERNET {
            bail!("{name}: link type {link:?}, only Ethernet frames can be replayed");
        }
        Ok(Self { path: path.to_owned(), reader, frame: 0 })
    }

    /// Capture time in ns since the epoch, and the frame's bytes.
    fn next_frame(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        self.frame += 1;
        match self.reader.next_packet() {
            None => Ok(None),
            Some(Ok(packet)) => {
                let time_ns = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                Ok(Some((time_ns, packet.data.into_owned())))
            }
            Some(Err(error)) => bail!(
                "{}: frame {} is cut off or corrupt ({error}); the frames before it were replayed, `editcap {0} OUT.pcap` keeps the readable part",
                self.path.display(),
                self.frame
            ),
        }
    }
}

/// Replays captures, one row a line: JSON, or a table's columns. Goes on with the next capture when one
/// is unreadable; the error then says so for the whole.
pub fn replay(paths: &[PathBuf], json: bool, out: &mut impl Write) -> anyhow::Result<Vec<String>> {
    let mut replay = Replay::load()?;
    let mut failures = Vec::new();
    for path in paths {
        let mut written = Ok(());
        let result = replay.run(path, |row| {
            if written.is_ok() {
                written = write_row(&row, json, out);
            }
        });
        written?;
        if let Err(error) = result {
            replay.flows.clear()?;
            failures.push(format!("{error:#}"));
        }
    }
    Ok(failures)
}

pub(crate) fn write_row(row: &Row, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        table::write_json(row, out)?;
    } else {
        writeln!(
            out,
            "{} {} {}:{} > {}:{} {}",
            display_name(&row.pcap),
            row.kind,
            row.src,
            row.sport,
            row.dst,
            row.dport,
            display_name(&row.name)
        )?;
    }
    Ok(())
}
