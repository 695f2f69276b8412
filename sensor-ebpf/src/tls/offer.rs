//! The key of what a hello offers: equal for hellos that differ only in GREASE and in the order of
//! their extensions, which Chromium draws anew for each connection.

use super::HelloReader;
use crate::abi::StoredHello;
use crate::cursor::{bound, load_unaligned, store_unaligned};

/// Steps of an [`OfferHash`]: the words of four lists, and one step at the end of each.
pub const OFFER_STEPS_MAX: u32 = 64;

/// An odd constant with about as many ones as zeroes.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a value over 64 bits.
#[inline(always)]
pub(super) const fn mix(value: u64) -> u64 {
    let mixed = value.wrapping_mul(MULTIPLIER);
    (mixed ^ mixed >> 29).wrapping_mul(MULTIPLIER)
}

/// Puts 0x0a0a in the place of each GREASE value (RFC 8701): two equal bytes that end in `a`.
#[inline(always)]
pub(super) const fn without_grease(word: u64) -> u64 {
    let nibbles = (word ^ 0x0a0a_0a0a_0a0a_0a0a) & 0x0f0f_0f0f_0f0f_0f0f;
    let unequal = (word ^ word >> 8) & 0x00ff_00ff_00ff_00ff;
    let other = nibbles | unequal;
    // The top bit of each lane that is not 0; no lane is above 0x0fff.
    let kept = (other + 0x7fff_7fff_7fff_7fff) & 0x8000_8000_8000_8000;
    let grease = (!kept & 0x8000_8000_8000_8000) >> 15;
    let lanes = grease.wrapping_mul(0xffff);
    word & !lanes | 0x0a0a_0a0a_0a0a_0a0a & lanes
}

/// A hash over the lists of a [`StoredHello`], word by word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OfferHash {
    value: u64,
    /// Which list, in the order of the struct.
    list: u32,
    /// Bytes of it that were taken.
    taken: u32,
}

/// Offset of a list in the struct.
const LISTS_AT: [u32; 4] = [
    core::mem::offset_of!(StoredHello, cipher_suites) as u32,
    core::mem::offset_of!(StoredHello, signature_algorithms) as u32,
    core::mem::offset_of!(StoredHello, alpn) as u32,
    core::mem::offset_of!(StoredHello, supported_versions) as u32,
];
const PROTOCOLS: u32 = 2;

/// Mask of an offset in the struct, for the verifier.
const OFFSET_MASK: u32 = 511;
const _: () = assert!(OFFSET_MASK as usize + 8 <= size_of::<StoredHello>());
const _: () = assert!(
    core::mem::offset_of!(StoredHello, extension_types) <= OFFSET_MASK as usize,
    "the lists lie below the mask"
);

impl OfferHash {
    /// Starts over a hello that was read whole.
    #[inline(always)]
    pub fn begin(&mut self, reader: &HelloReader, key: u64) {
        let offer = reader.offer();
        let version = u64::from(offer.legacy_version) << 32 | u64::from(offer.extensions);
        self.value = mix(key ^ reader.types_hash()) ^ mix(version);
        self.list = 0;
        self.taken = 0;
    }

    /// Takes one word, and takes GREASE out of it where it lies. `false`: all is taken.
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the load and the store do without it")]
    pub fn step(&mut self, reader: &mut HelloReader) -> bool {
        let offer = &mut reader.offer;
        let (at, length) = match self.list {
            0 => (LISTS_AT[0], offer.cipher_suites_length),
            1 => (LISTS_AT[1], offer.signature_algorithms_length),
            PROTOCOLS => (LISTS_AT[2], offer.alpn_length),
            3 => (LISTS_AT[3], offer.supported_versions_length),
            _ => return false,
        };
        let room = match self.list {
            0 => crate::abi::CIPHER_SUITES_BYTES,
            1 => crate::abi::SIGNATURE_ALGORITHMS_BYTES,
            PROTOCOLS => crate::abi::ALPN_BYTES,
            _ => crate::abi::SUPPORTED_VERSIONS_BYTES,
        } as u32;
        let length = if u32::from(length) > room { room } else { u32::from(length) };
        if self.taken >= length {
            self.value = mix(self.value ^ u64::from(length));
            self.list += 1;
            self.taken = 0;
            return true;
        }
        let index = bound::<OFFSET_MASK>(at + self.taken) as usize;
        let word = core::ptr::from_mut(offer).cast::<u8>().wrapping_add(index).cast::<u64>();
        // SAFETY: the mask keeps eight bytes from `index` on within the struct.
        let mut bytes = unsafe { load_unaligned(word) };
        let left = length - self.taken;
        if left < 8 {
            bytes &= (1 << (8 * left)) - 1;
        }
        if self.list != PROTOCOLS {
            bytes = without_grease(bytes);
        }
        // SAFETY: as above.
        unsafe { store_unaligned(word, bytes) };
        self.value = mix(self.value ^ bytes);
        self.taken += 8;
        true
    }

    /// The key; never 0.
    #[inline(always)]
    pub const fn key(&self) -> u64 {
        self.value | 1
    }
}
