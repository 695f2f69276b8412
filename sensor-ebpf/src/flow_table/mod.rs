//! The flow table: where a flow may lie, and who may do what to its entry. The same source in the kernel, where any
//! CPU makes flows and adds to them, and in user space, which alone takes them out.
//!
//! # Layout
//!
//! Two arrays. One has buckets of eight tags, a line of a CPU's cache each, behind a first line with the table's
//! [`Head`]; the other has the entry of each tag ([`FlowEntry`](crate::abi::FlowEntry): key, state, and what is recorded of
//! it). A flow may lie in two buckets, which its [`hash()`] tells, and is made in the one with more room: with four entries
//! for every three flows, one in some ten thousand of the last finds both full. The hash is the same for both directions
//! of a conversation: a packet whose flow has the ends the other way round is found by the same look.
//!
//! # Tags
//!
//! | low 16 bits | state | who gets out of it, to where |
//! |---|---|---|
//! | the whole word is 0 | free | a program that claims it |
//! | `1 << way` above 8 bits | claimed: one program writes its entry | that program: live, or free again |
//! | `1 << way` | live: everybody may add to its entry | user space: closing |
//! | 0 | closing: programs that found it live may still add | user space: free, or claimed by [`reopen`] |
//!
//! The high 48 bits are the hash's, one of them always set. Two flows with the same 47 bits and bucket are not told
//! apart by their tags: the second gets no entry, at odds of 1 in 10^12 a flow.
//!
//! # Rules
//!
//! 1. A program claims a free tag by compare-and-swap, and looks for the same hash once more. Of several CPUs that
//!    make a flow at once each sees the others' claims or is seen: who sees one gives its own up ([`Refusal::Busy`]), so
//!    that a flow is never in the table twice.
//! 2. The entry is written before the tag says live. Key and flow of a free entry are nobody's.
//! 3. User space has a tag say closing, waits until every program that was running then has ended (a grace period of RCU),
//!    and reads the entry: no program adds to it any more, since nobody finds it. Then the tag is free. A packet that
//!    comes meanwhile makes another flow. Where the entry has begun to be a connection's that goes on, user space has
//!    it found again, as a program that makes it: unless there is another by now.
//! 4. Only user space takes flows out. With no room left packets are judged by their bytes, counted as `table-full`.
//! 5. A tag at its flow's [`home`] is where a look begins: it is the common case, and costs one wait for memory.
//!
//! `tests` goes through the interleavings of small tables that have up to two forced switches.

mod hash;
#[cfg(test)]
mod tests;

pub use hash::{Head, hash};

use crate::cursor::{is_zero, or_if_short};

/// Tags of a bucket.
pub const WAYS: u32 = 8;

/// Bits of a tag that say what state it is in.
const STATE: u64 = 0xffff;

/// The lowest bit of a tag's hash, always set: no tag in use is 0.
const USED: u64 = STATE + 1;

/// Bits of live tags in what a look finds.
const LIVE: u64 = 0xff;

/// Where those of claimed tags begin.
const CLAIMED_SHIFT: u32 = 8;

/// Entries for three flows: where more are filled two full buckets come to be likely.
const ENTRIES_FOR_THREE: u64 = 4;

/// Buckets of a table for so many flows.
///
/// ```
/// assert_eq!(sensor_ebpf::flow_table::buckets(262_144), 43_691);
/// ```
pub const fn buckets(flows: u32) -> u32 {
    let entries = (flows as u64 * ENTRIES_FOR_THREE).div_ceil(3);
    let buckets = entries.div_ceil(WAYS as u64);
    if buckets == 0 { 1 } else { buckets as u32 }
}

/// Flows for which so many buckets have room.
pub const fn flows(buckets: u32) -> u32 {
    (buckets as u64 * WAYS as u64 * 3 / ENTRIES_FOR_THREE) as u32
}

/// The tags of a bucket. Of a model's, fewer than [`WAYS`].
pub trait Bucket: Copy {
    /// How many there are.
    const WAYS: u32 = WAYS;

    /// Reads a tag.
    fn load(self, way: u32) -> u64;

    /// Has a tag say `to` if it says `from`, with a full barrier; false where it does not.
    fn swap(self, way: u32, from: u64, to: u64) -> bool;

    /// Has a tag that is the caller's say something else, behind everything the caller wrote before.
    fn store(self, way: u32, tag: u64);
}

/// The tags of a table.
pub trait Tags {
    /// Eight of them.
    type Bucket: Bucket;

    /// A bucket by its number; `None` behind the last.
    fn bucket(&self, number: u32) -> Option<Self::Bucket>;
}

/// Where a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its bucket.
    pub bucket: u32,
    /// Which tag of the bucket.
    pub way: u32,
}

impl Place {
    /// Number of its entry.
    #[inline(always)]
    pub const fn entry(self) -> u32 {
        self.bucket * WAYS + self.way
    }
}

/// The two buckets a flow may lie in, which may be one: 0 to `buckets` - 1.
#[inline(always)]
pub const fn places(hash: u64, buckets: u32) -> [u32; 2] {
    // The bits of the tag serve here once more, stirred: of two flows with one tag few have one bucket.
    crate::table::places(hash, buckets)
}

/// The tag that a flow is given where it is free: whoever looks for the flow reads its entry at once, and not only
/// when the tags have said which it is.
#[inline(always)]
pub const fn home(hash: u64, [first, _]: [u32; 2]) -> Place {
    // Bits that say little of the bucket.
    Place { bucket: first, way: (hash >> 16) as u32 & (WAYS - 1) }
}

/// What a live tag says.
#[inline(always)]
pub const fn live(hash: u64, way: u32) -> u64 {
    closing(hash) | 1 << way
}

/// What a closing tag says.
#[inline(always)]
const fn closing(hash: u64) -> u64 {
    hash & !STATE | USED
}

/// Whether a tag says live.
pub const fn is_live(tag: u64) -> bool {
    tag & LIVE != 0
}

/// Whether a tag says closing.
pub const fn is_closing(tag: u64) -> bool {
    tag != 0 && tag & STATE == 0
}

/// Whether a tag says claimed.
pub const fn is_claimed(tag: u64) -> bool {
    tag & STATE & !LIVE != 0
}

#[inline(always)]
const fn claimed(hash: u64, way: u32) -> u64 {
    closing(hash) | 1 << way << CLAIMED_SHIFT
}

/// The live ways of a bucket in bits 0 to 7, and its claimed ones in bits 8 to 15, that have this hash.
///
/// Without branches: which of the eight it is no predictor knows, and the verifier would go every way.
#[inline(always)]
fn look<B: Bucket>(bucket: B, hash: u64) -> u64 {
    let wanted = closing(hash);
    let mut found = 0;
    for way in 0..B::WAYS {
        // Of equal hashes the state is left.
        found = or_if_short(found, bucket.load(way) ^ wanted);
    }
    found
}

/// Where the live tag with this hash is; `None` of none.
#[inline(always)]
pub fn find<T: Tags>(tags: &T, [first, second]: [u32; 2], hash: u64) -> Option<Place> {
    let in_first = look(tags.bucket(first)?, hash) & LIVE;
    let in_second = look(tags.bucket(second)?, hash) & LIVE;
    let found = in_first | in_second;
    if found == 0 {
        return None;
    }
    let bucket = if in_first == 0 { second } else { first };
    Some(Place { bucket, way: lowest(found) })
}

/// Why a flow got no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Both buckets are full.
    Full,
    /// Another CPU makes the same flow at this moment, or took the same free tag.
    Busy,
}

/// Claims an entry for a flow that was not found. It is the caller's to write, and to [`publish`].
#[inline(always)]
pub fn claim<T: Tags>(tags: &T, [first, second]: [u32; 2], hash: u64) -> Result<Place, Refusal> {
    let (Some(in_first), Some(in_second)) = (tags.bucket(first), tags.bucket(second)) else {
        return Err(Refusal::Full);
    };
    let (in_first, in_second) = (free_ways(in_first), free_ways(in_second));
    let way = home(hash, [first, second]).way % T::Bucket::WAYS;
    let is_home_free = in_first >> way & 1 != 0;
    let takes_second = !is_home_free && count(in_second) > count(in_first);
    let (number, other) = if takes_second { (second, first) } else { (first, second) };
    let free = if takes_second { in_second } else { in_first };
    if free == 0 {
        return Err(Refusal::Full);
    }
    // By their numbers once more: of two pointers the verifier would have to be sure which it is.
    let (Some(bucket), Some(elsewhere)) = (tags.bucket(number), tags.bucket(other)) else {
        return Err(Refusal::Full);
    };
    let way = if is_home_free { way } else { lowest(free) };
    let own = claimed(hash, way);
    if !bucket.swap(way, 0, own) {
        return Err(Refusal::Busy);
    }
    let others = look(bucket, hash) & !(own & STATE);
    // Where both are one bucket, all of it was seen.
    let elsewhere = if number == other { 0 } else { look(elsewhere, hash) };
    if others | elsewhere != 0 {
        bucket.store(way, 0);
        return Err(Refusal::Busy);
    }
    Ok(Place { bucket: number, way })
}

/// Lets everybody find the flow, whose entry is written.
#[inline(always)]
pub fn publish<B: Bucket>(bucket: B, way: u32, hash: u64) {
    bucket.store(way, live(hash, way));
}

/// Has nobody find the flow any more; false where it is not live. Programs may add to it until a grace period is over.
pub fn close<B: Bucket>(bucket: B, way: u32, hash: u64) -> bool {
    bucket.swap(way, live(hash, way), closing(hash))
}

/// Lets everybody find a flow again that was to go, when a grace period is over; false where it has another entry by now.
pub fn reopen<T: Tags>(tags: &T, places: [u32; 2], place: Place, hash: u64) -> bool {
    let bucket = |number| tags.bucket(number);
    let (Some(own), Some(first), Some(second)) =
        (bucket(place.bucket), bucket(places[0]), bucket(places[1]))
    else {
        return false;
    };
    // As whoever claims it: of those that do so at once each sees the others or is seen.
    if !own.swap(place.way, closing(hash), claimed(hash, place.way)) {
        return false;
    }
    let seen = |bucket| look(bucket, hash).count_ones();
    let others = if places[0] == places[1] { 0 } else { seen(second) };
    let is_alone = seen(first) + others == 1;
    own.store(place.way, if is_alone { live(hash, place.way) } else { closing(hash) });
    is_alone
}

/// Has a claim say closing whose owner died in [`reopen`].
pub fn abandon<B: Bucket>(bucket: B, way: u32, tag: u64) -> bool {
    bucket.swap(way, tag, closing(tag))
}

/// Gives the entry of a closing tag free, when a grace period is over and it was read.
pub fn free<B: Bucket>(bucket: B, way: u32) {
    bucket.store(way, 0);
}

/// The free ways of a bucket, bit by bit.
#[inline(always)]
fn free_ways<B: Bucket>(bucket: B) -> u64 {
    let mut free = 0;
    for way in 0..B::WAYS {
        free |= is_zero(bucket.load(way)) << way;
    }
    free
}

/// How many of eight bits are set, without branches.
#[inline(always)]
const fn count(bits: u64) -> u64 {
    let pairs = (bits & 0x55) + (bits >> 1 & 0x55);
    let fours = (pairs & 0x33) + (pairs >> 2 & 0x33);
    (fours & 0xf) + (fours >> 4)
}

/// The number of the lowest of eight bits, without branches; 0 where none is set.
#[inline(always)]
const fn lowest(bits: u64) -> u32 {
    let lowest = bits & bits.wrapping_neg();
    let ones = (lowest >> 1 | lowest >> 3 | lowest >> 5 | lowest >> 7) & 1;
    let twos = (lowest >> 2 | lowest >> 3 | lowest >> 6 | lowest >> 7) & 1;
    let fours = (lowest >> 4 | lowest >> 5 | lowest >> 6 | lowest >> 7) & 1;
    (ones | twos << 1 | fours << 2) as u32
}
