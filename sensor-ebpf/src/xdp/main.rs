//! The programs the kernel runs, a packet's way through them in file order: [`entry`] counts every
//! packet and finds its flow; [`normalise`] leaves out what no server takes; [`handshake`] reads a name,
//! with [`assemble`] where it came in pieces, and [`requests`] those of HTTP; [`judge`] decides about it,
//! [`reject`] acts; [`client_reset`] tells the client on behalf of XDP, with a block [`page`] where it asked
//! in the clear; [`rejudge`] follows a change of policy; [`egress`] counts the other direction. [`unread`] decides about fragments; [`dns`] reads
//! queries, and answers those for blocked names; [`dns_reply`] reads what servers answer.
//!
//! On the host this binary is a stub, so that one `cargo clippy` lints the programs too.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(core_intrinsics))]
#![cfg_attr(target_arch = "bpf", allow(internal_features, reason = "atomic adds of a chosen kind"))]
#![cfg_attr(not(target_arch = "bpf"), allow(dead_code, reason = "only the kernel runs these"))]
#![expect(clippy::needless_pass_by_value, reason = "the shape the program macros want")]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value a map's new entry would first be copied to the 512 bytes of stack"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "helpers and packets give 64-bit values that were bounded"
)]

mod account;
mod assemble;
mod budget;
mod client_reset;
mod clock;
mod destination;
mod dns;
mod dns_reply;
mod dns_stream;
mod egress;
mod entry;
mod events;
mod flows;
mod group;
mod handshake;
mod held;
mod hello;
mod initial;
mod judge;
mod listed;
mod lock;
mod maps;
mod normalise;
mod orders;
mod page;
mod payload;
mod quic;
mod quic_refused;
mod quic_stream;
mod reject;
mod rejudge;
mod request_reading;
mod request_stream;
mod requests;
mod rewrite;
mod slots;
mod steps;
mod told;
mod unread;

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// LAN ingress: every packet's first stop. The fast path ends here.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn sensor(ctx: XdpContext) -> u32 {
    entry::run(&ctx)
}

/// Tail-called for a client's segment while a handshake is examined.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn normalise(ctx: XdpContext) -> u32 {
    normalise::run(&ctx)
}

/// Tail-called for a segment that a name could be in.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn handshake(ctx: XdpContext) -> u32 {
    handshake::run(&ctx)
}

/// Tail-called for a segment of a stream that is kept in a slot.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn assemble(ctx: XdpContext) -> u32 {
    assemble::run(&ctx)
}

/// Tail-called for a segment that requests could be in, and once more for each name they have.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn requests(ctx: XdpContext) -> u32 {
    requests::run(&ctx)
}

/// Tail-called with a name.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn judge(ctx: XdpContext) -> u32 {
    judge::run(&ctx)
}

/// Tail-called for a packet that does not pass.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn reject(ctx: XdpContext) -> u32 {
    reject::run(&ctx)
}

/// Tail-called for a packet that belongs to no flow and could carry a piece of a handshake.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn unread(ctx: XdpContext) -> u32 {
    unread::run(&ctx)
}

/// Tail-called for a DNS query, once for each of its questions.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn dns_query(ctx: XdpContext) -> u32 {
    dns::run(&ctx)
}

/// Tail-called for a segment to a resolver, once for each message it completes.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn dns_segment(ctx: XdpContext) -> u32 {
    dns_stream::run(&ctx)
}

/// Tail-called for a DNS query that is answered here.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn dns_answer(ctx: XdpContext) -> u32 {
    dns::answer(&ctx)
}

/// Tail-called for a client's datagram that could be QUIC, once for each set of keys that is tried on its Initials.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn quic(ctx: XdpContext) -> u32 {
    quic::run(&ctx)
}

/// In the place of [`quic`] on a kernel that does not take it.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn quic_refused(ctx: XdpContext) -> u32 {
    quic_refused::run(&ctx)
}

/// Tail-called for the packet that opens a flow.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn destination(ctx: XdpContext) -> u32 {
    destination::run(&ctx)
}

/// Tail-called for a packet of a flow that an earlier policy judged, where nothing else is to be done with it.
#[cfg_attr(feature = "frags", xdp(frags))]
#[cfg_attr(not(feature = "frags"), xdp)]
pub(crate) fn rejudge(ctx: XdpContext) -> u32 {
    rejudge::run(&ctx)
}

/// TC ingress of the same interface, behind XDP: resets the client where XDP reset the server, or sends it a
/// block page.
#[classifier]
pub(crate) fn client_reset(ctx: TcContext) -> i32 {
    client_reset::run(&ctx)
}

/// TC egress: what goes to the LAN.
#[classifier]
pub(crate) fn egress(ctx: TcContext) -> i32 {
    egress::run(&ctx)
}

/// Tail-called at egress for what could be a DNS answer.
#[classifier]
pub(crate) fn dns_reply(ctx: TcContext) -> i32 {
    dns_reply::run(&ctx)
}

/// Helpers for GPL programs only (`bpf_ktime_get_coarse_ns`) want this word; the source is
/// Apache-2.0 OR MIT, both of which may be combined with it.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
