//! What a datagram is, by its first bytes and its port.

use super::header::Version;
use crate::cursor::Window;

/// Ports that servers have QUIC on: HTTP/3 is told there from HTTPS and HTTP (RFC 9114 section 3.1), on others
/// nearly always something else is.
pub const PORTS: [u16; 2] = [443, 80];

/// Bytes that [`could_have_initial`] looks at.
pub const FIRST_BYTES: usize = 5;

/// Header Form (RFC 8999 section 5.1).
const LONG: u8 = 0x80;
/// Fixed Bit (RFC 9000 section 17.3.1). Clients may leave it out of what follows a handshake (RFC 9287).
const FIXED: u8 = 0x40;

/// Flags of Google's QUIC up to version 43: a version follows the connection ID, and that ID has eight bytes.
const GQUIC_FLAGS: u8 = 0x09;
/// Where the version is then.
const GQUIC_VERSION_AT: u32 = 9;

/// Content types of DTLS 1.0 to 1.2 (RFC 6347 section 4.1): those of TLS and heartbeats.
const DTLS_TYPES: core::ops::RangeInclusive<u8> = 20..=24;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It starts with a long header.
    Long,
    /// It could be of a connection that is known to its ends, and is on a port of QUIC.
    Short,
    /// Google's QUIC.
    Gquic,
    /// DTLS.
    Dtls,
    /// None of these.
    Other,
}

/// True for a port that QUIC is expected on.
#[inline(always)]
pub const fn is_port(port: u16) -> bool {
    let [https, http] = PORTS;
    port == https || port == http
}

/// True where a datagram is to be read whatever its flow is: those with a long header of a version that is known,
/// and on a port of QUIC all with a long header that has the Fixed Bit. Without it RTP starts like that, and
/// calls come to these ports too (RFC 9443 section 3). A game has such bytes now and then, and is read in vain.
#[inline(always)]
pub const fn could_have_initial(first: u8, version: u32, port: u16) -> bool {
    let is_likely = is_port(port) && first & FIXED != 0;
    first & LONG != 0 && (is_likely || Version::of(version).is_some())
}

/// True for a version of Google's QUIC: a letter, and three digits of which the first one is 0.
#[inline(always)]
pub(super) const fn is_gquic(version: u32) -> bool {
    version >> 16 == 0x5130 || version >> 16 == 0x5430
}

impl Kind {
    /// Tells what starts in the window.
    #[inline(always)]
    pub fn of(window: &Window, port: u16) -> Self {
        let word = u64::from_be(window.word(0));
        let first = (word >> 56) as u8;
        let version = (word >> 24) as u32;
        if first & LONG != 0 {
            return if could_have_initial(first, version, port) { Self::Long } else { Self::Other };
        }
        // Versions of DTLS are the complement of those of TLS.
        if DTLS_TYPES.contains(&first) && (word >> 48) & 0xff == 0xfe && window.length > 13 {
            return Self::Dtls;
        }
        if !is_port(port) {
            return Self::Other;
        }
        let version = (u64::from_be(window.word(GQUIC_VERSION_AT)) >> 32) as u32;
        if first & GQUIC_FLAGS == GQUIC_FLAGS && is_gquic(version) {
            return Self::Gquic;
        }
        if first & FIXED != 0 { Self::Short } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_and_the_port_tell() {
        let initial = [0xc3, 0, 0, 0, 1, 8];
        let greased = [0xc3, 0x1a, 0x2a, 0x3a, 0x4a, 8];
        let call = [0x80, 0x60, 0x12, 0x34, 0, 0];
        for (bytes, port, expected) in [
            (&initial[..], 443, Kind::Long),
            (&initial, 80, Kind::Long),
            (&initial, 4433, Kind::Long),
            (&greased, 443, Kind::Long),
            (&greased, 4433, Kind::Other),
            (&call, 5004, Kind::Other),
            (&call, 443, Kind::Other),
            (&[0x83, 0, 0, 0, 1, 8], 443, Kind::Long),
            (&[0x40, 1, 2, 3], 443, Kind::Short),
            (&[0x40, 1, 2, 3], 27_015, Kind::Other),
            (&[0x16, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1], 443, Kind::Dtls),
            (&[0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1], 10_000, Kind::Dtls),
            (&[0x16, 3, 3, 0, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0], 443, Kind::Other),
            (b"\x0d12345678Q043\x01", 443, Kind::Gquic),
            (b"\x0912345678Q039\x01", 80, Kind::Gquic),
            (b"\x0912345678Q039\x01", 8080, Kind::Other),
            (b"\x0912345678----\x01", 443, Kind::Other),
            (&[], 443, Kind::Other),
        ] {
            assert_eq!(Kind::of(&Window::new(bytes), port), expected, "{bytes:x?} to {port}");
        }
    }
}
