//! What an independent decoder reads of our messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netflow_parser::variable_versions::ipfix::FlowSetBody;
use netflow_parser::{NetflowPacket, NetflowParser};
use sensor_ebpf::abi::NameSource;

use super::elements::{ELEMENTS, Owner};
use super::{Carrier, DATAGRAM_BYTES, Ipfix, STREAM_BYTES, TEMPLATES_AGAIN};
use crate::config::{self, Directions, Export, ExportFilter, ExportKind, Rotate, Target};
use crate::export::fields::{Field, Fields, Value};
use crate::export::message::Encoder as _;
use crate::export::state::{Shed, State};
use crate::record::Record;
use crate::record::sample::{record, unnamed};
use crate::schema::random::Random;

const ENTERPRISE: u32 = 32_473;

fn export(fields: Fields, directions: Directions) -> Export {
    Export {
        name: "flows".to_owned(),
        kind: ExportKind::Ipfix,
        target: Target::Udp("127.0.0.1:4739".to_owned()),
        fields,
        enterprise: ENTERPRISE,
        filter: ExportFilter::default(),
        rotate: Rotate { size_mib: 1, hours: 1, keep: 1 },
        ipfix: config::Ipfix { domain: 7, directions },
    }
}

fn ipfix(fields: Fields, directions: Directions, carrier: Carrier) -> Ipfix {
    let export = export(fields, directions);
    let state = State::of(&export);
    state.add_shed(Shed::NotTaken, 5);
    Ipfix::new(&export, carrier, "gw-1", Arc::new(state))
}

/// A data record: enterprise and number of each element, and its bytes.
type Decoded = BTreeMap<(u32, u16), Vec<u8>>;

/// A column of a template: enterprise, number and length.
type Column = (u32, u16, u16);

/// A collector by the letter of RFC 7011, and beside it an independent one. That one takes no strings of zero bytes,
/// which section 6.1.6 allows, so it is asked where there are none.
struct Collector {
    parser: NetflowParser,
    templates: BTreeMap<u16, Vec<Column>>,
    options: Vec<Vec<Vec<u8>>>,
    sequence: u32,
    compared: usize,
}

/// Takes bytes off the front.
fn take<'a>(from: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (front, rest) = from.split_at_checked(bytes).expect("it is not cut");
    *from = rest;
    front
}

fn take_number(from: &mut &[u8], bytes: usize) -> u32 {
    take(from, bytes).iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

impl Collector {
    fn new() -> Self {
        let parser = NetflowParser::default();
        let (templates, options) = (BTreeMap::new(), Vec::new());
        Self { parser, templates, options, sequence: 0, compared: 0 }
    }

    /// Reads a message; every byte of it is accounted for.
    fn read(&mut self, message: &[u8]) -> Vec<Decoded> {
        let mut rest = message;
        assert_eq!(take_number(&mut rest, 2), 10);
        assert_eq!(take_number(&mut rest, 2) as usize, message.len());
        take(&mut rest, 4);
        assert_eq!(take_number(&mut rest, 4), self.sequence);
        assert_eq!(take_number(&mut rest, 4), 7);
        let (mut records, mut has_empty) = (Vec::new(), false);
        while !rest.is_empty() {
            let id = take_number(&mut rest, 2) as u16;
            let bytes = take_number(&mut rest, 2) as usize - 4;
            let mut set = take(&mut rest, bytes);
            while !set.is_empty() {
                match id {
                    2 => self.learn(&mut set, false),
                    3 => self.learn(&mut set, true),
                    id => {
                        let columns = &self.templates[&id];
                        let values: Vec<Vec<u8>> =
                            columns.iter().map(|column| Self::value(&mut set, *column)).collect();
                        has_empty |= values.iter().any(Vec::is_empty);
                        self.sequence += 1;
                        if id < 258 {
                            let keys = columns.iter().map(|(owner, id, _)| (*owner, *id));
                            records.push(keys.zip(values).collect());
                        } else {
                            self.options.push(values);
                        }
                    }
                }
            }
        }
        if !has_empty {
            self.compare(message, &records);
        }
        records
    }

    fn learn(&mut self, set: &mut &[u8], is_options: bool) {
        let id = take_number(set, 2) as u16;
        let count = take_number(set, 2);
        if is_options {
            let scopes = take_number(set, 2);
            assert!(0 < scopes && scopes < count);
        }
        let columns = (0..count).map(|_| {
            let (id, bytes) = (take_number(set, 2) as u16, take_number(set, 2) as u16);
            let owner = if id & 0x8000 == 0 { 0 } else { take_number(set, 4) };
            (owner, id & 0x7fff, bytes)
        });
        self.templates.insert(id, columns.collect());
    }

    fn value(set: &mut &[u8], (_, _, bytes): Column) -> Vec<u8> {
        let bytes = match bytes {
            u16::MAX => match take_number(set, 1) {
                255 => take_number(set, 2),
                short => short,
            },
            fixed => fixed.into(),
        };
        take(set, bytes as usize).to_vec()
    }

    /// The other collector reads the same records.
    fn compare(&mut self, message: &[u8], records: &[Decoded]) {
        let result = self.parser.parse_bytes(message);
        assert!(result.error.is_none(), "{:?}", result.error);
        let [NetflowPacket::IPFix(packet)] = result.packets.as_slice() else {
            panic!("one message")
        };
        let mut read = Vec::new();
        for set in &packet.flowsets {
            if let FlowSetBody::Data(data) = &set.body {
                let columns = &self.templates[&set.header.header_id];
                for fields in &data.fields {
                    let values = fields.iter().map(|(_, value)| {
                        let mut bytes = Vec::new();
                        value.write_be_bytes(&mut bytes).unwrap();
                        bytes
                    });
                    let keys = columns.iter().map(|(owner, id, _)| (*owner, *id));
                    read.push(keys.zip(values).collect::<Decoded>());
                }
            }
        }
        assert_eq!(read, records);
        self.compared += records.len();
    }

    /// All that an exporter sends of some records.
    fn collect(&mut self, ipfix: &mut Ipfix, records: &[Record]) -> Vec<Decoded> {
        let records: Vec<&Record> = records.iter().collect();
        let (mut rest, mut decoded) = (records.as_slice(), Vec::new());
        while !rest.is_empty() {
            while let Some(opening) = ipfix.opening(Instant::now()) {
                assert!(opening.bytes.len() <= DATAGRAM_BYTES, "{}", opening.bytes.len());
                assert_eq!(self.read(&opening.bytes).len(), 0);
            }
            let message = ipfix.message(rest);
            assert!(message.bytes.len() <= ipfix.room(), "{}", message.bytes.len());
            decoded.extend(self.read(&message.bytes));
            rest = &rest[message.records..];
        }
        decoded
    }
}

fn number(decoded: &Decoded, key: (u32, u16)) -> u64 {
    decoded[&key].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn text(decoded: &Decoded, id: u16) -> String {
    String::from_utf8(decoded[&(ENTERPRISE, id)].clone()).unwrap()
}

fn own(name: &str) -> u16 {
    let element = ELEMENTS.iter().find(|one| one.owner == Owner::Own && one.name == name);
    element.unwrap_or_else(|| panic!("no element {name}")).id
}

#[test]
fn a_blocked_flow_is_two_records() {
    let mut collector = Collector::new();
    let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, Carrier::Datagrams);
    let decoded = collector.collect(&mut ipfix, &[record(7)]);
    let [forth, back] = decoded.as_slice() else { panic!("{}", decoded.len()) };
    for (key, expected_forth, expected_back) in [
        ((0, 8), vec![10, 0, 0, 5], vec![192, 0, 2, 80]),
        ((0, 12), vec![192, 0, 2, 80], vec![10, 0, 0, 5]),
        ((0, 7), 50_123_u16.to_be_bytes().to_vec(), 443_u16.to_be_bytes().to_vec()),
        ((0, 11), 443_u16.to_be_bytes().to_vec(), 50_123_u16.to_be_bytes().to_vec()),
        ((0, 61), vec![0], vec![1]),
        ((0, 239), vec![1], vec![2]),
    ] {
        assert_eq!((&forth[&key], &back[&key]), (&expected_forth, &expected_back), "{key:?}");
    }
    for (key, expected_forth, expected_back) in [
        ((0, 2), 4, 2),
        ((0, 352), 900, 120),
        ((0, 1), 900 - 4 * 14, 120 - 2 * 14),
        ((0, 152), 1_773_143_998_500, 1_773_143_998_500),
        ((0, 153), 1_773_144_000_000, 1_773_144_000_000),
        ((0, 4), 6, 6),
        ((0, 136), 3, 3),
        ((0, 89), 129, 129),
        ((0, 148), u64::MAX - 7, u64::MAX - 7),
        ((0, 234), 3, 3),
        ((ENTERPRISE, own("ech")), 1, 1),
        ((ENTERPRISE, own("sequence")), 7, 7),
    ] {
        assert_eq!(
            (number(forth, key), number(back, key)),
            (expected_forth, expected_back),
            "{key:?}"
        );
    }
    assert_eq!(text(forth, own("name")), "casino.example.org");
    assert_eq!(text(forth, own("categories")), "adult gambling");
    assert_eq!(forth[&(0, 82)], b"lan0");
    assert_eq!(forth[&(0, 460)], b"", "the name is of a TLS hello");
}

#[test]
fn a_biflow_has_the_other_direction_in_reverse_elements() {
    const REVERSE: u32 = 29_305;
    let mut ipfix = ipfix(Fields::ALL, Directions::Biflow, Carrier::Stream);
    let decoded = Collector::new().collect(&mut ipfix, &[record(7)]);
    let [flow] = decoded.as_slice() else { panic!("{}", decoded.len()) };
    assert_eq!((number(flow, (0, 2)), number(flow, (REVERSE, 2))), (4, 2));
    assert_eq!((number(flow, (0, 352)), number(flow, (REVERSE, 352))), (900, 120));
    assert_eq!(number(flow, (REVERSE, 1)), 120 - 2 * 14);
    assert_eq!(flow[&(0, 8)], [10, 0, 0, 5]);
}

#[test]
fn a_direction_that_nobody_sent_in_is_no_flow() {
    let silent = Record { packets_to_lan: 0, bytes_to_lan: 0, ..unnamed(1) };
    let never = Record { packets_to_peer: 0, bytes_to_peer: 0, ..silent.clone() };
    let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, Carrier::Datagrams);
    assert_eq!(Collector::new().collect(&mut ipfix, &[silent, never]).len(), 2);
}

/// Every column of every record, by what the record says; whatever it says, all lengths hold.
#[test]
fn any_record_is_decoded_as_it_is() {
    let mut random = Random::new(7);
    let some = |random: &mut Random, sequence| match sequence / 1000 {
        0 => random.record(),
        // Every string has something in it.
        _ => Record {
            name: Some(format!("a{}", random.name())),
            name_source: NameSource::Http,
            protocol: random.record().protocol,
            device_port: random.record().device_port,
            packets_to_peer: random.record().packets_to_peer,
            bytes_to_peer: random.record().bytes_to_peer,
            ..record(sequence)
        },
    };
    let records: Vec<Record> = (0..2000).map(|sequence| some(&mut random, sequence)).collect();
    for (directions, carrier) in
        [(Directions::Uniflow, Carrier::Datagrams), (Directions::Biflow, Carrier::Stream)]
    {
        let mut ipfix = ipfix(Fields::ALL, directions, carrier);
        let mut collector = Collector::new();
        let decoded = collector.collect(&mut ipfix, &records);
        assert!(collector.compared > 0, "the other collector was asked");
        let forth: Vec<&Decoded> = decoded.iter().filter(|one| one[&(0, 61)] == [0]).collect();
        assert_eq!(forth.len(), records.len());
        let mut whole = 0;
        for (record, decoded) in records.iter().zip(forth) {
            assert_eq!(number(decoded, (0, 2)), record.packets_to_peer);
            assert_eq!(number(decoded, (0, 352)), record.bytes_to_peer);
            let mac = record.mac.map_or([0; 6], |mac| mac.0);
            assert_eq!(decoded[&(0, 56)], mac, "the device sends");
            assert_eq!(decoded[&(0, 80)], [0; 6]);
            for element in ELEMENTS.iter().filter(|element| element.owner == Owner::Own) {
                let key = (ENTERPRISE, element.id);
                let field = element.field.unwrap();
                match field.value(record) {
                    Value::Text(_) | Value::List(_) => {
                        let expected = field.value(record).text();
                        let read = text(decoded, element.id);
                        assert!(expected.starts_with(&read), "{}: {read}", element.name);
                        whole += usize::from(expected == read);
                    }
                    Value::Number(expected) => {
                        assert_eq!(number(decoded, key), expected.unwrap_or(0));
                    }
                    Value::Flag(flag) => {
                        let expected = flag.map_or(0, |flag| if flag { 1 } else { 2 });
                        assert_eq!(number(decoded, key), expected);
                    }
                    Value::Time(_) | Value::Address(_) | Value::Id(_) | Value::Mac(_) => {
                        panic!("{}", element.name)
                    }
                }
            }
        }
        // Only the longest names of odd bytes do not fit a datagram twice; a stream takes every one.
        let texts = records.len() * 16;
        let least = if carrier == Carrier::Stream { texts } else { texts * 95 / 100 };
        assert!(whole >= least, "{whole} of {texts}");
    }
}

#[test]
fn the_longest_record_fits_and_loses_no_more_than_it_must() {
    let long = |bytes: usize| Some("\\xff".repeat(bytes));
    let longest = Record {
        device: "2001:db8::1".parse().unwrap(),
        peer: "2001:db8::2".parse().unwrap(),
        name: long(255),
        name_source: NameSource::Http,
        group: long(9000),
        policy: long(20_000),
        list: long(9000),
        categories: vec!["c".repeat(32); 64],
        ..record(1)
    };
    for (carrier, room) in [(Carrier::Datagrams, DATAGRAM_BYTES), (Carrier::Stream, STREAM_BYTES)] {
        let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, carrier);
        let decoded = Collector::new().collect(&mut ipfix, std::slice::from_ref(&longest));
        assert_eq!((decoded.len(), ipfix.room()), (2, room));
    }
    // A name as long as names can be is whole, with all else that is known.
    let mut all = ipfix(Fields::ALL, Directions::Uniflow, Carrier::Datagrams);
    let named = Record { name: Some("a".repeat(255)), ..record(1) };
    for decoded in Collector::new().collect(&mut all, &[named]) {
        assert_eq!(text(&decoded, own("name")).len(), 255);
    }
    // By itself one of 255 odd bytes needs no cut.
    let fields = Fields::NONE.with(Field::Name);
    let mut ipfix = ipfix(fields, Directions::Biflow, Carrier::Datagrams);
    let named = Record { name: long(255), ..record(1) };
    let decoded = Collector::new().collect(&mut ipfix, &[named]);
    assert_eq!(text(&decoded[0], own("name")).len(), 1020);
}

#[test]
fn ends_that_are_left_out_are_nothing_and_other_columns_are_not_there() {
    let hidden = [Field::Device, Field::BytesToPeer, Field::Name, Field::Group];
    let mut ipfix = ipfix(Fields::ALL.without(&hidden), Directions::Uniflow, Carrier::Datagrams);
    let decoded = Collector::new().collect(&mut ipfix, &[record(1)]);
    assert_eq!((&decoded[0][&(0, 8)], &decoded[1][&(0, 12)]), (&vec![0; 4], &vec![0; 4]));
    assert_eq!(number(&decoded[0], (0, 352)), 0);
    assert_eq!(number(&decoded[1], (0, 352)), 120);
    for key in [(0, 460), (ENTERPRISE, own("name")), (ENTERPRISE, own("group"))] {
        assert!(!decoded[0].contains_key(&key), "{key:?}");
    }
}

#[test]
fn templates_come_first_and_over_udp_again() {
    let start = Instant::now();
    for (carrier, again) in [(Carrier::Datagrams, 3), (Carrier::Stream, 0)] {
        let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, carrier);
        let mut openings = |now| std::iter::from_fn(|| ipfix.opening(now)).count();
        assert_eq!(openings(start), 3);
        assert_eq!(openings(start + Duration::from_secs(59)), 0);
        assert_eq!(openings(start + TEMPLATES_AGAIN), again);
        assert_eq!(openings(start + TEMPLATES_AGAIN), 0);
        ipfix.restart();
        assert_eq!(std::iter::from_fn(|| ipfix.opening(start)).count(), 3);
    }
}

#[test]
fn templates_come_again_after_many_messages() {
    let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, Carrier::Datagrams);
    let now = Instant::now();
    while ipfix.opening(now).is_some() {}
    let record = record(1);
    for _ in 0..super::TEMPLATES_AGAIN_MESSAGES {
        assert!(ipfix.opening(now).is_none());
        ipfix.message(&[&record]);
    }
    assert!(ipfix.opening(now).is_some());
}

#[test]
fn options_tell_the_exporter_and_the_types_of_our_elements() {
    let mut collector = Collector::new();
    let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, Carrier::Datagrams);
    collector.collect(&mut ipfix, &[record(1)]);
    let sampling = &collector.options[0];
    assert_eq!(sampling[2..], [1_u32.to_be_bytes().to_vec(), 0_u32.to_be_bytes().to_vec()]);
    let statistics = &collector.options[1];
    assert_eq!(statistics[1], b"gw-1");
    assert_eq!(statistics.last().unwrap(), &5_u64.to_be_bytes());
    let own = ELEMENTS.iter().filter(|element| element.owner == Owner::Own);
    let names: Vec<&[u8]> = own.map(|element| element.name.as_bytes()).collect();
    let told: Vec<&[u8]> = collector.options[2..].iter().map(|one| one[4].as_slice()).collect();
    assert_eq!(told, names);
}

#[test]
fn a_connection_begins_at_nothing() {
    let mut ipfix = ipfix(Fields::ALL, Directions::Uniflow, Carrier::Stream);
    for _ in 0..2 {
        // A collector that has just been connected to checks the sequence from 0.
        assert_eq!(Collector::new().collect(&mut ipfix, &[record(1), unnamed(2)]).len(), 4);
        ipfix.restart();
    }
}

#[test]
fn numbers_of_elements_are_told_once() {
    let mut seen = std::collections::BTreeSet::new();
    for element in ELEMENTS {
        assert!(seen.insert((element.owner == Owner::Own, element.id)), "{}", element.name);
    }
    // Every field is in some column, or in the ends of a flow that every template has; the sensor is in the options.
    let told = |field: &Field| ELEMENTS.iter().any(|element| element.field == Some(*field));
    let ends = [
        Field::Sensor,
        Field::Device,
        Field::DevicePort,
        Field::Peer,
        Field::PeerPort,
        Field::PacketsToPeer,
        Field::BytesToPeer,
        Field::PacketsToLan,
        Field::BytesToLan,
    ];
    for field in Field::ALL {
        let is_told = told(field) || ends.contains(field);
        assert!(is_told, "{}", field.name());
    }
}
