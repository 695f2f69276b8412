//! From a frame to a flow's packet: Ethernet, IP and transport, in wire order.

mod link;
mod network;
mod transport;
mod unread;

use crate::abi::{Accounting, Address};
use crate::cursor::{Cursor, Truncated};

pub use link::{source_mac, vlan};
pub use network::{EXTENSION_BYTES_MAX, EXTENSION_HEADERS_MAX};
pub use transport::{ACK, FIN, ICMP, ICMPV6, PSH, RST, SYN, TCP, UDP, URG};
pub use unread::Unread;

/// Why a frame belongs to no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// A header ended after the frame did.
    Truncated,
    /// A header contradicts itself.
    Malformed,
    /// More IPv6 extension headers than the walk allows.
    ExtensionHeaders,
    /// Not IPv4 or IPv6.
    NotIp,
    /// A fragment.
    Fragment,
}

impl Skip {
    /// How the frame is accounted.
    #[inline(always)]
    pub const fn accounting(self) -> Accounting {
        match self {
            Self::Truncated => Accounting::Truncated,
            Self::Malformed => Accounting::Malformed,
            Self::ExtensionHeaders => Accounting::ExtensionHeaders,
            Self::NotIp => Accounting::NotIp,
            Self::Fragment => Accounting::Fragment,
        }
    }
}

impl From<Truncated> for Skip {
    #[inline(always)]
    fn from(Truncated: Truncated) -> Self {
        Self::Truncated
    }
}

/// What lies between Ethernet and IP, as far as a length in it depends on the packet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Link {
    /// Nothing that does: tags and labels have no length.
    Plain = 0,
    /// A `PPPoE` session header, eight bytes before the IP header.
    Pppoe = 1,
}

/// What the headers of one packet say. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Sender.
    pub source: Address,
    /// Receiver.
    pub destination: Address,
    /// Sender's port; 0 where the protocol has none.
    pub source_port: u16,
    /// Receiver's port; 0 where the protocol has none.
    pub destination_port: u16,
    /// IP protocol number of the transport.
    pub protocol: u8,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// What lies below IP, a [`Link`].
    pub link: u8,
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of the transport header.
    pub transport: u32,
    /// Offset of the payload.
    pub payload: u32,
    /// Bytes of payload, without Ethernet padding.
    pub payload_length: u32,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
}

// Every value of a packet's bytes is a packet: an error would else be kept in place of an address, which
// the compiler would then handle byte by byte, on every packet's way.
const _: () = assert!(size_of::<Result<Packet, Skip>>() > size_of::<Packet>());

impl Packet {
    /// Reads the headers of a frame of `frame_length` bytes, of which `cursor` sees the first part.
    #[inline(always)]
    pub fn parse(mut cursor: Cursor<'_>, frame_length: u32) -> Result<Self, Skip> {
        let (ether_type, link) = link::parse(&mut cursor)?;
        let mut packet = network::parse(&mut cursor, ether_type, frame_length)?;
        packet.link = link;
        transport::parse(&mut cursor, &mut packet)?;
        Ok(packet)
    }

    /// The same packet. `nothing` is 0, which the verifier does not know: to it, fields that had one of a
    /// few values may have any now, and it walks what follows once, not once for every way a packet can be
    /// built.
    #[must_use]
    #[inline(always)]
    pub const fn blurred(self, nothing: u8) -> Self {
        let mut packet = self.blurred_where_asked(nothing);
        packet.source.0[0] ^= nothing as u64;
        packet.source.0[1] ^= nothing as u64;
        packet.destination.0[0] ^= nothing as u64;
        packet.destination.0[1] ^= nothing as u64;
        packet.ip_version ^= nothing;
        packet.link ^= nothing;
        packet.network ^= nothing as u32;
        packet.transport ^= nothing as u32;
        packet.payload ^= nothing as u32;
        packet
    }

    /// The same for the fields alone that branches ask for: a fifth of the instructions, where every packet
    /// comes by.
    #[must_use]
    #[inline(always)]
    pub const fn blurred_where_asked(mut self, nothing: u8) -> Self {
        self.source_port ^= nothing as u16;
        self.destination_port ^= nothing as u16;
        self.protocol ^= nothing;
        self.tcp_flags ^= nothing;
        self
    }

    /// True for the first packet of a TCP connection.
    #[inline(always)]
    pub const fn opens_connection(&self) -> bool {
        self.protocol == TCP && self.tcp_flags & (SYN | ACK | RST) == SYN
    }
}

#[cfg(test)]
mod tests;
