//! What a correct server would not take into its stream, a sensor must not either: a segment meant for
//! the sensor alone could hide a name behind another (Handley, Paxson and Kreibich, "Network
//! intrusion detection: evasion, traffic normalization", USENIX Security 2001).
//!
//! The rules are for clients' segments while a handshake is examined. None of them can be broken by a
//! stack that follows the standards, whatever the path does to its packets.

use crate::abi::{Anomaly, Flow};
use crate::flow::{mark, peer_mark};
use crate::options::found;
use crate::parse::{ACK, FIN, Packet, RST, SYN, URG};

/// Hops by which paths of one connection may differ: a route that moves costs one to three.
pub const HOP_LIMIT_TOLERANCE: u8 = 4;

/// What is wrong with a segment of this flow's client, apart from its checksum.
///
/// `found` and `timestamp` are what [`crate::options::OptionsReader`] gave.
#[inline(always)]
pub const fn anomaly(
    packet: &Packet,
    flow: &Flow,
    options: u32,
    timestamp: u32,
) -> Option<Anomaly> {
    let flags = packet.tcp_flags;
    // ECE, CWR and AE are set freely by AccECN (RFC 9768 section 2.1).
    if flags & SYN != 0 && flags & (FIN | RST) != 0 || flags & (SYN | ACK | RST) == 0 {
        return Some(Anomaly::IllegalFlags);
    }
    if packet.payload_length > 0 && flags & SYN != 0 {
        if flags & ACK != 0 {
            return Some(Anomaly::IllegalFlags);
        }
        if options & found::FAST_OPEN_COOKIE == 0 {
            return Some(Anomaly::SynPayload);
        }
    }
    if flow.hop_limit != 0
        && (packet.hop_limit as u16 + HOP_LIMIT_TOLERANCE as u16) < flow.hop_limit as u16
    {
        return Some(Anomaly::HopLimit);
    }
    if packet.payload_length == 0 || flags & SYN != 0 {
        return None;
    }
    if flags & URG != 0 {
        return Some(Anomaly::Urgent);
    }
    if options & found::MD5 != 0 && flow.marks & mark::SYN_MD5 == 0 {
        return Some(Anomaly::Md5);
    }
    if options & found::TIMESTAMP != 0
        && flow.marks & mark::SYN_TIMESTAMP != 0
        && is_before(timestamp, flow.recent_timestamp)
    {
        return Some(Anomaly::OldTimestamp);
    }
    // What was acknowledged lies between the peer's SYN and its last byte, both seen.
    if flow.peer_marks & peer_mark::SYN != 0
        && (is_before(packet.acknowledgement, flow.peer_first)
            || is_before(flow.peer_next, packet.acknowledgement))
    {
        return Some(Anomaly::Acknowledgement);
    }
    None
}

/// Serial number arithmetic (RFC 1982, RFC 9293 section 3.4).
#[inline(always)]
pub const fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Address;
    use crate::parse::{PSH, TCP};

    fn data(flags: u8) -> Packet {
        Packet {
            source: Address::default(),
            destination: Address::default(),
            source_port: 1,
            destination_port: 2,
            protocol: TCP,
            tcp_flags: flags,
            ip_version: 4,
            hop_limit: 64,
            link: crate::parse::Link::Plain as u8,
            network: 14,
            transport: 34,
            payload: 54,
            payload_length: 100,
            sequence: 1001,
            acknowledgement: 5001,
        }
    }

    fn flow() -> Flow {
        Flow {
            hop_limit: 64,
            marks: mark::SYN_TIMESTAMP,
            peer_marks: peer_mark::SEEN | peer_mark::SYN,
            peer_first: 5001,
            peer_next: 5001,
            recent_timestamp: 700,
            ..Flow::default()
        }
    }

    #[test]
    fn what_browsers_send_is_no_anomaly() {
        let check = |packet: Packet, options, timestamp| {
            assert_eq!(anomaly(&packet, &flow(), options, timestamp), None, "{packet:?}");
        };
        check(data(ACK | PSH), found::TIMESTAMP, 700);
        check(data(ACK | PSH | FIN), found::TIMESTAMP, 0x7fff_0000);
        // AccECN in the SYN: ECE, CWR and, in the byte before, AE.
        check(Packet { payload_length: 0, ..data(SYN | 0xc0) }, 0, 0);
        check(data(SYN), found::FAST_OPEN_COOKIE, 0);
        check(Packet { hop_limit: 61, ..data(ACK) }, 0, 0);
        check(Packet { hop_limit: 128, ..data(ACK) }, 0, 0);
        check(Packet { payload_length: 0, ..data(RST) }, 0, 0);
        check(Packet { payload_length: 0, acknowledgement: 1, ..data(ACK) }, 0, 0);
    }

    #[test]
    fn what_no_server_takes_is_one() {
        let check = |packet: Packet, options, timestamp, expected| {
            assert_eq!(anomaly(&packet, &flow(), options, timestamp), Some(expected), "{packet:?}");
        };
        check(data(0), 0, 0, Anomaly::IllegalFlags);
        check(data(PSH | FIN), 0, 0, Anomaly::IllegalFlags);
        check(data(SYN | FIN), 0, 0, Anomaly::IllegalFlags);
        check(data(SYN | RST), 0, 0, Anomaly::IllegalFlags);
        check(data(SYN | ACK), 0, 0, Anomaly::IllegalFlags);
        check(data(SYN), 0, 0, Anomaly::SynPayload);
        check(data(ACK | URG), 0, 0, Anomaly::Urgent);
        check(Packet { hop_limit: 59, ..data(ACK) }, 0, 0, Anomaly::HopLimit);
        check(data(ACK), found::MD5, 0, Anomaly::Md5);
        check(data(ACK), found::TIMESTAMP, 699, Anomaly::OldTimestamp);
        check(Packet { acknowledgement: 5000, ..data(ACK) }, 0, 0, Anomaly::Acknowledgement);
        check(Packet { acknowledgement: 5002, ..data(ACK) }, 0, 0, Anomaly::Acknowledgement);
    }

    #[test]
    fn what_was_not_seen_is_not_held_against_a_segment() {
        let blind = Flow::default();
        let odd = Packet { acknowledgement: 9, hop_limit: 1, ..data(ACK) };
        assert_eq!(anomaly(&odd, &blind, found::TIMESTAMP, 3), None);
        let announced = Flow { marks: mark::SYN_MD5, ..blind };
        assert_eq!(anomaly(&odd, &announced, found::MD5, 0), None);
    }
}
