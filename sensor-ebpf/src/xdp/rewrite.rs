//! Writing a reset or another segment of ours over the headers of the segment it answers, or the headers
//! of a datagram that goes back. Ethernet, tags and IP options stay.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use sensor_ebpf::cursor::bound;
use sensor_ebpf::parse::{Link, Packet};
use sensor_ebpf::reset::{self, HOP_LIMIT, Header, TCP_HEADER, TIMESTAMPS_LENGTH};

/// Headers end within this: two VLAN tags, the longest IPv6 walk, a TCP header.
const HEADERS_MASK: u32 = 511;

/// Bytes of an Ethernet header without tags.
const ETHERNET_HEADER: usize = 14;

/// Bytes of a UDP header (RFC 768).
pub(crate) const UDP_HEADER: u32 = 8;

/// Bytes from a `PPPoE` header's length to the IP header: the length, and the PPP protocol.
const PPPOE_LENGTH_BEFORE_IP: usize = 4;

/// Bytes of the PPP protocol, which the `PPPoE` length counts (RFC 2516 section 4).
const PPP_PROTOCOL: u32 = 2;

/// Writes `tcp` over the packet in `data..end` and fits the IP header to it. With a hop limit the
/// packet is turned round: its addresses swap places.
///
/// `None`: the packet is shorter than its headers.
#[inline(always)]
pub(crate) fn headers(
    data: usize,
    end: usize,
    segment: &Packet,
    tcp: &Header,
    turn: Option<u8>,
) -> Option<()> {
    // First: behind the other checks the compiler knows of this one, and the verifier does not.
    if data + ETHERNET_HEADER > end {
        return None;
    }
    let transport = data + bound::<HEADERS_MASK>(segment.transport) as usize;
    if transport + TCP_HEADER as usize > end {
        return None;
    }
    fit(data, end, segment, tcp.segment_length(), turn)?;
    if segment.link == Link::Pppoe as u8 {
        // The verifier knows nothing of the offset but its mask.
        let session = segment.network.wrapping_sub(PPPOE_LENGTH_BEFORE_IP as u32);
        let session = data + bound::<HEADERS_MASK>(session) as usize;
        if session + 2 > end {
            return None;
        }
        // SAFETY: two bytes from `session` on were checked against the end of the packet.
        unsafe { *(session as *mut u16) = pppoe_length(segment, tcp.segment_length()) };
    }
    let [ports, sequence, acknowledgement, flags, checksum] = tcp.words;
    let word = |at: usize| (transport + at) as *mut u32;
    // SAFETY: twenty bytes from `transport` on were checked against the end of the packet.
    unsafe {
        *word(0) = ports;
        *word(4) = sequence;
        *word(8) = acknowledgement;
        *word(12) = flags;
        *word(16) = checksum;
    }
    if tcp.length == TCP_HEADER {
        return Some(());
    }
    if transport + (TCP_HEADER + TIMESTAMPS_LENGTH) as usize > end {
        return None;
    }
    let [padding, value, echo] = tcp.options;
    // SAFETY: thirty-two bytes from `transport` on were checked against the end of the packet.
    unsafe {
        *word(20) = padding;
        *word(24) = value;
        *word(28) = echo;
    }
    Some(())
}

/// Turns a UDP datagram round, with `udp` for its header, which says `length`.
///
/// `None`: the packet is shorter than its headers.
#[inline(always)]
pub(crate) fn datagram(
    data: usize,
    end: usize,
    asked: &Packet,
    udp: [u32; 2],
    length: u32,
) -> Option<()> {
    if data + ETHERNET_HEADER > end {
        return None;
    }
    let transport = data + bound::<HEADERS_MASK>(asked.transport) as usize;
    if transport + UDP_HEADER as usize > end {
        return None;
    }
    fit(data, end, asked, length, Some(HOP_LIMIT))?;
    if asked.link == Link::Pppoe as u8 {
        // The offset comes out of memory here: the verifier knows nothing of it but its mask.
        let session = asked.network.wrapping_sub(PPPOE_LENGTH_BEFORE_IP as u32);
        let session = data + bound::<HEADERS_MASK>(session) as usize;
        if session + 2 > end {
            return None;
        }
        // SAFETY: two bytes from `session` on were checked against the end of the packet.
        unsafe { *(session as *mut u16) = pppoe_length(asked, length) };
    }
    let [ports, checksum] = udp;
    let word = |at: usize| (transport + at) as *mut u32;
    // SAFETY: eight bytes from `transport` on were checked against the end of the packet.
    unsafe {
        *word(0) = ports;
        *word(4) = checksum;
    }
    Some(())
}

/// What a `PPPoE` header says of a packet with so many bytes of transport, as it lies in memory.
#[inline(always)]
const fn pppoe_length(packet: &Packet, transport: u32) -> u16 {
    ((PPP_PROTOCOL + packet.transport - packet.network + transport) as u16).to_be()
}

/// Fits the Ethernet header, which the caller has seen to be there, and the IP header to `length` bytes of it, and turns the packet round where it has
/// another hop limit.
#[inline(always)]
fn fit(data: usize, end: usize, segment: &Packet, length: u32, turn: Option<u8>) -> Option<()> {
    let network = data + bound::<HEADERS_MASK>(segment.network) as usize;
    let header_length = segment.transport - segment.network;
    if segment.ip_version == 4 {
        if network + 20 > end {
            return None;
        }
        // SAFETY: twenty bytes from `network` on were checked against the end of the packet.
        unsafe { ipv4(network, header_length + length, turn) };
    } else {
        if network + 40 > end {
            return None;
        }
        // SAFETY: forty bytes from `network` on were checked against the end of the packet.
        unsafe { ipv6(network, header_length + length, turn) };
    }
    if turn.is_some() {
        // SAFETY: the caller has checked fourteen bytes from `data` on against the end of the packet.
        unsafe { swap_ethernet(data) };
    }
    Some(())
}

/// Sets the length of header and payload, and turns the addresses round. What goes back is another
/// datagram and gets an identification of its own: the sender's would lie among those of its peer (RFC
/// 6864 section 4).
///
/// # Safety
/// Twenty bytes from `header` on must be writable.
#[inline(always)]
unsafe fn ipv4(header: usize, length: u32, turn: Option<u8>) {
    let word16 = |at: usize| (header + at) as *mut u16;
    let word32 = |at: usize| (header + at) as *mut u32;
    let total_length = (length as u16).to_be();
    // SAFETY: all offsets are below twenty.
    unsafe {
        let mut checksum = reset::replace(*word16(10), *word16(2), total_length);
        *word16(2) = total_length;
        if let Some(hop_limit) = turn {
            // Time to live and protocol share a word.
            let [_, protocol] = (*word16(8)).to_ne_bytes();
            let turned = u16::from_ne_bytes([hop_limit, protocol]);
            checksum = reset::replace(checksum, *word16(8), turned);
            *word16(8) = turned;
            let identification = bpf_get_prandom_u32() as u16;
            checksum = reset::replace(checksum, *word16(4), identification);
            *word16(4) = identification;
            let source = *word32(12);
            *word32(12) = *word32(16);
            *word32(16) = source;
        }
        *word16(10) = checksum;
    }
}

/// Sets the length, which counts the fixed header too here, and turns the addresses round.
///
/// # Safety
/// Forty bytes from `header` on must be writable.
#[inline(always)]
unsafe fn ipv6(header: usize, length: u32, turn: Option<u8>) {
    let word64 = |at: usize| (header + at) as *mut u64;
    let payload_length = (length - 40) as u16;
    // SAFETY: all offsets are below forty.
    unsafe {
        *((header + 4) as *mut u16) = payload_length.to_be();
        if let Some(hop_limit) = turn {
            *((header + 7) as *mut u8) = hop_limit;
            let source = (*word64(8), *word64(16));
            *word64(8) = *word64(24);
            *word64(16) = *word64(32);
            *word64(24) = source.0;
            *word64(32) = source.1;
        }
    }
}

/// Swaps the two Ethernet addresses.
///
/// # Safety
/// Fourteen bytes from `header` on must be writable.
#[inline(always)]
unsafe fn swap_ethernet(header: usize) {
    let half = |at: usize| (header + at) as *mut u16;
    // SAFETY: all offsets are below twelve.
    unsafe {
        let destination = (*half(0), *half(2), *half(4));
        *half(0) = *half(6);
        *half(2) = *half(8);
        *half(4) = *half(10);
        *half(6) = destination.0;
        *half(8) = destination.1;
        *half(10) = destination.2;
    }
}
