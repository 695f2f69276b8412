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
use sensor_ebpf::normalise::anomaly;
use sensor_ebpf::options::{OPTIONS_BUFFER, OPTIONS_MAX, OptionsReader, found};
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
    if examination.sight & sight::FOLLOWED != 0
        && let Some(flow) = flows::find(&examination.event.key)
    {
        // SAFETY: the pointer is a live map value.
        let flow = unsafe { &mut *flow };
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
    let at = examination.packet.transport + reset::TCP_HEADER;
    let length = examination.packet.payload.saturating_sub(at).min(OPTIONS_MAX as u32);
    let options = &mut examination.options;
    let loaded = payload::load::<OPTIONS_BUFFER, { OPTIONS_BUFFER as u32 - 1 }>(
        ctx,
        at,
        &mut options.bytes,
        length,
    )
    .is_ok();
    if options.begin(if loaded { length } else { 0 }) {
        run_loop(&mut OptionsContext { options }, OPTIONS_MAX as u32, option_step);
    }
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

/// True where the checksum is right, or where it is not there to be checked.
#[inline(always)]
fn is_summed(ctx: &XdpContext, examination: &mut Examination) -> bool {
    let packet = &examination.packet;
    let frame = packet.payload + packet.payload_length;
    if examination.sight & sight::MERGED != 0 && frame > SINGLE_FRAME_MAX {
        return true;
    }
    let at = packet.transport;
    let length = frame - at;
    let pseudo = reset::pseudo_header(packet.source, packet.destination, length);
    let Some(sum) = sum(ctx, examination, at, length) else { return true };
    reset::fold(pseudo + u64::from(sum)) == 0
}

/// Sums `length` bytes of the packet as they lie in memory.
#[inline(always)]
fn sum(ctx: &XdpContext, examination: &mut Examination, at: u32, length: u32) -> Option<u32> {
    let mut context = SumContext { ctx, examination, at, left: length, sum: 0, failed: false };
    run_loop(&mut context, PIECES_MAX, sum_step);
    (!context.failed && context.left == 0).then_some(context.sum)
}

struct SumContext<'a> {
    ctx: &'a XdpContext,
    examination: &'a mut Examination,
    at: u32,
    left: u32,
    sum: u32,
    failed: bool,
}

unsafe extern "C" fn sum_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `sum` passes the context.
    let context = unsafe { &mut *context.cast::<SumContext<'_>>() };
    if context.left == 0 {
        return 1;
    }
    let piece = context.left.min(PIECE);
    let window = &mut context.examination.window.bytes;
    let (ctx, at) = (context.ctx, context.at);
    if payload::load::<WINDOW, { WINDOW as u32 - 1 }>(ctx, at, window, piece).is_err() {
        context.failed = true;
        return 1;
    }
    // The helper sums whole words: the last one is filled up with zeroes.
    let end = bound::<{ PIECE * 2 - 1 }>(piece) as usize;
    // SAFETY: the index is below half of the window.
    unsafe { window.as_mut_ptr().add(end).cast::<[u8; 4]>().write([0; 4]) };
    let words = bound::<{ PIECE * 2 - 4 }>(piece + 3);
    let words = if words > PIECE { PIECE } else { words };
    // SAFETY: so many bytes of the window are initialised.
    let sum = unsafe {
        bpf_csum_diff(core::ptr::null_mut(), 0, window.as_mut_ptr().cast(), words, context.sum)
    };
    context.sum = sum.cast_unsigned() as u32;
    context.at += piece;
    context.left -= piece;
    0
}
