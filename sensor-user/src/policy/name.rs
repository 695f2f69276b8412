//! Canonical names: what a list may say, and the suffixes a name is looked up by.
//!
//! Canonical is lower case, ASCII (IDNA A-labels), letters, digits, hyphen and underscore, without
//! a final dot. An entry covers itself and everything under it, so `*.example` means `example`.

use std::borrow::Cow;
use std::iter::successors;
use std::net::IpAddr;

use ipnet::IpNet;
use sensor_ebpf::abi::{LISTED_LABELS_MAX, NAME_MAX};

use super::port::Port;
use super::prefix;

/// Bytes of one label (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Bytes of the longest name that DNS has, as text: 255 on the wire, where the first label's length and the root's take a
/// byte each (RFC 1035 section 2.3.4). A hello can say two more.
const LISTED_BYTES_MAX: usize = 253;

/// Why a text is no name that can be listed, and how to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("is empty: write a host name, such as www.example.org")]
    Empty,
    /// Two dots in a row, or one in front.
    #[error("has an empty label: remove the leading or doubled dot")]
    EmptyLabel,
    /// Longer than DNS allows.
    #[error("has {0} bytes: DNS allows {LISTED_BYTES_MAX}, list a shorter suffix of it")]
    TooLong(usize),
    /// A label longer than DNS allows.
    #[error("has a label of {0} bytes: DNS allows {LABEL_BYTES_MAX}, list the suffix after it")]
    LabelTooLong(usize),
    /// Deeper than the kernel looks.
    #[error("has {0} labels: at most {LISTED_LABELS_MAX} are looked up, list a shorter suffix")]
    TooManyLabels(usize),
    /// Some spelling of an address.
    #[error(
        "is an address, and not as lists have them: write one such as 192.0.2.7 or 2001:db8::7"
    )]
    Address,
    /// An address and no length behind it.
    #[error("is no prefix: write an address and a length, such as 192.0.2.0/24")]
    Prefix,
    /// Address bits beyond the length.
    #[error("has bits beyond its length: write {0}")]
    HostBits(IpNet),
    /// An IPv6 prefix with IPv4 addresses in it.
    #[error("covers IPv4-mapped addresses: write the IPv4 prefix itself, and 2000::/3 for IPv6")]
    Mapped(IpNet),
    /// An asterisk anywhere but in front.
    #[error(
        "has a wildcard inside: an entry covers everything under it, write the part after `*.`"
    )]
    Wildcard,
    /// A byte no host name has.
    #[error("contains {0:?}: write the bare host name, without scheme, port or path")]
    Character(char),
    /// A transport and no port behind it.
    #[error("is no port: write tcp/ or udp/ and a number from 1 to 65535")]
    Port,
    /// The port of DNS.
    #[error("is the port of DNS, whose queries are judged by their names: remove the line")]
    DnsPort,
    /// Unicode that IDNA maps to nothing.
    #[error("is no valid international name: write its xn-- form")]
    Idna,
}

/// The canonical form of a name as a person or a packet wrote it.
pub fn canonical(input: &str) -> Result<Cow<'_, str>, NameError> {
    let ascii = if !input.is_ascii() {
        Cow::Owned(idna::domain_to_ascii(input).map_err(|_errors| NameError::Idna)?)
    } else if input.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(input.to_ascii_lowercase())
    } else {
        Cow::Borrowed(input)
    };
    let name = without_final_dot(ascii);
    check(&name)?;
    Ok(name)
}

/// The canonical form of what is to be listed: a name, a [`Port`], or an address or prefix. None can be mistaken for another.
pub fn listed(input: &str) -> Result<Cow<'_, str>, NameError> {
    let other = Port::canonical(input).or_else(|| prefix::canonical(input));
    other.unwrap_or_else(|| listed_name(input))
}

/// The canonical form of a name that is to be listed: `*.` in front is dropped, the depth bounded.
pub fn listed_name(input: &str) -> Result<Cow<'_, str>, NameError> {
    let name = canonical(input.strip_prefix("*.").unwrap_or(input))?;
    match label_count(&name) {
        labels if labels > LISTED_LABELS_MAX => Err(NameError::TooManyLabels(labels)),
        _ if name.len() > LISTED_BYTES_MAX => Err(NameError::TooLong(name.len())),
        _ => Ok(name),
    }
}

/// The name on the first of these lines, and the bytes of that line with its end, if the line holds nothing but a name
/// that is canonical as it stands and can be listed: so nearly every line of a long list is read. `None` says nothing of
/// what else the line may be.
pub(crate) fn plain(lines: &[u8]) -> Option<(&str, usize)> {
    let (mut labels, mut length, mut has_letter) = (1, 0, false);
    let mut end = None;
    for (at, byte) in lines.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'-' | b'_' => (length, has_letter) = (length + 1, true),
            b'0'..=b'9' => length += 1,
            b'.' if (1..=LABEL_BYTES_MAX).contains(&length) => {
                (labels, length, has_letter) = (labels + 1, 0, false);
            }
            b'\n' => {
                end = Some((at, at + 1));
                break;
            }
            b'\r' if lines.get(at + 1) == Some(&b'\n') => {
                end = Some((at, at + 2));
                break;
            }
            _ => return None,
        }
    }
    let (bytes, line) = end?;
    // What ends in a number is an address.
    let is_listable = labels <= LISTED_LABELS_MAX
        && bytes <= LISTED_BYTES_MAX
        && length <= LABEL_BYTES_MAX
        && has_letter;
    let name = lines.get(..bytes).filter(|_| is_listable)?;
    Some((str::from_utf8(name).ok()?, line))
}

/// The suffixes that are looked up for a canonical name, deepest first.
///
/// ```
/// let suffixes: Vec<_> = sensor_user::policy::name::suffixes("a.example.org").collect();
/// assert_eq!(suffixes, ["a.example.org", "example.org", "org"]);
/// ```
pub fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    successors(Some(name), |suffix| suffix.split_once('.').map(|(_, parent)| parent))
        .skip(label_count(name).saturating_sub(LISTED_LABELS_MAX))
}

/// Labels of a canonical name: its depth.
pub fn label_count(name: &str) -> usize {
    name.bytes().filter(|byte| *byte == b'.').count() + 1
}

fn without_final_dot(name: Cow<'_, str>) -> Cow<'_, str> {
    match name {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('.').unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.ends_with('.') {
                text.pop();
            }
            Cow::Owned(text)
        }
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if is_address(name) {
        return Err(NameError::Address);
    }
    if let Some(character) = name.chars().find(|character| !is_name_character(*character)) {
        return Err(match character {
            '*' => NameError::Wildcard,
            other => NameError::Character(other),
        });
    }
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    for label in name.split('.') {
        match label.len() {
            0 => return Err(NameError::EmptyLabel),
            bytes if bytes > LABEL_BYTES_MAX => return Err(NameError::LabelTooLong(bytes)),
            _ => {}
        }
    }
    Ok(())
}

/// No top-level domain is a number, so a name that ends in one is some spelling of an address.
fn is_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    // Without a colon it would be IPv4, which ends in a number.
    is_number || name.contains(':') && name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

const fn is_name_character(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_listed(input: &str, expected: Result<&str, NameError>) {
        let found = listed(input);
        assert_eq!(found.as_deref(), expected.as_deref(), "{input:?}");
    }

    #[test]
    fn names_are_made_canonical() {
        for (input, expected) in [
            ("example.org", "example.org"),
            ("WWW.Example.ORG", "www.example.org"),
            ("example.org.", "example.org"),
            ("*.example.org", "example.org"),
            ("*.Example.org.", "example.org"),
            ("_dmarc.example.org", "_dmarc.example.org"),
            ("-odd-.example.org", "-odd-.example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("bücher.example.", "xn--bcher-kva.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("org", "org"),
            ("1.2.3.org", "1.2.3.org"),
        ] {
            check_listed(input, Ok(expected));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (input, expected) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("*.", NameError::Empty),
            (".example.org", NameError::EmptyLabel),
            ("a..org", NameError::EmptyLabel),
            ("example.org..", NameError::EmptyLabel),
            ("192.0.2.1.", NameError::Address),
            ("127.1", NameError::Address),
            ("[2001:db8::1]", NameError::Address),
            ("*", NameError::Wildcard),
            ("www.*.example", NameError::Wildcard),
            ("*.*.example", NameError::Wildcard),
            ("https://example.org/", NameError::Character(':')),
            ("example.org/path", NameError::Character('/')),
            ("192.0.2.1/24", NameError::HostBits("192.0.2.0/24".parse().unwrap())),
            ("192.0.2.0/a", NameError::Prefix),
            ("exa mple.org", NameError::Character(' ')),
            ("exa\0mple.org", NameError::Character('\0')),
            ("a\u{2100}.example", NameError::Character('/')),
            ("\u{fffd}.example", NameError::Idna),
        ] {
            check_listed(input, Err(expected));
        }
    }

    #[test]
    fn plain_lines_are_the_names_they_say() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        for text in [
            "example.org",
            "_a-.example",
            "org",
            "1.2.3.org",
            "1.2.3.4",
            "a.7",
            "7",
            "-",
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.example",
            "*.a.example",
            "a b.example",
            "a.example # x",
            " a.example",
            "# a",
            "tcp/80",
            "192.0.2.0/24",
            "2001:db8::1",
            "\u{e4}.example",
            "\u{feff}a.example",
            &longest,
            &format!("{longest}b"),
            &format!("{label}a.org"),
            &format!("org.{label}a"),
            &["a"; 16].join("."),
            &["a"; 17].join("."),
        ] {
            assert_eq!(plain(text.as_bytes()), None, "it may go on");
            for end in ["\n", "\r\n"] {
                let lines = [text, end, "more"].concat().into_bytes();
                let Some((name, line)) = plain(&lines) else {
                    let is_it = listed(text).is_ok_and(|name| name == text && !name.contains('/'));
                    assert!(!is_it, "{text:?} is taken for something else");
                    continue;
                };
                assert_eq!((name, listed(text).as_deref()), (text, Ok(text)));
                assert_eq!(line, text.len() + end.len());
            }
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        check_listed(&longest, Ok(&longest));
        check_listed(&format!("{longest}b"), Err(NameError::TooLong(254)));
        let said = format!("{label}.{label}.{label}.{label}");
        assert!(canonical(&said).is_ok(), "a hello may say what DNS cannot");
        check_listed(&format!("{said}b"), Err(NameError::TooLong(256)));
        check_listed(&format!("{label}a.org"), Err(NameError::LabelTooLong(64)));
        let deepest = ["a"; 16].join(".");
        check_listed(&deepest, Ok(&deepest));
        check_listed(&format!("a.{deepest}"), Err(NameError::TooManyLabels(17)));
        assert!(canonical(&format!("a.{deepest}")).is_ok(), "a packet may name what no list can");
    }

    #[test]
    fn suffixes_start_where_lists_end() {
        let name = format!("x.y.{}", ["a"; 16].join("."));
        let found: Vec<_> = suffixes(&name).collect();
        assert_eq!(found.len(), 16);
        assert_eq!(found.first(), Some(&&*["a"; 16].join(".")));
        assert_eq!(found.last(), Some(&"a"));
    }
}
