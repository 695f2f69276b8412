//! What the daemon said at one moment, as far as the view shows it.
//!
//! Read field by field, so that a daemon of another version is shown with what it tells: what it leaves out is nothing here,
//! and what it tells beside that is passed over.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;

use crate::assembly::Honesty;
use crate::control::top::Top;
use crate::export::state::ExportStatus;
use crate::names::Tally;

/// Status and sums, and when they came.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) status: Status,
    /// None: the daemon is of a version that has none.
    pub(super) top: Option<Top>,
}

/// [`crate::control::status::Status`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) sensor: String,
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) uptime_s: u64,
    pub(super) policy: Policy,
    pub(super) names_since: String,
    pub(super) interfaces: Vec<Interface>,
    pub(super) records: Records,
    pub(super) identity: Identity,
    pub(super) exports: Vec<ExportStatus>,
    pub(super) quic_unread: Option<String>,
}

/// The policy in force.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Policy {
    pub(super) version: String,
    pub(super) generation: u32,
    pub(super) names: u64,
    pub(super) schedules_on: Vec<String>,
    pub(super) tampering: Option<String>,
    pub(super) refused: u64,
}

/// A watched interface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) ingress: Direction,
    pub(super) egress: Direction,
    pub(super) names: Names,
}

/// One direction of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Direction {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) accounted: BTreeMap<String, [u64; 2]>,
    pub(super) happened: BTreeMap<String, u64>,
    pub(super) no_name: BTreeMap<String, u64>,
    pub(super) anomalies: BTreeMap<String, u64>,
    pub(super) conserved: Option<bool>,
}

/// Flows and bytes of recent records by the reason for no name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Names {
    pub(super) recent: BTreeMap<String, Tally>,
}

/// Records on their way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Records {
    pub(super) live_flows: u64,
    pub(super) stored: u64,
    pub(super) store_failures: u64,
    pub(super) lost: u64,
    pub(super) honesty: Option<Honesty>,
}

/// What is known of devices.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Identity {
    pub(super) no_room: u64,
}

impl Status {
    /// Whether this is of the same daemon as an earlier status, with counters that only grow.
    pub(super) const fn goes_on_from(&self, before: &Self) -> bool {
        self.pid == before.pid && self.uptime_s >= before.uptime_s
    }

    /// Every interface in one: packets and bytes of one direction.
    pub(super) fn volume(&self, direction: fn(&Interface) -> &Direction) -> [u64; 2] {
        let add = |[packets, bytes]: [u64; 2], interface: &Interface| {
            let direction = direction(interface);
            [packets.saturating_add(direction.packets), bytes.saturating_add(direction.bytes)]
        };
        self.interfaces.iter().fold([0, 0], add)
    }
}
