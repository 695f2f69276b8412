//! A client's segment while a handshake is examined: is it one that a correct server takes? What is
//! not must build no state here, and need not go on.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_csum_diff;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Anomaly, Flow, Happening, NoName};
use sensor_ebpf::cursor::{WINDOW, bound};
use sensor_ebpf::dns::is_segment;
use sensor_ebpf::flow::mark;
use sensor_ebpf::http::framing;
use sensor_ebpf::normalise::anomaly;
use sensor_ebpf::options::{HEADER, HEADER_BUFFER, OPTIONS_MAX, OptionsReader, found};
use sensor_ebpf::parse::RST;
use sensor_ebpf::reset;

use crate::account::Row;
use crate::flows;
use crate::maps::{self, Examination, STAGES, sight, stage};
use crate::payload;
use crate::steps::run_loop;

/// Bytes summed at once: what kernels before 6.12 allow (`MAX_BPF_STACK`).
const PIECE: u32 = 512;

/// Pieces of the largest segment: a merged frame of 64 KiB.
const PIECES_MAX: u32 = (1 << 16) / PIECE;

/// Bytes of the longest frame of one segment without jumbo frames, three VLAN tags and `PPPoE` included.
/// Longer ones behind GRO are merged.
const SINGLE_FRAME_MAX: u32 = 1514 + 3 * 4 + 8;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    let mut kept = false;
    if examination.sight & sight::FOLLOWED != 0
        && let Some(flow) = flows::of(examination)
    {
        // SAFETY: the pointer is a live map value.
        let flow = unsafe { &mut *flow };
        kept = flow.slot != 0 && flow.framing == framing::NONE;
        read_options(ctx, examination);
        if let Some(anomaly) = fault(ctx, examination, flow)
            && leave_out(examination, anomaly, row)
        {
            return XDP_DROP;
        }
        if examination.packet.opens_connection() {
            note_syn(ctx, examination, flow);
            if examination.options.found & found::MPTCP_JOIN != 0 {
                return judge_nameless(ctx, examination, NoName::MptcpJoin, row);
            }
        } else {
            note_timestamp(examination, flow);
        }
    }
    // What a reset carries is no part of the stream.
    if examination.packet.payload_length == 0 || examination.packet.tcp_flags & RST != 0 {
        return XDP_PASS;
    }
    // SAFETY: same context; on failure control comes back.
    unsafe {
        if is_segment(&examination.packet) && examination.sight & sight::FOLLOWED != 0 {
            STAGES.tail_call(ctx, stage::DNS_STREAM);
        } else if kept {
            STAGES.tail_call(ctx, stage::ASSEMBLE);
        } else {
            STAGES.tail_call(ctx, stage::HANDSHAKE);
        }
    }
    row.happened(Happening::StageMissing);
    XDP_PASS
}

/// Counts an anomaly. `true`: the segment is dropped.
#[inline(always)]
pub(crate) fn leave_out(examination: &Examination, anomaly: Anomaly, row: Row) -> bool {
    row.anomaly(anomaly);
    let dropped = maps::control().map_or(0, |control| control.dropped_anomalies);
    let drop = examination.sight & sight::TAP == 0 && dropped & 1 << anomaly as u32 != 0;
    if drop {
        row.happened(Happening::AnomalyDropped);
    }
    drop
}

/// Has it decided what becomes of a segment without a name.
#[inline(always)]
pub(crate) fn judge_nameless(
    ctx: &XdpContext,
    examination: &mut Examination,
    reason: NoName,
    row: Row,
) -> u32 {
    examination.event.no_name = reason as u8;
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::JUDGE) };
    row.happened(Happening::StageMissing);
    XDP_PASS
}

#[inline(always)]
fn read_options(ctx: &XdpContext, examination: &mut Examination) {
    let at = examination.packet.transport;
    let length = header_length(examination);
    let options = &mut examination.options;
    let loaded = payload::load::<HEADER_BUFFER, { HEADER_BUFFER as u32 - 1 }>(
        ctx,
        at,
        &mut options.bytes,
        length,
    )
    .is_ok();
    if options.begin(if loaded { length } else { HEADER as u32 }) {
        run_loop(&mut OptionsContext { options }, OPTIONS_MAX as u32, option_step);
    }
}

/// Bytes of the TCP header.
#[inline(always)]
fn header_length(examination: &Examination) -> u32 {
    let length = examination.packet.payload.wrapping_sub(examination.packet.transport);
    length.min((HEADER + OPTIONS_MAX) as u32)
}

struct OptionsContext<'a> {
    options: &'a mut OptionsReader,
}

unsafe extern "C" fn option_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `read_options` passes the context.
    let context = unsafe { &mut *context.cast::<OptionsContext<'_>>() };
    i64::from(!context.options.step())
}

#[inline(always)]
fn fault(ctx: &XdpContext, examination: &mut Examination, flow: &Flow) -> Option<Anomaly> {
    let (found, timestamp) = (examination.options.found, examination.options.timestamp);
    let fault = anomaly(&examination.packet, flow, found, timestamp);
    if fault.is_some() || examination.packet.payload_length == 0 {
        return fault;
    }
    let held = flow.marks & mark::SYN_CHECKSUM != 0 && examination.sight & sight::TAP == 0;
    (held && !is_summed(ctx, examination)).then_some(Anomaly::Checksum)
}

/// Keeps what the SYN says about the connection to come.
#[inline(always)]
fn note_syn(ctx: &XdpContext, examination: &mut Examination, flow: &mut Flow) {
    let mut marks = 0;
    if examination.options.found & found::MD5 != 0 {
        marks |= mark::SYN_MD5;
    }
    if examination.options.found & found::TIMESTAMP != 0 {
        marks |= mark::SYN_TIMESTAMP;
    }
    // Armed by itself: a sender whose SYN is left to an offload leaves its data to it too.
    if is_summed(ctx, examination) {
        marks |= mark::SYN_CHECKSUM;
    }
    flow.note_syn(&examination.packet, marks, examination.options.timestamp);
}

/// Moves `TS.Recent` on by a segment in order (RFC 7323 section 4.3).
#[inline(always)]
fn note_timestamp(examination: &Examination, flow: &mut Flow) {
    let packet = &examination.packet;
    let in_order = packet.sequence.wrapping_sub(flow.examined_to).cast_signed() <= 0;
    if examination.options.found & found::TIMESTAMP != 0 && packet.payload_length > 0 && in_order {
        flow.recent_timestamp = examination.options.timestamp;
    }
}

/// True where the checksum is right, or where it is not there to be checked. Its header was read already,
/// and what was summed of a payload that fits the window stays there to be read.
#[inline(always)]
fn is_summed(ctx: &XdpContext, examination: &mut Examination) -> bool {
    let packet = &examination.packet;
    let frame = packet.payload + packet.payload_length;
    if examination.sight & sight::MERGED != 0 && frame > SINGLE_FRAME_MAX {
        return true;
    }
    let length = frame - packet.transport;
    let pseudo = reset::pseudo_header(packet.source, packet.destination, length);
    let header = bound::<{ HEADER_BUFFER as u32 - 4 }>(header_length(examination));
    let from = examination.options.bytes.as_mut_ptr();
    // SAFETY: so many bytes of the header are in the buffer.
    let header = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from.cast(), header, 0) };
    let Some(sum) = sum(ctx, examination, header.cast_unsigned() as u32) else { return true };
    reset::fold(pseudo + sum) == 0
}

/// Adds the sum of the payload, as it lies in memory, to `header`.
#[inline(always)]
fn sum(ctx: &XdpContext, examination: &mut Examination, header: u32) -> Option<u64> {
    let left = examination.packet.payload_length;
    let mut context =
        SumContext { ctx, examination, at: 0, left, sum: header, rest: 0, failed: false };
    if left > 0 {
        run_loop(&mut context, PIECES_MAX, sum_step);
    }
    (!context.failed && context.left == 0).then_some(u64::from(context.sum) + context.rest)
}

struct SumContext<'a> {
    ctx: &'a XdpContext,
    examination: &'a mut Examination,
    /// Offset in the payload.
    at: u32,
    left: u32,
    /// Sum of whole words.
    sum: u32,
    /// The last bytes, which fill no word.
    rest: u64,
    failed: bool,
}

unsafe extern "C" fn sum_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `sum` passes the context.
    let context = unsafe { &mut *context.cast::<SumContext<'_>>() };
    let in_window = bound::<{ WINDOW as u32 - 1 }>(context.at);
    if in_window == 0 && payload::fill_window(context.ctx, context.examination, context.at).is_err()
    {
        context.failed = true;
        return 1;
    }
    let piece = context.left.min(PIECE);
    let window = &mut context.examination.window;
    let words = bound::<{ PIECE * 2 - 4 }>(piece);
    if words > 0 && words <= PIECE {
        // Pieces of a window start where the last one ended: no word is beyond it.
        let from = bound::<{ WINDOW as u32 - PIECE }>(in_window) as usize;
        // SAFETY: so many bytes from there on lie within the window.
        let sum = unsafe {
            let from = window.bytes.as_mut_ptr().add(from);
            bpf_csum_diff(core::ptr::null_mut(), 0, from.cast(), words, context.sum)
        };
        context.sum = sum.cast_unsigned() as u32;
    }
    let rest = piece & 3;
    if rest > 0 {
        let word = window.word(in_window + (piece & !3));
        context.rest = word & ((1 << (8 * rest)) - 1);
    }
    context.at += piece;
    context.left -= piece;
    i64::from(context.left == 0)
}
