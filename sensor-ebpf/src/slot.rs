//! A slot: what is kept of one handshake whose hello came in more than one segment, or of requests that
//! the server has not acknowledged.
//!
//! Offsets count from [`Slot::base`], a sequence number. Bytes lie at their offset modulo
//! [`SLOT_BYTES`]: those that came ahead of others wait there, and those that were read stay to be
//! compared with what is sent again, as far back as no waiting byte needs the room.

use crate::abi::FlowKey;
use crate::cursor::{Window, bound, load_unaligned};
use crate::http::RequestReader;
use crate::quic::Connection;
use crate::tls::{HelloReader, READER_ROOM};

/// Bytes kept. Two segments of a post-quantum hello take half of it.
pub const SLOT_BYTES: usize = 4096;

/// Silence after which a slot may be given to another flow. A client that lost a segment sends it
/// again within 3 s (RFC 6298 section 2.1 with one back-off).
pub const SLOT_IDLE_NS: u64 = 5_000_000_000;

/// Age at which a slot may be given to another flow however busy it is. No handshake takes so long,
/// and who feeds his slots byte by byte must not keep them.
pub const SLOT_AGE_MAX_NS: u64 = 30_000_000_000;

/// Slots looked at for a free one.
pub const SLOT_PROBES: u32 = 16;

/// Slots one device may hold: browsers open some thirty connections at once, and a slot is held for
/// about one round trip.
pub const SLOTS_PER_CLIENT: u32 = 64;

/// Of these, for whole requests that wait for the server to acknowledge them: what comes in pieces always
/// finds as many again.
pub const SLOTS_FOR_WHOLE: u32 = SLOTS_PER_CLIENT / 2;

/// What a device holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SlotShare {
    /// Slots claimed and not given back.
    pub held: u32,
    /// Always 0.
    pub reserved: u32,
    /// When `held` was last set to 0 because it was full, ns of the sensor's clock.
    pub forgiven_ns: u64,
}

impl SlotShare {
    /// True where the device may claim no slot now. Slots of connections that died are not given back,
    /// they come free by their age: so after as long a time the count starts anew.
    #[inline(always)]
    pub const fn is_full(&mut self, now_ns: u64) -> bool {
        if self.held < SLOTS_PER_CLIENT {
            return false;
        }
        if now_ns.saturating_sub(self.forgiven_ns) <= SLOT_IDLE_NS {
            return true;
        }
        self.held = 0;
        self.forgiven_ns = now_ns;
        false
    }
}

const INDEX_MASK: u32 = SLOT_BYTES as u32 - 1;
const WORDS: u32 = SLOT_BYTES as u32 / 64;

/// [`Slot::done`] of a stream that was read: it stays to compare with what is sent again.
pub const WHOLE: u32 = 1;

/// [`Slot::done`] of a connection of QUIC that is blocked: nothing more of it passes.
pub const REFUSED: u32 = 2;

/// One handshake under examination.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Slot {
    /// Bytes of the stream.
    pub bytes: [u8; SLOT_BYTES],
    /// What was read of them so far, of a hello.
    pub reader: HelloReader,
    /// One bit for each byte that came ahead of others.
    covered: [u64; WORDS as usize],
    /// The flow.
    pub key: FlowKey,
    /// 1 while a program works on it.
    pub lock: u32,
    /// 0 while the reader is at work, then [`WHOLE`] or [`REFUSED`].
    pub done: u32,
    /// When it was claimed, ns of the sensor's clock.
    pub first_ns: u64,
    /// When it was last used, ns of the sensor's clock; 0 where it is free.
    pub last_ns: u64,
    /// Sequence number of offset 0.
    pub base: u32,
    /// Offset after the last byte that came in order.
    pub next: u32,
    /// Offset of the first byte that was kept.
    pub kept: u32,
    /// Offset after the furthest byte that came ahead; not above `next` where none waits.
    pub ahead: u32,
    /// What was read of them so far, of requests.
    pub requests: RequestReader,
    /// The connection of QUIC that the stream is of.
    pub connection: Connection,
    /// Slot of another connection of the same flow, from 1; 0 of none.
    pub also: u32,
    /// Always 0.
    pub reserved: u32,
}

// A masked store through the reader stays within the value.
const _: () = assert!(WORDS as usize * 8 >= READER_ROOM);

impl Slot {
    /// Takes the slot for a stream that was read, and not kept, up to `next`.
    #[inline(always)]
    pub fn begin(&mut self, key: &FlowKey, base: u32, next: u32) {
        key.copy_to(&mut self.key);
        self.base = base;
        self.next = next;
        self.kept = next;
        self.done = 0;
        self.ahead = 0;
        self.also = 0;
    }

    /// True where another flow may have it.
    #[inline(always)]
    pub const fn is_idle(&self, now_ns: u64) -> bool {
        self.last_ns == 0
            || now_ns.saturating_sub(self.last_ns) > SLOT_IDLE_NS
            || now_ns.saturating_sub(self.first_ns) > SLOT_AGE_MAX_NS
    }

    /// Offset of the oldest byte that is still there to be compared.
    #[inline(always)]
    pub const fn oldest(&self) -> u32 {
        let end = if self.ahead > self.next { self.ahead } else { self.next };
        let oldest = end.saturating_sub(SLOT_BYTES as u32);
        if oldest > self.kept { oldest } else { self.kept }
    }

    /// Where a run of waiting bytes must end: with the last of them, or with the ring.
    #[inline(always)]
    pub const fn run_end(&self) -> u32 {
        let ring_end = (self.next | INDEX_MASK) + 1;
        if self.ahead < ring_end { self.ahead } else { ring_end }
    }

    /// True where bytes wait for others.
    #[inline(always)]
    pub const fn has_waiting(&self) -> bool {
        self.ahead > self.next
    }

    /// The bits of the word that `offset` lies in.
    #[inline(always)]
    fn word(&self, offset: u32) -> u64 {
        let index = bound::<{ WORDS - 1 }>(offset >> 6) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        unsafe { *self.covered.as_ptr().add(index) }
    }

    /// Eight bytes of the ring from `offset` on, not wrapped round its end.
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the load does without it")]
    fn kept_word(&self, offset: u32) -> u64 {
        let index = bound::<INDEX_MASK>(offset) as usize;
        let at = core::ptr::from_ref(self).cast::<u8>().wrapping_add(index).cast::<u64>();
        // SAFETY: the index is within the array, and the reader follows it.
        unsafe { load_unaligned(at) }
    }
}

/// What a [`Coverage`] does with the bits of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cover {
    /// The bytes came ahead of others.
    Wait = 0,
    /// The bytes are in order now, or of no use.
    Forget = 1,
    /// Goes on to the first byte that is not there.
    Measure = 2,
}

/// Steps of a [`Coverage`]: the words of the ring, one cut in two.
pub const COVERAGE_STEPS_MAX: u32 = WORDS + 1;

/// Works on the bits of a range of offsets, one word at a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Coverage {
    /// Offset of the next byte.
    pub at: u32,
    to: u32,
    cover: u32,
}

impl Coverage {
    /// Starts at `from`, to end at `to`, at most [`SLOT_BYTES`] further.
    #[inline(always)]
    pub const fn begin(&mut self, cover: Cover, from: u32, to: u32) {
        self.at = from;
        self.to = to;
        self.cover = cover as u32;
    }

    /// Takes one word. `false`: done.
    #[inline(always)]
    pub fn step(&mut self, slot: &mut Slot) -> bool {
        if self.at >= self.to {
            return false;
        }
        let bit = self.at & 63;
        let room = 64 - bit;
        let left = self.to - self.at;
        let count = if left < room { left } else { room };
        let index = bound::<{ WORDS - 1 }>(self.at >> 6) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        let word = unsafe { &mut *slot.covered.as_mut_ptr().add(index) };
        if self.cover == Cover::Measure as u32 {
            let run = (!*word >> bit).trailing_zeros();
            let whole = run >= count;
            self.at += if whole { count } else { run };
            return whole;
        }
        let ones = if count == 64 { u64::MAX } else { (1 << count) - 1 };
        if self.cover == Cover::Wait as u32 {
            *word |= ones << bit;
        } else {
            *word &= !(ones << bit);
        }
        self.at += count;
        true
    }
}

/// Compares bytes of a segment with those kept of the same offsets, eight at a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Comparison {
    /// Offset of the next byte in the stream.
    pub at: u32,
    /// Offset to compare to.
    pub to: u32,
    /// The next byte's place in the window.
    pub window_at: u32,
    /// 1 where a byte differed.
    pub differs: u32,
}

impl Comparison {
    /// Compares up to eight bytes. `false`: done.
    #[inline(always)]
    pub fn step(&mut self, slot: &Slot, window: &Window) -> bool {
        if self.at >= self.to {
            return false;
        }
        let mut count = self.to - self.at;
        let most = |count: u32, most: u32| if count < most { count } else { most };
        count = most(count, 8);
        count = most(count, SLOT_BYTES as u32 - (self.at & INDEX_MASK));
        let bits = if self.at < slot.next {
            count = most(count, slot.next - self.at);
            0xff
        } else {
            count = most(count, 64 - (self.at & 63));
            slot.word(self.at) >> (self.at & 63)
        };
        let bits = bits & ((1 << count) - 1);
        if (window.word(self.window_at) ^ slot.kept_word(self.at)) & bytes_of(bits) != 0 {
            self.differs = 1;
            return false;
        }
        self.at += count;
        self.window_at += count;
        true
    }
}

/// Spreads the lowest eight bits over the bytes of a word.
#[inline(always)]
const fn bytes_of(bits: u64) -> u64 {
    let spread = (bits & 0xff).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    let tops = (((spread & 0x7f7f_7f7f_7f7f_7f7f) + 0x7f7f_7f7f_7f7f_7f7f) | spread)
        & 0x8080_8080_8080_8080;
    (tops >> 7).wrapping_mul(0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does by `bpf_loop`.
    fn cover(slot: &mut Slot, cover: Cover, from: u32, to: u32) -> u32 {
        let mut coverage = Coverage::default();
        coverage.begin(cover, from, to);
        for _ in 0..COVERAGE_STEPS_MAX {
            if !coverage.step(slot) {
                return coverage.at - from;
            }
        }
        assert!(!coverage.step(slot), "the steps suffice");
        coverage.at - from
    }

    fn measured(slot: &mut Slot) -> u32 {
        let next = slot.next;
        cover(slot, Cover::Measure, next, slot.run_end())
    }

    fn slot() -> Box<Slot> {
        // SAFETY: integers and arrays of them only.
        unsafe { Box::<Slot>::new_zeroed().assume_init() }
    }

    #[test]
    fn waiting_bytes_are_found_where_the_gap_closes() {
        let mut slot = slot();
        for (next, runs) in [
            (0, &[(0, 1)][..]),
            (0, &[(0, 64)]),
            (0, &[(0, 4096)]),
            (100, &[(100, 163), (163, 900)]),
            (4000, &[(4000, 4096)]),
            (4000, &[(4000, 4200)]),
            (5, &[(10, 20)]),
        ] {
            slot.begin(&FlowKey::default(), 1, next);
            assert!(!slot.has_waiting());
            for (from, to) in runs {
                cover(&mut slot, Cover::Wait, *from, *to);
                slot.ahead = *to;
            }
            let end = runs.last().map_or(0, |run| run.1);
            let expected = if runs[0].0 > next {
                0
            } else {
                end.min(next.next_multiple_of(4096).max(1)) - next
            };
            let expected = if next == 0 { end } else { expected };
            assert_eq!(measured(&mut slot), expected, "{next} {runs:?}");
            assert!(slot.has_waiting());
            for (from, to) in runs {
                cover(&mut slot, Cover::Forget, *from, *to);
            }
            assert_eq!(slot.covered, [0; 64]);
            slot.ahead = 0;
        }
    }

    #[test]
    fn random_pieces_wait_as_in_a_plain_set() {
        let mut slot = slot();
        slot.begin(&FlowKey::default(), 0, 3000);
        let mut plain = [false; 8192];
        let mut seed = 0x1234_5678_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        for _ in 0..2000 {
            let from = 3000 + random(4096);
            let to = (from + 1 + random(90)).min(3000 + 4096);
            let set = random(3) != 0;
            cover(&mut slot, if set { Cover::Wait } else { Cover::Forget }, from, to);
            slot.ahead = slot.ahead.max(to);
            plain[from as usize..to as usize].fill(set);
            let run = plain[3000..].iter().take_while(|bit| **bit).count() as u32;
            assert_eq!(measured(&mut slot), run.min(4096 - 3000));
        }
    }

    #[test]
    fn a_byte_that_differs_is_found_and_one_that_was_not_kept_is_not_compared() {
        let mut slot = slot();
        let stream: Vec<u8> = (0..3000_u32).map(|at| (at * 7) as u8).collect();
        slot.begin(&FlowKey::default(), 0, 1000);
        slot.bytes[..3000].copy_from_slice(&stream);
        cover(&mut slot, Cover::Wait, 1500, 2000);
        slot.ahead = 2000;
        let differs = |from: usize, to: usize, at: usize| {
            let mut sent = stream.clone();
            sent[at] ^= 0x40;
            let window = Window::new(&sent[from..to]);
            let mut comparison =
                Comparison { at: from as u32, to: to as u32, window_at: 0, differs: 0 };
            let mut steps = 0;
            while comparison.step(&slot, &window) {
                steps += 1;
                assert!(steps < 1000);
            }
            comparison.differs == 1
        };
        for at in [0, 1, 7, 8, 63, 64, 999, 1500, 1501, 1563, 1999] {
            assert!(differs(0, 2100, at), "{at}");
            assert!(!differs(at + 1, 2100, at), "{at} is not in the segment");
        }
        for at in [1000, 1001, 1499, 2000, 2050] {
            assert!(!differs(0, 2100, at), "{at} was not kept");
        }
    }
}
