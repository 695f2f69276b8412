//! Hellos that come in pieces: cut, reordered, sent again and recorded at random, through the loaded
//! programs.

use std::collections::VecDeque;

use anyhow::Result;
use sensor_ebpf::abi::{Happening, NoName, Side, Verdict};
use sensor_lab::frames::{Frame, Hello, in_records};
use sensor_user::kernel::test_run::action;

use super::{Bench, Random};

/// Hellos of the property test; ten times as many with nothing left out.
const ROUNDS: usize = 400;

/// Bytes of its longest hellos: what one record holds (RFC 8446 section 5.1).
const HELLO_MAX: usize = 1 << 14;
/// One in so many is as long as that.
const LONGEST: usize = 8;
/// Type and length of an extension.
const EXTENSION_HEADER: usize = 4;

/// A post-quantum hello as Chromium sends it: 1.8 KB, the name behind the key share.
fn large(name: &str) -> Hello {
    Hello { before: vec![(51, 1263), (43, 7)], after: vec![(21, 200)], ..Hello::of(name) }
}

fn piece(bytes: &[u8], from: usize, to: usize, port: u16) -> Frame {
    Frame::from_device(false, &bytes[from..to]).from_port(port).further(from as u32)
}

/// A connection that starts with its SYN, as all do that are followed from their first byte.
fn open(bench: &mut Bench, port: u16) -> Result<()> {
    let syn =
        Frame::from_device(false, b"").from_port(port).with_flags(sensor_lab::frames::flag::SYN);
    bench.run(&syn)?;
    Ok(())
}

#[test]
fn the_segment_that_completes_a_blocked_name_does_not_pass() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let hello = large("blocked.example").bytes();
    for (port, cut) in (40_000..).zip([1, 5, 6, 100, 1370, 1400]) {
        open(&mut bench, port)?;
        let (first, second) = (piece(&hello, 0, cut, port), piece(&hello, cut, hello.len(), port));
        assert_eq!(bench.run(&first)?.frame, first.bytes(), "cut at {cut}");
        assert_ne!(bench.run(&second)?.frame, second.bytes(), "cut at {cut}");
        let flow = bench.flow(&first).expect("a flow");
        assert_eq!((flow.verdict, flow.slot), (Verdict::Block as u8, 0), "cut at {cut}");
        let event = bench.verdict().expect("an event");
        assert_eq!(event.name.as_bytes(), b"blocked.example", "cut at {cut}");
    }
    Ok(())
}

#[test]
fn an_allowed_name_passes_whatever_its_pieces() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let hello = large("fine.example").bytes();
    for (port, order) in
        (40_000..).zip([&[0, 1, 2][..], &[2, 1, 0], &[1, 0, 2], &[0, 2, 1], &[0, 0, 1, 1, 2]])
    {
        open(&mut bench, port)?;
        let cuts = [0, 700, 1448, hello.len()];
        for &at in order {
            let frame = piece(&hello, cuts[at], cuts[at + 1], port);
            assert_eq!(bench.run(&frame)?.frame, frame.bytes(), "{order:?}");
        }
        let flow = bench.flow(&piece(&hello, 0, 1, port)).expect("a flow");
        assert_eq!(flow.verdict, Verdict::Allow as u8, "{order:?}");
        assert_ne!(flow.hello, 0, "{order:?}: what it offers is kept");
    }
    assert_eq!(bench.ingress()?.happened(Happening::HelloAssembled), 5);
    Ok(())
}

#[test]
fn two_versions_of_a_byte_are_an_evasion() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_reasons(&[NoName::Evasion])?;
    let hello = large("fine.example").bytes();
    let mut other = hello.clone();
    other[600] ^= 1;
    open(&mut bench, 40_000)?;
    bench.run(&piece(&hello, 0, 1000, 40_000))?;
    let second = piece(&other, 500, 900, 40_000);
    assert_ne!(bench.run(&second)?.frame, second.bytes());
    let flow = bench.flow(&second).expect("a flow");
    assert_eq!((flow.verdict, flow.no_name), (Verdict::Block as u8, NoName::Evasion as u8));
    // Of bytes that wait for others too.
    open(&mut bench, 40_001)?;
    bench.run(&piece(&hello, 500, 1000, 40_001))?;
    let second = piece(&other, 0, 700, 40_001);
    assert_ne!(bench.run(&second)?.frame, second.bytes());
    Ok(())
}

#[test]
fn a_blocked_segment_resets_the_server_at_its_next_byte() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let hello = large("blocked.example").bytes();
    open(&mut bench, 40_000)?;
    bench.run(&piece(&hello, 0, 700, 40_000))?;
    bench.run(&piece(&hello, 1448, hello.len(), 40_000))?;
    // Starts before what the server has, and fills the gap.
    let filling = bench.run(&piece(&hello, 600, 1448, 40_000))?;
    assert_eq!(super::packet(&filling.frame).sequence, 1001 + 700);
    Ok(())
}

/// Every legal hello up to 16 KiB, cut, ordered, repeated and recorded at random, gives its name.
#[test]
fn any_legal_hello_gives_its_name() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let full = std::env::var_os(sensor_lab::FULL_VARIABLE).is_some();
    let rounds = if full { ROUNDS * 10 } else { ROUNDS };
    let mut random = Random(0x5eed_0003);
    let mut longest = 0;
    for round in 0..rounds {
        let port = 1024 + (round % 60_000) as u16;
        bench.control.set_replay_clock((round as u64 + 1) * 60_000_000_000);
        let blocked = random.below(2) == 0;
        let name = if blocked { "www.blocked.example" } else { "fine.example" };
        let hello = random_hello(&mut random, name);
        longest = longest.max(message_length(&hello));
        let stream = in_records(&hello.bytes(), &random_cuts(&mut random));
        open(&mut bench, port)?;
        let mut all_passed = true;
        let pieces = random_pieces(&mut random, stream.len());
        let mut queue: VecDeque<_> = pieces.iter().copied().collect();
        let mut dropped = 0;
        while let Some((from, to)) = queue.pop_front() {
            let frame = piece(&stream, from, to, port);
            let outcome = bench.run(&frame)?;
            if outcome.action == action::DROP {
                // Too far ahead: as a client does, once more behind the others.
                queue.push_back((from, to));
                dropped += 1;
                assert!(dropped < 2000, "round {round}: {pieces:?}");
            } else if outcome.frame != frame.bytes() {
                all_passed = false;
                break;
            }
        }
        let flow = bench.flow(&piece(&stream, 0, 1, port)).expect("a flow");
        let expected = if blocked { Verdict::Block } else { Verdict::Allow };
        let what = format!(
            "round {round}: {} bytes in pieces {pieces:?}, {flow:?}, {:?}",
            stream.len(),
            NoName::try_from(flow.no_name)
        );
        assert_eq!(flow.verdict, expected as u8, "{what}");
        assert_eq!(all_passed, !blocked, "{what}");
        while bench.verdict().is_some() {}
        while bench.flow_end().is_some() {}
        bench.flows.clear()?;
    }
    assert!((HELLO_MAX - 2 * EXTENSION_HEADER..=HELLO_MAX).contains(&longest), "{longest} bytes");
    Ok(())
}

fn random_hello(random: &mut Random, name: &str) -> Hello {
    let mut hello = Hello {
        before: Vec::new(),
        after: Vec::new(),
        session_id: random.below(33),
        ciphers: 1 + random.below(200),
        ..Hello::of(name)
    };
    let room = HELLO_MAX - message_length(&hello);
    let filled = if random.below(LONGEST) == 0 { room } else { random.below(room + 1) };
    let before = random.below(filled + 1);
    hello.before = random_extensions(random, before);
    hello.after = random_extensions(random, filled - before);
    hello
}

/// Of the handshake message, without the header of its record.
fn message_length(hello: &Hello) -> usize {
    hello.bytes().len() - 5
}

/// Extensions that together have so many bytes, or a header fewer.
fn random_extensions(random: &mut Random, bytes: usize) -> Vec<(u16, usize)> {
    let mut list = Vec::new();
    let mut left = bytes;
    while left >= EXTENSION_HEADER {
        let most = left - EXTENSION_HEADER;
        let length = if list.len() < 40 { random.below(most.min(3000) + 1) } else { most };
        list.push((0x4000 + random.below(1000) as u16, length));
        left = most - length;
    }
    list
}

/// Lengths of records: all in one, some, or down to a byte each.
fn random_cuts(random: &mut Random) -> Vec<usize> {
    match random.below(4) {
        0 => Vec::new(),
        1 => (0..20).map(|_| 1 + random.below(600)).collect(),
        2 => (0..200).map(|_| 1 + random.below(30)).collect(),
        _ => vec![1; 200],
    }
}

/// Segments that carry the whole stream, out of order as far as networks do it and further.
fn random_pieces(random: &mut Random, length: usize) -> Vec<(usize, usize)> {
    let largest = [1460, 500, 60][random.below(3)];
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < length {
        let to = (at + 1 + random.below(largest)).min(length);
        pieces.push((at, to));
        at = to;
    }
    if random.below(3) > 0 {
        for at in 1..pieces.len() {
            let with = at - 1 - random.below(2).min(at - 1);
            pieces.swap(at, with);
        }
    }
    if random.below(2) == 0 {
        let again = pieces[random.below(pieces.len())];
        let place = pieces.iter().position(|piece| *piece == again).unwrap_or(0);
        pieces.insert(place + 1, again);
    }
    pieces
}
