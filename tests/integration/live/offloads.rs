//! Accounting where hardware, or what stands in for it, joins frames: the sums still are those of the wire.

use std::time::Duration;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::{Direction, Volume};
use sensor_lab::lab::{HOST_INTERFACE, LAN_INTERFACE};
use sensor_lab::process;
use sensor_user::control::status::DirectionStatus;
use sensor_user::kernel::lab::Lab as Meter;

use super::traffic::{self, Dial, Dialler, Scheme};
use super::{ALLOWED, SOON, Site, lan, say, setup, status};

const DOWNLOAD: usize = 20_000_000;
const SMALL_FLOWS: u16 = 100;
const FIRST_PORT: u16 = 20_000;
const TRAFFIC: Duration = Duration::from_mins(1);

/// veth's counters and TC's `wire_len` on the way in leave it out.
const ETHERNET_HEADER: u64 = 14;

/// Egress: frames reach the gateway's LAN interface joined. The sensor counts the frames they will
/// become on the wire, with all their headers; so does the meter behind it, exactly.
///
/// Ingress: XDP sees each frame before the gateway joins any, and so does the client's interface, whose
/// counters are the truth here. The meter behind XDP agrees on packets; its bytes cannot be compared,
/// since on the way in `wire_len` of a joined frame has the headers of one.
#[test]
fn sums_equal_the_wires_where_frames_are_joined() -> Result<()> {
    let site = Site::build(&setup())?;
    let download = traffic::put(&site.web, DOWNLOAD)?;
    let big = Dial { path: download, port: FIRST_PORT, ..Dial::new(Scheme::Http, ALLOWED) };
    let mut plan = traffic::mixed(&site.web, FIRST_PORT + 1, SMALL_FLOWS)?;
    plan.push(big);

    site.lab.gateway().run("ethtool", &["-K", LAN_INTERFACE, "gro", "on"])?;
    let meter = site.lab.gateway().inside(|| {
        let mut meter = Meter::load()?;
        meter.meter(LAN_INTERFACE)?;
        Ok(meter)
    })?;
    let before = Sums::at_rest(&site, &meter)?;
    for dialled in Dialler::start(&site.lab, Some(&site.web), &plan, 8)?.finish(TRAFFIC)? {
        assert_eq!(dialled.outcome, "done", "{dialled:?}");
        if dialled.port == FIRST_PORT {
            assert!(dialled.bytes > DOWNLOAD as u64, "{dialled:?}");
        }
    }

    let sums = Sums::at_rest(&site, &meter)?.since(before);
    assert_eq!(sums.egress, sums.metered_egress, "{sums:?}");
    assert_eq!(sums.ingress, sums.sent, "{sums:?}");
    assert_eq!(sums.ingress.packets, sums.metered_ingress.packets, "{sums:?}");
    let headers = ETHERNET_HEADER * sums.ingress.packets;
    assert!(
        sums.metered_ingress.bytes < sums.ingress.bytes - headers,
        "no frame was joined: {sums:?}"
    );
    // Frames of 1514 bytes: had super-frames been counted as one, there would be a tenth of them.
    assert!(sums.egress.packets > DOWNLOAD as u64 / 1_448, "{sums:?}");
    assert!(sums.egress.bytes > (DOWNLOAD + DOWNLOAD / 1_448 * 66) as u64, "{sums:?}");
    say(&format!("{sums:?}"));
    Ok(())
}

/// What each observer has summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums {
    /// The sensor's, from the LAN and to it.
    ingress: Volume,
    egress: Volume,
    /// What the client's interface sent.
    sent: Volume,
    /// The meter's, behind XDP and behind everything.
    metered_ingress: Volume,
    metered_egress: Volume,
}

impl Sums {
    /// They are read one after the other: all that counts is a moment in which nothing comes by.
    fn at_rest(site: &Site, meter: &Meter) -> Result<Self> {
        process::wait_until("a moment without traffic", SOON, || {
            let first = Self::take(site, meter)?;
            Ok((Self::take(site, meter)? == first).then_some(first))
        })
    }

    fn take(site: &Site, meter: &Meter) -> Result<Self> {
        let status = status(&site.sensor)?;
        let interface = lan(&status)?;
        ensure!(interface.ingress.conserved && interface.egress.conserved, "{interface:?}");
        let client = site.lab.client().counters(HOST_INTERFACE)?;
        let seen = |direction: &DirectionStatus| Volume {
            packets: direction.packets,
            bytes: direction.bytes,
        };
        Ok(Self {
            ingress: seen(&interface.ingress),
            egress: seen(&interface.egress),
            sent: Volume {
                packets: client.tx_packets,
                bytes: client.tx_bytes + ETHERNET_HEADER * client.tx_packets,
            },
            metered_ingress: meter.metered(Direction::Ingress)?,
            metered_egress: meter.metered(Direction::Egress)?,
        })
    }

    fn since(self, before: Self) -> Self {
        let minus = |now: Volume, then: Volume| Volume {
            packets: now.packets - then.packets,
            bytes: now.bytes - then.bytes,
        };
        Self {
            ingress: minus(self.ingress, before.ingress),
            egress: minus(self.egress, before.egress),
            sent: minus(self.sent, before.sent),
            metered_ingress: minus(self.metered_ingress, before.metered_ingress),
            metered_egress: minus(self.metered_egress, before.metered_egress),
        }
    }
}
