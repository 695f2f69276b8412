//! Orders from XDP to TC ingress about one packet: in its metadata, or, where the driver carries none, in a
//! map under the packet's flow.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_meta;
use aya_ebpf::programs::{TcContext, XdpContext};
use sensor_ebpf::abi::{FlowKey, Happening, Interface};
use sensor_ebpf::parse::{Packet, RST};
use sensor_ebpf::reset::Order;

use crate::account::Row;
use crate::maps::{INTERFACES, ORDERS};

/// Leaves an order with the packet. After it the packet's addresses must be read anew.
#[inline(always)]
pub(crate) fn leave(
    ctx: &XdpContext,
    key: &FlowKey,
    order: &Order,
    ifindex: u32,
    row: Row,
) -> Option<()> {
    let interface = INTERFACES.get_ptr_mut(ifindex)?;
    // SAFETY: the pointer is a live map value.
    let interface = unsafe { &mut *interface };
    if interface.without_metadata == 0 && in_metadata(ctx, order)? {
        return Some(());
    }
    interface.without_metadata = 1;
    row.happened(Happening::ResetWithoutMetadata);
    ORDERS.insert(key, order, 0).ok()
}

/// `Some(false)`: the driver has no room for it.
#[inline(always)]
fn in_metadata(ctx: &XdpContext, order: &Order) -> Option<bool> {
    const ROOM: i32 = -(size_of::<Order>().cast_signed() as i32);
    // SAFETY: the context is the one this program was called with.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, ROOM) } != 0 {
        return Some(false);
    }
    let at = ctx.metadata();
    if at + size_of::<Order>() > ctx.metadata_end() {
        return None;
    }
    // SAFETY: the room was checked against the start of the packet just now.
    unsafe { (at as *mut Order).write(*order) };
    Some(true)
}

/// The order in the packet's metadata.
#[inline(always)]
pub(crate) fn in_front_of(ctx: &TcContext) -> Option<Order> {
    // SAFETY: the context is the one this program was called with.
    let meta = unsafe { (*ctx.skb.skb).data_meta } as usize;
    if meta + size_of::<Order>() > ctx.data() {
        return None;
    }
    // SAFETY: the room was checked against the start of the packet just now.
    let order = unsafe { *(meta as *const Order) };
    (order.magic == Order::MAGIC).then_some(order)
}

/// The order that waits in the map for this packet, which is one XDP made a reset of.
#[inline(always)]
pub(crate) fn waiting(packet: &Packet, interface: &Interface) -> Option<Order> {
    if packet.tcp_flags & RST == 0 {
        return None;
    }
    let key = FlowKey::from_lan(packet, interface.zone);
    // SAFETY: the value is copied out at once; it is the last of its flow's.
    let order = unsafe { ORDERS.get(&key) }.copied()?;
    let _gone = ORDERS.remove(&key);
    Some(order)
}
