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
    vec![
        ("IPv4", v4.clone(), 14 + 20 + 20),
        ("IPv4, UDP", udp(&v4), 14 + 20 + 8),
        ("IPv4 with all options", options, 14 + 60 + 20),
        ("IPv4 in a VLAN", v4.clone().tagged(&[(0x8100, 7)]), 18 + 20 + 20),
        ("IPv4 in two VLANs", v4.tagged(&[(0x88a8, 7), (0x8100, 8)]), 22 + 20 + 20),
        ("IPv6", v6.clone(), 14 + 40 + 20),
        ("IPv6, UDP", udp(&v6), 14 + 40 + 8),
        ("IPv6 with hop-by-hop options", hop_by_hop, 14 + 48 + 20),
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
    let rows = [
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
