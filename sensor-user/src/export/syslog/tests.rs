use std::collections::BTreeMap;

use sensor_ebpf::abi::{NoName, Verdict};

use super::{DATAGRAM_BYTES, Encoder as _, Framing, STREAM_BYTES, Syslog};
use crate::export::fields::{Field, Fields};
use crate::export::occurrence::Occurrence;
use crate::record::Record;
use crate::record::sample::record;
use crate::schema::random::Random;

fn datagram(fields: Fields, record: &Record) -> String {
    let message = Syslog::new(fields, Framing::Datagram, 32_473).message(&[record]);
    assert_eq!(message.records, 1);
    String::from_utf8(message.bytes).unwrap()
}

/// Names and values of the structured data, and what comes after it: a reader by the grammar of RFC 5424 section 6.
fn parsed(message: &str) -> (BTreeMap<String, String>, String) {
    let mut parts = message.splitn(7, ' ');
    let header: Vec<&str> = parts.by_ref().take(6).collect();
    assert_eq!(header.len(), 6, "{message}");
    let rest = parts.next().unwrap().strip_prefix("[flow@32473").unwrap();
    let mut values = BTreeMap::new();
    let mut chars = rest.chars();
    loop {
        match chars.next().unwrap() {
            ']' => break,
            separator => assert_eq!(separator, ' '),
        }
        let name: String = chars.by_ref().take_while(|character| *character != '=').collect();
        assert_eq!(chars.next(), Some('"'));
        let mut value = String::new();
        loop {
            match chars.next().unwrap() {
                '"' => break,
                '\\' => value.push(chars.next().unwrap()),
                ']' => panic!("a bracket that is not escaped in {message}"),
                other => value.push(other),
            }
        }
        values.insert(name, value);
    }
    (values, chars.collect())
}

#[test]
fn a_block_is_a_notice_with_the_records_fields() {
    insta::assert_snapshot!(datagram(Fields::ALL, &record(7)));
}

#[test]
fn alerts_and_evasions_are_warnings() {
    let alert = datagram(Fields::ALL, &Record { verdict: Verdict::Alert, ..record(7) });
    assert!(
        alert.starts_with(
            "<132>1 2026-03-10T12:00:00.000000Z gw-1 campus-sensor - ALERT [flow@32473 "
        )
    );
    let evasion = Record { no_name: NoName::Evasion, name: None, ..record(7) };
    let evasion = datagram(Fields::ALL, &evasion);
    assert!(evasion.starts_with("<132>1 ") && evasion.contains(" EVASION ["), "{evasion}");
    assert!(
        evasion.ends_with("] two versions of one hello for 10.0.0.5, adult gambling"),
        "{evasion}"
    );
}

#[test]
fn whatever_a_name_has_in_it_the_structure_holds() {
    for name in [r#"a"b]c\d"#, r"\x0a\x5d", "]", "\"", "\\", "a=\"b\" c=\"d\"]"] {
        let record = Record { name: Some(name.to_owned()), ..record(1) };
        let (values, text) = parsed(&datagram(Fields::ALL, &record));
        assert_eq!(values["name"], name);
        assert!(text.starts_with(&format!(" blocked: {name} for ")), "{text}");
    }
    let mut random = Random::new(5);
    for _ in 0..500 {
        let record = Record { verdict: Verdict::Block, ..random.record() };
        let message = datagram(Fields::ALL, &record);
        let (values, _) = parsed(&message);
        if message.len() < DATAGRAM_BYTES - 300 {
            let name = record.name.as_deref().filter(|name| !name.is_empty());
            assert_eq!(values.get("name").map(String::as_str), name);
        }
    }
}

#[test]
fn no_message_is_longer_than_its_receiver_takes() {
    let long = |bytes: usize| Some("\\xff".repeat(bytes));
    let longest = Record {
        name: long(255),
        group: long(255),
        policy: long(9000),
        list: Some("\"".repeat(9000)),
        categories: vec!["c".repeat(32); 64],
        alpn: vec!["\\xff".repeat(16); 4],
        ..record(u64::MAX)
    };
    let message = datagram(Fields::ALL, &longest);
    assert!(message.len() <= DATAGRAM_BYTES, "{}", message.len());
    parsed(&message);
    let mut stream = Syslog::new(Fields::ALL, Framing::OctetCounting, u32::MAX);
    assert!(stream.message(&[&longest]).bytes.len() <= STREAM_BYTES + 5);
    // A whole name of the longest kind needs no cut by itself.
    let named = Record { name: long(255), ..record(1) };
    let fields = Fields::NONE.with(Field::Name);
    assert_eq!(parsed(&datagram(fields, &named)).0["name"].len(), 1020);
}

#[test]
fn lengths_on_a_stream_count_octets() {
    let mut random = Random::new(6);
    let records: Vec<Record> = (0..200)
        .map(|_| random.record())
        .filter(|record| Occurrence::of(record).is_some())
        .collect();
    let mut syslog = Syslog::new(Fields::ALL, Framing::OctetCounting, 32_473);
    let stream: Vec<u8> =
        records.iter().flat_map(|record| syslog.message(&[record]).bytes).collect();
    let mut rest = stream.as_slice();
    let mut read = 0;
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        let message = &rest[space + 1..space + 1 + length];
        parsed(std::str::from_utf8(message).unwrap());
        rest = &rest[space + 1 + length..];
        read += 1;
    }
    assert_eq!(read, records.len());
}

#[test]
fn what_is_left_out_is_nowhere_in_a_message() {
    let hidden = [Field::Device, Field::Name, Field::Sensor, Field::Categories];
    let message = datagram(Fields::ALL.without(&hidden), &record(1));
    for secret in ["10.0.0.5", "casino", "gw-1", "gambling"] {
        assert!(!message.contains(secret), "{secret} in {message}");
    }
    assert!(message.ends_with("] blocked"), "{message}");
}
