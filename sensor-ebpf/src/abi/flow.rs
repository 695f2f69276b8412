//! Flows: the key, the state, and what of it is recorded.

use super::{NAME_BUFFER, NAME_MAX};

/// An IPv6 address, or an IPv4-mapped one (RFC 4291 section 2.5.5.2), as two words in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Address(pub [u64; 2]);

// The word arithmetic below puts the IPv4 address into the upper half of a little-endian word.
#[cfg(target_endian = "big")]
compile_error!("campus-sensor runs on little-endian machines");

impl Address {
    /// From the four bytes of an IPv4 address as they lie in memory.
    #[inline(always)]
    pub const fn from_ipv4_word(word: u32) -> Self {
        Self([0, (word as u64) << 32 | 0xffff_0000])
    }

    /// From sixteen bytes in network order.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        // The words of a little-endian machine, put together from the last byte to the first.
        let whole = u128::from_le_bytes(octets);
        Self([whole as u64, (whole >> 64) as u64])
    }

    /// Sixteen bytes in network order.
    pub const fn octets(self) -> [u8; 16] {
        let [first, second] = self.0;
        (first as u128 | (second as u128) << 64).to_le_bytes()
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        Self::from_octets(match address {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(v6) => v6.octets(),
        })
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        core::net::Ipv6Addr::from(address.octets()).to_canonical()
    }
}

/// One flow of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Address on the LAN side; where both ends or neither are, the sender of the first packet seen.
    pub lan_address: Address,
    /// Address of the other end.
    pub peer_address: Address,
    /// Port on the LAN side; 0 where the protocol has none.
    pub lan_port: u16,
    /// Port of the other end; 0 where the protocol has none.
    pub peer_port: u16,
    /// Configured zone of the interface; equal addresses in two zones are two flows.
    pub zone: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

/// Packets and bytes of one direction. Bytes are of the whole frame as on the wire, without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Volume {
    /// Packets on the wire: a super-packet counts as its segments.
    pub packets: u64,
    /// Bytes on the wire, from the Ethernet header on, without preamble and FCS.
    pub bytes: u64,
}

/// State of a flow. What every packet reads or adds to comes first: behind a key it fills two lines of a CPU's cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// From the LAN side to its peer.
    pub to_peer: Volume,
    /// Last packet, ns of the sensor's clock.
    pub last_ns: u64,
    /// From the peer to the LAN side.
    pub to_lan: Volume,
    /// First packet, ns of the sensor's clock.
    pub first_ns: u64,
    /// Generation of the policy that judged it last; 0 where none did. An earlier one's verdict may stand, see `policy`.
    pub judged: u32,
    /// Generation of the policy the verdict was made with.
    pub policy: u32,
    /// Interface index of the first packet.
    pub ifindex: u32,
    /// Slot the handshake is kept in, from 1; 0 without one.
    pub slot: u32,
    /// 1 while a program examines a segment of the flow: its segments may come in on several CPUs.
    pub lock: u32,
    /// Group the device was in when the flow was judged.
    pub group: u16,
    /// List the deciding entry came from.
    pub list: u16,
    /// A [`Verdict`](crate::abi::Verdict).
    pub verdict: u8,
    /// A [`NameSource`](crate::abi::NameSource).
    pub name_source: u8,
    /// A [`NoName`](crate::abi::NoName).
    pub no_name: u8,
    /// A [`crate::flow::Phase`].
    pub phase: u8,
    /// TCP flags seen from the LAN side, or-ed.
    pub lan_tcp_flags: u8,
    /// TCP flags seen from the peer, or-ed.
    pub peer_tcp_flags: u8,
    /// Of TCP, what was examined without finding the start of a hello or head. Of QUIC, datagrams of the last whole
    /// hello.
    pub examined: u8,
    /// Resets sent in answer to this blocked flow.
    pub resets: u8,
    /// Bits of [`crate::flow::mark`]. The client's packets alone change them.
    pub marks: u16,
    /// Hop limit of the client's SYN; 0 where it was not seen.
    pub hop_limit: u8,
    /// Hop limit of the SYN in `pending_sequence`.
    pub pending_hop_limit: u8,
    /// Bits of [`crate::flow::peer_mark`]. The peer's packets alone change them.
    pub peer_marks: u8,
    /// 1 when the end of the connection was told.
    pub end_sent: u8,
    /// Where its requests are framed, one of [`crate::http::framing`].
    pub framing: u8,
    /// Of HTTP, further [`crate::http::framing::BODY_LAP`]s of a body behind `body_end`; 255 stands for more than
    /// will come. Of QUIC, connections whose hellos are not whole, or blocked.
    pub body_laps: u8,
    /// Keyed hash of the name, the key of the name store; 0 without a name.
    pub name_hash: u64,
    /// Category mask the verdict was made with; where it was made without a name, of the name before it.
    pub categories: u64,
    /// Key of the [`StoredHello`](crate::abi::StoredHello); 0 where no whole hello was read.
    pub hello: u64,
    /// Sequence number of the first client byte that is under examination: the server has not
    /// acknowledged it, so it could still be sent in another version.
    pub examined_from: u32,
    /// Sequence number after the last client byte that was examined in order.
    pub examined_to: u32,
    /// Sequence number after the peer's SYN, or of its first segment seen.
    pub peer_first: u32,
    /// Sequence number after the peer's last byte seen.
    pub peer_next: u32,
    /// Timestamp of the client's last segment in order (`TS.Recent`, RFC 7323 section 4.3).
    pub recent_timestamp: u32,
    /// Sequence number after a SYN that the peer has not answered yet.
    pub pending_sequence: u32,
    /// Timestamp of that SYN.
    pub pending_timestamp: u32,
    /// Sequence number of the first byte of a body or chunk.
    pub body_from: u32,
    /// Sequence number after its last byte, or where a lap of it ends; within a chunk's size, the number so far.
    pub body_end: u32,
    /// Sequence number of the first byte of the last head.
    pub head_from: u32,
    /// Sequence number after it.
    pub head_end: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What of a flow is in its records already. User space alone writes it; it lives in the kernel so
/// that a daemon that starts again counts nothing twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Recorded {
    /// Recorded of [`Flow::to_peer`].
    pub to_peer: Volume,
    /// Recorded of [`Flow::to_lan`].
    pub to_lan: Volume,
    /// [`Flow::first_ns`] of the flow this is of; another flow has taken the key where it differs.
    pub first_ns: u64,
    /// When the last record was made, ns of the sensor's clock.
    pub recorded_ns: u64,
    /// Number of that record.
    pub sequence: u64,
}

/// An entry of the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// Which flow it is.
    pub key: FlowKey,
    /// Its state.
    pub flow: Flow,
    /// What of it is recorded.
    pub recorded: Recorded,
}

/// A name as records show it: canonical, not terminated.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct StoredName {
    /// Bytes used of `bytes`.
    pub length: u16,
    /// Always 0.
    pub reserved: u16,
    /// The name; what lies beyond `length` is left over.
    pub bytes: [u8; NAME_BUFFER],
}

impl StoredName {
    /// The bytes in use.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let length = usize::from(self.length).min(NAME_MAX);
        self.bytes.get(..length).unwrap_or_default()
    }
}
