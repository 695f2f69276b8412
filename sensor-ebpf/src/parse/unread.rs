//! Packets that belong to no flow and could carry a piece of a handshake all the same.

use super::link::{self, IPV4};
use super::network::{AUTHENTICATION, FRAGMENT};
use super::transport::{TCP, UDP};
use crate::abi::Address;
use crate::cursor::Cursor;

/// Ports on which names are looked for in datagrams: of QUIC, and of DNS.
const NAMED_PORTS: [u16; 3] = [443, 80, crate::dns::PORT];

/// Bytes of extension headers before a fragment's header: hop-by-hop, routing and destination
/// options, of which real ones have none.
const BEFORE_FRAGMENT_MAX: u32 = 3;

/// Who sent a fragment, and whether it could be a piece of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Sender.
    pub source: Address,
    /// TCP, or the first fragment of a UDP datagram to a port of QUIC or DNS. Without its first fragment no
    /// datagram is put together, so the others may go.
    pub is_handshake: bool,
}

impl Unread {
    /// Reads a frame that [`Packet::parse`](super::Packet::parse) gave no packet for.
    #[inline(always)]
    pub fn parse(mut cursor: Cursor<'_>) -> Option<Self> {
        let (ether_type, _) = link::parse(&mut cursor).ok()?;
        if ether_type == IPV4 { ipv4(&mut cursor) } else { ipv6(&mut cursor) }
    }
}

#[inline(always)]
fn ipv4(cursor: &mut Cursor<'_>) -> Option<Unread> {
    let header = cursor.header::<20>().ok()?;
    let source = Address::from_ipv4_word(header.word32::<12>());
    let length = usize::from(header.u8::<0>() & 0x0f) * 4;
    if length < 20 {
        return None;
    }
    cursor.skip(length - 20);
    cursor.converge();
    let first = header.u16::<6>() << 3 == 0;
    Some(Unread { source, is_handshake: is_handshake(cursor, header.u8::<9>(), first) })
}

#[inline(always)]
fn ipv6(cursor: &mut Cursor<'_>) -> Option<Unread> {
    let header = cursor.header::<40>().ok()?;
    let source = Address([header.word64::<8>(), header.word64::<16>()]);
    let mut protocol = header.u8::<6>();
    let mut walked = 0;
    while walked < BEFORE_FRAGMENT_MAX {
        // Not every chain that comes here ends within the packet, and what lies behind one that is too
        // long was no header: what cannot be walked could be any.
        let Ok(extension) = cursor.header::<8>() else { break };
        if protocol == FRAGMENT {
            let first = extension.u16::<2>() & 0xfff8 == 0;
            let carried = extension.u8::<0>();
            // Further headers behind it hide the transport, so it could be any.
            let is_handshake =
                super::network::is_extension(carried) || is_handshake(cursor, carried, first);
            return Some(Unread { source, is_handshake });
        }
        let is_authentication = protocol == AUTHENTICATION;
        protocol = extension.u8::<0>();
        let length = usize::from(extension.u8::<1>());
        // Authentication counts by four bytes, from the third on (RFC 4302 section 2.2).
        cursor.skip(if is_authentication { length * 4 } else { length * 8 });
        cursor.converge();
        walked += 1;
    }
    Some(Unread { source, is_handshake: true })
}

#[inline(always)]
fn is_handshake(cursor: &mut Cursor<'_>, protocol: u8, first: bool) -> bool {
    if protocol == TCP {
        return true;
    }
    if protocol != UDP || !first {
        return false;
    }
    cursor.header::<4>().is_ok_and(|ports| NAMED_PORTS.contains(&ports.u16::<2>()))
}
