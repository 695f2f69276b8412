//! The loaded programs under a policy, asked by packets of devices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use sensor_ebpf::abi::{Flow, NoName, Side, Verdict};
use sensor_lab::dns::{A, Query};
use sensor_lab::frames::{Frame, Hello, Transport, flag, request};
use sensor_lab::quic::{Content, Initial, message};
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;
use sensor_user::policy::{Policy, Port};

use super::super::kernel::{Bench, Lent};

/// Between two packets: no budget of one runs into the next.
const PAUSE_NS: u64 = 1_000_000_000;

/// How a name is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Tls,
    Http,
    Dns,
    Quic,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Tls, Self::Http, Self::Dns, Self::Quic];
}

/// What the programs tell of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) verdict: Verdict,
    pub(super) categories: u64,
    pub(super) list: u16,
    pub(super) group: u16,
    pub(super) reason: NoName,
}

/// What became of a packet.
pub(super) struct Fate {
    /// Nothing where there was nothing to tell.
    pub(super) told: Option<Told>,
    /// It goes on, as it came.
    pub(super) passes: bool,
    pub(super) flow: Option<Flow>,
}

pub(super) struct Gateway {
    bench: Lent,
    /// Of the policy that was loaded last.
    in_force: String,
    asked: u32,
}

/// All of a policy that the programs decide names, ports and addresses by.
pub(super) fn in_force(policy: &Policy) -> String {
    let (groups, names): (Vec<_>, Vec<_>) = (policy.groups().collect(), policy.entries().collect());
    let ports: Vec<_> = policy.ports().collect();
    let prefixes: Vec<_> = policy.prefixes().collect();
    format!("{groups:?} {names:?} {ports:?} {prefixes:?} {:?}", policy.locked())
}

impl Gateway {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { bench: Bench::new(Side::Lan)?, in_force: String::new(), asked: 0 })
    }

    /// Puts a policy in force, with the rules it holds now.
    pub(super) fn load(&mut self, policy: &Policy) -> Result<()> {
        let in_force = in_force(policy);
        if self.in_force != in_force {
            self.bench.push(&PolicyImage::from(policy))?;
            self.in_force = in_force;
        }
        Ok(())
    }

    /// Has a device ask for a name, in a connection of its own.
    pub(super) fn ask(&mut self, device: IpAddr, name: &str, way: Way) -> Result<Fate> {
        let frame = self.named(device, name, way);
        self.send(&frame)
    }

    /// Has a device open a port.
    pub(super) fn open(&mut self, device: IpAddr, port: Port) -> Result<Fate> {
        let frame = self.opening(device, port);
        self.send(&frame)
    }

    /// Has a device open a connection to an address of its family.
    pub(super) fn reach(&mut self, device: IpAddr, address: IpAddr) -> Result<Fate> {
        let frame = Frame { destination: address, ..self.frame(device, b"") };
        // The same end may be asked for again: a flow of its own each time.
        let frame = frame.from_port((self.asked % 60_000) as u16 + 1024).with_flags(flag::SYN);
        self.send(&frame)
    }

    /// Has a device open a port of TCP and ask for a name there; what became of both packets.
    pub(super) fn open_and_ask(
        &mut self,
        device: IpAddr,
        port: Port,
        name: &str,
    ) -> Result<[Fate; 2]> {
        let syn = self.opening(device, port);
        let hello = Frame { payload: Hello::of(name).bytes(), ..syn.clone() };
        let hello = hello.with_flags(flag::ACK | flag::PSH).further(1);
        Ok([self.send(&syn)?, self.send(&hello)?])
    }

    /// A packet of a device to a server that nobody has talked to.
    pub(super) fn frame(&mut self, device: IpAddr, payload: &[u8]) -> Frame {
        self.asked += 1;
        let number = self.asked;
        let server: IpAddr = match device {
            IpAddr::V4(_) => Ipv4Addr::from_bits(0xc612_0000 | number).into(),
            IpAddr::V6(_) => {
                Ipv6Addr::from_bits((0x2001_0db8_00ff << 80) | u128::from(number)).into()
            }
        };
        let frame = Frame::from_device(device.is_ipv6(), payload);
        Frame { source: device, destination: server, ..frame }
    }

    pub(super) fn send(&mut self, frame: &Frame) -> Result<Fate> {
        self.bench.control.set_replay_clock(u64::from(self.asked) * PAUSE_NS);
        let outcome = self.bench.run(frame)?;
        let told = match self.bench.verdict() {
            None => None,
            Some(event) => Some(Told {
                verdict: event.verdict.try_into()?,
                categories: event.categories,
                list: event.list,
                group: event.group,
                reason: event.no_name.try_into()?,
            }),
        };
        assert!(self.bench.verdict().is_none(), "one packet is told of twice: {frame:?}");
        let passes = outcome.action == action::PASS && outcome.frame == frame.bytes();
        Ok(Fate { told, passes, flow: self.bench.flow(frame) })
    }

    fn named(&mut self, device: IpAddr, name: &str, way: Way) -> Frame {
        let udp = |frame, destination_port| Frame {
            transport: Transport::Udp,
            destination_port,
            ..frame
        };
        match way {
            Way::Tls => self.frame(device, &Hello::of(name).bytes()),
            Way::Http => self.frame(device, &request(name, "/", &[])),
            Way::Dns => udp(self.frame(device, &Query::of(name, A).bytes()), 53),
            Way::Quic => {
                let initial = Initial::of(vec![Content::whole(&message(&Hello::of(name)))]);
                let connection = u64::from(self.asked).to_be_bytes();
                let datagram = initial.to_connection(&connection).datagram();
                udp(self.frame(device, &datagram), 443)
            }
        }
    }

    fn opening(&mut self, device: IpAddr, port: Port) -> Frame {
        let is_udp = port.protocol == 17;
        let frame = self.frame(device, if is_udp { b"\x38hello" } else { b"" });
        let frame = Frame { destination_port: port.number, ..frame };
        if is_udp {
            Frame { transport: Transport::Udp, ..frame }
        } else {
            frame.with_flags(flag::SYN)
        }
    }
}
