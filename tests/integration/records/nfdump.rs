//! nfcapd collects, nfdump decodes: addresses, ports and volumes of both directions.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use sensor_lab::process::{self, Running};
use sensor_user::record::Record;
use serde_json::Value;
use tempfile::TempDir;

use super::{SOON, free_port, samples, send, wait_for_listener, wait_until_taken};

/// Source, its port, destination, its port.
type Ends = (String, u64, String, u64);

/// Bytes of an Ethernet header, which IPFIX does not count among octets.
const ETHERNET: u64 = 14;

#[test]
fn two_records_a_flow_have_the_volumes_of_both_directions() -> Result<()> {
    let records = samples()?;
    let flows = collected("uniflow", &records)?;
    let mut read = BTreeMap::new();
    for flow in &flows {
        assert_eq!(number(flow, "out_packets"), 0);
        read.insert(ends(flow)?, (number(flow, "in_packets"), number(flow, "in_bytes")));
    }
    let mut expected = BTreeMap::new();
    for record in &records {
        let (forth, back) = both_ends(record);
        expected.insert(forth, octets(record.packets_to_peer, record.bytes_to_peer));
        expected.insert(back, octets(record.packets_to_lan, record.bytes_to_lan));
    }
    assert_eq!((read, flows.len()), (expected, 2 * records.len()));
    Ok(())
}

#[test]
fn a_biflow_has_the_volumes_of_both_directions() -> Result<()> {
    let records = samples()?;
    let flows = collected("biflow", &records)?;
    let mut read = BTreeMap::new();
    for flow in &flows {
        let forth = (number(flow, "in_packets"), number(flow, "in_bytes"));
        let back = (number(flow, "out_packets"), number(flow, "out_bytes"));
        read.insert(ends(flow)?, (forth, back));
    }
    let mut expected = BTreeMap::new();
    for record in &records {
        let forth = octets(record.packets_to_peer, record.bytes_to_peer);
        let back = octets(record.packets_to_lan, record.bytes_to_lan);
        expected.insert(both_ends(record).0, (forth, back));
    }
    assert_eq!((read, flows.len()), (expected, records.len()));
    Ok(())
}

fn octets(packets: u64, bytes: u64) -> (u64, u64) {
    (packets, bytes - packets * ETHERNET)
}

fn both_ends(record: &Record) -> (Ends, Ends) {
    let (device, peer) = (record.device.to_string(), record.peer.to_string());
    let (device_port, peer_port) = (record.device_port.into(), record.peer_port.into());
    let forth = (device.clone(), device_port, peer.clone(), peer_port);
    (forth, (peer, peer_port, device, device_port))
}

/// The flows that nfdump finds; all of the same time and protocol.
fn collected(directions: &str, records: &[Record]) -> Result<Vec<Value>> {
    let dir = TempDir::new()?;
    let (files, log) = (dir.path().join("files"), dir.path().join("nfcapd.log"));
    std::fs::create_dir(&files)?;
    let port = free_port()?;
    let mut nfcapd = Command::new("nfcapd");
    nfcapd.args(["-b", "127.0.0.1", "-p", &port.to_string(), "-t", "3600", "-w"]).arg(&files);
    let nfcapd = Running::start(&mut nfcapd, &log)?;
    wait_for_listener(port)?;
    let section = format!(
        "kind = \"ipfix\"\ntarget = \"udp://127.0.0.1:{port}\"\n[export.ipfix]\ndirections = {directions:?}\n"
    );
    send(&section, records)?;
    wait_until_taken(port)?;
    nfcapd.stop(SOON)?;
    let said = std::fs::read_to_string(&log)?;
    assert!(said.contains("Sequence Errors: 0, Bad Packets: 0"), "{said}");
    decoded(&files)
}

fn decoded(files: &Path) -> Result<Vec<Value>> {
    // Times are shown by the clock of TZ.
    let mut nfdump = Command::new("nfdump");
    nfdump.arg("-R").arg(files).args(["-o", "json"]).env("TZ", "UTC");
    let text = process::run(&mut nfdump)?;
    let flows: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
    for flow in &flows {
        assert_eq!(flow["first"], "2026-03-10T12:00:00.123");
        assert_eq!(flow["last"], "2026-03-10T12:00:07.654");
        assert_eq!(flow["proto"], 6);
    }
    Ok(flows)
}

fn number(flow: &Value, key: &str) -> u64 {
    flow[key].as_u64().unwrap_or(0)
}

fn ends(flow: &Value) -> Result<Ends> {
    let address = |v4: &str, v6: &str| {
        let text = flow[v4].as_str().or_else(|| flow[v6].as_str());
        text.map(str::to_owned).with_context(|| format!("no address in {flow}"))
    };
    let source = address("src4_addr", "src6_addr")?;
    let destination = address("dst4_addr", "dst6_addr")?;
    Ok((source, number(flow, "src_port"), destination, number(flow, "dst_port")))
}
