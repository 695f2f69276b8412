//! What a TLS hello offers, in the words of records.

mod ja4;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;

use sensor_ebpf::abi::{ALPN_BYTES, StoredHello};

use crate::record::name_of_bytes;

/// Types of extensions (IANA registry of TLS extensions).
mod extension {
    /// `server_name`.
    pub(super) const SERVER_NAME: u16 = 0x0000;
    /// `application_layer_protocol_negotiation`.
    pub(super) const ALPN: u16 = 0x0010;
    /// `quic_transport_parameters`.
    pub(super) const QUIC_PARAMETERS: u16 = 0x0039;
    /// The same up to draft-32.
    pub(super) const QUIC_PARAMETERS_DRAFT: u16 = 0xffa5;
    /// `encrypted_client_hello`.
    pub(super) const ENCRYPTED_HELLO: u16 = 0xfe0d;
    /// Its forerunner `encrypted_server_name`, of drafts up to 2020.
    pub(super) const ENCRYPTED_NAME: u16 = 0xffce;
}

/// What one hello offers. The server may take less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Highest version offered: `TLS 1.3`, as Suricata writes versions, or `0x7f1c` where a number has
    /// no name. None where the list of versions was cut.
    pub tls_version: Option<String>,
    /// Application protocols in the client's order, escaped as names are. Those beyond the first
    /// [`ALPN_BYTES`] bytes of the list are left out.
    pub alpn: Vec<String>,
    /// A Client Hello is encrypted inside this one, or an `encrypted_server_name` of an older draft is
    /// there. Browsers send the same extension with nothing inside (GREASE, RFC 9849 section 6.2), and
    /// from outside both look alike: true does not say that the name in clear is not the one meant.
    pub ech: bool,
    /// JA4 of the client; none where one of the lists it is made of was cut.
    pub ja4: Option<String>,
}

impl Offer {
    /// What is offered.
    pub fn of(hello: &StoredHello) -> Self {
        let kept = usize::from(hello.extensions).min(hello.extension_types.len());
        let types = hello.extension_types.get(..kept).unwrap_or_default();
        let encrypted =
            |kind: &u16| matches!(*kind, extension::ENCRYPTED_HELLO | extension::ENCRYPTED_NAME);
        Self {
            tls_version: version(hello).map(|version| version_name(version).into_owned()),
            alpn: protocols(hello).map(name_of_bytes).collect(),
            ech: types.iter().any(encrypted),
            ja4: ja4::ja4(hello),
        }
    }
}

/// The highest version offered (RFC 8446 section 4.2.1); none where the list was cut.
fn version(hello: &StoredHello) -> Option<u16> {
    let versions = numbers(hello.supported_versions()?);
    Some(versions.max().unwrap_or(hello.legacy_version))
}

/// A version as Suricata writes it in `tls.version`.
fn version_name(version: u16) -> Cow<'static, str> {
    match version {
        0x0304 => "TLS 1.3".into(),
        0x0303 => "TLS 1.2".into(),
        0x0302 => "TLS 1.1".into(),
        0x0301 => "TLSv1".into(),
        0x0300 => "SSLv3".into(),
        other => format!("0x{other:04x}").into(),
    }
}

/// The numbers of a list off the wire, without GREASE.
fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _odd) = list.as_chunks();
    pairs.iter().copied().map(u16::from_be_bytes).filter(|number| !is_grease(*number))
}

/// The whole protocol names among the bytes kept (RFC 7301 section 3.1), without GREASE. A list ends
/// where it contradicts itself.
fn protocols(hello: &StoredHello) -> impl Iterator<Item = &[u8]> {
    let kept = usize::from(hello.alpn_length).min(ALPN_BYTES);
    let mut rest = hello.alpn.get(..kept).unwrap_or_default();
    let names = std::iter::from_fn(move || {
        let (length, after) = rest.split_first()?;
        let (name, next) = after.split_at_checked(usize::from(*length))?;
        rest = next;
        (!name.is_empty()).then_some(name)
    });
    names
        .filter(|name| !matches!(**name, [high, low] if is_grease(u16::from_be_bytes([high, low]))))
}

/// True for the values that clients offer so that servers bear unknown ones (RFC 8701 section 2).
const fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}
