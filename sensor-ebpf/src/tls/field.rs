//! The fields of a hello in wire order, and what follows each.

use core::mem::offset_of;

use super::{AREA, CLIENT_HELLO, HelloReader, STREAM_MAX};
use crate::abi::{
    ALPN_BYTES, CIPHER_SUITES_BYTES, EXTENSION_TYPES, NAME_MAX, NoName, SIGNATURE_ALGORITHMS_BYTES,
    SUPPORTED_VERSIONS_BYTES, StoredHello,
};
use crate::step::Step;

/// Bytes of a record header.
pub(super) const RECORD_HEADER: u32 = 5;

/// Bytes of `random` (RFC 8446 section 4.1.2).
const RANDOM: u32 = 32;
/// `legacy_session_id<0..32>`.
const SESSION_ID_MAX: u32 = 32;
/// Type and length of an extension.
const EXTENSION_HEADER: u32 = 4;

const SERVER_NAME: u32 = 0;
const SIGNATURE_ALGORITHMS: u32 = 13;
const ALPN: u32 = 16;
const SUPPORTED_VERSIONS: u32 = 43;
/// `NameType` (RFC 6066 section 3).
const HOST_NAME: u32 = 0;

/// What a reader takes next. The first ones are numbers, the last ones lists of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Field {
    MessageHeader,
    LegacyVersion,
    SessionIdLength,
    CipherSuitesLength,
    CompressionLength,
    ExtensionsLength,
    ExtensionHeader,
    NamesLength,
    NameHeader,
    SignatureAlgorithmsLength,
    AlpnLength,
    SupportedVersionsLength,
    CipherSuites,
    Name,
    /// A list inside of an extension.
    List,
}

/// Where a list is kept.
#[derive(Clone, Copy)]
struct Room {
    at: usize,
    bytes: usize,
}

const OFFER: usize = offset_of!(HelloReader, offer) - AREA;
const NAME: Room = Room { at: 0, bytes: NAME_MAX };
const CIPHER_SUITES: Room =
    Room { at: OFFER + offset_of!(StoredHello, cipher_suites), bytes: CIPHER_SUITES_BYTES };
const SCHEMES: Room = Room {
    at: OFFER + offset_of!(StoredHello, signature_algorithms),
    bytes: SIGNATURE_ALGORITHMS_BYTES,
};
const PROTOCOLS: Room = Room { at: OFFER + offset_of!(StoredHello, alpn), bytes: ALPN_BYTES };
const VERSIONS: Room = Room {
    at: OFFER + offset_of!(StoredHello, supported_versions),
    bytes: SUPPORTED_VERSIONS_BYTES,
};

const MALFORMED: Step = Step::Stop(NoName::Malformed);

impl HelloReader {
    /// Reads `bytes` as a number next, behind `gap` bytes.
    #[inline(always)]
    fn then(&mut self, field: Field, gap: u32, bytes: u32) -> Step {
        if gap + bytes > self.message_left {
            return MALFORMED;
        }
        self.field = field as u32;
        self.gap = gap;
        self.need = bytes;
        Step::More
    }

    /// Keeps the next `bytes`.
    #[inline(always)]
    fn keep(&mut self, field: Field, bytes: u32, room: Room) -> Step {
        if bytes > self.message_left {
            return MALFORMED;
        }
        self.field = field as u32;
        self.collect = bytes;
        self.store_at = room.at as u32;
        self.store_room = room.bytes as u32;
        if bytes == 0 { self.collected() } else { Step::More }
    }

    /// A number is there.
    #[inline(always)]
    pub(super) fn number(&mut self, value: u32) -> Step {
        let field = self.field;
        if field == Field::ExtensionHeader as u32 {
            return self.extension(value >> 16, value & 0xffff);
        }
        if field == Field::MessageHeader as u32 {
            if value >> 24 != u32::from(CLIENT_HELLO) {
                return Step::Stop(NoName::NotTls);
            }
            self.message_left = value & 0x00ff_ffff;
            if self.message_left > STREAM_MAX {
                return Step::Stop(NoName::Oversize);
            }
            return self.then(Field::LegacyVersion, 0, 2);
        }
        if field == Field::LegacyVersion as u32 {
            self.offer.legacy_version = value as u16;
            return self.then(Field::SessionIdLength, RANDOM, 1);
        }
        if field == Field::SessionIdLength as u32 {
            if value > SESSION_ID_MAX {
                return MALFORMED;
            }
            return self.then(Field::CipherSuitesLength, value, 2);
        }
        if field == Field::CipherSuitesLength as u32 {
            self.offer.cipher_suites_length = value as u16;
            return self.keep(Field::CipherSuites, value, CIPHER_SUITES);
        }
        if field == Field::CompressionLength as u32 {
            if self.message_left == value {
                // No extensions at all (RFC 5246 section 7.4.1.2).
                return self.over();
            }
            return self.then(Field::ExtensionsLength, value, 2);
        }
        if field == Field::ExtensionsLength as u32 {
            if value > self.message_left {
                return MALFORMED;
            }
            self.extensions_left = value;
            self.extension_left = 0;
            return self.next_extension();
        }
        self.in_extension(field, value)
    }

    /// Type and length of an extension are there.
    #[inline(always)]
    fn extension(&mut self, kind: u32, length: u32) -> Step {
        if length > self.extensions_left {
            return MALFORMED;
        }
        self.extensions_left -= length;
        self.extension_left = length;
        self.note_type(kind);
        match kind {
            SERVER_NAME if self.named == 0 => {
                if length < 2 {
                    return MALFORMED;
                }
                self.then(Field::NamesLength, 0, 2)
            }
            SIGNATURE_ALGORITHMS if length > 2 => self.then(Field::SignatureAlgorithmsLength, 0, 2),
            ALPN if length > 2 => self.then(Field::AlpnLength, 0, 2),
            SUPPORTED_VERSIONS if length > 1 => self.then(Field::SupportedVersionsLength, 0, 1),
            _ => self.next_extension(),
        }
    }

    #[inline(always)]
    fn in_extension(&mut self, field: u32, value: u32) -> Step {
        if field == Field::NameHeader as u32 {
            return self.name_header(value >> 16, value & 0xffff);
        }
        let length_bytes = if field == Field::SupportedVersionsLength as u32 { 1 } else { 2 };
        if value + length_bytes > self.extension_left {
            // A list beyond its extension: only the name's matters here.
            return if field == Field::NamesLength as u32 {
                MALFORMED
            } else {
                self.next_extension()
            };
        }
        self.extension_left -= length_bytes;
        if field == Field::NamesLength as u32 {
            self.extension_left -= value;
            self.names_left = value;
            return self.next_name(0);
        }
        self.extension_left -= value;
        if field == Field::SignatureAlgorithmsLength as u32 {
            self.offer.signature_algorithms_length = value as u16;
            self.keep(Field::List, value, SCHEMES)
        } else if field == Field::AlpnLength as u32 {
            self.offer.alpn_length = value as u16;
            self.keep(Field::List, value, PROTOCOLS)
        } else {
            self.offer.supported_versions_length = value as u16;
            self.keep(Field::List, value, VERSIONS)
        }
    }

    /// Reads the next entry of the list of names, behind `gap` bytes.
    #[inline(always)]
    fn next_name(&mut self, gap: u32) -> Step {
        if self.names_left < 3 {
            return MALFORMED;
        }
        self.names_left -= 3;
        self.then(Field::NameHeader, gap, 3)
    }

    #[inline(always)]
    fn name_header(&mut self, kind: u32, length: u32) -> Step {
        if length > self.names_left {
            return MALFORMED;
        }
        self.names_left -= length;
        if kind != HOST_NAME {
            return self.next_name(length);
        }
        if length == 0 || length > NAME_MAX as u32 {
            return MALFORMED;
        }
        self.name_length = length;
        self.keep(Field::Name, length, NAME)
    }

    /// A list is there.
    #[inline(always)]
    pub(super) fn collected(&mut self) -> Step {
        let field = self.field;
        if field == Field::CipherSuites as u32 {
            return self.then(Field::CompressionLength, 0, 1);
        }
        if field == Field::Name as u32 {
            self.named = 1;
            // RFC 6066 section 3 allows one name of a type; what else is in the list is passed over.
            self.extension_left += self.names_left;
        }
        self.next_extension()
    }

    /// Passes over the rest of this extension; the hello is over where it was the last.
    #[inline(always)]
    fn next_extension(&mut self) -> Step {
        if self.extensions_left == 0 {
            return self.over();
        }
        if self.extensions_left < EXTENSION_HEADER {
            return MALFORMED;
        }
        self.extensions_left -= EXTENSION_HEADER;
        self.then(Field::ExtensionHeader, self.extension_left, EXTENSION_HEADER)
    }

    /// Nothing more is read of the hello. In records it is over here; without them its own end alone tells it from
    /// the message that may follow it.
    #[inline(always)]
    fn over(&mut self) -> Step {
        if self.has_records() || self.message_left == 0 {
            return Step::Found;
        }
        self.gap = self.message_left;
        Step::More
    }

    #[inline(always)]
    fn note_type(&mut self, kind: u32) {
        let kind = super::offer::without_grease(u64::from(kind)) as u16;
        let index = usize::from(self.offer.extensions);
        if index < EXTENSION_TYPES {
            let index = crate::cursor::bound::<{ EXTENSION_TYPES as u32 - 1 }>(index as u32);
            // SAFETY: the mask keeps the index below the length of the array.
            unsafe {
                *(&raw mut self.offer.extension_types).cast::<u16>().add(index as usize) = kind;
            };
        }
        self.offer.extensions = self.offer.extensions.saturating_add(1);
        self.types_hash = self.types_hash.wrapping_add(super::offer::mix(u64::from(kind) + 1));
    }

    /// Sum over the types of the extensions.
    #[inline(always)]
    pub(super) const fn types_hash(&self) -> u64 {
        self.types_hash
    }
}
