//! What passes now, as `GET /v1/top` answers it.
//!
//! Sums of the last seconds, from what the flows in the table have gained: see [`crate::assembly::rates`]. The first question
//! begins to gather them, so its answer is of no time; who goes on asking gets the last ten seconds.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use sensor_ebpf::abi::{NoName, Verdict};
use serde::{Deserialize, Serialize};

use crate::assembly::rates::{Bounded, Sums, Window};
use crate::identity::Directory;

/// Rows that are told by each order: most bytes, most packets, most flows, most blocked. What comes behind is below what
/// anybody reads.
const ROWS_MAX: usize = 250;

/// What passes now. A field that another version does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Top {
    /// Time the sums are of, ms; 0 where they are only now being gathered.
    pub over_ms: u64,
    /// Devices with most, in no order.
    pub devices: Vec<DeviceRow>,
    /// Devices in all, of those told apart.
    pub devices_seen: usize,
    /// What devices had that were too many to tell apart.
    pub devices_others: Sums,
    /// Names with most, in no order. Names that are not logged are under the reason `unlogged`.
    pub names: Vec<NameRow>,
    /// Names in all, of those told apart.
    pub names_seen: usize,
    /// What names had that were too many to tell apart.
    pub names_others: Sums,
    /// By verdict, every one.
    pub verdicts: BTreeMap<String, Sums>,
    /// By the reason for no name, those that occurred; `named` are flows with one.
    pub reasons: BTreeMap<String, Sums>,
    /// Flows of which nothing is told, because there were too many.
    pub flows_beyond: u64,
}

/// A device and what it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its address.
    pub device: IpAddr,
    /// Zone of its interface.
    #[serde(default)]
    pub zone: u16,
    /// Who uses it, as far as is known now.
    #[serde(default)]
    pub user: Option<String>,
    /// What it calls itself.
    #[serde(default)]
    pub host_name: Option<String>,
    /// What it had.
    #[serde(flatten)]
    pub sums: Sums,
}

/// A name and what flows with it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRow {
    /// The name, escaped as in records.
    pub name: String,
    /// What its flows had.
    #[serde(flatten)]
    pub sums: Sums,
}

impl Top {
    /// The answer of these sums; `now_us` is when devices are asked after, µs since 1970 UTC.
    pub fn of(window: &Window, directory: &Directory, now_us: i64) -> Self {
        let device = |((address, zone), sums): (&(_, u16), Sums)| {
            let device = IpAddr::from(*address);
            let who = directory.resolve(device, now_us);
            let (user, host_name) = who.map(|who| (who.user, who.host_name)).unwrap_or_default();
            DeviceRow { device, zone: *zone, user, host_name, sums }
        };
        let name = |(name, sums): (&std::sync::Arc<str>, Sums)| NameRow {
            name: name.as_ref().to_owned(),
            sums,
        };
        let verdict = |verdict: &Verdict| (verdict.name().to_owned(), window.verdict(*verdict));
        let reason = |reason: &NoName| (reason.name().to_owned(), window.reason(*reason));
        let occurred = |(_, sums): &(String, Sums)| *sums != Sums::default();
        Self {
            over_ms: window.over_ns / 1_000_000,
            devices: most(&window.devices).into_iter().map(device).collect(),
            devices_seen: window.devices.len(),
            devices_others: window.devices.others(),
            names: most(&window.names).into_iter().map(name).collect(),
            names_seen: window.names.len(),
            names_others: window.names.others(),
            verdicts: Verdict::ALL.iter().map(verdict).collect(),
            reasons: NoName::ALL.iter().map(reason).filter(occurred).collect(),
            flows_beyond: window.flows_beyond,
        }
    }
}

/// The rows that come first by any order.
fn most<K: Eq + Hash + Clone>(table: &Bounded<K>) -> Vec<(&K, Sums)> {
    let orders: [fn(&Sums) -> u64; 4] =
        [Sums::bytes, Sums::packets, |sums| sums.flows, |sums| sums.blocked];
    let mut rows: Vec<_> = table.iter().collect();
    let mut chosen = HashSet::new();
    for order in orders {
        rows.sort_by_key(|(_, sums)| std::cmp::Reverse(order(sums)));
        let with_any = rows.iter().take(ROWS_MAX).filter(|(_, sums)| order(sums) > 0);
        chosen.extend(with_any.map(|(key, _)| *key));
    }
    rows.retain(|(key, _)| chosen.contains(key));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_every_order_are_told_and_the_rest_is_not() {
        let mut table = Bounded::new(10_000);
        for key in 0..5_000_u64 {
            table.add(&key, Sums { flows: 5_000 - key, bytes_to_lan: key, ..Sums::default() });
        }
        table.add(&9_999, Sums { blocked: 1, ..Sums::default() });
        let rows = most(&table);
        assert_eq!(rows.len(), 2 * ROWS_MAX + 1);
        for key in [0, 249, 4_750, 4_999, 9_999] {
            assert!(rows.iter().any(|(row, _)| **row == key), "{key}");
        }
        assert!(most(&Bounded::<u64>::new(1)).is_empty());
    }

    #[test]
    fn an_answer_of_another_version_is_read() {
        let answer =
            r#"{"over_ms": 10000, "new": [], "devices": [{"device": "10.0.0.1", "flows": 3}]}"#;
        let top: Top = serde_json::from_str(answer).unwrap();
        assert_eq!((top.over_ms, top.devices[0].sums.flows), (10_000, 3));
        assert_eq!(serde_json::from_str::<Top>("{}").unwrap(), Top::default());
        let text = serde_json::to_string(&top).unwrap();
        assert_eq!(serde_json::from_str::<Top>(&text).unwrap(), top);
    }
}
