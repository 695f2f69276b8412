//! DNS queries: each name is judged, and a query for a blocked one comes back as its answer.

use anyhow::Result;
use sensor_ebpf::abi::{
    BlockedAnswer, DnsRules, DomainEntry, Flow, GroupMasks, Happening, HttpsRecords, NameSource,
    NoName, Side, Verdict,
};
use sensor_ebpf::flow::Phase;
use sensor_lab::dns::{A, AAAA, HTTPS, Query, TXT};
use sensor_lab::frames::{
    DEVICE_MAC, Frame, GATEWAY_MAC, Hello, Transport, checksum, transport_checksum,
};
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;

use super::{Bench, Lent, packet};

pub(super) fn frame(v6: bool, payload: &[u8]) -> Frame {
    let frame = Frame::from_device(v6, payload);
    Frame { transport: Transport::Udp, destination_port: 53, ..frame }
}

/// Blocks `blocked.example`, with a canary, for everybody.
pub(super) fn bench(side: Side, dns: DnsRules) -> Result<Lent> {
    let mut bench = Bench::new(side)?;
    let entry = DomainEntry { categories: 1, list: 3, ..DomainEntry::default() };
    let canary = DomainEntry { canary: 1, ..DomainEntry::default() };
    let domains = vec![
        ("blocked.example".to_owned(), entry),
        ("fine.blocked.example".to_owned(), DomainEntry { categories: 2, ..entry }),
        ("canary.example".to_owned(), canary),
    ];
    let masks = GroupMasks { block: 1, dns, ..GroupMasks::default() };
    let image =
        PolicyImage { domains, groups: vec![(0, masks, Vec::new())], ..PolicyImage::default() };
    bench.push(&image)?;
    Ok(bench)
}

/// `blocked.example` does not exist, nor do canaries.
pub(super) const NXDOMAIN: DnsRules = DnsRules {
    answer: 0,
    https_records: 0,
    canaries: 1,
    reserved: 0,
    sinkhole4: [0; 4],
    sinkhole6: [0; 16],
};

const SINKHOLE: DnsRules = DnsRules {
    answer: BlockedAnswer::Sinkhole as u8,
    sinkhole4: [192, 0, 2, 53],
    sinkhole6: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53],
    ..NXDOMAIN
};

/// The datagram's payload, after all that lies below it was checked against what it answers.
fn answer(what: &str, asked: &Frame, frame: &[u8]) -> Vec<u8> {
    let (before, after) = (packet(&asked.bytes()), packet(frame));
    assert_eq!((after.source, after.destination), (before.destination, before.source), "{what}");
    assert_eq!((after.source_port, after.destination_port), (53, before.source_port), "{what}");
    assert_eq!(frame[..6], DEVICE_MAC, "{what}");
    assert_eq!(frame[6..12], GATEWAY_MAC, "{what}");
    assert_eq!(after.hop_limit, 64, "{what}");
    assert_eq!((after.network, after.link), (before.network, before.link), "{what}");
    // Tags and labels stay; of a PPPoE header all but the length does.
    let link = 12..12.max(before.network as usize - 4);
    assert_eq!(asked.bytes()[link.clone()], frame[link], "{what}");
    let (network, transport) = (after.network as usize, after.transport as usize);
    if after.ip_version == 4 {
        assert_eq!(checksum(&frame[network..transport]), 0, "{what}: IPv4 checksum");
    }
    let datagram = &frame[transport..];
    let stated = u16::from_be_bytes([datagram[4], datagram[5]]);
    assert_eq!(usize::from(stated), datagram.len(), "{what}: nothing follows");
    assert_ne!(datagram[6..8], [0, 0], "{what}: it has a checksum");
    let (source, destination) = (after.source.into(), after.destination.into());
    assert_eq!(transport_checksum(source, destination, 17, datagram), 0, "{what}");
    datagram[8..].to_vec()
}

/// The answer to a query as it should be: header, the question as it was asked, records.
fn expected(query: &Query, code: u8, records: &[&[u8]], edns: bool) -> Vec<u8> {
    let asked = query.bytes();
    let mut bytes = asked[..2].to_vec();
    bytes.extend([0x80 | asked[2] & 1, 0x80 | asked[3] & 0x10 | code, 0, 1]);
    bytes.extend([0, records.len() as u8, 0, 0, 0, u8::from(edns)]);
    bytes.extend(&asked[12..12 + query.question().len()]);
    for record in records {
        bytes.extend([0xc0, 12]);
        bytes.extend(*record);
    }
    if edns {
        let flags = if query.dnssec_ok { 0x80 } else { 0 };
        bytes.extend([0, 0, 41, 0x04, 0xd0, 0, 0, flags, 0, 0, 6, 0, 15, 0, 2, 0, 15]);
    }
    bytes
}

#[test]
fn a_query_for_a_blocked_name_comes_back_answered() -> Result<()> {
    let v4 = [&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &SINKHOLE.sinkhole4].concat();
    let v6 = [&[0, 28, 0, 1, 0, 0, 0, 60, 0, 16][..], &SINKHOLE.sinkhole6].concat();
    let nodata = DnsRules { answer: BlockedAnswer::NoData as u8, ..NXDOMAIN };
    for (rules, kind, code, records) in [
        (NXDOMAIN, A, 3, vec![]),
        (NXDOMAIN, HTTPS, 3, vec![]),
        (nodata, A, 0, vec![]),
        (SINKHOLE, A, 0, vec![&*v4]),
        (SINKHOLE, AAAA, 0, vec![&*v6]),
        (SINKHOLE, TXT, 0, vec![]),
    ] {
        let mut bench = bench(Side::Lan, rules)?;
        let mut port = 1000;
        for query in shapes("wWw.BLOCKED.example", kind) {
            for (what, shape) in frames(&query.bytes()) {
                port += 1;
                let asked = shape.from_port(port);
                let outcome = bench.run(&asked)?;
                assert_eq!(outcome.action, action::TX, "{what} {query:?}");
                let edns = query.edns.is_some();
                let found = answer(what, &asked, &outcome.frame);
                assert_eq!(found, expected(&query, code, &records, edns), "{what} {query:?}");
                let event = bench.verdict().expect("a block is told");
                assert_eq!(event.name.as_bytes(), b"www.blocked.example");
                assert_eq!(event.name_source, NameSource::Dns as u8);
                assert_eq!((event.verdict, event.list), (Verdict::Block as u8, 3));
                let flow = bench.flow(&asked).expect("a flow");
                assert_eq!((flow.verdict, flow.name_source), (event.verdict, event.name_source));
                assert_eq!(flow.name_hash, event.name_hash);
            }
        }
        let totals = bench.ingress()?;
        assert_eq!(totals.happened(Happening::DnsAnswered), u64::from(port) - 1000);
        assert!(totals.is_conserved());
    }
    Ok(())
}

fn shapes(name: &str, kind: u16) -> Vec<Query> {
    let plain = Query::of(name, kind);
    vec![
        plain.clone(),
        Query { edns: Some(vec![]), ..plain.clone() },
        Query {
            edns: Some(vec![(10, vec![7; 8])]),
            dnssec_ok: true,
            flags: 0x0130,
            ..plain.clone()
        },
        // Padded to 468 bytes, as RFC 8467 has it.
        Query { edns: Some(vec![(12, vec![0; 400])]), ..plain.clone() },
        Query { trailing: vec![0xff; 77], ..plain.clone() },
        Query { flags: 0, ..plain },
    ]
}

fn frames(payload: &[u8]) -> Vec<(&'static str, Frame)> {
    let (v4, v6) = (frame(false, payload), frame(true, payload));
    let options = Frame { options: vec![1, 1, 1, 1, 1, 1, 1, 0], ..v4.clone() };
    let extensions = Frame { extensions: Some((60, vec![17, 0, 1, 4, 0, 0, 0, 0])), ..v6.clone() };
    vec![
        ("IPv4", v4.clone()),
        ("IPv6", v6.clone()),
        ("IPv4 with options", options),
        ("IPv6 with an extension header", extensions),
        ("IPv4 in a VLAN", v4.clone().tagged(&[(0x8100, 20)])),
        ("IPv6 in two VLANs", v6.tagged(&[(0x88a8, 7), (0x8100, 20)])),
        ("IPv4 in PPPoE", v4.in_pppoe()),
    ]
}

#[test]
fn other_queries_pass_as_they_came() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    for (port, name) in (1..).zip(["library.example", "notblocked.example", "fine.blocked.example"])
    {
        let asked = frame(false, &Query::of(name, A).bytes()).from_port(port);
        let outcome = bench.run(&asked)?;
        assert_eq!((outcome.action, outcome.frame), (action::PASS, asked.bytes()), "{name}");
        let flow = bench.flow(&asked).expect("a flow");
        assert_eq!((flow.verdict, flow.name_source), (Verdict::Allow as u8, NameSource::Dns as u8));
        let event = bench.verdict().expect("every name is told here");
        assert_eq!(event.name.as_bytes(), name.as_bytes());
    }
    Ok(())
}

#[test]
fn every_query_of_a_flow_is_judged_by_itself() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    for (name, expected) in [
        ("library.example", action::PASS),
        ("blocked.example", action::TX),
        ("museum.example", action::PASS),
        ("a.blocked.example", action::TX),
        ("library.example", action::PASS),
    ] {
        let asked = frame(false, &Query::of(name, A).bytes());
        assert_eq!(bench.run(&asked)?.action, expected, "{name}");
        let event = bench.verdict().expect("every name is told here");
        assert_eq!(event.name.as_bytes(), name.as_bytes());
    }
    let Flow { verdict, to_peer, .. } =
        bench.flow(&frame(false, &[])).expect("one flow of all queries");
    assert_eq!((verdict, to_peer.packets), (Verdict::Block as u8, 5));
    Ok(())
}

#[test]
fn every_question_of_a_query_is_judged() -> Result<()> {
    let mut bench = bench(Side::Lan, SINKHOLE)?;
    for (port, names, blocked) in [
        (1, &["a.example", "blocked.example"][..], true),
        (2, &["blocked.example", "a.example"], true),
        (3, &["a.example", "b.example", "c.example", "blocked.example"], true),
        (4, &["a.example", "b.example", "c.example", "d.example"], false),
    ] {
        let query = Query::of_several(names, A);
        let asked = frame(true, &query.bytes()).from_port(port);
        let outcome = bench.run(&asked)?;
        if !blocked {
            assert_eq!((outcome.action, outcome.frame), (action::PASS, asked.bytes()), "{names:?}");
            continue;
        }
        assert_eq!(outcome.action, action::TX, "{names:?}");
        // All questions come back; an address would be the first one's.
        let answer = answer("several", &asked, &outcome.frame);
        assert_eq!(answer[4..12], [0, names.len() as u8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer[12..], query.bytes()[12..]);
    }
    Ok(())
}

#[test]
fn canaries_do_not_exist_whatever_the_answer_is() -> Result<()> {
    let query = Query::of("canary.example", A);
    let asked = frame(false, &query.bytes());
    for (rules, expected_action) in
        [(SINKHOLE, action::TX), (DnsRules { canaries: 0, ..SINKHOLE }, action::PASS)]
    {
        let mut bench = bench(Side::Lan, rules)?;
        let outcome = bench.run(&asked)?;
        assert_eq!(outcome.action, expected_action);
        if outcome.action == action::TX {
            assert_eq!(answer("canary", &asked, &outcome.frame), expected(&query, 3, &[], false));
        }
    }
    Ok(())
}

#[test]
fn https_records_are_denied_by_policy() -> Result<()> {
    let rules = DnsRules { https_records: HttpsRecords::NoData as u8, ..NXDOMAIN };
    let mut bench = bench(Side::Lan, rules)?;
    for (port, kind, refused) in [(1, HTTPS, true), (2, 64, true), (3, A, false), (4, TXT, false)] {
        let query = Query { edns: Some(vec![]), ..Query::of("library.example", kind) };
        let asked = frame(false, &query.bytes()).from_port(port);
        let outcome = bench.run(&asked)?;
        assert_eq!(outcome.action, if refused { action::TX } else { action::PASS }, "{kind}");
        let flow = bench.flow(&asked).expect("a flow");
        assert_eq!(flow.verdict, Verdict::Allow as u8, "{kind}");
        if refused {
            assert_eq!(answer("type", &asked, &outcome.frame), expected(&query, 0, &[], true));
        }
    }
    Ok(())
}

#[test]
fn a_tap_answers_nothing() -> Result<()> {
    let rules = DnsRules { https_records: HttpsRecords::NoData as u8, ..NXDOMAIN };
    let mut bench = bench(Side::Tap, rules)?;
    for (port, name, kind) in
        [(1, "blocked.example", A), (2, "canary.example", A), (3, "library.example", HTTPS)]
    {
        let asked = frame(false, &Query::of(name, kind).bytes()).from_port(port);
        let outcome = bench.run(&asked)?;
        assert_eq!((outcome.action, outcome.frame), (action::PASS, asked.bytes()), "{name}");
        assert!(bench.verdict().is_some(), "{name} is told");
    }
    Ok(())
}

/// What would hide a name from a hasty reader, and what is not a query at all: each with the reason it is
/// not blocked for, if it is not.
fn hostile() -> Vec<(&'static str, Vec<u8>, Result<(), NoName>)> {
    let tail = [0, 1, 0, 1];
    let header = |questions: u8| vec![0, 7, 1, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    let name = b"\x07blocked\x07example\x00";
    let fine = b"\x04fine\x07example\x00";
    let x = "x".repeat(63);
    let prefix = format!("{x}.{x}.{x}.{}", "y".repeat(45));
    let answer_bit = [&[0, 7, 0x81, 0][..], &header(1)[4..], name, &tail].concat();
    let opcode = [&[0, 7, 0x29, 0][..], &header(1)[4..], name, &tail].concat();
    vec![
        (
            "0x20",
            [header(1), b"\x07bLoCkEd\x07EXAMPLE\x00".to_vec(), tail.to_vec()].concat(),
            Ok(()),
        ),
        (
            "a pointer forward",
            [header(1), vec![0xc0, 18], tail.to_vec(), name.to_vec()].concat(),
            Ok(()),
        ),
        (
            "pointers in a row",
            [header(1), vec![0xc0, 18], tail.to_vec(), vec![0xc0, 20], name.to_vec()].concat(),
            Ok(()),
        ),
        (
            "a label, then a pointer",
            [header(1), b"\x01a\xc0\x14".to_vec(), tail.to_vec(), name.to_vec()].concat(),
            Ok(()),
        ),
        (
            "a loop",
            [header(1), vec![0xc0, 12], tail.to_vec()].concat(),
            Err(NoName::DnsCompression),
        ),
        (
            "two that point at each other",
            [header(1), vec![0xc0, 18], tail.to_vec(), vec![0xc0, 12]].concat(),
            Err(NoName::DnsCompression),
        ),
        (
            "a pointer outside",
            [header(1), vec![0xff, 0xff], tail.to_vec()].concat(),
            Err(NoName::DnsTruncated),
        ),
        (
            "a loop behind an allowed name",
            [header(2), fine.to_vec(), tail.to_vec(), vec![0xc0, 30], tail.to_vec()].concat(),
            Err(NoName::DnsCompression),
        ),
        (
            "a cut behind a blocked name",
            [header(2), name.to_vec(), tail.to_vec(), vec![9]].concat(),
            Ok(()),
        ),
        ("a name of 255 bytes", Query::of(&format!("{prefix}.blocked.example"), A).bytes(), Ok(())),
        (
            "a name of more",
            Query::of(&format!("{prefix}y.blocked.example"), A).bytes(),
            Err(NoName::DnsMalformed),
        ),
        (
            "a label of the extended kind",
            [header(1), vec![0x41, 0xff], name.to_vec(), tail.to_vec()].concat(),
            Err(NoName::DnsMalformed),
        ),
        ("an answer", answer_bit, Err(NoName::NoQuery)),
        ("another operation", opcode, Err(NoName::NoQuery)),
        ("no question", header(0), Err(NoName::NoQuery)),
        (
            "too many questions",
            [header(200), [fine.as_slice(), &tail].concat().repeat(9)].concat(),
            Err(NoName::DnsMalformed),
        ),
        (
            "not DNS",
            b"\x01\x00\x00\x00WireGuard says hello on port 53".to_vec(),
            Err(NoName::DnsMalformed),
        ),
        ("nothing", Vec::new(), Err(NoName::NoQuery)),
        ("half a header", header(1)[..7].to_vec(), Err(NoName::NoQuery)),
    ]
}

#[test]
fn hostile_queries_neither_hide_a_name_nor_block_one() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    for (port, (what, payload, outcome)) in (1..).zip(hostile()) {
        let asked = frame(false, &payload).from_port(port);
        let before = bench.ingress()?;
        let run = bench.run(&asked)?;
        match outcome {
            Ok(()) => assert_eq!(run.action, action::TX, "{what}"),
            Err(reason) => {
                assert_eq!((run.action, run.frame), (action::PASS, asked.bytes()), "{what}");
                let counted = bench.ingress()?.no_name(reason) - before.no_name(reason);
                assert_eq!(counted, 1, "{what}");
            }
        }
        while bench.verdict().is_some() {}
    }
    // The root is asked for by every resolver.
    let root = frame(false, &Query::of("", 2).bytes()).from_port(999);
    assert_eq!(bench.run(&root)?.action, action::PASS);
    assert_eq!(bench.verdict().map(|event| event.name.as_bytes().to_vec()), Some(b".".to_vec()));
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}

#[test]
fn reasons_are_judged_where_policy_says_so() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_reasons(&[NoName::NoQuery])?;
    let tunnel = frame(false, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(bench.run(&tunnel)?.action, action::DROP);
    assert_eq!(bench.run(&tunnel)?.action, action::DROP);
    // A query on the same ports is another matter.
    assert_eq!(bench.run(&frame(false, &Query::of("a.example", A).bytes()))?.action, action::PASS);
    Ok(())
}

#[test]
fn a_full_table_judges_queries_all_the_same() -> Result<()> {
    use sensor_user::kernel::object::Sizes;
    let mut bench = Bench::with_sizes(Side::Lan, Sizes { flows: 1, ..Sizes::SMALL })?;
    bench.block(&["blocked.example"])?;
    for port in 1..40 {
        let asked = frame(false, &Query::of("blocked.example", A).bytes()).from_port(port);
        assert_eq!(bench.run(&asked)?.action, action::TX);
    }
    Ok(())
}

/// Port 53 is DNS only where it carries it.
#[test]
fn a_hello_to_the_port_of_dns_is_judged_as_any() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let hello = |name| Frame {
        destination_port: 53,
        ..Frame::from_device(false, &Hello::of(name).bytes())
    };
    let fine = hello("fine.example");
    assert_eq!(bench.run(&fine)?.frame, fine.bytes());
    let flow = bench.flow(&fine).expect("a flow");
    assert_eq!((flow.name_source, flow.phase), (NameSource::Tls as u8, Phase::Named as u8));
    let blocked = hello("blocked.example").from_port(2);
    assert_ne!(bench.run(&blocked)?.frame, blocked.bytes());
    assert_eq!(bench.run(&blocked)?.action, action::TX, "a reset of the blocked flow");
    Ok(())
}
