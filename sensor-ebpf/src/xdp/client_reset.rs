//! TC ingress of a watched interface. XDP turned a segment into the server's reset and left an order
//! for it: send the client's reset or its block page out of the same interface, then let the server's
//! reset go on its way, through routing, NAT or a bridge as the segment would have gone.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::generated::{bpf_clone_redirect, bpf_skb_change_tail, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use sensor_ebpf::abi::{Direction, Happening, Interface, PAGE_MAX, Page};
use sensor_ebpf::cursor::{Cursor, bound};
use sensor_ebpf::parse::Packet;
use sensor_ebpf::reset::{HOP_LIMIT, Header, OWN_RESET_MARK, Order, Payload, Reply};

use crate::account::{self, Row};
use crate::{orders, page, rewrite};

/// `TC_ACT_UNSPEC`: whoever comes next decides.
const CONTINUE: i32 = -1;

/// Bits of a page's length.
const LENGTH_MASK: u32 = 2047;
const _: () = assert!(PAGE_MAX as u32 <= LENGTH_MASK);

#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the one this program was called with.
    let ifindex = unsafe { (*skb).ifindex };
    let Some(interface) = account::interface(ifindex) else { return CONTINUE };
    let in_front = orders::in_front_of(ctx);
    if in_front.is_none() && interface.without_metadata == 0 {
        return CONTINUE;
    }
    let Some(segment) = packet(ctx, interface) else {
        return if in_front.is_some() { TC_ACT_SHOT } else { CONTINUE };
    };
    let Some(order) = in_front.or_else(|| orders::waiting(&segment, interface)) else {
        return CONTINUE;
    };
    let told = tell_client(ctx, &segment, &order, ifindex);
    if let Some(row) = Row::find(Row::number(interface.slot, Direction::Ingress)) {
        row.happened(told.unwrap_or(Happening::ResetFailed));
    }
    if told.is_none() || order.flags & Order::ALONE != 0 {
        return TC_ACT_SHOT;
    }
    // XDP has put the server's next byte there already.
    let to_server = Reply::to_server(&segment, segment.sequence);
    let header = to_server.reset(segment.source, segment.destination);
    match write(ctx, &segment, &header, segment.hop_limit) {
        Some(()) => CONTINUE,
        None => TC_ACT_SHOT,
    }
}

/// Turns the packet round as what the client is told, and sends a clone of it. Says what came of that;
/// `None` where the packet may not be whole.
#[inline(always)]
fn tell_client(
    ctx: &TcContext,
    segment: &Packet,
    order: &Order,
    ifindex: u32,
) -> Option<Happening> {
    let reply = Reply::to_client(segment, order.sequence_end);
    let (source, destination) = (segment.destination, segment.source);
    let skb = ctx.skb.skb;
    let found = if order.flags & Order::PAGE == 0 { None } else { page::find(&order.page) };
    let is_receipt = order.flags & Order::ACKNOWLEDGEMENT != 0;
    let header = if is_receipt {
        reply.segment(order.timestamps, Payload::default(), source, destination)
    } else if let Some(page) = found {
        let payload = payload(page, order);
        let header = reply.segment(order.timestamps, payload, source, destination);
        put_behind(ctx, segment, &header, page)?;
        header
    } else {
        reply.reset(source, destination)
    };
    write(ctx, segment, &header, HOP_LIMIT)?;
    // SAFETY: the context is the one this program was called with.
    let mark = unsafe { (*skb).mark };
    ctx.set_mark(OWN_RESET_MARK);
    // SAFETY: as above.
    let sent = unsafe { bpf_clone_redirect(skb, ifindex, 0) } == 0;
    ctx.set_mark(mark);
    Some(match found {
        _ if !sent => Happening::ResetFailed,
        _ if is_receipt => Happening::BlockedAcknowledged,
        None => Happening::ClientReset,
        Some(_) => Happening::BlockPage,
    })
}

/// What of the page was asked for.
#[inline(always)]
fn payload(page: &Page, order: &Order) -> Payload {
    if order.flags & Order::HEAD == 0 {
        Payload { length: u32::from(page.length), sum: page.sum }
    } else {
        Payload { length: u32::from(page.head_length), sum: page.head_sum }
    }
}

/// Makes room behind the headers and puts the page there.
#[inline(always)]
fn put_behind(ctx: &TcContext, segment: &Packet, header: &Header, page: &Page) -> Option<()> {
    let skb = ctx.skb.skb;
    let at = segment.transport + header.length;
    // SAFETY: the context is the one this program was called with.
    if unsafe { bpf_skb_change_tail(skb, at + header.payload_length, 0) } != 0 {
        return None;
    }
    let last = bound::<LENGTH_MASK>(header.payload_length.wrapping_sub(1));
    if last >= PAGE_MAX as u32 {
        return None;
    }
    let bytes = page.bytes.as_ptr().cast();
    // SAFETY: the page has more than `last` bytes.
    (unsafe { bpf_skb_store_bytes(skb, at, bytes, last + 1, 0) } == 0).then_some(())
}

/// Writes a header over the packet's, turned round, and cuts the packet behind it and its payload.
#[inline(always)]
fn write(ctx: &TcContext, segment: &Packet, header: &Header, hop_limit: u8) -> Option<()> {
    let length = segment.transport + header.segment_length();
    if ctx.len() != length {
        // SAFETY: the context is the one this program was called with.
        if unsafe { bpf_skb_change_tail(ctx.skb.skb, length, 0) } != 0 {
            return None;
        }
    }
    // Read anew in the compiler's eyes too, see `reject`.
    // SAFETY: the context is the one this program was called with.
    let data = unsafe { (&raw const (*ctx.skb.skb).data).read_volatile() } as usize;
    // SAFETY: as above.
    let end = unsafe { (&raw const (*ctx.skb.skb).data_end).read_volatile() } as usize;
    rewrite::headers(data, end, segment, header, Some(hop_limit))
}

#[inline(always)]
fn packet(ctx: &TcContext, interface: &Interface) -> Option<Packet> {
    // SAFETY: the kernel keeps `data..data_end` readable until a helper changes the packet.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    let packet = Packet::parse(cursor, ctx.len()).ok()?;
    Some(packet.blurred(interface.reserved[0]))
}
