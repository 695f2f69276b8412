//! The programs' half of the flow table, see [`sensor_ebpf::flow_table`].

use sensor_ebpf::abi::{Accounting, Flow, FlowKey};
use sensor_ebpf::cursor::bound;
use sensor_ebpf::flow_table::{self, Bucket, Head, Refusal, Tags, WAYS};

use super::Found;
use crate::maps::{FLOW_ENTRIES, FLOW_TAGS};

/// The tags, behind the line with the head.
struct Lines;

impl Tags for Lines {
    type Bucket = Tagged;

    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<Tagged> {
        FLOW_TAGS.get_ptr_mut(number + 1).map(|line| Tagged(line.cast()))
    }
}

/// Eight tags, which every CPU and user space write.
#[derive(Clone, Copy)]
struct Tagged(*mut u64);

impl Tagged {
    #[inline(always)]
    fn tag(self, way: u32) -> *mut u64 {
        // SAFETY: the mask keeps the tag within the line's eight.
        unsafe { self.0.add(bound::<{ WAYS - 1 }>(way) as usize) }
    }
}

impl Tagged {
    /// Reads a tag whose number is known at run time only.
    #[inline(always)]
    fn load_any(self, way: u32) -> u64 {
        // SAFETY: a live map value; volatile, because others write it.
        unsafe { self.tag(way).read_volatile() }
    }
}

impl Bucket for Tagged {
    #[inline(always)]
    fn load(self, way: u32) -> u64 {
        // SAFETY: a live map value with so many tags; volatile, because others write it.
        unsafe { self.0.add(way as usize).read_volatile() }
    }

    #[inline(always)]
    fn swap(self, way: u32, from: u64, to: u64) -> bool {
        let tag = self.tag(way);
        #[cfg(target_arch = "bpf")]
        {
            use core::intrinsics::{AtomicOrdering, atomic_cxchg};
            const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
            // SAFETY: an aligned word of a live map value.
            let (_, swapped) = unsafe { atomic_cxchg::<u64, { ORDER }, { ORDER }>(tag, from, to) };
            swapped
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            // SAFETY: as above.
            unsafe {
                tag.read() == from && {
                    tag.write(to);
                    true
                }
            }
        }
    }

    #[inline(always)]
    fn store(self, way: u32, value: u64) {
        let tag = self.tag(way);
        #[cfg(target_arch = "bpf")]
        {
            use core::intrinsics::{AtomicOrdering, atomic_xchg};
            // An exchange, because it alone keeps the stores before it where they are.
            // SAFETY: an aligned word of a live map value.
            let _before = unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(tag, value) };
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            // SAFETY: as above.
            unsafe { tag.write(value) };
        }
    }
}

/// Where a flow would be.
#[inline(always)]
fn locate(key: &FlowKey) -> Option<([u32; 2], u64)> {
    let head = Head::of(FLOW_TAGS.get(0)?);
    let hash = flow_table::hash(&head, key);
    Some((flow_table::places(hash, head.buckets), hash))
}

/// The flow between these two ends, whichever way round.
#[inline(always)]
pub(super) fn find(key: &FlowKey) -> Option<Found> {
    let (places, hash) = locate(key)?;
    let home = flow_table::home(hash, places);
    if let Some(found) = FLOW_ENTRIES.get_ptr_mut(home.entry())
        && let Some(bucket) = Lines.bucket(home.bucket)
    {
        // SAFETY: as below. Of an entry that is not live the key says nothing, but then its tag is another one.
        let (found, flow) = unsafe { (&(*found).key, &raw mut (*found).flow) };
        let tag = bucket.load_any(home.way) ^ flow_table::live(hash, home.way);
        if tag | found.difference(key) == 0 {
            return Some(Found { flow, entry: home.entry(), is_reverse: false });
        }
    }
    let number = flow_table::find(&Lines, places, hash)?.entry();
    let entry = FLOW_ENTRIES.get_ptr_mut(number)?;
    // SAFETY: a live map value. The key of a live entry is written by nobody.
    let (found, flow) = unsafe { (&(*entry).key, &raw mut (*entry).flow) };
    let is_reverse = !found.is(key);
    (!is_reverse || found.is_reverse_of(key)).then_some(Found { flow, entry: number, is_reverse })
}

/// The flow in an entry that this run has found before.
#[inline(always)]
pub(super) fn at(entry: u32) -> Option<*mut Flow> {
    // SAFETY: a live map value.
    FLOW_ENTRIES.get_ptr_mut(entry).map(|entry| unsafe { &raw mut (*entry).flow })
}

/// Makes a flow that was not found.
#[inline(always)]
pub(super) fn make(key: &FlowKey, first: impl FnOnce() -> Flow) -> Result<Found, Accounting> {
    let Some((places, hash)) = locate(key) else { return Err(Accounting::TableFull) };
    let place = match flow_table::claim(&Lines, places, hash) {
        Ok(place) => place,
        Err(Refusal::Full) => return Err(Accounting::TableFull),
        Err(Refusal::Busy) => return Err(Accounting::FlowBusy),
    };
    let Some(bucket) = Lines.bucket(place.bucket) else { return Err(Accounting::TableFull) };
    let Some(entry) = FLOW_ENTRIES.get_ptr_mut(place.entry()) else {
        flow_table::free(bucket, place.way);
        return Err(Accounting::TableFull);
    };
    // SAFETY: a live map value, which is this program's to write while the tag is claimed.
    let flow = unsafe {
        key.copy_to(&mut (*entry).key);
        (*entry).flow = first();
        &raw mut (*entry).flow
    };
    flow_table::publish(bucket, place.way, hash);
    Ok(Found { flow, entry: place.entry(), is_reverse: false })
}
