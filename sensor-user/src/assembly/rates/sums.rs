//! Sums by what they are of, bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::AddAssign;
use std::sync::Arc;

use sensor_ebpf::abi::{Address, NO_NAMES, NoName, Verdict};
use serde::{Deserialize, Serialize};

use super::{DEVICES_MAX, NAMES_MAX};

/// What came within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// Of a device, flows that began. Of a name, a verdict or a reason, flows that came to it.
    pub flows: u64,
    /// Flows that were blocked.
    pub blocked: u64,
    /// Packets from devices.
    pub packets_to_peer: u64,
    /// Wire bytes from devices, from the Ethernet header on, without FCS.
    pub bytes_to_peer: u64,
    /// Packets to devices.
    pub packets_to_lan: u64,
    /// Wire bytes to devices.
    pub bytes_to_lan: u64,
    /// Of the bytes both ways, those of flows without a usable name, see [`crate::names`].
    pub bytes_unnamed: u64,
}

impl Sums {
    /// Wire bytes both ways.
    pub const fn bytes(&self) -> u64 {
        self.bytes_to_peer.saturating_add(self.bytes_to_lan)
    }

    /// Packets both ways.
    pub const fn packets(&self) -> u64 {
        self.packets_to_peer.saturating_add(self.packets_to_lan)
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        let Self {
            flows,
            blocked,
            packets_to_peer,
            bytes_to_peer,
            packets_to_lan,
            bytes_to_lan,
            bytes_unnamed,
        } = other;
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.flows, flows);
        add(&mut self.blocked, blocked);
        add(&mut self.packets_to_peer, packets_to_peer);
        add(&mut self.bytes_to_peer, bytes_to_peer);
        add(&mut self.packets_to_lan, packets_to_lan);
        add(&mut self.bytes_to_lan, bytes_to_lan);
        add(&mut self.bytes_unnamed, bytes_unnamed);
    }
}

/// Sums by key. Keys beyond the bound are summed together: flows come in the order of a hash, so what has many is among
/// those told apart, and each sum begins anew.
#[derive(Clone, Debug)]
pub struct Bounded<K> {
    by_key: HashMap<K, Sums>,
    others: Sums,
    max: usize,
}

impl<K: Eq + Hash + Clone> Bounded<K> {
    /// Sums of at most so many keys.
    pub fn new(max: usize) -> Self {
        Self { by_key: HashMap::new(), others: Sums::default(), max }
    }

    /// Adds to a key.
    pub fn add(&mut self, key: &K, sums: Sums) {
        if let Some(sum) = self.by_key.get_mut(key) {
            *sum += sums;
        } else if self.by_key.len() < self.max {
            self.by_key.insert(key.clone(), sums);
        } else {
            self.others += sums;
        }
    }

    /// Adds all of another.
    fn merge(&mut self, other: &Self) {
        for (key, sums) in &other.by_key {
            self.add(key, *sums);
        }
        self.others += other.others;
    }

    /// What is told apart.
    pub fn iter(&self) -> impl Iterator<Item = (&K, Sums)> {
        self.by_key.iter().map(|(key, sums)| (key, *sums))
    }

    /// How many keys are told apart.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// What is not.
    pub const fn others(&self) -> Sums {
        self.others
    }
}

/// A device: its address, and the zone of its interface.
pub type Device = (Address, u16);

/// What came within one stretch of time.
#[derive(Clone, Debug)]
pub struct Window {
    /// How long it is, ns.
    pub over_ns: u64,
    /// By device.
    pub devices: Bounded<Device>,
    /// By name, of flows whose name is told. What has none is in `reasons`.
    pub names: Bounded<Arc<str>>,
    /// Flows of which nothing is told, for want of room.
    pub flows_beyond: u64,
    verdicts: [Sums; Verdict::ALL.len()],
    reasons: [Sums; NO_NAMES],
}

impl Default for Window {
    fn default() -> Self {
        Self {
            over_ns: 0,
            devices: Bounded::new(DEVICES_MAX),
            names: Bounded::new(NAMES_MAX),
            flows_beyond: 0,
            verdicts: [Sums::default(); Verdict::ALL.len()],
            reasons: [Sums::default(); NO_NAMES],
        }
    }
}

impl Window {
    /// Adds to a verdict.
    pub(super) fn add_verdict(&mut self, verdict: Verdict, sums: Sums) {
        if let Some(sum) = self.verdicts.get_mut(verdict as usize) {
            *sum += sums;
        }
    }

    /// Adds to a reason for no name, [`NoName::Named`] included.
    pub(super) fn add_reason(&mut self, reason: NoName, sums: Sums) {
        if let Some(sum) = self.reasons.get_mut(reason as usize) {
            *sum += sums;
        }
    }

    /// What flows with this verdict had.
    pub fn verdict(&self, verdict: Verdict) -> Sums {
        self.verdicts.get(verdict as usize).copied().unwrap_or_default()
    }

    /// What flows without a name for this reason had.
    pub fn reason(&self, reason: NoName) -> Sums {
        self.reasons.get(reason as usize).copied().unwrap_or_default()
    }

    /// Adds the stretch after this one.
    pub(super) fn merge(&mut self, next: &Self) {
        self.over_ns = self.over_ns.saturating_add(next.over_ns);
        self.devices.merge(&next.devices);
        self.names.merge(&next.names);
        // Each stretch counts the same flows again.
        self.flows_beyond = self.flows_beyond.max(next.flows_beyond);
        for (sum, more) in self.verdicts.iter_mut().zip(next.verdicts) {
            *sum += more;
        }
        for (sum, more) in self.reasons.iter_mut().zip(next.reasons) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(flows: u64) -> Sums {
        Sums { flows, bytes_to_lan: flows * 100, ..Sums::default() }
    }

    #[test]
    fn what_there_is_no_room_for_is_summed_as_others() {
        let mut table = Bounded::new(2);
        for key in [1, 2, 3, 1, 4] {
            table.add(&key, sums(key));
        }
        assert_eq!((table.len(), table.others()), (2, sums(7)));
        let mut all = Bounded::new(2);
        all.add(&9, sums(9));
        all.merge(&table);
        let total = all.iter().fold(all.others(), |mut total, (_, sums)| {
            total += sums;
            total
        });
        assert_eq!((all.len(), total), (2, sums(1 + 2 + 3 + 1 + 4 + 9)));
    }
}
