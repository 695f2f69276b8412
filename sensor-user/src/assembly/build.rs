//! One record of one flow: numbers become names, kernel time becomes wall time.

use std::net::IpAddr;
use std::sync::Arc;

use sensor_ebpf::abi::{AnsweredName, Flow, FlowKey, NameSource, NoName, Verdict};
use sensor_ebpf::flow::mark;
use sensor_ebpf::parse::{TCP, UDP};

use super::Identity;
use super::known::{Asked, HELLOS_MAX, Known, NAMES_MAX, Stores};
use super::part::Part;
use crate::hello::Offer;
use crate::identity::Directory;
use crate::policy::generations::Generations;
use crate::record::{Initiator, RECORD_VERSION, Record, name_of_bytes};

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

/// What the records of one daemon have in common.
pub(super) struct Builder {
    identity: Identity,
    interfaces: Vec<(u32, String)>,
    generations: Arc<Generations>,
    names: Known<String>,
    hellos: Known<Offer>,
    directory: Arc<Directory>,
    sequence: u64,
}

impl Builder {
    pub(super) fn new(
        identity: Identity,
        interfaces: Vec<(u32, String)>,
        generations: Arc<Generations>,
        sequence: u64,
    ) -> Self {
        let (names, hellos) = (Known::new(NAMES_MAX), Known::new(HELLOS_MAX));
        let directory = Arc::default();
        Self { identity, interfaces, generations, names, hellos, directory, sequence }
    }

    pub(super) fn name_devices(&mut self, directory: Arc<Directory>) {
        self.directory = directory;
    }

    pub(super) fn record(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        part: &Part,
        clocks: Clocks,
        stores: Stores<'_>,
    ) -> Record {
        let device = IpAddr::from(key.lan_address);
        let mut judged = self.generations.resolve(flow, device);
        if flow.name_hash == 0 && flow.list == 0 {
            // They are of a name that came before what the flow was blocked for, and not of its port.
            (judged.categories, judged.list) = (Vec::new(), None);
        }
        let asked = if flow.name_hash == 0 && !judged.unlogged {
            self.asked_name(key, flow, device, stores)
        } else {
            Asked::Nothing
        };
        judged.unlogged |= asked == Asked::Unlogged;
        let (name, no_name) = self.name(flow, judged.unlogged, stores);
        // A program that visits one protected name is told by its hello as it would be by the name.
        let offer = if judged.unlogged { None } else { self.offer(flow, stores) };
        let ech = offer.as_ref().map(|offer| offer.ech);
        let (tls_version, alpn, ja4) = offer
            .map(|Offer { tls_version, alpn, ja4, .. }| (tls_version, alpn, ja4))
            .unwrap_or_default();
        let quic = if judged.unlogged { None } else { flow.quic_version() };
        let (name, name_source) = match (name, asked) {
            (Some(name), _) => {
                (Some(name), NameSource::try_from(flow.name_source).unwrap_or(NameSource::None))
            }
            (None, Asked::Name(name)) => (Some(name), NameSource::DnsAnswer),
            (None, Asked::Nothing | Asked::Unlogged) => (None, NameSource::None),
        };
        let start_us = clocks.wall_us(flow.first_ns);
        let who = self.directory.resolve(device, start_us);
        let sequence = self.sequence;
        self.sequence += 1;
        Record {
            schema_version: RECORD_VERSION,
            sensor: self.identity.sensor.clone(),
            boot: self.identity.boot.clone(),
            sequence,
            flow_id: part.flow_id,
            start_us,
            end_us: clocks.wall_us(flow.last_ns),
            device,
            device_port: key.lan_port,
            mac: who.as_ref().and_then(|who| who.mac),
            mac_randomised: who.as_ref().and_then(|who| Some(who.mac?.is_local())),
            identity_source: who.as_ref().map(|who| who.source),
            identity_confidence: who.as_ref().map(|who| who.confidence),
            user: who.as_ref().and_then(|who| who.user.clone()),
            host_name: who.and_then(|who| who.host_name),
            // Who was called would tell what was called.
            peer: if judged.unlogged { hidden(device) } else { key.peer_address.into() },
            peer_port: key.peer_port,
            protocol: key.protocol,
            zone: key.zone,
            interface: self.interface(flow.ifindex),
            packets_to_peer: part.delta.to_peer.packets,
            bytes_to_peer: part.delta.to_peer.bytes,
            packets_to_lan: part.delta.to_lan.packets,
            bytes_to_lan: part.delta.to_lan.bytes,
            name_source,
            name,
            no_name,
            verdict: Verdict::try_from(flow.verdict).unwrap_or(Verdict::Undecided),
            categories: judged.categories,
            list: judged.list,
            policy: judged.policy,
            group: judged.group,
            tls_version,
            application: application(key, &alpn).map(str::to_owned),
            quic_version: quic.map(|version| version.name().to_owned()),
            quic_datagrams: quic.and(Some(flow.examined)).filter(|count| *count != 0),
            alpn,
            ech,
            ja4,
            end_reason: part.reason,
            initiator: initiator(flow),
        }
    }

    fn name(
        &mut self,
        flow: &Flow,
        unlogged: bool,
        stores: Stores<'_>,
    ) -> (Option<String>, NoName) {
        if flow.name_hash == 0 {
            let reason = NoName::try_from(flow.no_name).ok();
            let reason = reason.filter(|reason| *reason != NoName::Named);
            return (None, reason.unwrap_or(NoName::NotExamined));
        }
        if unlogged {
            return (None, NoName::Unlogged);
        }
        match self.stored_name(flow.name_hash, stores) {
            Some(name) => (Some(name), NoName::Named),
            None => (None, NoName::NameEvicted),
        }
    }

    fn stored_name(&mut self, hash: u64, stores: Stores<'_>) -> Option<String> {
        self.names.get(hash, |hash| Some(name_of_bytes((stores.name)(hash)?.as_bytes())))
    }

    /// The name that the device had asked for when it was given this address, if it held as the flow
    /// began. It is looked for here and not where packets are counted: there it would cost every new flow
    /// a look-up, and nothing is decided by it. What the device asks for meanwhile may have taken its
    /// place; the flow is then left without.
    fn asked_name(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        device: IpAddr,
        stores: Stores<'_>,
    ) -> Asked {
        let answered = (stores.answered)(key).filter(|answered| answered.held_at(flow.first_ns));
        let Some(AnsweredName { name_hash, categories, policy, .. }) = answered else {
            return Asked::Nothing;
        };
        if self.generations.leaves_out(policy, categories, device) {
            return Asked::Unlogged;
        }
        self.stored_name(name_hash, stores).map_or(Asked::Nothing, Asked::Name)
    }

    /// What the flow's hello offers; nothing where none was read or the kernel has let go of it.
    fn offer(&mut self, flow: &Flow, stores: Stores<'_>) -> Option<Offer> {
        if flow.hello == 0 {
            return None;
        }
        self.hellos.get(flow.hello, |key| Some(Offer::of(&(stores.hello)(key)?)))
    }

    fn interface(&self, ifindex: u32) -> String {
        self.interfaces
            .iter()
            .find(|(index, _)| *index == ifindex)
            .map_or_else(|| format!("#{ifindex}"), |(_, name)| name.clone())
    }
}

/// Encrypted DNS, by what the hello offers or by its port (RFC 7858 section 3.1, RFC 9250 section 4.1.1).
fn application(key: &FlowKey, alpn: &[String]) -> Option<&'static str> {
    const PORT: u16 = 853;
    let name = match key.protocol {
        TCP => "dot",
        UDP => "doq",
        _ => return None,
    };
    let offered = alpn.iter().any(|protocol| protocol == name);
    (offered || key.peer_port == PORT).then_some(name)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sensor_ebpf::abi::{DomainEntry, StoredHello, StoredName, Volume};

    use super::super::part::Delta;
    use super::*;
    use crate::hello::tests::chrome;
    use crate::identity::told;
    use crate::policy::Policy;
    use crate::record::EndReason;

    const CLOCKS: Clocks = Clocks { now_ns: 9_000_000, wall_offset_ns: 1_000_000_000_000_000_000 };

    /// The end of a flow, and nothing of it.
    const PART: Part = Part {
        flow_id: 1,
        delta: Delta {
            to_peer: Volume { packets: 0, bytes: 0 },
            to_lan: Volume { packets: 0, bytes: 0 },
        },
        reason: EndReason::EndOfFlow,
    };

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

    const NOTHING: Stores<'_> = Stores { name: &|_| None, hello: &|_| None, answered: &|_| None };

    /// The record of a flow without packets of its own.
    fn made(builder: &mut Builder, flow: &Flow, stores: Stores<'_>) -> Record {
        builder.record(&FlowKey::default(), flow, &PART, CLOCKS, stores)
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
            hello: 78,
            name_source: NameSource::Tls as u8,
            verdict: Verdict::Allow as u8,
            ifindex: 7,
            ..Flow::default()
        };
        let delta = Delta { to_peer: Volume { packets: 3, bytes: 900 }, ..Delta::default() };
        let part = Part { delta, ..PART };
        let mut builder = builder();
        let stores = Stores {
            name: &|hash| (hash == 77).then(|| stored(b"a.example")),
            hello: &|key| (key == 78).then(chrome),
            ..NOTHING
        };
        let record = builder.record(&key, &flow, &part, CLOCKS, stores);
        assert_eq!(record.sequence, 41);
        assert_eq!(record.name.as_deref(), Some("a.example"));
        assert_eq!(record.device.to_string(), "10.0.0.5");
        assert_eq!(record.start_us, 1_000_000_000_001_000);
        assert_eq!((record.packets_to_peer, record.bytes_to_peer), (3, 900));
        assert_eq!(record.interface, "lan0");
        assert_eq!(record.tls_version.as_deref(), Some("TLS 1.3"));
        assert_eq!(record.alpn, ["h2", "http/1.1"]);
        assert_eq!(record.ech, Some(false));
        assert_eq!(record.ja4.as_deref(), Some("t13d1516h2_8daaf6152771_e5627efa2ab1"));
        // The second record of the flow asks nobody for name and hello.
        let again = builder.record(&key, &flow, &part, CLOCKS, NOTHING);
        assert_eq!(again, Record { sequence: 42, ..record });
    }

    #[test]
    fn a_record_says_who_it_was_when_the_flow_began() {
        let (directory, start) = (Arc::new(Directory::default()), 1_000_000_000_001_000);
        let (device, user) = (IpAddr::from([10, 0, 0, 5]), "a.smith".to_owned());
        let mut builder = builder();
        builder.name_devices(Arc::clone(&directory));
        directory.learn(vec![told::user_id(device, user, start, Some(start + 2_000))], start);
        let key = FlowKey { lan_address: device.into(), ..FlowKey::default() };
        let users = [500_000, 1_000_000, 2_999_000, 3_000_000].map(|first_ns| {
            let flow = Flow { first_ns, last_ns: 5_000_000, ..Flow::default() };
            builder.record(&key, &flow, &PART, CLOCKS, NOTHING).user.is_some()
        });
        assert_eq!(users, [false, true, true, false]);
    }

    #[test]
    fn what_is_gone_is_left_out() {
        let flow = Flow { name_hash: 78, hello: 79, ..Flow::default() };
        let record = made(&mut builder(), &flow, NOTHING);
        assert_eq!((record.name, record.no_name), (None, NoName::NameEvicted));
        let Record { tls_version, alpn, ech, ja4, .. } = record;
        assert_eq!((tls_version, alpn, ech, ja4), (None, vec![], None, None));
    }

    #[test]
    fn a_flow_without_a_hello_asks_for_none() {
        let asked = |_| -> Option<StoredHello> { panic!("asked for no hello") };
        let record = made(&mut builder(), &Flow::default(), Stores { hello: &asked, ..NOTHING });
        assert_eq!(record.ech, None);
    }

    #[test]
    fn a_flow_judged_without_a_name_has_its_reason() {
        for reason in NoName::ALL.iter().copied().filter(|reason| *reason != NoName::Named) {
            for verdict in [Verdict::Undecided, Verdict::Block] {
                let flow =
                    Flow { verdict: verdict as u8, no_name: reason as u8, ..Flow::default() };
                let record = made(&mut builder(), &flow, NOTHING);
                assert_eq!((record.name, record.no_name), (None, reason));
                assert_eq!((record.verdict, record.name_source), (verdict, NameSource::None));
            }
        }
        // What decided about its port is told.
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/policy.toml");
        let policy = Policy::load(&policy).unwrap();
        let (_, entry) = policy.ports().find(|(port, _)| port.to_string() == "udp/1194").unwrap();
        let mut knowing = builder();
        knowing.generations.note(1, &policy).unwrap();
        let DomainEntry { categories, list, .. } = entry;
        let no_name = NoName::ListedPort as u8;
        let flow = Flow { categories, list, policy: 1, no_name, ..Flow::default() };
        for (list, expected) in [(list, vec!["circumvention"]), (0, Vec::new())] {
            let record = made(&mut knowing, &Flow { list, ..flow }, NOTHING);
            assert_eq!(record.categories, expected);
            assert_eq!(record.list.is_some(), list != 0);
        }
        // A reason of another version, and none at all.
        for no_name in [u8::MAX, NoName::Named as u8] {
            let record = made(&mut builder(), &Flow { no_name, ..Flow::default() }, NOTHING);
            assert_eq!(record.no_name, NoName::NotExamined);
        }
    }

    #[test]
    fn a_protected_name_is_not_told_by_its_hello() {
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/policy.toml");
        let policy = Policy::load(&policy).unwrap();
        let mut protected =
            policy.entries().filter(|(_, entry)| policy.is_unlogged(entry.categories));
        let (_, entry) = protected.next().unwrap();
        let mut builder = builder();
        builder.generations.note(1, &policy).unwrap();
        let stores = Stores {
            name: &|_| Some(stored(b"help.example")),
            hello: &|_| Some(chrome()),
            ..NOTHING
        };
        let flow = Flow { name_hash: 1, hello: 2, policy: 1, ..Flow::default() };
        assert_eq!(made(&mut builder, &flow, stores).ech, Some(false));
        let flow = Flow { categories: entry.categories, ..flow };
        let record = made(&mut builder, &flow, stores);
        assert_eq!((record.name, record.no_name), (None, NoName::Unlogged));
        let Record { tls_version, alpn, ech, ja4, .. } = record;
        assert_eq!((tls_version, alpn, ech, ja4), (None, vec![], None, None));
    }

    #[test]
    fn a_flow_without_a_name_has_the_one_its_address_came_with() {
        let held =
            AnsweredName { name_hash: 7, since_ns: 10, until_ns: 20, ..AnsweredName::default() };
        let answered = |_: &FlowKey| Some(held);
        let stores =
            Stores { name: &|_| Some(stored(b"asked.example")), answered: &answered, ..NOTHING };
        let mut builder = builder();
        for (first_ns, expected) in [(9, None), (10, Some("asked.example")), (21, None)] {
            let flow = Flow { first_ns, no_name: NoName::NoSni as u8, ..Flow::default() };
            let record = made(&mut builder, &flow, stores);
            assert_eq!((record.name.as_deref(), record.no_name), (expected, NoName::NoSni));
            let source = if expected.is_some() { NameSource::DnsAnswer } else { NameSource::None };
            assert_eq!((record.name_source, record.verdict), (source, Verdict::Undecided));
        }
        // A name of its own, known or not, is another matter.
        let flow = Flow { first_ns: 10, name_hash: 8, ..Flow::default() };
        let record = made(&mut builder, &flow, Stores { name: &|_| None, ..stores });
        assert_eq!((record.name, record.no_name), (None, NoName::NameEvicted));
    }

    #[test]
    fn encrypted_dns_is_told_by_port_and_protocol() {
        for (protocol, peer_port, alpn, expected) in [
            (TCP, 853, "", Some("dot")),
            (TCP, 443, "dot", Some("dot")),
            (UDP, 853, "h3", Some("doq")),
            (UDP, 784, "doq", Some("doq")),
            (TCP, 443, "h2", None),
            (UDP, 443, "h3", None),
            (132, 853, "", None),
        ] {
            let key = FlowKey { protocol, peer_port, ..FlowKey::default() };
            assert_eq!(application(&key, &[alpn.to_owned()]), expected, "{protocol} {peer_port}");
        }
    }

    #[test]
    fn a_protected_name_is_not_told_by_its_address() {
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/policy.toml");
        let policy = Policy::load(&policy).unwrap();
        let (_, entry) =
            policy.entries().find(|(_, entry)| policy.is_unlogged(entry.categories)).unwrap();
        let mut builder = builder();
        builder.generations.note(1, &policy).unwrap();
        let (categories, until_ns) = (entry.categories, 20);
        let held = AnsweredName {
            name_hash: 7,
            categories,
            policy: 1,
            until_ns,
            ..AnsweredName::default()
        };
        let answered = |_: &FlowKey| Some(held);
        let stores =
            Stores { name: &|_| Some(stored(b"help.example")), answered: &answered, ..NOTHING };
        let flow = Flow { first_ns: 10, no_name: NoName::NoSni as u8, ..Flow::default() };
        let peer_address = "192.0.2.80".parse::<IpAddr>().unwrap().into();
        let lan_address = "10.0.0.5".parse::<IpAddr>().unwrap().into();
        let key = FlowKey { peer_address, lan_address, ..FlowKey::default() };
        let record = builder.record(&key, &flow, &PART, CLOCKS, stores);
        assert_eq!((record.name, record.no_name), (None, NoName::NoSni));
        assert!(record.peer.is_unspecified());
    }

    #[test]
    fn a_hostile_name_becomes_text() {
        let flow = Flow { name_hash: 79, ..Flow::default() };
        let name = |_| Some(stored(b"a\x1b[2J\xff\nb"));
        let record = made(&mut builder(), &flow, Stores { name: &name, ..NOTHING });
        assert_eq!(record.name.as_deref(), Some("a\\x1b[2J\\xff\\x0ab"));
    }
}
