//! Which flow-end events are told, so that their ring has room for others.

use std::collections::{HashMap, VecDeque};

use sensor_ebpf::abi::FlowKey;

use crate::kernel::events::{Keeper, Place};

/// Events that were read and are still in their ring.
///
/// They leave it in the order they came in, each when the store has what was made of it, and every record before: what
/// an event adds nothing to may be one that is on its way. Until then what is noted of the flow that an event tells of must
/// stay: it says what of it is in earlier records.
#[derive(Default)]
pub(super) struct Held {
    keeper: Option<Keeper>,
    events: VecDeque<Event>,
    /// How many of them are of a key.
    keys: HashMap<FlowKey, u32>,
    /// Behind the last that was read.
    read: u64,
    /// Records that the store has, of those made since the start.
    stored: u64,
}

struct Event {
    from: u64,
    key: FlowKey,
    /// So many records must be stored.
    made: u64,
}

impl Held {
    pub(super) fn keep_in(&mut self, keeper: Keeper) {
        self.keeper = Some(keeper);
    }

    /// An event was read that nothing depends on.
    pub(super) fn pass(&mut self, place: Place) {
        self.read = place.to;
        self.release();
    }

    /// An event was read that tells of a flow; so many records were made with what it tells.
    pub(super) fn hold(&mut self, place: Place, key: FlowKey, made: u64) {
        self.events.push_back(Event { from: place.from, key, made });
        *self.keys.entry(key).or_default() += 1;
        self.read = place.to;
        self.release();
    }

    /// The store has so many records more.
    pub(super) fn stored(&mut self, count: u64) {
        self.stored += count;
        self.release();
    }

    /// Records that were made and that the store is not known to have.
    pub(super) const fn unsettled(&self, made: u64) -> u64 {
        made - self.stored
    }

    /// Whether an event of this key is still there.
    pub(super) fn has(&self, key: &FlowKey) -> bool {
        self.keys.contains_key(key)
    }

    fn release(&mut self) {
        let stored = self.stored;
        let is_told = |event: &mut Event| event.made <= stored;
        while let Some(Event { key, .. }) = self.events.pop_front_if(is_told) {
            if let Some(count) = self.keys.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(&key);
                }
            }
        }
        if let Some(keeper) = &self.keeper
            && self.read > 0
        {
            keeper.release(self.events.front().map_or(self.read, |event| event.from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(lan_port: u16) -> FlowKey {
        FlowKey { lan_port, ..FlowKey::default() }
    }

    #[test]
    fn events_go_when_every_record_before_is_stored() {
        let place = |number: u64| Place { from: number * 10, to: number * 10 + 10 };
        let has = |held: &Held| [1, 2, 3].map(|port| held.has(&key(port)));
        let mut held = Held::default();
        held.hold(place(0), key(1), 0);
        assert_eq!(has(&held), [false; 3], "nothing was on its way");
        held.hold(place(1), key(2), 3);
        // A record is on its way that has all of it.
        held.hold(place(2), key(3), 3);
        held.hold(place(3), key(2), 4);
        held.stored(2);
        assert_eq!(has(&held), [false, true, true]);
        held.stored(1);
        assert_eq!(has(&held), [false, true, false]);
        held.stored(1);
        assert!(held.events.is_empty() && held.keys.is_empty());
    }
}
