//! Who says what: flows that are told by their number alone, so that nothing has to be kept of them.
//!
//! All frames of a flow have one length in each direction, which is hardly another flow's: bytes tell whose a packet was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sensor_lab::dns::{Answer, Query};
use sensor_lab::frames::{Frame, Hello, Transport, flag, request};

/// What the policy of the test blocks.
pub(super) const BLOCKED: &str = "casino.example";

/// Devices, a prime: flows of one device are of every kind.
const DEVICES: u32 = 20_011;

/// What flows are, in turn.
const KINDS: [Kind; 14] = [
    Kind::Tls { is_blocked: false },
    Kind::Tls { is_blocked: true },
    Kind::Http { is_blocked: false },
    Kind::Http { is_blocked: true },
    Kind::HalfOpen,
    Kind::Aborted,
    Kind::Reused,
    Kind::Udp,
    Kind::QuicInitial,
    Kind::QuicShort,
    Kind::Dns,
    Kind::Echo,
    Kind::Gre,
    Kind::Udp,
];

/// VLAN tags of flows, in turn.
const TAGS: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 7)], &[(0x88a8, 30), (0x8100, 8)]];

/// Frames of the longest flow.
pub(super) const STEPS_MAX: u32 = 15;

/// Frames of a connection that is aborted.
const ABORTED_STEPS: u32 = 5;

/// The shortest length that a flow may have, beyond any frame below without its payload.
const LENGTH_MIN: u32 = 160;
/// The same for those with a hello, a request or an Initial.
const LENGTH_MIN_LONG: u32 = 560;
/// Lengths to choose from.
const LENGTHS: u32 = 389;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A hello with a name, and an orderly end.
    Tls { is_blocked: bool },
    /// A request, likewise.
    Http { is_blocked: bool },
    /// A SYN that nobody answers, twice.
    HalfOpen,
    /// A connection that the server resets.
    Aborted,
    /// Three of these, one behind the other, on one pair of ports.
    Reused,
    /// Datagrams.
    Udp,
    /// Datagrams that begin like Initials of QUIC, and are none.
    QuicInitial,
    /// Datagrams with short headers of QUIC.
    QuicShort,
    /// A query and its answer, twice.
    Dns,
    /// Echoes.
    Echo,
    /// Another protocol without ports, of which nothing comes back.
    Gre,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the device.
    Up,
    /// To the device.
    Down,
}

/// What tells a flow apart: device and peer with their ports, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) device: (IpAddr, u16),
    pub(super) peer: (IpAddr, u16),
    pub(super) protocol: u8,
}

/// One flow of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow(pub(super) u32);

impl Flow {
    fn kind(self) -> Kind {
        KINDS[self.0 as usize % KINDS.len()]
    }

    const fn is_ipv6(self) -> bool {
        self.0 as usize / KINDS.len() % 2 == 1
    }

    fn tags(self) -> &'static [(u16, u16)] {
        TAGS[self.0 as usize / KINDS.len() / 2 % TAGS.len()]
    }

    /// True where the sensor ends it.
    pub(super) fn is_blocked(self) -> bool {
        matches!(self.kind(), Kind::Tls { is_blocked: true } | Kind::Http { is_blocked: true })
    }

    /// True where the frames have a VLAN tag.
    pub(super) fn is_tagged(self) -> bool {
        !self.tags().is_empty()
    }

    /// Bytes of each frame in one direction.
    pub(super) fn length(self, way: Way) -> u32 {
        let least = match (self.kind(), way) {
            (Kind::Tls { .. } | Kind::Http { .. }, Way::Up) | (Kind::QuicInitial, _) => {
                LENGTH_MIN_LONG
            }
            _ => LENGTH_MIN,
        };
        let stirred = (self.0 * 2 + u32::from(way == Way::Up)).wrapping_mul(0x9e37_79b1) >> 8;
        least + stirred % LENGTHS
    }

    /// Which of a device's flows it is, from 0.
    const fn turn(self) -> u32 {
        self.0 / DEVICES
    }

    fn ends(self) -> Ends {
        let [.., high, low] = (self.0 % DEVICES + 1).to_be_bytes();
        // Flows without ports of one device have a peer each.
        let turn = self.turn() as u8 + 1;
        let (device, peer): (IpAddr, IpAddr) = if self.is_ipv6() {
            let device = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low]));
            (device.into(), Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, turn.into()).into())
        } else {
            let device = Ipv4Addr::new(172, 16, high, low);
            (device.into(), Ipv4Addr::new(192, 0, 2, turn).into())
        };
        let port = 20_000 + self.turn() as u16;
        let (port, peer_port, protocol) = match self.kind() {
            Kind::Tls { .. } => (port, 443, TCP),
            Kind::Http { .. } => (port, 80, TCP),
            Kind::HalfOpen | Kind::Aborted | Kind::Reused => (port, 7000, TCP),
            Kind::Udp => (port, 7000, UDP),
            Kind::QuicInitial | Kind::QuicShort => (port, 443, UDP),
            Kind::Dns => (port, 53, UDP),
            Kind::Echo => (0, 0, if self.is_ipv6() { ICMPV6 } else { ICMP }),
            Kind::Gre => (0, 0, GRE),
        };
        Ends { device: (device, port), peer: (peer, peer_port), protocol }
    }

    /// The flow between these ends, if there is one among the first `flows`.
    pub(super) fn between(ends: &Ends, flows: u32) -> Option<Self> {
        let low = |address: IpAddr| match address {
            IpAddr::V4(v4) => u32::from(v4) & 0xffff,
            IpAddr::V6(v6) => u32::from(v6.segments()[7]),
        };
        let device = low(ends.device.0).checked_sub(1).filter(|device| *device < DEVICES)?;
        let turn = (low(ends.peer.0) & 0xff).checked_sub(1)?;
        let flow = Self(turn * DEVICES + device);
        (flow.0 < flows && flow.ends() == *ends).then_some(flow)
    }

    /// The frame of a step, from 0; none behind the last.
    pub(super) fn frame(self, step: u32) -> Option<(Way, Vec<u8>)> {
        let (way, transport, payload) = match self.kind() {
            Kind::Tls { is_blocked } => {
                let hello = Hello::of(&self.name(is_blocked)).bytes();
                segment(step, 1000, &hello, Ending::Orderly)?
            }
            Kind::Http { is_blocked } => {
                let request = request(&self.name(is_blocked), "/", &[]);
                segment(step, 1000, &request, Ending::Orderly)?
            }
            Kind::HalfOpen => {
                let transport =
                    Transport::Tcp { flags: flag::SYN, sequence: 1000, acknowledgement: 0 };
                (step < 2).then(|| (Way::Up, transport, Vec::new()))?
            }
            Kind::Aborted => segment(step, 1000, b"hello", Ending::Reset)?,
            Kind::Reused => {
                let nth = step / ABORTED_STEPS;
                let first = 1000 + 50_000 * nth;
                (nth < 3)
                    .then(|| segment(step % ABORTED_STEPS, first, b"hello", Ending::Reset))??
            }
            Kind::Udp => datagram(step, 2 + self.0 % 5, vec![0x55; 20])?,
            Kind::QuicInitial => datagram(step, 4, initial())?,
            Kind::QuicShort => datagram(step, 6, vec![0x5a; 40])?,
            Kind::Dns => {
                let query = Query::of(&self.name(false), 1);
                let answer = Answer::to(&query, Vec::new()).bytes();
                datagram(step, 4, if step.is_multiple_of(2) { query.bytes() } else { answer })?
            }
            Kind::Echo => self.echo(step)?,
            Kind::Gre => {
                let payload = vec![0, 0, 0x88, 0xbe];
                (step < 3).then_some((Way::Up, Transport::Other(GRE), payload))?
            }
        };
        let Ends { device, peer, .. } = self.ends();
        let mut frame = Frame::from_device(self.is_ipv6(), &payload).tagged(self.tags());
        frame.transport = transport;
        let (from, to) = if way == Way::Up { (device, peer) } else { (peer, device) };
        ((frame.source, frame.source_port), (frame.destination, frame.destination_port)) =
            (from, to);
        let mut bytes = frame.bytes();
        let length = self.length(way) as usize;
        assert!(bytes.len() <= length, "{self:?} has {} bytes in step {step}", bytes.len());
        // Behind the packet, as an Ethernet card fills up short frames.
        bytes.resize(length, 0);
        Some((way, bytes))
    }

    fn name(self, is_blocked: bool) -> String {
        if is_blocked { BLOCKED.to_owned() } else { format!("n{}.example", self.0) }
    }

    fn echo(self, step: u32) -> Option<(Way, Transport, Vec<u8>)> {
        let (protocol, request, reply) =
            if self.is_ipv6() { (ICMPV6, 128, 129) } else { (ICMP, 8, 0) };
        let way = turns(step, 6)?;
        let kind = if way == Way::Up { request } else { reply };
        Some((way, Transport::Other(protocol), vec![kind, 0, 0, 0, 0, 1, 0, step as u8]))
    }
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Orderly,
    Reset,
}

/// A step of a connection whose client sends this: the client's sequence numbers begin at `first`.
fn segment(
    step: u32,
    first: u32,
    sent: &[u8],
    ending: Ending,
) -> Option<(Way, Transport, Vec<u8>)> {
    const SERVER: u32 = 70_000;
    const ANSWER: &[u8] = b"welcome";
    let (next, server_next) = (first + 1 + sent.len() as u32, SERVER + 1 + ANSWER.len() as u32);
    let from = |way, flags, sequence, acknowledgement, payload: &[u8]| {
        Some((way, Transport::Tcp { flags, sequence, acknowledgement }, payload.to_vec()))
    };
    match (step, ending) {
        (0, _) => from(Way::Up, flag::SYN, first, 0, b""),
        (1, _) => from(Way::Down, flag::SYN | flag::ACK, SERVER, first + 1, b""),
        (2, _) => from(Way::Up, flag::ACK | flag::PSH, first + 1, SERVER + 1, sent),
        (3, _) => from(Way::Down, flag::ACK | flag::PSH, SERVER + 1, next, ANSWER),
        (4, Ending::Reset) => from(Way::Down, flag::RST | flag::ACK, server_next, next, b""),
        (4, Ending::Orderly) => from(Way::Up, flag::FIN | flag::ACK, next, server_next, b""),
        (5, Ending::Orderly) => from(Way::Down, flag::FIN | flag::ACK, server_next, next + 1, b""),
        (6, Ending::Orderly) => from(Way::Up, flag::ACK, next + 1, server_next + 1, b""),
        _ => None,
    }
}

fn datagram(step: u32, steps: u32, payload: Vec<u8>) -> Option<(Way, Transport, Vec<u8>)> {
    Some((turns(step, steps)?, Transport::Udp, payload))
}

/// There and back, so many times.
fn turns(step: u32, steps: u32) -> Option<Way> {
    let way = if step.is_multiple_of(2) { Way::Up } else { Way::Down };
    (step < steps).then_some(way)
}

/// A long header of version 1 with a connection ID of eight bytes (RFC 9000 section 17.2.2), and nothing that any key opens.
fn initial() -> Vec<u8> {
    let mut bytes = vec![0xc3, 0, 0, 0, 1, 8];
    bytes.resize(400, 0x5a);
    bytes
}
