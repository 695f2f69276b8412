//! Suricata's EVE JSON, one line an event, as those who read Suricata 7 know it.
//!
//! Each record is a `flow` event with the volumes since the flow's last record. A block, an alert or an evasion is an
//! `alert` event before it; the record that ends a flow is also a `tls`, `http`, `quic` or `dns` event, by what named it.
//! What Suricata has no field for lies under one key of our own, [`OWN_KEY`], by the names of records.

use community_id::calculate_community_id;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sensor_ebpf::abi::NameSource;
use serde_json::{Map, Value, json};

use super::fields::{Field, Fields};
use super::message::{Encoder, Message};
use super::occurrence::Occurrence;
use super::protocol;
use crate::record::{EndReason, Initiator, Record};

/// Key of what is ours in an event.
pub const OWN_KEY: &str = "campus_sensor";

/// Bytes of lines that are written at once: beyond it a system call more costs nothing that shows.
const MESSAGE_BYTES: usize = 64 * 1024;

/// Bits of `flow_id`: readers of JSON round integers above 2^53. The whole id is under our own key.
const FLOW_ID_MASK: u64 = (1 << 53) - 1;

/// `gid` of alerts: Suricata's for rules.
const GENERATOR: u32 = 1;

/// `signature_id` of the first occurrence; the range up to 1999999 is for local use in Suricata's rules.
const SIGNATURE_FIRST: u32 = 1_000_001;

/// Told by Suricata's own fields, of every event.
const TOLD: &[Field] = &[
    Field::Start,
    Field::End,
    Field::Device,
    Field::DevicePort,
    Field::Peer,
    Field::PeerPort,
    Field::Protocol,
    Field::Interface,
    Field::PacketsToPeer,
    Field::BytesToPeer,
    Field::PacketsToLan,
    Field::BytesToLan,
];

/// Records as lines of EVE.
pub struct Eve {
    fields: Fields,
    own: Vec<Field>,
}

impl Eve {
    /// An encoder that tells these fields.
    pub fn new(fields: Fields) -> Self {
        Self { fields, own: fields.without(TOLD).iter().collect() }
    }

    /// The events of a record, in the order they are written.
    fn events(&self, record: &Record) -> Vec<Value> {
        let mut events = Vec::with_capacity(3);
        let occurrence = Occurrence::of(record).filter(|_| self.fields.has(Field::Verdict));
        let protocol = self.application_layer(record);
        if let Some(occurrence) = occurrence {
            let mut event = self.event("alert", record);
            event.insert("alert".to_owned(), self.alert(occurrence, record));
            event.insert("flow".to_owned(), self.flow(record));
            event.extend(protocol.clone().map(|(name, object)| (name.to_owned(), object)));
            events.push(event.into());
        }
        if let Some((name, object)) = protocol
            && record.end_reason.is_final()
        {
            let mut event = self.event(name, record);
            event.insert(name.to_owned(), object);
            events.push(event.into());
        }
        let mut event = self.event("flow", record);
        event.insert("flow".to_owned(), self.flow(record));
        events.push(event.into());
        events
    }

    /// What all events of a record have.
    fn event(&self, event_type: &str, record: &Record) -> Map<String, Value> {
        let ends = Ends::of(record);
        let mut event = Map::new();
        let mut put = |key: &str, needs: &[Field], value: Value| {
            if self.fields.have(needs) && !value.is_null() {
                event.insert(key.to_owned(), value);
            }
        };
        put("timestamp", &[], json!(time(record.end_us)));
        put("event_type", &[], json!(event_type));
        put("flow_id", &[Field::FlowId], json!(record.flow_id & FLOW_ID_MASK));
        put("in_iface", &[Field::Interface], json!(record.interface));
        put("src_ip", &[ends.source.0], json!(ends.source.1));
        put("src_port", &[ends.source_port.0], json!(ends.source_port.1));
        put("dest_ip", &[ends.destination.0], json!(ends.destination.1));
        put("dest_port", &[ends.destination_port.0], json!(ends.destination_port.1));
        put("proto", &[Field::Protocol], json!(proto(record.protocol)));
        put("app_proto", &[Field::NameSource], json!(app_proto(record)));
        let tuple =
            [Field::Device, Field::DevicePort, Field::Peer, Field::PeerPort, Field::Protocol];
        put("community_id", &tuple, json!(community_id(record)));
        let known = self.own.iter().map(|field| (field, field.value(record).json()));
        let known = known.filter(|(_, value)| !value.is_null());
        let own: Map<_, _> = known.map(|(field, value)| (field.name().to_owned(), value)).collect();
        if !own.is_empty() {
            event.insert(OWN_KEY.to_owned(), own.into());
        }
        event
    }

    fn flow(&self, record: &Record) -> Value {
        let ends = Ends::of(record);
        let mut flow = Map::new();
        let mut put = |key: &str, needs: &[Field], value: Value| {
            if self.fields.have(needs) {
                flow.insert(key.to_owned(), value);
            }
        };
        put("pkts_toserver", &[ends.packets_to_server.0], json!(ends.packets_to_server.1));
        put("pkts_toclient", &[ends.packets_to_client.0], json!(ends.packets_to_client.1));
        put("bytes_toserver", &[ends.bytes_to_server.0], json!(ends.bytes_to_server.1));
        put("bytes_toclient", &[ends.bytes_to_client.0], json!(ends.bytes_to_client.1));
        put("start", &[Field::Start], json!(time(record.start_us)));
        put("end", &[Field::End], json!(time(record.end_us)));
        let age_s = record.end_us.saturating_sub(record.start_us).max(0) / 1_000_000;
        put("age", &[Field::Start, Field::End], json!(age_s));
        put("state", &[Field::EndReason], json!(state(record)));
        put("reason", &[Field::EndReason], json!(reason(record.end_reason)));
        put("alerted", &[Field::Verdict], json!(Occurrence::of(record).is_some()));
        flow.into()
    }

    fn alert(&self, occurrence: Occurrence, record: &Record) -> Value {
        let blocked = record.verdict == sensor_ebpf::abi::Verdict::Block;
        let (number, signature, severity) = match occurrence {
            Occurrence::Evasion => (2, "campus-sensor: two versions of one hello", 1),
            Occurrence::Block => (0, "campus-sensor: blocked by policy", 2),
            Occurrence::Alert => (1, "campus-sensor: told of by policy", 3),
        };
        let categories = if self.fields.has(Field::Categories) {
            record.categories.join(", ")
        } else {
            String::new()
        };
        json!({
            "action": if blocked { "blocked" } else { "allowed" },
            "gid": GENERATOR,
            "signature_id": SIGNATURE_FIRST + number,
            "rev": 1,
            "signature": signature,
            "category": categories,
            "severity": severity,
        })
    }

    /// The event of the protocol that named the flow or whose hello was read, and what is in it.
    fn application_layer(&self, record: &Record) -> Option<(&'static str, Value)> {
        let name = record.name.as_deref().filter(|_| self.fields.has(Field::Name));
        let name = name.filter(|_| record.name_source != NameSource::DnsAnswer);
        let given =
            |field, text: Option<&str>| text.filter(|_| self.fields.has(field)).map(str::to_owned);
        let ja4 = given(Field::Ja4, record.ja4.as_deref());
        let (event, members) = match app_proto(record)? {
            "tls" => {
                let alpn = Some(&record.alpn).filter(|alpn| !alpn.is_empty());
                let alpn = alpn.filter(|_| self.fields.has(Field::Alpn));
                let version = given(Field::TlsVersion, record.tls_version.as_deref());
                let members =
                    json!({"sni": name, "version": version, "ja4": ja4, "client_alpns": alpn});
                ("tls", members)
            }
            "http" => ("http", json!({"hostname": name})),
            "quic" => {
                let version = record.quic_version.as_deref().map(quic_version);
                let version = given(Field::QuicVersion, version);
                ("quic", json!({"version": version, "sni": name, "ja4": ja4}))
            }
            "dns" => ("dns", json!({"type": "query", "rrname": name})),
            _ => return None,
        };
        let Value::Object(mut members) = members else { return None };
        members.retain(|_, value| !value.is_null());
        // A query without its name says nothing.
        (members.keys().any(|key| key != "type")).then(|| (event, members.into()))
    }
}

impl Encoder for Eve {
    fn message(&mut self, records: &[&Record]) -> Message {
        let mut message = Message { bytes: Vec::new(), records: 0 };
        for record in records {
            for event in self.events(record) {
                message.bytes.extend(event.to_string().as_bytes());
                message.bytes.push(b'\n');
            }
            message.records += 1;
            if message.bytes.len() >= MESSAGE_BYTES {
                break;
            }
        }
        message
    }
}

/// The two ends as Suricata sees them: the client is who opened the flow, where that was seen. Each value comes with the
/// field it is from.
struct Ends {
    source: (Field, std::net::IpAddr),
    source_port: (Field, u16),
    destination: (Field, std::net::IpAddr),
    destination_port: (Field, u16),
    packets_to_server: (Field, u64),
    packets_to_client: (Field, u64),
    bytes_to_server: (Field, u64),
    bytes_to_client: (Field, u64),
}

impl Ends {
    const fn of(record: &Record) -> Self {
        let (device, peer) = ((Field::Device, record.device), (Field::Peer, record.peer));
        let device_port = (Field::DevicePort, record.device_port);
        let peer_port = (Field::PeerPort, record.peer_port);
        let packets_to_peer = (Field::PacketsToPeer, record.packets_to_peer);
        let packets_to_lan = (Field::PacketsToLan, record.packets_to_lan);
        let bytes_to_peer = (Field::BytesToPeer, record.bytes_to_peer);
        let bytes_to_lan = (Field::BytesToLan, record.bytes_to_lan);
        match record.initiator {
            Initiator::Lan | Initiator::Unknown => Self {
                source: device,
                source_port: device_port,
                destination: peer,
                destination_port: peer_port,
                packets_to_server: packets_to_peer,
                packets_to_client: packets_to_lan,
                bytes_to_server: bytes_to_peer,
                bytes_to_client: bytes_to_lan,
            },
            Initiator::Peer => Self {
                source: peer,
                source_port: peer_port,
                destination: device,
                destination_port: device_port,
                packets_to_server: packets_to_lan,
                packets_to_client: packets_to_peer,
                bytes_to_server: bytes_to_lan,
                bytes_to_client: bytes_to_peer,
            },
        }
    }
}

/// `2026-03-10T12:00:00.000000+0000`.
fn time(time_us: i64) -> String {
    let time = Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6f%z").to_string()
}

/// A protocol as Suricata writes it: a known one by name, others in three digits.
fn proto(number: u8) -> String {
    let name = protocol::name(number);
    match name.as_ref() {
        "ipv6-icmp" => "IPv6-ICMP".to_owned(),
        name if name.starts_with(|first: char| first.is_ascii_digit()) => format!("{number:03}"),
        name => name.to_ascii_uppercase(),
    }
}

/// The protocol above, where it is known.
fn app_proto(record: &Record) -> Option<&'static str> {
    match record.name_source {
        NameSource::Tls => Some("tls"),
        NameSource::Http => Some("http"),
        NameSource::Dns => Some("dns"),
        NameSource::Quic => Some("quic"),
        NameSource::None | NameSource::DnsAnswer => {
            if record.quic_version.is_some() {
                Some("quic")
            } else if record.tls_version.is_some() || record.ja4.is_some() {
                Some("tls")
            } else {
                None
            }
        }
    }
}

/// A version of QUIC as Suricata writes it: its number, in hexadecimal digits.
fn quic_version(version: &str) -> &str {
    match version {
        "2" => "6b3343cf",
        "draft-29" => "ff00001d",
        other => other,
    }
}

/// Suricata's state of a flow.
const fn state(record: &Record) -> &'static str {
    if matches!(record.end_reason, EndReason::EndOfFlow) {
        "closed"
    } else if record.packets_to_lan == 0 || record.packets_to_peer == 0 {
        "new"
    } else {
        "established"
    }
}

/// Suricata's reason for a flow's end: a closed flow times out there.
const fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::IdleTimeout | EndReason::ActiveTimeout | EndReason::EndOfFlow => "timeout",
        EndReason::ForcedEnd | EndReason::LackOfResources => "forced",
    }
}

/// Community ID, version 1, seed 0. None of ICMP, whose types and codes are not recorded, and where the peer is hidden.
fn community_id(record: &Record) -> Option<String> {
    let (device, peer, protocol) = (record.device, record.peer, record.protocol);
    if matches!(protocol::name(protocol).as_ref(), "icmp" | "ipv6-icmp") || peer.is_unspecified() {
        return None;
    }
    let has_ports = matches!(protocol::name(protocol).as_ref(), "tcp" | "udp" | "sctp");
    let port = |port: u16| has_ports.then_some(port);
    let (device_port, peer_port) = (port(record.device_port), port(record.peer_port));
    calculate_community_id(0, device, peer, device_port, peer_port, protocol, false).ok()
}

#[cfg(test)]
mod tests;
