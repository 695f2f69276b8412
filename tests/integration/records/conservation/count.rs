//! What counts without anything of the sensor's: frames of each flow, where they were sent and where they came in.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sensor_ebpf::abi::Volume;
use sensor_lab::lab::{HOST_INTERFACE, Lab};
use sensor_lab::packets::Packets;

use super::traffic::{Ends, Flow, Way};

/// How long the receiver waits before it asks whether anything is still to come.
const TURN: Duration = Duration::from_millis(100);

/// More than any frame has.
const FRAME_MAX: usize = 4_096;

const ETHERNET: usize = 14;
const TAG: usize = 4;
const ETHER_TYPE_VLAN: u16 = 0x8100;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Frames of each flow, up and down.
#[derive(Clone)]
pub(super) struct Tally(Vec<[u32; 2]>);

impl Tally {
    pub(super) fn none(flows: u32) -> Self {
        Self(vec![[0; 2]; flows as usize])
    }

    pub(super) fn add(&mut self, other: &Self) {
        for ([up, down], [more_up, more_down]) in self.0.iter_mut().zip(&other.0) {
            *up += more_up;
            *down += more_down;
        }
    }

    pub(super) fn count(&mut self, flow: Flow, way: Way) {
        self.0[flow.0 as usize][way as usize] += 1;
    }

    /// Packets and bytes of a flow in one direction.
    pub(super) fn of(&self, flow: Flow, way: Way) -> Volume {
        let packets = u64::from(self.0[flow.0 as usize][way as usize]);
        Volume { packets, bytes: packets * u64::from(flow.length(way)) }
    }

    pub(super) fn flows(&self) -> impl ExactSizeIterator<Item = Flow> + use<> {
        (0..self.0.len() as u32).map(Flow)
    }

    /// The sum of all flows in one direction.
    pub(super) fn sum(&self, way: Way) -> Volume {
        self.flows().map(|flow| self.of(flow, way)).fold(Volume::default(), |sum, volume| Volume {
            packets: sum.packets + volume.packets,
            bytes: sum.bytes + volume.bytes,
        })
    }
}

/// What comes in at the client.
pub(super) struct Arrivals {
    packets: Packets,
    flows: u32,
}

impl Arrivals {
    pub(super) fn watch(lab: &Lab, flows: u32) -> Result<Self> {
        let packets = Packets::receiver(lab.client(), HOST_INTERFACE)?;
        packets.socket().set_read_timeout(Some(TURN)).context("set a timeout")?;
        Ok(Self { packets, flows })
    }

    /// Counts what comes in of each flow until nothing is left to come. A blocked flow is sent other things as well.
    pub(super) fn count(&self, left: &AtomicBool) -> Result<Tally> {
        let mut tally = Tally::none(self.flows);
        let mut buffer = [0; FRAME_MAX];
        loop {
            let is_over = !left.load(Ordering::Acquire);
            let length = match self.packets.socket().recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if is_over {
                        break;
                    }
                    continue;
                }
                Err(error) => return Err(error).context("receive a frame"),
            };
            let frame = &buffer[..length];
            let ends = ends(frame).with_context(|| format!("a frame of nobody: {frame:?}"))?;
            let flow = Flow::between(&ends, self.flows);
            let flow = flow.with_context(|| format!("a frame of no flow: {ends:?}"))?;
            // The kernel takes the outer tag off, and keeps it beside the frame.
            let expected = flow.length(Way::Down) as usize - if flow.is_tagged() { TAG } else { 0 };
            ensure!(length == expected || flow.is_blocked(), "{flow:?}: {length} of {expected}");
            tally.count(flow, Way::Down);
        }
        let dropped = self.packets.dropped()?;
        ensure!(dropped == 0, "the test's own socket dropped {dropped} frames");
        Ok(tally)
    }
}

/// Between whom a frame goes that was sent down.
fn ends(frame: &[u8]) -> Option<Ends> {
    let number = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let mut ip = ETHERNET;
    while number(ip - 2)? == ETHER_TYPE_VLAN {
        ip += TAG;
    }
    let v4 = |at: usize| -> Option<IpAddr> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?).into())
    };
    let v6 = |at: usize| -> Option<IpAddr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?).into())
    };
    let (protocol, source, destination, transport) = match number(ip - 2)? {
        ETHER_TYPE_IPV4 => (*frame.get(ip + 9)?, v4(ip + 12)?, v4(ip + 16)?, ip + 20),
        ETHER_TYPE_IPV6 => (*frame.get(ip + 6)?, v6(ip + 8)?, v6(ip + 24)?, ip + 40),
        _ => return None,
    };
    let ports = if protocol == TCP || protocol == UDP {
        (number(transport)?, number(transport + 2)?)
    } else {
        (0, 0)
    };
    Some(Ends { device: (destination, ports.1), peer: (source, ports.0), protocol })
}
