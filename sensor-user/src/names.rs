//! How much of what passes has a usable name: flows and bytes, and the reasons of those without.
//!
//! Counted from records as they are committed, so the sums are those of the store: bytes of every record,
//! and a flow with the record that says it is over. A flow that goes on has bytes here and is no flow yet.
//!
//! A name is usable where one was read and judged, and the record can tell it or leaves it out on purpose:
//! reasons [`NoName::Named`] and [`NoName::Unlogged`]. A name the kernel has let go of before the record
//! was made is not, and neither is what never asks for a name in a way that is read: ICMP, NTP, a port
//! scan. The outer name of an Encrypted Client Hello counts as one: no gateway can tell it from a real one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use sensor_ebpf::abi::{INTERFACES_MAX, NO_NAMES, NoName};
use serde::{Deserialize, Serialize};

use crate::record::{Named as _, Record};

/// Reasons under which a flow has a usable name.
pub const USABLE: [NoName; 2] = [NoName::Named, NoName::Unlogged];

/// Hours told as recent: the running one and those before it.
pub const RECENT_HOURS: i64 = 24;

/// Interfaces told apart: as many as can be watched, and as many that flows of before a change of the
/// configuration may still name. The rest is counted under [`OTHER`].
const NAMES_MAX: usize = 2 * INTERFACES_MAX as usize;

/// Interface of what is beyond [`NAMES_MAX`]; no interface can have this name, it is too long.
const OTHER: &str = "other interfaces";

/// µs of an hour.
const HOUR_US: i64 = 3_600_000_000;

/// Flows that ended, and wire bytes both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Flows that ended.
    pub flows: u64,
    /// Wire bytes both ways, of flows that go on too.
    pub bytes: u64,
}

impl Tally {
    const fn plus(self, other: Self) -> Self {
        Self {
            flows: self.flows.saturating_add(other.flows),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What one record adds.
    fn of(record: &Record) -> Self {
        Self { flows: u64::from(record.end_reason.is_final()), bytes: record.bytes() }
    }
}

/// Sums by reason, the usable ones included. In JSON, the reasons that occurred by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, Tally>", try_from = "BTreeMap<String, Tally>")]
pub struct ByReason([Tally; NO_NAMES]);

impl Default for ByReason {
    fn default() -> Self {
        Self([Tally::default(); NO_NAMES])
    }
}

/// A reason of another version.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no reason for no name here")]
pub struct UnknownReason(String);

impl ByReason {
    /// Adds to a reason.
    pub fn add(&mut self, reason: NoName, tally: Tally) {
        if let Some(sum) = self.0.get_mut(reason as usize) {
            *sum = sum.plus(tally);
        }
    }

    /// Everything.
    pub fn total(&self) -> Tally {
        self.0.iter().copied().fold(Tally::default(), Tally::plus)
    }

    /// What has no usable name.
    pub fn unnamed(&self) -> Tally {
        let reasons = self.reasons().filter(|(reason, _)| !USABLE.contains(reason));
        reasons.fold(Tally::default(), |sum, (_, tally)| sum.plus(tally))
    }

    /// Every reason.
    pub fn reasons(&self) -> impl Iterator<Item = (NoName, Tally)> + '_ {
        let sum = |reason: NoName| self.0.get(reason as usize).copied().unwrap_or_default();
        NoName::ALL.iter().map(move |reason| (*reason, sum(*reason)))
    }

    /// The reasons that left something without a usable name, most bytes first.
    pub fn missing(&self) -> Vec<(NoName, Tally)> {
        let missing = |(reason, tally): &(NoName, Tally)| {
            !USABLE.contains(reason) && *tally != Tally::default()
        };
        let mut reasons: Vec<_> = self.reasons().filter(missing).collect();
        reasons.sort_by_key(|(_, tally)| Reverse((tally.bytes, tally.flows)));
        reasons
    }

    fn merge(&mut self, other: &Self) {
        for (sum, tally) in self.0.iter_mut().zip(other.0) {
            *sum = sum.plus(tally);
        }
    }
}

impl From<ByReason> for BTreeMap<String, Tally> {
    fn from(sums: ByReason) -> Self {
        let occurred = sums.reasons().filter(|(_, tally)| *tally != Tally::default());
        occurred.map(|(reason, tally)| (reason.text().to_owned(), tally)).collect()
    }
}

impl TryFrom<BTreeMap<String, Tally>> for ByReason {
    type Error = UnknownReason;

    fn try_from(named: BTreeMap<String, Tally>) -> Result<Self, UnknownReason> {
        let mut sums = Self::default();
        for (reason, tally) in named {
            sums.add(NoName::of(&reason).ok_or(UnknownReason(reason))?, tally);
        }
        Ok(sums)
    }
}

/// Sums of one interface and one hour, as a store has kept them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourSums {
    /// Name of the interface.
    pub interface: String,
    /// Hour since 1970, UTC, in which the records end.
    pub hour: i64,
    /// What they sum to.
    pub sums: ByReason,
}

/// The sums of every interface: since the start, and of the recent hours.
#[derive(Debug, Default)]
pub struct Meter {
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Debug, Default)]
struct Interface {
    since_start: ByReason,
    /// By hour since 1970 in which the records end, at most [`RECENT_HOURS`] of them.
    hours: BTreeMap<i64, ByReason>,
}

impl Meter {
    /// A meter that goes on where the store is at the start of a daemon: recent hours are told whole.
    pub fn resume(kept: Vec<HourSums>) -> Self {
        let mut meter = Self::default();
        for HourSums { interface, hour, sums } in kept {
            meter.interface(&interface).hours.entry(hour).or_default().merge(&sums);
        }
        meter
    }

    /// Counts records that were committed at `now_us`, µs since 1970.
    pub fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>, now_us: i64) {
        let recent = recent_hours(now_us);
        for record in records {
            let interface = self.interface(&record.interface);
            let tally = Tally::of(record);
            interface.since_start.add(record.no_name, tally);
            let hour = record.end_us.div_euclid(HOUR_US);
            if recent.contains(&hour) {
                interface.hours.entry(hour).or_default().add(record.no_name, tally);
            }
        }
        for interface in self.interfaces.values_mut() {
            interface.hours.retain(|hour, _| recent.contains(hour));
        }
    }

    /// Sums of an interface since the start.
    pub fn since_start(&self, interface: &str) -> ByReason {
        self.interfaces.get(interface).map_or_else(ByReason::default, |one| one.since_start)
    }

    /// Sums of an interface's records that end at [`recent_since`] or later.
    pub fn recent(&self, interface: &str, now_us: i64) -> ByReason {
        let recent = recent_hours(now_us);
        let mut sums = ByReason::default();
        if let Some(interface) = self.interfaces.get(interface) {
            interface.hours.range(recent).for_each(|(_, hour)| sums.merge(hour));
        }
        sums
    }

    fn interface(&mut self, name: &str) -> &mut Interface {
        let is_known = self.interfaces.contains_key(name);
        let name = if is_known || self.interfaces.len() < NAMES_MAX { name } else { OTHER };
        self.interfaces.entry(name.to_owned()).or_default()
    }
}

/// Start of the hours that are recent at `now_us`, µs since 1970.
pub const fn recent_since(now_us: i64) -> i64 {
    (now_us.div_euclid(HOUR_US) + 1 - RECENT_HOURS) * HOUR_US
}

const fn recent_hours(now_us: i64) -> RangeInclusive<i64> {
    recent_since(now_us).div_euclid(HOUR_US)..=now_us.div_euclid(HOUR_US)
}

/// A part of a whole in percent, rounded down to one digit: `99.9 %` is not all. What is less than that
/// and not nothing is `<0.1 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    if tenths == 0 && part > 0 {
        return "<0.1 %".to_owned();
    }
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EndReason;
    use crate::record::sample::{NOON_US, record, unnamed};

    fn tally(flows: u64, bytes: u64) -> Tally {
        Tally { flows, bytes }
    }

    #[test]
    fn flows_count_once_and_bytes_with_every_record() {
        let going_on = Record { end_reason: EndReason::ActiveTimeout, ..unnamed(3) };
        let unlogged = Record { no_name: NoName::Unlogged, ..unnamed(4) };
        let elsewhere = Record { interface: "lan1".to_owned(), ..record(5) };
        let evicted = Record { no_name: NoName::NameEvicted, ..unnamed(6) };
        let mut meter = Meter::default();
        meter.add(&[record(1), unnamed(2), going_on, unlogged, elsewhere, evicted], NOON_US);
        let sums = meter.since_start("lan0");
        assert_eq!(sums.total(), tally(4, 5 * 1020));
        assert_eq!(sums.unnamed(), tally(2, 3 * 1020));
        let missing = [(NoName::NotTls, tally(1, 2040)), (NoName::NameEvicted, tally(1, 1020))];
        assert_eq!(sums.missing(), missing);
        let json = serde_json::to_value(sums).unwrap();
        let expected = serde_json::json!({
            "named": {"flows": 1, "bytes": 1020},
            "not-tls": {"flows": 1, "bytes": 2040},
            "unlogged": {"flows": 1, "bytes": 1020},
            "name-evicted": {"flows": 1, "bytes": 1020},
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<ByReason>(json).unwrap(), sums);
        let other = serde_json::from_str::<ByReason>(r#"{"shy": {"flows": 1, "bytes": 1}}"#);
        assert!(other.unwrap_err().to_string().contains(r#""shy" is no reason"#));
        assert_eq!(meter.recent("lan0", NOON_US), sums);
        assert_eq!(meter.since_start("lan1").total(), tally(1, 1020));
        assert_eq!(meter.since_start("lan2").total(), Tally::default());
    }

    #[test]
    fn an_hour_leaves_a_day_after_it_began() {
        let mut meter = Meter::default();
        for hour in 0..48 {
            let now_us = NOON_US + hour * HOUR_US;
            let late = Record { end_us: now_us - 30 * HOUR_US, ..unnamed(1) };
            let ahead = Record { end_us: now_us + HOUR_US, ..unnamed(2) };
            meter.add(&[Record { end_us: now_us, ..unnamed(0) }, late, ahead], now_us);
        }
        let now_us = NOON_US + 47 * HOUR_US;
        let flows = |now_us| meter.recent("lan0", now_us).total().flows;
        assert_eq!(flows(now_us), 24);
        assert_eq!(flows(now_us + HOUR_US - 1), 24);
        assert_eq!(flows(now_us + HOUR_US), 23);
        assert_eq!(flows(now_us + 24 * HOUR_US), 0);
        assert_eq!(meter.since_start("lan0").total().flows, 3 * 48);
        assert_eq!(meter.interfaces["lan0"].hours.len(), 24);
        assert_eq!(recent_since(now_us), NOON_US + 24 * HOUR_US);
    }

    #[test]
    fn a_daemon_goes_on_where_the_last_one_was() {
        let mut sums = ByReason::default();
        sums.add(NoName::NoSni, tally(2, 100));
        let hour = NOON_US / HOUR_US;
        let kept = |hour| HourSums { interface: "lan0".to_owned(), hour, sums };
        let mut meter = Meter::resume(vec![kept(hour), kept(hour - 23), kept(hour - 24)]);
        assert_eq!(meter.recent("lan0", NOON_US).unnamed(), tally(4, 200));
        assert_eq!(meter.since_start("lan0"), ByReason::default());
        meter.add(&[unnamed(1)], NOON_US);
        assert_eq!(meter.recent("lan0", NOON_US).unnamed(), tally(5, 1220));
    }

    #[test]
    fn interfaces_are_bounded() {
        let mut meter = Meter::default();
        for number in 0..1000 {
            meter.add(&[Record { interface: format!("#{number}"), ..record(0) }], NOON_US);
        }
        assert_eq!(meter.interfaces.len(), NAMES_MAX + 1);
        let others = meter.since_start(OTHER).total().flows;
        assert_eq!(others, 1000 - NAMES_MAX as u64);
    }

    #[test]
    fn little_is_not_nothing_and_almost_all_is_not_all() {
        let check = |part, whole, shown: &str| assert_eq!(percent(part, whole), shown);
        check(0, 0, "-");
        check(0, 7, "0.0 %");
        check(1, 1001, "<0.1 %");
        check(31, 1000, "3.1 %");
        check(9999, 10_000, "99.9 %");
        check(7, 7, "100.0 %");
        check(u64::MAX, u64::MAX, "100.0 %");
    }
}
