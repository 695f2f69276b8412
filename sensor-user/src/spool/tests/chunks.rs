//! Chunks and the records in them, across versions and under damage.

use super::super::chunk::{self, HEADER_BYTES, Header, Place, Sealed};
use super::super::class::ByClass;
use super::super::codec::{Shape, pack, unpack};
use super::*;

fn sealed(records: &[Record]) -> Sealed {
    let records: Vec<_> = records.iter().collect();
    let totals = ByClass { allowed: 1, alert: 2, blocked: 30 };
    let place = Place { batch: 7, appended_us: NOON_US, totals };
    chunk::seal(&records, Class::Blocked, &records[0].boot, place, None).unwrap()
}

#[test]
fn a_header_says_what_is_in_the_chunk() {
    let records = [sample::record(12), sample::record(10), sample::record(17)];
    let Sealed { header, bytes } = sealed(&records);
    assert_eq!(Header::decode(&bytes), Some(header.clone()));
    assert_eq!((header.first, header.last, header.records), (10, 17, 3));
    assert_eq!((header.total_before(), header.boot), (27, records[0].boot.clone()));
}

#[test]
fn every_changed_bit_of_a_chunk_is_noticed() {
    let records: Vec<_> = (0..3).map(sample::record).collect();
    let Sealed { header, bytes } = sealed(&records);
    let shape = Shape::own();
    assert_eq!(chunk::open(&bytes, &header, &shape, None).unwrap().records, records);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if bit / 8 < HEADER_BYTES {
            assert_eq!(Header::decode(&changed), None, "bit {bit}");
        } else {
            assert_eq!(chunk::open(&changed, &header, &shape, None), None, "bit {bit}");
        }
    }
    for end in 0..bytes.len() {
        assert_eq!(chunk::open(&bytes[..end], &header, &shape, None), None, "cut at {end}");
    }
}

/// The fields of a record with others in place, as another version would have them.
fn of_version(fields: &[(&str, serde_json::Value)], without: &[&str]) -> (Vec<u8>, usize, Shape) {
    let record = serde_json::to_value(sample::record(5)).unwrap();
    let mut record = record.as_object().unwrap().clone();
    record.retain(|name, _| !without.contains(&name.as_str()));
    record.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let (names, values): (Vec<_>, Vec<_>) = record.into_iter().unzip();
    let plain = rmp_serde::to_vec(&values).unwrap();
    let packed = zstd::bulk::compress(&plain, 1).unwrap();
    (packed, plain.len(), Shape::of_text(&names.join(",")))
}

#[test]
fn records_of_other_versions_are_read_by_name() {
    // The same fields, in another order.
    let (packed, plain_bytes, shape) = of_version(&[], &[]);
    assert_ne!(shape, Shape::own());
    assert_eq!(unpack(&packed, plain_bytes, 1, &shape).unwrap().records, [sample::record(5)]);
    // A newer one, with fields this one does not know.
    let newer = [("aardvark", serde_json::json!({"legs": 4})), ("zebra", serde_json::json!(null))];
    let (packed, plain_bytes, shape) = of_version(&newer, &[]);
    assert_eq!(unpack(&packed, plain_bytes, 1, &shape).unwrap().records, [sample::record(5)]);
    // An older one, without some that this one has.
    let (packed, plain_bytes, shape) = of_version(&[], &["ja4", "quic_version", "user"]);
    let expected = Record { ja4: None, quic_version: None, user: None, ..sample::record(5) };
    assert_eq!(unpack(&packed, plain_bytes, 1, &shape).unwrap().records, [expected]);
}

#[test]
fn a_value_of_a_newer_version_costs_its_record_alone() {
    let (_, _, shape) = of_version(&[], &[]);
    let of = |end_reason: &str| {
        let mut record = serde_json::to_value(sample::record(5)).unwrap();
        record["end_reason"] = end_reason.into();
        record.as_object().unwrap().values().cloned().collect::<Vec<_>>()
    };
    let mut plain = Vec::new();
    for end_reason in ["end-of-flow", "heat-death", "idle-timeout"] {
        plain.extend(rmp_serde::to_vec(&of(end_reason)).unwrap());
    }
    let packed = zstd::bulk::compress(&plain, 1).unwrap();
    let unpacked = unpack(&packed, plain.len(), 3, &shape).unwrap();
    assert_eq!((unpacked.records.len(), unpacked.foreign), (2, 1));
}

#[test]
fn the_shape_names_the_fields_of_records() {
    let record = serde_json::to_value(sample::record(1)).unwrap();
    let mut names: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
    let text = Shape::own().text();
    assert!(text.starts_with("schema_version,sensor,boot,sequence,"), "{text}");
    let mut own: Vec<_> = text.split(',').map(str::to_owned).collect();
    own.sort_unstable();
    names.sort_unstable();
    assert_eq!(own, names);
}

#[test]
fn a_chunk_that_claims_to_be_huge_is_not_unpacked() {
    let records = [sample::record(1)];
    let (packed, plain_bytes) = pack(&[&records[0]]).unwrap();
    let shape = Shape::own();
    assert!(unpack(&packed, plain_bytes - 1, 1, &shape).is_err());
    assert!(unpack(&packed, usize::MAX, 1, &shape).is_err());
    assert!(unpack(&packed, plain_bytes, 2, &shape).is_err(), "there is one record");
}
