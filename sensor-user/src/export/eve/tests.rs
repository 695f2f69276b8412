use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use serde_json::Value;

use super::{Encoder as _, Eve, OWN_KEY, community_id, proto};
use crate::export::fields::{Field, Fields};
use crate::record::sample::{record, unnamed};
use crate::record::{EndReason, Initiator, Record};
use crate::schema::random::Random;

/// Paths of events and their types, after `etc/schema.json` of Suricata 7.0, which allows no others. `ja4` and
/// `client_alpns` came with Suricata 8.
const PATHS: &[(&str, &str)] = &[
    ("alert.action", "string"),
    ("alert.category", "string"),
    ("alert.gid", "integer"),
    ("alert.rev", "integer"),
    ("alert.severity", "integer"),
    ("alert.signature", "string"),
    ("alert.signature_id", "integer"),
    ("app_proto", "string"),
    ("community_id", "string"),
    ("dest_ip", "string"),
    ("dest_port", "integer"),
    ("dns.rrname", "string"),
    ("dns.type", "string"),
    ("event_type", "string"),
    ("flow.age", "integer"),
    ("flow.alerted", "boolean"),
    ("flow.bytes_toclient", "integer"),
    ("flow.bytes_toserver", "integer"),
    ("flow.end", "string"),
    ("flow.pkts_toclient", "integer"),
    ("flow.pkts_toserver", "integer"),
    ("flow.reason", "string"),
    ("flow.start", "string"),
    ("flow.state", "string"),
    ("flow_id", "integer"),
    ("http.hostname", "string"),
    ("in_iface", "string"),
    ("proto", "string"),
    ("quic.ja4", "string"),
    ("quic.sni", "string"),
    ("quic.version", "string"),
    ("src_ip", "string"),
    ("src_port", "integer"),
    ("timestamp", "string"),
    ("tls.client_alpns", "array"),
    ("tls.ja4", "string"),
    ("tls.sni", "string"),
    ("tls.version", "string"),
];

fn events(fields: Fields, record: &Record) -> Vec<Value> {
    let message = Eve::new(fields).message(&[record]);
    assert_eq!(message.records, 1);
    let text = String::from_utf8(message.bytes).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

fn assert_known(event: &Value) {
    let kind = |value: &Value| match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Number(_) | Value::Null | Value::Object(_) => "other",
    };
    let assert_path = |path: &str, value: &Value| {
        let known = PATHS.iter().find(|(known, _)| *known == path);
        let (_, expected) = known.unwrap_or_else(|| panic!("Suricata has no {path}"));
        assert_eq!(kind(value), *expected, "{path}");
    };
    for (key, value) in event.as_object().unwrap() {
        match value {
            Value::Object(_) if key == OWN_KEY => {}
            Value::Object(members) => {
                members
                    .iter()
                    .for_each(|(member, value)| assert_path(&format!("{key}.{member}"), value));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => assert_path(key, value),
        }
    }
}

#[test]
fn a_blocked_flow_is_an_alert_its_protocol_and_a_flow() {
    let events = events(Fields::ALL, &record(7));
    assert_eq!(types(&events), ["alert", "tls", "flow"]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&events).unwrap());
}

#[test]
fn a_flow_nothing_is_known_of_is_a_flow() {
    let events = events(Fields::ALL, &unnamed(7));
    assert_eq!(types(&events), ["flow"]);
    assert_eq!(events[0]["flow"]["alerted"], false);
    assert_eq!(events[0][OWN_KEY]["no_name"], "not-tls");
    assert!(events[0].get("app_proto").is_none());
}

#[test]
fn protocols_have_their_events_at_the_end_of_a_flow() {
    let named = |source, verdict| Record { name_source: source, verdict, ..record(1) };
    for (source, expected, path) in [
        (NameSource::Tls, "tls", "/tls/sni"),
        (NameSource::Http, "http", "/http/hostname"),
        (NameSource::Dns, "dns", "/dns/rrname"),
        (NameSource::Quic, "quic", "/quic/sni"),
    ] {
        let over = events(Fields::ALL, &named(source, Verdict::Allow));
        assert_eq!(types(&over), [expected, "flow"]);
        assert_eq!(over[0].pointer(path).unwrap(), "casino.example.org");
        let goes_on =
            Record { end_reason: EndReason::ActiveTimeout, ..named(source, Verdict::Allow) };
        assert_eq!(types(&events(Fields::ALL, &goes_on)), ["flow"]);
    }
    let quic =
        Record { quic_version: Some("2".to_owned()), ..named(NameSource::Quic, Verdict::Allow) };
    assert_eq!(events(Fields::ALL, &quic)[0]["quic"]["version"], "6b3343cf");
    // A name that only a DNS answer gave is no SNI.
    let answered = events(Fields::ALL, &named(NameSource::DnsAnswer, Verdict::Allow));
    assert_eq!(types(&answered), ["quic", "flow"]);
    assert!(answered[0]["quic"].get("sni").is_none());
    assert_eq!(answered[0][OWN_KEY]["name"], "casino.example.org");
}

#[test]
fn who_opened_the_flow_is_its_source() {
    let record = Record { initiator: Initiator::Peer, ..record(1) };
    let flow = events(Fields::ALL, &record).pop().unwrap();
    assert_eq!((&flow["src_ip"], &flow["dest_ip"]), (&"192.0.2.80".into(), &"10.0.0.5".into()));
    assert_eq!((&flow["src_port"], &flow["dest_port"]), (&443.into(), &50_123.into()));
    assert_eq!(flow["flow"]["bytes_toserver"], 120);
    assert_eq!(flow["flow"]["bytes_toclient"], 900);
}

#[test]
fn alerts_say_what_was_done() {
    for (verdict, no_name, action, number) in [
        (Verdict::Block, NoName::Named, "blocked", 1_000_001),
        (Verdict::Alert, NoName::Named, "allowed", 1_000_002),
        (Verdict::Block, NoName::Evasion, "blocked", 1_000_003),
        (Verdict::Allow, NoName::Evasion, "allowed", 1_000_003),
    ] {
        let events = events(Fields::ALL, &Record { no_name, verdict, ..record(1) });
        assert_eq!(events[0]["alert"]["action"], action);
        assert_eq!(events[0]["alert"]["signature_id"], number);
    }
}

#[test]
fn what_is_left_out_is_nowhere_in_an_event() {
    let hidden = [Field::Device, Field::Name, Field::Categories, Field::Interface, Field::FlowId];
    for event in events(Fields::ALL.without(&hidden), &record(9)) {
        let text = event.to_string();
        for secret in ["10.0.0.5", "casino", "gambling", "lan0", "community_id", "flow_id"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("192.0.2.80"), "{text}");
    }
    assert_eq!(types(&events(Fields::NONE, &record(9))), ["flow"]);
}

#[test]
fn events_have_suricatas_paths_and_types_whatever_the_record() {
    let mut random = Random::new(4);
    let records: Vec<Record> = (0..500).map(|_| random.record()).collect();
    for record in &records {
        for event in events(Fields::ALL, record) {
            assert_known(&event);
            let timestamp = event["timestamp"].as_str().unwrap();
            assert!(timestamp.len() >= 31 && timestamp.ends_with("+0000"), "{timestamp}");
            assert_eq!(event[OWN_KEY]["name"], serde_json::json!(record.name).clone());
        }
    }
}

#[test]
fn a_message_ends_with_a_record() {
    let records: Vec<Record> = (0..1000).map(record).collect();
    let mut rest: Vec<&Record> = records.iter().collect();
    let mut lines = 0;
    while !rest.is_empty() {
        let message = Eve::new(Fields::ALL).message(&rest);
        assert!(message.bytes.len() < 2 * super::MESSAGE_BYTES && message.records > 0);
        assert_eq!(message.bytes.last(), Some(&b'\n'));
        lines += std::str::from_utf8(&message.bytes).unwrap().lines().count();
        rest.drain(..message.records);
    }
    assert_eq!(lines, 3000);
}

#[test]
fn protocols_are_written_as_suricata_does() {
    let check = |number, expected| assert_eq!(proto(number), expected);
    check(6, "TCP");
    check(58, "IPv6-ICMP");
    check(132, "SCTP");
    check(9, "009");
    check(253, "253");
}

/// From the examples of the specification.
#[test]
fn community_ids_are_those_of_the_specification() {
    let flow = |protocol, device: &str, device_port, peer: &str, peer_port| Record {
        protocol,
        device: device.parse().unwrap(),
        device_port,
        peer: peer.parse().unwrap(),
        peer_port,
        ..record(1)
    };
    let tcp = flow(6, "128.232.110.120", 34_855, "66.35.250.204", 80);
    assert_eq!(community_id(&tcp).unwrap(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    let back = flow(6, "66.35.250.204", 80, "128.232.110.120", 34_855);
    assert_eq!(community_id(&back), community_id(&tcp));
    let udp = flow(17, "192.168.1.52", 54_585, "8.8.8.8", 53);
    assert_eq!(community_id(&udp).unwrap(), "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
    assert_eq!(community_id(&flow(1, "192.168.0.89", 0, "192.168.0.1", 0)), None);
    assert_eq!(community_id(&flow(6, "192.168.0.89", 1, "0.0.0.0", 443)), None);
}
