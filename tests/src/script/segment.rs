//! A segment as a script names it: relative to its connection, right in every part that is not set.

use crate::frames::{Header, flag};

/// One segment from the device.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Of the first byte in the device's stream; the SYN has -1.
    pub offset: i64,
    pub payload: Vec<u8>,
    pub flags: u8,
    /// Added to the right acknowledgement number.
    pub acknowledgement_error: i64,
    pub hop_limit: u8,
    /// Added to the right timestamp; no timestamp where there is none.
    pub timestamp_error: Option<i32>,
    /// Further TCP options, a multiple of four bytes.
    pub options: Vec<u8>,
    pub header: Header,
    pub packet: Packet,
}

/// How a segment lies in its IP packet.
#[derive(Clone, Debug)]
pub enum Packet {
    Plain,
    /// Whose IPv4 header has a wrong checksum.
    BadChecksum,
    /// Behind IPv4 options, a multiple of four bytes.
    Options(Vec<u8>),
    /// Behind IPv6 extension headers: the type of the first, and all of them as they lie in the packet.
    Extensions(u8, Vec<u8>),
    /// In fragments that begin at these bytes of the IP payload, multiples of eight, sent in this order.
    Fragments(Vec<usize>),
}

/// What stacks begin with.
pub const HOP_LIMIT: u8 = 64;

impl Segment {
    pub fn at(offset: usize, payload: &[u8]) -> Self {
        Self {
            offset: offset as i64,
            payload: payload.to_vec(),
            flags: flag::ACK | flag::PSH,
            acknowledgement_error: 0,
            hop_limit: HOP_LIMIT,
            timestamp_error: Some(0),
            options: Vec::new(),
            header: Header::default(),
            packet: Packet::Plain,
        }
    }

    pub fn syn() -> Self {
        Self { offset: -1, flags: flag::SYN, ..Self::at(0, &[]) }
    }

    #[must_use]
    pub fn moved(self, by: i64) -> Self {
        Self { offset: self.offset + by, ..self }
    }

    #[must_use]
    pub fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    #[must_use]
    pub fn acknowledging(self, error: i64) -> Self {
        Self { acknowledgement_error: error, ..self }
    }

    #[must_use]
    pub fn hop_limit(self, hop_limit: u8) -> Self {
        Self { hop_limit, ..self }
    }

    #[must_use]
    pub fn timestamp(self, error: i32) -> Self {
        Self { timestamp_error: Some(error), ..self }
    }

    #[must_use]
    pub fn without_timestamp(self) -> Self {
        Self { timestamp_error: None, ..self }
    }

    #[must_use]
    pub fn option(self, option: &[u8]) -> Self {
        Self { options: option.to_vec(), ..self }
    }

    #[must_use]
    pub fn header(self, header: Header) -> Self {
        Self { header, ..self }
    }

    #[must_use]
    pub fn bad_checksum(self) -> Self {
        let header = Header { checksum_error: 0x1234, ..self.header };
        self.header(header)
    }

    /// With the urgent pointer behind byte `at` of the payload.
    #[must_use]
    pub fn urgent(self, at: u16) -> Self {
        let header = Header { urgent: at + 1, ..self.header };
        let flags = self.flags | flag::URG;
        self.header(header).flags(flags)
    }

    #[must_use]
    pub fn packet(self, packet: Packet) -> Self {
        Self { packet, ..self }
    }
}
