//! SHA-256 (FIPS 180-4 section 6.2), one compression in four steps.
//!
//! Sixteen rounds a step: fewer would cost more calls than rounds, and all sixty-four at once would be
//! walked by the verifier as a whole.

use crate::cursor::bound;

/// Words of a hash value.
pub(crate) const STATE: usize = 8;
/// Words of a block.
pub(crate) const BLOCK: usize = 16;
/// Bytes of a block.
pub(crate) const BLOCK_BYTES: u32 = 64;

/// Rounds of one step: as many as the words of the schedule that are kept.
const ROUNDS: usize = BLOCK;
/// Steps of one compression.
pub(crate) const COMPRESSION_STEPS: u32 = (ROUND_COUNT / ROUNDS) as u32;
const ROUND_COUNT: usize = 64;

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (section 4.2.2), by step.
static CONSTANTS: [[u32; ROUNDS]; ROUND_COUNT / ROUNDS] = constants();

/// The first 32 bits of the fractional parts of the square roots of the first eight primes (section 5.3.3).
pub(crate) const INITIAL_STATE: [u32; STATE] = initial_state();

/// Hash value, schedule and working variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sha256 {
    /// The hash value before the compression under way, and after it.
    pub(crate) state: [u32; STATE],
    /// The block; what follows it in the schedule takes its place.
    pub(crate) block: [u32; BLOCK],
    /// The working variables a to h.
    working: [u32; STATE],
    /// Steps done of the compression under way.
    steps: u32,
}

impl Sha256 {
    /// Starts a compression behind this state. The block is the caller's to fill.
    #[inline(always)]
    pub(crate) const fn begin(&mut self, state: [u32; STATE]) {
        self.state = state;
        self.begin_block();
    }

    /// Starts a compression behind the one before.
    #[inline(always)]
    pub(crate) const fn begin_block(&mut self) {
        self.steps = 0;
    }

    /// True where the next step begins a compression.
    #[inline(always)]
    pub(crate) const fn is_between(&self) -> bool {
        self.steps == 0
    }

    /// Does sixteen rounds. `false`: the compression is over.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> bool {
        if self.steps == 0 {
            self.working = self.state;
        }
        let step = bound::<{ COMPRESSION_STEPS - 1 }>(self.steps) as usize;
        // SAFETY: the mask keeps the index below the length of the array.
        let constants = unsafe { &*CONSTANTS.as_ptr().add(step) };
        rounds(&mut self.working, &self.block, constants);
        if self.steps + 1 < COMPRESSION_STEPS {
            extend(&mut self.block);
            self.steps += 1;
            return true;
        }
        add(&mut self.state, &self.working);
        self.steps = 0;
        false
    }
}

/// A whole compression, for what is known when this is compiled.
pub(crate) const fn compress(mut state: [u32; STATE], mut block: [u32; BLOCK]) -> [u32; STATE] {
    let constants = constants();
    let mut working = state;
    let mut rest: &[[u32; ROUNDS]] = &constants;
    while let [next, behind @ ..] = rest {
        rounds(&mut working, &block, next);
        extend(&mut block);
        rest = behind;
    }
    add(&mut state, &working);
    state
}

/// Step 3 of section 6.2.2, sixteen times.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "by constants, or by a counter below the length")]
#[expect(clippy::many_single_char_names, reason = "as the standard has them")]
const fn rounds(working: &mut [u32; STATE], block: &[u32; BLOCK], constants: &[u32; ROUNDS]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *working;
    let mut round = 0;
    while round < ROUNDS {
        let first = h
            .wrapping_add((rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) as u32)
            .wrapping_add(g ^ (e & (f ^ g)))
            .wrapping_add(constants[round])
            .wrapping_add(block[round]);
        let second = ((rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) as u32)
            .wrapping_add((a & b) | (c & (a | b)));
        h = g;
        g = f;
        f = e;
        e = d.wrapping_add(first);
        d = c;
        c = b;
        b = a;
        a = first.wrapping_add(second);
        round += 1;
    }
    *working = [a, b, c, d, e, f, g, h];
}

/// A word rotated to the right, in the lower half. BPF has no rotation, and takes three instructions more for one
/// that is written as such.
#[inline(always)]
const fn rotated(word: u32, by: u32) -> u64 {
    ((word as u64) << 32 | word as u64) >> by
}

/// Step 1 of section 6.2.2: the next sixteen words of the schedule.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the indices are taken modulo the length")]
const fn extend(block: &mut [u32; BLOCK]) {
    let mut word = 0;
    while word < BLOCK {
        let (old, new) = (block[(word + 1) % BLOCK], block[(word + 14) % BLOCK]);
        block[word] = block[word]
            .wrapping_add((rotated(old, 7) ^ rotated(old, 18)) as u32 ^ (old >> 3))
            .wrapping_add(block[(word + 9) % BLOCK])
            .wrapping_add((rotated(new, 17) ^ rotated(new, 19)) as u32 ^ (new >> 10));
        word += 1;
    }
}

/// Step 4 of section 6.2.2.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "by a counter below the length")]
const fn add(state: &mut [u32; STATE], working: &[u32; STATE]) {
    let mut word = 0;
    while word < STATE {
        state[word] = state[word].wrapping_add(working[word]);
        word += 1;
    }
}

#[expect(clippy::indexing_slicing, reason = "by a counter below the length, when this is compiled")]
const fn constants() -> [[u32; ROUNDS]; ROUND_COUNT / ROUNDS] {
    let mut constants = [[0; ROUNDS]; ROUND_COUNT / ROUNDS];
    let (mut prime, mut index) = (2, 0);
    while index < ROUND_COUNT {
        constants[index / ROUNDS][index % ROUNDS] = root(prime << 96, 3);
        prime = next_prime(prime);
        index += 1;
    }
    constants
}

#[expect(clippy::indexing_slicing, reason = "by a counter below the length, when this is compiled")]
const fn initial_state() -> [u32; STATE] {
    let mut state = [0; STATE];
    let (mut prime, mut index) = (2, 0);
    while index < STATE {
        state[index] = root(prime << 64, 2);
        prime = next_prime(prime);
        index += 1;
    }
    state
}

/// The lowest 32 bits of the integer part of a root, which is below 2^37.
const fn root(of: u128, degree: u32) -> u32 {
    let (mut root, mut bit) = (0_u128, 1_u128 << 36);
    while bit != 0 {
        if (root | bit).pow(degree) <= of {
            root |= bit;
        }
        bit >>= 1;
    }
    root as u32
}

const fn next_prime(after: u128) -> u128 {
    let mut candidate = after + 1;
    let mut divisor = 2;
    while divisor * divisor <= candidate {
        if candidate.is_multiple_of(divisor) {
            candidate += 1;
            divisor = 2;
        } else {
            divisor += 1;
        }
    }
    candidate
}

/// A message as blocks (section 5.1.1).
#[cfg(test)]
pub(crate) fn padded(message: &[u8]) -> Vec<[u32; BLOCK]> {
    let mut bytes = message.to_vec();
    bytes.push(0x80);
    while bytes.len() % 64 != 56 {
        bytes.push(0);
    }
    bytes.extend((message.len() as u64 * 8).to_be_bytes());
    bytes
        .chunks_exact(64)
        .map(|block| {
            let word = |at: usize| block[at * 4..at * 4 + 4].try_into().unwrap();
            core::array::from_fn(|at| u32::from_be_bytes(word(at)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_those_of_the_standard() {
        assert_eq!(CONSTANTS[0][..4], [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5]);
        assert_eq!(CONSTANTS[3][12..], [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2]);
        assert_eq!(INITIAL_STATE[0], 0x6a09_e667);
        assert_eq!(INITIAL_STATE[7], 0x5be0_cd19);
    }

    #[test]
    fn examples_of_the_standard() {
        // FIPS 180-2 appendix B.
        let million = vec![b'a'; 1_000_000];
        for (message, expected) in [
            (&b"abc"[..], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ] {
            let mut sha = Sha256 { state: INITIAL_STATE, ..Sha256::default() };
            let mut at_once = INITIAL_STATE;
            for block in padded(message) {
                sha.block = block;
                assert!(sha.is_between());
                for step in 1..=COMPRESSION_STEPS {
                    assert_eq!(sha.step(), step < COMPRESSION_STEPS);
                }
                at_once = compress(at_once, block);
            }
            assert_eq!(sha.state.map(|word| format!("{word:08x}")).concat(), expected);
            assert_eq!(at_once, sha.state);
        }
    }
}
