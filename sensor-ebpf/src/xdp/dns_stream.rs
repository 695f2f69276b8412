//! DNS over TCP: the segments of a connection to a resolver are put together in order, and each message
//! is judged when it is whole, before its last segment goes on.
//!
//! This stage keeps a segment and finds its first message; [`dns`](crate::dns) reads and judges each, and
//! finds the next one. A segment with more messages than tail calls reach is dropped: sent again, it goes on
//! where it was left.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Anomaly, Flow, FlowKey, NoName};
use sensor_ebpf::cursor::WINDOW;
use sensor_ebpf::dns::{FIRST_OTHER, Stream};
use sensor_ebpf::flow::{Phase, mark, peer_mark};
use sensor_ebpf::parse::SYN;
use sensor_ebpf::probe::Probe;

use crate::account::Row;
use crate::handshake::followed;
use crate::maps::{self, Examination, STAGES, STREAMS, stage};
use crate::normalise::{judge_nameless, leave_out};
use crate::steps::run_loop;
use crate::{dns, lock, payload};

/// What became of a segment.
enum Taken {
    /// Its bytes are kept.
    Kept,
    /// It is no piece of DNS.
    Other,
    /// It is one that should not go on.
    Leave(Anomaly),
    /// Policy decides about it.
    Judge(NoName),
}

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    let Some(flow) = followed(examination) else { return XDP_PASS };
    if !lock::take(&mut flow.lock) {
        return if leave_out(examination, Anomaly::SlotBusy, row) { XDP_DROP } else { XDP_PASS };
    }
    let taken = take(ctx, examination, flow);
    let is_there = matches!(taken, Taken::Kept) && next(examination, flow);
    lock::give_up(&mut flow.lock);
    match taken {
        Taken::Kept if !is_there => return XDP_PASS,
        // SAFETY: same context; on failure control comes back.
        Taken::Kept => unsafe { STAGES.tail_call(ctx, stage::DNS) },
        // SAFETY: as above.
        Taken::Other => unsafe { STAGES.tail_call(ctx, stage::HANDSHAKE) },
        Taken::Leave(anomaly) => {
            return if leave_out(examination, anomaly, row) { XDP_DROP } else { XDP_PASS };
        }
        Taken::Judge(reason) => return judge_nameless(ctx, examination, reason, row),
    }
    dns::beyond(examination, row)
}

/// Has the next message read, once one was judged.
#[inline(always)]
pub(crate) fn go_on(ctx: &XdpContext, examination: &mut Examination, row: Row) -> u32 {
    let Some(flow) = followed(examination) else { return XDP_PASS };
    if !lock::take(&mut flow.lock) {
        return if leave_out(examination, Anomaly::SlotBusy, row) { XDP_DROP } else { XDP_PASS };
    }
    let is_there = next(examination, flow);
    lock::give_up(&mut flow.lock);
    if !is_there {
        return XDP_PASS;
    }
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::DNS) };
    dns::beyond(examination, row)
}

/// Keeps the segment's bytes.
#[inline(always)]
fn take(ctx: &XdpContext, examination: &mut Examination, flow: &mut Flow) -> Taken {
    let packet = &examination.packet;
    let first = packet.sequence.wrapping_add(u32::from(packet.tcp_flags & SYN != 0));
    let length = packet.payload_length;
    if payload::fill_window(ctx, examination, 0).is_err() {
        return Taken::Other;
    }
    if !is_known(&examination.event.key, flow) {
        if flow.slot != 0 || flow.phase != Phase::Waiting as u8 {
            return Taken::Other;
        }
        let ahead = first.wrapping_sub(flow.examined_to).cast_signed();
        if ahead > 0 && flow.examined_from == flow.examined_to {
            // What starts the connection says what it is.
            return Taken::Leave(Anomaly::OutOfWindow);
        }
        if flow.marks & mark::IN_MESSAGE != 0 {
            return Taken::Judge(NoName::SlotLost);
        }
        let [first_byte, second, third, ..] = examination.window.word(0).to_le_bytes();
        let probe = Probe::of([first_byte, second, third], examination.window.length);
        if ahead != 0 || probe != Probe::Neither {
            return Taken::Other;
        }
        if first_byte >= FIRST_OTHER {
            return Taken::Judge(NoName::Oversize);
        }
        let Some(new) = maps::new_stream() else { return Taken::Other };
        new.begin(first);
        if STREAMS.insert(&examination.event.key, &*new, 0).is_err() {
            return Taken::Leave(Anomaly::SlotBusy);
        }
    }
    let Some(stream) = STREAMS.get_ptr_mut(&examination.event.key) else {
        return Taken::Leave(Anomaly::SlotBusy);
    };
    // SAFETY: a live map value, which the flow's lock keeps for this program.
    let stream = unsafe { &mut *stream };
    let_go(stream, flow);
    let begin = first.wrapping_sub(stream.base).cast_signed();
    if begin > stream.kept.length.cast_signed() || begin < -BEHIND_MAX {
        return Taken::Leave(Anomaly::OutOfWindow);
    }
    let (offset, from) =
        if begin < 0 { (0, begin.unsigned_abs()) } else { (begin.cast_unsigned(), 0) };
    if offset + length.saturating_sub(from) > WINDOW as u32 {
        return Taken::Judge(NoName::Oversize);
    }
    stream.begin_segment(offset, from);
    run_loop(&mut Context { stream, examination }, WINDOW as u32, step);
    if stream.differs != 0 {
        return Taken::Judge(NoName::Evasion);
    }
    flow.examined_to = stream.base.wrapping_add(stream.kept.length);
    if stream.is_oversize() {
        return Taken::Judge(NoName::Oversize);
    }
    Taken::Kept
}

/// True where what is kept under the key is of this connection, not of one before it.
#[inline(always)]
fn is_known(key: &FlowKey, flow: &Flow) -> bool {
    // SAFETY: a live map value, which the flow's lock keeps for this program.
    let known = STREAMS.get_ptr(key).map(|stream| unsafe { &*stream });
    known.is_some_and(|known| {
        known.base.wrapping_add(known.kept.length) == flow.examined_to && known.kept.length != 0
    })
}

/// How far before what is kept a segment may begin: it was acknowledged, so it goes nowhere.
const BEHIND_MAX: i32 = 1 << 16;

struct Context<'a> {
    stream: &'a mut Stream,
    examination: &'a mut Examination,
}

unsafe extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `take` passes the context.
    let context = unsafe { &mut *context.cast::<Context<'_>>() };
    i64::from(!context.stream.step(&context.examination.window))
}

/// Lets go of what was judged and the server has.
#[inline(always)]
fn let_go(stream: &mut Stream, flow: &Flow) {
    // SAFETY: a live map value; once, because the other direction's hook writes it.
    let from = unsafe { core::ptr::read_volatile(&raw const flow.examined_from) };
    let arrived = if flow.peer_marks & peer_mark::SEEN == 0 {
        // Nobody will say what has arrived.
        stream.judged
    } else {
        let arrived = from.wrapping_sub(stream.base);
        if arrived > WINDOW as u32 { 0 } else { arrived }
    };
    let by = arrived.min(stream.judged).min(stream.kept.length);
    if by == 0 {
        return;
    }
    let left = stream.kept.length - by;
    if left != 0 {
        payload::shift(&mut stream.kept, by, left);
    }
    stream.kept.length = left;
    stream.base = stream.base.wrapping_add(by);
    stream.judged -= by;
}

/// Puts the next message into the window. `false`: there is none that is whole.
#[inline(always)]
fn next(examination: &mut Examination, flow: &mut Flow) -> bool {
    let Some(stream) = STREAMS.get_ptr_mut(&examination.event.key) else { return false };
    // SAFETY: a live map value, which the flow's lock keeps for this program.
    let stream = unsafe { &mut *stream };
    if examination.dns.stream == dns::JUDGED {
        stream.judged = examination.dns.end;
    }
    examination.dns.stream = dns::FRESH;
    let Some(whole) = stream.next() else {
        if stream.judged == stream.kept.length {
            flow.marks &= !mark::IN_MESSAGE;
        } else {
            flow.marks |= mark::IN_MESSAGE;
        }
        return false;
    };
    payload::take_out(examination, &stream.kept, whole.at, whole.length);
    examination.dns.stream = dns::JUDGED;
    examination.dns.end = whole.at + whole.length;
    examination.dns.judged = 0;
    true
}
