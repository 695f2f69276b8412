//! Flows that live on while the policy changes: the next packet of the device is judged by the policy in force.

use anyhow::Result;
use sensor_ebpf::abi::{
    DomainEntry, Flow, GroupMasks, Happening, NoName, Side, Verdict, VerdictEvent,
};
use sensor_ebpf::flow::Phase;
use sensor_ebpf::parse::RST;
use sensor_lab::dns::{A, Query};
use sensor_lab::frames::{Frame, Hello, Transport, flag, request};
use sensor_lab::quic::{Content, Initial, from_device, message, short};
use sensor_user::kernel::object::Sizes;
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;
use sensor_user::policy::Port;

use super::{Bench, Lent, packet};

const BLOCK: u64 = 1;
const ALERT: u64 = 2;
const NAME: &str = "www.site.example";
/// The list of what stands above [`NAME`].
const LIST: u16 = 6;

/// A policy that says this of the name's parent, and this of the reasons and ports.
fn policy(categories: u64, reasons: &[NoName], ports: &[(&str, u64)]) -> PolicyImage {
    let entry = |categories, list| DomainEntry { categories, list, ..DomainEntry::default() };
    let port = |text| Port::parse(text).expect("a port").expect("a right one");
    let block_no_name = reasons.iter().fold(0, |mask, reason| mask | 1 << *reason as u8);
    let masks = GroupMasks { block: BLOCK, alert: ALERT, block_no_name, ..GroupMasks::default() };
    let listed = (categories != 0).then(|| ("site.example".to_owned(), entry(categories, LIST)));
    PolicyImage {
        domains: listed.into_iter().collect(),
        ports: ports.iter().map(|(text, bits)| (port(text), entry(*bits, 9))).collect(),
        groups: vec![(0, masks, Vec::new())],
        ..PolicyImage::default()
    }
}

/// A bench with a policy that lists nothing.
fn bench(side: Side) -> Result<Lent> {
    let mut bench = Bench::new(side)?;
    bench.push(&policy(0, &[], &[]))?;
    Ok(bench)
}

fn passes(bench: &mut Bench, frame: &Frame) -> Result<bool> {
    let outcome = bench.run(frame)?;
    Ok(outcome.action == action::PASS && outcome.frame == frame.bytes())
}

fn told(bench: &mut Bench) -> Option<(u8, u32, u64, u16, Vec<u8>)> {
    let VerdictEvent { verdict, policy, categories, list, name, .. } = bench.verdict()?;
    Some((verdict, policy, categories, list, name.as_bytes().to_vec()))
}

/// A connection whose hello has passed and was answered; its next segment carries no data.
fn connected(bench: &mut Bench, v6: bool) -> Result<Frame> {
    let syn = Frame::from_device(v6, &[]).with_flags(flag::SYN);
    bench.run(&syn)?;
    let hello = Frame::from_device(v6, &Hello::of(NAME).bytes());
    assert!(passes(bench, &hello)?);
    let _allowed = bench.verdict().expect("every judged name is told here");
    let length = u32::try_from(hello.payload.len())?;
    let answer = Frame { payload: b"\x16\x03\x03".to_vec(), ..hello.reply() };
    bench.run_egress(&answer)?;
    Ok(Frame { payload: Vec::new(), ..hello }.further(length))
}

fn flow(bench: &Bench, frame: &Frame) -> Flow {
    bench.flow(frame).expect("a flow")
}

#[test]
fn a_live_connection_ends_with_the_next_packet_behind_the_push() -> Result<()> {
    for v6 in [false, true] {
        let mut bench = bench(Side::Lan)?;
        let next = connected(&mut bench, v6)?;
        assert!(passes(&mut bench, &next)?);
        let generation = bench.push(&policy(BLOCK, &[], &[]))?;
        let outcome = bench.run(&next)?;
        assert_ne!(packet(&outcome.frame).tcp_flags & RST, 0, "the server is reset");
        assert!(outcome.order.is_some(), "and so is the client");
        let event = told(&mut bench).expect("it is told");
        let block = Verdict::Block as u8;
        assert_eq!(event, (block, generation, BLOCK, LIST, NAME.as_bytes().to_vec()));
        let flow = flow(&bench, &next);
        assert_eq!(
            (flow.verdict, flow.policy, flow.judged, flow.categories, flow.list),
            (block, generation, generation, BLOCK, LIST)
        );
        assert!(!passes(&mut bench, &next)?);
        assert!(bench.verdict().is_none(), "it is told once");
        // What was blocked stays so.
        bench.push(&policy(0, &[], &[]))?;
        assert!(!passes(&mut bench, &next)?);
    }
    Ok(())
}

#[test]
fn an_alert_is_told_once_and_stands() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let next = connected(&mut bench, false)?;
    let alert = Verdict::Alert as u8;
    let first = bench.push(&policy(ALERT, &[], &[]))?;
    for _ in 0..3 {
        assert!(passes(&mut bench, &next)?);
    }
    assert_eq!(told(&mut bench).map(|event| (event.0, event.1)), Some((alert, first)));
    // Another policy that says the same, and one that says nothing.
    let second = bench.push(&policy(ALERT, &[], &[]))?;
    assert!(passes(&mut bench, &next)?);
    let third = bench.push(&policy(0, &[], &[]))?;
    assert!(passes(&mut bench, &next)?);
    assert!(bench.verdict().is_none());
    let flow = flow(&bench, &next);
    assert_eq!((flow.verdict, flow.policy, flow.judged), (alert, second, third));
    assert_eq!((flow.categories, flow.list), (ALERT, LIST));
    Ok(())
}

#[test]
fn what_passes_is_under_the_policy_in_force() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let next = connected(&mut bench, false)?;
    let generation = bench.push(&policy(4, &[], &[]))?;
    assert!(passes(&mut bench, &next)?);
    let flow = flow(&bench, &next);
    assert_eq!((flow.policy, flow.categories, flow.list), (generation, 4, LIST));
    assert_eq!(flow.verdict, Verdict::Allow as u8);
    assert!(bench.verdict().is_none());
    Ok(())
}

#[test]
fn a_tap_tells_and_lets_pass() -> Result<()> {
    let mut bench = bench(Side::Tap)?;
    let next = connected(&mut bench, false)?;
    bench.push(&policy(BLOCK, &[], &[]))?;
    assert!(passes(&mut bench, &next)?);
    assert_eq!(told(&mut bench).map(|event| event.0), Some(Verdict::Block as u8));
    assert!(passes(&mut bench, &next)?);
    assert!(bench.verdict().is_none());
    Ok(())
}

#[test]
fn a_quic_connection_ends_too() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let initial = Initial::of(vec![Content::whole(&message(&Hello::of(NAME)))]);
    assert!(passes(&mut bench, &from_device(false, &initial.datagram()))?);
    let _allowed = bench.verdict().expect("a name");
    let next = from_device(false, &short(&[7; 8], 200));
    assert!(passes(&mut bench, &next)?);
    bench.push(&policy(BLOCK, &[], &[]))?;
    // Another connection's Initial is read for itself.
    let fine = Initial::of(vec![Content::whole(&message(&Hello::of("fine.example")))]);
    let fine = fine.to_connection(&[9; 8]).datagram();
    assert!(passes(&mut bench, &from_device(false, &fine))?);
    assert_eq!(told(&mut bench).map(|event| event.4), Some(b"fine.example".to_vec()));
    bench.push(&policy(0, &[], &[]))?;
    let again = initial.to_connection(&[10; 8]).datagram();
    assert!(passes(&mut bench, &from_device(false, &again))?);
    let _allowed = bench.verdict().expect("a name");
    bench.push(&policy(BLOCK, &[], &[]))?;
    assert_eq!(bench.run(&next)?.action, action::DROP);
    assert_eq!(told(&mut bench).map(|event| event.0), Some(Verdict::Block as u8));
    Ok(())
}

#[test]
fn a_body_that_is_under_way_is_cut() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let head = request(NAME, "/upload", &["Content-Length: 100000"]);
    let first = Frame::from_device(false, &head);
    assert!(passes(&mut bench, &first)?);
    let _allowed = bench.verdict().expect("a name");
    let body =
        Frame { payload: vec![b'x'; 500], ..first.clone() }.further(u32::try_from(head.len())?);
    assert!(passes(&mut bench, &body)?);
    assert_eq!(flow(&bench, &body).phase, Phase::Requests as u8);
    bench.push(&policy(BLOCK, &[], &[]))?;
    assert!(!passes(&mut bench, &body.further(500))?);
    Ok(())
}

#[test]
fn a_flow_without_a_name_follows_its_reason() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let nameless = |port| {
        let frame = Frame::from_device(false, b"\x16\xfe\xfda datagram of DTLS").from_port(port);
        Frame { transport: Transport::Udp, destination_port: 443, ..frame }
    };
    assert!(passes(&mut bench, &nameless(1))?);
    let reason = NoName::Dtls;
    let allowed = flow(&bench, &nameless(1));
    assert_eq!((allowed.no_name, allowed.judged), (reason as u8, 1));
    let _told = bench.verdict();
    let counted = bench.ingress()?.no_name(reason);
    bench.push(&policy(0, &[reason], &[]))?;
    assert_eq!(bench.run(&nameless(1))?.action, action::DROP, "{reason:?}");
    let event = bench.verdict().expect("it is told");
    assert_eq!((event.verdict, event.no_name), (Verdict::Block as u8, reason as u8));
    assert_eq!(event.name.as_bytes(), b"");
    assert_eq!(bench.ingress()?.no_name(reason), counted, "a flow is counted once");
    Ok(())
}

#[test]
fn a_port_that_is_listed_meanwhile_ends_its_flows() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let next = connected(&mut bench, false)?;
    bench.push(&policy(0, &[], &[("tcp/443", ALERT)]))?;
    for _ in 0..2 {
        assert!(passes(&mut bench, &next)?);
    }
    let event = bench.verdict().expect("it is told");
    assert_eq!((event.verdict, event.no_name), (Verdict::Alert as u8, NoName::ListedPort as u8));
    assert!(bench.verdict().is_none(), "it is told once");
    bench.push(&policy(0, &[], &[("tcp/443", BLOCK)]))?;
    assert_ne!(packet(&bench.run(&next)?.frame).tcp_flags & RST, 0);
    let flow = flow(&bench, &next);
    assert_eq!((flow.verdict, flow.no_name), (Verdict::Block as u8, NoName::ListedPort as u8));
    Ok(())
}

#[test]
fn queries_are_judged_by_themselves() -> Result<()> {
    let mut bench = bench(Side::Lan)?;
    let asked = super::dns::frame(false, &Query::of(NAME, A).bytes());
    assert!(passes(&mut bench, &asked)?);
    let _allowed = bench.verdict().expect("a name");
    bench.push(&policy(BLOCK, &[], &[]))?;
    let other = super::dns::frame(false, &Query::of("fine.example", A).bytes());
    assert!(passes(&mut bench, &other)?);
    assert_eq!(told(&mut bench).map(|event| event.4), Some(b"fine.example".to_vec()));
    assert!(!passes(&mut bench, &asked)?);
    Ok(())
}

#[test]
fn without_its_name_a_flow_keeps_its_verdict_and_is_counted() -> Result<()> {
    let mut bench = Bench::with_sizes(Side::Lan, Sizes { names: 256, ..Sizes::SMALL })?;
    bench.push(&policy(0, &[], &[]))?;
    let next = connected(&mut bench, false)?;
    for number in 0..4000_u16 {
        let other = Hello::of(&format!("{number}.other.example")).bytes();
        bench.run(&Frame::from_device(true, &other).from_port(number + 1))?;
        let _allowed = bench.verdict();
    }
    assert!(bench.flows.name(flow(&bench, &next).name_hash).is_none(), "its name is gone");
    bench.push(&policy(BLOCK, &[], &[]))?;
    for _ in 0..3 {
        assert!(passes(&mut bench, &next)?);
    }
    assert_eq!(bench.ingress()?.happened(Happening::NameForgotten), 1);
    Ok(())
}
