//! Everything that is lost, given up or passed over: each count of `status` that had better stay where it is.

use std::time::Duration;

use sensor_ebpf::abi::{Accounting, Anomaly, Happening, NoName};

use super::rates::Rate;
use super::snapshot::{Direction, Snapshot, Status};

/// What is lost, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) what: String,
    /// Interface and direction, or an export.
    pub(super) place: String,
    pub(super) meaning: &'static str,
    /// Since the counter began: the kernel's with its maps, others with the daemon.
    pub(super) total: u64,
    /// Now; none where it is not known.
    pub(super) rate: Option<Rate>,
}

/// Happenings that are losses.
const HAPPENINGS: [(Happening, &str); 10] = [
    (Happening::VerdictEventLost, "verdict ring full: the verdict stands, its event is lost"),
    (Happening::FlowEndLost, "flow-end ring full: the sweep finds the flow"),
    (Happening::FlowMerged, "flow-end ring full: two flows share a record"),
    (Happening::NameNotStored, "store of names full: records lack the name"),
    (Happening::HelloNotStored, "store of hellos full: records lack what it offers"),
    (Happening::StageMissing, "a stage is not loaded"),
    (Happening::ResetFailed, "dropped without a reset: not to be rewritten"),
    (Happening::DnsAnswerFailed, "query dropped in place of an answer"),
    (Happening::AnswerOverBudget, "client told nothing of a block"),
    (Happening::NameForgotten, "verdict of before stays: name no longer known"),
];

/// Reasons for no name that are a want of room.
const NO_NAMES: [(NoName, &str); 5] = [
    (NoName::SlotFull, "no slot free for a split hello"),
    (NoName::SlotShare, "the device has its share of slots"),
    (NoName::SlotLost, "slot given to another flow"),
    (NoName::QuicBudget, "more Initials than the device's budget"),
    (NoName::LockedBudget, "more names than are looked for among locked ones"),
];

/// Every one that ever occurred, those that occur now first.
pub(super) fn losses(now: &Snapshot, before: Option<&Snapshot>) -> Vec<Loss> {
    let before = before.filter(|before| now.status.goes_on_from(&before.status));
    let over = before.map_or(Duration::ZERO, |before| now.at.duration_since(before.at));
    let earlier = before.map(|before| counts(&before.status)).unwrap_or_default();
    let rate = |count: &Count| {
        let known =
            earlier.iter().find(|one| (&one.what, &one.place) == (&count.what, &count.place));
        // What was not told of had not occurred.
        before.and_then(|_| Rate::between(known.map_or(0, |one| one.total), count.total, over))
    };
    let loss = |count: Count| {
        let rate = rate(&count);
        let Count { what, place, meaning, total } = count;
        Loss { what, place, meaning, total, rate }
    };
    let mut losses: Vec<Loss> =
        counts(&now.status).into_iter().filter(|count| count.total > 0).map(loss).collect();
    losses.sort_by_key(|loss| std::cmp::Reverse((loss.rate, loss.total)));
    losses
}

#[derive(Clone, Debug)]
struct Count {
    what: String,
    place: String,
    meaning: &'static str,
    total: u64,
}

fn counts(status: &Status) -> Vec<Count> {
    let mut counts = Vec::new();
    for interface in &status.interfaces {
        for (way, direction) in [("from LAN", &interface.ingress), ("to LAN", &interface.egress)] {
            of_direction(&format!("{} {way}", interface.name), direction, &mut counts);
        }
    }
    let mut add = |what: &str, place: &str, meaning, total| {
        counts.push(Count { what: what.to_owned(), place: place.to_owned(), meaning, total });
    };
    let records = &status.records;
    add("records-lost", "store", "given up: the store did not take them", records.lost);
    add("store-failures", "store", "transactions tried again", records.store_failures);
    if let Some(honesty) = records.honesty {
        let meaning = "in no record and no flow, or in two";
        add("packets-off", "records", meaning, honesty.packets_off);
        add("bytes-off", "records", meaning, honesty.bytes_off);
    }
    add("no-room", "identity", "facts of devices there was no room for", status.identity.no_room);
    add("refused", "policy", "the last good one stayed", status.policy.refused);
    for export in &status.exports {
        for (reason, count) in &export.shed {
            let place = format!("export {}", export.name);
            add(reason, &place, "records not sent", *count);
        }
    }
    counts
}

fn of_direction(place: &str, direction: &Direction, counts: &mut Vec<Count>) {
    let mut add = |what: &str, meaning, total: Option<u64>| {
        let (what, place) = (what.to_owned(), place.to_owned());
        counts.push(Count { what, place, meaning, total: total.unwrap_or(0) });
    };
    let full = Accounting::TableFull.name();
    let packets = direction.accounted.get(full).map(|[packets, _]| *packets);
    add(full, "flow table full: judged by its bytes, in no record", packets);
    for (happening, meaning) in HAPPENINGS {
        add(happening.name(), meaning, direction.happened.get(happening.name()).copied());
    }
    for (reason, meaning) in NO_NAMES {
        add(reason.name(), meaning, direction.no_name.get(reason.name()).copied());
    }
    let busy = Anomaly::SlotBusy.name();
    let meaning = "two CPUs at one handshake: sent again";
    add(busy, meaning, direction.anomalies.get(busy).copied());
    let not_conserved = u64::from(direction.conserved == Some(false));
    add("not-accounted", "packets went nowhere: a fault of the sensor", Some(not_conserved));
}
