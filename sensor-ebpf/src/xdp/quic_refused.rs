//! QUIC on a kernel whose verifier does not take the stage that reads it: policy decides about it unread.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::NoName;
use sensor_ebpf::quic::Kind;

use crate::account::Row;
use crate::handshake::{self, carry_out};
use crate::maps::{self, stage};
use crate::{payload, quic};

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    handshake::begin(examination);
    if payload::fill_window(ctx, examination, 0).is_err() {
        return XDP_PASS;
    }
    let fate = match Kind::of(&examination.window, examination.event.key.peer_port) {
        Kind::Long | Kind::Short | Kind::Gquic => {
            quic::refused(examination, NoName::QuicUnsupported, row)
        }
        Kind::Dtls => quic::plain(examination, NoName::Dtls, row),
        Kind::Other => quic::plain(examination, NoName::NotQuic, row),
    };
    let fate = quic::without_hello(examination, fate);
    carry_out::<{ stage::QUIC }>(ctx, examination, fate, row)
}
