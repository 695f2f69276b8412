//! A connection by script: what the device sends, and what it takes from what comes back.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::fragments::fragments;
use super::hello::has_server_hello;
use super::segment::{Packet, Segment};
use super::wire::Device;
use super::{SEGMENT_MAX, Script, Step};
use crate::frames::{Frame, Transport, flag};
use crate::lab::Family;

/// A SYN is sent so often.
const SYNS: usize = 8;
/// Between two of them; what is on the same machine answers within milliseconds.
const SYN_TURN: Duration = Duration::from_millis(500);
/// [`Step::Settle`] and [`Step::AwaitData`] wait no longer.
const SETTLE: Duration = Duration::from_millis(600);
/// [`Step::Await`] waits no longer.
const AWAIT: Duration = Duration::from_mins(1);
/// After so many frames the device listens for a moment: the queues of a virtual wire are short.
const BURST_FRAMES: usize = 16;
const BREATH: Duration = Duration::from_millis(1);

/// A flood comes from this port and those above it, and goes to one where the server's packet filter lets
/// nothing in: a server that keeps half-open connections would refuse others.
const FLOOD_PORT: u16 = 2_048;
pub const SILENT_PORT: u16 = 1;

const IPV4_CHECKSUM_AT: usize = 24;
const END_OF_OPTIONS: u8 = 0;
const FAST_OPEN: u8 = 34;

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// After the last step, and after each time the stream was sent again.
    pub answer: Duration,
    /// How often what the server has not acknowledged is sent again.
    pub retransmissions: usize,
}

/// What a device saw of its connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last handshake that was begun was completed.
    pub opened: bool,
    /// The server's hello came.
    pub answered: bool,
    /// A reset came, from whomever.
    pub reset: bool,
    /// Bytes of the device's stream that were acknowledged.
    pub acknowledged: usize,
    /// Everything the server sent.
    pub data: Vec<u8>,
}

/// Does what the script says, and waits for the answer.
pub fn converse(device: &Device<'_>, script: &Script, patience: Patience) -> Result<Seen> {
    let mut conversation = Conversation::new(device, script);
    for step in &script.steps {
        conversation.step(step)?;
        if !conversation.seen.opened {
            return Ok(conversation.seen);
        }
    }
    conversation.pump(patience.answer, |seen| seen.answered);
    for _ in 0..patience.retransmissions {
        if conversation.seen.answered {
            break;
        }
        conversation.repeat(&script.stream)?;
        conversation.pump(patience.answer, |seen| seen.answered);
    }
    conversation.abort()?;
    Ok(conversation.seen)
}

struct Conversation<'a> {
    device: &'a Device<'a>,
    family: Family,
    /// The server's port.
    to: u16,
    /// The device's port.
    port: u16,
    /// The sequence number of the stream's first byte.
    start: u32,
    /// How much of the stream has been sent.
    sent: usize,
    /// What the device expects next.
    next: u32,
    /// The server's last timestamp.
    echo: u32,
    /// The server's SYN, with its options, until the handshake is done.
    syn: Option<Received>,
    /// Frames since the device last listened.
    burst: usize,
    clock: Instant,
    /// What the server sends if it answers; empty for its TLS hello.
    answer: &'a [u8],
    seen: Seen,
}

/// A segment from the server.
#[derive(Clone)]
struct Received {
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    timestamp: Option<u32>,
    cookie: Vec<u8>,
    payload: Vec<u8>,
}

impl<'a> Conversation<'a> {
    fn new(device: &'a Device<'a>, script: &'a Script) -> Self {
        Self {
            device,
            family: script.family,
            to: script.port,
            answer: &script.answer,
            port: 0,
            start: 0,
            sent: 0,
            next: 0,
            echo: 0,
            syn: None,
            burst: 0,
            clock: Instant::now(),
            seen: Seen::default(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Open(syn) => self.open(fresh_port(), syn).map(drop),
            Step::OpenAgain(syn) => self.open(self.port, syn).map(drop),
            Step::OpenFast(payload) => self.open_fast(payload),
            Step::Send(segment) => self.send(segment),
            Step::Settle => {
                let sent = self.sent;
                self.pump(SETTLE, |seen| seen.acknowledged >= sent || seen.answered);
                Ok(())
            }
            Step::AwaitData => {
                let known = self.seen.data.len();
                self.pump(SETTLE, |seen| seen.data.len() > known);
                Ok(())
            }
            Step::Pause(time) => {
                self.pump(*time, |_| false);
                Ok(())
            }
            Step::Abort => self.abort(),
            Step::Flood(count) => self.flood(*count),
            Step::Tell(gate) => {
                gate.open();
                Ok(())
            }
            Step::Await(gate) => {
                let until = Instant::now() + AWAIT;
                while !gate.is_open() && Instant::now() < until {
                    self.pump(BREATH, |_| false);
                }
                Ok(())
            }
        }
    }

    /// A handshake; the cookie the server gave for the next.
    fn open(&mut self, port: u16, syn: &Segment) -> Result<Vec<u8>> {
        self.port = port;
        // A device's connections are far apart (RFC 6528).
        self.start = self.start.wrapping_add(u32::from(port).wrapping_mul(0x0193_0003));
        (self.sent, self.next, self.echo) = (0, 0, 0);
        (self.seen.acknowledged, self.seen.reset, self.seen.opened) = (0, false, false);
        let mut syn = syn.clone();
        for _ in 0..SYNS {
            self.syn = None;
            self.send(&syn)?;
            // Where a SYN with payload gets lost, a client takes the payload for the reason.
            syn.payload.clear();
            let until = Instant::now() + SYN_TURN;
            while self.syn.is_none() && self.hear(until) {}
            let Some(answer) = self.syn.take() else { continue };
            self.next = answer.sequence.wrapping_add(1);
            self.seen.opened = true;
            self.acknowledge()?;
            return Ok(answer.cookie);
        }
        Ok(Vec::new())
    }

    fn open_fast(&mut self, payload: &[u8]) -> Result<()> {
        let wish = [FAST_OPEN, 2, 1, 1];
        let cookie = self.open(fresh_port(), &Segment::syn().option(&wish))?;
        if !self.seen.opened {
            return Ok(());
        }
        if cookie.is_empty() {
            bail!("the server gave no cookie");
        }
        self.abort()?;
        let mut option = vec![FAST_OPEN, cookie.len() as u8 + 2];
        option.extend(cookie);
        option.resize(option.len().next_multiple_of(4), 1);
        let syn = Segment { payload: payload.to_vec(), ..Segment::syn().option(&option) };
        self.open(fresh_port(), &syn).map(drop)
    }

    fn flood(&mut self, count: u16) -> Result<()> {
        let connection = (self.to, self.port, self.next);
        for at in 0..count {
            (self.to, self.port, self.next) = (SILENT_PORT, FLOOD_PORT + at, 0);
            self.send(&Segment::syn())?;
        }
        (self.to, self.port, self.next) = connection;
        Ok(())
    }

    /// What the server has not acknowledged, once more.
    fn repeat(&mut self, stream: &[u8]) -> Result<()> {
        let from = self.seen.acknowledged.min(stream.len());
        for (at, part) in (from..).step_by(SEGMENT_MAX).zip(stream[from..].chunks(SEGMENT_MAX)) {
            self.send(&Segment::at(at, part))?;
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<()> {
        self.send(&Segment::at(self.seen.acknowledged, &[]).flags(flag::ACK))
    }

    fn abort(&mut self) -> Result<()> {
        self.send(&Segment::at(self.seen.acknowledged, &[]).flags(flag::RST | flag::ACK))
    }

    fn send(&mut self, segment: &Segment) -> Result<()> {
        let mut frame = self.frame(segment).bytes();
        match &segment.packet {
            Packet::Fragments(starts) => {
                for fragment in fragments(&frame, starts) {
                    self.device.send(&fragment)?;
                }
            }
            Packet::BadChecksum => {
                frame[IPV4_CHECKSUM_AT] ^= 1;
                self.device.send(&frame)?;
            }
            Packet::Plain | Packet::Options(_) | Packet::Extensions(..) => {
                self.device.send(&frame)?;
            }
        }
        let end = usize::try_from(segment.offset + segment.payload.len() as i64);
        self.sent = self.sent.max(end.unwrap_or(0));
        self.burst += 1;
        if self.burst >= BURST_FRAMES {
            self.burst = 0;
            self.pump(BREATH, |_| false);
        }
        Ok(())
    }

    fn frame(&self, segment: &Segment) -> Frame {
        let stamp = |error: i32| {
            let now = 0x4000_0000 + self.clock.elapsed().as_millis() as u32;
            [now.wrapping_add_signed(error).to_be_bytes(), self.echo.to_be_bytes()].concat()
        };
        let mut options = Vec::new();
        if segment.flags & flag::SYN != 0 && segment.offset < 0 {
            let largest = SEGMENT_MAX as u16 + 32;
            options.extend([2, 4]);
            options.extend(largest.to_be_bytes());
            options.extend([4, 2, 3, 3, 7, 1, 1, 1]);
        }
        if let Some(error) = segment.timestamp_error {
            options.extend([1, 1, 8, 10]);
            options.extend(stamp(error));
        }
        options.extend(&segment.options);
        let (ip_options, extensions) = match &segment.packet {
            Packet::Options(options) => (options.clone(), None),
            Packet::Extensions(first, chain) => (Vec::new(), Some((*first, chain.clone()))),
            Packet::Plain | Packet::BadChecksum | Packet::Fragments(_) => (Vec::new(), None),
        };
        Frame {
            source: self.device.address(self.family),
            destination: self.family.server(),
            source_port: self.port,
            destination_port: self.to,
            transport: Transport::Tcp {
                flags: segment.flags,
                sequence: self.start.wrapping_add(segment.offset as u32),
                acknowledgement: self.next.wrapping_add(segment.acknowledgement_error as u32),
            },
            payload: segment.payload.clone(),
            tcp_options: options,
            options: ip_options,
            extensions,
            hop_limit: segment.hop_limit,
            header: segment.header,
            ..Frame::from_device(self.family == Family::V6, &[])
        }
    }

    /// Listens for so long, or until `enough`.
    fn pump(&mut self, time: Duration, enough: impl Fn(&Seen) -> bool) {
        let until = Instant::now() + time;
        while !enough(&self.seen) && self.hear(until) {}
    }

    /// Takes the next frame in; false if none came until then.
    fn hear(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let Some(frame) = self.device.receive(left) else { return false };
        if let Some(received) = read(&frame, self.family.server(), (self.to, self.port)) {
            // An acknowledgement that cannot be sent is like one that was lost.
            drop(self.take(&received));
        }
        true
    }

    fn take(&mut self, received: &Received) -> Result<()> {
        if received.flags & flag::RST != 0 {
            self.seen.reset = true;
            return Ok(());
        }
        if received.flags & flag::ACK != 0 {
            let acknowledged = received.acknowledgement.wrapping_sub(self.start) as usize;
            if acknowledged <= self.sent {
                self.seen.acknowledged = self.seen.acknowledged.max(acknowledged);
            }
        }
        self.echo = received.timestamp.unwrap_or(self.echo);
        if received.flags & flag::SYN != 0 {
            // Once more, if the last acknowledgement was lost.
            if received.sequence.wrapping_add(1) == self.next {
                return self.acknowledge();
            }
            self.syn = Some(received.clone());
            return Ok(());
        }
        let length = received.payload.len() + usize::from(received.flags & flag::FIN != 0);
        if length == 0 {
            return Ok(());
        }
        if received.sequence == self.next {
            self.next = self.next.wrapping_add(length as u32);
            self.seen.data.extend(&received.payload);
            let data = &self.seen.data;
            self.seen.answered = if self.answer.is_empty() {
                has_server_hello(data)
            } else {
                data.windows(self.answer.len()).any(|part| part == self.answer)
            };
        }
        self.acknowledge()
    }
}

/// Reads a TCP segment of one connection; `ports` are the server's and the device's.
fn read(frame: &[u8], server: IpAddr, ports: (u16, u16)) -> Option<Received> {
    let (source, start, end) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let length = u16::from_be_bytes(frame.get(16..18)?.try_into().ok()?);
            let source: [u8; 4] = frame.get(26..30)?.try_into().ok()?;
            (IpAddr::from(source), 14 + usize::from(frame[14] & 15) * 4, 14 + usize::from(length))
        }
        [0x86, 0xdd] => {
            let length = u16::from_be_bytes(frame.get(18..20)?.try_into().ok()?);
            let source: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
            (IpAddr::from(source), 54, 54 + usize::from(length))
        }
        _ => return None,
    };
    let protocol = if source.is_ipv4() { frame[23] } else { frame[20] };
    let segment = frame.get(start..end)?;
    let short = |at| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
    let long = |at| Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?));
    if protocol != 6 || source != server || (short(0)?, short(2)?) != ports {
        return None;
    }
    let header = usize::from(*segment.get(12)? >> 4) * 4;
    let options = options(segment.get(20..header)?);
    let option = |wanted| options.iter().find(|(kind, _)| *kind == wanted).map(|(_, data)| *data);
    let timestamp = option(8).and_then(|data| data.first_chunk()).copied();
    Some(Received {
        flags: segment[13],
        sequence: long(4)?,
        acknowledgement: long(8)?,
        timestamp: timestamp.map(u32::from_be_bytes),
        cookie: option(FAST_OPEN).unwrap_or_default().to_vec(),
        payload: segment.get(header..)?.to_vec(),
    })
}

/// TCP options by kind, as far as they can be read.
fn options(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        if kind == END_OF_OPTIONS {
            break;
        }
        if kind == 1 {
            bytes = rest;
            continue;
        }
        let length = rest.first().map_or(0, |&length| usize::from(length));
        let Some(data) = bytes.get(2..length) else { break };
        found.push((kind, data));
        bytes = &bytes[length..];
    }
    found
}

/// Never the same twice in a run of tests, so that no server remembers one.
fn fresh_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 40_000
}
