//! Datagrams changed at random, through every reader: each ends within its bound, and none reads behind the
//! datagram.
//!
//! What lies in a window behind its length is left over from other packets. So each datagram is read twice, with
//! other bytes behind it, and both must come to the same.

use sensor_lab::quic::{Content, Initial, Kind, Version as Sent, message, other, short, varint_of};

use super::*;
use crate::abi::FlowKey;
use crate::cursor::WINDOW;
use crate::slot::{COVERAGE_STEPS_MAX, Cover, Coverage, SLOT_BYTES, Slot};

/// Datagrams of a short run, and of one with nothing left out.
const ROUNDS: [u32; 2] = [20_000, 400_000];

/// All that the readers say of a datagram.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    packets: Vec<Result<Packet, Unread>>,
    headers: Vec<LongHeader>,
    keys: Vec<Keys>,
    openings: Vec<(Opened, u64, u32, u32)>,
    payloads: Vec<Vec<u8>>,
    frames: Vec<(Frame, Piece)>,
    /// What became of the pieces in one slot.
    places: Vec<(Place, u32)>,
    next: u32,
}

impl Reading {
    fn of(window: &Window) -> Self {
        let mut reading = Self::default();
        // SAFETY: integers and arrays of them only.
        let mut slot = unsafe { Box::<Slot>::new_zeroed().assume_init() };
        slot.begin(&FlowKey::default(), 0, 0);
        let mut packets = Datagram::default();
        packets.begin();
        loop {
            let packet = packets.step(window);
            reading.packets.push(packet);
            assert!(reading.packets.len() <= DATAGRAM_STEPS_MAX as usize);
            match packet {
                Ok(Packet::Initial) => reading.initial(&packets.header, window, &mut slot),
                Ok(Packet::Other | Packet::Retry) => {}
                Ok(Packet::End) | Err(_) => break,
            }
        }
        reading.next = slot.next;
        reading
    }

    fn initial(&mut self, header: &LongHeader, window: &Window, slot: &mut Slot) {
        for (at, length) in [
            (header.destination_at, header.destination_length),
            (header.source_at, header.source_length),
            (header.number_at, header.end - header.number_at),
        ] {
            assert!(at + length <= window.length, "{header:?} of {} bytes", window.length);
        }
        self.headers.push(*header);
        let keys = own_keys(header, window);
        self.keys.push(keys);
        let mut plain = Box::new(*window);
        let mut opening = Opening::new();
        opening.begin(header, 0);
        let opened = steps(OPENING_STEPS_MAX, || {
            let opened = opening.step(&keys, &mut plain);
            (opened != Opened::More).then_some(opened)
        });
        let Opening { number, payload_at, payload_end, .. } = opening;
        self.openings.push((opened, number, payload_at, payload_end));
        // All before the packet stays, and all behind it.
        let (before, behind) = (header.at as usize, header.end as usize..window.length as usize);
        assert_eq!(plain.bytes[..before], window.bytes[..before]);
        assert_eq!(plain.bytes[behind.clone()], window.bytes[behind]);
        if opened != Opened::Done {
            return;
        }
        assert!(header.number_at < payload_at && payload_at < payload_end);
        assert!(payload_end < header.end);
        self.payloads.push(plain.bytes[payload_at as usize..payload_end as usize].to_vec());
        self.frames(payload_at, payload_end, &plain, slot);
    }

    fn frames(&mut self, from: u32, to: u32, window: &Window, slot: &mut Slot) {
        let mut reader = FrameReader::default();
        reader.begin(from, to);
        let mut pieces = Vec::new();
        let end = steps(FRAME_STEPS_MAX, || match reader.step(window) {
            Frame::More => None,
            Frame::Crypto => {
                let piece = reader.piece;
                assert!(from < piece.at && piece.at + piece.length <= to, "{piece:?}");
                assert!(piece.offset <= crate::tls::STREAM_MAX);
                pieces.push(piece);
                None
            }
            end @ (Frame::End | Frame::Stop(_)) => Some(end),
        });
        assert_eq!(reader.pieces as usize, pieces.len());
        self.frames.extend(pieces.iter().map(|piece| (Frame::Crypto, *piece)));
        self.frames.push((end, Piece::default()));
        if end != Frame::End {
            return;
        }
        for piece in &pieces {
            self.keep(piece, window, slot);
        }
    }

    fn keep(&mut self, piece: &Piece, window: &Window, slot: &mut Slot) {
        let place = piece.place(slot);
        let mut differs = 0;
        if !matches!(place, Place::TooOld | Place::TooFar) {
            let mut comparison = piece.comparison(slot);
            if comparison.at < comparison.to {
                assert!(comparison.window_at >= piece.at);
                let compared = comparison.to - comparison.at;
                assert!(comparison.window_at + compared <= piece.at + piece.length);
            }
            steps(WINDOW as u32, || (!comparison.step(slot, window)).then_some(()));
            differs = comparison.differs;
        }
        self.places.push((place, differs));
        if let Place::Keep(fresh) = place
            && differs == 0
        {
            assert!(fresh < piece.length);
            let data = (piece.at + fresh) as usize..(piece.at + piece.length) as usize;
            for (at, byte) in (piece.offset as usize + fresh as usize..).zip(&window.bytes[data]) {
                slot.bytes[at % SLOT_BYTES] = *byte;
            }
            let mut coverage = Coverage::default();
            coverage.begin(Cover::Wait, piece.offset + fresh, piece.end());
            steps(COVERAGE_STEPS_MAX + 1, || (!coverage.step(slot)).then_some(()));
            slot.ahead = slot.ahead.max(piece.end());
        }
    }
}

/// Steps until there is an outcome, which must be in so many.
fn steps<T>(most: u32, mut step: impl FnMut() -> Option<T>) -> T {
    (0..most).find_map(|_| step()).expect("the steps suffice")
}

/// Datagrams as clients send them, and what else begins with a long header.
fn seeds(random: &mut impl FnMut(usize) -> usize) -> Vec<Vec<u8>> {
    let hello =
        message(&Hello { before: vec![(51, 1263)], ..Hello::with_name_last("seed.example") });
    let mut seeds = [CLIENT_INITIAL_V1, CLIENT_INITIAL_V2, RETRY].map(bytes).to_vec();
    for version in Sent::ALL {
        let id: Vec<u8> = (0..random(21)).map(|_| random(256) as u8).collect();
        let frames = vec![
            Content::Ping,
            Content::piece(&hello, 900, 1400),
            Content::Ack(77),
            Content::Raw([&[3][..], &varint_of(900, 4), &[9, 1, 5, 2, 1, 1, 2, 3]].concat()),
            Content::piece(&hello, 0, 300),
            Content::Padding(20),
            Content::piece(&hello, 250, 400),
        ];
        let initial = Initial { version, token: vec![5; random(70)], ..Initial::of(frames) };
        let initial = initial.to_connection(&id);
        let close = Initial { frames: vec![Content::Close], ..initial.clone() }.numbered(1);
        let beside = other(Kind::Handshake, version, &id, 60);
        seeds.push(initial.datagram());
        seeds.push([close.packet(), beside, initial.packet(), short(&id, 40)].concat());
    }
    seeds
}

/// Changes a datagram by bits, bytes, a cut, or lengths that lie.
fn mutate(datagram: &mut Vec<u8>, random: &mut impl FnMut(usize) -> usize) {
    for _ in 0..=random(4) {
        if datagram.is_empty() {
            return;
        }
        let header = datagram.len().min(40);
        match random(6) {
            0 => {
                let at = random(header);
                datagram[at] ^= 1 << random(8);
            }
            1 => {
                let at = random(datagram.len());
                datagram[at] ^= 1 << random(8);
            }
            2 => datagram.truncate(random(datagram.len())),
            // A variable-length integer at its bounds, over what was there.
            3 => {
                let bytes = 1 << random(4);
                let most = (1_u64 << (8 * bytes - 2)) - 1;
                let value = [0, 1, 19, 20, 0x3f, 1000, 1200, 4096, most][random(9)].min(most);
                let at = random(header);
                let integer = varint_of(value, bytes);
                let room = bytes.min(datagram.len() - at);
                datagram[at..at + room].copy_from_slice(&integer[..room]);
            }
            4 => {
                let at = random(datagram.len());
                datagram.remove(at);
            }
            _ => {
                let (at, more) = (random(header), random(3000));
                datagram.splice(at..at, vec![random(256) as u8; more]);
            }
        }
    }
}

/// A payload of frames that look alike and end anywhere, protected as it should be.
fn noise_of_frames(random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    const KINDS: [u8; 16] = [0, 0, 1, 2, 3, 6, 6, 6, 0x1c, 0x40, 0x80, 0xc0, 0xff, 4, 32, 0x46];
    let payload = (0..4 + random(1200)).map(|_| KINDS[random(KINDS.len())]).collect();
    let version = Sent::ALL[random(3)];
    let initial = Initial { version, number_bytes: 1 + random(4), ..Initial::of(Vec::new()) };
    Initial { frames: vec![Content::Raw(payload)], ..initial }.packet()
}

#[test]
fn changed_datagrams_end_and_are_read_to_their_end_alone() {
    let full = std::env::var_os(sensor_lab::FULL_VARIABLE).is_some();
    let mut random = random(0x00c0_ffee);
    let seeds = seeds(&mut random);
    let mut found = std::collections::BTreeMap::<_, u32>::new();
    for round in 0..ROUNDS[usize::from(full)] {
        let mut datagram = seeds[random(seeds.len())].clone();
        match random(8) {
            0 => datagram = noise_of_frames(&mut random),
            1 => datagram = (0..random(1500)).map(|_| random(256) as u8 | 0x80).collect(),
            _ => mutate(&mut datagram, &mut random),
        }
        let clean = Box::new(Window::new(&datagram));
        let mut left_over = clean.clone();
        left_over.bytes[datagram.len().min(WINDOW)..].fill(random(256) as u8 | 1);
        let reading = Reading::of(&clean);
        assert_eq!(reading, Reading::of(&left_over), "round {round}: {datagram:02x?}");
        let end = reading.packets.last().map(|end| format!("{end:?}")).unwrap_or_default();
        let frames = reading.frames.last().map(|(end, _)| format!("{end:?}")).unwrap_or_default();
        *found.entry((end, frames)).or_default() += 1;
    }
    // All that can become of a datagram did.
    for end in ["Ok(End)", "NotQuic", "Negotiation", "UnknownVersion", "Truncated", "Malformed"] {
        assert!(found.keys().any(|(packets, _)| packets.contains(end)), "{end}: {found:?}");
    }
    for end in ["End", "Stop(Malformed)", "Stop(Oversize)"] {
        assert!(found.keys().any(|(_, frames)| frames == end), "{end}: {found:?}");
    }
}

#[test]
fn initials_of_another_library_are_read() {
    let hello = hello("other.example");
    for version in Sent::ALL {
        for length in [0, 1, 8, 20] {
            for number_bytes in 1..=4 {
                let half = |from, to| Initial {
                    version,
                    number_bytes,
                    ..Initial::of(vec![Content::piece(&hello, from, to)])
                };
                let id = vec![0xb5; length];
                let [first, second] = [half(0, 800), half(800, hello.len()).numbered(1)]
                    .map(|initial| initial.to_connection(&id).datagram());
                let mut client = Client::default();
                assert_eq!(client.take(&second), Ok(Step::Pause));
                assert_eq!(client.take(&first), Ok(Step::Found));
                assert_eq!(client.names(), ["other.example"]);
            }
        }
    }
}
