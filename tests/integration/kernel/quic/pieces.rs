//! Every legal way to send a hello: cut, ordered, repeated and packed at random.

use std::ops::Range;

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use sensor_lab::frames::{Frame, Hello};
use sensor_lab::quic::{
    Content, DATAGRAM_MIN, Initial, Kind, Version, from_device, message, other, varint,
};

use super::super::Random;
use super::{FINE, enforcing, passes};

/// Hellos of a short run, and of one with nothing left out.
const ROUNDS: [usize; 2] = [200, 4000];

/// Bytes of the hellos: what four datagrams hold, whatever else is in them.
const HELLO: Range<usize> = 200..2400;

/// Bytes of frames in a packet. The longest header leaves as much in a datagram that fits any path.
const PAYLOAD_MAX: usize = 1080;
/// Bytes of the longest datagrams.
const DATAGRAM_MAX: usize = 1472;

/// A name below the blocked one.
const BLOCKED: &str = "www.blocked.example";

#[test]
fn any_legal_way_to_send_a_hello_gives_its_name() -> Result<()> {
    let mut bench = enforcing()?;
    let full = std::env::var_os(sensor_lab::FULL_VARIABLE).is_some();
    let mut random = Random(0x5eed_0004);
    let mut most = 0;
    for round in 0..ROUNDS[usize::from(full)] {
        bench.control.set_replay_clock((round as u64 + 1) * 60_000_000_000);
        let is_blocked = random.below(2) == 0;
        let name = if is_blocked { BLOCKED } else { FINE };
        let hello = random_hello(&mut random, name);
        let sent = Sent::new(&mut random, &hello);
        let (named_by, whole_by) = (sent.until(name_end(&hello, name)), sent.until(hello.len()));
        let port = 1024 + (round % 60_000) as u16;
        let what = format!("round {round}: {} bytes in {sent:?}", hello.len());
        most = most.max(sent.datagrams.len());
        let v6 = random.below(2) == 0;
        let tags = [&[][..], &[(0x8100, 42)]][random.below(2)];
        let frame = |payload: &[u8]| from_device(v6, payload).from_port(port).tagged(tags);
        let mut dropped_at = None;
        for (at, Datagram { payload, .. }) in sent.datagrams.iter().enumerate() {
            let has_passed = passes(&mut bench, &frame(payload))?;
            assert!(!has_passed || dropped_at.is_none(), "{what}: {at} passed behind the block");
            if !has_passed && dropped_at.is_none() {
                dropped_at = Some(at);
            }
        }
        let flow = bench.flow(&frame(&[])).expect("a flow");
        let reason = NoName::try_from(flow.no_name);
        let verdict = if is_blocked { Verdict::Block } else { Verdict::Allow };
        assert_eq!(flow.verdict, verdict as u8, "{what}: {reason:?}");
        assert_eq!(flow.name_source, NameSource::Quic as u8, "{what}");
        match dropped_at {
            Some(at) => assert!((named_by..=whole_by).contains(&at), "{what}: {at} was dropped"),
            None => assert!(!is_blocked, "{what}"),
        }
        while bench.verdict().is_some() {}
        bench.flows.clear()?;
    }
    assert!(most >= 4, "{most} datagrams at most");
    Ok(())
}

/// What was sent of a hello.
struct Sent {
    datagrams: Vec<Datagram>,
    /// The version and the lengths of its IDs, for whoever reads of a failure.
    about: String,
}

struct Datagram {
    payload: Vec<u8>,
    /// Bytes of the hello in it.
    pieces: Vec<Range<usize>>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.about)?;
        f.debug_list().entries(self.datagrams.iter().map(|datagram| &datagram.pieces)).finish()
    }
}

impl Sent {
    fn new(random: &mut Random, hello: &[u8]) -> Self {
        let pieces = random_pieces(random, hello.len());
        let connection = random_connection(random);
        let mut packets = Vec::new();
        let mut number = connection.number;
        for pieces in in_packets(random, pieces) {
            let frames = random_frames(random, hello, &pieces);
            packets.push((Initial { number, frames, ..connection.clone() }, pieces));
            number += 1 + random.below(2) as u32;
        }
        let Initial { version, destination, source, token, number_bytes, .. } = &connection;
        let lengths = [destination.len(), source.len(), token.len(), *number_bytes];
        let about = format!("{version:?} {lengths:?} ");
        Self { datagrams: in_datagrams(random, packets), about }
    }

    /// The datagram that makes the first so many bytes whole.
    fn until(&self, end: usize) -> usize {
        let mut known = vec![false; end];
        for (at, datagram) in self.datagrams.iter().enumerate() {
            for piece in &datagram.pieces {
                known[piece.start.min(end)..piece.end.min(end)].fill(true);
            }
            if known.iter().all(|is_known| *is_known) {
                return at;
            }
        }
        panic!("{self:?} does not have the first {end} bytes");
    }
}

fn name_end(hello: &[u8], name: &str) -> usize {
    let at = hello.windows(name.len()).position(|bytes| bytes == name.as_bytes());
    at.expect("the name is in the hello") + name.len()
}

fn random_hello(random: &mut Random, name: &str) -> Vec<u8> {
    let length = HELLO.start + random.below(HELLO.len());
    let mut hello = Hello {
        before: Vec::new(),
        after: Vec::new(),
        session_id: random.below(33),
        ciphers: 1 + random.below(40),
        ..Hello::of(name)
    };
    let mut missing = length.saturating_sub(message(&hello).len());
    while missing >= 4 {
        let data = random.below((missing - 4).min(1300) + 1);
        let list = [&mut hello.before, &mut hello.after];
        let [before, after] = list;
        let list = if random.below(2) == 0 { before } else { after };
        // Too many would be slow to make: the last one takes the rest.
        let data = if list.len() < 30 { data } else { missing - 4 };
        list.push((0x4000 + random.below(1000) as u16, data));
        missing -= 4 + data;
    }
    message(&hello)
}

/// Pieces that together are the hello: some overlap, some come twice, some are empty; in any order.
fn random_pieces(random: &mut Random, length: usize) -> Vec<Range<usize>> {
    let mut cuts: Vec<_> = (0..random.below(13)).map(|_| random.below(length)).collect();
    cuts.extend((0..length).step_by(900));
    cuts.push(length);
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    for pair in cuts.windows(2) {
        let reach = [0, 0, 30][random.below(3)];
        let from = pair[0].saturating_sub(random.below(reach + 1));
        let to = (pair[1] + random.below(reach + 1)).min(length);
        pieces.push(from..to);
        if random.below(12) == 0 && to - from < 300 {
            pieces.push(from..to);
        }
    }
    match random.below(3) {
        0 => {}
        1 => {
            for at in 1..pieces.len() {
                pieces.swap(at, at - random.below(2));
            }
        }
        _ => {
            for at in 1..pieces.len() {
                pieces.swap(at, random.below(at + 1));
            }
        }
    }
    pieces
}

/// The pieces of each packet: as many as fit, or fewer.
fn in_packets(random: &mut Random, pieces: Vec<Range<usize>>) -> Vec<Vec<Range<usize>>> {
    /// Bytes of other frames before a piece, and of a CRYPTO frame's header.
    const BEFORE: usize = 40 + 9;
    let mut packets = vec![Vec::new()];
    let mut bytes = 0;
    let mut early = random.below(4);
    for piece in pieces {
        let added = piece.len() + BEFORE;
        let ends_early = early > 0 && random.below(6) == 0;
        if bytes + added > PAYLOAD_MAX || ends_early {
            early -= usize::from(ends_early);
            packets.push(Vec::new());
            bytes = 0;
        }
        bytes += added;
        packets.last_mut().expect("a packet").push(piece);
    }
    packets
}

fn random_frames(random: &mut Random, hello: &[u8], pieces: &[Range<usize>]) -> Vec<Content> {
    let mut frames = Vec::new();
    for piece in pieces {
        match random.below(6) {
            0 => frames.push(Content::Ping),
            1 => frames.push(Content::Padding(1 + random.below(39))),
            2 => frames.push(Content::Ack(random.below(3000) as u32)),
            // With counts of ECN (RFC 9000 section 19.3.2).
            3 => frames.push(Content::Raw([&[3][..], &varint(900), &[7, 0, 0, 1, 2, 3]].concat())),
            _ => {}
        }
        frames.push(Content::piece(hello, piece.start, piece.end));
    }
    if random.below(3) == 0 {
        frames.push(Content::Ping);
    }
    // A sample must fit, whatever the packet has.
    frames.push(Content::Padding(3));
    frames
}

/// How all Initials of a connection are made.
fn random_connection(random: &mut Random) -> Initial {
    let bytes = |random: &mut Random, most: usize| {
        let length = random.below(most + 1);
        (0..length).map(|_| random.next() as u8).collect::<Vec<_>>()
    };
    let number_bytes = 1 + random.below(4);
    // What the first packet's bytes can say (RFC 9000 appendix A.3).
    let numbers = [200, 60_000, 1 << 23, 1 << 30][number_bytes - 1];
    Initial {
        version: Version::ALL[random.below(3)],
        destination: bytes(random, 20),
        source: bytes(random, 20),
        token: if random.below(3) == 0 { bytes(random, 80) } else { Vec::new() },
        number: if random.below(2) == 0 { 0 } else { random.below(numbers) as u32 },
        number_bytes,
        length_bytes: [2, 4, 8][random.below(3)],
        ..Initial::of(Vec::new())
    }
}

/// Packets in datagrams, some with two or with packets of other kinds; some datagrams come twice, some late.
fn in_datagrams(random: &mut Random, packets: Vec<(Initial, Vec<Range<usize>>)>) -> Vec<Datagram> {
    let mut datagrams: Vec<Datagram> = Vec::new();
    for (initial, pieces) in packets {
        let packet = initial.packet();
        if let Some(last) = datagrams.last_mut()
            && last.payload.len() + packet.len() <= DATAGRAM_MAX
            && random.below(2) == 0
        {
            last.payload.extend(packet);
            last.pieces.extend(pieces);
            continue;
        }
        let kind = [Kind::ZeroRtt, Kind::Handshake][random.below(2)];
        let beside = other(kind, initial.version, &initial.destination, 30 + random.below(60));
        let room = DATAGRAM_MIN - beside.len();
        let payload = match random.below(5) {
            0 => packet,
            1 => [packet, beside].concat(),
            2 => [beside, packet].concat(),
            3 => [initial.padded_to(room), beside].concat(),
            _ => initial.padded_to(DATAGRAM_MIN),
        };
        datagrams.push(Datagram { payload, pieces });
    }
    for datagram in &mut datagrams {
        // Zeroes behind the packets, as some clients have them.
        datagram.payload.resize(datagram.payload.len().max(DATAGRAM_MIN), 0);
        assert!(datagram.payload.len() <= DATAGRAM_MAX);
    }
    if random.below(3) == 0 {
        let at = random.below(datagrams.len());
        let Datagram { payload, pieces } = &datagrams[at];
        let again = Datagram { payload: payload.clone(), pieces: pieces.clone() };
        datagrams.insert(random.below(datagrams.len() + 1), again);
    }
    if random.below(3) == 0 {
        datagrams.reverse();
    }
    datagrams
}

#[test]
fn an_initial_whose_frames_are_a_byte_each_is_read() -> Result<()> {
    let mut bench = enforcing()?;
    let hello =
        message(&Hello { after: Vec::new(), session_id: 0, ciphers: 1, ..Hello::of(BLOCKED) });
    let packets: Vec<Vec<Content>> = (0..hello.len())
        .map(|at| Content::piece(&hello, at, at + 1))
        .collect::<Vec<_>>()
        .chunks(40)
        .map(<[Content]>::to_vec)
        .collect();
    let last = packets.len() - 1;
    for (number, frames) in packets.into_iter().enumerate() {
        let initial = Initial::of(frames).numbered(number as u32);
        let frame: Frame = from_device(false, &initial.datagram());
        assert_eq!(passes(&mut bench, &frame)?, number != last, "{number}");
    }
    Ok(())
}
