//! From a packet to the group of its device, and what the group says.

use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    Address, GROUPS_MAX, GroupMasks, MemberKey, PREFIX_LEAD, Prefix, member, uses,
};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::{source_mac, vlan};

use crate::maps::{self, Examination, GROUP_PREFIXES, GROUPS, MEMBERS};

/// Which tables the policy of this generation has anything in: bits of [`uses`].
#[inline(always)]
pub(crate) fn uses_of(policy: u32) -> u32 {
    maps::control().map_or(0, |control| control.uses(policy))
}

/// The group of the device whose flow the packet belongs to, kept in the event.
#[inline(always)]
pub(crate) fn of(ctx: &XdpContext, examination: &mut Examination, policy: u32) -> u32 {
    let device = examination.event.key.lan_address;
    let group = if examination.packet.source == device {
        of_sender(ctx, device, examination.counters, policy)
    } else {
        // What else the frame tells is of the other end.
        of_address(device, policy)
    };
    examination.event.group = group as u16;
    // Through memory, where the verifier forgets by which way it was found: else it walks what follows once for each.
    // SAFETY: the place was written to just now.
    u32::from(unsafe { (&raw const examination.event.group).read_volatile() })
}

/// The group of who sent this frame, at the interface with these counters.
#[inline(always)]
pub(crate) fn of_sender(ctx: &XdpContext, device: Address, counters: u32, policy: u32) -> u32 {
    let uses = uses_of(policy);
    let find = |kind, number: u64| look_up(&MemberKey::number(policy, kind, number));
    if let Some(group) = of_login(device, policy, uses) {
        return group;
    }
    // SAFETY: the kernel keeps `data..data_end` readable for the whole run.
    let cursor = unsafe { Cursor::from_raw(ctx.data(), ctx.data_end()) };
    if uses & uses::MACS != 0
        && let Some(group) = source_mac(cursor).and_then(|mac| find(member::MAC, mac))
    {
        return group;
    }
    if let Some(group) = of_prefix(device, policy, uses) {
        return group;
    }
    if uses & uses::VLANS != 0
        && let Some(group) = vlan(cursor).and_then(|vlan| find(member::VLAN, vlan))
    {
        return group;
    }
    if uses & uses::INTERFACES != 0
        && let Some(group) = find(member::INTERFACE, u64::from(counters / 2))
    {
        return group;
    }
    0
}

/// The group of an address of which no frame is at hand.
#[inline(always)]
pub(crate) fn of_address(device: Address, policy: u32) -> u32 {
    let uses = uses_of(policy);
    of_login(device, policy, uses).or_else(|| of_prefix(device, policy, uses)).unwrap_or(0)
}

#[inline(always)]
fn of_login(device: Address, policy: u32, uses: u32) -> Option<u32> {
    if uses & uses::LOGINS == 0 {
        return None;
    }
    look_up(&MemberKey::login(policy, device))
}

#[inline(always)]
fn of_prefix(device: Address, policy: u32, uses: u32) -> Option<u32> {
    if uses & uses::PREFIXES == 0 {
        return None;
    }
    let key = Key::new(PREFIX_LEAD + 128, Prefix::new(policy, device));
    GROUP_PREFIXES.get(key).copied()
}

#[inline(always)]
fn look_up(key: &MemberKey) -> Option<u32> {
    // SAFETY: the value is copied out at once.
    unsafe { MEMBERS.get(key) }.copied()
}

/// What a group of a policy says.
#[inline(always)]
pub(crate) fn masks_of(group: u32, policy: u32) -> GroupMasks {
    let row = (policy & 1) * GROUPS_MAX + group.min(GROUPS_MAX - 1);
    GROUPS.get(row).copied().unwrap_or(GroupMasks::default())
}
