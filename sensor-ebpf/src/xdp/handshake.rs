//! From a client's segment to a name, where the hello or head starts in this segment. What goes on in
//! others is kept in a slot, and [`assemble`] reads those.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Anomaly, Flow, Happening, NoName};
use sensor_ebpf::flow::{EXAMINED_MAX, EXAMINED_UNIT, Phase, mark, peer_mark};
use sensor_ebpf::http::framing;
use sensor_ebpf::parse::SYN;
use sensor_ebpf::probe::{PROBE_BYTES, Probe};
use sensor_ebpf::slot::SLOT_BYTES;
use sensor_ebpf::tls::HelloReader;

use crate::account::Row;
use crate::assemble::Start;
use crate::hello::{self, Outcome};
use crate::maps::{self, Examination, NO_REQUEST, STAGES, sight, stage};
use crate::normalise::leave_out;
use crate::{assemble, flows, lock, payload};

/// What becomes of the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on, and gave no name.
    Pass,
    /// A name is in the event, or the reason for none that policy decides about.
    Judge,
    /// It is one that should not go on.
    Leave(Anomaly),
    /// It is for the other one of the two stages that read hellos: a slot has come or gone.
    Other,
    /// It is for the stage that reads requests.
    Request,
    /// It belongs to a blocked flow, and is dropped.
    Drop,
}

/// Where a segment lies in a client's stream: offsets from the first byte under examination.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Sequence number of the first byte under examination; the server's acknowledgements move it on
    /// meanwhile.
    pub(crate) from: u32,
    /// Bytes at the start of the payload that the server has acknowledged.
    pub(crate) old: u32,
    /// Offset of the first byte behind them.
    pub(crate) begin: u32,
    /// Offset after the last byte.
    pub(crate) end: u32,
    /// Offset after the last byte examined in order.
    pub(crate) examined: u32,
}

impl Place {
    /// Where the segment lies, or what becomes of one that brings nothing to examine.
    #[inline(always)]
    pub(crate) fn of(examination: &Examination, flow: &Flow) -> Result<Self, Fate> {
        // SAFETY: a live map value; once, because the other direction's hook writes it.
        let from = unsafe { core::ptr::read_volatile(&raw const flow.examined_from) };
        let begin = first_byte(examination).wrapping_sub(from).cast_signed();
        let end = begin.wrapping_add(examination.packet.payload_length.cast_signed());
        if !(-BEHIND_MAX..=BEHIND_MAX).contains(&begin) {
            return Err(Fate::Leave(Anomaly::OutOfWindow));
        }
        if end <= 0 {
            return Err(Fate::Pass);
        }
        let ahead = flow.examined_to.wrapping_sub(from).cast_signed();
        Ok(Self {
            from,
            old: if begin < 0 { begin.unsigned_abs() } else { 0 },
            begin: if begin < 0 { 0 } else { begin.cast_unsigned() },
            end: end.cast_unsigned(),
            examined: if ahead < 0 { 0 } else { ahead.cast_unsigned() },
        })
    }
}

/// How far behind what is examined a segment may lie: bytes before a hello are few.
const BEHIND_MAX: i32 = 1 << 16;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some((examination, reader)) = maps::scratch() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    begin(examination);
    let fate = match followed(examination) {
        Some(flow) => {
            if lock::take(&mut flow.lock) {
                let fate = in_stream(ctx, examination, reader, flow, row);
                lock::give_up(&mut flow.lock);
                fate
            } else {
                Fate::Leave(Anomaly::SlotBusy)
            }
        }
        None => alone(ctx, examination, reader, row),
    };
    carry_out::<{ stage::ASSEMBLE }>(ctx, examination, fate, row)
}

/// Does what came of a segment; `OTHER` is the stage for [`Fate::Other`].
#[inline(always)]
pub(crate) fn carry_out<const OTHER: u32>(
    ctx: &XdpContext,
    examination: &Examination,
    fate: Fate,
    row: Row,
) -> u32 {
    match fate {
        Fate::Leave(anomaly) if leave_out(examination, anomaly, row) => return XDP_DROP,
        Fate::Pass | Fate::Leave(_) => return XDP_PASS,
        Fate::Drop => {
            row.happened(Happening::BlockedDropped);
            return XDP_DROP;
        }
        // SAFETY: same context; on failure control comes back.
        Fate::Judge => unsafe { STAGES.tail_call(ctx, stage::JUDGE) },
        // SAFETY: as above.
        Fate::Other => unsafe { STAGES.tail_call(ctx, OTHER) },
        // SAFETY: as above.
        Fate::Request => unsafe { STAGES.tail_call(ctx, stage::REQUESTS) },
    }
    row.happened(Happening::StageMissing);
    XDP_PASS
}

/// What the event says of a segment before anything is read of it.
#[inline(always)]
pub(crate) fn begin(examination: &mut Examination) {
    examination.event.no_name = NoName::Named as u8;
    examination.server_next = first_byte(examination);
}

/// Sequence number of the payload: a SYN takes one before it.
#[inline(always)]
pub(crate) fn first_byte(examination: &Examination) -> u32 {
    let packet = &examination.packet;
    packet.sequence.wrapping_add(u32::from(packet.tcp_flags & SYN != 0))
}

/// The flow, where its stream can be followed.
#[inline(always)]
pub(crate) fn followed(examination: &Examination) -> Option<&'static mut Flow> {
    if examination.sight & sight::FOLLOWED == 0 {
        return None;
    }
    // SAFETY: the pointer is a live map value.
    flows::of(examination).map(|flow| unsafe { &mut *flow })
}

/// A segment of which nothing is known but its bytes.
#[inline(always)]
fn alone(
    ctx: &XdpContext,
    examination: &mut Examination,
    reader: &mut HelloReader,
    row: Row,
) -> Fate {
    let reason = match probe(ctx, examination, 0) {
        Probe::Neither => return Fate::Pass,
        Probe::Request => return Fate::Request,
        Probe::Hello => {
            reader.begin();
            let outcome = hello::read_payload(ctx, examination, reader, 0);
            if reader.is_named() {
                hello::take_name(examination, reader);
                return Fate::Judge;
            }
            match outcome {
                Outcome::Found => NoName::NoSni,
                Outcome::Paused => NoName::Truncated,
                Outcome::Stopped(reason) => reason,
            }
        }
    };
    if let Some(flow) = flows::of(examination) {
        // SAFETY: the pointer is a live map value.
        note_reason(unsafe { &mut *flow }, reason);
    }
    row.no_name(reason);
    Fate::Pass
}

/// A segment of a client's stream.
#[inline(always)]
fn in_stream(
    ctx: &XdpContext,
    examination: &mut Examination,
    reader: &mut HelloReader,
    flow: &mut Flow,
    row: Row,
) -> Fate {
    if flow.framing != framing::NONE && examination.goes_on != NO_REQUEST {
        return Fate::Request;
    }
    if flow.slot != 0 {
        return Fate::Other;
    }
    if flow.phase == Phase::Answered as u8 {
        // What passed was behind the hello that was answered.
        flow.marks &= !mark::UNKEPT;
    }
    let place = match Place::of(examination, flow) {
        Ok(place) => place,
        Err(fate) => return fate,
    };
    let start = match read(ctx, examination, reader, flow, place, row) {
        Reading::Over(fate) => return fate,
        Reading::GoesOn(start) => start,
    };
    assemble::start(ctx, examination, reader, flow, place, start, row)
}

/// How far reading a segment by itself came.
enum Reading {
    Over(Fate),
    /// It takes other segments to read it.
    GoesOn(Start),
}

impl From<Fate> for Reading {
    #[inline(always)]
    fn from(fate: Fate) -> Self {
        Self::Over(fate)
    }
}

/// Reads a segment of a stream that has no slot.
#[inline(always)]
fn read(
    ctx: &XdpContext,
    examination: &mut Examination,
    reader: &mut HelloReader,
    flow: &mut Flow,
    place: Place,
    row: Row,
) -> Reading {
    if place.begin == 0 || place.begin == place.examined {
        return in_order(ctx, examination, reader, flow, place, row);
    }
    if flow.phase == Phase::Named as u8 && place.begin > place.examined {
        // Behind a hello that was read whole.
        flow.marks |= mark::UNKEPT;
        return Fate::Pass.into();
    }
    if place.end > SLOT_BYTES as u32 {
        return Fate::Leave(Anomaly::OutOfWindow).into();
    }
    if payload::fill_window(ctx, examination, place.old).is_err() {
        return Fate::Pass.into();
    }
    Reading::GoesOn(Start { read: false, named: false })
}

/// A segment that starts where the stream goes on, or where it starts anew.
#[inline(always)]
fn in_order(
    ctx: &XdpContext,
    examination: &mut Examination,
    reader: &mut HelloReader,
    flow: &mut Flow,
    place: Place,
    row: Row,
) -> Reading {
    let again = place.begin == 0 && place.examined > 0;
    if flow.phase == Phase::Named as u8 && !again {
        flow.marks |= mark::UNKEPT;
        // The server's answer ends the examination, where it can be seen.
        if flow.peer_marks & peer_mark::SEEN != 0 {
            return Fate::Pass.into();
        }
        return spend(examination, flow).into();
    }
    let mut probe = probe(ctx, examination, place.old);
    let mut hello_at = 0;
    if probe == Probe::Request {
        if examination.goes_on != NO_REQUEST {
            return Fate::Request.into();
        }
        // Other protocols' lines start with upper-case letters too.
        probe = Probe::Neither;
    }
    if probe == Probe::Neither
        && flow.phase == Phase::Waiting as u8
        && let Some(at) = hello::find(examination)
    {
        // Behind the line that asked for TLS.
        probe = Probe::Hello;
        hello_at = at;
    }
    match probe {
        Probe::Neither | Probe::Request => plain(examination, flow, place, row).into(),
        Probe::Hello => {
            reader.begin();
            reader.resume(hello_at);
            let outcome = hello::read_payload(ctx, examination, reader, place.old);
            if outcome == Outcome::Stopped(NoName::NotTls) {
                return plain(examination, flow, place, row).into();
            }
            if outcome == Outcome::Found {
                hello::store_offer(examination, reader, flow, row);
            }
            // What was read before of the same bytes was no hello, or one that ended where this one
            // goes on, and what followed it has passed.
            let unkept = flow.marks & mark::UNKEPT != 0 && place.end >= place.examined;
            if outcome == Outcome::Paused && again && (flow.phase != Phase::Named as u8 || unkept) {
                return nameless(examination, NoName::Evasion).into();
            }
            let named = reader.is_named();
            if named {
                hello::take_name(examination, reader);
            }
            if outcome == Outcome::Paused {
                return Reading::GoesOn(Start { read: true, named });
            }
            examined(flow, place);
            if named {
                return Fate::Judge.into();
            }
            let reason = match outcome {
                Outcome::Stopped(reason) => reason,
                Outcome::Found | Outcome::Paused => NoName::NoSni,
            };
            nameless(examination, reason).into()
        }
    }
}

/// Neither a hello nor a request.
#[inline(always)]
fn plain(examination: &Examination, flow: &mut Flow, place: Place, row: Row) -> Fate {
    if flow.phase == Phase::Answered as u8 {
        flow.phase = Phase::Done as u8;
        return Fate::Pass;
    }
    if flow.no_name == NoName::NoPayload as u8 {
        let reason =
            if flow.marks & mark::MID_STREAM == 0 { NoName::NotTls } else { NoName::MidStream };
        flow.no_name = reason as u8;
        row.no_name(reason);
    }
    examined(flow, place);
    if flow.peer_marks & peer_mark::SEEN == 0 {
        // Nobody will say what has arrived.
        flow.examined_from = flow.examined_to;
    }
    spend(examination, flow)
}

/// Moves the examination on to the end of a segment.
#[inline(always)]
fn examined(flow: &mut Flow, place: Place) {
    if place.end > place.examined {
        flow.examined_to = place.from.wrapping_add(place.end);
    }
}

/// Takes a segment off the budget of an examination.
#[inline(always)]
fn spend(examination: &Examination, flow: &mut Flow) -> Fate {
    let units = examination.packet.payload_length / EXAMINED_UNIT + 1;
    let spent = u32::from(flow.examined) + units;
    let settled =
        flow.peer_marks & peer_mark::SEEN == 0 || flow.peer_marks & peer_mark::ACKNOWLEDGED != 0;
    if spent <= u32::from(EXAMINED_MAX) {
        flow.examined = spent as u8;
    } else if settled {
        flow.phase = Phase::Done as u8;
    }
    Fate::Pass
}

/// What the first bytes of the payload from `at` on could be. Leaves the window filled from there.
#[inline(always)]
fn probe(ctx: &XdpContext, examination: &mut Examination, at: u32) -> Probe {
    if payload::fill_window(ctx, examination, at).is_err() {
        return Probe::Neither;
    }
    let word = examination.window.word(0).to_le_bytes();
    let [a, b, c, ..] = word;
    const { assert!(PROBE_BYTES == 3) };
    Probe::of([a, b, c], examination.window.length)
}

/// Leaves it to policy what becomes of a segment without a name.
#[inline(always)]
pub(crate) fn nameless(examination: &mut Examination, reason: NoName) -> Fate {
    examination.event.no_name = reason as u8;
    Fate::Judge
}

/// Keeps the reason in the flow, unless an earlier segment gave a name.
#[inline(always)]
pub(crate) fn note_reason(flow: &mut Flow, reason: NoName) {
    if flow.name_hash == 0 {
        flow.no_name = reason as u8;
    }
}
