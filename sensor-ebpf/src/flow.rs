//! The life of a flow: its key, its phases, and the end of a TCP connection.

use crate::abi::{Address, Flow, FlowKey, NoName, Verdict};
use crate::parse::{FIN, Packet, RST, TCP};

/// Payload segments without the start of a hello or head after which examination ends.
/// A STARTTLS dialogue (SMTP: greeting, EHLO, STARTTLS) needs fewer than ten.
pub const EXAMINED_SEGMENTS_MAX: u8 = 16;

/// Resets sent in answer to one blocked flow: a client that ignores them is not worth more packets.
pub const RESETS_MAX: u8 = 16;

/// How far the examination of a flow is. Crosses to user space inside [`Flow`], for display only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No hello or head yet: segments are looked at.
    Waiting = 0,
    /// A hello was read. Until the server answers, another one could be the one the server believes.
    Named = 1,
    /// HTTP: each segment that starts a request is read.
    Requests = 2,
    /// Nothing more is looked at.
    Done = 3,
}

/// Bits of [`Flow::marks`].
pub mod mark {
    /// The flow-end event was sent.
    pub const END_SENT: u16 = 1;
    /// The peer's packets enter at a watched interface too: egress sees them a second time.
    pub const PEER_AT_INGRESS: u16 = 2;
    /// The first packet seen was not the first of its connection.
    pub const MID_STREAM: u16 = 4;
    /// The peer sent the first packet.
    pub const PEER_INITIATED: u16 = 8;
}

impl FlowKey {
    /// The flow of a packet whose sender is on the LAN side.
    #[inline(always)]
    pub const fn from_lan(packet: &Packet, zone: u16) -> Self {
        Self::new(
            packet.source,
            packet.source_port,
            packet.destination,
            packet.destination_port,
            zone,
            packet.protocol,
        )
    }

    /// The flow of a packet whose receiver is on the LAN side.
    #[inline(always)]
    pub const fn from_peer(packet: &Packet, zone: u16) -> Self {
        Self::new(
            packet.destination,
            packet.destination_port,
            packet.source,
            packet.source_port,
            zone,
            packet.protocol,
        )
    }

    #[inline(always)]
    const fn new(
        lan_address: Address,
        lan_port: u16,
        peer_address: Address,
        peer_port: u16,
        zone: u16,
        protocol: u8,
    ) -> Self {
        Self { lan_address, peer_address, lan_port, peer_port, zone, protocol, reserved: 0 }
    }
}

impl Flow {
    /// A flow whose first packet is `packet`. Its volumes are still empty.
    #[inline(always)]
    pub const fn first(packet: &Packet, from_lan: bool, ifindex: u32, now_ns: u64) -> Self {
        let tcp = packet.protocol == TCP;
        let mut marks = 0;
        if tcp && !packet.opens_connection() {
            marks |= mark::MID_STREAM;
        }
        if !from_lan {
            marks |= mark::PEER_INITIATED;
        }
        let no_name = if tcp { NoName::NoPayload } else { NoName::NotExamined };
        let phase = if tcp { Phase::Waiting } else { Phase::Done };
        Self {
            to_peer: crate::abi::Volume { packets: 0, bytes: 0 },
            to_lan: crate::abi::Volume { packets: 0, bytes: 0 },
            first_ns: now_ns,
            last_ns: now_ns,
            name_hash: 0,
            categories: 0,
            policy: 0,
            ifindex,
            group: 0,
            list: 0,
            verdict: Verdict::Undecided as u8,
            name_source: 0,
            no_name: no_name as u8,
            phase: phase as u8,
            lan_tcp_flags: 0,
            peer_tcp_flags: 0,
            examined: 0,
            resets: 0,
            marks,
            hop_limit: 0,
            pending_hop_limit: 0,
            examined_from: 0,
            examined_to: 0,
            peer_first: 0,
            peer_next: 0,
            recent_timestamp: 0,
            pending_sequence: 0,
            pending_timestamp: 0,
            slot: 0,
            hello: 0,
        }
    }

    /// True where both ends said FIN or one said RST (RFC 9293 section 3.6).
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        (self.lan_tcp_flags | self.peer_tcp_flags) & RST != 0
            || self.lan_tcp_flags & self.peer_tcp_flags & FIN != 0
    }

    /// True where a connection request on this key starts another flow: the old one is over, was
    /// blocked, or was read, and the new one must be read from its own first byte.
    #[inline(always)]
    pub const fn yields_to_new_connection(&self) -> bool {
        self.is_closed()
            || self.verdict == Verdict::Block as u8
            || self.phase != Phase::Waiting as u8
    }
}

/// What the first bytes of a segment could be the start of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Probe {
    /// Neither.
    Neither = 0,
    /// A TLS record with a `ClientHello` (RFC 8446 sections 4.1.2 and 5.1).
    Hello = 1,
    /// A request line (RFC 9112 section 3): three upper-case letters or hyphens.
    Request = 2,
}

/// Bytes [`Probe::of`] looks at.
pub const PROBE_BYTES: usize = 6;

impl Probe {
    /// Classifies the first bytes of a segment.
    #[inline(always)]
    pub const fn of(first: [u8; PROBE_BYTES]) -> Self {
        let [a, b, c, _, _, f] = first;
        if a == 0x16 && b == 3 && c <= 4 && f == 1 {
            return Self::Hello;
        }
        if is_method_byte(a) && is_method_byte(b) && is_method_byte(c) {
            return Self::Request;
        }
        Self::Neither
    }
}

/// Registered methods are upper-case letters and hyphens (IANA HTTP Method Registry).
#[inline(always)]
pub(crate) const fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{ACK, SYN};

    #[test]
    fn probes() {
        let check = |bytes: &[u8; PROBE_BYTES], expected| assert_eq!(Probe::of(*bytes), expected);
        check(b"\x16\x03\x01\x02\x00\x01", Probe::Hello);
        check(b"\x16\x03\x03\x02\x00\x01", Probe::Hello);
        check(b"\x16\x03\x01\x02\x00\x02", Probe::Neither);
        check(b"\x17\x03\x03\x02\x00\x01", Probe::Neither);
        check(b"GET / ", Probe::Request);
        check(b"M-SEAR", Probe::Request);
        check(b"HTTP/1", Probe::Request);
        check(b"get / ", Probe::Neither);
        check(b"220 sm", Probe::Neither);
    }

    #[test]
    fn a_connection_closes_by_two_fins_or_one_reset() {
        let check = |lan, peer, expected| {
            let flow = Flow { lan_tcp_flags: lan, peer_tcp_flags: peer, ..Flow::default() };
            assert_eq!(flow.is_closed(), expected, "{lan:#x} {peer:#x}");
        };
        check(SYN | ACK, SYN | ACK, false);
        check(FIN, ACK, false);
        check(FIN, FIN, true);
        check(RST, 0, true);
        check(0, RST, true);
    }

    #[test]
    fn a_new_connection_takes_the_key_of_a_flow_that_was_read() {
        let check = |flow: Flow, expected| assert_eq!(flow.yields_to_new_connection(), expected);
        check(Flow { lan_tcp_flags: SYN, ..Flow::default() }, false);
        check(Flow { lan_tcp_flags: RST, ..Flow::default() }, true);
        check(Flow { verdict: Verdict::Block as u8, ..Flow::default() }, true);
        check(Flow { phase: Phase::Named as u8, ..Flow::default() }, true);
    }
}
