//! What is taken from an answer on its way to the device that asked, and what is changed in it.

use super::message::{Record, TYPE_A, TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB};
use crate::abi::Address;
use crate::cursor::Window;

/// Seconds an address keeps its name at least. Browsers and stubs keep an answer for about a minute,
/// whatever it says of itself, and connect to what they have.
pub const KEPT_MIN_S: u32 = 60;

/// Seconds an address keeps its name at most: what desktop systems cut longer lifetimes to. Behind it an
/// address may have gone to somebody else.
pub const KEPT_MAX_S: u32 = 86_400;

/// Lifetimes with this bit are none (RFC 2181 section 8).
const NO_LIFETIME: u32 = 0x8000_0000;

/// IN (RFC 1035 section 3.2.4).
const INTERNET: u32 = 1;

/// First byte of a type for private use (RFC 6895 section 3.1: 65280 to 65534). A registered type below
/// 256 becomes one by this byte alone: 64 and 65 become 65344 and 65345.
pub const PRIVATE_USE: u8 = 0xff;

/// True for a type whose records lead past the name, with keys for Encrypted Client Hello.
#[inline(always)]
pub const fn is_service(kind: u32) -> bool {
    kind == TYPE_HTTPS || kind == TYPE_SVCB
}

/// How long an address keeps its name, ns, by the lifetime of its record in s.
#[inline(always)]
pub const fn kept_ns(ttl: u32) -> u64 {
    let seconds = if ttl & NO_LIFETIME != 0 || ttl < KEPT_MIN_S {
        KEPT_MIN_S
    } else if ttl > KEPT_MAX_S {
        KEPT_MAX_S
    } else {
        ttl
    };
    seconds as u64 * 1_000_000_000
}

impl Record {
    /// The address it gives, if it is one of the answer section.
    #[inline(always)]
    pub fn address(&self, window: &Window) -> Option<Address> {
        if self.answer == 0 || self.class != INTERNET {
            return None;
        }
        if self.kind == TYPE_A && self.length == 4 {
            return Some(Address::from_ipv4_word(window.word(self.data) as u32));
        }
        if self.kind == TYPE_AAAA && self.length == 16 {
            return Some(Address([window.word(self.data), window.word(self.data + 8)]));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_two_bounds() {
        for (ttl, seconds) in [
            (0, KEPT_MIN_S),
            (59, KEPT_MIN_S),
            (61, 61),
            (300, 300),
            (KEPT_MAX_S + 1, KEPT_MAX_S),
            (0x7fff_ffff, KEPT_MAX_S),
            (0x8000_0000, KEPT_MIN_S),
            (u32::MAX, KEPT_MIN_S),
        ] {
            assert_eq!(kept_ns(ttl), u64::from(seconds) * 1_000_000_000, "{ttl}");
        }
    }

    #[test]
    fn renamed_types_are_for_private_use() {
        for kind in [TYPE_SVCB, TYPE_HTTPS] {
            let [_, low] = (kind as u16).to_be_bytes();
            assert!((65_280..=65_534).contains(&u16::from_be_bytes([PRIVATE_USE, low])));
            assert!(kind < 256 && is_service(kind));
        }
    }
}
