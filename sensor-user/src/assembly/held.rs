//! Which flow-end events are told, so that their ring has room for others.

use std::collections::{HashMap, VecDeque};

use sensor_ebpf::abi::FlowKey;

use crate::kernel::events::{Keeper, Place};

/// Events that were read and are still in their ring.
///
/// They leave it in the order they came in, each when the store has what was made of it. Until then what is noted of
/// the flow that an event tells of must stay: it says what of it is in earlier records.
#[derive(Default)]
pub(super) struct Held {
    keeper: Option<Keeper>,
    events: VecDeque<Event>,
    /// How many of them are of a key.
    keys: HashMap<FlowKey, u32>,
    /// Behind the last that was read.
    read: u64,
}

struct Event {
    from: u64,
    key: FlowKey,
    is_told: bool,
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

    /// An event was read that tells of a flow; it is told where the store has all of it already.
    pub(super) fn hold(&mut self, place: Place, key: FlowKey, is_told: bool) {
        self.events.push_back(Event { from: place.from, key, is_told });
        *self.keys.entry(key).or_default() += 1;
        self.read = place.to;
        self.release();
    }

    /// The store has what was made of an event.
    pub(super) fn told(&mut self, place: Place) {
        // Records are stored in the order they were made in: it is one of the first.
        if let Some(event) = self.events.iter_mut().find(|event| event.from == place.from) {
            event.is_told = true;
        }
        self.release();
    }

    /// Whether an event of this key is still there.
    pub(super) fn has(&self, key: &FlowKey) -> bool {
        self.keys.contains_key(key)
    }

    fn release(&mut self) {
        while let Some(Event { key, .. }) = self.events.pop_front_if(|event| event.is_told) {
            if let Some(count) = self.keys.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(&key);
                }
            }
        }
        if let Some(keeper) = &self.keeper {
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
    fn events_go_in_the_order_they_came() {
        let place = |number: u64| Place { from: number * 10, to: number * 10 + 10 };
        let mut held = Held::default();
        held.hold(place(0), key(1), false);
        held.hold(place(1), key(2), true);
        held.hold(place(2), key(1), false);
        assert!(held.has(&key(1)) && held.has(&key(2)) && !held.has(&key(3)));
        held.told(place(0));
        assert!(held.has(&key(1)) && !held.has(&key(2)));
        held.told(place(2));
        assert!(!held.has(&key(1)) && held.events.is_empty() && held.keys.is_empty());
    }
}
