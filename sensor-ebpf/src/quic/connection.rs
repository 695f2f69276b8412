//! What is kept of a connection between its Initials, beside the stream of its hello.
//!
//! A connection is known by the connection ID that made its keys, not by addresses and ports alone: who sends a
//! hello for one connection between the pieces of another's must hide neither.

use super::header::{CONNECTION_ID_MAX, LongHeader, Version};
use super::keys::Keys;
use crate::cursor::Window;

/// The byte that ends a message (FIPS 180-4 section 5.1.1), as the first of a word.
pub(super) const MESSAGE_END: u32 = 0x8000_0000;

/// Words of the longest connection ID, and one for the byte that ends it.
const ID_WORDS: usize = CONNECTION_ID_MAX as usize / 4 + 1;

/// A connection ID as it is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ConnectionId {
    /// Big-endian, with the byte that ends a message: no two IDs of different length are the same.
    pub(super) words: [u32; ID_WORDS],
    /// Bytes, at most 20.
    pub(super) length: u32,
}

impl ConnectionId {
    /// Takes the Destination Connection ID of a packet.
    #[inline(always)]
    pub fn take(&mut self, header: &LongHeader, window: &Window) {
        let length = header.destination_length;
        self.length = length;
        for (index, to) in (0_u32..).zip(&mut self.words) {
            let at = 4 * index;
            let word = (u64::from_be(window.word(header.destination_at + at)) >> 32) as u32;
            let bits = 8 * length.saturating_sub(at).min(4);
            let end = if at > length { 0 } else { (u64::from(MESSAGE_END) >> bits) as u32 };
            *to = word & !((0xffff_ffff_u64 >> bits) as u32) | end;
        }
    }

    /// True where both are the same.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        let mut differs = 0;
        for (one, other) in self.words.iter().zip(&other.words) {
            differs |= one ^ other;
        }
        differs == 0
    }
}

/// A client's side of a connection, up to its hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// The packet number behind the highest one so far.
    pub expected: u64,
    /// What protects its Initials.
    pub keys: Keys,
    /// The connection ID that made the keys: the first one of the client's, or that of a Retry. The client's
    /// packets have another one as soon as the server has chosen it, and the same keys.
    pub id: ConnectionId,
    /// A [`Version`].
    version: u32,
    /// Datagrams with pieces of its hello.
    pub datagrams: u32,
}

impl Connection {
    /// Starts with an Initial that was opened with the keys of its own connection ID.
    #[inline(always)]
    pub const fn begin(&mut self, id: &ConnectionId, version: Version, keys: &Keys) {
        self.expected = 0;
        self.keys = *keys;
        self.id = *id;
        self.version = version as u32;
        self.datagrams = 0;
    }

    /// True where the keys are those of this version. Others are made of the same connection ID: server and client
    /// may go over to another version in the middle of a handshake (RFC 9368 section 2.3, RFC 9369 section 4.1).
    #[inline(always)]
    pub const fn is_version(&self, version: Version) -> bool {
        self.version == version as u32
    }

    /// Notes the number of a packet that was opened and walked.
    #[inline(always)]
    pub const fn opened(&mut self, number: u64) {
        if number >= self.expected {
            self.expected = number + 1;
        }
    }
}
