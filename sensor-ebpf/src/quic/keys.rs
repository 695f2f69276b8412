//! Keys of a client's Initials (RFC 9001 section 5.2, RFC 9369 section 3.3).
//!
//! HKDF-Extract and HKDF-Expand-Label (RFC 5869, RFC 8446 section 7.1) are HMAC-SHA256 over one block each,
//! fourteen compressions in all. What depends on salts and labels only is computed when this is compiled.

use super::connection::{ConnectionId, MESSAGE_END};
use super::header::Version;
use crate::cursor::{bound, zero};
use crate::sha256::{
    BLOCK, BLOCK_BYTES, COMPRESSION_STEPS, INITIAL_STATE, STATE, Sha256, compress,
};

/// Steps to the keys.
pub const KEY_STEPS_MAX: u32 = COMPRESSIONS * COMPRESSION_STEPS;

const COMPRESSIONS: u32 = 14;

// HMAC (RFC 2104 section 2).
const INNER_PAD: u32 = 0x3636_3636;
const OUTER_PAD: u32 = 0x5c5c_5c5c;

/// Words of a key.
const KEY: usize = 4;
/// Words of an initialisation vector.
const VECTOR: usize = 3;

/// What protects a client's Initials, as big-endian words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Keys {
    /// Key of AES-128-GCM.
    pub key: [u32; KEY],
    /// Initialisation vector.
    pub iv: [u32; VECTOR],
    /// Key of header protection.
    pub hp: [u32; KEY],
}

/// States of HMAC behind the first block, of a key that is known.
#[derive(Clone, Copy)]
struct Salted {
    inner: [u32; STATE],
    outer: [u32; STATE],
}

/// By [`Version`]; the last one fills the array up to the mask of its index.
static SALTS: [Salted; 4] = [
    // RFC 9001 section 5.2.
    salted([0x3876_2cf7, 0xf559_34b3, 0x4d17_9ae6, 0xa4c8_0cad, 0xccbb_7f0a]),
    // RFC 9369 section 3.3.1.
    salted([0x0ded_e3de, 0xf700_a6db, 0x8193_81be, 0x6e26_9dcb, 0xf9bd_2ed9]),
    // draft-ietf-quic-tls-29 section 5.2.
    salted([0xafbf_ec28, 0x9993_d24c, 0x9e97_86f1, 0x9c61_11e0, 0x4390_a899]),
    salted([0; 5]),
];

const SECRET_BYTES: u8 = 32;

/// Last blocks of the inner hash, one for each label; the last one fills the array up to the mask of its index.
static LABELS: [[u32; BLOCK]; 8] = [
    label(b"client in", SECRET_BYTES),
    label(b"quic key", 4 * KEY as u8),
    label(b"quic iv", 4 * VECTOR as u8),
    label(b"quic hp", 4 * KEY as u8),
    label(b"quicv2 key", 4 * KEY as u8),
    label(b"quicv2 iv", 4 * VECTOR as u8),
    label(b"quicv2 hp", 4 * KEY as u8),
    [0; BLOCK],
];

const CLIENT_IN: u32 = 0;
/// Index of the first label of version 2, less that of the others.
const VERSION_2: u32 = 3;

/// Makes [`Keys`] from a connection ID, one part of a compression at a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KeySchedule {
    /// The keys, once [`Self::step`] gave `false`.
    pub keys: Keys,
    sha: Sha256,
    /// The key of HMAC.
    secret: [u32; STATE],
    /// States of HMAC behind the block that has the key.
    inner: [u32; STATE],
    outer: [u32; STATE],
    /// A [`Version`].
    version: u32,
    /// Compressions done.
    done: u32,
}

// What the compressions are for, by their number. Odd ones from `SECRET` on are outer hashes.
const INITIAL_SECRET: u32 = 1;
const INITIAL_INNER: u32 = 2;
const INITIAL_OUTER: u32 = 3;
const CLIENT_LABEL: u32 = 4;
const CLIENT_SECRET: u32 = 5;
const CLIENT_INNER: u32 = 6;
const CLIENT_OUTER: u32 = 7;
const FIRST_LABEL: u32 = 8;
const THE_KEY: u32 = 9;
const THE_VECTOR: u32 = 11;
const THE_HEADER_KEY: u32 = 13;

impl KeySchedule {
    /// Starts with a connection ID, which is that of the client's first Initial: see
    /// [`Connection::id`](super::Connection::id).
    #[inline(always)]
    pub fn begin(&mut self, id: &ConnectionId, version: Version) {
        // SAFETY: the mask keeps the index below the length of the array.
        let salted = unsafe { &*SALTS.as_ptr().add(bound::<3>(version as u32) as usize) };
        self.version = version as u32;
        self.outer = salted.outer;
        self.sha.begin(salted.inner);
        self.done = 0;
        let nothing = u32::from(zero());
        for to in &mut self.sha.block {
            *to = nothing;
        }
        for (to, from) in self.sha.block.iter_mut().zip(&id.words) {
            *to = *from;
        }
        let [.., bits] = &mut self.sha.block;
        *bits = 8 * (BLOCK_BYTES + id.length);
    }

    /// Does a part of a compression. `false`: the keys are there.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        if self.sha.is_between() {
            self.load();
        }
        if self.sha.step() {
            return true;
        }
        self.keep();
        self.done += 1;
        self.done < COMPRESSIONS
    }

    /// Puts the next block in place, and the state it follows.
    #[inline(always)]
    fn load(&mut self) {
        match self.done {
            0 => {}
            INITIAL_INNER | CLIENT_INNER => self.load_key(INNER_PAD),
            INITIAL_OUTER | CLIENT_OUTER => self.load_key(OUTER_PAD),
            number if number & 1 != 0 => self.load_outer(),
            number => {
                let version_2 = if self.version == Version::V2 as u32 { VERSION_2 } else { 0 };
                self.load_label(if number == CLIENT_LABEL {
                    CLIENT_IN
                } else {
                    1 + (number - FIRST_LABEL) / 2 + version_2
                });
            }
        }
    }

    /// The block that has the key of HMAC.
    #[inline(always)]
    fn load_key(&mut self, pad: u32) {
        for (to, from) in self.sha.block.iter_mut().zip(self.secret) {
            *to = from ^ pad;
        }
        for to in self.sha.block.iter_mut().skip(STATE) {
            *to = pad;
        }
        self.sha.begin(INITIAL_STATE);
    }

    /// The block that has a label.
    #[inline(always)]
    fn load_label(&mut self, label: u32) {
        // SAFETY: the mask keeps the index below the length of the array.
        self.sha.block = unsafe { *LABELS.as_ptr().add(bound::<7>(label) as usize) };
        self.sha.begin(self.inner);
    }

    /// The block that has the inner hash.
    #[inline(always)]
    fn load_outer(&mut self) {
        let nothing = u32::from(zero());
        for (to, from) in self.sha.block.iter_mut().zip(self.sha.state) {
            *to = from;
        }
        for to in self.sha.block.iter_mut().skip(STATE) {
            *to = nothing;
        }
        let [_, _, _, _, _, _, _, _, end, .., bits] = &mut self.sha.block;
        *end = MESSAGE_END;
        *bits = 8 * (BLOCK_BYTES + u32::from(SECRET_BYTES));
        self.sha.begin(self.outer);
    }

    /// Keeps what the last compression made.
    #[inline(always)]
    fn keep(&mut self) {
        let [a, b, c, d, ..] = self.sha.state;
        match self.done {
            INITIAL_SECRET | CLIENT_SECRET => self.secret = self.sha.state,
            INITIAL_INNER | CLIENT_INNER => self.inner = self.sha.state,
            INITIAL_OUTER | CLIENT_OUTER => self.outer = self.sha.state,
            THE_KEY => self.keys.key = [a, b, c, d],
            THE_VECTOR => self.keys.iv = [a, b, c],
            THE_HEADER_KEY => self.keys.hp = [a, b, c, d],
            _ => {}
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "by counters below the length, when this is compiled")]
const fn salted(salt: [u32; 5]) -> Salted {
    let mut blocks = [[INNER_PAD; BLOCK], [OUTER_PAD; BLOCK]];
    let mut word = 0;
    while word < salt.len() {
        blocks[0][word] ^= salt[word];
        blocks[1][word] ^= salt[word];
        word += 1;
    }
    Salted { inner: compress(INITIAL_STATE, blocks[0]), outer: compress(INITIAL_STATE, blocks[1]) }
}

/// The message of HKDF-Expand-Label without a context, padded: `HkdfLabel` (RFC 8446 section 7.1) and a 1
/// for the first block of output (RFC 5869 section 2.3).
#[expect(clippy::indexing_slicing, reason = "by counters below the length, when this is compiled")]
const fn label(name: &[u8], output_bytes: u8) -> [u32; BLOCK] {
    const PREFIX: &[u8] = b"tls13 ";
    const NAME_AT: usize = 3 + PREFIX.len();
    let mut bytes = [0_u8; BLOCK_BYTES as usize];
    bytes[1] = output_bytes;
    bytes[2] = (PREFIX.len() + name.len()) as u8;
    let mut at = 0;
    while at < PREFIX.len() {
        bytes[3 + at] = PREFIX[at];
        at += 1;
    }
    at = 0;
    while at < name.len() {
        bytes[NAME_AT + at] = name[at];
        at += 1;
    }
    // Behind the name lies the length of the context.
    let counter = NAME_AT + name.len() + 1;
    bytes[counter] = 1;
    bytes[counter + 1] = 0x80;
    let mut block = [0; BLOCK];
    let mut word = 0;
    while word < BLOCK {
        let at = 4 * word;
        block[word] = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        word += 1;
    }
    block[BLOCK - 1] = 8 * (BLOCK_BYTES + counter as u32 + 1);
    block
}
