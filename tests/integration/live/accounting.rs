//! Every packet is in exactly one record, with its bytes. The truth is nftables': see [`truth`].

use std::env;
use std::time::Duration;

use anyhow::Result;
use sensor_lab::lab::{Offloads, Plan};
use sensor_lab::process;

use super::traffic::{self, Dialler, Scheme};
use super::truth::{self, ByPort, Upwards};
use super::{SOON, Site, lan, records, say, setup, status};

/// Flows in one run, and in a full one.
const FLOWS: u16 = 200;
const FLOWS_FULL: u16 = 1_000;
/// Tells the tests to leave nothing out.
use sensor_lab::FULL_VARIABLE;

/// Below the client's own choices, so that no other connection has one of them.
const FIRST_PORT: u16 = 20_000;
const AT_ONCE: usize = 16;
/// Padding that leaves a request in one segment.
const ONE_SEGMENT: usize = 1_000;
/// The daemon looks whether it has every packet each ten seconds.
const LOOKED: Duration = Duration::from_secs(45);
const TRAFFIC: Duration = Duration::from_mins(2);

/// TLS, plain HTTP and datagrams over both families, orderly and aborted, each flow compared by itself:
/// what the gateway received of it behind XDP and what it returned, in packets and in bytes of whole frames.
#[test]
fn records_equal_nftables_for_every_flow_and_in_sum() -> Result<()> {
    let plan = Plan { offloads: Offloads::Off, ..Plan::default() };
    let site = Site::with(plan, &setup())?;
    truth::count(&site.lab)?;
    let count = if env::var_os(FULL_VARIABLE).is_some() { FLOWS_FULL } else { FLOWS };
    let plan = traffic::mixed(&site.web, FIRST_PORT, count)?;
    let datagrams = plan.iter().filter(|dial| dial.scheme == Scheme::Udp).count();
    let dialler = Dialler::start(&site.lab, Some(&site.web), &plan, AT_ONCE)?;
    for dialled in dialler.finish(TRAFFIC)? {
        assert_eq!(dialled.outcome, "done", "{dialled:?}");
    }

    let (truth, records) = settled(&site)?;
    assert_eq!(truth.len(), usize::from(count), "flows nftables counted");
    let differences = truth::differences(&truth, &records);
    assert!(differences.is_empty(), "{differences}");
    let sum = truth::sum(truth.values());
    assert_eq!(sum, truth::sum(truth.keys().filter_map(|port| records.get(port))));

    // Nothing was lost in XDP: the client sent as many bytes, in fewer packets where its stack has the
    // interface cut them.
    let sent = truth::counted(&site.lab, Upwards::AtTheClient)?;
    for dial in plan.iter().filter(|dial| dial.padding < ONE_SEGMENT) {
        assert_eq!(sent.get(&dial.port), truth.get(&dial.port), "{dial:?}");
    }
    let status = process::wait_until("a look at rest", LOOKED, || {
        let status = status(&site.sensor)?;
        let honesty = status.records.honesty;
        Ok((honesty.looks >= 2 && honesty.packets_unsure == 0).then_some(status))
    })?;
    let honesty = status.records.honesty;
    assert_eq!((honesty.packets_off, honesty.bytes_off), (0, 0), "{honesty:?}");
    let interface = lan(&status)?;
    assert!(interface.ingress.conserved && interface.egress.conserved, "{interface:?}");
    assert_eq!(status.records.lost, 0);
    say(&format!("{count} flows, {datagrams} of them datagrams: {sum:?}, all equal"));
    Ok(())
}

/// What nftables counted and what is recorded, once the two are equal; on a difference that does not go
/// away, the last look.
fn settled(site: &Site) -> Result<(ByPort, ByPort)> {
    let look = || {
        let truth = truth::counted(&site.lab, Upwards::BehindXdp)?;
        Ok((truth, truth::recorded(&records(&site.sensor)?)))
    };
    let equal = process::wait_until("records that equal nftables", SOON, || {
        let (truth, recorded) = look()?;
        Ok(truth::differences(&truth, &recorded).is_empty().then_some((truth, recorded)))
    });
    equal.or_else(|_late| look())
}
