//! The spool where processes are killed and disks are full: what was confirmed is there.

mod full_disk;
mod kill;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use sensor_user::record::{EndReason, Initiator, RECORD_VERSION, Record};
use sensor_user::spool::{Batch, Next, Options, Reader, Spool};

/// 2026-03-10T12:00:00Z.
const NOON_US: i64 = 1_773_144_000_000_000;

/// Name of the only sink.
const SINK: &str = "sink";

/// The record of a number: the same in every process, with a name that hardly compresses.
fn record(sequence: u64) -> Record {
    let noise = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    Record {
        schema_version: RECORD_VERSION,
        sensor: "spool".to_owned(),
        boot: "9f0c1f8e-5d0a-4c39-9c5c-0a5a64a4a2d1".to_owned(),
        sequence,
        flow_id: noise,
        start_us: NOON_US,
        end_us: NOON_US + sequence.cast_signed(),
        device: Ipv4Addr::from_bits(0x0a00_0000 | (noise as u32 & 0xffff)).into(),
        device_port: 40_000,
        mac: None,
        mac_randomised: None,
        host_name: None,
        user: None,
        identity_source: None,
        identity_confidence: None,
        peer: Ipv4Addr::from_bits(0xc633_0000 | (noise as u32 >> 16)).into(),
        peer_port: 443,
        protocol: 6,
        zone: 0,
        interface: "lan0".to_owned(),
        packets_to_peer: 3,
        bytes_to_peer: 900,
        packets_to_lan: 2,
        bytes_to_lan: noise & 0xffff,
        name: Some(format!("{noise:016x}{:016x}.example", noise.wrapping_mul(noise | 1))),
        name_source: NameSource::Tls,
        no_name: NoName::Named,
        verdict: Verdict::ALL[(sequence % 4) as usize],
        categories: Vec::new(),
        list: None,
        policy: None,
        group: None,
        tls_version: None,
        alpn: Vec::new(),
        ech: None,
        ja4: None,
        application: None,
        quic_version: None,
        quic_datagrams: None,
        end_reason: EndReason::EndOfFlow,
        initiator: Initiator::Lan,
    }
}

/// So many from a number on.
fn records(from: u64, count: u64) -> Vec<Record> {
    (from..from + count).map(record).collect()
}

fn open(dir: &Path) -> Result<Spool> {
    Ok(Spool::open(Options::new(dir))?)
}

/// All that a reader has left.
fn rest(reader: &mut Reader) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    loop {
        match reader.next(Duration::ZERO)? {
            Next::Batch(batch) => batches.push(batch),
            Next::Nothing => return Ok(batches),
            Next::Ended => bail!("the spool has ended"),
        }
    }
}
