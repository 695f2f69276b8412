//! What lies below TCP: tunnels a blocked hello comes in, fragments and extension headers that could
//! hide one, and frames longer than a page.

use anyhow::Result;
use sensor_ebpf::abi::{Accounting, Happening, NoName, Side, Verdict};
use sensor_ebpf::parse::RST;
use sensor_lab::frames::{Frame, Hello, Transport, flag};
use sensor_user::kernel::counters::Totals;
use sensor_user::kernel::test_run::action;

use super::resets::check_reset;
use super::{Bench, packet};

/// A frame longer than the kernel keeps in one page, up to what jumbo networks carry.
const JUMBO: usize = 9000;

fn tunnels() -> Vec<(&'static str, Frame)> {
    let hello = Hello::of("www.blocked.example").bytes();
    let (v4, v6) = (Frame::from_device(false, &hello), Frame::from_device(true, &hello));
    let mut chain = vec![60, 0, 1, 4, 0, 0, 0, 0]; // hop-by-hop, then
    chain.extend([43, 0, 1, 4, 0, 0, 0, 0]); // destination options, then
    chain.extend([6, 0, 0, 0, 0, 0, 0, 0]); // routing
    let extensions = Frame { extensions: Some((0, chain)), ..v6.clone() };
    let in_qinq = |frame: &Frame| frame.clone().tagged(&[(0x88a8, 7), (0x8100, 20)]);
    vec![
        ("IPv4 in PPPoE", v4.clone().in_pppoe()),
        ("IPv6 in PPPoE", v6.clone().in_pppoe()),
        ("IPv4 in PPPoE in two VLANs", in_qinq(&v4.clone().in_pppoe())),
        ("IPv6 with extension headers in PPPoE", extensions.clone().in_pppoe()),
        ("IPv4 behind a label", v4.clone().in_mpls(1)),
        ("IPv6 behind five labels in two VLANs", in_qinq(&v6.in_mpls(5))),
        ("IPv4 in two VLANs", in_qinq(&v4.clone())),
        ("IPv4 in three VLANs", v4.tagged(&[(0x88a8, 7), (0x88a8, 8), (0x8100, 20)])),
        ("IPv6 with extension headers", extensions.clone()),
        ("IPv6 with extension headers in two VLANs", in_qinq(&extensions)),
    ]
}

/// Asserts a reset that says the length of what it carries wherever a header says one.
fn check_lengths(what: &str, before: &[u8], after: &[u8]) {
    check_reset(what, after);
    let network = packet(after).network as usize;
    let length = after.len() - network;
    let word = |at: usize| usize::from(u16::from_be_bytes([after[at], after[at + 1]]));
    let stated = if after[network] >> 4 == 4 { word(network + 2) } else { word(network + 4) + 40 };
    assert_eq!(stated, length, "{what}: the IP length");
    if after[network - 8..].starts_with(&[0x11, 0x00, 0x00, 0x07]) {
        assert_eq!(word(network - 4), length + 2, "{what}: the PPPoE length");
        assert_eq!(after[network - 2..network], before[network - 2..network], "{what}: PPP");
    } else {
        assert_eq!(after[12..network], before[12..network], "{what}: tags and labels");
    }
}

#[test]
fn a_blocked_hello_is_reset_whatever_it_comes_in() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    for (port, (what, frame)) in (40_000..).zip(tunnels()) {
        let frame = frame.from_port(port);
        let bytes = frame.bytes();
        let to_server = bench.run(&frame)?;
        assert_eq!(to_server.action, action::PASS, "{what}");
        check_lengths(what, &bytes, &to_server.frame);
        assert!(to_server.order.is_some(), "{what}: the client is told");
        let to_client = bench.run(&frame)?;
        assert_eq!(to_client.action, action::TX, "{what}");
        check_lengths(what, &bytes, &to_client.frame);
    }
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}

/// The first fragment of a longer packet.
fn fragment(frame: &Frame) -> Vec<u8> {
    let protocol = if frame.transport == Transport::Udp { 17 } else { 6 };
    if frame.source.is_ipv6() {
        let header = vec![protocol, 0, 0, 1, 0, 0, 0, 1];
        return Frame { extensions: Some((44, header)), ..frame.clone() }.bytes();
    }
    let mut bytes = frame.bytes();
    let network = packet(&bytes).network as usize;
    bytes[network + 6] = 0x20;
    bytes
}

/// Packets without a flow, why, and whether one could carry a piece of a handshake.
fn unread() -> Vec<(&'static str, Vec<u8>, NoName, bool)> {
    let (v4, v6) = (Frame::from_device(false, b"payload"), Frame::from_device(true, b"payload"));
    let udp = |frame: &Frame, port| Frame {
        transport: Transport::Udp,
        destination_port: port,
        ..frame.clone()
    };
    let (fragmented, extended) = (NoName::Fragment, NoName::ExtensionHeaders);
    let many = Some((60, [60, 0, 1, 4, 0, 0, 0, 0].repeat(7)));
    let second = Some((60, vec![0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]));
    let mut long = vec![6, 32];
    long.resize(264, 0);
    let with = |extensions| Frame { extensions, ..v6.clone() };
    vec![
        ("TCP over IPv4", fragment(&v4), fragmented, true),
        ("TCP over IPv6", fragment(&v6), fragmented, true),
        ("TCP in PPPoE", fragment(&v4.clone().in_pppoe()), fragmented, true),
        ("TCP over IPv6 behind labels", fragment(&v6.clone().in_mpls(2)), fragmented, true),
        ("UDP to 443 over IPv4", fragment(&udp(&v4, 443)), fragmented, true),
        ("UDP to 443 over IPv6", fragment(&udp(&v6, 443)), fragmented, true),
        ("UDP to 53 over IPv4", fragment(&udp(&v4, 53)), fragmented, true),
        ("UDP to 123 over IPv4", fragment(&udp(&v4, 123)), fragmented, false),
        ("UDP to 123 over IPv6", fragment(&udp(&v6, 123)), fragmented, false),
        ("too many headers", with(many).bytes(), extended, true),
        ("long options", with(Some((60, long))).bytes(), extended, true),
        ("hop-by-hop options second", with(second).bytes(), extended, true),
    ]
}

#[test]
fn what_cannot_be_read_is_dropped_where_policy_says_so() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    let both = [NoName::Fragment, NoName::ExtensionHeaders];
    for reasons in [&[][..], &both[..1], &both[1..], &both[..], &[NoName::Evasion]] {
        bench.block_reasons(reasons)?;
        for (what, frame, reason, is_handshake) in unread() {
            let before = bench.ingress()?;
            let outcome = bench.object.run_xdp(&frame)?;
            let after = bench.ingress()?;
            let dropped = is_handshake && reasons.contains(&reason);
            let expected = if dropped { action::DROP } else { action::PASS };
            assert_eq!(outcome.action, expected, "{what}, {reasons:?}");
            assert!(dropped || outcome.frame == frame, "{what}, {reasons:?}: changed");
            let missed = after.no_name(reason) - before.no_name(reason);
            assert_eq!(missed, u64::from(is_handshake), "{what}, {reasons:?}");
            let counted = |totals: &Totals| totals.happened(Happening::UnreadDropped);
            let new = counted(&after) - counted(&before);
            assert_eq!(new, u64::from(dropped), "{what}, {reasons:?}");
            let accounting = if reason == NoName::Fragment {
                Accounting::Fragment
            } else {
                Accounting::ExtensionHeaders
            };
            let packets = |totals: &Totals| totals.accounted(accounting).packets;
            assert_eq!(packets(&after), packets(&before) + 1, "{what}, {reasons:?}");
            assert!(after.is_conserved(), "{what}, {reasons:?}");
        }
    }
    Ok(())
}

#[test]
fn a_tap_drops_nothing_of_what_cannot_be_read() -> Result<()> {
    let mut bench = Bench::new(Side::Tap)?;
    bench.block_reasons(&[NoName::Fragment, NoName::ExtensionHeaders])?;
    for (what, frame, _, _) in unread() {
        assert_eq!(bench.object.run_xdp(&frame)?.action, action::PASS, "{what}");
    }
    assert_eq!(bench.ingress()?.happened(Happening::UnreadDropped), 0);
    Ok(())
}

#[test]
fn a_further_path_is_blocked_where_policy_says_so() -> Result<()> {
    // RFC 8684 section 3.2: the request to join, with a token and a random number.
    let join = vec![30, 12, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    for v6 in [false, true] {
        let syn = Frame { tcp_options: join.clone(), ..Frame::from_device(v6, b"") };
        let syn = syn.with_flags(flag::SYN);
        let mut bench = Bench::new(Side::Lan)?;
        bench.block_reasons(&[NoName::Evasion])?;
        assert_eq!(bench.run(&syn)?.frame, syn.bytes(), "passes");
        assert_eq!(bench.ingress()?.no_name(NoName::MptcpJoin), 1);

        bench.block_reasons(&[NoName::MptcpJoin])?;
        let syn = syn.from_port(2);
        let outcome = bench.run(&syn)?;
        assert_ne!(packet(&outcome.frame).tcp_flags & RST, 0, "no reset");
        let flow = bench.flow(&syn).expect("a flow");
        assert_eq!((flow.verdict, flow.no_name), (Verdict::Block as u8, NoName::MptcpJoin as u8));
        assert_eq!(bench.ingress()?.no_name(NoName::MptcpJoin), 2);
    }
    Ok(())
}

#[test]
fn a_name_far_into_a_jumbo_frame_is_read() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    for (port, v6) in [(40_000, false), (40_001, true)] {
        for (port, name) in [(port, "www.blocked.example"), (port + 10, "fine.example")] {
            let mut hello =
                Hello { before: vec![(0x4000, 7800)], after: Vec::new(), ..Hello::of(name) };
            let empty = Frame::from_device(v6, &[]).bytes().len();
            hello.after.push((21, JUMBO - empty - hello.bytes().len() - 4));
            let frame = Frame::from_device(v6, &hello.bytes()).from_port(port);
            let bytes = frame.bytes();
            let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
            assert!(bytes.len() == JUMBO && at.is_some_and(|at| at >= 8000), "{at:?}");
            let syn = Frame { payload: Vec::new(), ..frame.clone() }.with_flags(flag::SYN);
            bench.run(&syn)?;
            let outcome = bench.run(&frame)?;
            let event = bench.verdict().expect("an event");
            assert_eq!(event.name.as_bytes(), name.as_bytes());
            if name == "fine.example" {
                assert!(outcome.frame == bytes, "{name} passes as it came");
            } else {
                check_lengths(name, &bytes, &outcome.frame);
                assert_eq!(bench.run(&frame)?.action, action::TX, "sent again");
            }
        }
    }
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}
