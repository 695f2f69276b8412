//! Which group a packet's device is in: by who is logged in there, its MAC address, its prefix, its VLAN, the interface.

use std::net::IpAddr;

use anyhow::Result;
use sensor_ebpf::abi::{DomainEntry, GroupMasks, Happening, NoName, QuicRule, Side, Verdict};
use sensor_lab::dns::{A, Query};
use sensor_lab::frames::{Frame, Hello, Transport, flag};
use sensor_lab::quic::{Content, Initial, message};
use sensor_user::kernel::tables::{PolicyImage, Sign};
use sensor_user::kernel::test_run::action;
use sensor_user::policy::member::Mac;

use super::{Bench, Lent};

const NAME: &str = "games.example";
const GAMES: u64 = 1;
const MAC: [u8; 6] = [0x00, 0x53, 0x0a, 0x00, 0x00, 0x07];

/// Groups by number: what puts a device into one.
const BY_LOGIN: u16 = 1;
const BY_MAC: u16 = 2;
const BY_PREFIX: u16 = 3;
const BY_VLAN: u16 = 4;
const BY_INTERFACE: u16 = 5;

/// A policy whose groups `blocks` block, and that has these members.
fn policy(blocks: &[u16], members: &[(Sign, u16)]) -> PolicyImage {
    let entry = DomainEntry { categories: GAMES, list: 3, ..DomainEntry::default() };
    let group = |number: u16| {
        let block = if blocks.contains(&number) { GAMES } else { 0 };
        let prefixes = if number == BY_PREFIX {
            ["10.20.0.0/16", "2001:db8:20::/48"]
                .map(|text| text.parse().expect("a prefix"))
                .to_vec()
        } else {
            Vec::new()
        };
        (number, GroupMasks { block, ..GroupMasks::default() }, prefixes)
    };
    PolicyImage {
        domains: vec![(NAME.to_owned(), entry)],
        groups: (0..=BY_INTERFACE).map(group).collect(),
        members: members.to_vec(),
        ..PolicyImage::default()
    }
}

fn members() -> [(Sign, u16); 3] {
    [(Sign::Mac(Mac(MAC)), BY_MAC), (Sign::Vlan(30), BY_VLAN), (Sign::Interface(0), BY_INTERFACE)]
}

fn bench(members: &[(Sign, u16)]) -> Result<Lent> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.push(&policy(&[], members))?;
    Ok(bench)
}

fn passes(bench: &mut Bench, frame: &Frame) -> Result<bool> {
    let outcome = bench.run(frame)?;
    Ok(outcome.action == action::PASS && outcome.frame == frame.bytes())
}

/// Of a device that is in the prefix, or in none.
fn hello(v6: bool, in_prefix: bool) -> Frame {
    let frame = Frame::from_device(v6, &Hello::of(NAME).bytes());
    let elsewhere = if v6 { "2001:db8:21::5" } else { "10.21.0.5" };
    let source = if in_prefix { frame.source } else { elsewhere.parse().expect("an address") };
    Frame { source, ..frame }
}

fn group_of(bench: &mut Bench, frame: &Frame) -> Result<u16> {
    assert!(passes(bench, frame)?);
    let event = bench.verdict().expect("every judged name is told here");
    assert_eq!(bench.flow(frame).map(|flow| flow.group), Some(event.group));
    Ok(event.group)
}

#[test]
fn what_is_nearer_to_the_person_counts_first() -> Result<()> {
    for v6 in [false, true] {
        let mut bench = bench(&members())?;
        let mut port = 1000;
        let mut check = |bench: &mut Bench, frame: Frame, expected: u16| -> Result<()> {
            port += 1;
            let frame = frame.from_port(port);
            assert_eq!(group_of(bench, &frame)?, expected, "{frame:?}");
            Ok(())
        };
        let (inside, outside) = (hello(v6, true), hello(v6, false));
        let with_mac = |frame: &Frame| Frame { source_mac: MAC, ..frame.clone() };
        let in_vlan = |frame: &Frame, vlan| frame.clone().tagged(&[(0x8100, vlan)]);
        check(&mut bench, outside.clone(), BY_INTERFACE)?;
        check(&mut bench, in_vlan(&outside, 30), BY_VLAN)?;
        check(&mut bench, in_vlan(&inside, 30), BY_PREFIX)?;
        check(&mut bench, inside.clone(), BY_PREFIX)?;
        check(&mut bench, with_mac(&inside), BY_MAC)?;
        check(&mut bench, in_vlan(&with_mac(&outside), 30), BY_MAC)?;
        bench.log_in(inside.source, Some(BY_LOGIN))?;
        check(&mut bench, with_mac(&inside), BY_LOGIN)?;
        check(&mut bench, with_mac(&outside), BY_MAC)?;
        // Who has left can be told of twice.
        for _ in 0..2 {
            bench.log_in(inside.source, None)?;
        }
        check(&mut bench, inside.clone(), BY_PREFIX)?;
        // Priority and drop eligibility are no part of a VLAN's number, and the first tag counts.
        check(&mut bench, in_vlan(&outside, 0xf01e), BY_VLAN)?;
        check(&mut bench, outside.clone().tagged(&[(0x88a8, 30), (0x8100, 31)]), BY_VLAN)?;
        for other in [0, 29, 31, 286, 0xfff] {
            check(&mut bench, in_vlan(&outside, other), BY_INTERFACE)?;
        }
        // One byte of the address is another.
        for byte in 0..6 {
            let mut mac = MAC;
            mac[byte] ^= 4;
            check(&mut bench, Frame { source_mac: mac, ..outside.clone() }, BY_INTERFACE)?;
        }
    }
    Ok(())
}

#[test]
fn a_device_that_nothing_is_known_of_is_in_the_default_group() -> Result<()> {
    let mut bench = bench(&[(Sign::Mac(Mac(MAC)), BY_MAC), (Sign::Interface(1), BY_INTERFACE)])?;
    for (port, v6) in [(1, false), (2, true)] {
        assert_eq!(group_of(&mut bench, &hello(v6, false).from_port(port))?, 0);
    }
    Ok(())
}

/// All that is decided by groups is decided by the same one.
#[test]
fn every_stage_finds_the_same_group() -> Result<()> {
    let mut bench = bench(&members())?;
    let mut image = policy(&[BY_MAC], &members());
    for (number, masks, _) in &mut image.groups {
        if *number == BY_MAC {
            masks.block_no_name = 1 << NoName::Fragment as u8 | 1 << NoName::QuicRefused as u8;
            masks.quic = QuicRule::Drop as u64;
        }
    }
    bench.push(&image)?;
    let hello = hello(false, true);
    let datagram = |payload: Vec<u8>, destination_port| Frame {
        transport: Transport::Udp,
        destination_port,
        payload,
        ..hello.clone()
    };
    let initial = Initial::of(vec![Content::whole(&message(&Hello::of("fine.example")))]);
    let query = datagram(Query::of(NAME, A).bytes(), 53);
    let quic = datagram(initial.datagram(), 443);
    let fragment = |frame: &Frame| {
        let mut bytes = frame.bytes();
        bytes[20] = 0x20; // more fragments
        bytes
    };
    for (mac, expected) in [(hello.source_mac, true), (MAC, false)] {
        for frame in [&hello, &query, &quic] {
            let port = if expected { 1 } else { 2 };
            let frame = Frame { source_mac: mac, ..frame.clone() }.from_port(port);
            assert_eq!(passes(&mut bench, &frame)?, expected, "{frame:?}");
        }
        let bytes = fragment(&Frame { source_mac: mac, ..hello.clone() });
        let action = bench.object.run_xdp(&bytes)?.action;
        assert_eq!(action == action::PASS, expected, "a fragment");
    }
    assert_eq!(bench.ingress()?.happened(Happening::UnreadDropped), 1);
    Ok(())
}

/// A connection whose hello has passed and was answered; its next segment carries no data.
fn connected(bench: &mut Bench, hello: &Frame) -> Result<Frame> {
    bench.run(&Frame { payload: Vec::new(), ..hello.clone() }.with_flags(flag::SYN))?;
    assert!(passes(bench, hello)?);
    bench.verdict().expect("every judged name is told here");
    let answer = Frame { payload: b"\x16\x03\x03".to_vec(), ..hello.reply() };
    bench.run_egress(&answer)?;
    let length = u32::try_from(hello.payload.len())?;
    Ok(Frame { payload: Vec::new(), ..hello.clone() }.further(length))
}

/// A login ends what its group may not, with the next packet, and touches nobody else's flows.
#[test]
fn a_login_reaches_live_flows_of_its_address_alone() -> Result<()> {
    for v6 in [false, true] {
        let mut bench = bench(&members())?;
        bench.push(&policy(&[BY_LOGIN], &members()))?;
        let generation = bench.control.policy();
        let one = connected(&mut bench, &hello(v6, true))?;
        let neighbour: IpAddr = if v6 { "2001:db8:20::6".parse()? } else { "10.20.0.6".parse()? };
        // Its address ends with the same byte.
        let alike: IpAddr = if v6 { "2001:db8:20:1::5".parse()? } else { "10.20.1.5".parse()? };
        let mut others = Vec::new();
        for source in [neighbour, alike] {
            let hello = Frame { source, ..hello(v6, true) };
            others.push(connected(&mut bench, &hello)?);
        }
        bench.log_in(one.source, Some(BY_LOGIN))?;
        let judged = |bench: &Bench, frame: &Frame| bench.flow(frame).map(|flow| flow.judged);
        assert!(!passes(&mut bench, &one)?, "its flow ends");
        let event = bench.verdict().expect("it is told");
        assert_eq!((event.verdict, event.group), (Verdict::Block as u8, BY_LOGIN));
        assert_eq!(event.policy, generation, "no other policy is in force");
        for other in &others {
            assert!(passes(&mut bench, other)?, "{other:?}");
            assert_eq!(bench.flow(other).map(|flow| flow.group), Some(BY_PREFIX));
        }
        assert_eq!(judged(&bench, &others[0]), Some(generation), "nobody has looked again");
        assert_eq!(
            judged(&bench, &others[1]),
            Some(generation + 1),
            "judged again, to the same end"
        );
        assert!(bench.verdict().is_none());
        // Who logs out is in the group of the place again, with new connections.
        bench.log_in(one.source, None)?;
        assert_eq!(group_of(&mut bench, &hello(v6, true).from_port(77))?, BY_PREFIX);
    }
    Ok(())
}

/// A push may give groups other numbers: logins come with it.
#[test]
fn a_push_brings_its_own_members() -> Result<()> {
    let mut bench = bench(&members())?;
    let frame = hello(false, true);
    bench.log_in(frame.source, Some(BY_LOGIN))?;
    bench.push(&policy(&[], &[(Sign::Login(frame.source), 4), (Sign::Mac(Mac(MAC)), 1)]))?;
    assert_eq!(group_of(&mut bench, &frame)?, 4);
    let with_mac = Frame { source_mac: MAC, ..hello(false, false).from_port(5) };
    assert_eq!(group_of(&mut bench, &with_mac)?, 1);
    bench.push(&policy(&[], &[]))?;
    assert_eq!(group_of(&mut bench, &frame.from_port(6))?, BY_PREFIX);
    assert_eq!(group_of(&mut bench, &with_mac.from_port(7))?, 0);
    Ok(())
}

/// What is gone when the record is made is kept from the first packet on, whatever becomes of the flow.
#[test]
fn flows_without_a_verdict_have_their_group() -> Result<()> {
    let mut bench = bench(&members())?;
    let echo = Frame {
        transport: Transport::Other(1),
        payload: vec![8, 0, 0, 0, 0, 7, 0, 1],
        source_mac: MAC,
        ..Frame::from_device(false, &[])
    };
    let plain =
        Frame { transport: Transport::Udp, source_mac: MAC, ..Frame::from_device(false, b"call") };
    let generation = bench.control.policy();
    for frame in [echo, plain] {
        assert!(passes(&mut bench, &frame)?);
        let flow = bench.flow(&frame).expect("a flow");
        assert_eq!((flow.group, flow.policy), (BY_MAC, generation), "{frame:?}");
        assert_eq!(flow.verdict, Verdict::Undecided as u8);
    }
    Ok(())
}
