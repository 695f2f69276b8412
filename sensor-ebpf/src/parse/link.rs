//! Ethernet (IEEE 802.3) with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use super::Skip;
use crate::cursor::Cursor;

/// Service and customer tag; a third one is no campus network.
const VLAN_TAGS_MAX: u32 = 2;

const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// Passes over the link header and gives the `EtherType` of what follows.
#[inline(always)]
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<u16, Skip> {
    let mut ether_type = cursor.header::<14>()?.u16::<12>();
    let mut tags = 0;
    while tags < VLAN_TAGS_MAX && (ether_type == CUSTOMER_TAG || ether_type == SERVICE_TAG) {
        ether_type = cursor.header::<4>()?.u16::<2>();
        tags += 1;
    }
    Ok(ether_type)
}
