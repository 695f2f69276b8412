//! What each flow had at the last sweep, and what it has gained since.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher as _;

use sensor_ebpf::abi::{Flow, FlowKey, Volume};

use super::FLOWS_MAX;

/// How far behind the kernel's coarse clock may be: a tick is 10 ms at most.
const TICK_NS: u64 = 20_000_000;

/// Each so many sweeps looks at silent flows too, and forgets those that are gone without a word: their event was lost.
const FULL_SWEEPS: u8 = 16;

/// What a flow had. Its name is known by its hash alone.
#[derive(Clone, Copy, Debug)]
struct Had {
    packets_to_peer: u64,
    bytes_to_peer: u64,
    packets_to_lan: u64,
    bytes_to_lan: u64,
    name_hash: u64,
    verdict: u8,
    no_name: u8,
    /// Low byte of the number of the sweep that saw it last.
    sweep: u8,
}

/// What a flow has gained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gain {
    pub(super) to_peer: Volume,
    pub(super) to_lan: Volume,
    /// It is new.
    pub(super) began: bool,
    /// It has another verdict than before, or its first.
    pub(super) verdict: bool,
    /// It has another name or reason for none than before, or its first.
    pub(super) told: bool,
}

/// What became of a look at a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It has gained this.
    Gained(Gain),
    /// Nothing is new, or nothing is known of what it had before.
    Nothing,
    /// There is no room to remember it.
    Beyond,
}

/// The flows that are remembered, by a hash of key and start.
#[derive(Debug)]
pub(super) struct Seen {
    flows: HashMap<u64, Had>,
    hasher: RandomState,
    max: usize,
    sweep: u8,
    /// Start of the sweep that runs.
    swept_ns: u64,
    /// Flows that began then or later are new if they are not remembered; none in the first sweep.
    new_since_ns: Option<u64>,
}

impl Seen {
    /// Begins at this time.
    pub(super) fn begin(now_ns: u64) -> Self {
        Self::with_room(now_ns, FLOWS_MAX)
    }

    fn with_room(now_ns: u64, max: usize) -> Self {
        let (flows, hasher) = (HashMap::new(), RandomState::new());
        Self { flows, hasher, max, sweep: 0, swept_ns: now_ns, new_since_ns: None }
    }

    /// Looks at a flow in a sweep. Most flows of a table are silent, and cost no look-up.
    pub(super) fn look(&mut self, key: &FlowKey, flow: &Flow) -> Look {
        let is_silent = self.new_since_ns.is_some_and(|since_ns| flow.last_ns < since_ns);
        if is_silent && !self.is_full() { Look::Nothing } else { self.compare(key, flow) }
    }

    fn compare(&mut self, key: &FlowKey, flow: &Flow) -> Look {
        let now = Had::of(flow, self.sweep);
        let is_full = self.flows.len() >= self.max;
        let is_new = self.new_since_ns.is_some_and(|since_ns| flow.first_ns >= since_ns);
        match self.flows.entry(self.hasher.hash_one((key, flow.first_ns))) {
            Entry::Occupied(mut known) => now.since(known.insert(now)),
            Entry::Vacant(_) if is_full => Look::Beyond,
            Entry::Vacant(room) => {
                room.insert(now);
                if is_new { now.all() } else { Look::Nothing }
            }
        }
    }

    /// Looks at a flow for the last time.
    pub(super) fn leave(&mut self, key: &FlowKey, flow: &Flow) -> Look {
        let gain = self.compare(key, flow);
        self.flows.remove(&self.hasher.hash_one((key, flow.first_ns)));
        gain
    }

    /// Whether this sweep looks at every flow.
    const fn is_full(&self) -> bool {
        self.sweep.is_multiple_of(FULL_SWEEPS)
    }

    /// A sweep has ended.
    pub(super) fn next_sweep(&mut self) {
        let sweep = self.sweep;
        if self.is_full() {
            self.flows.retain(|_, had| had.sweep == sweep);
        }
        self.sweep = sweep.wrapping_add(1);
        self.new_since_ns = Some(self.swept_ns.saturating_sub(TICK_NS));
    }

    /// A sweep begins.
    pub(super) const fn sweep_from(&mut self, now_ns: u64) {
        self.swept_ns = now_ns;
    }
}

impl Had {
    const fn of(flow: &Flow, sweep: u8) -> Self {
        Self {
            packets_to_peer: flow.to_peer.packets,
            bytes_to_peer: flow.to_peer.bytes,
            packets_to_lan: flow.to_lan.packets,
            bytes_to_lan: flow.to_lan.bytes,
            name_hash: flow.name_hash,
            verdict: flow.verdict,
            no_name: flow.no_name,
            sweep,
        }
    }

    /// All of a flow that is new.
    const fn all(self) -> Look {
        let to_peer = Volume { packets: self.packets_to_peer, bytes: self.bytes_to_peer };
        let to_lan = Volume { packets: self.packets_to_lan, bytes: self.bytes_to_lan };
        Look::Gained(Gain { to_peer, to_lan, began: true, verdict: true, told: true })
    }

    fn since(self, before: Self) -> Look {
        let volume = |packets: (u64, u64), bytes: (u64, u64)| Volume {
            packets: packets.0.saturating_sub(packets.1),
            bytes: bytes.0.saturating_sub(bytes.1),
        };
        let gain = Gain {
            to_peer: volume(
                (self.packets_to_peer, before.packets_to_peer),
                (self.bytes_to_peer, before.bytes_to_peer),
            ),
            to_lan: volume(
                (self.packets_to_lan, before.packets_to_lan),
                (self.bytes_to_lan, before.bytes_to_lan),
            ),
            began: false,
            verdict: self.verdict != before.verdict,
            told: (self.name_hash, self.no_name) != (before.name_hash, before.no_name),
        };
        if gain == Gain::default() { Look::Nothing } else { Look::Gained(gain) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey { lan_port: port, ..FlowKey::default() }
    }

    fn flow(first_ns: u64, packets: u64) -> Flow {
        let volume = Volume { packets, bytes: packets * 100 };
        Flow { first_ns, last_ns: first_ns + 60 * S, to_peer: volume, ..Flow::default() }
    }

    fn gained(look: Look) -> (u64, bool) {
        match look {
            Look::Gained(gain) => (gain.to_peer.packets, gain.began),
            Look::Nothing => (0, false),
            Look::Beyond => panic!("no room"),
        }
    }

    /// ns of a second.
    const S: u64 = 1_000_000_000;

    #[test]
    fn a_flow_counts_from_the_first_look_on_and_a_new_one_whole() {
        let mut seen = Seen::begin(10 * S);
        assert_eq!(gained(seen.look(&key(1), &flow(9 * S, 50))), (0, false));
        seen.next_sweep();
        seen.sweep_from(11 * S);
        assert_eq!(gained(seen.look(&key(1), &flow(9 * S, 57))), (7, false));
        assert_eq!(gained(seen.look(&key(2), &flow(10 * S + 1, 3))), (3, true));
        // It began before the last sweep, which did not see it: nobody knows what of it is new.
        assert_eq!(gained(seen.look(&key(3), &flow(9 * S, 1000))), (0, false));
        // The same ports again are another flow.
        assert_eq!(gained(seen.look(&key(1), &flow(10 * S + 2, 4))), (4, true));
    }

    #[test]
    fn what_comes_until_a_flow_leaves_counts_once() {
        let mut seen = Seen::begin(10 * S);
        seen.next_sweep();
        assert_eq!(gained(seen.look(&key(1), &flow(10 * S, 5))), (5, true));
        assert_eq!(gained(seen.leave(&key(1), &flow(10 * S, 9))), (4, false));
        // Never seen by a sweep at all.
        assert_eq!(gained(seen.leave(&key(2), &flow(10 * S, 2))), (2, true));
        assert!(seen.flows.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_leaves_with_the_flow() {
        let mut seen = Seen::with_room(10 * S, 2);
        seen.next_sweep();
        for port in 1..=2 {
            assert_eq!(gained(seen.look(&key(port), &flow(10 * S, 1))), (1, true));
        }
        assert_eq!(seen.look(&key(3), &flow(10 * S, 1)), Look::Beyond);
        for _ in 0..=FULL_SWEEPS {
            seen.next_sweep();
        }
        assert_eq!(gained(seen.look(&key(3), &flow(10 * S, 1))), (1, true));
    }

    #[test]
    fn a_silent_flow_is_remembered_and_goes_on_from_where_it_was() {
        let mut seen = Seen::begin(10 * S);
        let silent = Flow { last_ns: 9 * S, ..flow(5 * S, 40) };
        for second in 11..60 {
            assert_eq!(seen.look(&key(1), &silent), Look::Nothing);
            seen.next_sweep();
            seen.sweep_from(second * S);
        }
        assert_eq!(
            gained(seen.look(&key(1), &Flow { last_ns: 59 * S, ..flow(5 * S, 42) })),
            (2, false)
        );
        // What is told as it leaves counts in any case.
        assert_eq!(
            gained(seen.leave(&key(1), &Flow { last_ns: 1, ..flow(5 * S, 43) })),
            (1, false)
        );
    }

    #[test]
    fn a_verdict_and_a_name_count_when_they_come() {
        let mut seen = Seen::begin(10 * S);
        let before = flow(9 * S, 1);
        seen.look(&key(1), &before);
        let named = Flow { name_hash: 7, verdict: 3, ..before };
        let Look::Gained(gain) = seen.look(&key(1), &named) else { panic!("nothing") };
        assert!(gain.verdict && gain.told && !gain.began, "{gain:?}");
        assert_eq!(seen.look(&key(1), &named), Look::Nothing);
    }
}
