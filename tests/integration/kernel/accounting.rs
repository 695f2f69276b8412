//! Conservation within one program run: everything seen went somewhere, under its reason.

use anyhow::Result;
use sensor_ebpf::abi::{Accounting, Flow, FlowEnd, Happening, Side, Volume};
use sensor_ebpf::flow::mark;
use sensor_lab::frames::{Frame, Hello, Transport, flag};
use sensor_user::kernel::object::Sizes;
use sensor_user::kernel::test_run::action;

use super::{Bench, Random};

/// A frame of each kind, and where it goes.
fn kinds() -> Vec<(&'static str, Vec<u8>, Accounting)> {
    let tcp = Frame::from_device(false, b"payload");
    let udp = Frame { transport: Transport::Udp, ..tcp.clone() };
    let mut arp = [[0xff_u8; 6], [2; 6]].concat();
    arp.extend([0x08, 0x06]);
    arp.extend([0; 46]);
    let mut first_fragment = tcp.bytes();
    first_fragment[20] = 0x20;
    let mut cut = tcp.bytes();
    cut.truncate(40);
    let mut short_header = tcp.bytes();
    short_header[14] = 0x44;
    let mut short_offset = tcp.bytes();
    short_offset[46] = 0x40;
    let many = [60, 0, 0, 0, 0, 0, 0, 0].repeat(7);
    let long = Frame { extensions: Some((60, many)), ..Frame::from_device(true, b"x") };
    let icmp = {
        let mut frame = udp.bytes();
        frame[23] = 1;
        frame
    };
    vec![
        ("TCP", tcp.bytes(), Accounting::Flow),
        ("UDP", udp.bytes(), Accounting::Flow),
        ("ICMP", icmp, Accounting::Flow),
        (
            "IPv6 in two VLANs",
            Frame::from_device(true, b"x").tagged(&[(0x88a8, 1), (0x8100, 2)]).bytes(),
            Accounting::Flow,
        ),
        ("a fourth VLAN tag", tcp.clone().tagged(&[(0x8100, 1); 4]).bytes(), Accounting::NotIp),
        ("ARP", arp, Accounting::NotIp),
        ("a fragment", first_fragment, Accounting::Fragment),
        ("a cut TCP header", cut, Accounting::Truncated),
        ("an IPv4 header of 16 bytes", short_header, Accounting::Malformed),
        ("a TCP header of 16 bytes", short_offset, Accounting::Malformed),
        ("seven extension headers", long.bytes(), Accounting::ExtensionHeaders),
    ]
}

#[test]
fn every_frame_is_counted_under_its_reason() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    for (what, frame, accounting) in kinds() {
        let before = bench.ingress()?;
        assert_eq!(bench.object.run_xdp(&frame)?.action, action::PASS, "{what}");
        let after = bench.ingress()?;
        let counted = after.accounted(accounting);
        assert_eq!(counted.packets, before.accounted(accounting).packets + 1, "{what}");
        let bytes = counted.bytes - before.accounted(accounting).bytes;
        assert_eq!(bytes, frame.len() as u64, "{what}");
        assert!(after.is_conserved(), "{what}");
    }
    assert_eq!(bench.ingress()?.seen().packets, kinds().len() as u64);
    Ok(())
}

#[test]
fn noise_is_counted_and_passes() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.control.drop_anomalies(0);
    bench.block(&["blocked.example"])?;
    let mut random = Random(0x5eed_0002);
    let seeds: Vec<Vec<u8>> = kinds().into_iter().map(|(_, frame, _)| frame).collect();
    let mut bytes = 0;
    for round in 0..5000 {
        let mut frame = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            let at = random.below(frame.len());
            frame[at] = random.next() as u8;
        }
        frame.truncate(14 + random.below(frame.len()));
        let outcome = bench.object.run_xdp(&frame)?;
        assert_eq!((outcome.action, &outcome.frame), (action::PASS, &frame), "round {round}");
        bytes += frame.len() as u64;
    }
    let totals = bench.ingress()?;
    assert_eq!(totals.seen(), Volume { packets: 5000, bytes });
    assert!(totals.is_conserved());
    Ok(())
}

#[test]
fn both_directions_of_a_tap_are_one_flow() -> Result<()> {
    let mut bench = Bench::new(Side::Tap)?;
    let there = Frame::from_device(false, b"there");
    let back = Frame { payload: b"and back".to_vec(), ..there.reply() };
    bench.run(&there)?;
    bench.run(&back)?;
    bench.run(&back)?;
    let flow = bench.flow(&there).expect("one flow");
    let volume =
        |packets, frame: &Frame| Volume { packets, bytes: packets * frame.bytes().len() as u64 };
    assert_eq!((flow.to_peer, flow.to_lan), (volume(1, &there), volume(2, &back)));
    Ok(())
}

#[test]
fn a_closed_connection_is_told_once() -> Result<()> {
    let mut bench = Bench::new(Side::Tap)?;
    let there = Frame::from_device(false, b"").with_flags(flag::FIN | flag::ACK);
    bench.run(&there)?;
    assert_eq!(bench.flow_end(), None);
    bench.run(&there.reply())?;
    bench.run(&there.clone().with_flags(flag::ACK))?;
    let end = bench.flow_end().expect("the end");
    assert_eq!(end.end, FlowEnd::Closed as u8);
    assert_eq!(bench.flow_end(), None);
    // Stragglers still belong to the flow.
    assert_eq!(bench.flow(&there).map(|flow| flow.to_peer.packets), Some(2));
    Ok(())
}

#[test]
fn a_full_table_still_judges() -> Result<()> {
    let sizes = Sizes { flows: 64, ..Sizes::SMALL };
    let mut bench = Bench::with_sizes(Side::Lan, sizes)?;
    bench.block(&["blocked.example"])?;
    for port in 1..=2000 {
        bench.run(&Frame::from_device(false, b"fill").from_port(port))?;
    }
    let totals = bench.ingress()?;
    assert!(totals.accounted(Accounting::TableFull).packets > 0, "the table did not fill");
    let frame = Frame::from_device(false, &Hello::of("blocked.example").bytes()).from_port(9999);
    assert!(bench.flow(&frame).is_none());
    assert_ne!(bench.run(&frame)?.frame, frame.bytes(), "judged by its bytes");
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}

#[test]
fn a_full_verdict_ring_changes_no_verdict() -> Result<()> {
    let sizes = Sizes { verdict_ring: 4096, ..Sizes::SMALL };
    let mut bench = Bench::with_sizes(Side::Lan, sizes)?;
    bench.block(&["blocked.example"])?;
    for port in 1..=40 {
        let frame =
            Frame::from_device(false, &Hello::of("blocked.example").bytes()).from_port(port);
        assert_ne!(bench.run(&frame)?.frame, frame.bytes(), "flow {port}");
    }
    let lost = bench.ingress()?.happened(Happening::VerdictEventLost);
    assert!(lost > 0, "the ring did not fill");
    Ok(())
}

#[test]
fn a_flow_starts_with_what_its_first_packet_says() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.control.set_replay_clock(77);
    let syn = Frame::from_device(true, b"").with_flags(flag::SYN);
    bench.run(&syn)?;
    let flow = bench.flow(&syn).expect("a flow");
    let bytes = syn.bytes().len() as u64;
    let expected = Flow {
        to_peer: Volume { packets: 1, bytes },
        first_ns: 77,
        last_ns: 77,
        ifindex: 1,
        no_name: sensor_ebpf::abi::NoName::NoPayload as u8,
        lan_tcp_flags: flag::SYN,
        marks: mark::SYN_CHECKSUM,
        hop_limit: 64,
        examined_from: 1001,
        examined_to: 1001,
        head_from: 1001,
        head_end: 1001,
        ..Flow::default()
    };
    assert_eq!(flow, expected);
    Ok(())
}
