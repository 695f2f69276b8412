//! What nftables counts, flow by flow: the truth the records are held against.
//!
//! Three places, none of them the sensor's. `sent`: what the client's own stack sends, before the sensor
//! could touch it; a request of several segments is one packet there. `passed`: what the gateway's stack
//! receives behind XDP. `returned`: what the gateway's stack hands to its LAN interface. nftables counts
//! IP packets; with the offloads off each is one frame, and 14 bytes of Ethernet header make it the
//! frame the sensor counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use sensor_lab::lab::{HOST_INTERFACE, LAN_INTERFACE, Lab};
use sensor_lab::namespace::Namespace;
use sensor_user::record::Record;
use serde_json::Value;

const ETHERNET_HEADER: u64 = 14;

/// Packets and bytes of one direction of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Both {
    pub(super) to_peer: Sum,
    pub(super) to_lan: Sum,
}

impl Both {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { to_peer: self.to_peer.plus(other.to_peer), to_lan: self.to_lan.plus(other.to_lan) }
    }
}

/// Volumes by the client's port.
pub(super) type ByPort = BTreeMap<u16, Both>;

/// Begins to count the TCP and UDP flows of a lab whose offloads are off.
pub(super) fn count(lab: &Lab) -> Result<()> {
    let table = |namespace: &Namespace, chains: &[(&str, &str, String)]| {
        let mut rules = "add table inet truth\n".to_owned();
        for (set, hook, rule) in chains {
            writeln!(
                rules,
                "add set inet truth {set} {{ type inet_service; size 65535; flags dynamic; }}\n\
                 add chain inet truth {set} {{ type filter hook {hook} priority 400; }}\n\
                 add rule inet truth {set} {rule}"
            )?;
        }
        namespace.run("nft", &[&rules]).map(drop)
    };
    let is_flow = "meta l4proto { tcp, udp }";
    table(
        lab.client(),
        &[(
            "sent",
            "output",
            format!("oifname {HOST_INTERFACE} {is_flow} update @sent {{ th sport counter }}"),
        )],
    )?;
    table(
        lab.gateway(),
        &[
            (
                "passed",
                "prerouting",
                format!("iifname {LAN_INTERFACE} {is_flow} update @passed {{ th sport counter }}"),
            ),
            (
                "returned",
                "postrouting",
                format!(
                    "oifname {LAN_INTERFACE} {is_flow} update @returned {{ th dport counter }}"
                ),
            ),
        ],
    )
}

/// Where the packets towards the server are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upwards {
    /// `sent`.
    AtTheClient,
    /// `passed`.
    BehindXdp,
}

/// What nftables has counted so far.
pub(super) fn counted(lab: &Lab, upwards: Upwards) -> Result<ByPort> {
    let to_peer = match upwards {
        Upwards::AtTheClient => read(lab.client(), "sent")?,
        Upwards::BehindXdp => read(lab.gateway(), "passed")?,
    };
    let mut flows = ByPort::new();
    for (port, sum) in to_peer {
        flows.entry(port).or_default().to_peer = sum;
    }
    for (port, sum) in read(lab.gateway(), "returned")? {
        flows.entry(port).or_default().to_lan = sum;
    }
    Ok(flows)
}

/// The same of records, summed over all of a flow. What is neither TCP nor UDP has no port, and is
/// under port 0.
pub(super) fn recorded(records: &[Record]) -> ByPort {
    let mut flows = ByPort::new();
    for record in records {
        let flow = flows.entry(record.device_port).or_default();
        *flow = flow.plus(volume(record));
    }
    flows
}

pub(super) fn volume(record: &Record) -> Both {
    Both {
        to_peer: Sum { packets: record.packets_to_peer, bytes: record.bytes_to_peer },
        to_lan: Sum { packets: record.packets_to_lan, bytes: record.bytes_to_lan },
    }
}

pub(super) fn sum<'a>(flows: impl IntoIterator<Item = &'a Both>) -> Both {
    flows.into_iter().fold(Both::default(), |sum, flow| sum.plus(*flow))
}

/// Flows that are not the same on both sides, a line each, so that a failure can be read.
pub(super) fn differences(truth: &ByPort, records: &ByPort) -> String {
    let differing = truth.iter().filter(|(port, flow)| records.get(port) != Some(flow));
    let line = |(port, flow): (&u16, &Both)| {
        format!("port {port}: counted {flow:?}, recorded {:?}\n", records.get(port))
    };
    differing.map(line).collect()
}

fn read(namespace: &Namespace, set: &str) -> Result<BTreeMap<u16, Sum>> {
    let text = namespace.run("nft", &["-j", "list", "set", "inet", "truth", set])?;
    let value: Value = serde_json::from_str(&text).context("read nft's JSON")?;
    let elements = value.pointer("/nftables/1/set/elem").and_then(Value::as_array);
    elements.into_iter().flatten().map(|element| element_of(element, set)).collect()
}

fn element_of(element: &Value, set: &str) -> Result<(u16, Sum)> {
    let number = |pointer: &str| {
        let number = element.pointer(pointer).and_then(Value::as_u64);
        number.with_context(|| format!("no {pointer} in set {set}: {element}"))
    };
    let (packets, bytes) = (number("/elem/counter/packets")?, number("/elem/counter/bytes")?);
    let bytes = bytes + ETHERNET_HEADER * packets;
    Ok((u16::try_from(number("/elem/val")?)?, Sum { packets, bytes }))
}
