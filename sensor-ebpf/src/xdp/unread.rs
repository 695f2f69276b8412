//! Fragments and odd extension headers: packets without a flow, through which a handshake could pass
//! unread. Policy says what becomes of them.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Happening, NoName, Verdict};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::Unread;
use sensor_ebpf::policy::decide_nameless;

use crate::account::Row;
use crate::group::{masks_of, of_sender};
use crate::maps::{self, sight};

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    let Some(unread) = Unread::parse(cursor).filter(|unread| unread.is_handshake) else {
        return XDP_PASS;
    };
    let reason = NoName::try_from(examination.event.no_name).unwrap_or(NoName::Fragment);
    row.no_name(reason);
    let policy = maps::control().map_or(0, |control| control.policy);
    let group = of_sender(ctx, unread.source, examination.counters, policy);
    let masks = masks_of(group, policy);
    let blocked = decide_nameless(reason, &masks) == Verdict::Block;
    if !blocked || examination.sight & sight::TAP != 0 {
        return XDP_PASS;
    }
    row.happened(Happening::UnreadDropped);
    XDP_DROP
}
