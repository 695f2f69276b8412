//! tshark names IANA's elements, shows the bytes of ours, and finds nothing malformed in any message.

use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use sensor_lab::process;
use tempfile::TempDir;

use super::{samples, send};

/// The port that tshark takes for IPFIX.
const IPFIX: u16 = 4739;

/// Datagrams of one export: templates, two of options, and one for each record.
const OPENING: usize = 3;

const FIELDS: [&str; 13] = [
    "cflow.srcaddr",
    "cflow.srcaddrv6",
    "cflow.srcport",
    "cflow.dstport",
    "cflow.protocol",
    "cflow.packets",
    "cflow.octets",
    "cflow.layer2_octet_delta_count",
    "cflow.flow_id",
    "cflow.flow_end_reason",
    "cflow.if_name",
    "cflow.http_request_host",
    "cflow.enterprise_private_entry",
];

#[test]
fn elements_are_named_and_no_message_is_malformed() -> Result<()> {
    let records = samples()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port();
    send(
        &format!(
            "kind = \"ipfix\"\ntarget = \"udp://127.0.0.1:{port}\"\n[export.ipfix]\ndirections = \"biflow\"\n"
        ),
        &records,
    )?;
    socket.set_nonblocking(true)?;
    let mut messages = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(bytes) = socket.recv(&mut buffer) {
        messages.push(buffer[..bytes].to_vec());
    }
    assert_eq!(messages.len(), OPENING + records.len());
    let dir = TempDir::new()?;
    let capture = dir.path().join("ipfix.pcap");
    write(&capture, &messages)?;

    let malformed = tshark(&capture, &["-Y", "_ws.malformed or _ws.expert.severity >= 6291456"])?;
    assert_eq!(malformed, "", "tshark finds fault");
    let mut arguments = vec!["-T", "fields", "-E", "aggregator=/s"];
    arguments.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
    let text = tshark(&capture, &arguments)?;
    let rows = text.lines().skip(OPENING).map(|line| line.split('\t').collect::<Vec<_>>());
    let mut read = 0;
    for (record, row) in records.iter().zip(rows) {
        let (v4, v6) = if record.device.is_ipv4() { (0, 1) } else { (1, 0) };
        assert_eq!((row[v4], row[v6]), (record.device.to_string().as_str(), ""), "{row:?}");
        let octets = record.bytes_to_peer - 14 * record.packets_to_peer;
        let numbers = [
            u64::from(record.device_port),
            u64::from(record.peer_port),
            u64::from(record.protocol),
            record.packets_to_peer,
            octets,
            record.bytes_to_peer,
            record.flow_id,
            4,
        ];
        let expected: Vec<String> = numbers.iter().map(u64::to_string).collect();
        // Of what is there twice, the other is of the reverse direction.
        let first: Vec<&str> =
            row[2..10].iter().map(|value| value.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(first, expected, "{row:?}");
        let name = record.name.as_deref().unwrap_or_default();
        assert_eq!(row[10], "lan0", "{row:?}");
        assert!(is_shown(row[11], name), "{row:?}");
        // Of our own elements tshark knows the bytes.
        let hex = name.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert!(row[12].split(' ').any(|entry| is_shown(entry, &hex)), "{row:?}");
        read += 1;
    }
    assert_eq!(read, records.len());
    Ok(())
}

/// tshark cuts what it shows at 240 bytes.
fn is_shown(shown: &str, whole: &str) -> bool {
    const SHOWN_MIN: usize = 200;
    shown == whole || (whole.starts_with(shown) && shown.len() >= SHOWN_MIN)
}

fn tshark(capture: &Path, arguments: &[&str]) -> Result<String> {
    process::run(Command::new("tshark").arg("-r").arg(capture).args(arguments))
}

/// A capture of these datagrams, sent to the port of IPFIX.
fn write(capture: &Path, messages: &[Vec<u8>]) -> Result<()> {
    let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(capture)?, header)?;
    for message in messages {
        let packet = datagram(message);
        let length = u32::try_from(packet.len())?;
        let packet = PcapPacket::new(Duration::from_secs(1_773_144_008), length, &packet);
        writer.write_packet(&packet).context("write the capture")?;
    }
    Ok(())
}

/// IPv4 and UDP before a payload; sums that are not checked are 0.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((28 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    for number in [40_000, IPFIX, 8 + payload.len() as u16, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(payload);
    packet
}
