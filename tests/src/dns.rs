//! DNS messages, byte by byte (RFC 1035 section 4).

/// Type of IPv4 addresses.
pub const A: u16 = 1;
/// Type of text.
pub const TXT: u16 = 16;
/// Type of IPv6 addresses (RFC 3596).
pub const AAAA: u16 = 28;
/// Type of HTTPS service bindings (RFC 9460).
pub const HTTPS: u16 = 65;

const INTERNET: u16 = 1;
const OPT: u16 = 41;

/// A query, to be built with [`Query::bytes`].
#[derive(Clone, Debug)]
pub struct Query {
    /// Identifier.
    pub id: u16,
    /// Flags and operation; a stub sets recursion desired, `0x0100`.
    pub flags: u16,
    /// Names asked for, all for one type.
    pub names: Vec<String>,
    /// The type asked for.
    pub kind: u16,
    /// EDNS options, each with its code, where there is EDNS.
    pub edns: Option<Vec<(u16, Vec<u8>)>>,
    /// The DO bit of EDNS.
    pub dnssec_ok: bool,
    /// What follows the message.
    pub trailing: Vec<u8>,
}

impl Query {
    /// What a stub without EDNS sends.
    pub fn of(name: &str, kind: u16) -> Self {
        Self::of_several(&[name], kind)
    }

    /// One with several questions.
    pub fn of_several(names: &[&str], kind: u16) -> Self {
        Self {
            id: 0xbeef,
            flags: 0x0100,
            names: names.iter().map(|&name| name.to_owned()).collect(),
            kind,
            edns: None,
            dnssec_ok: false,
            trailing: Vec::new(),
        }
    }

    /// The questions alone.
    pub fn question(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in &self.names {
            bytes.extend(wire_name(name));
            bytes.extend(self.kind.to_be_bytes());
            bytes.extend(INTERNET.to_be_bytes());
        }
        bytes
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let records = u16::from(self.edns.is_some());
        for number in [self.id, self.flags, self.names.len() as u16, 0, 0, records] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.question());
        if let Some(options) = &self.edns {
            let mut data = Vec::new();
            for (code, value) in options {
                data.extend(code.to_be_bytes());
                data.extend((value.len() as u16).to_be_bytes());
                data.extend(value);
            }
            bytes.push(0);
            for number in [OPT, 4096, 0, u16::from(self.dnssec_ok) << 15, data.len() as u16] {
                bytes.extend(number.to_be_bytes());
            }
            bytes.extend(data);
        }
        bytes.extend(&self.trailing);
        bytes
    }
}

/// A name as it lies in a message, not compressed.
pub fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
