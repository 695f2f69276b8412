//! Initials that no endpoint would take: each has its reason, and policy decides. What is wrong within the
//! protection is told as wrong keys: no tag is checked that could tell the two apart.

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Verdict, VerdictEvent};
use sensor_lab::frames::{Frame, Hello};
use sensor_lab::quic::{Content, Initial, from_device, message, varint_of};

use super::super::Random;
use super::{BLOCKED, BLOCKED_REASONS, FINE, enforcing, passes, reason_of, small};

/// The largest integer (RFC 9000 section 16).
const INTEGER_MAX: u64 = (1 << 62) - 1;

/// Ports on which QUIC is looked for; on all others a datagram must be one beyond doubt.
const QUIC_PORTS: [u16; 2] = [443, 80];
const OTHER_PORT: u16 = 50_000;

/// Changed Initials of a short run, and of one with nothing left out.
const ROUNDS: [usize; 2] = [600, 20_000];

fn initial() -> Initial {
    Initial::of(vec![Content::whole(&small(FINE))])
}

/// An Initial with one more frame behind the hello.
fn with_frame(frame: &[u8]) -> Vec<u8> {
    let mut initial = initial();
    // At the end of the packet, so that nothing lies behind what goes on too far.
    let missing = 1200 - initial.packet().len() - frame.len();
    initial.frames.extend([Content::Padding(missing), Content::Raw(frame.to_vec())]);
    initial.packet()
}

fn with_version(version: u32) -> Vec<u8> {
    let mut datagram = initial().datagram();
    datagram[1..5].copy_from_slice(&version.to_be_bytes());
    datagram
}

/// An Initial with these bytes for token and length, and noise behind them.
fn with_lengths(token_length: &[u8], length: &[u8]) -> Vec<u8> {
    let datagram = initial().datagram();
    let (header, behind) = datagram.split_at(6 + 8 + 1 + 3);
    [header, token_length, length, &behind[3..]].concat()
}

fn rows() -> Vec<(&'static str, Vec<u8>, NoName)> {
    let whole = initial().datagram();
    let integer = |value, bytes| varint_of(value, bytes);
    let crypto = |offset: &[u8], length: &[u8]| [&[6][..], offset, length, b"data"].concat();
    let mut long_source = initial();
    long_source.source = vec![7; 21];
    vec![
        ("cut in its header", whole[..17].to_vec(), NoName::Truncated),
        ("cut behind its header", whole[..21].to_vec(), NoName::Truncated),
        ("cut in its payload", whole[..1199].to_vec(), NoName::Truncated),
        ("a length of one too many", lying(1200 - 21 + 1), NoName::Truncated),
        ("the longest length", lying(INTEGER_MAX), NoName::Truncated),
        ("a length of nothing", lying(0), NoName::QuicKeys),
        ("a length without a sample", lying(19), NoName::QuicKeys),
        ("the longest token", with_lengths(&integer(INTEGER_MAX, 8), &[]), NoName::Truncated),
        ("a token behind it", with_lengths(&integer(1400, 2), &[]), NoName::Truncated),
        ("a length of 8 bytes that is cut", cut_length(7), NoName::Truncated),
        ("a length of 4 bytes that is cut", cut_length(3), NoName::Truncated),
        (
            "a destination of 21 bytes",
            initial().to_connection(&[9; 21]).datagram(),
            NoName::Malformed,
        ),
        ("a source of 21 bytes", long_source.datagram(), NoName::Malformed),
        ("a frame of 1-RTT", with_frame(&[0x1e]), NoName::QuicKeys),
        ("a frame of 0-RTT", with_frame(&[0x0a, 1, 0]), NoName::QuicKeys),
        ("a frame nobody knows", with_frame(&integer(0x1234_5678, 4)), NoName::QuicKeys),
        ("the last type", with_frame(&integer(INTEGER_MAX, 8)), NoName::QuicKeys),
        ("a piece without data", with_frame(&[6, 0, 4]), NoName::QuicKeys),
        ("a piece of one too many", with_frame(&crypto(&[0], &[5])), NoName::QuicKeys),
        (
            "the longest piece",
            with_frame(&crypto(&[0], &integer(INTEGER_MAX, 8))),
            NoName::QuicKeys,
        ),
        ("the last piece", with_frame(&crypto(&integer(INTEGER_MAX, 8), &[4])), NoName::Oversize),
        (
            "a piece behind any hello",
            with_frame(&crypto(&integer(1 << 20, 4), &[4])),
            NoName::Oversize,
        ),
        ("ranges without end", with_frame(&[2, 0, 0, 0x3f, 0]), NoName::QuicKeys),
        ("an offset that is cut", with_frame(&[6, 0xc0, 0, 0]), NoName::QuicKeys),
        ("a reason that goes on", with_frame(&[0x1c, 0, 0, 9, b'x']), NoName::QuicKeys),
        ("version negotiation", with_version(0), NoName::QuicNegotiation),
        ("a version to be refused", with_version(0x1a2a_3a4a), NoName::QuicVersion),
        ("another version to be refused", with_version(0xfafa_fafa), NoName::QuicVersion),
        ("draft-28", with_version(0xff00_001c), NoName::QuicVersion),
        ("a version to come", with_version(0x0000_0007), NoName::QuicVersion),
        ("a hello without a name", without_name(), NoName::NoSni),
    ]
}

fn lying(length: u64) -> Vec<u8> {
    let mut initial = initial();
    let missing = 1200 - initial.packet().len();
    initial.frames.push(Content::Padding(missing));
    if length > 0x3fff {
        initial.length_bytes = 8;
    }
    initial.length = Some(length);
    initial.packet()
}

/// Ends after so many bytes of a length that has more.
fn cut_length(bytes: usize) -> Vec<u8> {
    let integer = varint_of(1182, bytes + 1);
    with_lengths(&[0], &integer)[..19 + bytes].to_vec()
}

fn without_name() -> Vec<u8> {
    let hello = message(&Hello { name: None, ..Hello::with_name_last(FINE) });
    Initial::of(vec![Content::whole(&hello)]).datagram()
}

#[test]
fn what_cannot_be_read_has_its_reason_and_policy_decides() -> Result<()> {
    let mut bench = enforcing()?;
    let mut ports = 1024..;
    for destination_port in QUIC_PORTS {
        for (what, payload, reason) in rows() {
            let frame = Frame { destination_port, ..from_device(false, &payload) };
            let frame = frame.from_port(ports.next().expect("a port"));
            let (counted, has_passed) = reason_of(&mut bench, &frame)?;
            assert_eq!(counted, Some(reason), "{what}");
            assert_eq!(has_passed, !BLOCKED_REASONS.contains(&reason), "{what}");
            let flow = bench.flow(&frame).expect("a flow");
            assert_eq!(flow.no_name, reason as u8, "{what}");
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_passes_where_no_reason_is_blocked() -> Result<()> {
    let mut bench = enforcing()?;
    bench.block(&[BLOCKED])?;
    for (port, (what, payload, reason)) in (1024..).zip(rows()) {
        let frame = from_device(true, &payload).from_port(port);
        assert_eq!(reason_of(&mut bench, &frame)?, (Some(reason), true), "{what}");
    }
    Ok(())
}

#[test]
fn on_other_ports_what_does_not_open_passes() -> Result<()> {
    let mut bench = enforcing()?;
    for (port, (what, payload, reason)) in (1024..).zip(rows()) {
        if reason == NoName::NoSni {
            continue;
        }
        let frame = Frame { destination_port: OTHER_PORT, ..from_device(false, &payload) };
        let (counted, has_passed) = reason_of(&mut bench, &frame.from_port(port))?;
        assert_eq!((counted, has_passed), (Some(NoName::NotQuic), true), "{what}");
    }
    Ok(())
}

#[test]
fn odd_initials_that_servers_may_take_are_read() -> Result<()> {
    let mut bench = enforcing()?;
    let hello = small(BLOCKED);
    let whole = Initial::of(vec![Content::whole(&hello)]);
    let long = |bytes: usize| {
        let frame = [
            varint_of(6, bytes),
            varint_of(0, bytes),
            varint_of(hello.len() as u64, bytes.max(2)),
            hello.clone(),
        ];
        Initial::of(vec![Content::Raw(frame.concat())]).datagram()
    };
    let mut rows = vec![
        ("no connection ID".to_owned(), whole.clone().to_connection(&[]).datagram()),
        ("the longest connection ID".to_owned(), whole.clone().to_connection(&[3; 20]).datagram()),
        ("a short datagram".to_owned(), whole.packet()),
        ("the longest datagram".to_owned(), whole.padded_to(1472)),
        (
            "the end of the connection with it".to_owned(),
            Initial::of(vec![Content::Close, Content::whole(&hello)]).datagram(),
        ),
        ("zeroes behind it".to_owned(), [whole.datagram(), vec![0; 100]].concat()),
        ("bytes behind it".to_owned(), [whole.datagram(), vec![0x2a; 100]].concat()),
    ];
    for bytes in [1, 2, 4, 8] {
        rows.push((format!("integers of {bytes} bytes"), long(bytes)));
        let initial =
            Initial { number_bytes: bytes.min(3), length_bytes: bytes.max(2), ..whole.clone() };
        rows.push((format!("a length of {bytes} bytes"), initial.datagram()));
    }
    for (port, (what, payload)) in (1024..).zip(rows) {
        let frame = from_device(false, &payload).from_port(port);
        assert!(!passes(&mut bench, &frame)?, "{what}");
        let flow = bench.flow(&frame).expect("a flow");
        let found = (flow.verdict, flow.no_name);
        assert_eq!(found, (Verdict::Block as u8, NoName::Named as u8), "{what}");
    }
    Ok(())
}

#[test]
fn other_keys_have_a_reason_of_their_own() -> Result<()> {
    let mut bench = enforcing()?;
    for number in 0..64 {
        let initial = Initial { keys_of: Some(vec![number; 8]), ..initial() };
        let frame = from_device(false, &initial.datagram()).from_port(1024 + u16::from(number));
        assert_eq!(reason_of(&mut bench, &frame)?, (Some(NoName::QuicKeys), false), "{number}");
    }
    Ok(())
}

/// Bits, lengths and ends of an Initial, changed at random: what is dropped has a reason that policy names.
#[test]
fn changed_initials_are_dropped_for_reasons_alone() -> Result<()> {
    let mut bench = enforcing()?;
    let full = std::env::var_os(sensor_lab::FULL_VARIABLE).is_some();
    let mut random = Random(0x5eed_0007);
    for round in 0..ROUNDS[usize::from(full)] {
        bench.control.set_replay_clock((round as u64 + 1) * 60_000_000_000);
        let mut payload = initial().datagram();
        for _ in 0..=random.below(4) {
            let within = [24, payload.len()][random.below(2)];
            payload[random.below(within)] ^= 1 << random.below(8);
        }
        if random.below(4) == 0 {
            payload.truncate(1 + random.below(payload.len() - 1));
        }
        let port = 1024 + (round % 60_000) as u16;
        let frame = from_device(false, &payload).from_port(port);
        for destination_port in [443, OTHER_PORT] {
            let frame = Frame { destination_port, ..frame.clone() };
            let has_passed = passes(&mut bench, &frame)?;
            // Slots of the rounds before are taken over, which moves counters: events tell this round's reason.
            let events: Vec<_> = std::iter::from_fn(|| bench.verdict()).collect();
            let blocked = events.iter().find(|event| event.verdict == Verdict::Block as u8);
            let what = format!("round {round}, to port {destination_port}");
            assert_eq!(has_passed, blocked.is_none(), "{what}");
            let is_named = |event: &VerdictEvent| {
                BLOCKED_REASONS.iter().any(|reason| *reason as u8 == event.no_name)
            };
            assert!(blocked.is_none_or(is_named), "{what}");
        }
        bench.flows.clear()?;
    }
    Ok(())
}
