//! A TCP client that sends what a script says, and nothing of its own but acknowledgements.
//!
//! - [`wire`]: whole frames on the client's interface; devices that no kernel answers for.
//! - [`segment`], [`fragments`]: what one step sends, right in everything the script does not set.
//! - [`hello`]: hellos that real servers answer.
//! - [`conversation`]: the handshake, the steps, and what came back.

pub mod conversation;
pub mod fragments;
pub mod hello;
pub mod segment;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lab::Family;
use segment::{Packet, Segment};

/// Payload of a segment on an Ethernet wire over either family, with room for options.
pub const SEGMENT_MAX: usize = 1_400;

/// What a device does on its wire.
#[derive(Clone, Debug)]
pub struct Script {
    pub family: Family,
    /// The server's port.
    pub port: u16,
    /// What the server is meant to read: sent again, in order, where a server has not acknowledged it.
    pub stream: Vec<u8>,
    pub steps: Vec<Step>,
    /// What the server sends if it answers; empty for its TLS hello.
    pub answer: Vec<u8>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A handshake that begins with this SYN, from a port and sequence number of its own.
    Open(Segment),
    /// The same from the port of the last one.
    OpenAgain(Segment),
    /// A handshake whose SYN has these bytes, after another that fetched the cookie for it (RFC 7413).
    OpenFast(Vec<u8>),
    Send(Segment),
    /// Until the server has acknowledged everything, or has had long enough.
    Settle,
    /// Until the server has sent something, or has had long enough.
    AwaitData,
    Pause(Duration),
    /// The device gives the connection up: a reset.
    Abort,
    /// So many SYNs from other ports, which are never completed.
    Flood(u16),
    /// Lets others know that the device has come so far.
    Tell(Gate),
    /// Until others let it go on, or have had long enough.
    Await(Gate),
}

/// Opened once, for all who wait at it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Script {
    /// Opens a connection to port 443; `stream` is what the server is meant to read.
    pub fn of(stream: &[u8]) -> Self {
        Self { steps: vec![Step::Open(Segment::syn())], ..Self::unopened(stream) }
    }

    /// The same without the handshake.
    pub fn unopened(stream: &[u8]) -> Self {
        Self {
            family: Family::V4,
            port: 443,
            stream: stream.to_vec(),
            steps: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// What the server sends if it answers; by default a TLS hello of its own.
    #[must_use]
    pub fn expecting(self, answer: &[u8]) -> Self {
        Self { answer: answer.to_vec(), ..self }
    }

    #[must_use]
    pub fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    #[must_use]
    pub fn to(self, port: u16) -> Self {
        Self { port, ..self }
    }

    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    #[must_use]
    pub fn send(mut self, segments: impl IntoIterator<Item = Segment>) -> Self {
        self.steps.extend(segments.into_iter().map(Step::Send));
        self
    }

    /// The same, with each segment changed.
    #[must_use]
    pub fn each(mut self, change: impl Fn(Segment) -> Segment) -> Self {
        for step in &mut self.steps {
            if let Step::Send(segment) = step {
                *segment = change(segment.clone());
            }
        }
        self
    }
}

/// Bytes from an offset of the stream on, in segments as long as an Ethernet wire carries.
pub fn whole(offset: usize, bytes: &[u8]) -> Vec<Segment> {
    let starts = (0..bytes.len()).step_by(SEGMENT_MAX);
    starts.zip(bytes.chunks(SEGMENT_MAX)).map(|(at, part)| Segment::at(offset + at, part)).collect()
}

/// The bytes of a stream, cut before each of these, in order.
pub fn cut(bytes: &[u8], before: &[usize]) -> Vec<Segment> {
    let starts = [&[0], before].concat();
    let ends = before.iter().copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(&start, end)| Segment::at(start, &bytes[start..end])).collect()
}

/// The bytes of a stream in pieces of `size`.
pub fn pieces(bytes: &[u8], size: usize) -> Vec<Segment> {
    let before: Vec<_> = (size..bytes.len()).step_by(size).collect();
    cut(bytes, &before)
}

/// Segments that lie in one kind of packet.
pub fn packed(segments: Vec<Segment>, packet: &Packet) -> Vec<Segment> {
    segments.into_iter().map(|segment| segment.packet(packet.clone())).collect()
}
