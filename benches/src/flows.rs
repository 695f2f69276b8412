//! What a million flows cost: the sensor's table beside the kernel's own hash map, with the same programs around both.
//! Each packet is of another flow, so that its lines are in no cache.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::Accounting;
use sensor_user::kernel::lab::Lab;
use sensor_user::kernel::object::{Flows, Sizes};
use sensor_user::kernel::test_run::action;

use crate::frames::{self, Path};
use crate::measure::{per_packet, timed};
use crate::scenarios::{Course, MIDDLE, Peer, Scenario, scenario};
use crate::stand::Stand;

/// Flows both have room for.
const FLOWS: u32 = 1_000_000;

/// SYNs that leave the table no room: it has more than it is asked for, and two of its buckets must be full.
const OVERFLOWING: u32 = 3 * FLOWS;

/// What is done to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowCost {
    /// A segment without payload of one of a million flows.
    Known,
    /// A SYN of a flow that is made, where half as many are.
    New,
    /// The same where there is no room.
    Full,
    /// All of them read by user space.
    Export,
}

/// A cost, the names of its rows with ours first, how many times the other's cost it should have at most, and what it is.
type Rows = (FlowCost, [&'static str; 2], f64, &'static str);

const ROWS: [Rows; 4] = [
    (
        FlowCost::Known,
        ["flows-known-1m", "flows-known-1m-stock"],
        0.5,
        "a segment of another of a million flows each time; net of the mutator",
    ),
    (
        FlowCost::New,
        ["flows-new-1m", "flows-new-1m-stock"],
        0.25,
        "a SYN that makes a flow, beside 500,000; net of the mutator",
    ),
    (
        FlowCost::Full,
        ["flows-full-1m", "flows-full-1m-stock"],
        0.25,
        "a SYN that finds the table full; net of the mutator",
    ),
    (
        FlowCost::Export,
        ["flows-export-1m", "flows-export-1m-stock"],
        1.0 / 15.0,
        "ns a flow: a million of them read by user space",
    ),
];

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (cost, [ours, stock], target, about) in ROWS {
        // What is not optimised says nothing of the product.
        if cost == FlowCost::Export && cfg!(debug_assertions) {
            continue;
        }
        let course = |place| Course::FlowTable(cost, place);
        let peer = Some(Peer { name: stock, target });
        all.push(Scenario { peer, ..scenario(ours, MIDDLE, course(Flows::Table), about) });
        all.push(scenario(
            stock,
            MIDDLE,
            course(Flows::Stock),
            "the same in the kernel's hash map",
        ));
    }
    all
}

/// Stands of their own, once they are asked for.
#[derive(Default)]
pub(crate) struct Tables(BTreeMap<Flows, Box<Stand>>);

impl Tables {
    /// ns of a packet or flow.
    pub(crate) fn cost(&mut self, cost: FlowCost, place: Flows, packets: u32) -> Result<f64> {
        let stand = match self.0.remove(&place) {
            Some(stand) => stand,
            None => Box::new(Stand::with(Sizes { flows: FLOWS, place, ..Sizes::SMALL })?),
        };
        let stand = self.0.entry(place).or_insert(stand);
        let mut mutator = Lab::load()?;
        mutator.mutate_into(&mut stand.object)?;
        let (before, frame, expected) = match cost {
            FlowCost::Known | FlowCost::Export => (FLOWS, segment(), Accounting::Flow),
            FlowCost::New => (FLOWS / 2, frames::syn(path()), Accounting::Flow),
            FlowCost::Full => (OVERFLOWING, frames::syn(path()), Accounting::TableFull),
        };
        stand.flows.clear()?;
        mutator.turn_to(0)?;
        mutator.repeat("mutate", &frames::syn(path()), before)?;
        if cost == FlowCost::Export {
            return export(stand);
        }
        let first = if cost == FlowCost::Known { 0 } else { OVERFLOWING };
        mutator.turn_to(first)?;
        let before = stand.totals()?.accounted(expected).packets;
        let (with, result) = timed(|| mutator.repeat("mutate", &frame, packets));
        ensure!(result? == action::PASS, "a packet did not pass");
        let counted = stand.totals()?.accounted(expected).packets - before;
        // A bucket in a thousand may have had room.
        let least = u64::from(packets - packets / 1000);
        ensure!(counted >= least, "{counted} packets were {}", expected.name());
        stand.alone.turn_to(first)?;
        let (without, result) = timed(|| stand.alone.repeat("mutate", &frame, packets));
        result?;
        Ok(per_packet(with, packets) - per_packet(without, packets))
    }
}

/// Reads them once.
fn export(stand: &Stand) -> Result<f64> {
    let (mut flows, mut packets) = (0_u32, 0);
    let (time, result) = timed(|| {
        stand.flows.scan(|_, flow| {
            flows += 1;
            packets += flow.to_peer.packets;
        })
    });
    result?;
    // The table may have refused one in some ten thousand.
    ensure!(flows > FLOWS - FLOWS / 1000, "there are {flows} flows");
    ensure!(packets == u64::from(flows), "{flows} flows have {packets} packets");
    Ok(per_packet(time, flows))
}

fn segment() -> Vec<u8> {
    frames::segment(path(), 0, &[])
}

fn path() -> Path {
    let source = SocketAddr::from(([192, 0, 2, 7], 51234));
    Path { source, destination: SocketAddr::from(([198, 51, 100, 9], 443)), vlan: None }
}
