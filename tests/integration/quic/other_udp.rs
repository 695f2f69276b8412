//! Datagrams that are no QUIC's: games, calls, and what else has bytes like it. They pass both ways.

use anyhow::{Context as _, Result, ensure};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process::{self, Running};
use sensor_lab::sensor::{self, Mode, Sensor, Setup};

use super::capture::Capture;
use super::{hex, is_full, say, setup};

const ECHO: &str = include_str!("echo.py");
const SEND: &str = include_str!("send.py");

/// HTTP/3's own two ports, STUN's, a game's, and one of those that calls are given.
const PORTS: [u16; 5] = [443, 80, 3478, 27_015, 50_000];
const QUIC_PORTS: [u16; 2] = [443, 80];

/// First bytes that are no long header's: STUN, DNS, RTP's neighbours, games with counters.
const PLAIN: [[u8; 5]; 4] =
    [[0, 1, 0, 0x40, 0x21], [0x12, 0x34, 1, 0, 0], [0x3f, 0xff, 0xff, 0xff, 0xff], [0x0d; 5]];
/// Handshake, alert, data and heartbeat of DTLS 1.2
/// ([RFC 6347 section 4.1](https://www.rfc-editor.org/rfc/rfc6347#section-4.1)).
const DTLS: [[u8; 5]; 4] = [
    [22, 0xfe, 0xfd, 0, 0],
    [21, 0xfe, 0xfd, 0, 1],
    [23, 0xfe, 0xfd, 0, 1],
    [24, 0xfe, 0xff, 0, 1],
];
/// The form bit of a long header, and no version of QUIC behind it: RTP, and games.
const LONG: [[u8; 5]; 4] = [
    [0x80, 0x60, 0x12, 0x34, 0],
    [0xc0, 0x11, 0x22, 0x33, 0x44],
    [0xff, 0xff, 0xff, 0xff, 0x54],
    [0xe3, 0, 0, 0, 0x77],
];

const LENGTHS: [usize; 4] = [14, 60, 300, 1200];
/// The longest is what fits an Ethernet frame over IPv6: fragments to the ports of QUIC do not pass.
const LENGTHS_FULL: [usize; 9] = [6, 14, 40, 60, 300, 700, 1199, 1200, 1452];

/// A server that sends back what it gets; dropping it ends it.
pub(super) struct Echo {
    _running: Running,
}

impl Echo {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let log = lab.directory().join("echo.log");
        let mut command = lab.server().python(ECHO);
        command.args(PORTS.map(|port| port.to_string()));
        let running = Running::start(&mut command, &log)?;
        process::wait_until("the echo server listens", process::SHORT, || {
            let said = std::fs::read_to_string(&log).context("read its log")?;
            Ok(said.contains("listening").then_some(()))
        })?;
        Ok(Self { _running: running })
    }
}

#[test]
fn other_udp_passes_both_ways() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let lab = Lab::build()?;
        let echo = Echo::start(&lab)?;
        let _sensor = Sensor::start(&lab, &sensor::binary()?, &Setup { mode, ..setup("") })?;
        let mut count = 0;
        for family in [Family::V4, Family::V6] {
            for port in PORTS {
                let starts = if QUIC_PORTS.contains(&port) {
                    [PLAIN, DTLS].concat()
                } else {
                    [PLAIN, DTLS, LONG].concat()
                };
                let packets = of_every_length(&starts);
                let came = send(&lab, family, port, &packets)?;
                let lost = packets.iter().filter(|packet| !came.contains(packet)).count();
                assert_eq!(lost, 0, "{mode:?} {family:?} port {port}");
                count += packets.len();
            }
        }
        say(&format!("{mode:?}: {count} datagrams went there and came back"));
        drop(echo);
    }
    Ok(())
}

/// Where QUIC is expected, a version that cannot be read may be any name's; policy blocks it by default.
#[test]
fn long_headers_of_unknown_versions_do_not_pass_on_the_ports_of_http3() -> Result<()> {
    let lab = Lab::build()?;
    let _echo = Echo::start(&lab)?;
    let _sensor = Sensor::start(&lab, &sensor::binary()?, &setup(""))?;
    // Greased, gone, and never given to anyone.
    let starts = [[0xc3, 0x1a, 0x2a, 0x3a, 0x4a], [0xc3, 0xff, 0, 0, 0x17], [0xe3, 0, 0, 0, 0x77]];
    let packets: Vec<_> = starts.map(|start| payload(&start, 1200)).to_vec();
    for family in [Family::V4, Family::V6] {
        for port in QUIC_PORTS {
            let capture = Capture::behind(&lab)?;
            let came = send(&lab, family, port, &packets)?;
            let captured = capture.finish()?;
            let passed = packets.iter().filter(|packet| captured.count(packet) > 0).count();
            assert_eq!((came.len(), passed), (0, 0), "{family:?} {port}: {captured:?}");
        }
    }
    Ok(())
}

fn of_every_length(starts: &[[u8; 5]]) -> Vec<Vec<u8>> {
    let lengths = if is_full() { &LENGTHS_FULL[..] } else { &LENGTHS };
    let every = starts.iter().flat_map(|start| lengths.iter().map(move |length| (start, *length)));
    every.map(|(start, length)| payload(start, length)).collect()
}

/// So many bytes that begin with these; the others depend on them.
pub(super) fn payload(start: &[u8], length: usize) -> Vec<u8> {
    let mut state = start.iter().fold(length as u32 | 1, |state, byte| {
        (state ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let mut bytes = start.to_vec();
    while bytes.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push((state >> 24) as u8);
    }
    bytes
}

/// Sends datagrams from one new port of the client; what came back within a moment.
pub(super) fn send(
    lab: &Lab,
    family: Family,
    port: u16,
    packets: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>> {
    let file = lab.directory().join("datagrams");
    let lines: Vec<_> = packets.iter().map(|packet| hex(packet)).collect();
    std::fs::write(&file, lines.join("\n")).context("write the datagrams")?;
    let mut command = lab.client().python(SEND);
    command.arg(family.server().to_string()).arg(port.to_string()).arg(&file);
    let said = process::run(&mut command)?;
    said.lines().map(unhex).collect()
}

pub(super) fn unhex(digits: &str) -> Result<Vec<u8>> {
    ensure!(digits.len().is_multiple_of(2), "half a byte in {digits:?}");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).context("read a datagram");
    (0..digits.len()).step_by(2).map(byte).collect()
}
