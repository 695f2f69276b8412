//! Frames, and what the parser makes of them.

use core::net::IpAddr;

use sensor_lab::frames::{Frame, Transport, flag};

use super::*;

fn parse(frame: &[u8]) -> Result<Packet, Skip> {
    Packet::parse(Cursor::new(frame), frame.len() as u32)
}

/// Frames of every shape that is read, with the offset of the payload.
fn shapes() -> Vec<(&'static str, Frame, u32)> {
    let (v4, v6) = (Frame::from_device(false, b"payload"), Frame::from_device(true, b"payload"));
    let udp = |frame: &Frame| Frame { transport: Transport::Udp, ..frame.clone() };
    let options = Frame { options: vec![1; 40], ..v4.clone() };
    let hop_by_hop = Frame { extensions: Some((0, vec![6, 0, 1, 4, 0, 0, 0, 0])), ..v6.clone() };
    let mut chain = vec![43, 0, 0, 0, 0, 0, 0, 0]; // hop-by-hop, then
    chain.extend([60, 0, 0, 0, 0, 0, 0, 0]); // routing, then
    chain.extend([51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // destination options of 16, then
    chain.extend([44, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]); // authentication of 16, then
    chain.extend([6, 0, 0, 0, 0, 0, 0, 9]); // an atomic fragment
    let chained = Frame { extensions: Some((0, chain)), ..v6.clone() };
    let mobility = vec![6, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mobility = Frame { extensions: Some((135, mobility)), ..v6.clone() };
    vec![
        ("IPv4", v4.clone(), 14 + 20 + 20),
        ("IPv4, UDP", udp(&v4), 14 + 20 + 8),
        ("IPv4 with all options", options, 14 + 60 + 20),
        ("IPv4 in a VLAN", v4.clone().tagged(&[(0x8100, 7)]), 18 + 20 + 20),
        ("IPv4 in two VLANs", v4.clone().tagged(&[(0x88a8, 7), (0x8100, 8)]), 22 + 20 + 20),
        ("IPv4 in three VLANs", v4.clone().tagged(&[(0x88a8, 7); 3]), 26 + 20 + 20),
        ("IPv4 in PPPoE", v4.clone().in_pppoe(), 22 + 20 + 20),
        ("IPv6 in PPPoE", v6.clone().in_pppoe(), 22 + 40 + 20),
        ("IPv4, UDP in PPPoE", udp(&v4).in_pppoe(), 22 + 20 + 8),
        ("IPv4 in PPPoE in a VLAN", v4.clone().in_pppoe().tagged(&[(0x8100, 7)]), 26 + 20 + 20),
        ("IPv4 behind a label", v4.clone().in_mpls(1), 18 + 20 + 20),
        ("IPv6 behind two labels", v6.clone().in_mpls(2), 22 + 40 + 20),
        ("IPv4 behind three labels", v4.clone().in_mpls(3), 26 + 20 + 20),
        ("IPv6 behind four labels", v6.clone().in_mpls(4), 30 + 40 + 20),
        ("IPv4 behind five labels in a VLAN", v4.tagged(&[(0x8100, 7)]).in_mpls(5), 38 + 20 + 20),
        ("IPv6", v6.clone(), 14 + 40 + 20),
        ("IPv6, UDP", udp(&v6), 14 + 40 + 8),
        ("IPv6 with hop-by-hop options", hop_by_hop, 14 + 48 + 20),
        ("IPv6 with a mobility header", mobility, 14 + 40 + 16 + 20),
        ("IPv6 with five extension headers", chained, 14 + 40 + 56 + 20),
    ]
}

#[test]
fn packets_are_read_wherever_they_lie() {
    for (what, frame, payload) in shapes() {
        let bytes = frame.bytes();
        let packet = parse(&bytes).unwrap_or_else(|skip| panic!("{what}: {skip:?}"));
        assert_eq!(packet.payload, payload, "{what}");
        assert_eq!(packet.payload_length, 7, "{what}");
        assert_eq!(IpAddr::from(packet.source), frame.source, "{what}");
        assert_eq!(IpAddr::from(packet.destination), frame.destination, "{what}");
        assert_eq!((packet.source_port, packet.destination_port), (50_000, 443), "{what}");
        assert_eq!(packet.hop_limit, 64, "{what}");
        if let Transport::Tcp { flags, sequence, acknowledgement } = frame.transport {
            assert_eq!(packet.tcp_flags, flags, "{what}");
            assert_eq!((packet.sequence, packet.acknowledgement), (sequence, acknowledgement));
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_truncated_or_shorter_but_never_misread() {
    for (what, frame, payload) in shapes() {
        let bytes = frame.bytes();
        let whole = parse(&bytes).unwrap();
        for length in 0..bytes.len() {
            match parse(&bytes[..length]) {
                Ok(packet) => {
                    assert!(length >= payload as usize, "{what} cut at {length}");
                    assert_eq!(packet.payload_length as usize, length - payload as usize);
                    assert_eq!((packet.source, packet.payload), (whole.source, whole.payload));
                }
                Err(skip) => {
                    assert!(length < payload as usize, "{what} cut at {length}: {skip:?}");
                    assert!(matches!(skip, Skip::Truncated | Skip::Malformed), "{what}: {skip:?}");
                }
            }
        }
    }
}

#[test]
fn padding_is_no_payload() {
    let mut frame = Frame::from_device(false, b"").bytes();
    frame.resize(60, 0);
    assert_eq!(parse(&frame).map(|packet| packet.payload_length), Ok(0));
}

#[test]
fn a_total_length_of_zero_leaves_it_to_the_frame() {
    let mut frame = Frame::from_device(false, b"super-packet").bytes();
    frame[16..18].copy_from_slice(&[0, 0]);
    assert_eq!(parse(&frame).map(|packet| packet.payload_length), Ok(12));
}

#[test]
fn what_is_no_packet_has_its_reason() {
    let v4 = Frame::from_device(false, b"payload").bytes();
    let v6 = |first: u8, chain: Vec<u8>| {
        Frame { extensions: Some((first, chain)), ..Frame::from_device(true, b"x") }.bytes()
    };
    let changed = |at: usize, byte: u8| {
        let mut frame = v4.clone();
        frame[at] = byte;
        frame
    };
    let destination = [60, 0, 0, 0, 0, 0, 0, 0];
    let hop_by_hop = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let labelled = |label: usize| Frame::from_device(false, b"x").in_mpls(label as u32);
    let in_pppoe = |at: usize, byte: u8| {
        let mut frame = Frame::from_device(false, b"x").in_pppoe().bytes();
        frame[at] = byte;
        frame
    };
    let mut unknown_nibble = labelled(2).bytes();
    unknown_nibble[22] = 0;
    let rows = [
        ("PPPoE of another version", in_pppoe(14, 0x21), Skip::Malformed),
        ("PPPoE with a code", in_pppoe(15, 0xa7), Skip::Malformed),
        ("PPP's link control", in_pppoe(20, 0xc0), Skip::NotIp),
        ("IPv6 that PPP calls IPv4", in_pppoe(22, 0x65), Skip::Malformed),
        ("six labels", labelled(6).bytes(), Skip::NotIp),
        ("labels over neither IPv4 nor IPv6", unknown_nibble, Skip::NotIp),
        (
            "hop-by-hop twice",
            v6(0, [hop_by_hop(0), hop_by_hop(6)].concat()),
            Skip::ExtensionHeaders,
        ),
        (
            "hop-by-hop second",
            v6(60, [hop_by_hop(0), hop_by_hop(6)].concat()),
            Skip::ExtensionHeaders,
        ),
        ("an unknown type", changed(12, 0x09), Skip::NotIp),
        ("version 5", changed(14, 0x55), Skip::Malformed),
        ("a header of 16 bytes", changed(14, 0x44), Skip::Malformed),
        ("a total length under the header's", changed(17, 19), Skip::Malformed),
        ("a TCP header of 16 bytes", changed(46, 0x40), Skip::Malformed),
        ("a TCP header beyond the packet", changed(46, 0xf0), Skip::Malformed),
        ("more fragments", changed(20, 0x20), Skip::Fragment),
        ("a fragment's offset", changed(21, 0x01), Skip::Fragment),
        ("seven extension headers", v6(60, destination.repeat(7)), Skip::ExtensionHeaders),
        ("an IPv6 fragment", v6(44, vec![6, 0, 0, 1, 0, 0, 0, 1]), Skip::Fragment),
    ];
    for (what, frame, skip) in rows {
        assert_eq!(parse(&frame), Err(skip), "{what}");
    }
    let mut long = vec![6, 32];
    long.resize(264, 0);
    assert_eq!(parse(&v6(60, long)), Err(Skip::ExtensionHeaders));
}

/// The fragment that starts with these bytes and continues at `offset` units of eight.
fn ipv4_fragment(transport: Transport, port: u16, offset: u8) -> Vec<u8> {
    let whole = Frame::from_device(false, b"payload");
    let mut frame = Frame { transport, destination_port: port, ..whole }.bytes();
    frame[20] = 0x20;
    frame[21] = offset;
    frame
}

/// The same of IPv6; `chain` lies in front of the fragment's header, whose type is the last of it.
fn ipv6_fragment(
    transport: Transport,
    port: u16,
    offset: u8,
    (first, chain): (u8, &[u8]),
) -> Vec<u8> {
    let protocol = if transport == Transport::Udp { 17 } else { 6 };
    let header = [protocol, 0, 0, offset << 3 | 1, 0, 0, 0, 1];
    let extensions = Some((first, [chain, &header].concat()));
    let whole = Frame::from_device(true, b"payload");
    Frame { transport, destination_port: port, extensions, ..whole }.bytes()
}

#[test]
fn a_fragment_is_a_handshakes_or_not() {
    let Frame { transport: tcp, .. } = Frame::from_device(false, b"");
    let udp = Transport::Udp;
    // Of UDP the first fragment says it; without it no datagram is put together.
    let rows = [
        ("TCP", tcp, 443, 0, true),
        ("TCP to another port", tcp, 25, 0, true),
        ("TCP, a later one", tcp, 443, 1, true),
        ("UDP to 443", udp, 443, 0, true),
        ("UDP to 80", udp, 80, 0, true),
        ("UDP to 53", udp, 53, 0, true),
        ("UDP to 123", udp, 123, 0, false),
        ("UDP to 443, a later one", udp, 443, 1, false),
    ];
    let none: &[u8] = &[];
    let options: &[u8] = &[44, 0, 1, 4, 0, 0, 0, 0];
    for (what, transport, port, offset, is_handshake) in rows {
        let frames = [
            ("IPv4", ipv4_fragment(transport, port, offset)),
            ("IPv6", ipv6_fragment(transport, port, offset, (44, none))),
            ("behind hop-by-hop", ipv6_fragment(transport, port, offset, (0, options))),
            ("behind destination options", ipv6_fragment(transport, port, offset, (60, options))),
        ];
        for (how, frame) in frames {
            assert_eq!(parse(&frame), Err(Skip::Fragment), "{what}, {how}");
            let unread = Unread::parse(Cursor::new(&frame)).expect("an address");
            assert_eq!(unread.is_handshake, is_handshake, "{what}, {how}");
            let v6 = how != "IPv4";
            let device = IpAddr::from(unread.source);
            assert_eq!(device, Frame::from_device(v6, b"").source, "{what}, {how}");
        }
    }
}

#[test]
fn a_fragment_that_hides_its_transport_could_be_any() {
    // More headers than are walked before the fragment's, and one behind it.
    let four = [60, 0, 1, 4, 0, 0, 0, 0].repeat(3);
    let chain = [&four[..], &[44, 0, 1, 4, 0, 0, 0, 0]].concat();
    let hidden = ipv6_fragment(Transport::Udp, 123, 0, (60, &chain));
    let mut behind = ipv6_fragment(Transport::Udp, 123, 0, (44, &[]));
    behind[14 + 40] = 60;
    for frame in [hidden, behind] {
        assert_eq!(parse(&frame), Err(Skip::Fragment));
        assert!(Unread::parse(Cursor::new(&frame)).is_some_and(|unread| unread.is_handshake));
    }
}

#[test]
fn extension_headers_could_hide_a_handshake_from_any_port() {
    let mut long = vec![6, 32];
    long.resize(264, 0);
    let authenticated = [6, 63].into_iter().chain(vec![0; 258]).collect();
    let chains = [("long options", 60, long), ("a long authentication", 51, authenticated)];
    for (what, first, chain) in chains {
        for port in 0..=u16::from(u8::MAX) {
            let frame = Frame {
                extensions: Some((first, chain.clone())),
                ..Frame::from_device(true, b"x")
            };
            let frame = frame.from_port(port).bytes();
            assert_eq!(parse(&frame), Err(Skip::ExtensionHeaders), "{what} from port {port}");
            let unread = Unread::parse(Cursor::new(&frame));
            assert!(unread.is_some_and(|unread| unread.is_handshake), "{what} from port {port}");
        }
    }
}

#[test]
fn a_fragment_behind_an_authentication_header_is_found() {
    let Frame { transport: tcp, .. } = Frame::from_device(false, b"");
    let header: &[u8] = &[44, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let frame = ipv6_fragment(tcp, 443, 0, (51, header));
    assert_eq!(parse(&frame), Err(Skip::Fragment));
    assert!(Unread::parse(Cursor::new(&frame)).is_some_and(|unread| unread.is_handshake));
}

#[test]
fn a_syn_alone_opens_a_connection() {
    let check = |flags, expected| {
        let frame = Frame::from_device(false, b"").with_flags(flags).bytes();
        assert_eq!(parse(&frame).map(|packet| packet.opens_connection()), Ok(expected));
    };
    check(flag::SYN, true);
    // ECN set-up (RFC 3168 section 6.1.1).
    check(flag::SYN | 0xc0, true);
    check(flag::SYN | flag::ACK, false);
    check(flag::SYN | flag::RST, false);
    check(flag::ACK, false);
}
