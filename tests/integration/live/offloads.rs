//! Accounting where hardware, or what stands in for it, joins frames: the sums still are those of the wire.

use std::time::Duration;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::{Direction, Volume};
use sensor_lab::lab::{Family, HOST_INTERFACE, LAN_INTERFACE, Offloads, Plan};
use sensor_lab::process;
use sensor_lab::sensor::Sensor;
use sensor_user::control::status::{DirectionStatus, InterfaceStatus, OnInterface};
use sensor_user::kernel::lab::Lab as Meter;

use super::dns;
use super::traffic::{self, Dial, Dialler, Scheme};
use super::{ALLOWED, BLOCKED, SOON, Site, lan, say, setup, status};

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
    let told = explained(&site.sensor)?;
    assert!(told.egress.more.contains_key("joined-frames"), "{told:?}");
    say(&format!("{sums:?}, {told:?}"));
    Ok(())
}

/// The interface's own counters beside the sensor's, and behind a queue that has no room: each difference has its cause in
/// the status, and no packet is left over.
#[test]
fn an_interface_that_counts_otherwise_has_its_reasons() -> Result<()> {
    const BLOCKED_FLOWS: u16 = 20;
    let plan = Plan { offloads: Offloads::Off, ..Plan::default() };
    let site = Site::with(plan, &setup())?;
    let dial = |number: u16| {
        let name = if number < BLOCKED_FLOWS { BLOCKED } else { ALLOWED };
        Dial { port: FIRST_PORT + number, ..Dial::new(Scheme::Http, name) }
    };
    let plan: Vec<_> = (0..2 * BLOCKED_FLOWS).map(dial).collect();
    Dialler::start(&site.lab, Some(&site.web), &plan, 8)?.finish(TRAFFIC)?;
    let told = explained(&site.sensor)?;
    assert!(told.ingress.packets > u64::from(BLOCKED_FLOWS), "{told:?}");
    say(&format!("{told:?}"));

    // A queue of two frames behind 1 Mbit/s.
    let queue =
        "qdisc add dev {} root tbf rate 1mbit burst 3000 limit 3000".replace("{}", LAN_INTERFACE);
    let arguments: Vec<&str> = queue.split(' ').collect();
    site.lab.gateway().run("tc", &arguments)?;
    let download = traffic::put(&site.web, 300_000)?;
    let big = Dial { path: download, port: FIRST_PORT + 100, ..Dial::new(Scheme::Http, ALLOWED) };
    Dialler::start(&site.lab, Some(&site.web), &[big], 1)?.finish(TRAFFIC)?;
    // What was dropped has bytes that nobody knows; no packet is left over once the last has gone out.
    let of = |told: &Told, cause| told.egress.more.get(cause).copied().unwrap_or_default();
    let told = process::wait_until("drops of the queue in the status", SOON, || {
        let told = Told::take(&site.sensor)?;
        let is_known = of(&told, "queue-dropped")[0] < 0 && of(&told, "unexplained")[0] == 0;
        Ok(is_known.then_some(told))
    });
    let told = told.or_else(|late| Told::take(&site.sensor).map_err(|_gone| late))?;
    let [packets, bytes] = of(&told, "queue-dropped");
    assert!(packets < 0 && bytes == 0 && of(&told, "unexplained")[0] == 0, "{told:?}");
    say(&format!("{told:?}"));
    Ok(())
}

/// Queries that XDP answers go out past the egress program: the interface has sent them, and the status says why it has
/// more.
#[test]
fn what_is_sent_back_has_its_reason() -> Result<()> {
    const QUERIES: i64 = 10;
    let site = dns::Site::build(&setup())?;
    for _ in 0..QUERIES {
        site.dig(Family::V4, BLOCKED, "A", &[])?;
    }
    let all = process::wait_until("the answers in the status", SOON, || {
        let told = Told::take(&site.sensor)?;
        let sent_back = told.egress.more.get("sent-back").is_some_and(|back| back[0] == QUERIES);
        Ok((sent_back && told.is_explained()).then_some(()))
    });
    ensure!(all.is_ok(), "{:?}", Told::take(&site.sensor)?);
    Ok(())
}

/// What the status tells of the interface's own counters.
#[derive(Debug)]
struct Told {
    ingress: OnInterface,
    egress: OnInterface,
}

impl Told {
    fn take(sensor: &Sensor) -> Result<Self> {
        let status = status(sensor)?;
        let InterfaceStatus { ingress, egress, .. } = lan(&status)?.clone();
        Ok(Self { ingress: ingress.on_interface, egress: egress.on_interface })
    }

    fn is_explained(&self) -> bool {
        [&self.ingress, &self.egress].iter().all(|way| !way.more.contains_key("unexplained"))
    }
}

/// The same, once nothing is without a cause; on a difference that stays, the last look.
fn explained(sensor: &Sensor) -> Result<Told> {
    let first = Told::take(sensor)?;
    let told = process::wait_until("every difference explained", SOON, || {
        let told = Told::take(sensor)?;
        let is_new = told.ingress.packets + told.egress.packets >= first.ingress.packets;
        Ok((is_new && told.is_explained() && told.egress.packets > 0).then_some(told))
    });
    let told = told.or_else(|_late| Told::take(sensor))?;
    ensure!(told.is_explained(), "{told:?}");
    Ok(told)
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
