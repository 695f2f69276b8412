//! A client's connection, followed as a stage of a program does it.

use super::*;
use crate::abi::FlowKey;
use crate::cursor::WINDOW;
use crate::slot::{COVERAGE_STEPS_MAX, Comparison, Cover, Coverage, SLOT_BYTES, Slot};

/// What was done for a datagram, in steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steps {
    pub(super) keys: u32,
    pub(super) opening: u32,
    pub(super) frames: u32,
}

/// Why a connection's packets are not read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Unread(Unread),
    /// Two versions of a byte.
    Evasion,
    /// Out of the window.
    LeftOut,
}

/// What one pair of ports sends, as a stage of a program follows it: a slot for each connection.
#[derive(Default)]
pub(super) struct Client {
    pub(super) streams: Vec<Stream>,
    pub(super) steps: Steps,
}

pub(super) struct Stream {
    connection: Connection,
    pub(super) slot: Box<Slot>,
}

/// What the kernel does by `bpf_loop`.
fn looped(most: u32, mut step: impl FnMut() -> bool) -> u32 {
    for taken in 1..=most {
        if !step() {
            return taken;
        }
    }
    panic!("the steps suffice");
}

pub(super) fn keys_of(id: &ConnectionId, version: Version) -> (Keys, u32) {
    let mut schedule = KeySchedule::default();
    schedule.begin(id, version);
    let steps = looped(KEY_STEPS_MAX, || schedule.step());
    (schedule.keys, steps)
}

pub(super) fn open(
    header: &LongHeader,
    keys: &Keys,
    expected: u64,
    window: &mut Window,
) -> (Result<Opening, Unread>, u32) {
    let mut opening = Opening::new();
    opening.begin(header, expected);
    let mut end = Opened::More;
    let steps = looped(OPENING_STEPS_MAX, || {
        end = opening.step(keys, window);
        end == Opened::More
    });
    match end {
        Opened::Stop(reason) => (Err(reason), steps),
        Opened::Done | Opened::More => (Ok(opening), steps),
    }
}

fn pieces(from: u32, to: u32, window: &Window) -> (Result<Vec<Piece>, Unread>, u32) {
    let mut reader = FrameReader::default();
    reader.begin(from, to);
    let mut found = Vec::new();
    let mut end = Ok(());
    let steps = looped(FRAME_STEPS_MAX, || match reader.step(window) {
        Frame::More => true,
        Frame::Crypto => {
            found.push(reader.piece);
            true
        }
        Frame::End => false,
        Frame::Stop(reason) => {
            end = Err(reason);
            false
        }
    });
    (end.map(|()| found), steps)
}

/// What the reader came to at last: pieces behind the hello say nothing.
fn last(before: Step, now: Step) -> Step {
    if now == Step::Pause { before } else { now }
}

fn cover(slot: &mut Slot, cover: Cover, from: u32, to: u32) -> u32 {
    let mut coverage = Coverage::default();
    coverage.begin(cover, from, to);
    looped(COVERAGE_STEPS_MAX + 1, || coverage.step(slot));
    coverage.at - from
}

impl Client {
    /// Takes a datagram, as a stage does.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Result<Step, Refused> {
        let mut end = Step::Pause;
        let mut packets = Datagram::default();
        packets.begin();
        let plain = Window::new(datagram);
        for _ in 0..DATAGRAM_STEPS_MAX {
            match packets.step(&plain).map_err(Refused::Unread)? {
                Packet::Initial => end = last(end, self.take_initial(&packets.header, &plain)?),
                Packet::Other => {}
                Packet::Retry | Packet::End => return Ok(end),
            }
        }
        panic!("a datagram takes a bounded number of steps");
    }

    /// With the keys of a connection that is known, or else with the packet's own: no tag tells which are right.
    fn take_initial(&mut self, header: &LongHeader, plain: &Window) -> Result<Step, Refused> {
        let version = header.version();
        let mut id = ConnectionId::default();
        id.take(header, plain);
        let is_own =
            |stream: &Stream| stream.connection.is_version(version) && stream.connection.id.is(&id);
        let own = self.streams.iter().position(is_own);
        let mut refused = Unread::WrongKeys;
        for index in own.map_or(0..self.streams.len(), |own| own..own + 1) {
            let connection = &self.streams[index].connection;
            let keys = if connection.is_version(version) {
                connection.keys
            } else {
                self.make_keys(&connection.id.clone(), version)
            };
            // What was forged may have moved on the number that is expected.
            for expected in [self.streams[index].connection.expected, 0] {
                match self.open(header, &keys, expected, plain) {
                    Ok(opened) => return self.streams[index].take(&opened),
                    Err(reason) => refused = reason,
                }
            }
        }
        if own.is_none() {
            let keys = self.make_keys(&id, version);
            match self.open(header, &keys, 0, plain) {
                Ok(opened) => {
                    let mut stream = Stream::new();
                    stream.connection.begin(&id, version, &keys);
                    self.streams.push(stream);
                    return self.streams.last_mut().unwrap().take(&opened);
                }
                Err(reason) => refused = reason,
            }
        }
        Err(Refused::Unread(refused))
    }

    fn make_keys(&mut self, id: &ConnectionId, version: Version) -> Keys {
        let (keys, steps) = keys_of(id, version);
        self.steps.keys += steps;
        keys
    }

    /// Opens a packet and walks all of it, before anything is taken of it.
    fn open(
        &mut self,
        header: &LongHeader,
        keys: &Keys,
        expected: u64,
        plain: &Window,
    ) -> Result<Walked, Unread> {
        let mut window = Box::new(*plain);
        let (opening, steps) = open(header, keys, expected, &mut window);
        self.steps.opening += steps;
        let opening = opening?;
        let (pieces, steps) = pieces(opening.payload_at, opening.payload_end, &window);
        self.steps.frames += steps;
        Ok(Walked { number: opening.number, pieces: pieces?, window })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.streams.iter().filter_map(Stream::name).collect()
    }
}

/// A packet in the plain.
struct Walked {
    number: u64,
    pieces: Vec<Piece>,
    window: Box<Window>,
}

impl Stream {
    fn new() -> Self {
        // SAFETY: integers and arrays of them only.
        let mut slot = unsafe { Box::<Slot>::new_zeroed().assume_init() };
        slot.begin(&FlowKey::default(), 0, 0);
        slot.reader.begin_message();
        Self { connection: Connection::default(), slot }
    }

    fn take(&mut self, walked: &Walked) -> Result<Step, Refused> {
        self.connection.opened(walked.number);
        for piece in &walked.pieces {
            self.take_piece(piece, &walked.window)?;
        }
        Ok(self.read())
    }

    fn take_piece(&mut self, piece: &Piece, window: &Window) -> Result<(), Refused> {
        let slot = &mut *self.slot;
        let place = piece.place(slot);
        if place == Place::TooOld || place == Place::TooFar {
            return Err(Refused::LeftOut);
        }
        let mut comparison: Comparison = piece.comparison(slot);
        looped(WINDOW as u32, || comparison.step(slot, window));
        if comparison.differs != 0 {
            return Err(Refused::Evasion);
        }
        if let Place::Keep(fresh) = place {
            let offset = piece.offset + fresh;
            let data = (piece.at + fresh) as usize..(piece.at + piece.length) as usize;
            for (at, byte) in (offset as usize..).zip(&window.bytes[data]) {
                slot.bytes[at % SLOT_BYTES] = *byte;
            }
            cover(slot, Cover::Wait, offset, piece.end());
            slot.ahead = slot.ahead.max(piece.end());
        }
        Ok(())
    }

    /// Reads what is in order.
    fn read(&mut self) -> Step {
        let slot = &mut *self.slot;
        while slot.has_waiting() && slot.done == 0 {
            let (from, most) = (slot.next, slot.run_end());
            let run = cover(slot, Cover::Measure, from, most);
            if run == 0 {
                break;
            }
            cover(slot, Cover::Forget, from, from + run);
            let at = from as usize % SLOT_BYTES;
            let window = Window::new(&slot.bytes[at..at + run as usize]);
            slot.next += run;
            slot.reader.resume(0);
            let end = slot.reader.read(&window);
            if end != Step::Pause {
                slot.done = 1;
                return end;
            }
        }
        Step::Pause
    }

    fn name(&self) -> Option<String> {
        let reader = &self.slot.reader;
        let name = &reader.name()[..reader.name_length() as usize];
        reader.is_named().then(|| String::from_utf8_lossy(name).into_owned())
    }
}
