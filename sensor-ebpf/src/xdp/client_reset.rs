//! TC ingress of a watched interface. XDP turned a segment into the server's reset and left an order
//! with it: send the client's reset out of the same interface, then let the server's go on its way,
//! through routing, NAT or a bridge as the segment would have gone.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::generated::bpf_clone_redirect;
use aya_ebpf::programs::TcContext;
use sensor_ebpf::abi::{Direction, Happening};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::Packet;
use sensor_ebpf::reset::{HOP_LIMIT, OWN_RESET_MARK, Order, Reset};

use crate::account::{self, Row};
use crate::rewrite;

/// `TC_ACT_UNSPEC`: whoever comes next decides.
const CONTINUE: i32 = -1;

#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let Some(sequence_end) = order(ctx) else { return CONTINUE };
    let skb = ctx.skb.skb;
    // SAFETY: the context is the one this program was called with.
    let ifindex = unsafe { (*skb).ifindex };
    let row = account::interface(ifindex)
        .and_then(|interface| Row::find(Row::number(interface.slot, Direction::Ingress)));
    let Some(segment) = packet(ctx) else { return TC_ACT_SHOT };
    let to_client = Reset::to_client(&segment, sequence_end);
    let header = to_client.header(segment.destination, segment.source);
    // Turns the packet round for the clone, then back.
    if rewrite::headers(ctx.data(), ctx.data_end(), &segment, header, Some(HOP_LIMIT)).is_none() {
        return TC_ACT_SHOT;
    }
    // SAFETY: the context is the one this program was called with.
    let mark = unsafe { (*skb).mark };
    ctx.set_mark(OWN_RESET_MARK);
    // SAFETY: as above.
    let sent = unsafe { bpf_clone_redirect(skb, ifindex, 0) } == 0;
    ctx.set_mark(mark);
    if let Some(row) = row {
        row.happened(if sent { Happening::ClientReset } else { Happening::ResetFailed });
    }
    // XDP has put the server's next byte there already.
    let to_server = Reset::to_server(&segment, segment.sequence);
    let header = to_server.header(segment.source, segment.destination);
    let (data, end) = (ctx.data(), ctx.data_end());
    match rewrite::headers(data, end, &segment, header, Some(segment.hop_limit)) {
        Some(()) => CONTINUE,
        None => TC_ACT_SHOT,
    }
}

/// The order XDP left with this packet.
#[inline(always)]
fn order(ctx: &TcContext) -> Option<u32> {
    // SAFETY: the context is the one this program was called with.
    let meta = unsafe { (*ctx.skb.skb).data_meta } as usize;
    if meta + size_of::<Order>() > ctx.data() {
        return None;
    }
    // SAFETY: the room was checked against the start of the packet just now.
    let order = unsafe { &*(meta as *const Order) };
    (order.magic == Order::MAGIC).then_some(order.sequence_end)
}

#[inline(always)]
fn packet(ctx: &TcContext) -> Option<Packet> {
    // SAFETY: the kernel keeps `data..data_end` readable until a helper changes the packet.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    Packet::parse(cursor, ctx.len()).ok()
}
