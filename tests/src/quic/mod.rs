//! A client's QUIC datagrams (RFC 9000, RFC 9001, RFC 9369), byte by byte and with right tags. What lies in them
//! is free, down to what no client sends.

mod keys;
pub mod samples;

pub use keys::{Keys, TAG_BYTES};

use crate::frames::{Frame, Hello, Transport};

/// Bytes of a datagram with a client's Initial (RFC 9000 section 14.1).
pub const DATAGRAM_MIN: usize = 1200;

/// A version whose Initials can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
    /// draft-ietf-quic-transport-29.
    Draft29,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::Draft29];

    /// On the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 0x6b33_43cf,
            Self::Draft29 => 0xff00_001d,
        }
    }

    const fn salt(self) -> [u8; 20] {
        match self {
            Self::V1 => {
                *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
            }
            Self::V2 => {
                *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"
            }
            Self::Draft29 => {
                *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"
            }
        }
    }

    fn label(self, of: &str) -> String {
        match self {
            Self::V1 | Self::Draft29 => format!("quic {of}"),
            Self::V2 => format!("quicv2 {of}"),
        }
    }
}

/// What a long header says a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The start of a connection.
    Initial,
    /// Data in the first flight.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// A server's wish to have the Initial again.
    Retry,
}

impl Kind {
    /// The first byte of a packet of this kind, with the packet number's length.
    const fn first_byte(self, version: Version, number_bytes: usize) -> u8 {
        let kind = match self {
            Self::Initial => 0,
            Self::ZeroRtt => 1,
            Self::Handshake => 2,
            Self::Retry => 3,
        };
        // RFC 9369 section 3.2.
        let shift = if matches!(version, Version::V2) { 1 } else { 0 };
        0xc0 | ((kind + shift) & 3) << 4 | (number_bytes as u8 - 1)
    }
}

/// A frame of an Initial (RFC 9000 section 19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A piece of the hello.
    Crypto {
        /// Of its first byte in the stream.
        offset: usize,
        /// The piece.
        data: Vec<u8>,
    },
    /// So many bytes of nothing.
    Padding(usize),
    /// Asks for an acknowledgement.
    Ping,
    /// Acknowledges all packets up to this number, the second last ones but three.
    Ack(u32),
    /// Ends the connection.
    Close,
    /// Anything else.
    Raw(Vec<u8>),
}

impl Content {
    /// The whole of a stream.
    pub fn whole(data: &[u8]) -> Self {
        Self::piece(data, 0, data.len())
    }

    /// Some bytes of a stream.
    pub fn piece(stream: &[u8], from: usize, to: usize) -> Self {
        Self::Crypto { offset: from, data: stream[from..to].to_vec() }
    }

    /// As it lies in the payload.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Crypto { offset, data } => {
                let length = varint(data.len() as u64);
                [&[6][..], &varint(*offset as u64), &length, data].concat()
            }
            Self::Padding(bytes) => vec![0; *bytes],
            Self::Ping => vec![1],
            Self::Ack(largest) => {
                let gaps = if *largest >= 6 { &[1, 1, 2, 1][..] } else { &[0, 0][..] };
                [&[2][..], &varint(u64::from(*largest)), &[9], gaps].concat()
            }
            Self::Close => [&[0x1c, 0x0a, 0, 4][..], b"gone"].concat(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

/// A client's Initial.
#[derive(Clone, Debug)]
pub struct Initial {
    /// Its version.
    pub version: Version,
    /// Destination Connection ID.
    pub destination: Vec<u8>,
    /// Source Connection ID.
    pub source: Vec<u8>,
    /// Given by the server's Retry, or in an earlier connection.
    pub token: Vec<u8>,
    /// Packet number.
    pub number: u32,
    /// Bytes of it on the wire, 1 to 4.
    pub number_bytes: usize,
    /// The connection ID that makes its keys, where it is another one than `destination`.
    pub keys_of: Option<Vec<u8>>,
    /// Bytes of its length on the wire: 2, 4 or 8.
    pub length_bytes: usize,
    /// What its length says in place of the truth.
    pub length: Option<u64>,
    /// Its payload.
    pub frames: Vec<Content>,
}

impl Initial {
    /// The first one of a client, with these frames.
    pub fn of(frames: Vec<Content>) -> Self {
        Self {
            version: Version::V1,
            destination: samples::bytes(samples::CONNECTION_ID),
            source: vec![0x51, 0x52, 0x53],
            token: Vec::new(),
            number: 0,
            number_bytes: 1,
            keys_of: None,
            length_bytes: 2,
            length: None,
            frames,
        }
    }

    /// One of the same connection.
    #[must_use]
    pub fn numbered(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// The same with another connection ID.
    #[must_use]
    pub fn to_connection(mut self, destination: &[u8]) -> Self {
        self.destination = destination.to_vec();
        self
    }

    /// The packet, no longer than its frames make it.
    pub fn packet(&self) -> Vec<u8> {
        let payload: Vec<u8> = self.frames.iter().flat_map(Content::bytes).collect();
        let mut packet = vec![Kind::Initial.first_byte(self.version, self.number_bytes)];
        packet.extend(self.version.number().to_be_bytes());
        put_ids(&mut packet, &self.destination, &self.source);
        packet.extend(varint(self.token.len() as u64));
        packet.extend(&self.token);
        let length = (self.number_bytes + payload.len() + TAG_BYTES) as u64;
        packet.extend(varint_of(self.length.unwrap_or(length), self.length_bytes));
        let number_at = packet.len();
        packet.extend(&self.number.to_be_bytes()[4 - self.number_bytes..]);
        packet.extend(payload);
        // A sample must fit (RFC 9001 section 5.4.2).
        assert!(packet.len() >= number_at + 4, "{self:?} has no sample");
        let id = self.keys_of.as_ref().unwrap_or(&self.destination);
        let keys = Keys::of_client(self.version, id);
        keys.seal(&mut packet, number_at, self.number, self.number_bytes);
        packet
    }

    /// The packet with PADDING behind its frames, so that it has so many bytes at least.
    pub fn padded_to(&self, bytes: usize) -> Vec<u8> {
        let mut padded = self.clone();
        let missing = bytes.saturating_sub(self.packet().len());
        padded.frames.push(Content::Padding(missing));
        padded.packet()
    }

    /// The packet as a datagram of its own.
    pub fn datagram(&self) -> Vec<u8> {
        self.padded_to(DATAGRAM_MIN)
    }
}

/// A packet of another kind with so many bytes of noise behind its header.
pub fn other(kind: Kind, version: Version, destination: &[u8], noise: usize) -> Vec<u8> {
    let mut packet = vec![kind.first_byte(version, 4)];
    packet.extend(version.number().to_be_bytes());
    put_ids(&mut packet, destination, &[0x51, 0x52, 0x53]);
    if kind == Kind::Initial {
        packet.push(0);
    }
    if kind != Kind::Retry {
        packet.extend(varint_of(noise as u64, 2));
    }
    packet.extend((0..noise).map(|at| (at * 167 + 41) as u8));
    packet
}

/// A packet with a short header, of so many bytes.
pub fn short(destination: &[u8], bytes: usize) -> Vec<u8> {
    let mut packet = [&[0x4a], destination].concat();
    packet.extend((packet.len()..bytes).map(|at| (at * 167 + 41) as u8));
    packet
}

/// A hello as QUIC carries it: the handshake message, without a record.
pub fn message(hello: &Hello) -> Vec<u8> {
    hello.bytes().split_off(5)
}

/// A datagram from a device to port 443 of a server.
pub fn from_device(v6: bool, payload: &[u8]) -> Frame {
    Frame { transport: Transport::Udp, ..Frame::from_device(v6, payload) }
}

/// A variable-length integer (RFC 9000 section 16), as short as can be.
pub fn varint(value: u64) -> Vec<u8> {
    let bytes = match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    };
    varint_of(value, bytes)
}

/// The same in 1, 2, 4 or 8 bytes.
pub fn varint_of(value: u64, bytes: usize) -> Vec<u8> {
    let marked = value | u64::from(bytes.trailing_zeros()) << (8 * bytes - 2);
    marked.to_be_bytes()[8 - bytes..].to_vec()
}

fn put_ids(packet: &mut Vec<u8>, destination: &[u8], source: &[u8]) {
    for id in [destination, source] {
        packet.push(id.len() as u8);
        packet.extend(id);
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{CLIENT_INITIAL_V1, CLIENT_INITIAL_V2, CRYPTO_FRAME, bytes};
    use super::*;

    /// The Initials of RFC 9001 and RFC 9369, appendices A.2.
    fn sample(version: Version) -> Initial {
        Initial {
            version,
            source: Vec::new(),
            number: 2,
            number_bytes: 4,
            ..Initial::of(vec![Content::Raw(bytes(CRYPTO_FRAME))])
        }
    }

    #[test]
    fn the_samples_of_the_standards_come_out() {
        assert_eq!(sample(Version::V1).datagram(), bytes(CLIENT_INITIAL_V1));
        assert_eq!(sample(Version::V2).datagram(), bytes(CLIENT_INITIAL_V2));
    }

    #[test]
    fn what_was_sealed_is_opened() {
        for version in Version::ALL {
            let initial = Initial { number: 0x1234, number_bytes: 2, ..sample(version) };
            let mut packet = initial.datagram();
            let keys = Keys::of_client(version, &initial.destination);
            let payload = keys.open(&mut packet, 18).unwrap();
            assert!(payload.starts_with(&bytes(CRYPTO_FRAME)));
            let mut packet = initial.datagram();
            packet[1000] ^= 1;
            assert!(keys.open(&mut packet, 18).is_none());
        }
    }

    #[test]
    fn integers_are_as_short_as_can_be() {
        let check = |value, expected: &[u8]| assert_eq!(varint(value), expected);
        // RFC 9000 appendix A.1.
        check(37, &[0x25]);
        check(15_293, &[0x7b, 0xbd]);
        check(494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]);
        check(151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
        assert_eq!(varint_of(37, 2), [0x40, 0x25]);
    }
}
