//! Addresses and prefixes that are listed: a flow to one ends, or is told of, with the packet that opens it.

use std::net::IpAddr;

use anyhow::Result;
use sensor_ebpf::abi::{
    DomainEntry, Flow, GroupMasks, Happening, NameSource, NoName, Side, Verdict, VerdictEvent,
};
use sensor_ebpf::parse::RST;
use sensor_lab::dns::{A, Query};
use sensor_lab::frames::{Frame, Hello, Transport, flag};
use sensor_lab::quic::{Content, Initial, message};
use sensor_user::kernel::object::Sizes;
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;
use sensor_user::policy::Port;

use super::{Bench, Lent, packet};

const BLOCK: u64 = 1;
const ALERT: u64 = 2;
const ALLOW: u64 = 4;
const LISTS: [(&str, u64, u16); 6] = [
    ("198.51.100.0/24", BLOCK, 3),
    ("198.51.100.128/25", ALERT, 4),
    ("198.51.100.200/32", BLOCK | ALLOW, 5),
    ("2001:db8:bad::/48", BLOCK, 3),
    ("2001:db8:bad:1::/64", ALERT, 4),
    ("2001:db8:bad:1::7/128", ALLOW, 5),
];
const BLOCKED_NAME: &str = "blocked.example";
const BY_ADDRESS: u8 = NoName::ListedAddress as u8;

fn policy(lists: &[(&str, u64, u16)]) -> PolicyImage {
    let entry = |categories, list| DomainEntry { categories, list, ..DomainEntry::default() };
    let network = |text: &str| text.parse().expect("a prefix");
    let port = Port::parse("tcp/3128").expect("a port").expect("a right one");
    let masks = GroupMasks { block: BLOCK, alert: ALERT, allow: ALLOW, ..GroupMasks::default() };
    PolicyImage {
        domains: vec![(BLOCKED_NAME.to_owned(), entry(BLOCK, 7))],
        ports: vec![(port, entry(ALERT, 8))],
        prefixes: lists
            .iter()
            .map(|(text, bits, list)| (network(text), entry(*bits, *list)))
            .collect(),
        groups: vec![(0, masks, Vec::new())],
        ..PolicyImage::default()
    }
}

fn bench_with(side: Side, sizes: Sizes) -> Result<Lent> {
    let mut bench = Bench::with_sizes(side, sizes)?;
    bench.push(&policy(&LISTS))?;
    Ok(bench)
}

fn bench() -> Result<Lent> {
    bench_with(Side::Lan, Sizes::SMALL)
}

fn to(address: &str, payload: &[u8]) -> Frame {
    let destination: IpAddr = address.parse().expect("an address");
    Frame { destination, ..Frame::from_device(destination.is_ipv6(), payload) }
}

fn datagram(address: &str, port: u16, payload: &[u8]) -> Frame {
    Frame { transport: Transport::Udp, destination_port: port, ..to(address, payload) }
}

fn syn(address: &str) -> Frame {
    to(address, &[]).with_flags(flag::SYN)
}

fn passes(bench: &mut Bench, frame: &Frame) -> Result<bool> {
    let outcome = bench.run(frame)?;
    Ok(outcome.action == action::PASS && outcome.frame == frame.bytes())
}

fn event_of(event: &VerdictEvent) -> (u8, u8, u64, u16) {
    (event.verdict, event.no_name, event.categories, event.list)
}

fn told_by(flow: &Flow) -> (u8, u8, u64, u16) {
    (flow.verdict, flow.no_name, flow.categories, flow.list)
}

const BLOCKED: (u8, u8, u64, u16) = (Verdict::Block as u8, BY_ADDRESS, BLOCK, 3);

/// Protocols without ports too: an echo request, what a tunnel carries.
#[test]
fn nothing_goes_to_a_blocked_address() -> Result<()> {
    let mut bench = bench()?;
    let mut count = 0;
    for address in ["198.51.100.1", "198.51.100.127", "2001:db8:bad::1", "2001:db8:bad:2::7"] {
        let other = |protocol| {
            let payload = [8, 0, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0];
            Frame { transport: Transport::Other(protocol), ..to(address, &payload) }
        };
        let frames = [
            datagram(address, 51_820, b"\x01hello"),
            datagram(address, 53, &Query::of("fine.example", A).bytes()),
            other(if address.contains(':') { 58 } else { 1 }),
            other(47),
            other(50),
        ];
        for frame in frames {
            assert_eq!(bench.run(&frame)?.action, action::DROP, "{frame:?}");
            let event = bench.verdict().expect("an event");
            assert_eq!(event_of(&event), BLOCKED, "{frame:?}");
            assert_eq!(
                (event.name.as_bytes(), event.name_source),
                (&b""[..], NameSource::None as u8)
            );
            assert_eq!(told_by(&bench.flow(&frame).expect("a flow")), BLOCKED);
            for _ in 0..3 {
                assert_eq!(bench.run(&frame)?.action, action::DROP, "{frame:?}");
            }
            assert!(bench.verdict().is_none(), "told once");
            count += 1;
        }
    }
    let ingress = bench.ingress()?;
    assert_eq!(ingress.no_name(NoName::ListedAddress), count);
    assert_eq!(ingress.happened(Happening::BlockedDropped), count * 4);
    assert!(ingress.is_conserved());
    Ok(())
}

#[test]
fn a_connection_to_a_blocked_address_is_refused_before_the_server_hears_of_it() -> Result<()> {
    let mut bench = bench()?;
    for address in ["198.51.100.9", "2001:db8:bad::9"] {
        let first = syn(address);
        let outcome = bench.run(&first)?;
        assert_ne!(packet(&outcome.frame).tcp_flags & RST, 0, "what goes on is a reset");
        let order = outcome.order.expect("an order for the client's reset");
        assert_eq!(order.sequence_end, packet(&first.bytes()).sequence + 1);
        assert_eq!(told_by(&bench.flow(&first).expect("a flow")), BLOCKED);
        for frame in [first.clone(), first.clone().further(77_777), to(address, b"x")] {
            assert_ne!(packet(&bench.run(&frame)?.frame).tcp_flags & RST, 0, "{frame:?}");
        }
    }
    Ok(())
}

#[test]
fn the_longest_prefix_decides_alone() -> Result<()> {
    let mut bench = bench()?;
    let alert = (Verdict::Alert as u8, BY_ADDRESS, ALERT, 4);
    for (address, expected) in [
        ("198.51.100.127", Some(BLOCKED)),
        ("198.51.100.128", Some(alert)),
        ("198.51.100.199", Some(alert)),
        ("198.51.100.200", None),
        ("198.51.100.201", Some(alert)),
        ("198.51.101.0", None),
        ("198.51.99.255", None),
        ("2001:db8:bad::", Some(BLOCKED)),
        ("2001:db8:bad:1::6", Some(alert)),
        ("2001:db8:bad:1::7", None),
        ("2001:db8:bac:ffff::1", None),
        ("2001:db8:bae::1", None),
    ] {
        let frame = syn(address);
        let is_blocked = expected == Some(BLOCKED);
        assert_eq!(passes(&mut bench, &frame)?, !is_blocked, "{address}");
        assert_eq!(bench.verdict().map(|event| event_of(&event)), expected, "{address}");
    }
    Ok(())
}

/// A hello's name gets another connection through on a blocked flow, but not where its address is why.
#[test]
fn no_name_passes_to_a_blocked_address() -> Result<()> {
    let mut bench = bench()?;
    let initial = Initial::of(vec![Content::whole(&message(&Hello::of("fine.example")))]);
    for number in 0..3_u8 {
        let initial = initial.clone().to_connection(&[number; 8]);
        let frame = datagram("198.51.100.1", 443, &initial.datagram());
        assert_eq!(bench.run(&frame)?.action, action::DROP, "{number}");
    }
    Ok(())
}

#[test]
fn behind_an_address_that_is_told_of_names_are_judged() -> Result<()> {
    let mut bench = bench()?;
    let named = NoName::Named as u8;
    for (port, name, expected) in [
        (1, "fine.example", (Verdict::Alert as u8, named, ALERT, 4)),
        (2, BLOCKED_NAME, (Verdict::Block as u8, named, BLOCK, 7)),
    ] {
        let first = syn("198.51.100.130").from_port(port);
        for _ in 0..2 {
            assert!(passes(&mut bench, &first)?);
        }
        let event = bench.verdict().expect("an event");
        assert_eq!(event_of(&event), (Verdict::Alert as u8, BY_ADDRESS, ALERT, 4));
        assert!(bench.verdict().is_none(), "told once");
        let hello = to("198.51.100.130", &Hello::of(name).bytes()).from_port(port);
        assert_eq!(passes(&mut bench, &hello)?, name != BLOCKED_NAME);
        assert_eq!(told_by(&bench.flow(&hello).expect("a flow")), expected);
        bench.verdict().expect("its name");
    }
    // What an address is allowed for does not let a blocked name through.
    let hello = to("198.51.100.200", &Hello::of(BLOCKED_NAME).bytes());
    assert!(!passes(&mut bench, &hello)?);
    Ok(())
}

/// One packet is told of once: a block comes before an alert, a port before an address.
#[test]
fn of_a_port_and_an_address_the_stronger_decides() -> Result<()> {
    let mut bench = bench()?;
    let at_port = |address| Frame { destination_port: 3128, ..syn(address) };
    for (address, expected) in [
        ("198.51.100.1", BLOCKED),
        ("198.51.100.130", (Verdict::Alert as u8, NoName::ListedPort as u8, ALERT, 8)),
        ("198.51.100.200", (Verdict::Alert as u8, NoName::ListedPort as u8, ALERT, 8)),
    ] {
        bench.run(&at_port(address))?;
        let event = bench.verdict().expect("an event");
        assert_eq!(event_of(&event), expected, "{address}");
        assert!(bench.verdict().is_none(), "{address}");
    }
    Ok(())
}

#[test]
fn who_answers_a_listed_address_has_not_asked_for_it() -> Result<()> {
    let mut bench = bench()?;
    let answer = datagram("198.51.100.1", 40_000, b"answer").from_port(5060);
    let question = Frame { payload: b"question".to_vec(), ..answer.reply() };
    assert_eq!(bench.run_egress(&question)?.frame, question.bytes());
    assert!(passes(&mut bench, &answer)?);
    assert_eq!(bench.ingress()?.no_name(NoName::ListedAddress), 0);
    Ok(())
}

#[test]
fn a_full_table_blocks_addresses_all_the_same() -> Result<()> {
    let mut bench = bench_with(Side::Lan, Sizes { flows: 1, ..Sizes::SMALL })?;
    for port in 1..40 {
        let address = "198.51.100.1";
        assert_eq!(bench.run(&datagram(address, 7, b"x").from_port(port))?.action, action::DROP);
        let query = datagram(address, 53, &Query::of("fine.example", A).bytes());
        assert_eq!(bench.run(&query.from_port(port))?.action, action::DROP);
        let refused = bench.run(&syn(address).from_port(port))?;
        assert_ne!(packet(&refused.frame).tcp_flags & RST, 0);
        assert!(passes(&mut bench, &syn("192.0.2.77").from_port(port))?);
    }
    Ok(())
}

#[test]
fn a_tap_tells_of_addresses_and_blocks_none() -> Result<()> {
    let mut bench = bench_with(Side::Tap, Sizes::SMALL)?;
    for frame in [datagram("198.51.100.1", 7, b"hello"), syn("198.51.100.1")] {
        assert!(passes(&mut bench, &frame)?);
        assert_eq!(bench.flow(&frame).map(|flow| flow.verdict), Some(Verdict::Block as u8));
    }
    Ok(())
}

/// Flows that live while an address comes to be listed end with their next packet, and what is no longer listed is open to
/// new ones.
#[test]
fn a_push_reaches_live_flows_and_opens_addresses() -> Result<()> {
    let mut bench = bench()?;
    bench.push(&policy(&[]))?;
    let hello = to("198.51.100.1", &Hello::of("fine.example").bytes());
    let other = Frame { transport: Transport::Other(47), ..to("198.51.100.1", b"tunnel") };
    for frame in [&hello, &other] {
        assert!(passes(&mut bench, frame)?);
    }
    let answer = Frame { payload: b"\x16\x03\x03".to_vec(), ..hello.reply() };
    bench.run_egress(&answer)?;
    bench.push(&policy(&LISTS))?;
    let next =
        Frame { payload: Vec::new(), ..hello.clone() }.further(u32::try_from(hello.payload.len())?);
    for frame in [&next, &other] {
        assert!(!passes(&mut bench, frame)?, "{frame:?}");
        assert_eq!(told_by(&bench.flow(frame).expect("a flow")), BLOCKED, "{frame:?}");
    }
    bench.push(&policy(&[]))?;
    assert!(passes(&mut bench, &syn("198.51.100.1").from_port(9))?);
    Ok(())
}
