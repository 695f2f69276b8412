//! Conservation over many flows, with everything forced to go wrong: the flow table overflows, both rings are full, and the
//! daemon is killed again and again, also while it commits.
//!
//! Real frames cross a veth pair in both directions: TLS and HTTP, allowed and blocked, connections that end, are reset, stay
//! half open or come again on the same ports, datagrams, what looks like QUIC, DNS, echoes and GRE, over both families, with
//! VLAN tags and without ([`traffic`]). What counts them has nothing of the sensor's:
//!
//! - who sends knows of each flow what was sent ([`wire`]), and the client's interface has the sum of what the wire took;
//! - a socket at the client counts what comes in, flow by flow, and would say if it had missed any ([`count`]).
//!
//! Every record is held against that ([`ledger`]). The kernel counts what the table refuses (`table-full`, `flow-busy`):
//! exactly that is missing, and where nothing was refused nothing is. [`disturbance`] stops and kills.

mod count;
mod disturbance;
mod ledger;
mod traffic;
mod wire;

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sensor_ebpf::abi::Volume;
use sensor_lab::FULL_VARIABLE;
use sensor_lab::lab::{HOST_INTERFACE, LAN_INTERFACE, Lab, Offloads, Plan, Translation};
use sensor_lab::process;
use sensor_lab::sensor::{self, Sensor, Setup};
use sensor_user::control::status::{DirectionStatus, InterfaceStatus, Status};

use self::count::{Arrivals, Tally};
use self::ledger::{Ledger, Missing};
use self::traffic::{BLOCKED, Way};
use self::wire::{Schedule, Wire};

/// Flows of a run, and of a full one.
const FLOWS: u32 = 12_000;
const FLOWS_FULL: u32 = 1_000_000;

/// Flows between two frames of one, and how long it takes to send all, or longer.
const STRIDE: u32 = 250;
const STRIDE_FULL: u32 = 2_000;
const LASTS: Duration = Duration::from_secs(12);
const LASTS_FULL: Duration = Duration::from_secs(190);

/// Flows that a stop may have to record: it is given seconds. And how long the last daemon has to record the others.
const LIVE_AT_STOP: u64 = 4_000;
const RECORDED: Duration = Duration::from_mins(5);

/// The smallest that the configuration takes.
const SMALLEST_RING_KIB: u64 = 64;
/// Room for some of the flows that live at one time.
const TIGHT_TABLE: u64 = 4_096;
const TIGHT_TABLE_FULL: u64 = 16_384;
/// Room for all flows that live at one time.
const ROOMY_TABLE: u64 = 65_536;
const ROOMY_TABLE_FULL: u64 = 1_048_576;

/// A veth's counters leave it out.
const ETHERNET_HEADER: u64 = 14;

/// The reasons that a packet of a whole frame may have to be in no flow.
const REFUSALS: [&str; 2] = ["table-full", "flow-busy"];

/// What the sensor sends itself.
const OWN: &str = "own-reset";

/// The rings' overflows.
const LOST: [&str; 2] = ["flow-end-lost", "verdict-event-lost"];

const POLICY: &str = r#"version = "conservation.1"
default_group = "everybody"

[[category]]
id = "gambling"
title = "Gambling"
covers = "Betting and casinos"

[[group]]
name = "everybody"
prefixes = []
block = ["gambling"]

[[list]]
id = "casinos"
file = "lists/casinos.txt"
categories = ["gambling"]
"#;

/// More flows than the table has room for, from two senders at once: what it refuses is counted, to the packet and the byte.
#[test]
fn what_a_full_table_refuses_is_all_that_is_missing() -> Result<()> {
    let table = if is_full() { TIGHT_TABLE_FULL } else { TIGHT_TABLE };
    let Outcome { missing, refused, happened } = Run { table, senders: 2 }.run()?;
    ensure!(refused.contains_key("table-full") && missing.flows > 0, "the table was never full");
    ensure!(LOST.iter().any(|lost| happened.contains_key(*lost)), "no ring was full: {happened:?}");
    Ok(())
}

/// The same with room for every flow: none misses anything.
#[test]
fn with_room_every_flow_is_told_whole() -> Result<()> {
    let table = if is_full() { ROOMY_TABLE_FULL } else { ROOMY_TABLE };
    // One sender: two could make flows at the same moment in the same place.
    let Outcome { missing, refused, happened } = Run { table, senders: 1 }.run()?;
    ensure!(refused.is_empty(), "refused: {refused:?}");
    ensure!(missing == Missing::default(), "{missing:?}");
    for lost in LOST {
        ensure!(happened.contains_key(lost), "a ring was never full: {happened:?}");
    }
    Ok(())
}

fn is_full() -> bool {
    env::var_os(FULL_VARIABLE).is_some()
}

/// One run of the test.
struct Run {
    table: u64,
    senders: u32,
}

/// What came of it, where all sums are right.
struct Outcome {
    missing: Missing,
    /// Packets that the table refused, by the reason.
    refused: BTreeMap<String, u64>,
    /// What else was counted.
    happened: BTreeMap<String, u64>,
}

impl Run {
    fn run(&self) -> Result<Outcome> {
        let plan =
            Plan { offloads: Offloads::Off, translation: Translation::None, ..Plan::default() };
        let lab = Lab::with(plan)?;
        // Nobody else says anything.
        let quiet = |interface: &str| format!("net.ipv6.conf.{interface}.disable_ipv6=1");
        lab.client().sysctl(&[&quiet(HOST_INTERFACE)])?;
        lab.gateway().sysctl(&[&quiet(LAN_INTERFACE)])?;
        let mut sensor = Sensor::start(&lab, &sensor::binary()?, &self.setup())?;
        let carried_before = carried(&lab)?;

        let begin = Instant::now();
        let Traffic { sent, arrived, kills } = self.send(&lab, &mut sensor)?;
        let took = begin.elapsed();

        let status = at_rest(&sensor)?;
        sensor.stop()?;
        let ledger = Ledger::read(&sensor.store_directory(), sent.flows().len() as u32)?;
        let missing = ledger.missing(&sent)?;
        is_carried(&sent, &arrived, carried(&lab)?, carried_before)?;
        let outcome = outcome(&sent, missing, &status)?;
        let Outcome { refused, happened, .. } = &outcome;
        let lost: Vec<_> = happened.iter().filter(|(what, _)| what.ends_with("-lost")).collect();
        say(&format!(
            "{} flows in {took:.1?}, {kills} kills: {:?} up, {:?} down, {} records of all but {missing:?}; \
             refused {refused:?}, events {lost:?}",
            sent.flows().len(),
            sent.sum(Way::Up),
            sent.sum(Way::Down),
            ledger.records,
        ));
        // Another daemon finds nothing to tell.
        sensor.resume()?;
        sensor.stop()?;
        let again = Ledger::read(&sensor.store_directory(), sent.flows().len() as u32)?;
        let again = again.missing(&sent)?;
        ensure!(again == missing, "told later: {again:?}, {missing:?} before");
        Ok(outcome)
    }

    fn setup(&self) -> Setup {
        let times = [("tcp_idle_timeout_s", 5), ("active_timeout_s", 10), ("blocked_hold_s", 30)];
        let sizes = [
            ("flows_max", self.table),
            ("verdict_ring_kib", SMALLEST_RING_KIB),
            ("flow_end_ring_kib", SMALLEST_RING_KIB),
        ];
        let owned = |(key, value): (&str, u64)| (key.to_owned(), value);
        let mut setup = Setup::with_policy(POLICY);
        setup.files = vec![("lists/casinos.txt".to_owned(), format!("{BLOCKED}\n"))];
        setup.flow.extend(times.map(owned));
        setup.kernel = sizes.map(owned).to_vec();
        setup
    }

    /// Sends everything while daemons come and go.
    fn send(&self, lab: &Lab, sensor: &mut Sensor) -> Result<Traffic> {
        let schedule = if is_full() {
            Schedule { flows: FLOWS_FULL, stride: STRIDE_FULL, lasts: LASTS_FULL }
        } else {
            Schedule { flows: FLOWS, stride: STRIDE, lasts: LASTS }
        };
        let (wire, arrivals) = (Wire::open(lab)?, Arrivals::watch(lab, schedule.flows)?);
        let left = AtomicBool::new(true);
        thread::scope(|scope| {
            let (wire, arrivals, left) = (&wire, &arrivals, &left);
            let arrived = scope.spawn(move || arrivals.count(left));
            let share =
                |share| scope.spawn(move || wire::send(wire, schedule, share, self.senders));
            let senders: Vec<_> = (0..self.senders).map(share).collect();
            let sent = scope.spawn(move || {
                let shares: Vec<_> = senders.into_iter().map(ScopedJoinHandle::join).collect();
                left.store(false, Ordering::Release);
                let mut sent = Tally::none(schedule.flows);
                for share in shares {
                    sent.add(&share.expect("no sender panics")?);
                }
                Ok::<_, anyhow::Error>(sent)
            });
            let kills = disturbance::kill_again_and_again(sensor, left);
            let sent = sent.join().expect("it does not panic");
            let arrived = arrived.join().expect("it does not panic");
            Ok(Traffic { sent: sent?, arrived: arrived?, kills: kills? })
        })
    }
}

/// What went over the wire.
struct Traffic {
    sent: Tally,
    arrived: Tally,
    kills: usize,
}

/// The status when nothing is under way.
fn at_rest(sensor: &Sensor) -> Result<Status> {
    let status = || -> Result<Status> {
        serde_json::from_str(&sensor.cli(&["status", "--json"])?).context("read the status")
    };
    process::wait_until("most flows are recorded", RECORDED, || {
        let first = status()?;
        // A daemon that has not looked yet says there is none; those that are blocked stay for a while.
        let has_few = (1..=LIVE_AT_STOP).contains(&first.records.live_flows);
        let is_quiet = status()?.interfaces == first.interfaces;
        Ok((has_few && is_quiet).then_some(first))
    })
}

/// What the client's interface has sent.
fn carried(lab: &Lab) -> Result<Volume> {
    let client = lab.client().counters(HOST_INTERFACE)?;
    let bytes = client.tx_bytes + ETHERNET_HEADER * client.tx_packets;
    Ok(Volume { packets: client.tx_packets, bytes })
}

/// What was sent up was on the wire, and what was sent down came in, flow by flow, where it was not blocked.
fn is_carried(sent: &Tally, arrived: &Tally, now: Volume, before: Volume) -> Result<()> {
    let up = sent.sum(Way::Up);
    let carried = Volume { packets: now.packets - before.packets, bytes: now.bytes - before.bytes };
    ensure!(carried == up, "the wire carried {carried:?} of {up:?} that were sent");
    for flow in sent.flows().filter(|flow| !flow.is_blocked()) {
        let (sent, arrived) = (sent.of(flow, Way::Down), arrived.of(flow, Way::Down));
        ensure!(sent == arrived, "{flow:?}: {arrived:?} came in of {sent:?} that were sent");
    }
    Ok(())
}

/// Holds what is missing against what the kernel says it refused.
fn outcome(sent: &Tally, missing: Missing, status: &Status) -> Result<Outcome> {
    let InterfaceStatus { ingress, egress, .. } =
        status.interfaces.first().context("an interface")?;
    let honesty = status.records.honesty;
    ensure!((honesty.packets_off, honesty.bytes_off) == (0, 0), "{honesty:?}");
    let (mut refused, mut happened) = (BTreeMap::new(), BTreeMap::new());
    let ways = [(ingress, Way::Up, missing.up), (egress, Way::Down, missing.down)];
    for (direction, way, missing) in ways {
        let DirectionStatus { packets, bytes, accounted, conserved, .. } = direction;
        let [own_packets, own_bytes] = accounted.get(OWN).copied().unwrap_or_default();
        let seen = Volume { packets: packets - own_packets, bytes: bytes - own_bytes };
        let sent = sent.sum(way);
        ensure!(*conserved && seen == sent, "{way:?}: {seen:?} seen of {sent:?} sent");
        let mut not_kept = Volume::default();
        for (name, [packets, bytes]) in accounted {
            if name == "flow" || name == OWN {
                continue;
            }
            ensure!(REFUSALS.contains(&name.as_str()), "{way:?}: {packets} packets are {name}");
            not_kept.packets += packets;
            not_kept.bytes += bytes;
            *refused.entry(name.clone()).or_default() += packets;
        }
        ensure!(missing == not_kept, "{way:?}: {missing:?} missing, refused {accounted:?}");
        for (name, count) in &direction.happened {
            *happened.entry(name.clone()).or_default() += count;
        }
    }
    Ok(Outcome { missing, refused, happened })
}

/// A figure for whoever runs with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the harness shows it only where it is wanted")]
fn say(text: &str) {
    eprintln!("{text}");
}
