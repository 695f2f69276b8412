//! Bytes of IPFIX: messages, sets and values (RFC 7011 sections 3 and 6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::elements::{Element, Form, Owner};
use crate::export::fields::Value;
use crate::export::message::cut;
use crate::record::Record;

/// Version of the protocol.
const VERSION: u16 = 10;

/// Bytes of a message's header.
pub(super) const HEADER_BYTES: usize = 16;

/// Bytes of a set's header.
pub(super) const SET_BYTES: usize = 4;

/// Enterprise of reverse elements (RFC 5103 section 6.1).
const REVERSE_ENTERPRISE: u32 = 29_305;

/// Length in a template of what tells its own length.
const VARIABLE: u16 = u16::MAX;

/// Longest string whose length takes one byte.
const SHORT_MAX: usize = 254;

/// A family of addresses, which has templates of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// IPv4 where both ends are.
    pub(super) const fn of(record: &Record) -> Self {
        match (record.device, record.peer) {
            (IpAddr::V4(_), IpAddr::V4(_)) => Self::V4,
            (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => Self::V6,
        }
    }
}

/// A whole message.
pub(super) fn message(sets: &[u8], export_s: u32, sequence: u32, domain: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + sets.len());
    message.extend(VERSION.to_be_bytes());
    message.extend(length(HEADER_BYTES + sets.len()).to_be_bytes());
    for number in [export_s, sequence, domain] {
        message.extend(number.to_be_bytes());
    }
    message.extend(sets);
    message
}

/// A set with its records.
pub(super) fn set(id: u16, records: &[u8]) -> Vec<u8> {
    let header = [id, length(SET_BYTES + records.len())];
    [header.map(u16::to_be_bytes).as_flattened(), records].concat()
}

/// Messages and sets are kept below 64 KiB by who fills them.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// A column of a template.
pub(super) fn specifier(element: &Element, family: Family, enterprise: u32) -> Vec<u8> {
    let id = match (element.form, family) {
        (Form::Address { id6 }, Family::V6) => id6,
        (_, Family::V4 | Family::V6) => element.id,
    };
    let bytes = match element.form {
        Form::U8 => 1,
        Form::U16 => 2,
        Form::U32 => 4,
        Form::U64 | Form::Millis => 8,
        Form::Address { .. } if family == Family::V4 => 4,
        Form::Address { .. } => 16,
        Form::Mac => 6,
        Form::Text => VARIABLE,
    };
    match element.owner {
        Owner::Iana => plain_specifier(id, bytes),
        Owner::Reverse => enterprise_specifier(id, bytes, REVERSE_ENTERPRISE),
        Owner::Own => enterprise_specifier(id, bytes, enterprise),
    }
}

/// A column of IANA's.
pub(super) fn plain_specifier(id: u16, bytes: u16) -> Vec<u8> {
    [id, bytes].map(u16::to_be_bytes).as_flattened().to_vec()
}

fn enterprise_specifier(id: u16, bytes: u16, enterprise: u32) -> Vec<u8> {
    const ENTERPRISE_BIT: u16 = 0x8000;
    let mut specifier = plain_specifier(ENTERPRISE_BIT | id, bytes);
    specifier.extend(enterprise.to_be_bytes());
    specifier
}

/// A value in its column; texts have at most `text_bytes` bytes. What does not fit a number is its largest, what is not
/// known is zero or empty.
pub(super) fn value(
    value: &Value<'_>,
    form: Form,
    family: Family,
    text_bytes: usize,
    out: &mut Vec<u8>,
) {
    match form {
        Form::U8 => out.push(u8::try_from(number(value)).unwrap_or(u8::MAX)),
        Form::U16 => {
            out.extend(u16::try_from(number(value)).unwrap_or(u16::MAX).to_be_bytes());
        }
        Form::U32 => {
            out.extend(u32::try_from(number(value)).unwrap_or(u32::MAX).to_be_bytes());
        }
        Form::U64 => out.extend(number(value).to_be_bytes()),
        Form::Millis => out.extend((number(value) / 1000).to_be_bytes()),
        Form::Address { .. } => match (family, address(value)) {
            (Family::V4, IpAddr::V4(address)) => out.extend(address.octets()),
            (Family::V4, IpAddr::V6(_)) => out.extend(Ipv4Addr::UNSPECIFIED.octets()),
            (Family::V6, IpAddr::V4(address)) => out.extend(address.to_ipv6_mapped().octets()),
            (Family::V6, IpAddr::V6(address)) => out.extend(address.octets()),
        },
        Form::Mac => out.extend(mac(value)),
        Form::Text => text(cut(&value.text(), text_bytes), out),
    }
}

/// A string with its length (RFC 7011 section 7).
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    let text = cut(text, usize::from(u16::MAX));
    match u8::try_from(text.len()) {
        Ok(short) if text.len() <= SHORT_MAX => out.push(short),
        Ok(_) | Err(_) => {
            out.push(u8::MAX);
            out.extend(length(text.len()).to_be_bytes());
        }
    }
    out.extend(text.as_bytes());
}

const fn address(value: &Value<'_>) -> IpAddr {
    match value {
        Value::Address(address) => *address,
        Value::Number(_)
        | Value::Time(_)
        | Value::Id(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Flag(_)
        | Value::Mac(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Zeros where none is known.
fn mac(value: &Value<'_>) -> [u8; 6] {
    match value {
        Value::Mac(Some(mac)) => mac.0,
        Value::Mac(None)
        | Value::Number(_)
        | Value::Time(_)
        | Value::Id(_)
        | Value::Address(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Flag(_) => [0; 6],
    }
}

/// A flag is 1 or 2, as booleans of IPFIX are (section 6.1.5), and 0 where it is not known.
fn number(value: &Value<'_>) -> u64 {
    match value {
        Value::Number(number) => number.unwrap_or(0),
        Value::Time(time_us) => u64::try_from(*time_us).unwrap_or(0),
        Value::Id(id) => *id,
        Value::Flag(Some(true)) => 1,
        Value::Flag(Some(false)) => 2,
        Value::Flag(None) | Value::Address(_) | Value::Text(_) | Value::List(_) | Value::Mac(_) => {
            0
        }
    }
}
