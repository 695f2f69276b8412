//! unbound.conf(5) as block lists use it: `local-zone: "a.example." always_nxdomain`, and
//! `local-data: "a.example. A 0.0.0.0"`.

use std::net::IpAddr;

use super::Reason;
use super::intake::Intake;
use super::plain::{blank_or_comment, is_sink, split_once, without_comment, words};

/// Types of zones whose names are not resolved as elsewhere.
const BLOCKING: [&[u8]; 13] = [
    b"always_deny",
    b"always_nodata",
    b"always_null",
    b"always_nxdomain",
    b"always_refuse",
    b"block_a",
    b"deny",
    b"inform_deny",
    b"inform_redirect",
    b"nodata",
    b"redirect",
    b"refuse",
    b"static",
];

/// Types of zones whose names are resolved.
const PASSING: [&[u8]; 8] = [
    b"always_transparent",
    b"inform",
    b"ipset",
    b"nodefault",
    b"noview",
    b"transparent",
    b"truncate",
    b"typetransparent",
];

/// Reads a line.
pub(super) fn line(line: &[u8], intake: &mut Intake<'_, '_>) {
    let line = line.trim_ascii();
    if blank_or_comment(line, b"#", intake) {
        return;
    }
    let text = without_comment(line, b'#');
    let Some((key, value)) = split_once(text, b':').filter(|(key, _)| is_key(key)) else {
        return intake.count(Reason::InvalidLine, line);
    };
    match (key, value.trim_ascii()) {
        (_, b"") => intake.count(Reason::Header, line),
        (b"local-zone", value) => zone(value, line, intake),
        (b"local-data", value) => data(value, line, intake),
        _ => intake.count(Reason::Setting, line),
    }
}

fn zone(value: &[u8], line: &[u8], intake: &mut Intake<'_, '_>) {
    let (name, kind) = quoted(value);
    if BLOCKING.contains(&kind) {
        intake.host(name);
    } else if PASSING.contains(&kind) {
        intake.count(Reason::Exception, line);
    } else {
        intake.count(Reason::InvalidLine, line);
    }
}

/// A record of a name: taken if it is an address that leads nowhere.
fn data(value: &[u8], line: &[u8], intake: &mut Intake<'_, '_>) {
    let (record, _) = quoted(value);
    // Name, perhaps a time to live and a class, type and data.
    let mut fields = words(record);
    let Some(name) = fields.next() else { return intake.count(Reason::InvalidLine, line) };
    let is_type = |field: &&[u8]| !field.eq_ignore_ascii_case(b"IN") && !is_number(field);
    match (fields.find(is_type), fields.next()) {
        (Some(kind), Some(data)) if is_address_type(kind) => {
            let address = std::str::from_utf8(data).ok().and_then(|text| text.parse().ok());
            match address {
                Some(address) if is_sink(address) => intake.host(name),
                Some(IpAddr::V4(_) | IpAddr::V6(_)) => intake.count(Reason::Mapped, line),
                None => intake.count(Reason::InvalidLine, line),
            }
        }
        (Some(_), Some(_)) => intake.count(Reason::Mapped, line),
        _ => intake.count(Reason::InvalidLine, line),
    }
}

/// A first word, perhaps in quotes, and what follows it.
fn quoted(text: &[u8]) -> (&[u8], &[u8]) {
    let quote = text.first().filter(|first| matches!(first, b'"' | b'\''));
    let found = if let Some(quote) = quote {
        text.get(1..).and_then(|rest| split_once(rest, *quote))
    } else {
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        text.split_at_checked(end)
    };
    let (first, rest) = found.unwrap_or((text, b""));
    (first, rest.trim_ascii())
}

fn is_number(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

fn is_address_type(kind: &[u8]) -> bool {
    kind.eq_ignore_ascii_case(b"A") || kind.eq_ignore_ascii_case(b"AAAA")
}

fn is_key(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    !text.is_empty() && text.iter().all(is_part)
}
