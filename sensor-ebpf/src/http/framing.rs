//! How a connection's requests are framed, as its flow keeps it: between segments a body is a range of
//! sequence numbers, so that what lies in it passes without being looked at, in whatever order it comes.

use super::{RequestReader, State, fact};
use crate::abi::Flow;
use crate::normalise::is_before;
use crate::parse::Packet;

/// Not known to be HTTP.
pub const NONE: u8 = 0;
/// Where requests start is not known: they are looked for at the starts of segments.
pub const LOST: u8 = State::Lost as u8 + 1;
/// A request comes next.
pub const START: u8 = State::Start as u8 + 1;
/// A body up to [`Flow::body_end`].
pub const BODY: u8 = State::Body as u8 + 1;
const CHUNK_SIZE: u8 = State::ChunkSize as u8 + 1;
const CHUNK_EXTENSION: u8 = State::ChunkExtension as u8 + 1;
const CHUNK_END: u8 = State::ChunkEnd as u8 + 1;
const TRAILER_START: u8 = State::TrailerStart as u8 + 1;
const TRAILER_LINE: u8 = State::TrailerLine as u8 + 1;
/// The data of a chunk up to [`Flow::body_end`].
pub const CHUNK_DATA: u8 = State::ChunkData as u8 + 1;
/// What follows a CONNECT comes next.
pub const TUNNEL: u8 = State::Tunnel as u8 + 1;
/// The slot has what is needed: the reader is inside of a head, or bytes wait in front of others.
pub const KEPT: u8 = State::Method as u8 + 1;

/// Bytes of a body that are kept as one range: sequence numbers tell which of two is the earlier one up to
/// 2 GiB apart (RFC 9293 section 3.4).
pub const BODY_LAP: u64 = 1 << LAP_BITS;

const LAP_BITS: u32 = 30;

/// [`Flow::body_laps`] of a body of 255 GiB or more. Requests behind it are not looked for.
const ENDLESS: u8 = u8::MAX;

impl RequestReader {
    /// Goes on with what a flow keeps.
    #[inline(always)]
    pub const fn restore(&mut self, framing: u8, left: u64) {
        self.begin();
        self.left = left;
        self.state = match framing {
            LOST => State::Lost,
            BODY => State::Body,
            CHUNK_SIZE => State::ChunkSize,
            CHUNK_EXTENSION => State::ChunkExtension,
            CHUNK_DATA => State::ChunkData,
            CHUNK_END => State::ChunkEnd,
            TRAILER_START => State::TrailerStart,
            TRAILER_LINE => State::TrailerLine,
            TUNNEL => State::Tunnel,
            _ => State::Start,
        };
        if framing == TUNNEL {
            self.facts = fact::TUNNEL;
        }
    }

    /// What a flow keeps of this reader.
    #[inline(always)]
    pub const fn framing(&self) -> u8 {
        if self.state.is_head() { KEPT } else { self.state as u8 + 1 }
    }

    /// True where so many bytes that come next lie in a body.
    #[inline(always)]
    pub const fn passes_over(&self, count: u32) -> bool {
        matches!(self.state, State::Body | State::ChunkData) && self.left >= count as u64
    }

    /// True where what was read last is a CONNECT: what follows need not be HTTP.
    #[inline(always)]
    pub const fn is_tunnel(&self) -> bool {
        self.facts & fact::TUNNEL != 0
    }

    /// Reads what comes without a start, as the middle of a head: fields that begin in it are found.
    #[inline(always)]
    pub const fn begin_within_head(&mut self) {
        self.begin();
        self.state = State::FieldValue;
    }
}

impl Flow {
    /// True where a segment carries nothing but a piece of a body.
    #[inline(always)]
    pub const fn is_in_body(&self, packet: &Packet) -> bool {
        let last = packet.sequence.wrapping_add(packet.payload_length);
        self.has_body() && self.is_behind_body_start(packet.sequence) && !self.ends_body(last)
    }

    /// True while a body or chunk goes on.
    #[inline(always)]
    pub const fn has_body(&self) -> bool {
        self.framing == BODY || self.framing == CHUNK_DATA
    }

    /// True where this byte lies in the body or behind it.
    #[inline(always)]
    pub const fn is_behind_body_start(&self, sequence: u32) -> bool {
        !is_before(sequence, self.body_from)
    }

    /// True where a segment that ends here goes on behind the body.
    #[inline(always)]
    pub const fn ends_body(&self, last: u32) -> bool {
        is_before(self.body_end, last)
    }

    /// True where this byte lies in the last head, or where none was read yet.
    #[inline(always)]
    pub const fn is_in_head(&self, sequence: u32) -> bool {
        self.framing == NONE
            || !is_before(sequence, self.head_from) && is_before(sequence, self.head_end)
    }

    /// Moves a long body on by a lap. `false`: it has no other.
    #[inline(always)]
    pub const fn next_lap(&mut self) -> bool {
        if self.body_laps == 0 {
            return false;
        }
        if self.body_laps < ENDLESS {
            self.body_laps -= 1;
        }
        self.body_from = self.body_end;
        self.body_end = self.body_end.wrapping_add(BODY_LAP as u32);
        true
    }

    /// Has the reader go on where it stopped; behind a body, where the body ends.
    #[inline(always)]
    pub const fn restore_framing(&self, reader: &mut RequestReader) {
        if self.has_body() {
            reader.restore(self.framing, 0);
            reader.end_body();
        } else {
            reader.restore(self.framing, self.body_end as u64);
        }
        reader.head_from = self.head_from;
        reader.head_end = self.head_end;
    }

    /// Keeps where the reader has come to: to the byte before `next`.
    #[inline(always)]
    pub const fn keep_framing(&mut self, reader: &RequestReader, next: u32) {
        self.framing = reader.framing();
        self.head_from = reader.head_from;
        self.head_end = reader.head_end;
        self.body_from = next;
        if self.has_body() {
            let laps = reader.left >> LAP_BITS;
            self.body_laps = if laps < ENDLESS as u64 { laps as u8 } else { ENDLESS };
            self.body_end = next.wrapping_add((reader.left & (BODY_LAP - 1)) as u32);
        } else {
            self.body_end = reader.left as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::{WINDOW, Window};
    use crate::step::Step;

    /// Reads `stream` in pieces of so many bytes, with nothing but a flow between two of them, and gives
    /// how many names it told.
    fn names_in_pieces(stream: &[u8], size: usize) -> usize {
        let mut flow = Flow::default();
        let mut reader = RequestReader::default();
        let mut names = 0;
        for (at, piece) in (0..).step_by(size).zip(stream.chunks(size)) {
            let last = at + piece.len() as u32;
            let mut skipped = 0;
            if flow.framing != KEPT {
                if flow.has_body() && !flow.ends_body(last) {
                    continue;
                }
                if flow.has_body() {
                    skipped = flow.body_end - at;
                }
                flow.restore_framing(&mut reader);
            }
            for window in piece[skipped as usize..].chunks(WINDOW) {
                let window = Window::new(window);
                reader.resume(0, at + skipped);
                loop {
                    match reader.read(&window) {
                        Step::Found => names += 1,
                        Step::Pause => break,
                        end => panic!("{end:?} in pieces of {size}"),
                    }
                }
            }
            flow.keep_framing(&reader, last);
        }
        names
    }

    #[test]
    fn a_flow_is_all_it_takes_between_two_pieces() {
        let fake = "GET / HTTP/1.1\r\nHost: fake\r\n\r\n";
        let length = fake.len();
        let stream = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{fake}\
             POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n\
             0{length:x};x=y\r\n{fake}\r\n5\r\nGET /\r\n0\r\nT: u\r\n\r\nGET / HTTP/1.1\r\nHost: c\r\n\r\n"
        );
        for size in 1..=stream.len() {
            assert_eq!(names_in_pieces(stream.as_bytes(), size), 3, "pieces of {size}");
        }
    }

    #[test]
    fn a_body_longer_than_a_lap_goes_on() {
        let mut flow = Flow::default();
        let mut reader = RequestReader::default();
        let left = 3 * BODY_LAP + 5;
        reader.restore(BODY, left);
        flow.keep_framing(&reader, u32::MAX);
        let mut laps = 0;
        while flow.next_lap() {
            laps += 1;
        }
        assert_eq!(laps, 3);
        assert_eq!(flow.body_end, u32::MAX.wrapping_add(left as u32));
        reader.restore(BODY, u64::MAX);
        flow.keep_framing(&reader, 0);
        assert!((0..1000).all(|_| flow.next_lap()));
    }

    #[test]
    fn only_what_lies_in_a_body_is_in_it() {
        let mut flow = Flow::default();
        let mut reader = RequestReader::default();
        reader.restore(BODY, 100);
        flow.keep_framing(&reader, u32::MAX - 9);
        let check = |sequence: u32, payload_length, expected| {
            assert_eq!(flow.is_in_body(&packet(sequence, payload_length)), expected, "{sequence}");
        };
        check(u32::MAX - 9, 100, true);
        check(u32::MAX - 9, 101, false);
        check(u32::MAX - 10, 5, false);
        check(5, 85, true);
        check(90, 1, false);
        flow.framing = START;
        assert!(!flow.is_in_body(&packet(5, 5)));
    }

    fn packet(sequence: u32, payload_length: u32) -> Packet {
        Packet {
            source: crate::abi::Address::default(),
            destination: crate::abi::Address::default(),
            source_port: 1,
            destination_port: 2,
            protocol: crate::parse::TCP,
            tcp_flags: crate::parse::ACK,
            ip_version: 4,
            hop_limit: 64,
            link: crate::parse::Link::Plain as u8,
            network: 14,
            transport: 34,
            payload: 54,
            payload_length,
            sequence,
            acknowledgement: 0,
        }
    }
}
