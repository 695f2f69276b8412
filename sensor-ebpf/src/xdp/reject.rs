//! What happens to a packet that does not pass: one run of XDP can send one packet, so the deciding
//! segment becomes the server's reset, and the client's is cloned from it behind XDP; later packets
//! are answered from here.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_meta, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::Happening;
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::{Packet, TCP};
use sensor_ebpf::reset::{self, HOP_LIMIT, Order, Reset, TCP_HEADER};

use crate::account::Row;
use crate::{maps, rewrite};

/// [`maps::Examination::outcome`]: reset the server with this segment, and have the client told.
pub(crate) const RESET_BOTH: u32 = 0;
/// [`maps::Examination::outcome`]: turn the packet round as a reset.
pub(crate) const ANSWER: u32 = 1;

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_DROP };
    let Some(row) = Row::find(examination.counters) else { return XDP_DROP };
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    // SAFETY: the context is the one this program was called with.
    let length = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    let Ok(segment) = Packet::parse(cursor, length) else { return XDP_DROP };
    if segment.protocol != TCP {
        row.happened(Happening::BlockedDropped);
        return XDP_DROP;
    }
    let action = if examination.outcome == ANSWER {
        answer(ctx, &segment, length)
    } else {
        reset_both(ctx, &segment, examination.server_next, length, row)
    };
    match action {
        Some(XDP_TX) => row.happened(Happening::ClientReset),
        Some(_) => row.happened(Happening::ServerReset),
        None => row.happened(Happening::ResetFailed),
    }
    action.unwrap_or(XDP_DROP)
}

/// The segment goes on as the server's reset, with an order for the client's.
#[inline(always)]
fn reset_both(
    ctx: &XdpContext,
    segment: &Packet,
    server_next: u32,
    length: u32,
    row: Row,
) -> Option<u32> {
    const ROOM: i32 = -(size_of::<Order>().cast_signed() as i32);
    // SAFETY: the context is the one this program was called with.
    let moved = unsafe { bpf_xdp_adjust_meta(ctx.ctx, ROOM) };
    if moved != 0 {
        row.happened(Happening::ResetWithoutMetadata);
        return answer(ctx, segment, length);
    }
    let order = ctx.metadata();
    if order + size_of::<Order>() > ctx.metadata_end() {
        return None;
    }
    let sequence_end = reset::sequence_end(segment);
    // SAFETY: the room was checked against the start of the packet just now.
    unsafe {
        (order as *mut Order).write(Order { magic: Order::MAGIC, sequence_end, reserved: [0; 2] });
    }
    let header = Reset::to_server(segment, server_next).header(segment.source, segment.destination);
    rewrite::headers(ctx.data(), ctx.data_end(), segment, header, None)?;
    cut(ctx, segment, length)?;
    Some(XDP_PASS)
}

/// The packet goes back as the client's reset.
#[inline(always)]
fn answer(ctx: &XdpContext, segment: &Packet, length: u32) -> Option<u32> {
    let reset = Reset::to_client(segment, reset::sequence_end(segment));
    let header = reset.header(segment.destination, segment.source);
    rewrite::headers(ctx.data(), ctx.data_end(), segment, header, Some(HOP_LIMIT))?;
    cut(ctx, segment, length)?;
    Some(XDP_TX)
}

/// Cuts the packet behind a bare TCP header.
#[inline(always)]
fn cut(ctx: &XdpContext, segment: &Packet, length: u32) -> Option<()> {
    let delta = (segment.transport + TCP_HEADER).wrapping_sub(length).cast_signed();
    // SAFETY: the context is the one this program was called with.
    (unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } == 0).then_some(())
}
