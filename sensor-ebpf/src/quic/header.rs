//! The packets of a datagram, and their long headers (RFC 9000 sections 12.2 and 17.2).

use super::Unread;
use super::kind::is_gquic;
use crate::cursor::Window;

/// Bytes of a connection ID in all versions that are read (RFC 9000 section 17.2).
pub(super) const CONNECTION_ID_MAX: u32 = 20;

/// Steps over a datagram: each passes over a packet, and the shortest one has eight bytes.
pub const DATAGRAM_STEPS_MAX: u32 = crate::cursor::WINDOW as u32 / 8 + 1;

/// Bytes from the start of a packet to the first connection ID's length: the first byte and the version.
const FIXED: u32 = 5;

/// Header Form: the header is a long one.
const LONG: u32 = 0x80;

/// RFC 9369 section 3.1.
const VERSION_2: u32 = 0x6b33_43cf;
/// The last draft that was deployed.
const VERSION_DRAFT_29: u32 = 0xff00_001d;

/// A version whose Initials can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Version {
    /// RFC 9000.
    #[default]
    V1 = 0,
    /// RFC 9369.
    V2 = 1,
    /// draft-ietf-quic-transport-29. Up to draft-32 only the number is another one.
    Draft29 = 2,
}

impl Version {
    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::Draft29 => "draft-29",
        }
    }

    /// The version with this number on the wire.
    #[inline(always)]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            VERSION_2 => Some(Self::V2),
            VERSION_DRAFT_29 => Some(Self::Draft29),
            _ => None,
        }
    }
}

/// A packet of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// An Initial: what it has is in [`Datagram::header`].
    Initial,
    /// 0-RTT or Handshake, whose keys are not known. Another packet may follow it.
    Other,
    /// A Retry (RFC 9000 section 17.2.5), which takes the rest of the datagram. Its source connection ID makes the
    /// keys of the Initials that follow.
    Retry,
    /// There is no further packet, or only one with a short header, which has no length.
    End,
}

/// Where the fields of a long header lie in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LongHeader {
    /// A [`Version`].
    version: u32,
    /// Offset of the first byte.
    pub at: u32,
    /// Offset of the Destination Connection ID.
    pub destination_at: u32,
    /// Bytes of it, at most 20.
    pub destination_length: u32,
    /// Offset of the Source Connection ID.
    pub source_at: u32,
    /// Bytes of it, at most 20.
    pub source_length: u32,
    /// Bytes of the token, which lies before the length of the packet.
    pub token_length: u32,
    /// Offset of the packet number.
    pub number_at: u32,
    /// Offset behind the packet.
    pub end: u32,
}

impl LongHeader {
    /// The packet's version.
    #[inline(always)]
    pub const fn version(&self) -> Version {
        match self.version {
            0 => Version::V1,
            1 => Version::V2,
            _ => Version::Draft29,
        }
    }
}

/// Goes through the packets of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Datagram {
    /// The long header that the last step read.
    pub header: LongHeader,
    /// Offset of the next packet.
    next: u32,
}

impl Datagram {
    /// Starts at the first packet.
    #[inline(always)]
    pub const fn begin(&mut self) {
        self.next = 0;
    }

    /// True where no byte is left behind the packets read.
    #[inline(always)]
    pub const fn is_over(&self, window: &Window) -> bool {
        self.next >= window.length
    }

    /// Reads the header of the next packet and goes on behind it.
    #[inline(always)]
    pub fn step(&mut self, window: &Window) -> Result<Packet, Unread> {
        let at = self.next;
        if at >= window.length {
            return if at == 0 { Err(Unread::NotQuic) } else { Ok(Packet::End) };
        }
        let word = u64::from_be(window.word(at));
        let first = (word >> 56) as u32;
        if first & LONG == 0 {
            // Also the zeroes that some senders pad datagrams with, behind the packets.
            return if at == 0 { Err(Unread::NotQuic) } else { Ok(Packet::End) };
        }
        self.header.at = at;
        let ids_at = at + FIXED;
        if ids_at > window.length {
            return Err(if at == 0 { Unread::NotQuic } else { Unread::Truncated });
        }
        let number = (word >> 24) as u32;
        let version = Version::of(number);
        if is_gquic(number) {
            // Up to version 50 its connection IDs are not where those of other versions are.
            return Err(if at == 0 { Unread::Gquic } else { Unread::Truncated });
        }
        let Some(behind) = self.connection_ids(window, ids_at) else {
            return Err(if version.is_none() { Unread::NotQuic } else { Unread::Truncated });
        };
        let Some(version) = version else {
            return Err(if number == 0 { Unread::Negotiation } else { Unread::UnknownVersion });
        };
        if self.header.destination_length > CONNECTION_ID_MAX
            || self.header.source_length > CONNECTION_ID_MAX
        {
            return Err(Unread::Malformed);
        }
        self.header.version = version as u32;
        // The Fixed Bit may be 0 (RFC 9287), so nothing is told from it. Version 2 counts its types from 1 on,
        // with Retry as 0 (RFC 9369 section 3.2).
        let shift = u32::from(version as u32 == Version::V2 as u32);
        let kind = (first >> 4).wrapping_sub(shift) & 3;
        if kind == 3 {
            self.next = window.length;
            return Ok(Packet::Retry);
        }
        self.length(window, behind, kind == 0)
    }

    /// The connection IDs (RFC 8999 section 5.1): offset of what follows them, where they fit.
    #[inline(always)]
    fn connection_ids(&mut self, window: &Window, at: u32) -> Option<u32> {
        let destination_length = u32::from(window.u8(at).ok()?);
        let source_length_at = at + 1 + destination_length;
        let source_length = u32::from(window.u8(source_length_at).ok()?);
        self.header.destination_at = at + 1;
        self.header.destination_length = destination_length;
        self.header.source_at = source_length_at + 1;
        self.header.source_length = source_length;
        let behind = source_length_at + 1 + source_length;
        if behind <= window.length { Some(behind) } else { None }
    }

    /// The token of an Initial, and the length of the rest of the packet.
    #[inline(always)]
    fn length(&mut self, window: &Window, at: u32, is_initial: bool) -> Result<Packet, Unread> {
        let mut at = at;
        self.header.token_length = 0;
        if is_initial {
            let token = Varint::read(window, at, window.length).ok_or(Unread::Truncated)?;
            if token.value > u64::from(window.length - token.behind) {
                return Err(Unread::Truncated);
            }
            self.header.token_length = token.value as u32;
            at = token.behind + token.value as u32;
        }
        let length = Varint::read(window, at, window.length).ok_or(Unread::Truncated)?;
        if length.value > u64::from(window.length - length.behind) {
            return Err(Unread::Truncated);
        }
        self.header.number_at = length.behind;
        self.header.end = length.behind + length.value as u32;
        self.next = self.header.end;
        Ok(if is_initial { Packet::Initial } else { Packet::Other })
    }
}

/// A variable-length integer (RFC 9000 section 16). Longer encodings than needed are read as servers read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Varint {
    /// Below 2^62.
    pub(super) value: u64,
    /// Offset of what follows it.
    pub(super) behind: u32,
}

impl Varint {
    /// Reads the one at `at`, which must not reach behind `end`.
    #[inline(always)]
    pub(super) fn read(window: &Window, at: u32, end: u32) -> Option<Self> {
        let word = u64::from_be(window.word(at));
        let bytes = 1_u32 << (word >> 62);
        let behind = at + bytes;
        if behind > end {
            return None;
        }
        Some(Self { value: (word << 2) >> (66 - 8 * bytes), behind })
    }
}
