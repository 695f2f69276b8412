//! Ports that are listed: a flow to one ends, or is told of, with the packet that opens it.

use anyhow::Result;
use sensor_ebpf::abi::{
    DomainEntry, Flow, GroupMasks, Happening, NameSource, NoName, Side, Verdict, VerdictEvent,
};
use sensor_ebpf::parse::RST;
use sensor_lab::frames::{Frame, Hello, Transport, flag, request};
use sensor_lab::pins::Pins;
use sensor_lab::quic::{Content, Initial, message};
use sensor_user::kernel::object::{Clock, Object, Sizes};
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::{Outcome, action};
use sensor_user::policy::Port;

use super::{Bench, Lent, packet};

const BLOCK: u64 = 1;
const ALERT: u64 = 2;
const ALLOW: u64 = 4;
const LISTS: [(&str, u64, u16); 6] = [
    ("udp/1194", BLOCK, 3),
    ("tcp/1723", BLOCK, 3),
    ("udp/443", BLOCK, 4),
    ("tcp/3128", ALERT, 5),
    ("udp/41641", ALERT, 5),
    ("tcp/9001", BLOCK | ALLOW, 6),
];
const BLOCKED_NAME: &str = "blocked.example";

fn bench_with(side: Side, sizes: Sizes) -> Result<Lent> {
    let mut bench = Bench::with_sizes(side, sizes)?;
    bench.push(&policy())?;
    Ok(bench)
}

fn policy() -> PolicyImage {
    let entry = |categories, list| DomainEntry { categories, list, ..DomainEntry::default() };
    let port = |text| Port::parse(text).expect("a port").expect("a right one");
    PolicyImage {
        domains: vec![
            (BLOCKED_NAME.to_owned(), entry(BLOCK, 7)),
            ("told.example".to_owned(), entry(ALERT, 8)),
            ("help.example".to_owned(), entry(ALLOW, 9)),
        ],
        ports: LISTS.map(|(text, bits, list)| (port(text), entry(bits, list))).to_vec(),
        groups: vec![(
            0,
            GroupMasks { block: BLOCK, alert: ALERT, allow: ALLOW, ..GroupMasks::default() },
            Vec::new(),
        )],
        ..PolicyImage::default()
    }
}

fn bench() -> Result<Lent> {
    bench_with(Side::Lan, Sizes::SMALL)
}

fn datagram(v6: bool, port: u16, payload: &[u8]) -> Frame {
    let frame = Frame::from_device(v6, payload);
    Frame { transport: Transport::Udp, destination_port: port, ..frame }
}

fn segment(v6: bool, port: u16, payload: &[u8]) -> Frame {
    Frame { destination_port: port, ..Frame::from_device(v6, payload) }
}

fn syn(v6: bool, port: u16) -> Frame {
    segment(v6, port, &[]).with_flags(flag::SYN)
}

fn no_name_of(event: &VerdictEvent) -> (u8, u8, u64, u16) {
    (event.verdict, event.no_name, event.categories, event.list)
}

fn told_by(flow: &Flow) -> (u8, u8, u64, u16) {
    (flow.verdict, flow.no_name, flow.categories, flow.list)
}

const BY_PORT: u8 = NoName::ListedPort as u8;

#[test]
fn a_blocked_port_takes_no_datagram() -> Result<()> {
    let mut bench = bench()?;
    for (v6, count) in [(false, 1), (true, 2)] {
        let first = datagram(v6, 1194, b"\x38hello");
        assert_eq!(bench.run(&first)?.action, action::DROP);
        let event = bench.verdict().expect("an event");
        assert_eq!(no_name_of(&event), (Verdict::Block as u8, BY_PORT, BLOCK, 3));
        assert_eq!((event.name.as_bytes(), event.name_source), (&b""[..], NameSource::None as u8));
        let flow = bench.flow(&first).expect("a flow");
        assert_eq!(told_by(&flow), (Verdict::Block as u8, BY_PORT, BLOCK, 3));
        for _ in 0..3 {
            assert_eq!(bench.run(&datagram(v6, 1194, b"again"))?.action, action::DROP);
        }
        assert_eq!(bench.ingress()?.no_name(NoName::ListedPort), count);
        assert_eq!(bench.ingress()?.happened(Happening::BlockedDropped), count * 4);
        assert!(bench.verdict().is_none(), "told once");
        // The same number of another transport, and its neighbour.
        assert_eq!(bench.run(&syn(v6, 1194))?.frame, syn(v6, 1194).bytes());
        assert_eq!(bench.run(&datagram(v6, 1195, b"hello"))?.action, action::PASS);
    }
    Ok(())
}

#[test]
fn a_blocked_port_is_refused_before_the_server_hears_of_it() -> Result<()> {
    let mut bench = bench()?;
    for v6 in [false, true] {
        let first = syn(v6, 1723);
        let outcome = bench.run(&first)?;
        assert_ne!(packet(&outcome.frame).tcp_flags & RST, 0, "what goes on is a reset");
        let order = outcome.order.expect("an order for the client's reset");
        assert_eq!(order.sequence_end, packet(&first.bytes()).sequence + 1);
        let flow = bench.flow(&first).expect("a flow");
        assert_eq!(told_by(&flow), (Verdict::Block as u8, BY_PORT, BLOCK, 3));
        // The same again, another connection's, and data that nobody asked for: nothing but resets go on.
        for frame in [first.clone(), first.clone().further(77_777), segment(v6, 1723, b"x")] {
            assert_ne!(packet(&bench.run(&frame)?.frame).tcp_flags & RST, 0, "{frame:?}");
        }
    }
    Ok(())
}

/// A hello's name gets another connection through on a blocked flow, but not where its port is why.
#[test]
fn no_name_passes_on_a_blocked_port() -> Result<()> {
    let mut bench = bench()?;
    let initial = Initial::of(vec![Content::whole(&message(&Hello::of("fine.example")))]);
    for number in 0..3_u8 {
        let initial = initial.clone().to_connection(&[number; 8]);
        let outcome = bench.run(&datagram(false, 443, &initial.datagram()))?;
        assert_eq!(outcome.action, action::DROP, "{number}");
    }
    Ok(())
}

#[test]
fn a_told_port_is_told_once_and_names_are_judged_behind_it() -> Result<()> {
    let mut bench = bench()?;
    let connect = |bench: &mut Bench, source_port, name: &str| -> Result<_> {
        let syn = syn(false, 3128).from_port(source_port);
        for _ in 0..2 {
            assert_eq!(bench.run(&syn)?.frame, syn.bytes());
        }
        let event = bench.verdict().expect("an event");
        assert_eq!(no_name_of(&event), (Verdict::Alert as u8, BY_PORT, ALERT, 5));
        assert!(bench.verdict().is_none(), "told once");
        let hello = segment(false, 3128, &Hello::of(name).bytes()).from_port(source_port);
        let passes = bench.run(&hello)?.frame == hello.bytes();
        let flow = bench.flow(&hello).expect("a flow");
        Ok((passes, told_by(&flow), flow.name_hash != 0))
    };
    let named = NoName::Named as u8;
    let fine = connect(&mut bench, 1, "fine.example")?;
    assert_eq!(fine, (true, (Verdict::Alert as u8, named, ALERT, 5), true));
    let event = bench.verdict().expect("its name");
    assert_eq!(event.verdict, Verdict::Allow as u8);
    // Whether a name may be told is said by its categories, which the record needs beside the port's.
    let protected = connect(&mut bench, 3, "help.example")?;
    assert_eq!(protected, (true, (Verdict::Alert as u8, named, ALERT | ALLOW, 5), true));
    assert_eq!(bench.verdict().expect("its name").verdict, Verdict::Allow as u8);
    let blocked = connect(&mut bench, 2, BLOCKED_NAME)?;
    assert_eq!(blocked, (false, (Verdict::Block as u8, named, BLOCK, 7), true));
    assert_eq!(bench.ingress()?.no_name(NoName::ListedPort), 0, "all of them had names");

    let first = datagram(true, 41_641, b"\x04hello");
    assert_eq!(bench.run(&first)?.action, action::PASS);
    let flow = bench.flow(&first).expect("a flow");
    assert_eq!(told_by(&flow), (Verdict::Alert as u8, NoName::NotQuic as u8, ALERT, 5));
    Ok(())
}

#[test]
fn an_allowed_category_keeps_a_port_open() -> Result<()> {
    let mut bench = bench()?;
    assert_eq!(bench.run(&syn(false, 9001))?.frame, syn(false, 9001).bytes());
    assert!(bench.verdict().is_none());
    let hello = segment(false, 9001, &Hello::of(BLOCKED_NAME).bytes());
    assert_ne!(bench.run(&hello)?.frame, hello.bytes(), "its name is judged as anywhere");
    Ok(())
}

#[test]
fn a_server_that_answers_a_listed_port_is_none_of_its_users() -> Result<()> {
    let mut bench = bench()?;
    let answer = datagram(false, 1194, b"answer").from_port(5060);
    let question = Frame { payload: b"question".to_vec(), ..answer.reply() };
    assert_eq!(bench.run_egress(&question)?.frame, question.bytes());
    assert_eq!(bench.run(&answer)?.action, action::PASS);
    assert_eq!(bench.ingress()?.no_name(NoName::ListedPort), 0);
    Ok(())
}

#[test]
fn a_full_table_blocks_ports_all_the_same() -> Result<()> {
    let mut bench = bench_with(Side::Lan, Sizes { flows: 1, ..Sizes::SMALL })?;
    for source_port in 1..40 {
        let first = datagram(false, 1194, b"hello").from_port(source_port);
        assert_eq!(bench.run(&first)?.action, action::DROP);
        let first = syn(true, 1723).from_port(source_port);
        assert_ne!(packet(&bench.run(&first)?.frame).tcp_flags & RST, 0);
        let fine = syn(true, 1724).from_port(source_port);
        assert_eq!(bench.run(&fine)?.frame, fine.bytes());
    }
    Ok(())
}

#[test]
fn a_tap_tells_of_ports_and_blocks_none() -> Result<()> {
    let mut bench = bench_with(Side::Tap, Sizes::SMALL)?;
    for frame in [datagram(false, 1194, b"hello"), syn(false, 1723)] {
        let outcome = bench.run(&frame)?;
        assert_eq!((outcome.action, outcome.frame), (action::PASS, frame.bytes()));
        assert_eq!(bench.flow(&frame).map(|flow| flow.verdict), Some(Verdict::Block as u8));
    }
    Ok(())
}

#[test]
fn a_push_closes_ports_and_opens_them() -> Result<()> {
    let mut bench = bench()?;
    bench.block(&[])?;
    assert_eq!(bench.run(&datagram(false, 1194, b"hello"))?.action, action::PASS);
    Ok(())
}

/// What a connection was told of stands in its record, whatever else is asked for on it.
#[test]
fn an_alert_outlives_the_names_behind_it() -> Result<()> {
    let mut bench = bench()?;
    let mut connection = Frame::from_device(false, &request("told.example", "/", &[]));
    let mut found = Vec::new();
    for host in ["told.example", "fine.example", BLOCKED_NAME] {
        connection.payload = request(host, "/", &[]);
        bench.run(&connection)?;
        let flow = bench.flow(&connection).expect("a flow");
        found.push((flow.verdict, flow.list));
        connection = connection.clone().further(connection.payload.len() as u32);
    }
    let (alert, block) = (Verdict::Alert as u8, Verdict::Block as u8);
    assert_eq!(found, [(alert, 8), (alert, 8), (block, 7)]);
    Ok(())
}

/// Programs of another version take their places before anything is pushed to them.
#[test]
fn programs_that_replace_others_find_the_ports() -> Result<()> {
    let pins = Pins::new()?;
    let mut old = Bench::load(Sizes::SMALL, Some(pins.path()))?;
    old.begin(Side::Lan)?;
    old.push(&policy())?;
    let mut new = Object::load(Sizes::SMALL, Clock::Replay, Some(pins.path()))?;
    let hello = segment(false, 443, &Hello::of(BLOCKED_NAME).bytes());
    for (what, frame) in [("port", datagram(false, 1194, b"hello")), ("name", hello)] {
        let passes = |outcome: Outcome, frame: &Frame| {
            outcome.action == action::PASS && outcome.frame == frame.bytes()
        };
        assert!(!passes(new.run_xdp(&frame.bytes())?, &frame), "the new programs, a {what}");
        let frame = frame.from_port(7);
        assert!(!passes(old.run(&frame)?, &frame), "the old programs, a {what}");
    }
    Ok(())
}
