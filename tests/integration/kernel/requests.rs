//! Requests of a connection: heads over segments, bodies between them, and what only looks like either.

use std::collections::VecDeque;

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Side, Verdict};
use sensor_ebpf::http::framing;
use sensor_lab::frames::{Frame, Hello, Transport, flag};
use sensor_user::kernel::test_run::action;

use super::{Bench, Random};

const BLOCKED: &str = "www.blocked.example";
const FINE: &str = "fine.example";

/// Streams of the property test.
const ROUNDS: usize = 400;

/// One connection, whose server's side is seen or not.
struct Connection<'a> {
    bench: &'a mut Bench,
    port: u16,
    is_heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    /// It went on as the server's reset, or was answered with one.
    Reset,
    Dropped,
}

impl<'a> Connection<'a> {
    fn open(bench: &'a mut Bench, port: u16, is_heard: bool) -> Result<Self> {
        let mut connection = Self { bench, port, is_heard };
        let syn = connection.segment(0, &[]).with_flags(flag::SYN);
        assert_eq!(connection.bench.run(&syn)?.action, action::PASS);
        connection.hear(flag::SYN | flag::ACK, 0)?;
        Ok(connection)
    }

    fn segment(&self, at: usize, bytes: &[u8]) -> Frame {
        let frame = Frame { destination_port: 80, ..Frame::from_device(false, bytes) };
        frame.from_port(self.port).further(at as u32)
    }

    fn send(&mut self, at: usize, bytes: &[u8]) -> Result<Fate> {
        let frame = self.segment(at, bytes);
        let outcome = self.bench.run(&frame)?;
        Ok(match outcome.action {
            action::PASS if outcome.frame == frame.bytes() => Fate::Passed,
            action::DROP => Fate::Dropped,
            _ => Fate::Reset,
        })
    }

    /// The server has the stream up to here.
    fn hear(&mut self, flags: u8, at: usize) -> Result<()> {
        if !self.is_heard {
            return Ok(());
        }
        let mut reply = self.segment(0, &[]).reply();
        let sequence = if flags & flag::SYN == 0 { 5001 } else { 5000 };
        reply.transport = Transport::Tcp { flags, sequence, acknowledgement: 1001 + at as u32 };
        self.bench.run(&reply)?;
        Ok(())
    }

    fn flow(&self) -> sensor_ebpf::abi::Flow {
        self.bench.flow(&self.segment(0, &[])).expect("a flow")
    }

    fn reason(&self) -> NoName {
        NoName::try_from(self.flow().no_name).expect("a reason")
    }
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn post(host: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// In chunks of `size` bytes.
fn chunked(host: &str, body: &str, size: usize) -> String {
    let chunk = |part: &[u8]| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
    let chunks: String = body.as_bytes().chunks(size).map(chunk).collect();
    format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    )
}

#[test]
fn a_head_cut_anywhere_has_its_name() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let mut port = 1024;
    for (name, is_heard) in [(BLOCKED, true), (BLOCKED, false), (FINE, true), (FINE, false)] {
        let head = get(name);
        for cut in 1..head.len() {
            for is_reversed in [false, true] {
                port += 1;
                let (first, second) = head.as_bytes().split_at(cut);
                let mut pieces = [(0, first), (cut, second)];
                if is_reversed {
                    pieces.reverse();
                }
                let what = format!("{name} cut at {cut}, heard {is_heard}, reversed {is_reversed}");
                let mut connection = Connection::open(&mut bench, port, is_heard)?;
                let fates = [
                    connection.send(pieces[0].0, pieces[0].1)?,
                    connection.send(pieces[1].0, pieces[1].1)?,
                ];
                let passed = fates.iter().all(|fate| *fate == Fate::Passed);
                let flow = connection.flow();
                assert_eq!(passed, name == FINE, "{what}: {fates:?}");
                let verdict = if name == FINE { Verdict::Allow } else { Verdict::Block };
                assert_eq!(flow.verdict, verdict as u8, "{what}");
                connection.hear(flag::ACK, head.len())?;
                assert_eq!(connection.flow().slot, 0, "{what}: nothing is kept");
                while bench.verdict().is_some() {}
            }
        }
    }
    Ok(())
}

#[test]
fn another_host_at_the_same_place_is_an_evasion() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_reasons(&[NoName::Evasion])?;
    let (fine, other) = (get(FINE), get("mine.example"));
    for (port, cut) in (1024..).zip(1..fine.len()) {
        let mut connection = Connection::open(&mut bench, port, true)?;
        let at = cut.min(10);
        connection.send(0, &fine.as_bytes()[..cut])?;
        let second = connection.send(at, &other.as_bytes()[at..])?;
        // The first byte of the host is the one that differs.
        let expected = if cut > 22 { Fate::Reset } else { Fate::Passed };
        assert_eq!(second, expected, "cut at {cut}");
        if expected == Fate::Reset {
            assert_eq!(connection.reason(), NoName::Evasion, "cut at {cut}");
        }
    }
    // A whole head too, as long as the server does not have it.
    for (port, is_acknowledged) in [(3000, false), (3001, true)] {
        let mut connection = Connection::open(&mut bench, port, true)?;
        assert_eq!(connection.send(0, fine.as_bytes())?, Fate::Passed);
        if is_acknowledged {
            connection.hear(flag::ACK, fine.len())?;
        }
        assert_eq!(connection.send(0, fine.as_bytes())?, Fate::Passed, "sent again");
        let expected = if is_acknowledged { Fate::Passed } else { Fate::Reset };
        assert_eq!(connection.send(0, other.as_bytes())?, expected);
    }
    Ok(())
}

#[test]
fn a_body_passes_whatever_it_says() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let hidden = get(BLOCKED);
    for (port, is_heard) in [(1024, true), (1025, false)] {
        let mut connection = Connection::open(&mut bench, port, is_heard)?;
        let head = format!("PUT / HTTP/1.1\r\nHost: {FINE}\r\nContent-Length: 100000\r\n\r\n");
        let begin = head.len();
        connection.send(0, head.as_bytes())?;
        assert_eq!(connection.flow().framing, framing::BODY);
        // In any order, with gaps, again.
        for at in [0, 50_000, 1000, 99_000, 1000] {
            assert_eq!(connection.send(begin + at, hidden.as_bytes())?, Fate::Passed, "{at}");
        }
        // The next request, in the segment that ends the body.
        let end = begin + 100_000 - 5;
        let mut last = b"GET /".to_vec();
        last.extend(get(FINE).bytes());
        assert_eq!(connection.send(end, &last)?, Fate::Passed);
        assert_eq!(connection.flow().framing, framing::START);
        assert_eq!(connection.send(end + last.len(), hidden.as_bytes())?, Fate::Reset);
    }
    Ok(())
}

#[test]
fn behind_a_connect_hellos_and_requests_are_read() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let connect = |host: &str| format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    let mut connection = Connection::open(&mut bench, 1024, true)?;
    assert_eq!(connection.send(0, connect(BLOCKED).as_bytes())?, Fate::Reset, "its own host");
    let hello = Hello::of(BLOCKED).bytes();
    let tunnel = connect(FINE);
    let length = tunnel.len();
    for (port, is_answered) in [(1025, true), (1026, false)] {
        let mut connection = Connection::open(&mut bench, port, true)?;
        assert_eq!(connection.send(0, tunnel.as_bytes())?, Fate::Passed);
        if is_answered {
            connection.hear(flag::ACK, length)?;
        }
        assert_eq!(connection.send(length, &hello[..50])?, Fate::Passed);
        assert_eq!(connection.send(length + 50, &hello[50..])?, Fate::Reset);
        assert_eq!(connection.flow().name_source, sensor_ebpf::abi::NameSource::Tls as u8);
    }
    let mut connection = Connection::open(&mut bench, 1027, true)?;
    let together = [tunnel.as_bytes(), &hello].concat();
    assert_eq!(connection.send(0, &together)?, Fate::Reset, "in one segment");
    let mut connection = Connection::open(&mut bench, 1028, true)?;
    connection.send(0, tunnel.as_bytes())?;
    assert_eq!(connection.send(length, get(BLOCKED).as_bytes())?, Fate::Reset, "plain");
    Ok(())
}

#[test]
fn lines_of_other_protocols_are_no_requests() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let hello = Hello::of(BLOCKED).bytes();
    for (port, size) in (1024..).zip([1, 2, 3, 5, 100]) {
        let mut connection = Connection::open(&mut bench, port, true)?;
        let lines = b"EHLO me\r\nSTARTTLS\r\n";
        for (at, piece) in (0..).step_by(size).zip(lines.chunks(size)) {
            assert_eq!(connection.send(at, piece)?, Fate::Passed, "pieces of {size}");
            connection.hear(flag::ACK, at + piece.len())?;
        }
        assert_eq!(connection.send(lines.len(), &hello)?, Fate::Reset, "pieces of {size}");
    }
    Ok(())
}

#[test]
fn what_has_no_usable_host_has_a_reason_and_passes() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let rows = [
        (get(""), NoName::NoHost),
        (get("x, y"), NoName::Named),
        (get("192.0.2.1"), NoName::Named),
        (get("%62locked.example"), NoName::Named),
        (get(":80"), NoName::Malformed),
        (get("fine.example\r\nContent-Length: 1\r\nContent-Length: 2"), NoName::Named),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), NoName::NoHost),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), NoName::Http2),
        (format!("GET / HTTP/1.1\r\nPad: {}", "x".repeat(500)), NoName::Truncated),
    ];
    for (port, (head, reason)) in (1024..).zip(rows) {
        let mut connection = Connection::open(&mut bench, port, true)?;
        assert_eq!(connection.send(0, head.as_bytes())?, Fate::Passed, "{head:?}");
        assert_eq!(connection.reason(), reason, "{head:?}");
    }
    assert_eq!(bench.ingress()?.no_name(NoName::HttpFraming), 1);
    bench.block_reasons(&[NoName::HttpFraming])?;
    let mut connection = Connection::open(&mut bench, 2000, true)?;
    let both =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(connection.send(0, both.as_bytes())?, Fate::Reset);
    Ok(())
}

#[test]
fn a_head_over_the_bound_is_policys() -> Result<()> {
    for is_blocked in [false, true] {
        let mut bench = Bench::new(Side::Lan)?;
        bench.block_reasons(if is_blocked { &[NoName::Oversize] } else { &[] })?;
        let flood = "Pad: x\r\n".repeat(9000);
        for (port, head) in [
            (1024, format!("GET / HTTP/1.1\r\n{flood}")),
            (1025, format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000))),
        ] {
            let mut connection = Connection::open(&mut bench, port, true)?;
            let mut fates = Vec::new();
            for (at, piece) in (0..).step_by(1400).zip(head.as_bytes().chunks(1400)) {
                fates.push(connection.send(at, piece)?);
                connection.hear(flag::ACK, at + piece.len())?;
            }
            let all_passed = fates.iter().all(|fate| *fate == Fate::Passed);
            assert_eq!(all_passed, !is_blocked);
            assert_eq!(connection.reason(), NoName::Oversize);
        }
    }
    Ok(())
}

/// Every stream of requests and bodies, cut, ordered and repeated at random: nothing passes that asks for a
/// blocked name, and everything else does.
#[test]
fn any_stream_of_requests_gives_its_names() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_both(&["blocked.example"], &[NoName::Evasion, NoName::HttpFraming])?;
    let mut random = Random(0x5eed_0008);
    for round in 0..ROUNDS {
        bench.control.set_replay_clock((round as u64 + 1) * 60_000_000_000);
        let (stream, is_blocked) = random_stream(&mut random);
        let is_heard = random.below(3) > 0;
        let mut connection = Connection::open(&mut bench, 1024 + round as u16, is_heard)?;
        let mut queue: VecDeque<_> = random_pieces(&mut random, stream.len()).into();
        let what = format!("round {round}, heard {is_heard}: {queue:?} of {stream:?}");
        let (mut all_passed, mut dropped, mut arrived) = (true, 0, vec![false; stream.len()]);
        while let Some((from, to)) = queue.pop_front() {
            match connection.send(from, &stream.as_bytes()[from..to])? {
                Fate::Passed => arrived[from..to].fill(true),
                Fate::Reset => {
                    all_passed = false;
                    break;
                }
                Fate::Dropped => {
                    queue.push_back((from, to));
                    dropped += 1;
                    assert!(dropped < 2000, "{what}");
                }
            }
            if random.below(2) == 0 {
                let first_missing = arrived.iter().position(|arrived| !arrived);
                connection.hear(flag::ACK, first_missing.unwrap_or(stream.len()))?;
            }
        }
        assert_eq!(all_passed, !is_blocked, "{what}");
        while bench.verdict().is_some() {}
        bench.flows.clear()?;
    }
    Ok(())
}

/// Up to eight requests, one of them for a blocked name or none, with fakes in their bodies.
fn random_stream(random: &mut Random) -> (String, bool) {
    let count = 1 + random.below(8);
    let blocked_at = random.below(count * 2);
    let mut stream = String::new();
    for at in 0..count {
        let name = if at == blocked_at { BLOCKED } else { FINE };
        let fakes = 1 + random.below(60);
        let body = get(BLOCKED).repeat(fakes);
        stream += &match random.below(4) {
            0 => post(name, &body),
            1 => chunked(name, &body, 1 + random.below(200)),
            _ => get(name),
        };
    }
    (stream, blocked_at < count)
}

/// Segments that carry the whole stream, some out of order, one of them twice.
fn random_pieces(random: &mut Random, length: usize) -> Vec<(usize, usize)> {
    let largest = [1460, 300, 40][random.below(3)];
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < length {
        let to = (at + 1 + random.below(largest)).min(length);
        pieces.push((at, to));
        at = to;
    }
    if random.below(2) == 0 {
        for at in 1..pieces.len() {
            pieces.swap(at, at - 1 - random.below(2).min(at - 1));
        }
    }
    let again = random.below(pieces.len());
    pieces.insert(again + 1, pieces[again]);
    pieces
}
