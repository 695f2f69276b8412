//! Ethernet (IEEE 802.3) with VLAN tags (IEEE 802.1Q, 802.1ad), `PPPoE` sessions (RFC 2516) and MPLS
//! labels (RFC 3032).

use super::{Link, Skip};
use crate::cursor::{Cursor, Truncated, bound};

/// Service and customer tag, and one more where a provider carries both through its own.
const VLAN_TAGS_MAX: u32 = 3;

/// Labels of a stack: transport, protection, service, and an entropy label with its indicator.
const MPLS_LABELS_MAX: u32 = 5;

// EtherTypes in memory order, as they are compared.
pub(super) const IPV4: u16 = u16::to_be(0x0800);
pub(super) const IPV6: u16 = u16::to_be(0x86dd);
const CUSTOMER_TAG: u16 = u16::to_be(0x8100);
const SERVICE_TAG: u16 = u16::to_be(0x88a8);
const PPPOE_SESSION: u16 = u16::to_be(0x8864);
const MPLS: u16 = u16::to_be(0x8847);

/// RFC 2516 section 4: version 1, type 1, code 0.
const PPPOE_DATA: u16 = 0x1100;
/// PPP protocol numbers (RFC 1332, RFC 5072).
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// VLAN identifiers that no network has: that of priority tags, and a reserved one (IEEE 802.1Q section 9.6).
const NO_VLANS: [u64; 2] = [0, 0xfff];

/// The MAC address a frame comes from, its first byte the lowest.
#[inline(always)]
pub fn source_mac(mut cursor: Cursor<'_>) -> Option<u64> {
    let header = cursor.header::<14>().ok()?;
    Some(u64::from(header.word32::<6>()) | u64::from(header.word16::<10>()) << 32)
}

/// The VLAN that a frame's first tag names.
#[inline(always)]
pub fn vlan(mut cursor: Cursor<'_>) -> Option<u64> {
    let ether_type = cursor.header::<14>().ok()?.word16::<12>();
    if ether_type != CUSTOMER_TAG && ether_type != SERVICE_TAG {
        return None;
    }
    let vlan = u64::from(cursor.header::<4>().ok()?.u16::<0>() & 0x0fff);
    (!NO_VLANS.contains(&vlan)).then_some(vlan)
}

/// Passes over the link headers and gives the `EtherType` of what follows, in memory order.
#[inline(always)]
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<(u16, u8), Skip> {
    let mut ether_type = cursor.header::<14>()?.word16::<12>();
    if ether_type == IPV4 || ether_type == IPV6 {
        return Ok((ether_type, Link::Plain as u8));
    }
    let mut tags = 0;
    while tags < VLAN_TAGS_MAX && (ether_type == CUSTOMER_TAG || ether_type == SERVICE_TAG) {
        ether_type = cursor.header::<4>()?.word16::<2>();
        tags += 1;
    }
    let mut link = Link::Plain as u32;
    if ether_type == PPPOE_SESSION {
        let header = cursor.header::<8>()?;
        if header.u16::<0>() != PPPOE_DATA {
            return Err(Skip::Malformed);
        }
        link = Link::Pppoe as u32;
        ether_type = match header.u16::<6>() {
            PPP_IPV4 => IPV4,
            PPP_IPV6 => IPV6,
            _ => return Err(Skip::NotIp),
        };
    } else if ether_type == MPLS {
        ether_type = labels(cursor)?;
    }
    // However it came here, what follows is walked once.
    cursor.converge();
    let ether_type = bound::<0xffff>(u32::from(ether_type)) as u16;
    Ok((ether_type, bound::<1>(link) as u8))
}

/// Passes over a label stack. It does not say what it carries; the first four bits do, as routers
/// look at them too (RFC 4928 section 3).
#[inline(always)]
fn labels(cursor: &mut Cursor<'_>) -> Result<u16, Skip> {
    let mut labels = 0;
    while labels < MPLS_LABELS_MAX {
        let bottom = cursor.header::<4>()?.u8::<2>() & 1 != 0;
        if bottom {
            let mut ahead = *cursor;
            let version = ahead.header::<2>().map_err(|Truncated| Skip::Truncated)?.u8::<0>() >> 4;
            return match version {
                4 => Ok(IPV4),
                6 => Ok(IPV6),
                _ => Err(Skip::NotIp),
            };
        }
        labels += 1;
    }
    Err(Skip::NotIp)
}
