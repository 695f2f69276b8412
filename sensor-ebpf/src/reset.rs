//! Segments in the name of one end that the other believes: resets (RFC 9293 section 3.5.2, RFC 5961
//! section 3.2), and what a client gets in place of one.

use crate::abi::{Address, PageKey};
use crate::parse::{ACK, FIN, PSH, Packet, RST, TCP};

/// Bytes of a TCP header without options: a reset's.
pub const TCP_HEADER: u32 = 20;

/// Bytes of timestamps as all systems of today lay them out, after two bytes of padding (RFC 7323
/// appendix A).
pub const TIMESTAMPS_LENGTH: u32 = 12;

/// The first four of them.
pub const TIMESTAMPS: u32 = u32::from_ne_bytes([1, 1, 8, 10]);

/// Window of a segment to a client: enough for a FIN, and for few bytes nobody will read.
const WINDOW: u16 = 1024;

/// Time to live of a reset this gateway sends by itself.
pub const HOP_LIMIT: u8 = 64;

/// Metadata XDP hands to the TC ingress stage of the same packet: what to tell the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Order {
    /// [`Order::MAGIC`], so that another program's metadata is not taken for an order.
    pub magic: u32,
    /// Sequence number after the client's segment.
    pub sequence_end: u32,
    /// Block page to send; without [`Order::PAGE`] the client is reset.
    pub page: PageKey,
    /// Bits of [`Order::PAGE`] and those below it.
    pub flags: u32,
    /// `TSval` and `TSecr` for the client, as they lie on the wire; 0 where it sends none.
    pub timestamps: [u32; 2],
}

impl Order {
    /// `CSrs` in memory.
    pub const MAGIC: u32 = u32::from_le_bytes(*b"CSrs");
    /// [`Order::flags`]: the client gets a block page.
    pub const PAGE: u32 = 1;
    /// [`Order::flags`]: of the page its head alone, since that was asked for.
    pub const HEAD: u32 = 2;
    /// [`Order::flags`]: the server was reset before, so that this packet ends here.
    pub const ALONE: u32 = 4;
    /// [`Order::flags`]: what the client sent is acknowledged, and no more.
    pub const ACKNOWLEDGEMENT: u32 = 8;
}

// The kernel takes metadata of up to 32 bytes, in words of four.
const _: () = assert!(size_of::<Order>() == 28);

/// Firewall mark of a reset on its way out, so that the egress program knows it for our own.
pub const OWN_RESET_MARK: u32 = u32::from_be_bytes(*b"CSrs");

/// A segment in one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Port of the end the segment claims to come from.
    pub source_port: u16,
    /// Port of the end it goes to.
    pub destination_port: u16,
    /// The receiver's next expected byte.
    pub sequence: u32,
    /// Last byte seen from the receiver.
    pub acknowledgement: u32,
}

/// What a [`Reply`] carries behind its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Bytes.
    pub length: u32,
    /// Their sum, see [`Page`](crate::abi::Page).
    pub sum: u16,
}

/// A TCP header as words in memory, its checksum filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header without options.
    pub words: [u32; 5],
    /// Padding, `TSval` and `TSecr` behind it, where [`Header::length`] says so.
    pub options: [u32; 3],
    /// Bytes of the header.
    pub length: u32,
    /// Bytes of the payload.
    pub payload_length: u32,
}

impl Header {
    /// Bytes of header and payload.
    #[inline(always)]
    pub const fn segment_length(&self) -> u32 {
        self.length + self.payload_length
    }
}

impl Reply {
    /// To the server, in place of the client's segment. `server_next` is the sequence number of the
    /// first byte that did not get past this gateway.
    #[inline(always)]
    pub const fn to_server(segment: &Packet, server_next: u32) -> Self {
        Self {
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            sequence: server_next,
            acknowledgement: segment.acknowledgement,
        }
    }

    /// To the client, in answer to a segment that ends at `sequence_end`.
    #[inline(always)]
    pub const fn to_client(segment: &Packet, sequence_end: u32) -> Self {
        Self {
            source_port: segment.destination_port,
            destination_port: segment.source_port,
            sequence: segment.acknowledgement,
            acknowledgement: sequence_end,
        }
    }

    /// The header of a reset. Timestamps are not for resets (RFC 7323 section 3.2).
    #[inline(always)]
    pub fn reset(&self, source: Address, destination: Address) -> Header {
        self.header(RST | ACK, [0; 2], Payload::default(), source, destination)
    }

    /// The header of a segment to a client with no payload, or with the last payload there is. Timestamps
    /// of 0 are left out.
    #[inline(always)]
    pub fn segment(
        &self,
        timestamps: [u32; 2],
        payload: Payload,
        source: Address,
        destination: Address,
    ) -> Header {
        let flags = if payload.length > 0 { PSH | ACK | FIN } else { ACK };
        self.header(flags, timestamps, payload, source, destination)
    }

    #[inline(always)]
    fn header(
        &self,
        flags: u8,
        timestamps: [u32; 2],
        payload: Payload,
        source: Address,
        destination: Address,
    ) -> Header {
        let [value, echo] = timestamps;
        let stamped = u32::from(value | echo != 0);
        let length = TCP_HEADER + stamped * TIMESTAMPS_LENGTH;
        let options = [TIMESTAMPS * stamped, value, echo];
        let ports = u32::from(self.source_port) << 16 | u32::from(self.destination_port);
        let window = if flags & RST == 0 { u32::from(WINDOW) } else { 0 };
        let offset_flags = (length / 4) << 28 | u32::from(flags) << 16 | window;
        let [ports, sequence, acknowledgement, offset_flags] =
            [ports, self.sequence, self.acknowledgement, offset_flags].map(u32::to_be);
        let sum = u64::from(ports) + u64::from(sequence) + u64::from(acknowledgement);
        let sum = sum + u64::from(offset_flags) + u64::from(payload.sum);
        let [padding, value, echo] = options.map(u64::from);
        let sum = sum + padding + value + echo;
        let sum = sum + pseudo_header(source, destination, length + payload.length);
        // The checksum is the first half of the last word; the urgent pointer behind it is 0.
        let words = [ports, sequence, acknowledgement, offset_flags, u32::from(fold(sum))];
        Header { words, options, length, payload_length: payload.length }
    }
}

/// Sequence number after a segment: SYN and FIN take one each (RFC 9293 section 3.4).
#[inline(always)]
pub const fn sequence_end(segment: &Packet) -> u32 {
    let syn = (segment.tcp_flags >> 1 & 1) as u32;
    let fin = (segment.tcp_flags & 1) as u32;
    segment.sequence.wrapping_add(segment.payload_length).wrapping_add(syn).wrapping_add(fin)
}

/// Sum of the pseudo-header of a segment of `length` bytes (RFC 9293 section 3.1, RFC 8200 section
/// 8.1), of words in memory order. An IPv4-mapped address adds `0xffff` for its prefix, which is zero
/// in ones' complement, so one sum serves both.
#[inline(always)]
pub fn pseudo_header(source: Address, destination: Address, length: u32) -> u64 {
    pseudo_header_of(TCP, source, destination, length)
}

/// The same of any transport.
#[inline(always)]
pub fn pseudo_header_of(protocol: u8, source: Address, destination: Address, length: u32) -> u64 {
    let words = |address: Address| {
        let [first, second] = address.0;
        (first & 0xffff_ffff) + (first >> 32) + (second & 0xffff_ffff) + (second >> 32)
    };
    words(source)
        + words(destination)
        + u64::from((u32::from(protocol)).to_be())
        + u64::from(length.to_be())
}

/// Folds a sum of words in memory order to the Internet checksum (RFC 1071).
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let mut folded = (sum & 0xffff_ffff) + (sum >> 32);
    folded = (folded & 0xffff) + (folded >> 16);
    folded = (folded & 0xffff) + (folded >> 16);
    folded = (folded & 0xffff) + (folded >> 16);
    !(folded as u16)
}

/// The checksum after one 16-bit word of the header changed (RFC 1624 equation 3), all in memory order.
#[inline(always)]
pub const fn replace(checksum: u16, old: u16, new: u16) -> u16 {
    fold(!checksum as u64 + !old as u64 + new as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    /// The checksum as RFC 1071 section 4.1 writes it, over bytes.
    fn plain(bytes: &[u8]) -> u16 {
        // An odd byte at the end is the upper one of its word (RFC 1071 section 4.1).
        let word =
            |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        let mut sum: u32 = bytes.chunks(2).map(word).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn octets(address: IpAddr) -> Vec<u8> {
        match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    }

    const REPLY: Reply = Reply {
        source_port: 51234,
        destination_port: 443,
        sequence: 0xdead_beef,
        acknowledgement: 0x0102_0304,
    };

    /// Asserts a right checksum, and gives the flags.
    fn check(make: impl Fn(Address, Address) -> Header, payload: &[u8]) -> u8 {
        let mut flags = 0;
        for (source, destination) in
            [("192.0.2.7", "198.51.100.9"), ("2001:db8::7", "2001:db8:ffff::9")]
        {
            let (source, destination): (IpAddr, IpAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let header = make(source.into(), destination.into());
            let words = header.words.into_iter().chain(header.options);
            let mut segment: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
            segment.truncate(header.length as usize);
            assert_eq!(&segment[..4], &[0xc8, 0x22, 0x01, 0xbb]);
            assert_eq!(u32::from(segment[12] >> 4) * 4, header.length);
            flags = segment[13];
            segment.extend(payload);
            assert_eq!(segment.len(), header.segment_length() as usize);
            let length = u16::try_from(segment.len()).unwrap().to_be_bytes().to_vec();
            let pseudo =
                [octets(source), octets(destination), vec![0, TCP], length, segment].concat();
            // The sum over a segment with its checksum in place is all ones.
            assert_eq!(plain(&pseudo), 0);
        }
        flags
    }

    #[test]
    fn a_reset_carries_a_valid_checksum() {
        let flags = check(|source, destination| REPLY.reset(source, destination), b"");
        assert_eq!(flags, RST | ACK);
    }

    #[test]
    fn a_segment_carries_a_valid_checksum() {
        let page = crate::abi::Page::new(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"blocked").unwrap();
        let payload = Payload { length: u32::from(page.length), sum: page.sum };
        for timestamps in [[0, 0], [0x0102_0304, 0xfffe_fdfc]] {
            let flags =
                check(|from, to| REPLY.segment(timestamps, payload, from, to), page.as_bytes());
            assert_eq!(flags, PSH | ACK | FIN);
            let none = Payload::default();
            let flags = check(|from, to| REPLY.segment(timestamps, none, from, to), b"");
            assert_eq!(flags, ACK);
        }
    }

    #[test]
    fn replacing_a_word_is_the_same_as_summing_again() {
        let mut header = [0x45, 0, 5, 220, 1, 2, 64, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        let before = plain(&header).to_be();
        let old = u16::from_ne_bytes([header[2], header[3]]);
        header[2..4].copy_from_slice(&40_u16.to_be_bytes());
        let new = u16::from_ne_bytes([header[2], header[3]]);
        assert_eq!(replace(before, old, new), plain(&header).to_be());
    }
}
