//! DNS answers at egress: addresses are kept with the name asked for, service records are renamed.

use std::net::IpAddr;

use anyhow::Result;
use sensor_ebpf::abi::{
    AnsweredName, DnsRules, FlowKey, Happening, HttpsRecords, NameSource, Side,
};
use sensor_ebpf::dns::{KEPT_MAX_S, KEPT_MIN_S};
use sensor_lab::dns::{A, AAAA, Answer, CNAME, HTTPS, Query, Record, SVCB, TXT, wire_name};
use sensor_lab::frames::{Frame, transport_checksum};
use sensor_user::kernel::test_run::action;

use super::dns::{NXDOMAIN, bench, frame};
use super::{Bench, Random, key, packet};

const V4: [u8; 4] = [198, 51, 100, 7];
const V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const SECOND_NS: u64 = 1_000_000_000;

/// What the resolver sends back.
fn reply(asked: &Frame, message: &[u8]) -> Frame {
    Frame { payload: message.to_vec(), ..asked.reply() }
}

/// What the device was told of an address.
fn answered(bench: &Bench, asked: &Frame, address: impl Into<IpAddr>) -> Option<AnsweredName> {
    let flow = FlowKey { peer_address: address.into().into(), ..key(asked) };
    bench.flows.answered(&flow)
}

/// Asks, and has an answer come back unchanged.
fn exchange(bench: &mut Bench, asked: &Frame, answer: &Answer) -> Result<()> {
    assert_eq!(bench.run(asked)?.action, action::PASS);
    let back = reply(asked, &answer.bytes());
    let outcome = bench.run_egress(&back)?;
    assert_eq!((outcome.action, outcome.frame), (action::CONTINUE, back.bytes()));
    Ok(())
}

#[test]
fn addresses_are_kept_with_the_name_asked_for() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    bench.control.set_replay_clock(SECOND_NS);
    let alias = Record::of(CNAME, 5, &wire_name("edge.cdn.example"));
    for (v6, port) in [(false, 1), (true, 2)] {
        let query = Query { edns: Some(vec![]), ..Query::of("wWw.Library.example", A) };
        let asked = frame(v6, &query.bytes()).from_port(port);
        let records = vec![
            alias.clone(),
            Record { owner: wire_name("edge.cdn.example"), ..Record::of(A, 300, &V4) },
            Record::of(TXT, 300, b"\x03any"),
            Record::of(AAAA, 7200, &V6),
            Record { class: 3, ..Record::of(A, 300, &[203, 0, 113, 1]) },
            Record::of(A, 300, &[203, 0, 113, 2, 0]),
        ];
        exchange(&mut bench, &asked, &Answer::to(&query, records))?;
        let flow = bench.flow(&asked).expect("a flow");
        assert_eq!(flow.name_source, NameSource::Dns as u8);
        for (address, seconds) in [(IpAddr::from(V4), 300), (V6.into(), 7200)] {
            let kept = answered(&bench, &asked, address).expect("the address was in the answer");
            let stored = bench.flows.name(kept.name_hash).expect("the name was judged");
            assert_eq!(stored.as_bytes(), b"www.library.example");
            assert_eq!((kept.name_hash, kept.policy), (flow.name_hash, flow.policy));
            assert_eq!((kept.since_ns, kept.until_ns), (SECOND_NS, (1 + seconds) * SECOND_NS));
        }
        for address in [[203, 0, 113, 1], [203, 0, 113, 2]] {
            assert_eq!(answered(&bench, &asked, address), None, "{address:?}");
        }
    }
    let totals = bench.egress()?;
    assert_eq!(totals.happened(Happening::AnswerNamed), 2);
    assert!(totals.is_conserved());
    Ok(())
}

#[test]
fn only_what_was_asked_for_is_taken() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    let query = Query::of("library.example", A);
    let asked = frame(false, &query.bytes());
    bench.run(&asked)?;
    let records = vec![Record::of(A, 300, &V4)];
    let to = |name: &str| Answer::to(&Query::of(name, A), records.clone()).bytes();
    let right = reply(&asked, &to("library.example"));
    let elsewhere = Frame { source: IpAddr::from([192, 0, 2, 10]), ..right.clone() };
    for (what, wrong) in [
        ("another name", reply(&asked, &to("museum.example"))),
        ("a longer name", reply(&asked, &to("a.library.example"))),
        ("another server", elsewhere),
        ("another port", Frame { destination_port: 9, ..right.clone() }),
    ] {
        let before = bench.egress()?.happened(Happening::AnswerUnasked);
        assert_eq!(bench.run_egress(&wrong)?.action, action::CONTINUE, "{what}");
        assert_eq!(answered(&bench, &asked, V4), None, "{what}");
        assert_eq!(bench.egress()?.happened(Happening::AnswerUnasked), before + 1, "{what}");
    }
    let two = Answer::to(&Query::of_several(&["library.example", "x.example"], A), records.clone());
    bench.run_egress(&reply(&asked, &two.bytes()))?;
    assert_eq!(answered(&bench, &asked, V4), None, "two questions");
    bench.run_egress(&right)?;
    assert!(answered(&bench, &asked, V4).is_some());
    Ok(())
}

#[test]
fn the_newest_name_wins_and_lifetimes_have_bounds() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    let ask = |bench: &mut Bench, at_s: u64, name: &str, ttl: u32| -> Result<_> {
        bench.control.set_replay_clock(at_s * SECOND_NS);
        let query = Query::of(name, A);
        let asked = frame(false, &query.bytes());
        exchange(bench, &asked, &Answer::to(&query, vec![Record::of(A, ttl, &V4)]))?;
        let kept = answered(bench, &asked, V4).expect("the address was in the answer");
        let name = bench.flows.name(kept.name_hash).expect("the name was judged");
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        Ok((name, kept.since_ns / SECOND_NS, kept.until_ns / SECOND_NS))
    };
    let (min, max) = (u64::from(KEPT_MIN_S), u64::from(KEPT_MAX_S));
    let (a, b) = ("a.example", "b.example");
    assert_eq!(ask(&mut bench, 10, a, 0)?, (a.to_owned(), 10, 10 + min));
    // Asked again while it holds, it holds from the first time on.
    assert_eq!(ask(&mut bench, 20, a, 300)?, (a.to_owned(), 10, 320));
    assert_eq!(ask(&mut bench, 30, a, 1)?, (a.to_owned(), 10, 320));
    assert_eq!(ask(&mut bench, 40, b, u32::MAX)?, (b.to_owned(), 40, 40 + min));
    assert_eq!(ask(&mut bench, 50, a, 0x7fff_ffff)?, (a.to_owned(), 50, 50 + max));
    let late = 51 + max;
    assert_eq!(ask(&mut bench, late, a, 300)?, (a.to_owned(), late, late + 300));
    Ok(())
}

const RENAME: DnsRules = DnsRules { https_records: HttpsRecords::Rename as u8, ..NXDOMAIN };

#[test]
fn service_records_are_renamed_by_policy() -> Result<()> {
    let data = [0, 1, 0, 0, 5, 0, 4, 0xde, 0xad, 0xbe, 0xef];
    // Names of both parities, so that a type lies in one word of the sum or in two.
    for name in ["library.example", "museums.example", "x.example"] {
        for v6 in [false, true] {
            for kind in [HTTPS, SVCB] {
                let query = Query::of(name, kind);
                let asked = frame(v6, &query.bytes());
                let odd = Record { owner: wire_name("a.b"), ..Record::of(kind, 60, &data) };
                let records = vec![
                    Record::of(A, 60, &V4),
                    Record::of(kind, 60, &data),
                    odd,
                    Record::of(TXT, 60, b"\x01a"),
                ];
                let answer = Answer::to(&query, records);
                let mut renamed = answer.clone();
                for record in renamed.records.iter_mut().filter(|record| record.kind == kind) {
                    record.kind |= 0xff00;
                }
                let back = reply(&asked, &answer.bytes());
                let mut bench = bench(Side::Lan, RENAME)?;
                bench.run(&asked)?;
                let found = bench.run_egress(&back)?;
                let expected = reply(&asked, &renamed.bytes()).bytes();
                assert_eq!((found.action, found.frame), (action::CONTINUE, expected), "{name}");
                let happened =
                    |bench: &Bench, what| Ok::<_, anyhow::Error>(bench.egress()?.happened(what));
                assert_eq!(happened(&bench, Happening::ServiceRecordRenamed)?, 1);
                assert_eq!(happened(&bench, Happening::AnswerNamed)?, 1);

                // No sum stays none, where there may be none.
                if !v6 {
                    let mut bytes = back.bytes();
                    let at = packet(&bytes).transport as usize + 6;
                    bytes[at..at + 2].fill(0);
                    let found = bench.object.run_egress(&bytes)?.frame;
                    assert_eq!(found[at..at + 2], [0, 0]);
                    assert_eq!(found[at + 2..], reply(&asked, &renamed.bytes()).bytes()[at + 2..]);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_sum_that_comes_to_nothing_is_all_ones() -> Result<()> {
    let mut bench = bench(Side::Lan, RENAME)?;
    let query = Query::of("library.example", HTTPS);
    let asked = frame(false, &query.bytes());
    let answer = |filler: u16| {
        let data = [&[0, 1, 0][..], &filler.to_be_bytes(), &[0]].concat();
        reply(&asked, &Answer::to(&query, vec![Record::of(HTTPS, 60, &data)]).bytes())
    };
    // Any filler moves the sum by as much: one makes it nothing.
    for filler in 0..=u16::MAX {
        let mut renamed = answer(filler);
        let at = renamed.payload.len() - 6 - 10;
        renamed.payload[at] = 0xff;
        let bytes = renamed.bytes();
        let sum_at = packet(&bytes).transport as usize + 6;
        if bytes[sum_at..sum_at + 2] != [0, 0] {
            continue;
        }
        let found = bench.run_egress(&answer(filler))?.frame;
        assert_eq!(found[sum_at..sum_at + 2], [0xff, 0xff]);
        let (source, destination) = (renamed.source, renamed.destination);
        assert_eq!(transport_checksum(source, destination, 17, &found[sum_at - 6..]), 0);
        return Ok(());
    }
    panic!("no sum was nothing");
}

#[test]
fn service_records_stay_where_policy_says_nothing() -> Result<()> {
    let nodata = DnsRules { https_records: HttpsRecords::NoData as u8, ..NXDOMAIN };
    for rules in [NXDOMAIN, nodata] {
        let mut bench = bench(Side::Lan, rules)?;
        let query = Query::of("library.example", A);
        let asked = frame(false, &query.bytes());
        let records = vec![Record::of(HTTPS, 60, &[0, 1, 0]), Record::of(A, 60, &V4)];
        exchange(&mut bench, &asked, &Answer::to(&query, records))?;
        assert_eq!(bench.egress()?.happened(Happening::ServiceRecordRenamed), 0);
    }
    Ok(())
}

/// Answers that no server means.
fn hostile(query: &Query) -> Vec<(&'static str, Vec<u8>)> {
    let address = Record::of(A, 60, &V4);
    let whole = Answer::to(query, vec![address.clone(), Record::of(HTTPS, 60, &[0, 1, 0])]);
    let turning =
        Record { owner: vec![0xc0, 12 + query.question().len() as u8], ..address.clone() };
    let mut looping = whole.bytes();
    looping[12..14].copy_from_slice(&[0xc0, 12]);
    vec![
        (
            "as many records as a frame of a test holds",
            Answer::to(query, vec![address.clone(); 200]).bytes(),
        ),
        (
            "more records than there are",
            Answer { counts: Some([65_535; 3]), ..whole.clone() }.bytes(),
        ),
        ("records it does not tell of", Answer { counts: Some([0; 3]), ..whole.clone() }.bytes()),
        ("a query", Answer { flags: 0x0100, ..whole.clone() }.bytes()),
        ("another operation", Answer { flags: 0xa980, ..whole.clone() }.bytes()),
        ("a name that points at itself", looping),
        ("an owner that points at itself", Answer::to(query, vec![turning]).bytes()),
        ("nothing", Vec::new()),
        ("half a header", whole.bytes()[..7].to_vec()),
        (
            "a label of the extended kind",
            Answer::to(query, vec![Record { owner: vec![0x41], ..address }]).bytes(),
        ),
    ]
}

#[test]
fn hostile_answers_are_passed_on() -> Result<()> {
    let mut bench = bench(Side::Lan, NXDOMAIN)?;
    let query = Query::of("library.example", A);
    let asked = frame(false, &query.bytes());
    bench.run(&asked)?;
    for (what, message) in hostile(&query) {
        let back = reply(&asked, &message);
        let outcome = bench.run_egress(&back)?;
        assert_eq!((outcome.action, outcome.frame), (action::CONTINUE, back.bytes()), "{what}");
    }
    let whole = Answer::to(&query, vec![Record::of(A, 60, &V4), Record::of(AAAA, 60, &V6)]).bytes();
    for length in 0..whole.len() {
        let back = reply(&asked, &whole[..length]);
        let outcome = bench.run_egress(&back)?;
        assert_eq!((outcome.action, outcome.frame), (action::CONTINUE, back.bytes()), "{length}");
    }
    let mut random = Random(0x5eed);
    for _ in 0..2_000 {
        let mut bytes = whole.clone();
        for _ in 0..4 {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let back = reply(&asked, &bytes);
        let outcome = bench.run_egress(&back)?;
        assert_eq!(
            (outcome.action, outcome.frame),
            (action::CONTINUE, back.bytes()),
            "{bytes:02x?}"
        );
    }
    assert!(bench.egress()?.is_conserved());
    Ok(())
}

/// Without room for a flow there is none to ask, and records are renamed all the same.
#[test]
fn a_full_table_renames_all_the_same() -> Result<()> {
    use sensor_ebpf::abi::GroupMasks;
    use sensor_user::kernel::object::Sizes;
    use sensor_user::kernel::tables::PolicyImage;
    let mut bench = Bench::with_sizes(Side::Lan, Sizes { flows: 1, ..Sizes::SMALL })?;
    let masks = GroupMasks { dns: RENAME, ..GroupMasks::default() };
    let image = PolicyImage { groups: vec![(0, masks, Vec::new())], ..PolicyImage::default() };
    bench.push(&image)?;
    let query = Query::of("library.example", HTTPS);
    let answer = Answer::to(&query, vec![Record::of(HTTPS, 60, &[0, 1, 0])]);
    for port in 1..40 {
        let asked = frame(false, &query.bytes()).from_port(port);
        let back = reply(&asked, &answer.bytes());
        assert_ne!(bench.run_egress(&back)?.frame, back.bytes());
    }
    assert_eq!(bench.egress()?.happened(Happening::ServiceRecordRenamed), 39);
    Ok(())
}
