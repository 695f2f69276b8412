//! Frames as a LAN interface gets them. Lengths are right; checksums are left zero, since the
//! programs verify none.

use std::net::{IpAddr, SocketAddr};

use sensor_ebpf::parse::{ACK, PSH, SYN, TCP, UDP};

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

/// The first packet of a connection.
pub(crate) fn syn(path: Path) -> Vec<u8> {
    tcp(path, SYN, &SYN_OPTIONS, &[])
}

/// A segment of an open connection.
pub(crate) fn segment(path: Path, payload: &[u8]) -> Vec<u8> {
    tcp(path, ACK | PSH, &OPTIONS, payload)
}

/// A datagram.
pub(crate) fn datagram(path: Path, payload: &[u8]) -> Vec<u8> {
    let mut transport = Vec::new();
    transport.extend(path.source.port().to_be_bytes());
    transport.extend(path.destination.port().to_be_bytes());
    transport.extend(length_of(payload.len() + 8));
    transport.extend([0; 2]);
    transport.extend(payload);
    ip(path, UDP, &transport)
}

/// Who has 192.0.2.1? Tell 192.0.2.7 (RFC 826), padded to the shortest Ethernet frame.
pub(crate) fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(LAN_STATION);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(LAN_STATION);
    frame.extend([192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
    frame.resize(60, 0);
    frame
}

const GATEWAY: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const LAN_STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 7];

fn tcp(path: Path, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from((20 + options.len()) / 4).expect("at most 40 bytes of options");
    let mut transport = Vec::new();
    transport.extend(path.source.port().to_be_bytes());
    transport.extend(path.destination.port().to_be_bytes());
    transport.extend(0x1000_0001_u32.to_be_bytes());
    transport.extend(0x2000_0001_u32.to_be_bytes());
    transport.extend([words << 4, flags]);
    // Window, checksum, urgent pointer.
    transport.extend([0x01, 0xf5, 0, 0, 0, 0]);
    transport.extend(options);
    transport.extend(payload);
    ip(path, TCP, &transport)
}

fn ip(path: Path, protocol: u8, transport: &[u8]) -> Vec<u8> {
    match (path.source.ip(), path.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0x45, 0];
            packet.extend(length_of(transport.len() + 20));
            packet.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(transport);
            ethernet(path.vlan, 0x0800, &packet)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(length_of(transport.len()));
            packet.extend([protocol, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(transport);
            ethernet(path.vlan, 0x86dd, &packet)
        }
        (source, destination) => panic!("{source} cannot send to {destination}"),
    }
}

fn ethernet(vlan: Option<u16>, ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = GATEWAY.to_vec();
    frame.extend(LAN_STATION);
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(packet);
    frame
}

fn length_of(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a packet is below 64 KiB").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::cursor::Cursor;
    use sensor_ebpf::parse::{Packet, Skip};

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
            check(&segment(path, b"some payload"), path, TCP, ACK | PSH, b"some payload");
            check(&datagram(path, b"some payload"), path, UDP, 0, b"some payload");
        }
        assert!(parse(&syn(V4)).unwrap().opens_connection());
    }

    #[test]
    fn arp_is_not_ip() {
        assert_eq!(arp_request().len(), 60);
        assert_eq!(parse(&arp_request()), Err(Skip::NotIp));
    }
}
