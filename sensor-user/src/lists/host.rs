//! What a host is worth that somebody wrote into a list: a name, or the reason why none is taken.

use std::borrow::Cow;
use std::net::IpAddr;

use super::Reason;
use crate::policy::name::{self, NameError};

/// Names that hosts files begin with, and that are no sites.
const LOCAL_NAMES: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
];

/// A host that can be listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    /// Canonical.
    pub(super) name: Cow<'a, str>,
    /// Its A-label was made here.
    pub(super) is_international: bool,
    /// Strangers have their names under it, as the company whose name it is lets them: `github.io`.
    pub(super) is_private_suffix: bool,
}

/// Reads a host as it is written: `name`, `*.name`, `.name`, or a URL without a path.
pub(super) fn read(text: &[u8]) -> Result<Host<'_>, Reason> {
    let text = std::str::from_utf8(text).map_err(|_error| Reason::NotUtf8)?.trim();
    let host = without_url(text)?;
    if is_local(host) {
        return Err(Reason::LocalName);
    }
    let host = host.strip_prefix('.').unwrap_or(host);
    let name = name::listed_name(host).map_err(|error| reason_of(host, error))?;
    let is_private_suffix = check_suffix(&name)?;
    Ok(Host { name, is_international: !host.is_ascii(), is_private_suffix })
}

/// Whether a name is the machine's own.
pub(super) fn is_local(name: &str) -> bool {
    // A look at one byte spares most names the comparisons.
    if !name.starts_with(['b', 'B', 'i', 'I', 'l', 'L']) {
        return false;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    LOCAL_NAMES.iter().any(|local| local.eq_ignore_ascii_case(name))
}

/// The host of a URL that says nothing else. A page, a port or a user is not the whole host, and is not
/// widened to it.
fn without_url(text: &str) -> Result<&str, Reason> {
    let plain = |byte: u8| !matches!(byte, b':' | b'/' | b'?' | b'#' | b'@');
    if text.bytes().all(plain) {
        return Ok(text);
    }
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_scheme(scheme) {
        return Err(Reason::InvalidName);
    }
    if is_prefix(rest) {
        return Err(Reason::Address);
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if host.parse::<IpAddr>().is_ok() {
        return Err(Reason::Address);
    }
    if !matches!(path, "" | "/") {
        // What has spaces is a sentence, and what has no host is a path.
        let is_url = !host.is_empty() && !text.contains(char::is_whitespace);
        return Err(if is_url { Reason::Url } else { Reason::InvalidName });
    }
    if host.contains('@') {
        return Err(if scheme.is_empty() { Reason::InvalidName } else { Reason::Url });
    }
    let Some((name, port)) = host.rsplit_once(':') else { return Ok(host) };
    if name.starts_with('[') {
        return Err(Reason::Address);
    }
    match (scheme, port) {
        ("http", "80") | ("https", "443") => Ok(name),
        _ if port.parse::<u16>().is_ok() => Err(Reason::Port),
        _ => Err(Reason::InvalidName),
    }
}

/// Whether this is an address and a length.
fn is_prefix(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    address.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok()
}

fn reason_of(host: &str, error: NameError) -> Reason {
    match error {
        NameError::Address => Reason::Address,
        NameError::Wildcard => Reason::Pattern,
        NameError::TooManyLabels(_) => Reason::TooManyLabels,
        NameError::TooLong(_) => Reason::NameTooLong,
        NameError::LabelTooLong(_) => Reason::LabelTooLong,
        NameError::Idna => Reason::InvalidIdn,
        NameError::Character(_) if !host.is_ascii() => Reason::InvalidIdn,
        NameError::Empty
        | NameError::EmptyLabel
        | NameError::Character(_)
        | NameError::Port
        | NameError::DnsPort
        | NameError::Prefix
        | NameError::HostBits(_)
        | NameError::Mapped(_) => Reason::InvalidName,
    }
}

/// Refuses what everybody's names are under; tells of suffixes of companies.
///
/// Only the part of the Public Suffix List that registries rule is refused. Its private part has the
/// suffixes of companies that let strangers use names under theirs, such as dynamic DNS: whoever lists one
/// of these most often means just that.
fn check_suffix(name: &str) -> Result<bool, Reason> {
    let suffix = psl::suffix(name.as_bytes()).filter(psl::Suffix::is_known);
    let suffix = suffix.filter(|suffix| suffix.as_bytes() == name.as_bytes());
    match suffix.and_then(|suffix| suffix.typ()) {
        Some(psl::Type::Icann) => Err(Reason::PublicSuffix),
        Some(psl::Type::Private) => Ok(true),
        None if name.contains('.') => Ok(false),
        None => Err(Reason::SingleLabel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_have_a_reason() {
        let check = |text: &str, expected: Result<&str, Reason>| {
            let found = read(text.as_bytes()).map(|host| host.name.into_owned());
            assert_eq!(found.as_deref(), expected.as_deref(), "{text:?}");
        };
        for (text, name) in [
            ("a.example", "a.example"),
            (" WWW.A.Example. ", "www.a.example"),
            ("*.a.example", "a.example"),
            (".a.example", "a.example"),
            ("http://a.example", "a.example"),
            ("https://a.example:443/", "a.example"),
            ("a.example/", "a.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("example.co.uk", "example.co.uk"),
            ("github.io", "github.io"),
        ] {
            check(text, Ok(name));
        }
        let deep = ["a"; 17].join(".");
        for (text, reason) in [
            ("", Reason::InvalidName),
            ("192.0.2.1", Reason::Address),
            ("192.0.2.0/24", Reason::Address),
            ("192.0.2.1/index.html", Reason::Address),
            ("http://192.0.2.1:8080/x", Reason::Url),
            ("2001:db8::1", Reason::Address),
            ("2001:db8::/32", Reason::Address),
            ("[2001:db8::1]:443", Reason::Address),
            ("a.example/page", Reason::Url),
            ("https://a.example/#x", Reason::Url),
            ("https://a.example?x", Reason::Url),
            ("https://user@a.example/", Reason::Url),
            ("a.example:8443", Reason::Port),
            ("http://a.example:443", Reason::Port),
            ("tcp/1723", Reason::Url),
            ("a.example:x", Reason::InvalidName),
            ("/a.example", Reason::InvalidName),
            ("see a.example/page", Reason::InvalidName),
            ("user@a.example", Reason::InvalidName),
            ("a_b://c.example", Reason::InvalidName),
            ("co.uk", Reason::PublicSuffix),
            ("UK", Reason::PublicSuffix),
            ("localhost", Reason::LocalName),
            ("hello", Reason::SingleLabel),
            ("ads*.example", Reason::Pattern),
            ("a b.example", Reason::InvalidName),
            ("a..example", Reason::InvalidName),
            ("a\u{2100}.example", Reason::InvalidIdn),
            ("\u{fffd}.example", Reason::InvalidIdn),
            (&*deep, Reason::TooManyLabels),
            (&*format!("{}.example", "a".repeat(64)), Reason::LabelTooLong),
            (&*"a.".repeat(200), Reason::NameTooLong),
        ] {
            check(text, Err(reason));
        }
        assert_eq!(read(b"\xff.example"), Err(Reason::NotUtf8));
    }
}
