//! What share of the traffic has a usable name: a known mix of flows, and the same sums from everywhere
//! they are told.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::NoName;
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{Family, LAN_INTERFACE};
use sensor_lab::process;
use sensor_user::names::{ByReason, Tally};
use sensor_user::record::Record;
use serde_json::Value;

use super::traffic::{Dial, Scheme, dial};
use super::{ALLOWED, BLOCKED, HELPLINE, SOON, Site, lan, page, records, say, setup, status};

/// Datagrams' first own port: a port stands for a flow.
const FIRST_PORT: u16 = 20_000;

/// Flows by reason, of those that ended.
type Flows = BTreeMap<&'static str, u64>;

#[test]
fn a_known_mix_of_flows_is_told_by_reason_and_alike_everywhere() -> Result<()> {
    let mut site = Site::build(&setup())?;
    for _ in 0..4 {
        assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    }
    for _ in 0..2 {
        assert_eq!(site.client.curl(&Request::http(ALLOWED))?.outcome, page(ALLOWED));
    }
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    assert_eq!(site.ask(HELPLINE)?, page(HELPLINE));
    // An address is no name to send: the hello has none, and the certificate does not fit.
    let address = Family::V4.server().to_string();
    for _ in 0..3 {
        let outcome = site.ask(&address)?;
        assert!(matches!(outcome, Outcome::Other(_)), "{outcome:?}");
    }
    for number in 0..2 {
        let datagrams = Dial { port: FIRST_PORT + number, ..Dial::new(Scheme::Udp, "") };
        dial(&site.lab, Some(&site.web), datagrams)?;
    }
    let expected = Flows::from([("named", 7), ("unlogged", 1), ("no-sni", 3), ("not-examined", 2)]);
    process::wait_until("the mix of flows", SOON, || {
        Ok((ended(&records(&site.sensor)?) == expected).then_some(()))
    })?;

    let sums = agreed(&site)?;
    let flows = |reason| sums.reasons().find(|(one, _)| *one == reason).map(|(_, sum)| sum.flows);
    assert_eq!(flows(NoName::NoSni), Some(3));
    assert_eq!(flows(NoName::Named), Some(7));
    let (total, unnamed) = (sums.total(), sums.unnamed());
    assert_eq!(total.flows - unnamed.flows, 8);
    let metrics = site.sensor.cli(&["metrics"])?;
    let line = format!(
        "campus_sensor_recorded_flows_total{{interface=\"{LAN_INTERFACE}\",name=\"unnamed\",\
         reason=\"no-sni\"}} 3\n"
    );
    assert!(metrics.contains(&line), "no {line} in {metrics}");
    let shown = site.sensor.cli(&["status"])?;
    assert!(!shown.contains(&Family::V4.client().to_string()), "an unasked address in {shown}");
    let line = shown.lines().find(|line| line.starts_with("  unnamed"));
    say(line.context("no share in the status")?);

    // The next daemon goes on where this one was, and counts only its own since its start.
    site.sensor.stop()?;
    site.sensor.resume()?;
    let again = agreed(&site)?;
    assert!(again.total().bytes >= total.bytes, "{again:?} after {sums:?}");
    let since_start = lan(&status(&site.sensor)?)?.names.since_start;
    assert!(since_start.total().flows < total.flows, "{since_start:?}");
    Ok(())
}

/// Ended flows between client and server that are TCP or UDP, by reason: neighbour discovery comes and goes.
fn ended(records: &[Record]) -> Flows {
    let mut flows = Flows::new();
    for record in records.iter().filter(|record| record.end_reason.is_final()) {
        if matches!(record.protocol, 6 | 17) {
            *flows.entry(record.no_name.name()).or_default() += 1;
        }
    }
    flows
}

/// The interface's sums, once status, devices and `top` tell what the records sum to.
fn agreed(site: &Site) -> Result<ByReason> {
    process::wait_until("sums that agree", SOON, || {
        let told = site.sensor.cli_json(&["status", "--devices", "0"])?;
        let status = status(&site.sensor)?;
        let records = records(&site.sensor)?;
        let names = lan(&status)?.names;
        let mut top = "top --by device --sort unnamed --limit 0 --json --since"
            .split(' ')
            .collect::<Vec<_>>();
        top.push(&status.names_since);
        let top = site.sensor.cli(&top)?;
        let mut sums = ByReason::default();
        let mut by_device: BTreeMap<String, ByReason> = BTreeMap::new();
        for record in &records {
            let flows = u64::from(record.end_reason.is_final());
            let tally = Tally { flows, bytes: record.bytes() };
            sums.add(record.no_name, tally);
            by_device.entry(record.device.to_string()).or_default().add(record.no_name, tally);
        }
        let all = by_device.iter().map(|(device, sums)| (device.clone(), sums.unnamed()));
        let top_agrees = tops(&top)? == all.collect();
        by_device.retain(|_, sums| sums.unnamed() != Tally::default());
        let agree = names.recent == sums && top_agrees && devices(&told)? == by_device;
        Ok(agree.then_some(sums))
    })
}

/// The sums of devices with something unnamed.
fn devices(status: &Value) -> Result<BTreeMap<String, ByReason>> {
    let devices = status.pointer("/devices/most_unnamed").and_then(Value::as_array);
    let devices = devices.context("no devices in the status")?;
    let device = |device: &Value| {
        let address = device.get("device").and_then(Value::as_str).context("no address")?;
        let names = device.get("names").context("no names")?;
        Ok((address.to_owned(), serde_json::from_value(names.clone())?))
    };
    devices.iter().map(device).collect()
}

fn tops(lines: &str) -> Result<BTreeMap<String, Tally>> {
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line)?;
        let count = |key| row.get(key).and_then(Value::as_u64).context("no count");
        let device = row.get("device").and_then(Value::as_str).context("no device")?;
        let tally = Tally { flows: count("unnamed_flows")?, bytes: count("unnamed_bytes")? };
        Ok((device.to_owned(), tally))
    };
    lines.lines().map(row).collect()
}
