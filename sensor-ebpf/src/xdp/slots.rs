//! The slots: claiming one for a flow, working on it alone, giving it back.

use sensor_ebpf::abi::{Address, Flow, FlowKey, NoName};
use sensor_ebpf::slot::{REFUSED, SLOT_PROBES, SLOTS_FOR_WHOLE, Slot, SlotShare, WHOLE};

use crate::account::Row;
use crate::lock;
use crate::maps::{SLOT_SHARES, SLOTS};

/// What became of a flow's slot.
pub(crate) enum Opened {
    /// It is the flow's own, and locked.
    Own(&'static mut Slot),
    /// Another CPU works on it.
    Busy,
    /// It was given to another flow.
    Lost,
}

/// Claims and locks a slot; its number is the one to keep in the flow.
///
/// Another flow's slot is taken only where it has been silent for long. A device that holds its share
/// gets none: with half a hello on each of thousands of connections it could take all of them.
#[inline(always)]
pub(crate) fn claim(
    key: &FlowKey,
    now_ns: u64,
    hash_key: u64,
    row: Row,
) -> Result<(u32, &'static mut Slot), NoName> {
    if share(&key.lan_address).is_some_and(|share| share.is_full(now_ns)) {
        return Err(NoName::SlotShare);
    }
    // SAFETY: a read of an initialised static; volatile, because the loader rewrites it.
    let slots = unsafe { core::ptr::read_volatile(&raw const HANDSHAKE_SLOTS) };
    let first = spread(key, hash_key);
    let mut probe = 0;
    while probe < SLOT_PROBES {
        // Scales 32 bits to the number of slots.
        let place = first.wrapping_add(probe.wrapping_mul(0x9e37_79b9));
        let number = ((u64::from(place) * u64::from(slots)) >> 32) as u32;
        probe += 1;
        // Its flow's own segment is not to find it locked, so it is looked at first.
        if !looks_idle(number, now_ns) {
            continue;
        }
        let Some(slot) = locked(number) else { continue };
        if !slot.is_idle(now_ns) {
            unlock(slot);
            continue;
        }
        if slot.last_ns != 0 {
            if slot.reader.is_begun() && !slot.reader.is_named() {
                // Half a hello, and then silence.
                row.no_name(NoName::Truncated);
            }
            give_back(slot);
        }
        take_one(&key.lan_address);
        slot.first_ns = now_ns;
        slot.last_ns = now_ns;
        return Ok((number + 1, slot));
    }
    Err(NoName::SlotFull)
}

/// True where a device may hold one for what is whole.
#[inline(always)]
pub(crate) fn has_room_for_whole(device: &Address) -> bool {
    share(device).is_none_or(|share| share.held < SLOTS_FOR_WHOLE)
}

/// Slots of the map, set when the object is loaded.
#[unsafe(no_mangle)]
static HANDSHAKE_SLOTS: u32 = 6144;

/// Opens the slot a flow has the number of.
#[inline(always)]
pub(crate) fn open(number: u32, key: &FlowKey, now_ns: u64) -> Opened {
    let Some(slot) = locked(number.wrapping_sub(1)) else { return Opened::Busy };
    if slot.last_ns == 0 || slot.key != *key {
        unlock(slot);
        return Opened::Lost;
    }
    slot.last_ns = now_ns;
    Opened::Own(slot)
}

/// Ends the work on a slot; the flow keeps it.
#[inline(always)]
pub(crate) fn unlock(slot: &mut Slot) {
    lock::give_up(&mut slot.lock);
}

/// Ends the work on a slot and frees it.
#[inline(always)]
pub(crate) fn release(slot: &mut Slot) {
    give_back(slot);
    slot.last_ns = 0;
    unlock(slot);
}

/// Frees a flow's slot, where it has one; a busy one stays the flow's.
#[inline(always)]
pub(crate) fn free_of(flow: &mut Flow, key: &FlowKey) {
    if flow.slot == 0 {
        return;
    }
    let Some(slot) = locked(flow.slot.wrapping_sub(1)) else { return };
    flow.slot = 0;
    if slot.last_ns != 0 && slot.key == *key {
        release(slot);
    } else {
        unlock(slot);
    }
}

/// Frees a flow's newest slot where what it keeps was read whole; the one before it takes its place.
#[inline(always)]
pub(crate) fn free_whole(flow: &mut Flow, key: &FlowKey) {
    let Some(slot) = locked(flow.slot.wrapping_sub(1)) else { return };
    if slot.last_ns == 0 || slot.key != *key {
        flow.slot = 0;
    } else if slot.done == WHOLE {
        flow.slot = slot.also;
        release(slot);
        return;
    }
    unlock(slot);
}

/// Keeps a flow's connection as one that is blocked. `true`: it had its hello whole before.
#[inline(always)]
pub(crate) fn refuse(number: u32, key: &FlowKey) -> bool {
    let Some(slot) = locked(number.wrapping_sub(1)) else { return false };
    let is_own = slot.last_ns != 0 && slot.key == *key;
    let was_whole = is_own && slot.done == WHOLE;
    if is_own && slot.done != REFUSED {
        // A device has many blocked connections, and no other is to wait for them.
        give_back(slot);
        slot.done = REFUSED;
    }
    unlock(slot);
    was_whole
}

/// The slot with this number, to look at while others may write.
#[inline(always)]
pub(crate) fn peek(number: u32) -> Option<&'static Slot> {
    // SAFETY: a live map value; who looks takes what is torn for what is wrong.
    SLOTS.get_ptr(number.wrapping_sub(1)).map(|slot| unsafe { &*slot })
}

/// The slot, locked; `None` where it is or where there is none.
#[inline(always)]
fn locked(number: u32) -> Option<&'static mut Slot> {
    // SAFETY: a live map value; the lock makes the reference the only one that is used.
    let slot = unsafe { &mut *SLOTS.get_ptr_mut(number)? };
    lock::is_taken(&mut slot.lock).then_some(slot)
}

#[inline(always)]
fn looks_idle(number: u32, now_ns: u64) -> bool {
    // SAFETY: a live map value; what another CPU writes meanwhile is looked at again under the lock.
    SLOTS.get_ptr(number).is_some_and(|slot| unsafe { (*slot).is_idle(now_ns) })
}

#[inline(always)]
fn share(client: &Address) -> Option<&'static mut SlotShare> {
    // SAFETY: a live map value; counts are added to atomically.
    SLOT_SHARES.get_ptr_mut(client).map(|share| unsafe { &mut *share })
}

#[inline(always)]
fn take_one(client: &Address) {
    if let Some(share) = share(client) {
        add(&mut share.held, 1);
    } else {
        // A failure, or another CPU's first one, leaves the count too low by one.
        let first = SlotShare { held: 1, reserved: 0, forgiven_ns: 0 };
        let _counted = SLOT_SHARES.insert(client, &first, 0);
    }
}

/// Gives a slot back to its device's share, once.
#[inline(always)]
fn give_back(slot: &Slot) {
    if slot.done != REFUSED
        && let Some(share) = share(&slot.key.lan_address)
        && share.held > 0
    {
        add(&mut share.held, u32::MAX);
    }
}

/// Where to look for a slot first. Keyed, so that nobody can aim at the places of another flow.
#[inline(always)]
const fn spread(key: &FlowKey, hash_key: u64) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let [peer_high, peer_low] = key.peer_address.0;
    let [lan_high, lan_low] = key.lan_address.0;
    let ports = (key.lan_port as u64) << 16 | key.peer_port as u64;
    let mut mixed = hash_key;
    mixed = (mixed ^ lan_high ^ lan_low.rotate_left(17)).wrapping_mul(ODD);
    mixed = (mixed ^ mixed >> 29 ^ peer_high ^ peer_low.rotate_left(17)).wrapping_mul(ODD);
    mixed = (mixed ^ mixed >> 29 ^ ports).wrapping_mul(ODD);
    (mixed >> 32) as u32
}

#[inline(always)]
fn add(counter: &mut u32, amount: u32) {
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_xadd};
        // SAFETY: the reference is to an aligned, live map value.
        let _before =
            unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(counter, amount) };
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        *counter = counter.wrapping_add(amount);
    }
}
