//! Frames and messages, built byte by byte with right lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ethernet address of the device in built frames.
pub const DEVICE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
/// Ethernet address of the gateway in built frames.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];

/// TCP flags (RFC 9293 section 3.1).
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Synchronise.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// Acknowledge.
    pub const ACK: u8 = 16;
    /// Urgent.
    pub const URG: u8 = 32;
    /// Congestion echo; in a SYN, part of the offer of ECN (RFC 3168 section 6.1.1).
    pub const ECE: u8 = 64;
    /// Congestion window reduced; as above.
    pub const CWR: u8 = 128;
}

/// One TCP segment, UDP datagram or other packet between two ends, to be built with [`Frame::bytes`].
#[derive(Clone, Debug)]
pub struct Frame {
    /// Ethernet address that the frame comes from.
    pub source_mac: [u8; 6],
    /// Sender's address.
    pub source: IpAddr,
    /// Receiver's address, of the same family.
    pub destination: IpAddr,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// What it carries.
    pub transport: Transport,
    /// Bytes behind the transport header.
    pub payload: Vec<u8>,
    /// VLAN tags, outer first: tag protocol and identifier.
    pub tags: Vec<(u16, u16)>,
    /// What lies between Ethernet, with its tags, and IP.
    pub link: Link,
    /// TCP options, a multiple of four bytes; not for UDP.
    pub tcp_options: Vec<u8>,
    /// IPv4 options, a multiple of four bytes; not for IPv6.
    pub options: Vec<u8>,
    /// IPv6 extension headers as they lie in the packet, and the type of the first; not for IPv4.
    pub extensions: Option<(u8, Vec<u8>)>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// What else a TCP header may say.
    pub header: Header,
}

/// What a [`Frame`]'s packet lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Nothing else.
    Ethernet,
    /// A `PPPoE` session (RFC 2516 section 4).
    Pppoe,
    /// A stack of so many labels (RFC 3032 section 2.1).
    Mpls(u32),
}

/// Parts of a TCP header that hold no surprise in most segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The fourth reserved bit, AE since RFC 9768: set in SYNs that offer accurate ECN.
    pub accurate_ecn: bool,
    /// The urgent pointer.
    pub urgent: u16,
    /// A data offset in words that is not the header's length.
    pub data_offset: Option<u8>,
    /// Added to the right checksum, in TCP and UDP.
    pub checksum_error: u16,
}

/// The transport of a [`Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Flags, see [`flag`].
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
    },
    /// UDP.
    Udp,
    /// Another IP protocol, whose packets are all payload here.
    Other(u8),
}

impl Frame {
    /// A data segment from a device to a server: `10.20.0.5` or `2001:db8:20::5` to port 443.
    pub fn from_device(v6: bool, payload: &[u8]) -> Self {
        let (source, destination): (IpAddr, IpAddr) = if v6 {
            (
                Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 5).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 9).into(),
            )
        } else {
            (Ipv4Addr::new(10, 20, 0, 5).into(), Ipv4Addr::new(192, 0, 2, 9).into())
        };
        Self {
            source_mac: DEVICE_MAC,
            source,
            destination,
            source_port: 50_000,
            destination_port: 443,
            transport: Transport::Tcp {
                flags: flag::ACK | flag::PSH,
                sequence: 1001,
                acknowledgement: 5001,
            },
            payload: payload.to_vec(),
            tags: Vec::new(),
            link: Link::Ethernet,
            tcp_options: Vec::new(),
            options: Vec::new(),
            extensions: None,
            hop_limit: 64,
            header: Header::default(),
        }
    }

    /// The same with other flags. A SYN takes the sequence number before the payload's.
    #[must_use]
    pub fn with_flags(mut self, new: u8) -> Self {
        if let Transport::Tcp { flags, sequence, .. } = &mut self.transport {
            *flags = new;
            *sequence = sequence.wrapping_sub(u32::from(new & flag::SYN != 0));
        }
        self
    }

    /// The same, `by` bytes further on in the stream.
    #[must_use]
    pub fn further(mut self, by: u32) -> Self {
        if let Transport::Tcp { sequence, .. } = &mut self.transport {
            *sequence = sequence.wrapping_add(by);
        }
        self
    }

    /// The same from another port.
    #[must_use]
    pub const fn from_port(mut self, port: u16) -> Self {
        self.source_port = port;
        self
    }

    /// The same with these VLAN tags.
    #[must_use]
    pub fn tagged(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// The same in a `PPPoE` session.
    #[must_use]
    pub const fn in_pppoe(mut self) -> Self {
        self.link = Link::Pppoe;
        self
    }

    /// The same behind a stack of so many labels.
    #[must_use]
    pub const fn in_mpls(mut self, labels: u32) -> Self {
        self.link = Link::Mpls(labels);
        self
    }

    /// What the receiver would send back on the same connection, without payload.
    #[must_use]
    pub fn reply(&self) -> Self {
        let mut reply = self.clone();
        std::mem::swap(&mut reply.source, &mut reply.destination);
        std::mem::swap(&mut reply.source_port, &mut reply.destination_port);
        reply.payload.clear();
        reply
    }

    /// The frame from its Ethernet header on, without FCS.
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [GATEWAY_MAC, self.source_mac].concat();
        for (protocol, identifier) in &self.tags {
            frame.extend(protocol.to_be_bytes());
            frame.extend(identifier.to_be_bytes());
        }
        let segment = self.segment();
        let (ether_type, ppp_protocol, header) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (0x0800_u16, 0x0021_u16, self.ipv4(source, destination, segment.len()))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                (0x86dd, 0x0057, self.ipv6(source, destination, segment.len()))
            }
            (source, destination) => panic!("{source} and {destination} are of two families"),
        };
        match self.link {
            Link::Ethernet => frame.extend(ether_type.to_be_bytes()),
            Link::Pppoe => {
                frame.extend([0x88, 0x64, 0x11, 0x00, 0x00, 0x07]);
                frame.extend(((2 + header.len() + segment.len()) as u16).to_be_bytes());
                frame.extend(ppp_protocol.to_be_bytes());
            }
            Link::Mpls(labels) => {
                frame.extend([0x88, 0x47]);
                for label in 1..=labels {
                    let bottom = u32::from(label == labels);
                    frame.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
                }
            }
        }
        frame.extend(header);
        frame.extend(segment);
        frame
    }

    const fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp => 17,
            Transport::Other(protocol) => protocol,
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, segment: usize) -> Vec<u8> {
        let length = 20 + self.options.len();
        let mut header = vec![0x40 | (length / 4) as u8, 0];
        header.extend(((length + segment) as u16).to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0x00, self.hop_limit, self.protocol(), 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, segment: usize) -> Vec<u8> {
        let (next, extensions) =
            self.extensions.clone().unwrap_or_else(|| (self.protocol(), Vec::new()));
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(((extensions.len() + segment) as u16).to_be_bytes());
        header.extend([next, self.hop_limit]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(extensions);
        header
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source_port.to_be_bytes());
        segment.extend(self.destination_port.to_be_bytes());
        let checksum_at = match self.transport {
            Transport::Tcp { flags, sequence, acknowledgement } => {
                segment.extend(sequence.to_be_bytes());
                segment.extend(acknowledgement.to_be_bytes());
                let Header { accurate_ecn, urgent, data_offset, .. } = self.header;
                let words = data_offset.unwrap_or(((20 + self.tcp_options.len()) / 4) as u8);
                segment.extend([words << 4 | u8::from(accurate_ecn), flags, 0xff, 0xff, 0, 0]);
                segment.extend(urgent.to_be_bytes());
                segment.extend(&self.tcp_options);
                16
            }
            Transport::Udp => {
                segment.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                segment.extend([0, 0]);
                6
            }
            Transport::Other(_) => return self.payload.clone(),
        };
        segment.extend(&self.payload);
        let sum = transport_checksum(self.source, self.destination, self.protocol(), &segment)
            .wrapping_add(self.header.checksum_error);
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

/// The Internet checksum (RFC 1071) of some bytes.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of a segment with its pseudo-header; 0 where a checksum in place is right.
pub fn transport_checksum(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    segment: &[u8],
) -> u16 {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend((segment.len() as u32).to_be_bytes());
    bytes.extend(u32::from(protocol).to_be_bytes());
    bytes.extend(segment);
    checksum(&bytes)
}

/// A `ClientHello` in one TLS record (RFC 8446 sections 4.1.2 and 5.1).
#[derive(Clone, Debug)]
pub struct Hello {
    /// Server name; no extension without one.
    pub name: Option<Vec<u8>>,
    /// Extensions before the name, type and length of each.
    pub before: Vec<(u16, usize)>,
    /// Extensions after the name.
    pub after: Vec<(u16, usize)>,
    /// Bytes of session id, at most 32.
    pub session_id: usize,
    /// Cipher suites.
    pub ciphers: usize,
}

impl Hello {
    /// A hello of about 250 bytes, as OpenSSL sends it: the name first.
    pub fn of(name: &str) -> Self {
        Self {
            name: Some(name.as_bytes().to_vec()),
            before: Vec::new(),
            after: vec![(11, 4), (10, 22), (35, 0), (13, 42), (43, 5), (45, 2), (51, 38)],
            session_id: 32,
            ciphers: 31,
        }
    }

    /// A hello of about 500 bytes whose name is the last of 17 extensions.
    pub fn with_name_last(name: &str) -> Self {
        let before = vec![
            (0x0a0a, 0),
            (23, 0),
            (65281, 1),
            (10, 10),
            (11, 2),
            (35, 0),
            (16, 14),
            (5, 5),
            (13, 18),
            (18, 0),
            (51, 43),
            (45, 2),
            (43, 7),
            (27, 3),
            (17513, 5),
            (21, 180),
        ];
        Self { before, after: Vec::new(), ..Self::of(name) }
    }

    /// The record.
    pub fn bytes(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        let plain = |list: &[(u16, usize)], extensions: &mut Vec<u8>| {
            for (kind, length) in list {
                extensions.extend(kind.to_be_bytes());
                extensions.extend((*length as u16).to_be_bytes());
                extensions.extend(vec![0; *length]);
            }
        };
        plain(&self.before, &mut extensions);
        if let Some(name) = &self.name {
            extensions.extend([0, 0]);
            extensions.extend((name.len() as u16 + 5).to_be_bytes());
            extensions.extend((name.len() as u16 + 3).to_be_bytes());
            extensions.push(0);
            extensions.extend((name.len() as u16).to_be_bytes());
            extensions.extend(name);
        }
        plain(&self.after, &mut extensions);

        let mut body = vec![3, 3];
        body.extend([0x5a; 32]);
        body.push(self.session_id as u8);
        body.extend(vec![0x11; self.session_id]);
        body.extend((self.ciphers as u16 * 2).to_be_bytes());
        body.extend(vec![0x13; self.ciphers * 2]);
        body.extend([1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);

        let mut record = vec![22, 3, 1];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.push(1);
        record.extend(&(body.len() as u32).to_be_bytes()[1..]);
        record.extend(body);
        record
    }
}

/// The handshake message of a record cut into records of these lengths; the last one takes the rest.
pub fn in_records(record: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut message = record.get(5..).unwrap_or_default();
    let mut stream = Vec::new();
    let mut put = |part: &[u8]| {
        stream.extend([22, 3, 1]);
        stream.extend((part.len() as u16).to_be_bytes());
        stream.extend(part);
    };
    for &length in lengths {
        if length < message.len() {
            put(&message[..length]);
            message = &message[length..];
        }
    }
    put(message);
    stream
}

/// A browser's request for `path` with the given Host line value and headers before it.
pub fn request(host: &str, path: &str, before: &[&str]) -> Vec<u8> {
    let mut head = format!("GET {path} HTTP/1.1\r\n");
    for line in before {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.extend(["Host: ", host, "\r\n"]);
    head.push_str("User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0\r\n");
    head.push_str("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n");
    head.push_str("Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n");
    head.push_str("Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\r\n");
    head.into_bytes()
}
