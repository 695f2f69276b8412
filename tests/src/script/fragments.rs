//! An IP packet in fragments.

use crate::frames::checksum;

const ETHERNET: usize = 14;
const IPV4: usize = ETHERNET + 20;
const IPV6: usize = ETHERNET + 40;
const FRAGMENT_HEADER: u8 = 44;
const IDENTIFICATION: [u8; 4] = [0, 0, 0x5a, 0x5a];

/// Cuts the packet of a frame, without IP options or extension headers, into fragments of what lies behind
/// its IP header. They begin at `starts`, in whatever order these are; each ends where the next begins.
pub fn fragments(frame: &[u8], starts: &[usize]) -> Vec<Vec<u8>> {
    let header = if frame[ETHERNET] >> 4 == 4 { IPV4 } else { IPV6 };
    let payload = &frame[header..];
    let piece = |&start: &usize| {
        let end = starts.iter().copied().filter(|other| *other > start).min();
        let bytes = &payload[start..end.unwrap_or(payload.len())];
        let place = start as u16 | u16::from(end.is_some());
        if header == IPV4 { v4(frame, place, bytes) } else { v6(frame, place, bytes) }
    };
    starts.iter().map(piece).collect()
}

/// `place` is the offset in bytes with the more-fragments bit where IPv6 has it.
fn v4(frame: &[u8], place: u16, bytes: &[u8]) -> Vec<u8> {
    let mut fragment = frame[..IPV4].to_vec();
    let length = (IPV4 - ETHERNET + bytes.len()) as u16;
    fragment[16..18].copy_from_slice(&length.to_be_bytes());
    let place = place >> 3 | (place & 1) << 13;
    fragment[20..22].copy_from_slice(&place.to_be_bytes());
    fragment[24..26].fill(0);
    let sum = checksum(&fragment[ETHERNET..]);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    [&fragment, bytes].concat()
}

fn v6(frame: &[u8], place: u16, bytes: &[u8]) -> Vec<u8> {
    let mut fragment = frame[..IPV6].to_vec();
    let next = std::mem::replace(&mut fragment[20], FRAGMENT_HEADER);
    fragment[18..20].copy_from_slice(&(8 + bytes.len() as u16).to_be_bytes());
    fragment.extend([next, 0]);
    fragment.extend(place.to_be_bytes());
    fragment.extend(IDENTIFICATION);
    [&fragment, bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::fragments;
    use crate::frames::{Frame, checksum};

    #[test]
    fn the_pieces_make_the_packet() {
        let whole = Frame::from_device(false, &[7; 100]).bytes();
        let pieces = fragments(&whole, &[24, 0]);
        assert_eq!([&pieces[1][34..], &pieces[0][34..]].concat(), &whole[34..]);
        assert_eq!(pieces[0][20..22], [0, 3]);
        assert_eq!(pieces[1][20..22], [0x20, 0]);
        assert_eq!(checksum(&pieces[0][14..34]), 0);

        let whole = Frame::from_device(true, &[7; 100]).bytes();
        let pieces = fragments(&whole, &[0, 48]);
        assert_eq!([&pieces[0][62..], &pieces[1][62..]].concat(), &whole[54..]);
        assert_eq!(pieces[0][54..58], [6, 0, 0, 1]);
        assert_eq!(pieces[1][54..58], [6, 0, 0, 48]);
        let atomic = fragments(&whole, &[0]);
        assert_eq!(atomic[0][56..58], [0, 0]);
    }
}
