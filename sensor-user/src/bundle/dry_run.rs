//! What a policy would have decided of late: recorded flows, judged by the policy in force and by another.
//!
//! Each is judged at its own time, to a quarter of an hour, and for the group its device's address has in each policy; where
//! a policy has groups by anything else, for the one of the recorded group's name. Where ports or addresses are listed,
//! flows are judged by these too, also those without a name. For want of a name, and by protected names, which records leave out, none
//! is judged.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use sensor_ebpf::abi::Verdict;
use serde::Serialize;

use crate::policy::{Policy, Port};
use crate::store::{End, NamedFlows, NamedLimits, Reader, StoreError};

/// Records of a day that are judged, the newest: some ten seconds of reading.
const RECORDS_MAX: u64 = 5_000_000;

/// Sums of a day that are judged: 2,000 devices have half as many, where they are by quarters of an hour.
const SUMS_MAX: u64 = 1_000_000;

/// Names that are told.
const TOP_MAX: usize = 20;

/// Flows are judged at the beginning of their quarter of an hour: few schedules begin or end within one.
const QUARTER_US: i64 = 900_000_000;

/// Where the time makes no difference, a day is one piece.
const DAY_US: i64 = 96 * QUARTER_US;

/// What a policy would have decided otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Days looked back.
    pub days: u32,
    /// Flows that were judged.
    pub flows: u64,
    /// Those of them that pass in the policy in force, or passed where there is none.
    pub passed: u64,
    /// Flows that were not judged, because there are so many.
    pub left_out: u64,
    /// Flows with another verdict, whichever.
    pub changed: u64,
    /// Passed and would be blocked.
    pub to_block: Change,
    /// Blocked and would pass.
    pub to_pass: Change,
}

/// Flows that change sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How many.
    pub flows: u64,
    /// Of how many devices.
    pub devices: usize,
    /// To how many names.
    pub names: usize,
    /// The names of the most flows.
    pub top: Vec<NameChange>,
}

/// Flows to one name that change sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameChange {
    /// The name, or the address of flows without one; none where one of the policies protects it.
    pub name: Option<String>,
    /// How many.
    pub flows: u64,
    /// Of how many devices.
    pub devices: usize,
}

impl DryRun {
    /// Judges the records of the last days. Where no policy is in force, the verdict that was recorded stands for its.
    /// The policies are left with the rules of another moment.
    pub fn of(
        store: &Path,
        days: u32,
        now: Timestamp,
        old: Option<&mut Policy>,
        new: &mut Policy,
    ) -> Result<Self, StoreError> {
        let mut run = Self { days, ..Self::default() };
        if !store.exists() {
            return Ok(run);
        }
        let since = now.checked_sub(SignedDuration::from_hours(24 * i64::from(days)));
        let is_timed = new.is_timed() || old.as_deref().is_some_and(Policy::is_timed);
        let piece_us = if is_timed { QUARTER_US } else { DAY_US };
        let ends = new.judges_ends() || old.as_deref().is_some_and(Policy::judges_ends);
        let limits = NamedLimits { ends, piece_us, records: RECORDS_MAX, sums: SUMS_MAX };
        let mut judge = Judge { old, new, at_us: None };
        let (mut to_block, mut to_pass) = (Sides::default(), Sides::default());
        let each = |flows: NamedFlows| {
            let (was, is, is_hidden) = judge.verdicts(&flows);
            run.flows += flows.flows;
            run.passed += if was == Verdict::Block { 0 } else { flows.flows };
            run.changed += if was == is { 0 } else { flows.flows };
            match (was == Verdict::Block, is == Verdict::Block) {
                (false, true) => to_block.add(flows, is_hidden),
                (true, false) => to_pass.add(flows, is_hidden),
                (true, true) | (false, false) => {}
            }
        };
        run.left_out =
            Reader::open(store)?.named_flows(since.unwrap_or(Timestamp::MIN), limits, each)?;
        run.to_block = to_block.into_change();
        run.to_pass = to_pass.into_change();
        Ok(run)
    }
}

/// Two policies, at the time of what is judged.
struct Judge<'a> {
    old: Option<&'a mut Policy>,
    new: &'a mut Policy,
    at_us: Option<i64>,
}

impl Judge<'_> {
    /// What was decided, what would be, and whether the name is not to be told.
    fn verdicts(&mut self, flows: &NamedFlows) -> (Verdict, Verdict, bool) {
        let at = Timestamp::from_microsecond(flows.from_us);
        if self.at_us != Some(flows.from_us)
            && let Ok(at) = at
        {
            self.at_us = Some(flows.from_us);
            self.new.turn(at);
            if let Some(old) = self.old.as_deref_mut() {
                old.turn(at);
            }
        }
        let judge = |policy: &Policy| judged(policy, flows);
        let (was, was_hidden) = self.old.as_deref().map_or((flows.verdict, false), judge);
        let (is, is_hidden) = judge(self.new);
        (was, is, was_hidden || is_hidden)
    }
}

/// What a policy decides of flows, and whether it has their name left out.
fn judged(policy: &Policy, flows: &NamedFlows) -> (Verdict, bool) {
    let group = policy.group_recorded(flows.device, flows.group.as_deref());
    let by_name = flows.name.as_deref().map(|name| policy.decide(name, group));
    let categories = by_name.map_or(0, |decision| decision.categories());
    let is_hidden = policy.leaves_out(group, categories);
    let ends_there = flows.end.is_some_and(|End { address, protocol, port }| {
        let port = Port { protocol, number: port }.to_string();
        [policy.decide_address(address, group), policy.decide(&port, group)]
            .iter()
            .any(|decision| decision.verdict == Verdict::Block)
    });
    let verdict = if ends_there {
        Verdict::Block
    } else {
        // Of flows without a name nothing else changes.
        by_name.map_or(Verdict::Undecided, |decision| decision.verdict)
    };
    (verdict, is_hidden)
}

/// Flows that change sides, as they are counted.
#[derive(Default)]
struct Sides {
    flows: u64,
    devices: HashSet<IpAddr>,
    names: HashMap<String, OneName>,
}

#[derive(Default)]
struct OneName {
    flows: u64,
    devices: HashSet<IpAddr>,
    is_hidden: bool,
}

impl Sides {
    fn add(&mut self, flows: NamedFlows, is_hidden: bool) {
        self.flows += flows.flows;
        self.devices.insert(flows.device);
        let address = || flows.end.map(|end| end.address.to_string());
        let name = flows.name.or_else(address).unwrap_or_default();
        let name = self.names.entry(name).or_default();
        name.flows += flows.flows;
        name.devices.insert(flows.device);
        name.is_hidden |= is_hidden;
    }

    fn into_change(self) -> Change {
        let (flows, devices, count) = (self.flows, self.devices.len(), self.names.len());
        let mut names: Vec<(String, OneName)> = self.names.into_iter().collect();
        names.sort_by(|(left, one), (right, other)| {
            other.flows.cmp(&one.flows).then_with(|| left.cmp(right))
        });
        names.truncate(TOP_MAX);
        let told = |(name, one): (String, OneName)| NameChange {
            name: (!one.is_hidden).then_some(name),
            flows: one.flows,
            devices: one.devices.len(),
        };
        Change { flows, devices, names: count, top: names.into_iter().map(told).collect() }
    }
}
