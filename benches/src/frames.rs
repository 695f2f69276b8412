//! Frames as a LAN interface gets them.

use std::net::SocketAddr;

use sensor_lab::frames::{DEVICE_MAC, Frame, Transport, flag};

/// Who sends to whom, and in which VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) vlan: Option<u16>,
}

impl Path {
    /// The way back.
    pub(crate) const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, vlan: self.vlan }
    }
}

/// Maximum segment size, selective acknowledgements, timestamps, window scale: what Linux opens with.
const SYN_OPTIONS: [u8; 20] =
    [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0x1c, 0x2d, 0x3e, 0x4f, 0, 0, 0, 0, 1, 3, 3, 7];

/// Timestamps, in every later segment.
const OPTIONS: [u8; 12] = [1, 1, 8, 10, 0x1c, 0x2d, 0x3f, 0x10, 0x51, 0x62, 0x73, 0x84];

/// Sequence numbers of the first bytes of the two streams.
const CLIENT_FIRST: u32 = 1001;
const SERVER_FIRST: u32 = 5001;

/// The first packet of a connection.
pub(crate) fn syn(path: Path) -> Vec<u8> {
    tcp(path, flag::SYN, (CLIENT_FIRST - 1, 0), &SYN_OPTIONS, &[])
}

/// The first packet of another connection between the same ends.
pub(crate) fn next_syn(path: Path) -> Vec<u8> {
    const FURTHER: u32 = 1 << 20;
    tcp(path, flag::SYN, (CLIENT_FIRST - 1 + FURTHER, 0), &SYN_OPTIONS, &[])
}

/// The server's answer to the client's SYN; `path` is the client's.
pub(crate) fn syn_ack(path: Path) -> Vec<u8> {
    let numbers = (SERVER_FIRST - 1, CLIENT_FIRST);
    tcp(path.reversed(), flag::SYN | flag::ACK, numbers, &SYN_OPTIONS, &[])
}

/// A segment of the client, so many bytes into its stream; the server has sent nothing.
pub(crate) fn segment(path: Path, at: usize, payload: &[u8]) -> Vec<u8> {
    let numbers = (CLIENT_FIRST + bytes(at), SERVER_FIRST);
    tcp(path, flag::ACK | flag::PSH, numbers, &OPTIONS, payload)
}

/// The server's first segment, which acknowledges so many bytes; `path` is the client's.
pub(crate) fn reply(path: Path, acknowledged: usize, payload: &[u8]) -> Vec<u8> {
    let numbers = (SERVER_FIRST, CLIENT_FIRST + bytes(acknowledged));
    tcp(path.reversed(), flag::ACK | flag::PSH, numbers, &OPTIONS, payload)
}

/// The client's last segment, so many bytes into its stream.
pub(crate) fn fin(path: Path, at: usize) -> Vec<u8> {
    let numbers = (CLIENT_FIRST + bytes(at), SERVER_FIRST);
    tcp(path, flag::ACK | flag::FIN, numbers, &OPTIONS, &[])
}

/// The server's last segment, which acknowledges so many bytes; `path` is the client's.
pub(crate) fn fin_back(path: Path, at: usize, acknowledged: usize) -> Vec<u8> {
    let numbers = (SERVER_FIRST + bytes(at), CLIENT_FIRST + bytes(acknowledged));
    tcp(path.reversed(), flag::ACK | flag::FIN, numbers, &OPTIONS, &[])
}

/// A datagram.
pub(crate) fn datagram(path: Path, payload: &[u8]) -> Vec<u8> {
    frame(path, Transport::Udp, &[], payload)
}

/// Who has 192.0.2.1? Tell 192.0.2.7 (RFC 826), padded to the shortest Ethernet frame.
pub(crate) fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(DEVICE_MAC);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(DEVICE_MAC);
    frame.extend([192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
    frame.resize(60, 0);
    frame
}

fn bytes(count: usize) -> u32 {
    u32::try_from(count).expect("a stream of a few segments")
}

fn tcp(path: Path, flags: u8, numbers: (u32, u32), options: &[u8], payload: &[u8]) -> Vec<u8> {
    let (sequence, acknowledgement) = numbers;
    frame(path, Transport::Tcp { flags, sequence, acknowledgement }, options, payload)
}

fn frame(path: Path, transport: Transport, tcp_options: &[u8], payload: &[u8]) -> Vec<u8> {
    let Path { source, destination, vlan } = path;
    Frame {
        source: source.ip(),
        destination: destination.ip(),
        source_port: source.port(),
        destination_port: destination.port(),
        transport,
        payload: payload.to_vec(),
        tags: vlan.map(|vlan| (0x8100, vlan)).into_iter().collect(),
        tcp_options: tcp_options.to_vec(),
        ..Frame::from_device(false, &[])
    }
    .bytes()
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::cursor::Cursor;
    use sensor_ebpf::parse::{Packet, Skip};

    use sensor_ebpf::parse::{ACK, PSH, SYN, TCP, UDP};
    use std::net::IpAddr;

    use super::*;

    const V4: Path = Path {
        source: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 51234),
        destination: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9)), 443),
        vlan: None,
    };

    fn parse(frame: &[u8]) -> Result<Packet, Skip> {
        Packet::parse(Cursor::new(frame), u32::try_from(frame.len()).unwrap())
    }

    fn check(frame: &[u8], path: Path, protocol: u8, flags: u8, payload: &[u8]) {
        let packet = parse(frame).unwrap();
        assert_eq!(IpAddr::from(packet.source), path.source.ip());
        assert_eq!(IpAddr::from(packet.destination), path.destination.ip());
        assert_eq!(packet.source_port, path.source.port());
        assert_eq!(packet.destination_port, path.destination.port());
        assert_eq!((packet.protocol, packet.tcp_flags), (protocol, flags));
        assert_eq!(packet.payload_length as usize, payload.len());
        assert_eq!(&frame[packet.payload as usize..], payload);
    }

    #[test]
    fn the_parser_reads_what_was_built() {
        let v6 = Path {
            source: "[2001:db8::7]:51234".parse().unwrap(),
            destination: "[2001:db8:ffff::9]:443".parse().unwrap(),
            vlan: Some(42),
        };
        for path in [V4, v6, V4.reversed(), Path { vlan: Some(42), ..V4 }] {
            check(&syn(path), path, TCP, SYN, &[]);
            check(&segment(path, 0, b"some payload"), path, TCP, ACK | PSH, b"some payload");
            check(&syn_ack(path), path.reversed(), TCP, SYN | ACK, &[]);
            check(&reply(path, 7, b"an answer"), path.reversed(), TCP, ACK | PSH, b"an answer");
            check(&datagram(path, b"some payload"), path, UDP, 0, b"some payload");
        }
        assert!(parse(&syn(V4)).unwrap().opens_connection());
        assert!(parse(&next_syn(V4)).unwrap().opens_connection());
    }

    #[test]
    fn both_streams_go_on_where_their_syn_ended() {
        let numbers = |frame: &[u8]| {
            let packet = parse(frame).unwrap();
            (packet.sequence, packet.acknowledgement)
        };
        let (client, _) = numbers(&syn(V4));
        let (server, acknowledged) = numbers(&syn_ack(V4));
        assert_eq!(acknowledged, client + 1);
        assert_eq!(numbers(&segment(V4, 0, b"a")), (client + 1, server + 1));
        assert_eq!(numbers(&segment(V4, 517, b"a")), (client + 518, server + 1));
        assert_eq!(numbers(&reply(V4, 517, b"a")), (server + 1, client + 518));
        assert_ne!(numbers(&next_syn(V4)).0, client);
    }

    #[test]
    fn arp_is_not_ip() {
        assert_eq!(arp_request().len(), 60);
        assert_eq!(parse(&arp_request()), Err(Skip::NotIp));
    }
}
