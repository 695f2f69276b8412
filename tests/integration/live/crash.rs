//! The daemon dies in the middle of traffic: the kernel goes on alone, and its successor takes over.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::lab::{Family, Offloads, Plan};
use sensor_lab::process;
use sensor_user::control::status::Status;
use sensor_user::record::Record;

use super::traffic::{Dial, Dialler, Scheme};
use super::truth::{self, Both, Sum, Upwards};
use super::{ALLOWED, BLOCKED, SOON, Site, lan, records, say, setup_with, status};

const FLOWS: u16 = 400;
const FIRST_PORT: u16 = 20_000;
/// Between two connections: the traffic lasts 6 s, the daemon is away for about one of them.
const PACE: Duration = Duration::from_millis(15);
const AT_ONCE: usize = 16;
const TRAFFIC: Duration = Duration::from_mins(1);

/// What must hold, and does:
/// - a blocked name is reset at every moment, and nothing of it arrives;
/// - no record is there twice, and numbers have no gap;
/// - every flow is in the records with exactly its packets: one whose record was on its way to the store
///   at the kill is still in the kernel's table, and one whose record had just arrived is not told again;
/// - the sum of all records is what the interface counted.
#[test]
fn a_kill_in_mid_traffic_loses_no_record_and_no_verdict() -> Result<()> {
    kill_in_mid_traffic(Store::Works)
}

/// The same while the day store takes nothing, from before the kill until after the traffic: what the spool has is told by it,
/// and by nobody again.
#[test]
fn a_kill_while_records_wait_in_the_spool_loses_none_and_tells_none_twice() -> Result<()> {
    kill_in_mid_traffic(Store::TakesNothing)
}

/// How the day store is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Works,
    TakesNothing,
}

fn kill_in_mid_traffic(store: Store) -> Result<()> {
    let plan = Plan { offloads: Offloads::Off, ..Plan::default() };
    // Neighbour discovery must not end in the very moment of the kill.
    let mut site = Site::with(plan, &setup_with("idle_timeout_s", 600))?;
    truth::count(&site.lab)?;
    let dialler = Dialler::start(&site.lab, Some(&site.web), &traffic(), AT_ONCE)?;
    dialler.wait_for(usize::from(FLOWS) / 6, TRAFFIC)?;
    let held = if store == Store::TakesNothing { Some(hold_store(&site)?) } else { None };
    dialler.wait_for(usize::from(FLOWS) / 3, TRAFFIC)?;
    if store == Store::TakesNothing {
        process::wait_until("records that wait", SOON, || {
            let waiting = status(&site.sensor)?.spool.records.values().sum::<u64>();
            Ok((waiting > 0).then_some(()))
        })?;
    }
    site.sensor.kill()?;
    let before = dialler.so_far()?.len();
    // A fortieth of the traffic with no daemon at all.
    dialler.wait_for(before + usize::from(FLOWS) / 40, TRAFFIC)?;
    let alone = dialler.so_far()?.len() - before;
    site.sensor.resume()?;
    let while_away = dialler.so_far()?.len() - before;
    let dialled = dialler.finish(TRAFFIC)?;
    drop(held);

    for one in &dialled {
        let is_blocked = one.name == BLOCKED;
        assert!(if is_blocked { one.is_refused() } else { one.outcome == "done" }, "{one:?}");
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);

    let (records, counted) = stopped(&mut site)?;
    let truth = truth::counted(&site.lab, Upwards::AtTheClient)?;
    assert_eq!(truth.len(), dialled.len());
    let recorded = truth::recorded(&records);
    for one in &dialled {
        let flow = truth.get(&one.port).with_context(|| format!("no count of {one:?}"))?;
        assert_eq!(recorded.get(&one.port), Some(flow), "{one:?}");
    }
    assert_eq!(truth::sum(recorded.values()), counted);
    numbers_have_no_gap(&records);
    say(&format!(
        "{} flows, {alone} with no daemon, {while_away} before the next one answered; \
         {} records, {counted:?} accounted for",
        dialled.len(),
        records.len()
    ));
    Ok(())
}

/// Keeps others from writing to the day file, for as long as it is held.
fn hold_store(site: &Site) -> Result<rusqlite::Connection> {
    let file = process::wait_until("a day file", SOON, || {
        let files = fs::read_dir(site.sensor.store_directory())?;
        let paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        Ok(paths.into_iter().find(|path| path.extension().is_some_and(|end| end == "db")))
    })?;
    let held = rusqlite::Connection::open(file)?;
    held.busy_timeout(SOON)?;
    held.execute_batch("BEGIN IMMEDIATE")?;
    Ok(held)
}

/// Every fifth connection is for a blocked name; small requests, so that each packet the client sends
/// is one frame.
fn traffic() -> Vec<Dial> {
    let dial = |number: u16| {
        let name = if number.is_multiple_of(5) { BLOCKED } else { ALLOWED };
        let scheme = if number.is_multiple_of(2) { Scheme::Https } else { Scheme::Http };
        Dial {
            port: FIRST_PORT + number,
            family: if number % 4 < 2 { Family::V4 } else { Family::V6 },
            after: PACE * u32::from(number),
            ..Dial::new(scheme, name)
        }
    };
    (0..FLOWS).map(dial).collect()
}

/// Every record, and what the interface counted into flows, with nothing in between: the sensor is
/// stopped, and started again to be asked whether more came by since it was last asked.
pub(super) fn stopped(site: &mut Site) -> Result<(Vec<Record>, Both)> {
    process::wait_until("a stop without traffic", SOON, || {
        let before = flows_counted(&status(&site.sensor)?)?;
        site.sensor.stop()?;
        let records = records(&site.sensor)?;
        site.sensor.resume()?;
        let after = flows_counted(&status(&site.sensor)?)?;
        Ok((before == after).then_some((records, before)))
    })
}

/// Packets and bytes the interface counted as parts of flows.
fn flows_counted(status: &Status) -> Result<Both> {
    let interface = lan(status)?;
    assert!(interface.ingress.conserved && interface.egress.conserved, "{interface:?}");
    let flow = |direction: &sensor_user::control::status::DirectionStatus| {
        let [packets, bytes] = direction.accounted.get("flow").copied().unwrap_or_default();
        Sum { packets, bytes }
    };
    Ok(Both { to_peer: flow(&interface.ingress), to_lan: flow(&interface.egress) })
}

fn numbers_have_no_gap(records: &[Record]) {
    let keys: BTreeSet<_> = records.iter().map(|one| (&one.sensor, &one.boot)).collect();
    assert_eq!(keys.len(), 1, "one sensor and one boot");
    for (expected, record) in (0..).zip(records) {
        assert_eq!(record.sequence, expected, "{record:?}");
    }
}
