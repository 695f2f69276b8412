use simple_dns::rdata::{A, HTTPS, OPT, RData, SVCB};
use simple_dns::{
    CLASS, Name, OPCODE, Packet as Message, PacketFlag, QCLASS, QTYPE, Question, RCODE,
    ResourceRecord, TYPE,
};

use super::*;
use crate::abi::{BlockedAnswer, DnsRules, NAME_BUFFER, NoName};
use crate::cursor::Window;
use crate::step::Step;

const RULES: DnsRules = DnsRules {
    answer: 0,
    https_records: 0,
    canaries: 0,
    reserved: 0,
    sinkhole4: [192, 0, 2, 53],
    sinkhole6: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53],
};

/// Header of a query with so many questions.
fn header(questions: u16) -> Vec<u8> {
    let mut bytes = vec![0xbe, 0xef, 0x01, 0x00];
    bytes.extend(questions.to_be_bytes());
    bytes.extend([0; 6]);
    bytes
}

fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    let kind = kind.to_be_bytes();
    [header(1), wire(name), kind.to_vec(), vec![0, 1]].concat()
}

fn walked(message: &[u8]) -> (MessageReader, Window) {
    let window = Window::new(message);
    let mut reader = MessageReader::default();
    reader.begin_query();
    let steps = (0..MESSAGE_STEPS_MAX).take_while(|_| reader.step(&window)).count();
    assert!(steps < MESSAGE_STEPS_MAX as usize, "{message:02x?}");
    (reader, window)
}

fn name_at(window: &Window, at: u32) -> Result<String, NoName> {
    let mut name = [0; NAME_BUFFER];
    let mut reader = NameReader::default();
    reader.begin(at);
    for _ in 0..NAME_STEPS_MAX {
        match reader.step(window, &mut name) {
            Step::More => {}
            Step::Found => {
                let name = &name[..reader.length as usize];
                return Ok(name.iter().map(|byte| char::from(*byte)).collect());
            }
            Step::Stop(reason) => return Err(reason),
            Step::Pause => unreachable!("a datagram has no other half"),
        }
    }
    panic!("a name that never ends");
}

/// Every name a message asks for, and why there are no more.
fn asked(message: &[u8]) -> (Vec<Result<String, NoName>>, NoName) {
    let (reader, window) = walked(message);
    let names = (0..reader.questions).map(|number| name_at(&window, reader.name_at(number)));
    (names.collect(), reader.reason())
}

fn check(message: &[u8], names: &[&str], reason: NoName) {
    let names: Vec<_> = names.iter().map(|name| Ok((*name).to_owned())).collect();
    assert_eq!(asked(message), (names, reason), "{message:02x?}");
}

fn check_refused(message: &[u8], reason: NoName) {
    let (names, stopped) = asked(message);
    let found = names.into_iter().find_map(Result::err);
    assert_eq!(found.unwrap_or(stopped), reason, "{message:02x?}");
}

#[test]
fn questions_are_read() {
    check(&query("www.Example.ORG", 1), &["www.Example.ORG"], NoName::Named);
    check(&query("", 2), &["."], NoName::Named);
    check(&query("_dns.resolver.arpa", 64), &["_dns.resolver.arpa"], NoName::Named);
    let two =
        [header(2), wire("a.example"), vec![0, 1, 0, 1], wire("b.example"), vec![0, 28, 0, 1]];
    check(&two.concat(), &["a.example", "b.example"], NoName::Named);
    let trailing = [query("a.example", 1), vec![0xff; 300]].concat();
    check(&trailing, &["a.example"], NoName::Named);
    assert_eq!(walked(&query("a.example", 65)).0.kind(0), TYPE_HTTPS);
}

#[test]
fn the_longest_name_is_read() {
    let long = [["x".repeat(63).as_str(); 3].join("."), "y".repeat(61)].join(".");
    assert_eq!((wire(&long).len(), long.len()), (255, 253));
    check(&query(&long, 1), &[&long], NoName::Named);
    let labels = ["z"; 127].join(".");
    assert_eq!(wire(&labels).len(), 255);
    check(&query(&labels, 1), &[&labels], NoName::Named);
    check_refused(&query(&format!("{long}y"), 1), NoName::DnsMalformed);
}

#[test]
fn pointers_are_followed() {
    let tail = [0, 1, 0, 1];
    // The second question's name goes on in the first one's.
    let two = [header(2), wire("b.example"), tail.to_vec(), vec![1, b'a', 0xc0, 12], tail.to_vec()];
    check(&two.concat(), &["b.example", "a.b.example"], NoName::Named);
    // Forward, behind the question: some servers read it.
    let forward = [header(1), vec![0xc0, 18], tail.to_vec(), wire("blocked.example")].concat();
    check(&forward, &["blocked.example"], NoName::Named);
    // Into the header: an identifier and flags that make a name.
    let mut header = header(1);
    header[..2].copy_from_slice(&[1, b'q']);
    header[2] = 0;
    check(&[header, vec![0xc0, 0], tail.to_vec()].concat(), &["q"], NoName::Named);
}

#[test]
fn compression_without_an_end_is_told() {
    let tail = [0, 1, 0, 1];
    check_refused(&[header(1), vec![0xc0, 12], tail.to_vec()].concat(), NoName::DnsCompression);
    let pair = [header(1), vec![0xc0, 18], tail.to_vec(), vec![0xc0, 12]].concat();
    check_refused(&pair, NoName::DnsCompression);
    // One that writes with each turn ends by its length.
    let turning = [header(1), vec![3, b'a', b'b', b'c', 0xc0, 12], tail.to_vec()].concat();
    check_refused(&turning, NoName::DnsMalformed);
    let outside = [header(1), vec![0xff, 0xff], tail.to_vec()].concat();
    check_refused(&outside, NoName::DnsTruncated);
}

#[test]
fn what_asks_for_nothing_is_told() {
    for bytes in [&[][..], &[0], &[0; 11], b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"] {
        check_refused(bytes, NoName::NoQuery);
    }
    let mut answer = query("a.example", 1);
    answer[2] |= 0x80;
    check_refused(&answer, NoName::NoQuery);
    let mut update = query("a.example", 6);
    update[2] = 5 << 3;
    check_refused(&update, NoName::NoQuery);
    check_refused(&header(0), NoName::NoQuery);
}

#[test]
fn every_cut_is_told() {
    let whole = query("www.example.org", 1);
    for length in 12..whole.len() {
        check_refused(&whole[..length], NoName::DnsTruncated);
    }
    // What was read before the cut is there all the same.
    let half = [header(2), wire("a.example"), vec![0, 1, 0, 1], vec![7, b'b']].concat();
    check(&half, &["a.example"], NoName::DnsTruncated);
}

#[test]
fn labels_of_no_kind_and_questions_without_number_are_told() {
    for first in [0x40, 0x41, 0x80, 0xbf] {
        let bytes = [header(1), vec![first, 1, 2, 3], vec![0; 80]].concat();
        check_refused(&bytes, NoName::DnsMalformed);
    }
    let question = [wire("a.example"), vec![0, 1, 0, 1]].concat();
    let many = [header(65_535), question.repeat(200)].concat();
    let (names, reason) = asked(&many);
    assert_eq!((names.len(), reason), (QUESTIONS_MAX, NoName::DnsMalformed));
}

#[test]
fn any_bytes_end_the_readers() {
    let mut state = 0x5eed_u64;
    let seed = query("www.example.org", 1);
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 25) as u8;
        }
        let (names, reason) = asked(&bytes);
        compare(&bytes, &names, reason);
    }
}

/// Whatever the reference reads as a query is read here as the same one.
fn compare(bytes: &[u8], names: &[Result<String, NoName>], reason: NoName) {
    let Ok(message) = Message::parse(bytes) else { return };
    if message.has_flags(PacketFlag::RESPONSE) || message.opcode() != OPCODE::StandardQuery {
        return;
    }
    if message.questions.is_empty() || message.questions.len() > QUESTIONS_MAX {
        return;
    }
    assert_eq!(reason, NoName::Named, "{bytes:02x?}");
    for (question, name) in message.questions.iter().zip(names) {
        let labels = question.qname.as_bytes();
        let labels = labels.map(|label| label.iter().map(|byte| char::from(*byte)).collect());
        let labels: Vec<String> = labels.collect();
        let expected = if labels.is_empty() { ".".to_owned() } else { labels.join(".") };
        assert_eq!(name.as_deref(), Ok(&*expected), "{bytes:02x?}");
    }
}

/// A query as the reference writes it, EDNS and all.
fn with_edns(name: &str, kind: TYPE) -> Vec<u8> {
    let mut message = Message::new_query(0x1234);
    message.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::AUTHENTIC_DATA);
    let name = Name::new_unchecked(name);
    let (kind, class) = (QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN));
    message.questions.push(Question::new(name, kind, class, false));
    *message.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: 4096, version: 0 });
    message.build_bytes_vec().unwrap()
}

fn answered(query: &[u8], content: Content, rules: &DnsRules) -> Vec<u8> {
    let (reader, mut window) = walked(query);
    let length = compose(&mut window, &reader, content, rules);
    assert!(length <= ANSWER_MAX);
    assert_eq!(window.bytes[length as usize..length as usize + 3], [0; 3]);
    window.bytes[..length as usize].to_vec()
}

#[test]
fn an_answer_is_what_the_reference_reads() {
    for (kind, content, answer, code, addresses) in [
        (TYPE::A, Content::Blocked, BlockedAnswer::NxDomain, RCODE::NameError, 0),
        (TYPE::A, Content::Blocked, BlockedAnswer::NoData, RCODE::NoError, 0),
        (TYPE::A, Content::Blocked, BlockedAnswer::Sinkhole, RCODE::NoError, 1),
        (TYPE::AAAA, Content::Blocked, BlockedAnswer::Sinkhole, RCODE::NoError, 1),
        (TYPE::TXT, Content::Blocked, BlockedAnswer::Sinkhole, RCODE::NoError, 0),
        (TYPE::A, Content::NoSuchName, BlockedAnswer::Sinkhole, RCODE::NameError, 0),
        (TYPE::HTTPS, Content::NoRecord, BlockedAnswer::NxDomain, RCODE::NoError, 0),
    ] {
        let rules = DnsRules { answer: answer as u8, ..RULES };
        for edns in [false, true] {
            let query = with_edns("wWw.BloCked.example", kind);
            let query = if edns {
                query
            } else {
                let mut plain = query[..query.len() - 11].to_vec();
                plain[10..12].fill(0);
                plain
            };
            let bytes = answered(&query, content, &rules);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.id(), 0x1234);
            assert_eq!(message.rcode(), code, "{kind:?} {answer:?}");
            assert!(message.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE));
            assert!(message.has_flags(PacketFlag::RECURSION_DESIRED));
            assert!(!message.has_flags(PacketFlag::AUTHENTIC_DATA));
            assert!(!message.has_flags(PacketFlag::AUTHORITATIVE_ANSWER));
            assert!(!message.has_flags(PacketFlag::TRUNCATION));
            // Header apart, the query's bytes up to the end of its question.
            assert_eq!(bytes[12..37], query[12..37]);
            assert_eq!(message.answers.len(), addresses);
            for record in &message.answers {
                assert_eq!(
                    (record.name.to_string(), record.ttl),
                    ("wWw.BloCked.example".to_owned(), ANSWER_TTL_S)
                );
                let data = &record.rdata;
                let is_v4 = matches!(data, RData::A(a)
                    if a.address.to_be_bytes() == rules.sinkhole4);
                let is_v6 = matches!(data, RData::AAAA(aaaa)
                    if aaaa.address.to_be_bytes() == rules.sinkhole6);
                assert!(is_v4 || is_v6, "{data:?}");
            }
            let opt = message.opt();
            assert_eq!(opt.is_some(), edns);
            if let Some(opt) = opt {
                let codes: Vec<_> = opt
                    .opt_codes
                    .iter()
                    .map(|option| (option.code, option.data.to_vec()))
                    .collect();
                assert_eq!(codes, [(15, vec![0, 15])]);
                assert_eq!(opt.udp_packet_size, 1232);
            }
        }
    }
}

#[test]
fn dnssec_ok_is_echoed() {
    let mut query = with_edns("a.example", TYPE::A);
    let at = query.len() - 4;
    query[at..at + 2].copy_from_slice(&[0x80, 0x01]);
    let bytes = answered(&query, Content::Blocked, &RULES);
    assert_eq!(bytes[bytes.len() - 10..bytes.len() - 8], [0x80, 0x00]);
}

#[test]
fn the_longest_answer_fits() {
    let long = [["x".repeat(63).as_str(); 3].join("."), "y".repeat(61)].join(".");
    let question = [wire(&long), vec![0, 1, 0, 1]].concat();
    let opt = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
    let mut query = [header(4), question.repeat(4), opt.to_vec()].concat();
    query[11] = 1;
    let bytes = answered(&query, Content::Blocked, &RULES);
    assert_eq!(bytes.len() as u32, ANSWER_MAX - 28);
    assert_eq!(Message::parse(&bytes).unwrap().questions.len(), 4);
}

#[test]
fn an_answer_of_500_records_ends_with_the_window() {
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
    let mut message = [query("a.example", 1), record.repeat(500)].concat();
    message[2] |= 0x80;
    message[6..8].copy_from_slice(&500_u16.to_be_bytes());
    let window = Window::new(&message);
    let mut reader = MessageReader::default();
    reader.begin_answer();
    let mut addresses = 0;
    let mut steps = 0;
    loop {
        let more = reader.step(&window);
        addresses += usize::from(reader.record.address(&window).is_some());
        steps += 1;
        if !more {
            break;
        }
    }
    assert_eq!(addresses, (window.bytes.len() - (message.len() - 8000)) / record.len());
    assert!(steps <= MESSAGE_STEPS_MAX, "{steps}");
}

#[test]
fn records_of_an_answer_are_found() {
    let mut message = Message::new_reply(7);
    let name = Name::new_unchecked("www.example.org");
    let question =
        Question::new(name.clone(), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false);
    message.questions.push(question);
    let record = |rdata| ResourceRecord::new(name.clone(), CLASS::IN, 300, rdata);
    let svcb = SVCB::new(1, Name::new_unchecked("."));
    message.answers.push(record(RData::HTTPS(HTTPS(svcb.clone()))));
    message.answers.push(record(RData::A(A { address: 0xc000_0201 })));
    message.name_servers.push(record(RData::A(A { address: 0xc000_0202 })));
    let bytes = message.build_bytes_vec_compressed().unwrap();
    let window = Window::new(&bytes);
    let mut reader = MessageReader::default();
    reader.begin_answer();
    let mut found = Vec::new();
    loop {
        let more = reader.step(&window);
        if reader.record.kind != 0 {
            let Record { kind, data, length, ttl, answer, .. } = reader.record;
            found.push((kind, answer, ttl));
            if kind == TYPE_A {
                let address = &bytes[data as usize..(data + length) as usize];
                assert!(address == [192, 0, 2, 1] || address == [192, 0, 2, 2]);
            }
        }
        if !more {
            break;
        }
    }
    assert_eq!(found, [(TYPE_HTTPS, 2, 300), (TYPE_A, 1, 300), (TYPE_A, 0, 300)]);
}
