//! TCP resets that the receiver believes (RFC 9293 section 3.5.2, RFC 5961 section 3.2).

use crate::abi::Address;
use crate::parse::{ACK, Packet, RST, TCP};

/// Bytes of a reset's TCP header: no options.
pub const TCP_HEADER: u32 = 20;

/// Time to live of a reset this gateway sends by itself.
pub const HOP_LIMIT: u8 = 64;

/// Metadata XDP hands to the TC ingress stage of the same packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Order {
    /// [`Order::MAGIC`], so that another program's metadata is not taken for an order.
    pub magic: u32,
    /// Sequence number after the client's segment.
    pub sequence_end: u32,
    /// Always 0.
    pub reserved: [u32; 2],
}

impl Order {
    /// `CSrs` in memory.
    pub const MAGIC: u32 = u32::from_le_bytes(*b"CSrs");
}

/// Firewall mark of a reset on its way out, so that the egress program knows it for our own.
pub const OWN_RESET_MARK: u32 = u32::from_be_bytes(*b"CSrs");

/// A reset in one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Port of the end the reset claims to come from.
    pub source_port: u16,
    /// Port of the end it goes to.
    pub destination_port: u16,
    /// The receiver's next expected byte.
    pub sequence: u32,
    /// Last byte seen from the receiver.
    pub acknowledgement: u32,
}

impl Reset {
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

    /// The TCP header in network byte order as words in memory, its checksum filled in.
    #[inline(always)]
    pub fn header(&self, source: Address, destination: Address) -> [u32; 5] {
        let ports = u32::from(self.source_port) << 16 | u32::from(self.destination_port);
        // Data offset of five words, and the flags; a window of 0.
        let offset_flags = 5 << 28 | u32::from(RST | ACK) << 16;
        let [ports, sequence, acknowledgement, offset_flags] =
            [ports, self.sequence, self.acknowledgement, offset_flags].map(u32::to_be);
        let sum = u64::from(ports) + u64::from(sequence) + u64::from(acknowledgement);
        let sum = sum + u64::from(offset_flags) + pseudo_header(source, destination, TCP_HEADER);
        // The checksum is the first half of the last word; the urgent pointer behind it is 0.
        [ports, sequence, acknowledgement, offset_flags, u32::from(fold(sum))]
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
        let mut sum: u32 =
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
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

    #[test]
    fn a_reset_carries_a_valid_checksum() {
        for (source, destination) in
            [("192.0.2.7", "198.51.100.9"), ("2001:db8::7", "2001:db8:ffff::9")]
        {
            let (source, destination): (IpAddr, IpAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let reset = Reset {
                source_port: 51234,
                destination_port: 443,
                sequence: 0xdead_beef,
                acknowledgement: 0x0102_0304,
            };
            let header: Vec<u8> = reset
                .header(source.into(), destination.into())
                .iter()
                .flat_map(|word| word.to_ne_bytes())
                .collect();
            let pseudo = [octets(source), octets(destination), vec![0, TCP, 0, 20], header.clone()];
            // The sum over a segment with its checksum in place is all ones.
            assert_eq!(plain(&pseudo.concat()), 0);
            assert_eq!(&header[..4], &[0xc8, 0x22, 0x01, 0xbb]);
            assert_eq!(header[12..14], [0x50, RST | ACK]);
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
