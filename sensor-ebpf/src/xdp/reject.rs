//! What happens to a packet that does not pass: one run of XDP can send one packet, so the deciding
//! segment becomes the server's reset, and what the client is told is cloned from it behind XDP; later
//! packets are reset from here.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{FlowKey, Happening, NoName, PageKey};
use sensor_ebpf::cursor::{Cursor, bound};
use sensor_ebpf::flow::{RESETS_MAX, mark};
use sensor_ebpf::parse::{Packet, TCP};
use sensor_ebpf::reset::{
    self, HOP_LIMIT, Header, Order, Reply, TCP_HEADER, TIMESTAMPS, TIMESTAMPS_LENGTH,
};

use crate::account::{self, Row};
use crate::maps::{self, Examination};
use crate::{budget, flows, held, orders, page, rewrite};

/// [`maps::Examination::outcome`]: reset the server with this segment, and have the client told.
pub(crate) const RESET_BOTH: u32 = 0;
/// [`maps::Examination::outcome`]: answer a packet of a blocked flow.
pub(crate) const ANSWER: u32 = 1;

/// How a request for the head of a response alone starts; a space follows.
const HEAD: u32 = u32::from_ne_bytes(*b"HEAD");

/// What the client is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// That its connection is reset.
    Reset,
    /// That what it sent has arrived.
    Acknowledgement,
    /// Why, on a page.
    Page(PageKey),
}

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_DROP };
    let Some(row) = Row::find(examination.counters) else { return XDP_DROP };
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(interface) = account::interface(ifindex) else { return XDP_DROP };
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    // SAFETY: the context is the one this program was called with.
    let length = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    let Ok(segment) = Packet::parse(cursor, length) else { return XDP_DROP };
    let segment = segment.blurred(interface.reserved[0]);
    if segment.protocol != TCP {
        if examination.event.no_name == NoName::Named as u8
            || examination.event.no_name == NoName::Evasion as u8
        {
            held::hold(&examination.event.key, examination.event.time_ns);
        }
        row.happened(Happening::BlockedDropped);
        return XDP_DROP;
    }
    let is_later = examination.outcome == ANSWER;
    let is_told = budget::grants(segment.source);
    if !is_told {
        row.happened(Happening::AnswerOverBudget);
        if is_later {
            row.happened(Happening::BlockedDropped);
            return XDP_DROP;
        }
    }
    let word = if is_told { word(examination, &segment, is_later) } else { Word::Reset };
    let mut goes_back = is_later && word == Word::Reset;
    if is_told && !goes_back {
        let order = order(ctx, &segment, word, is_later);
        let key = FlowKey::from_lan(&segment, interface.zone);
        if orders::leave(ctx, &key, &order, ifindex, row).is_none() {
            goes_back = true;
        }
    }
    let header = if goes_back {
        let reply = Reply::to_client(&segment, reset::sequence_end(&segment));
        reply.reset(segment.destination, segment.source)
    } else {
        let reply = Reply::to_server(&segment, examination.server_next);
        reply.reset(segment.source, segment.destination)
    };
    let turn = goes_back.then_some(HOP_LIMIT);
    if write(ctx, &segment, &header, length, turn).is_none() {
        row.happened(Happening::ResetFailed);
        return XDP_DROP;
    }
    if !goes_back {
        if !is_later {
            row.happened(Happening::ServerReset);
        }
        return XDP_PASS;
    }
    row.happened(Happening::ClientReset);
    row.sent_back(ctx);
    XDP_TX
}

/// What the sender of a segment is told. A client that was sent a page gets it again until it has it;
/// then what it still sends is acknowledged, since a reset could take the page from it unread (RFC 9112
/// section 9.6), and its last segment in the budget of the flow is reset.
#[inline(always)]
fn word(examination: &Examination, segment: &Packet, is_later: bool) -> Word {
    let key = &examination.event.key;
    let Some(flow) = flows::of(examination) else { return Word::Reset };
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *flow };
    if key.lan_port != segment.source_port || key.lan_address != segment.source {
        return Word::Reset;
    }
    if !is_later {
        return page::of_blocked(flow, segment).map_or(Word::Reset, Word::Page);
    }
    if flow.marks & mark::PAGED == 0 || flow.resets >= RESETS_MAX {
        return Word::Reset;
    }
    page::again(flow, segment).map_or(Word::Acknowledgement, Word::Page)
}

/// The order for what the client is told behind XDP.
#[inline(always)]
fn order(ctx: &XdpContext, segment: &Packet, word: Word, is_later: bool) -> Order {
    let alone = if is_later { Order::ALONE } else { 0 };
    let (page, flags) = match word {
        Word::Page(page) if asks_for_head(ctx, segment) => (page, Order::PAGE | Order::HEAD),
        Word::Page(page) => (page, Order::PAGE),
        Word::Acknowledgement => (PageKey::default(), Order::ACKNOWLEDGEMENT),
        Word::Reset => (PageKey::default(), 0),
    };
    let sequence_end = reset::sequence_end(segment);
    let timestamps = timestamps(ctx, segment);
    Order { magic: Order::MAGIC, sequence_end, page, flags: flags | alone, timestamps }
}

/// `TSval` and `TSecr` of an answer: the last value the segment's sender saw, and its own. 0 where they do
/// not lie where all systems put them.
#[inline(always)]
fn timestamps(ctx: &XdpContext, segment: &Packet) -> [u32; 2] {
    if segment.payload - segment.transport < TCP_HEADER + TIMESTAMPS_LENGTH {
        return [0; 2];
    }
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let mut cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    cursor.skip(bound::<511>(segment.transport + TCP_HEADER) as usize);
    let Ok(options) = cursor.header::<{ TIMESTAMPS_LENGTH as usize }>() else { return [0; 2] };
    if options.word32::<0>() != TIMESTAMPS {
        return [0; 2];
    }
    [options.word32::<8>(), options.word32::<4>()]
}

#[inline(always)]
fn asks_for_head(ctx: &XdpContext, segment: &Packet) -> bool {
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let mut cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    cursor.skip(bound::<511>(segment.payload) as usize);
    let Ok(start) = cursor.header::<5>() else { return false };
    start.word32::<0>() == HEAD && start.u8::<4>() == b' '
}

/// Writes a header over the segment's and cuts the packet behind it.
#[inline(always)]
fn write(
    ctx: &XdpContext,
    segment: &Packet,
    header: &Header,
    length: u32,
    turn: Option<u8>,
) -> Option<()> {
    // Read anew in the compiler's eyes too: it would leave out checks that were made of addresses read
    // before, and the verifier knows nothing of those.
    // SAFETY: the context is the one this program was called with.
    let data = unsafe { (&raw const (*ctx.ctx).data).read_volatile() } as usize;
    // SAFETY: as above.
    let end = unsafe { (&raw const (*ctx.ctx).data_end).read_volatile() } as usize;
    rewrite::headers(data, end, segment, header, turn)?;
    let delta = (segment.transport + header.length).wrapping_sub(length).cast_signed();
    // SAFETY: the context is the one this program was called with.
    (unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } == 0).then_some(())
}
