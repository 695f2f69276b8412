//! The life of a flow: its key, its phases, and the end of a TCP connection.

mod key;

use crate::abi::{Flow, NoName, Verdict};
use crate::cursor::zero;
use crate::http::framing;
use crate::normalise::is_before;
use crate::parse::{ACK, FIN, Packet, RST, SYN, TCP};
use crate::quic::Version;

/// Units of a client's bytes without the start of a hello or head after which examination ends: 8 KiB,
/// or 128 segments. A STARTTLS dialogue (SMTP: greeting, EHLO, STARTTLS) needs fewer than ten.
pub const EXAMINED_MAX: u8 = 128;

/// Bytes of an examined unit; a segment is one at least.
pub const EXAMINED_UNIT: u32 = 64;

/// Resets sent in answer to one blocked flow: a client that ignores them is not worth more packets.
pub const RESETS_MAX: u8 = 16;

/// How far the examination of a flow is. Crosses to user space inside [`Flow`], for display only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No hello or head yet: segments are looked at. Of what carries no names: its first packet was not looked at.
    Waiting = 0,
    /// A hello was read. Until the server answers, another one could be the one the server believes.
    Named = 1,
    /// HTTP: each request is read, see [`Flow::framing`].
    Requests = 2,
    /// Nothing more is looked at.
    Done = 3,
    /// The server answered a hello. Only a second one (RFC 8446 section 4.1.4) is looked for.
    Answered = 4,
}

/// Bits of [`Flow::marks`].
pub mod mark {
    /// The first packet seen was not the first of its connection.
    pub const MID_STREAM: u16 = 1;
    /// The peer sent the first packet.
    pub const PEER_INITIATED: u16 = 2;
    /// Bytes behind a whole hello have passed, and are not kept.
    pub const UNKEPT: u16 = 4;
    /// A SYN that the peer has not answered is noted beside the connection that lives.
    pub const PENDING: u16 = 8;
    /// The client's SYN carried an MD5 signature.
    pub const SYN_MD5: u16 = 16;
    /// The client's SYN carried a timestamp.
    pub const SYN_TIMESTAMP: u16 = 32;
    /// The client's SYN had a right checksum: this sender fills them in.
    pub const SYN_CHECKSUM: u16 = 64;
    /// The flow is QUIC: an Initial of it was opened.
    pub const QUIC: u16 = 1 << 7;
    /// Its last Initial was of version 2 (RFC 9369).
    pub const QUIC_V2: u16 = 1 << 11;
    /// Its last Initial was of a draft version.
    pub const QUIC_DRAFT: u16 = 1 << 12;
    /// The client was sent a block page: what it sends now is acknowledged, so that it can close.
    pub const PAGED: u16 = 1 << 13;
    /// The stream is DNS and stopped within a message.
    pub const IN_MESSAGE: u16 = 1 << 15;
    /// Marks a SYN gives to its connection.
    pub const SYN: u16 = SYN_MD5 | SYN_TIMESTAMP | SYN_CHECKSUM;
    /// [`SYN`] marks of the SYN that is noted, so many bits further up.
    pub const PENDING_SHIFT: u16 = 4;
}

/// Bits of [`Flow::peer_marks`].
pub mod peer_mark {
    /// A segment of the peer was seen.
    pub const SEEN: u8 = 1;
    /// The peer's SYN was seen: what it has sent is known from its first byte on.
    pub const SYN: u8 = 2;
    /// The peer has acknowledged bytes of the client: how its stream began is settled.
    pub const ACKNOWLEDGED: u8 = 4;
    /// The peer's packets enter at a watched interface too: egress sees them a second time.
    pub const AT_INGRESS: u8 = 8;
}

impl Flow {
    /// A flow whose first packet is `packet`. Its volumes are still empty.
    #[inline(always)]
    pub fn first(packet: &Packet, from_lan: bool, ifindex: u32, now_ns: u64) -> Self {
        let none = zero();
        let volume = crate::abi::Volume { packets: u64::from(none), bytes: u64::from(none) };
        let tcp = packet.protocol == TCP;
        let syn = u32::from(packet.tcp_flags & SYN != 0);
        // The client's first byte that was not seen yet.
        let examined =
            if from_lan { packet.sequence.wrapping_add(syn) } else { packet.acknowledgement };
        let mut marks = 0;
        if tcp && !packet.opens_connection() {
            marks |= mark::MID_STREAM;
        }
        if !from_lan {
            marks |= mark::PEER_INITIATED;
        }
        let no_name = if tcp { NoName::NoPayload } else { NoName::NotExamined };
        Self {
            to_peer: volume,
            to_lan: volume,
            first_ns: now_ns,
            last_ns: now_ns,
            name_hash: u64::from(none),
            categories: u64::from(none),
            policy: u32::from(none),
            ifindex,
            group: u16::from(none),
            list: u16::from(none),
            verdict: Verdict::Undecided as u8,
            name_source: none,
            no_name: no_name as u8,
            phase: Phase::Waiting as u8,
            lan_tcp_flags: none,
            peer_tcp_flags: none,
            examined: none,
            resets: none,
            marks,
            hop_limit: none,
            pending_hop_limit: none,
            examined_from: examined,
            examined_to: examined,
            peer_first: u32::from(none),
            peer_next: u32::from(none),
            recent_timestamp: u32::from(none),
            pending_sequence: u32::from(none),
            pending_timestamp: u32::from(none),
            slot: u32::from(none),
            hello: u64::from(none),
            lock: u32::from(none),
            peer_marks: none,
            end_sent: none,
            framing: none, // `framing::NONE`
            body_laps: none,
            body_from: u32::from(none),
            body_end: u32::from(none),
            head_from: examined,
            head_end: examined,
            judged: u32::from(none),
            reserved: u32::from(none),
        }
    }

    /// True where both ends said FIN or one said RST (RFC 9293 section 3.6).
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        (self.lan_tcp_flags | self.peer_tcp_flags) & RST != 0
            || self.lan_tcp_flags & self.peer_tcp_flags & FIN != 0
    }

    /// True where the connection is over for the server too: a client's reset alone may never have
    /// reached it.
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        self.peer_tcp_flags & RST != 0 || self.lan_tcp_flags & self.peer_tcp_flags & FIN != 0
    }

    /// True where the server may still wait for the rest of a hello: the client's reset alone says
    /// nothing, and what comes after it must not pass unread.
    #[inline(always)]
    pub const fn is_unsettled(&self) -> bool {
        !self.is_over() && (self.phase == Phase::Waiting as u8 || self.phase == Phase::Named as u8)
    }

    /// True where a SYN on this key starts another flow at once: the old connection is over, or its
    /// server's side passes elsewhere, so that nobody will say which of the two it took.
    #[inline(always)]
    pub const fn yields_to_new_connection(&self) -> bool {
        self.is_over() || self.peer_marks & peer_mark::SEEN == 0
    }

    /// True where a SYN of the peer on this key starts another flow: the old connection is over, or the
    /// SYN is not its own sent again.
    #[inline(always)]
    pub const fn yields_to_peers_connection(&self, syn: &Packet) -> bool {
        self.is_over()
            || self.verdict != Verdict::Block as u8
                && self.peer_marks & peer_mark::SEEN != 0
                && syn.sequence.wrapping_add(1) != self.peer_first
    }

    /// Notes a SYN beside the connection that lives; the peer's answer tells which one counts.
    #[inline(always)]
    pub const fn note_pending(&mut self, syn: &Packet) {
        self.pending_sequence = syn.sequence.wrapping_add(1);
        self.pending_hop_limit = syn.hop_limit;
        self.pending_timestamp = 0;
        self.marks = self.marks & !(mark::SYN << mark::PENDING_SHIFT) | mark::PENDING;
    }

    /// True where the peer's segment answers the SYN that was noted.
    #[inline(always)]
    pub const fn accepts_pending(&self, segment: &Packet) -> bool {
        self.marks & mark::PENDING != 0
            && segment.tcp_flags & (SYN | ACK) == SYN | ACK
            && segment.acknowledgement == self.pending_sequence
    }

    /// The flow of the connection whose SYN was noted, seen by its answer.
    #[must_use]
    #[inline(always)]
    pub fn take_pending(&self, answer: &Packet, ifindex: u32, now_ns: u64) -> Self {
        let mut flow = Self::first(answer, false, ifindex, now_ns);
        flow.hop_limit = self.pending_hop_limit;
        flow.recent_timestamp = self.pending_timestamp;
        flow.marks = self.marks >> mark::PENDING_SHIFT & mark::SYN;
        flow
    }

    /// Keeps what a SYN's options and checksum say: of this connection, or of the one that was noted.
    #[inline(always)]
    pub const fn note_syn(&mut self, syn: &Packet, marks: u16, timestamp: u32) {
        if syn.sequence.wrapping_add(1) == self.examined_from {
            self.hop_limit = syn.hop_limit;
            self.recent_timestamp = timestamp;
            self.marks |= marks;
        } else if syn.sequence.wrapping_add(1) == self.pending_sequence {
            self.pending_timestamp = timestamp;
            self.marks |= marks << mark::PENDING_SHIFT;
        }
    }

    /// Notes which version of QUIC an Initial of it was of.
    #[inline(always)]
    pub const fn note_quic(&mut self, version: Version) {
        let version = match version {
            Version::V1 => 0,
            Version::V2 => mark::QUIC_V2,
            Version::Draft29 => mark::QUIC_DRAFT,
        };
        self.marks = self.marks & !(mark::QUIC_V2 | mark::QUIC_DRAFT) | mark::QUIC | version;
    }

    /// The version of QUIC its last Initial was of; `None` where it had none.
    #[must_use]
    pub const fn quic_version(&self) -> Option<Version> {
        if self.marks & mark::QUIC == 0 {
            None
        } else if self.marks & mark::QUIC_V2 != 0 {
            Some(Version::V2)
        } else if self.marks & mark::QUIC_DRAFT != 0 {
            Some(Version::Draft29)
        } else {
            Some(Version::V1)
        }
    }

    /// True where a server's packet with this first byte shows that it has the whole hello: keys of Handshake and
    /// 1-RTT packets are made from it (RFC 9001 section 5).
    #[inline(always)]
    pub const fn is_answered_by(&self, first: u8) -> bool {
        // Version 2 has another number for each type (RFC 9369 section 3.2).
        let handshake = if self.marks & mark::QUIC_V2 == 0 { 0x20 } else { 0x30 };
        first & 0x80 == 0 || first & 0x30 == handshake
    }

    /// Keeps what a segment of the peer says about the handshake: what it has sent, and what of the
    /// client's bytes has arrived and can no longer be sent in another version.
    ///
    /// `true`: with this segment the peer answers the hello, or has the whole requests that are kept; which is
    /// settled now.
    #[inline(always)]
    pub const fn hear_peer(&mut self, segment: &Packet) -> bool {
        if self.phase == Phase::Done as u8 {
            return false;
        }
        let end = crate::reset::sequence_end(segment);
        if segment.tcp_flags & SYN != 0 {
            self.peer_first = end;
            self.peer_next = end;
            self.peer_marks |= peer_mark::SEEN | peer_mark::SYN;
        } else if self.marks & mark::MID_STREAM == 0 && self.peer_marks & peer_mark::SYN == 0 {
            // An answer that belongs to an older connection (RFC 5961 section 4).
            return false;
        } else if self.peer_marks & peer_mark::SEEN == 0 {
            self.peer_first = segment.sequence;
            self.peer_next = end;
            self.peer_marks |= peer_mark::SEEN;
        } else if is_before(self.peer_next, end) {
            self.peer_next = end;
        }
        if segment.tcp_flags & ACK == 0 {
            return false;
        }
        if is_before(self.examined_from, segment.acknowledgement) {
            self.examined_from = segment.acknowledgement;
            self.peer_marks |= peer_mark::ACKNOWLEDGED;
            if is_before(self.examined_to, segment.acknowledgement) && self.slot == 0 {
                // It came by another way.
                self.examined_to = segment.acknowledgement;
            }
        }
        let is_settled = !is_before(segment.acknowledgement, self.examined_to);
        if self.framing != framing::NONE && self.slot != 0 {
            return is_settled && self.framing != framing::KEPT;
        }
        let answers = segment.payload_length > 0 && is_settled;
        if !answers || self.phase != Phase::Named as u8 {
            return false;
        }
        self.phase = Phase::Answered as u8;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Address;

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
    fn a_clients_reset_ends_nothing_for_the_server() {
        let check = |lan, peer, expected| {
            let flow = Flow { lan_tcp_flags: lan, peer_tcp_flags: peer, ..Flow::default() };
            assert_eq!(flow.is_over(), expected, "{lan:#x} {peer:#x}");
        };
        check(RST, ACK, false);
        check(FIN | ACK, ACK, false);
        check(FIN, FIN, true);
        check(0, RST, true);
    }

    #[test]
    fn a_syn_takes_the_key_when_the_server_says_so() {
        let live = Flow { peer_marks: peer_mark::SEEN, examined_from: 500, ..Flow::default() };
        assert!(!live.yields_to_new_connection());
        assert!(Flow { peer_tcp_flags: RST, ..live }.yields_to_new_connection());
        assert!(Flow { peer_marks: 0, ..live }.yields_to_new_connection(), "nobody will say");

        let mut flow = live;
        let syn = packet(SYN, 9000, 0, 0);
        flow.note_pending(&syn);
        flow.note_syn(&syn, mark::SYN_TIMESTAMP, 77);
        assert!(!flow.accepts_pending(&packet(ACK, 1, 9001, 0)));
        assert!(!flow.accepts_pending(&packet(SYN | ACK, 1, 9002, 0)));
        let answer = packet(SYN | ACK, 1, 9001, 0);
        assert!(flow.accepts_pending(&answer));
        let taken = flow.take_pending(&answer, 3, 1);
        assert_eq!((taken.examined_from, taken.examined_to), (9001, 9001));
        assert_eq!((taken.hop_limit, taken.recent_timestamp), (64, 77));
        assert_eq!(taken.marks, mark::SYN_TIMESTAMP);
    }

    #[test]
    fn the_server_ends_the_examination_of_what_it_acknowledges() {
        let named = Flow {
            phase: Phase::Named as u8,
            peer_marks: peer_mark::SEEN | peer_mark::SYN,
            examined_from: 1001,
            examined_to: 1501,
            ..Flow::default()
        };
        let heard = |segment| {
            let mut flow = named;
            flow.hear_peer(&segment);
            (flow.examined_from, flow.examined_to, flow.phase)
        };
        let (still, answered) = (Phase::Named as u8, Phase::Answered as u8);
        assert_eq!(heard(packet(ACK, 1, 1501, 0)), (1501, 1501, still), "an acknowledgement alone");
        assert_eq!(heard(packet(ACK, 1, 1500, 9)), (1500, 1501, still), "not of all of it");
        assert_eq!(heard(packet(ACK, 1, 1501, 9)), (1501, 1501, answered));
        assert_eq!(heard(packet(ACK, 1, 2000, 9)), (2000, 2000, answered), "by another way");
        assert_eq!(heard(packet(ACK, 1, 900, 9)), (1001, 1501, still), "an old one");
    }

    #[test]
    fn between_requests_the_peer_is_heard_too() {
        let mut flow = Flow {
            phase: Phase::Requests as u8,
            peer_marks: peer_mark::SEEN | peer_mark::SYN,
            peer_first: 7001,
            peer_next: 7001,
            ..Flow::default()
        };
        flow.hear_peer(&packet(ACK, 7001, 501, 300));
        assert_eq!((flow.peer_next, flow.phase), (7301, Phase::Requests as u8));
    }

    #[test]
    fn what_the_peer_sent_is_known_from_its_syn_on() {
        let mut flow = Flow::default();
        flow.hear_peer(&packet(ACK, 90_000, 1234, 0));
        assert_eq!(flow, Flow::default(), "of an older connection");
        flow.hear_peer(&packet(SYN | ACK, 7000, 1, 0));
        flow.hear_peer(&packet(ACK, 7001, 1, 100));
        flow.hear_peer(&packet(ACK, 7001, 1, 50));
        let known = flow;
        flow.hear_peer(&packet(ACK, 7001, 50, 0));
        assert_eq!(flow.examined_from, 50);
        flow = known;
        assert_eq!((flow.peer_first, flow.peer_next), (7001, 7101));
    }

    fn packet(tcp_flags: u8, sequence: u32, acknowledgement: u32, payload_length: u32) -> Packet {
        Packet {
            source: Address::default(),
            destination: Address::default(),
            source_port: 1,
            destination_port: 2,
            protocol: TCP,
            tcp_flags,
            ip_version: 4,
            hop_limit: 64,
            link: crate::parse::Link::Plain as u8,
            network: 14,
            transport: 34,
            payload: 54,
            payload_length,
            sequence,
            acknowledgement,
        }
    }
}
