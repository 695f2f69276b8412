//! DNS messages, byte by byte (RFC 1035 section 4).

/// Type of IPv4 addresses.
pub const A: u16 = 1;
/// Type of aliases.
pub const CNAME: u16 = 5;
/// Type of text.
pub const TXT: u16 = 16;
/// Type of IPv6 addresses (RFC 3596).
pub const AAAA: u16 = 28;
/// Type of service bindings (RFC 9460).
pub const SVCB: u16 = 64;
/// The same for HTTPS.
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

/// What a server answers a query with, to be built with [`Answer::bytes`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// The query, whose identifier and questions come back.
    pub query: Query,
    /// Flags and code; a recursive server's are `0x8180`.
    pub flags: u16,
    /// The answer section.
    pub records: Vec<Record>,
    /// What the header says of answers, authorities and further records, where it does not say the truth.
    pub counts: Option<[u16; 3]>,
}

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name as it lies in the message; a pointer to the question's.
    pub owner: Vec<u8>,
    /// Its type.
    pub kind: u16,
    /// Its class.
    pub class: u16,
    /// Its lifetime in seconds.
    pub ttl: u32,
    /// Its data.
    pub data: Vec<u8>,
}

impl Record {
    /// One of the name in the question.
    pub fn of(kind: u16, ttl: u32, data: &[u8]) -> Self {
        Self { owner: vec![0xc0, 12], kind, class: INTERNET, ttl, data: data.to_vec() }
    }
}

impl Answer {
    /// A recursive server's.
    pub fn to(query: &Query, records: Vec<Record>) -> Self {
        Self { query: query.clone(), flags: 0x8180, records, counts: None }
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        let counts = self.counts.unwrap_or([self.records.len() as u16, 0, 0]);
        let mut bytes = Vec::new();
        let head = [self.query.id, self.flags, self.query.names.len() as u16];
        for number in head.into_iter().chain(counts) {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.query.question());
        for Record { owner, kind, class, ttl, data } in &self.records {
            bytes.extend(owner);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(class.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
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
