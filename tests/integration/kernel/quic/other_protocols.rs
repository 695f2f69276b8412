//! What else comes by UDP: earlier QUIC, DTLS, calls, games, noise.

use anyhow::Result;
use sensor_ebpf::abi::NoName;
use sensor_lab::frames::Frame;
use sensor_lab::quic::{from_device, short};

use super::super::Random;
use super::{BLOCKED_REASONS, enforcing, reason_of};

/// Datagrams of noise of a short run, and of one with nothing left out.
const ROUNDS: [usize; 2] = [1000, 20_000];

fn noise(random: &mut Random, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.next() as u8).collect()
}

/// The first packet of a client of Google's versions with a header of their own: flags, connection ID, version.
fn q043() -> Vec<u8> {
    [&[0x0d][..], b"\x8a\x71\x02\xee\x3c\x5d\x11\x09", b"Q043", &[1], &[0x5c; 1200]].concat()
}

/// With the header of a draft: four bits for the length of each connection ID.
fn q046() -> Vec<u8> {
    [&[0xc3][..], b"Q046", &[0x50], b"\x8a\x71\x02\xee\x3c\x5d\x11\x09", &[0x5c; 1200]].concat()
}

/// With today's header, and protected by keys of another salt.
fn q050() -> Vec<u8> {
    let id = b"\x8a\x71\x02\xee\x3c\x5d\x11\x09";
    [&[0xc0][..], b"Q050", &[8], id, &[0, 0, 0x44, 0x9e], &[0x5c; 1182]].concat()
}

/// A `ClientHello` in a record of DTLS 1.2 (RFC 6347 sections 4.1 and 4.2.2), without extensions.
fn dtls() -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    let length = [0, 0, body.len() as u8];
    let handshake = [&[1][..], &length, &[0, 0, 0, 0, 0], &length, &body].concat();
    let header = [&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[handshake.len() as u8]];
    [&header.concat()[..], &handshake].concat()
}

/// RTP (RFC 3550 section 5.1) whose timestamp is no length of a connection ID.
fn rtp() -> Vec<u8> {
    [&[0x80, 0x60, 0x12, 0x34, 0x56, 0xff, 0x9a, 0xbc][..], &[0x11; 160]].concat()
}

fn rows() -> Vec<(&'static str, Vec<u8>, NoName)> {
    vec![
        ("Q043", q043(), NoName::Gquic),
        ("Q046", q046(), NoName::Gquic),
        ("Q050", q050(), NoName::Gquic),
        ("DTLS", dtls(), NoName::Dtls),
        ("RTP", rtp(), NoName::NotQuic),
        ("a first byte alone", vec![0xc0], NoName::NotQuic),
        ("connection IDs of no length that fits", vec![0xff; 300], NoName::NotQuic),
        ("a connection that was there before", short(b"of the server", 900), NoName::MidStream),
        ("the shortest of its packets", short(b"12345678", 21), NoName::MidStream),
    ]
}

#[test]
fn other_protocols_have_their_reasons() -> Result<()> {
    let mut bench = enforcing()?;
    let mut ports = 1024..;
    for destination_port in [443, 80] {
        for (what, payload, reason) in rows() {
            let frame = Frame { destination_port, ..from_device(false, &payload) };
            let frame = frame.from_port(ports.next().expect("a port"));
            let (counted, has_passed) = reason_of(&mut bench, &frame)?;
            assert_eq!(counted, Some(reason), "{what} to port {destination_port}");
            assert_eq!(has_passed, reason != NoName::Gquic, "{what} to port {destination_port}");
            assert_eq!(bench.flow(&frame).expect("a flow").no_name, reason as u8, "{what}");
        }
    }
    Ok(())
}

#[test]
fn on_other_ports_all_of_them_pass() -> Result<()> {
    let mut bench = enforcing()?;
    for (port, (what, payload, reason)) in (1024..).zip(rows()) {
        // DTLS is told by its own bytes, on every port.
        let reason = if reason == NoName::Dtls { reason } else { NoName::NotQuic };
        let frame = Frame { destination_port: 3478, ..from_device(true, &payload) }.from_port(port);
        assert_eq!(reason_of(&mut bench, &frame)?, (Some(reason), true), "{what}");
        assert_eq!(bench.flow(&frame).expect("a flow").no_name, reason as u8, "{what}");
    }
    Ok(())
}

#[test]
fn what_looks_like_a_long_header_is_dropped_for_reasons_alone() -> Result<()> {
    let mut bench = enforcing()?;
    let full = std::env::var_os(sensor_lab::FULL_VARIABLE).is_some();
    let mut random = Random(0x5eed_0008);
    for round in 0..ROUNDS[usize::from(full)] {
        bench.control.set_replay_clock((round as u64 + 1) * 60_000_000_000);
        let length = 1 + random.below(1400);
        let mut payload = noise(&mut random, length);
        payload[0] |= 0xc0;
        let port = 1024 + (round % 60_000) as u16;
        let frame = from_device(false, &payload).from_port(port);
        let (reason, has_passed) = reason_of(&mut bench, &frame)?;
        let reason = reason.expect("noise has no name");
        assert_eq!(has_passed, !BLOCKED_REASONS.contains(&reason), "round {round}: {reason:?}");
        let frame = Frame { destination_port: 27_015, ..frame };
        let found = reason_of(&mut bench, &frame)?;
        assert_eq!(found, (Some(NoName::NotQuic), true), "round {round}");
        bench.flows.clear()?;
    }
    Ok(())
}

/// A call on a port of QUIC: STUN first (RFC 8489), then DTLS, then packets of RTP that could be long headers of
/// any version.
#[test]
fn a_call_on_a_port_of_quic_goes_on() -> Result<()> {
    let mut bench = enforcing()?;
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let stun = from_device(false, &binding);
    assert_eq!(reason_of(&mut bench, &stun)?, (Some(NoName::NotQuic), true));
    assert!(reason_of(&mut bench, &from_device(false, &dtls()))?.1);
    let mut random = Random(0x5eed_0009);
    for round in 0..200 {
        let length = 12 + random.below(1200);
        let mut payload = noise(&mut random, length);
        payload[..2].copy_from_slice(&[0x80 | (round & 0x1f), 0x60]);
        let frame = from_device(false, &payload);
        assert_eq!(reason_of(&mut bench, &frame)?, (None, true), "round {round}");
    }
    Ok(())
}
