//! What becomes of a packet that does not pass: resets both ends believe.

use anyhow::Result;
use sensor_ebpf::abi::{Happening, Side, Verdict};
use sensor_ebpf::flow::RESETS_MAX;
use sensor_ebpf::parse::{ACK, Packet, RST};
use sensor_lab::frames::{
    DEVICE_MAC, Frame, GATEWAY_MAC, Hello, checksum, flag, transport_checksum,
};
use sensor_user::kernel::test_run::action;

use super::{Bench, packet};

/// The shapes a segment comes in, each of a connection of its own.
fn shapes() -> Vec<(&'static str, Frame)> {
    let hello = Hello::of("www.blocked.example").bytes();
    let v4 = Frame::from_device(false, &hello);
    let v6 = Frame::from_device(true, &hello);
    let options = Frame { options: vec![1, 1, 1, 1, 1, 1, 1, 0], ..v4.clone() };
    let extensions = Frame { extensions: Some((60, vec![6, 0, 1, 4, 0, 0, 0, 0])), ..v6.clone() };
    vec![
        ("IPv4", v4.clone().from_port(1)),
        ("IPv6", v6.clone().from_port(2)),
        ("IPv4 with options", options.from_port(3)),
        ("IPv6 with an extension header", extensions.from_port(4)),
        ("IPv4 in a VLAN", v4.tagged(&[(0x8100, 20)]).from_port(5)),
        ("IPv6 in two VLANs", v6.tagged(&[(0x88a8, 7), (0x8100, 20)]).from_port(6)),
    ]
}

/// Asserts that all checksums of a frame are right and nothing follows the TCP header.
pub(super) fn check_reset(what: &str, frame: &[u8]) -> Packet {
    let parsed = packet(frame);
    assert_eq!(parsed.tcp_flags, RST | ACK, "{what}");
    let (network, transport) = (parsed.network as usize, parsed.transport as usize);
    assert_eq!(frame.len(), transport + 20, "{what}: the payload is cut");
    if parsed.ip_version == 4 {
        assert_eq!(checksum(&frame[network..transport]), 0, "{what}: IPv4 checksum");
    }
    let (source, destination) = (parsed.source.into(), parsed.destination.into());
    let sum = transport_checksum(source, destination, 6, &frame[transport..]);
    assert_eq!(sum, 0, "{what}: TCP checksum");
    parsed
}

#[test]
fn the_deciding_segment_becomes_the_servers_reset() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    for (known, (what, frame)) in (0..).zip(shapes()) {
        let outcome = bench.run(&frame)?;
        assert_eq!(outcome.action, action::PASS, "{what}");
        let before = packet(&frame.bytes());
        let reset = check_reset(what, &outcome.frame);
        // The first byte the server did not get is the first of the segment.
        assert_eq!(reset.sequence, before.sequence, "{what}");
        assert_eq!(reset.acknowledgement, before.acknowledgement, "{what}");
        assert_eq!((reset.source, reset.destination), (before.source, before.destination));
        assert_eq!(outcome.frame[..6], GATEWAY_MAC, "{what}: it goes on to the gateway");
        let order = outcome.order.expect("an order for the client's reset");
        assert_eq!(order.sequence_end, before.sequence + before.payload_length, "{what}");
        assert_eq!(bench.ingress()?.happened(Happening::ServerReset), known + 1, "{what}");
    }
    Ok(())
}

#[test]
fn later_packets_are_answered_then_dropped() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    for (shapes, (what, frame)) in (1..).zip(shapes()) {
        bench.run(&frame)?;
        let before = packet(&frame.bytes());
        for answered in 0..RESETS_MAX {
            let outcome = bench.run(&frame)?;
            assert_eq!(outcome.action, action::TX, "{what}: answer {answered}");
            let reset = check_reset(what, &outcome.frame);
            assert_eq!(reset.sequence, before.acknowledgement, "{what}");
            assert_eq!(
                reset.acknowledgement,
                before.sequence + before.payload_length,
                "{what}: all that the client sent is acknowledged"
            );
            assert_eq!((reset.source, reset.destination), (before.destination, before.source));
            assert_eq!(outcome.frame[..6], DEVICE_MAC, "{what}: it goes back");
            assert_eq!(reset.hop_limit, 64, "{what}");
        }
        assert_eq!(bench.run(&frame)?.action, action::DROP, "{what}: beyond the budget");
        let totals = bench.ingress()?;
        let answers = shapes * u64::from(RESETS_MAX);
        assert_eq!(totals.happened(Happening::ClientReset), answers, "{what}");
        assert_eq!(totals.happened(Happening::BlockedDropped), shapes, "{what}");
        assert!(totals.is_conserved(), "{what}");
    }
    Ok(())
}

#[test]
fn a_reset_is_never_answered() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let frame = Frame::from_device(false, &Hello::of("blocked.example").bytes());
    bench.run(&frame)?;
    let reset = Frame { payload: Vec::new(), ..frame.clone() }.with_flags(flag::RST);
    assert_eq!(bench.run(&reset)?.action, action::DROP);
    // And frees nothing: the retransmitted hello does not pass.
    assert_eq!(bench.run(&frame)?.action, action::TX);
    Ok(())
}

#[test]
fn a_fin_takes_a_sequence_number() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let frame = Frame::from_device(false, &Hello::of("blocked.example").bytes());
    bench.run(&frame)?;
    let fin = Frame { payload: vec![1, 2, 3], ..frame }.with_flags(flag::FIN | flag::ACK);
    let reset = packet(&bench.run(&fin)?.frame);
    assert_eq!(reset.acknowledgement, packet(&fin.bytes()).sequence + 3 + 1);
    Ok(())
}

#[test]
fn a_new_connection_on_a_blocked_key_is_judged_anew() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let blocked = Frame::from_device(false, &Hello::of("blocked.example").bytes());
    bench.run(&blocked)?;
    let syn = Frame { payload: Vec::new(), ..blocked.clone() };
    let syn = syn.with_flags(flag::SYN).further(8000);
    assert_eq!(bench.run(&syn)?.action, action::PASS);
    let fine = Frame::from_device(false, &Hello::of("fine.example").bytes()).further(8000);
    assert_eq!(bench.run(&fine)?.frame, fine.bytes());
    assert_eq!(bench.flow(&fine).map(|flow| flow.verdict), Some(Verdict::Allow as u8));
    // The blocked flow's packets are in its own record.
    let end = bench.flow_end().expect("the old flow is told");
    assert_eq!((end.flow.verdict, end.flow.to_peer.packets), (Verdict::Block as u8, 1));
    Ok(())
}
