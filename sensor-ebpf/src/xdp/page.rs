//! Which block page a client gets in place of its reset.

use sensor_ebpf::abi::{Flow, NameSource, NoName, Page, PageKey};
use sensor_ebpf::flow::{mark, peer_mark};
use sensor_ebpf::normalise::is_before;
use sensor_ebpf::parse::Packet;

use crate::group;
use crate::maps::PAGES;

/// The page of a blocked flow, if the policy has one.
///
/// Only where the client has all that the server sent: it would take a page for the rest of an answer that
/// is still on its way.
#[inline(always)]
pub(crate) fn of_blocked(flow: &mut Flow, segment: &Packet) -> Option<PageKey> {
    let is_request =
        flow.name_source == NameSource::Http as u8 && flow.no_name == NoName::Named as u8;
    let has_all =
        flow.peer_marks & peer_mark::SEEN == 0 || flow.peer_next == segment.acknowledgement;
    if !is_request || !has_all {
        return None;
    }
    let key = key_of(flow)?;
    find(&key)?;
    flow.marks |= mark::PAGED;
    // From here on the server sends nothing.
    flow.peer_next = segment.acknowledgement;
    Some(key)
}

/// The page the client of a flow was sent already; `None` where that has arrived, or is there no more.
#[inline(always)]
pub(crate) fn again(flow: &Flow, segment: &Packet) -> Option<PageKey> {
    if is_before(flow.peer_next, segment.acknowledgement) {
        return None;
    }
    let key = key_of(flow)?;
    find(&key)?;
    Some(key)
}

/// The page itself.
#[inline(always)]
pub(crate) fn find(key: &PageKey) -> Option<&'static Page> {
    // SAFETY: a push writes the keys of a generation that is not in force yet, and takes those of an older
    // one out behind a grace period.
    unsafe { PAGES.get(key) }
}

#[inline(always)]
fn key_of(flow: &Flow) -> Option<PageKey> {
    let blocked = flow.categories & group::masks_of(u32::from(flow.group), flow.policy).block;
    if blocked == 0 {
        return None;
    }
    let category = blocked.trailing_zeros() as u8;
    Some(PageKey { policy: flow.policy, group: flow.group, category, reserved: 0 })
}
