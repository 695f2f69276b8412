//! JA4, the fingerprint of a TLS client, as `technical_details/JA4.md` of `FoxIO-LLC/ja4`
//! specifies it (this one of the family is under the BSD 3-clause licence).
//!
//! `t13d1516h2_8daaf6152771_e5627efa2ab1` is, in this order:
//!
//! | part | meaning |
//! |---|---|
//! | `t` | TLS over TCP; `q` over QUIC, whose clients send `quic_transport_parameters` (RFC 9001 section 8.2) |
//! | `13` | highest version offered; `00` where it has no digits |
//! | `d` | there is a `server_name` extension; `i` where there is none |
//! | `15` | cipher suites, 99 at most |
//! | `16` | extensions, 99 at most |
//! | `h2` | first and last character of the first ALPN value |
//! | `8daaf6152771` | SHA-256 of the sorted cipher suites |
//! | `e5627efa2ab1` | SHA-256 of the sorted extensions without name and ALPN, and of the signature algorithms in the client's order |
//!
//! GREASE counts nowhere. Hashes are cut to 12 hexadecimal digits.

use sensor_ebpf::abi::StoredHello;
use sha2::{Digest as _, Sha256};

use super::{extension, is_grease, numbers, protocols, version};
use crate::hex::hex;

/// Highest count two digits can show.
const COUNT_MAX: usize = 99;

/// Bytes of a hash that are kept.
const HASH_BYTES: usize = 6;

/// In the place of the hash of an empty list.
const NO_HASH: &str = "000000000000";

/// The fingerprint; none where a list it is made of was cut.
pub(super) fn ja4(hello: &StoredHello) -> Option<String> {
    let mut ciphers: Vec<u16> = numbers(hello.cipher_suites()?).collect();
    ciphers.sort_unstable();
    let types = hello.extension_types()?.iter().copied();
    let mut extensions: Vec<u16> = types.filter(|kind| !is_grease(*kind)).collect();
    extensions.sort_unstable();
    let signatures = hexadecimal(numbers(hello.signature_algorithms()?));

    let version = version_digits(version(hello)?);
    let name = if extensions.contains(&extension::SERVER_NAME) { 'd' } else { 'i' };
    let (cipher_count, extension_count) =
        (ciphers.len().min(COUNT_MAX), extensions.len().min(COUNT_MAX));
    let protocol = protocol(hello)?;
    let parameters = [extension::QUIC_PARAMETERS, extension::QUIC_PARAMETERS_DRAFT];
    let transport = if parameters.iter().any(|kind| extensions.contains(kind)) { 'q' } else { 't' };

    extensions.retain(|kind| !matches!(*kind, extension::SERVER_NAME | extension::ALPN));
    let mut hashed = hexadecimal(extensions.into_iter());
    if !hashed.is_empty() && !signatures.is_empty() {
        hashed = format!("{hashed}_{signatures}");
    }
    let (ciphers, extensions) = (hash(&hexadecimal(ciphers.into_iter())), hash(&hashed));
    Some(format!(
        "{transport}{version}{name}{cipher_count:02}{extension_count:02}{protocol}_{ciphers}_{extensions}"
    ))
}

const fn version_digits(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of the first ALPN value, or of its hexadecimal form where either is no
/// ASCII letter or digit; `00` without a value. None where the value was cut.
fn protocol(hello: &StoredHello) -> Option<String> {
    let Some(name) = protocols(hello).next() else {
        return hello.alpn().map(|_whole| "00".to_owned());
    };
    let (first, last) = (*name.first()?, *name.last()?);
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return Some([first, last].map(char::from).iter().collect());
    }
    Some(format!("{:x}{:x}", first >> 4, last & 0x0f))
}

/// Four digits each, parted by commas.
fn hexadecimal(numbers: impl Iterator<Item = u16>) -> String {
    numbers.map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

fn hash(list: &str) -> String {
    if list.is_empty() {
        return NO_HASH.to_owned();
    }
    let mut digits = hex(Sha256::digest(list));
    digits.truncate(HASH_BYTES * 2);
    digits
}
