//! TCP (RFC 9293) and UDP (RFC 768). Other protocols are flows without ports.

use super::{Packet, Skip};
use crate::cursor::Cursor;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// TCP flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// TCP flag: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// TCP flag: reset.
pub const RST: u8 = 0x04;
/// TCP flag: push.
pub const PSH: u8 = 0x08;
/// TCP flag: the acknowledgement number is valid.
pub const ACK: u8 = 0x10;
/// TCP flag: the urgent pointer is valid.
pub const URG: u8 = 0x20;

/// Fills the transport's fields of `packet`.
#[inline(always)]
pub(super) fn parse(cursor: &mut Cursor<'_>, packet: &mut Packet) -> Result<(), Skip> {
    match packet.protocol {
        TCP => {
            let header = cursor.header::<20>()?;
            let length = u32::from(header.u8::<12>() >> 4) * 4;
            if length < 20 || length > packet.payload_length {
                return Err(Skip::Malformed);
            }
            packet.source_port = header.u16::<0>();
            packet.destination_port = header.u16::<2>();
            packet.sequence = header.u32::<4>();
            packet.acknowledgement = header.u32::<8>();
            packet.tcp_flags = header.u8::<13>();
            packet.payload += length;
            packet.payload_length -= length;
        }
        UDP => {
            let header = cursor.header::<8>()?;
            if packet.payload_length < 8 {
                return Err(Skip::Malformed);
            }
            packet.source_port = header.u16::<0>();
            packet.destination_port = header.u16::<2>();
            packet.payload += 8;
            packet.payload_length -= 8;
        }
        _ => {}
    }
    Ok(())
}
