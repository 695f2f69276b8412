//! Whether records and live flows have every packet that was counted in a flow: the second part of conservation.
//!
//! The interfaces' counters say what went into flows. At any moment that is
//!
//! ```text
//! counted = before + recorded of flows that left the table + what the flows in the table have
//! ```
//!
//! where `before` is what flows had that left before this daemon began to look. It never changes. While packets come in
//! nothing of it can be read at one moment, so the counters are read before the table and after it: each look says between
//! which two numbers `before` lies. Where two looks exclude each other, packets were lost or counted twice, and by how many
//! the gap tells. At rest the two are one number, and then each packet that is off shows.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use sensor_ebpf::abi::{Flow, FlowEndEvent, Recorded, Volume};
use serde::{Deserialize, Serialize};

/// How far behind the kernel's coarse clock may be that stamps events: a tick is 10 ms at most.
pub(super) const TICK_NS: u64 = 20_000_000;

/// Packets and bytes, and what is missing of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    packets: i64,
    bytes: i64,
}

impl Amount {
    /// Each of the two by itself.
    fn each(self, other: Self, choose: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            packets: choose(self.packets, other.packets),
            bytes: choose(self.bytes, other.bytes),
        }
    }
}

impl From<Volume> for Amount {
    fn from(Volume { packets, bytes }: Volume) -> Self {
        // Nobody counts so far.
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self { packets: signed(packets), bytes: signed(bytes) }
    }
}

impl From<&Flow> for Amount {
    fn from(flow: &Flow) -> Self {
        Self::from(flow.to_peer) + flow.to_lan.into()
    }
}

impl From<&Recorded> for Amount {
    fn from(recorded: &Recorded) -> Self {
        Self::from(recorded.to_peer) + recorded.to_lan.into()
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.each(other, i64::wrapping_add)
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.each(other, i64::wrapping_sub)
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// One look at table and counters.
#[derive(Clone, Copy, Debug)]
struct Look {
    counted_before: Amount,
    counted_after: Amount,
    /// What records and the table had.
    had: Amount,
    /// Flows that may have left the table during the look, of which it tells nothing.
    unsure: Amount,
    from_ns: u64,
    until_ns: u64,
}

/// Bounds of what flows had before the first look.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: Amount,
    high: Amount,
}

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Honesty {
    /// Looks that were brought to an end.
    pub looks: u64,
    /// Packets that are in no record and no flow, or in two, as far as is certain.
    pub packets_off: u64,
    /// Bytes, likewise.
    pub bytes_off: u64,
    /// Packets the last looks can say nothing of, because they came meanwhile.
    pub packets_unsure: u64,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// In records since the start.
    recorded: Amount,
    /// Of that and of records before the start, what is of flows that are in the table.
    of_live: Amount,
    look: Option<Look>,
    bounds: Option<Bounds>,
    honesty: Honesty,
}

impl Balance {
    /// Begins with a table whose flows have this in records already.
    pub(super) fn begin(&mut self, of_live: Amount) {
        *self = Self { of_live, ..Self::default() };
    }

    /// A record was made of a flow in the table.
    pub(super) fn record(&mut self, told: Amount) {
        self.recorded += told;
        self.of_live += told;
    }

    /// A flow has left the table, of which records have this already; of the rest a record is made.
    pub(super) fn leave(&mut self, recorded: Option<&Recorded>, rest: Amount) {
        self.recorded += rest;
        self.of_live -= recorded.map(Amount::from).unwrap_or_default();
    }

    /// What records have of flows that left the table.
    pub(super) fn books(&self) -> Amount {
        self.recorded - self.of_live
    }

    /// The kernel put a flow in the place of another one, and told of it.
    pub(super) fn replaced(&mut self, event: &FlowEndEvent) {
        let Some(look) = &mut self.look else { return };
        let had = Amount::from(&event.flow);
        if event.time_ns.saturating_add(TICK_NS) < look.from_ns {
            look.had += had;
        } else if event.time_ns <= look.until_ns {
            look.unsure += had;
        }
    }

    /// The table was looked at: what records and its flows had, and what the counters had before and after.
    pub(super) fn look(
        &mut self,
        had: Amount,
        (counted_before, counted_after): (Volume, Volume),
        (from_ns, until_ns): (u64, u64),
    ) {
        self.look = Some(Look {
            counted_before: counted_before.into(),
            counted_after: counted_after.into(),
            had,
            unsure: Amount::default(),
            from_ns,
            until_ns,
        });
    }

    /// All events are known that were sent before the look ended.
    pub(super) fn conclude(&mut self) -> Honesty {
        let Some(look) = self.look.take() else { return self.honesty };
        let low = look.counted_before - look.had - look.unsure;
        let high = look.counted_after - look.had;
        let known = self.bounds.unwrap_or(Bounds { low, high });
        let mut bounds =
            Bounds { low: known.low.each(low, i64::max), high: known.high.each(high, i64::min) };
        let gap = (bounds.low - bounds.high).each(Amount::default(), i64::max);
        if gap != Amount::default() {
            // From here on anew, so that what follows shows too.
            bounds = Bounds { low, high };
        }
        let Honesty { looks, packets_off, bytes_off, packets_unsure } = &mut self.honesty;
        *looks += 1;
        *packets_off += gap.packets.unsigned_abs();
        *bytes_off += gap.bytes.unsigned_abs();
        *packets_unsure = (bounds.high - bounds.low).packets.unsigned_abs();
        self.bounds = Some(bounds);
        self.honesty
    }
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::FlowKey;

    use super::*;

    fn volume(packets: u64) -> Volume {
        Volume { packets, bytes: packets * 100 }
    }

    fn amount(packets: u64) -> Amount {
        volume(packets).into()
    }

    fn recorded(packets: u64) -> Recorded {
        Recorded { to_peer: volume(packets), ..Recorded::default() }
    }

    fn replaced(packets: u64, time_ns: u64) -> FlowEndEvent {
        let flow = Flow { to_lan: volume(packets), ..Flow::default() };
        FlowEndEvent { abi: 0, end: 1, reserved: [0; 3], time_ns, key: FlowKey::default(), flow }
    }

    /// A look while the counters went from one number to another.
    fn look(balance: &mut Balance, live: u64, before: u64, after: u64) {
        const TIMES: (u64, u64) = (1_000_000_000, 1_010_000_000);
        let had = balance.books() + amount(live);
        balance.look(had, (volume(before), volume(after)), TIMES);
    }

    fn check(balance: &Balance, off: u64, unsure: u64) {
        let found = balance.honesty;
        assert_eq!((found.packets_off, found.bytes_off), (off, off * 100));
        assert_eq!(found.packets_unsure, unsure);
    }

    #[test]
    fn at_rest_each_packet_shows() {
        let mut balance = Balance::default();
        // Of 100 packets 60 went before, and the flows that live have 40, 10 of them recorded.
        balance.begin(amount(10));
        look(&mut balance, 40, 100, 100);
        balance.conclude();
        check(&balance, 0, 0);
        // 20 more; a record of 30 of a flow, which leaves with 35.
        balance.record(amount(20));
        balance.leave(Some(&recorded(30)), amount(5));
        look(&mut balance, 25, 120, 120);
        balance.conclude();
        check(&balance, 0, 0);
        // One is lost.
        look(&mut balance, 25, 121, 121);
        balance.conclude();
        check(&balance, 1, 0);
        // And two are told twice.
        balance.leave(None, amount(2));
        look(&mut balance, 25, 121, 121);
        balance.conclude();
        check(&balance, 3, 0);
    }

    #[test]
    fn what_comes_meanwhile_makes_unsure_and_rest_makes_sure() {
        let mut balance = Balance::default();
        look(&mut balance, 55, 50, 60);
        balance.conclude();
        check(&balance, 0, 10);
        look(&mut balance, 73, 70, 75);
        balance.conclude();
        check(&balance, 0, 5);
        look(&mut balance, 80, 80, 80);
        balance.conclude();
        check(&balance, 0, 0);
        look(&mut balance, 80, 82, 84);
        balance.conclude();
        check(&balance, 2, 2);
    }

    #[test]
    fn flows_that_were_replaced_are_told_by_their_events() {
        let mut balance = Balance::default();
        look(&mut balance, 100, 100, 100);
        balance.conclude();
        // It was replaced before the look, and its event comes behind it.
        look(&mut balance, 90, 100, 100);
        balance.replaced(&replaced(10, 900_000_000));
        balance.leave(None, amount(10));
        balance.conclude();
        check(&balance, 0, 0);
        // After the look: it was in the table.
        look(&mut balance, 90, 100, 100);
        balance.replaced(&replaced(30, 1_100_000_000));
        balance.leave(None, amount(30));
        balance.conclude();
        check(&balance, 0, 0);
        // During the look nobody knows.
        look(&mut balance, 60, 100, 100);
        balance.replaced(&replaced(20, 1_005_000_000));
        balance.leave(None, amount(20));
        balance.conclude();
        check(&balance, 0, 0);
        look(&mut balance, 40, 100, 100);
        balance.conclude();
        check(&balance, 0, 0);
    }
}
