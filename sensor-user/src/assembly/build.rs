//! One record of one flow: numbers become names, kernel time becomes wall time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use sensor_ebpf::abi::{Flow, FlowKey, NameSource, NoName, StoredName, Verdict};
use sensor_ebpf::flow::mark;

use super::{Delta, Identity};
use crate::policy::generations::Generations;
use crate::record::{EndReason, Initiator, RECORD_VERSION, Record, name_of_bytes};

/// Time in both of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Now, ns of the sensor's clock.
    pub now_ns: u64,
    /// What to add to the sensor's clock for ns since 1970 UTC.
    pub wall_offset_ns: i64,
}

impl Clocks {
    /// A moment of the sensor's clock as µs since 1970 UTC.
    pub fn wall_us(self, at_ns: u64) -> i64 {
        i64::try_from(at_ns).unwrap_or(i64::MAX).saturating_add(self.wall_offset_ns) / 1000
    }
}

/// Names by their hash, so that a system call is needed only for the first flow of each.
#[derive(Default)]
pub struct Names(HashMap<u64, Box<str>>);

/// Names remembered before the memory is given back and the kernel asked again: 64 k of 40 bytes.
const NAMES_MAX: usize = 1 << 16;

impl Names {
    fn get(&mut self, hash: u64, stored: impl FnOnce(u64) -> Option<StoredName>) -> Option<String> {
        if let Some(name) = self.0.get(&hash) {
            return Some(name.to_string());
        }
        let name = name_of_bytes(stored(hash)?.as_bytes());
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(hash, name.clone().into_boxed_str());
        Some(name)
    }
}

/// What the records of one daemon have in common.
pub(super) struct Builder {
    identity: Identity,
    interfaces: Vec<(u32, String)>,
    generations: Arc<Generations>,
    names: Names,
    sequence: u64,
}

impl Builder {
    pub(super) fn new(
        identity: Identity,
        interfaces: Vec<(u32, String)>,
        generations: Arc<Generations>,
        sequence: u64,
    ) -> Self {
        Self { identity, interfaces, generations, names: Names::default(), sequence }
    }

    /// True for a record of this sensor whose times are of this boot's clock.
    pub(super) fn is_of_this_boot(&self, record: &Record) -> bool {
        record.sensor == self.identity.sensor && record.boot == self.identity.boot
    }

    pub(super) fn record(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        delta: Delta,
        end_reason: EndReason,
        clocks: Clocks,
        stored: impl FnOnce(u64) -> Option<StoredName>,
    ) -> Record {
        let device = IpAddr::from(key.lan_address);
        let judged = self.generations.resolve(flow, device);
        let (name, no_name) = self.name(flow, judged.unlogged, stored);
        let name_source = NameSource::try_from(flow.name_source).unwrap_or(NameSource::None);
        let sequence = self.sequence;
        self.sequence += 1;
        Record {
            schema_version: RECORD_VERSION,
            sensor: self.identity.sensor.clone(),
            boot: self.identity.boot.clone(),
            sequence,
            flow_id: flow_id(key, flow),
            start_us: clocks.wall_us(flow.first_ns),
            end_us: clocks.wall_us(flow.last_ns),
            device,
            device_port: key.lan_port,
            // Who was called would tell what was called.
            peer: if judged.unlogged { hidden(device) } else { key.peer_address.into() },
            peer_port: key.peer_port,
            protocol: key.protocol,
            zone: key.zone,
            interface: self.interface(flow.ifindex),
            packets_to_peer: delta.to_peer.packets,
            bytes_to_peer: delta.to_peer.bytes,
            packets_to_lan: delta.to_lan.packets,
            bytes_to_lan: delta.to_lan.bytes,
            name_source: if name.is_some() { name_source } else { NameSource::None },
            name,
            no_name,
            verdict: Verdict::try_from(flow.verdict).unwrap_or(Verdict::Undecided),
            categories: judged.categories,
            list: judged.list,
            policy: judged.policy,
            group: judged.group,
            end_reason,
            initiator: initiator(flow),
        }
    }

    fn name(
        &mut self,
        flow: &Flow,
        unlogged: bool,
        stored: impl FnOnce(u64) -> Option<StoredName>,
    ) -> (Option<String>, NoName) {
        if flow.name_hash == 0 {
            return (None, NoName::try_from(flow.no_name).unwrap_or(NoName::NotExamined));
        }
        if unlogged {
            return (None, NoName::Unlogged);
        }
        match self.names.get(flow.name_hash, stored) {
            Some(name) => (Some(name), NoName::Named),
            None => (None, NoName::NameEvicted),
        }
    }

    fn interface(&self, ifindex: u32) -> String {
        self.interfaces
            .iter()
            .find(|(index, _)| *index == ifindex)
            .map_or_else(|| format!("#{ifindex}"), |(_, name)| name.clone())
    }
}

/// The unspecified address of the same family.
const fn hidden(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

const fn initiator(flow: &Flow) -> Initiator {
    if flow.marks & mark::MID_STREAM != 0 {
        Initiator::Unknown
    } else if flow.marks & mark::PEER_INITIATED != 0 {
        Initiator::Peer
    } else {
        Initiator::Lan
    }
}

/// The same for all records of a flow; another flow of the same key starts at another time.
pub(super) fn flow_id(key: &FlowKey, flow: &Flow) -> u64 {
    let FlowKey { lan_address, peer_address, lan_port, peer_port, zone, protocol, .. } = key;
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(lan_address.octets());
    bytes.extend(peer_address.octets());
    for number in [lan_port, peer_port, zone] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.push(*protocol);
    bytes.extend(flow.first_ns.to_be_bytes());
    // FNV-1a, so that a daemon of another build finds the same flow under the same id.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::Volume;

    use super::*;

    const CLOCKS: Clocks = Clocks { now_ns: 9_000_000, wall_offset_ns: 1_000_000_000_000_000_000 };

    fn builder() -> Builder {
        let identity = Identity { sensor: "gw-1".to_owned(), boot: "boot".to_owned() };
        let interfaces = vec![(7, "lan0".to_owned())];
        Builder::new(identity, interfaces, Arc::new(Generations::default()), 41)
    }

    fn stored(bytes: &[u8]) -> StoredName {
        let mut name = StoredName { length: bytes.len() as u16, reserved: 0, bytes: [0; 256] };
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        name
    }

    #[test]
    fn a_record_says_what_the_flow_says() {
        let key = FlowKey {
            lan_address: "10.0.0.5".parse::<IpAddr>().unwrap().into(),
            peer_address: "192.0.2.80".parse::<IpAddr>().unwrap().into(),
            lan_port: 50_000,
            peer_port: 443,
            protocol: 6,
            ..FlowKey::default()
        };
        let flow = Flow {
            first_ns: 1_000_000,
            last_ns: 5_000_000,
            name_hash: 77,
            name_source: NameSource::Tls as u8,
            verdict: Verdict::Allow as u8,
            ifindex: 7,
            ..Flow::default()
        };
        let delta = Delta { to_peer: Volume { packets: 3, bytes: 900 }, ..Delta::default() };
        let mut builder = builder();
        let reason = EndReason::EndOfFlow;
        let record =
            builder.record(&key, &flow, delta, reason, CLOCKS, |_| Some(stored(b"a.example")));
        assert_eq!(record.sequence, 41);
        assert_eq!(record.name.as_deref(), Some("a.example"));
        assert_eq!(record.device.to_string(), "10.0.0.5");
        assert_eq!(record.start_us, 1_000_000_000_001_000);
        assert_eq!((record.packets_to_peer, record.bytes_to_peer), (3, 900));
        assert_eq!(record.interface, "lan0");
        // The second record of the flow asks nobody for the name.
        let again = builder.record(&key, &flow, delta, reason, CLOCKS, |_| None);
        assert_eq!((again.sequence, again.flow_id), (42, record.flow_id));
        assert_eq!(again.name.as_deref(), Some("a.example"));
    }

    #[test]
    fn a_name_that_is_gone_has_its_reason() {
        let flow = Flow { name_hash: 78, ..Flow::default() };
        let (key, delta) = (FlowKey::default(), Delta::default());
        let record = builder().record(&key, &flow, delta, EndReason::IdleTimeout, CLOCKS, |_| None);
        assert_eq!((record.name, record.no_name), (None, NoName::NameEvicted));
    }

    #[test]
    fn a_hostile_name_becomes_text() {
        let flow = Flow { name_hash: 79, ..Flow::default() };
        let (key, delta) = (FlowKey::default(), Delta::default());
        let name = |_| Some(stored(b"a\x1b[2J\xff\nb"));
        let record = builder().record(&key, &flow, delta, EndReason::IdleTimeout, CLOCKS, name);
        assert_eq!(record.name.as_deref(), Some("a\\x1b[2J\\xff\\x0ab"));
    }
}
