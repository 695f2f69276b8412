//! The hash of a flow: keyed, and the same for both directions.

use crate::abi::table::Line;
use crate::abi::{Address, FlowKey};

/// The first line of the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Buckets behind it; 0 of a table that was not set up.
    pub buckets: u32,
    /// Drawn at random on the machine, each for 32 bits of what is hashed.
    pub keys: [u64; KEYS],
}

/// Four for an address, one for its port, one for zone and protocol.
const KEYS: usize = 6;

impl Head {
    /// Reads the first line.
    #[inline(always)]
    pub const fn of(line: &Line) -> Self {
        let [buckets, k0, k1, k2, k3, k4, k5, _] = line.words;
        Self { buckets: buckets as u32, keys: [k0, k1, k2, k3, k4, k5] }
    }

    /// The first line.
    pub const fn line(&self) -> Line {
        let [k0, k1, k2, k3, k4, k5] = self.keys;
        Line { words: [self.buckets as u64, k0, k1, k2, k3, k4, k5, 0] }
    }
}

/// Hashes a flow.
///
/// Each end is a sum of products with random numbers (multilinear hashing, Lemire and Kaser, "Strongly universal string
/// hashing is fast"): who does not know them makes two ends of one sum by one guess in 2^33. The sums are stirred before
/// they are added, and both have the same numbers, so that it does not matter which end is which.
#[inline(always)]
pub const fn hash(head: &Head, key: &FlowKey) -> u64 {
    let [k0, k1, k2, k3, k4, k5] = head.keys;
    let numbers = [k0, k1, k2, k3, k4];
    let lan = end(numbers, key.lan_address, key.lan_port);
    let peer = end(numbers, key.peer_address, key.peer_port);
    let rest = (key.zone as u64) << 8 | key.protocol as u64;
    stir(lan.wrapping_add(peer).wrapping_add(rest.wrapping_mul(k5)))
}

#[inline(always)]
const fn end(numbers: [u64; 5], address: Address, port: u16) -> u64 {
    let [k0, k1, k2, k3, k4] = numbers;
    let Address([high, low]) = address;
    let sum = (high >> 32)
        .wrapping_mul(k0)
        .wrapping_add((high & 0xffff_ffff).wrapping_mul(k1))
        .wrapping_add((low >> 32).wrapping_mul(k2))
        .wrapping_add((low & 0xffff_ffff).wrapping_mul(k3))
        .wrapping_add((port as u64).wrapping_mul(k4));
    stir(sum)
}

/// Spreads a number over all its bits: two rounds of the finaliser of `SplitMix64`, one product each.
#[inline(always)]
const fn stir(mut number: u64) -> u64 {
    number ^= number >> 32;
    number = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^= number >> 29;
    number = number.wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 32
}
