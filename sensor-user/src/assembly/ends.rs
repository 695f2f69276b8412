//! Events of flows' ends. Those of flows that are gone stay in their ring until the store has what they tell.

use sensor_ebpf::abi::{FlowEnd, FlowEndEvent};

use super::part::Delta;
use super::reconcile::Earlier;
use super::{Assembler, Clocks, LINGERING_MAX, Waiting};
use crate::kernel::events::{Keeper, Place};

impl Assembler {
    /// Gives events back to their ring once they are told.
    pub fn keep_events(&mut self, keeper: Keeper) {
        self.held.keep_in(keeper);
    }

    /// Takes a flow-end event, which lies here in its ring.
    pub fn flow_end(&mut self, event: &FlowEndEvent, place: Place, clocks: Clocks) {
        match FlowEnd::try_from(event.end) {
            // The event is all that is left of the flow.
            Ok(FlowEnd::Replaced) => self.replaced(event, place, clocks),
            Ok(FlowEnd::Closed) => {
                if self.lingering.len() < LINGERING_MAX {
                    let until = event.time_ns.saturating_add(self.timeouts.linger_ns);
                    self.lingering.push_back((until, event.key));
                }
                self.held.pass(place);
            }
            Err(_) => self.held.pass(place),
        }
    }

    /// Takes note of an event that says nothing.
    pub fn pass_over(&mut self, place: Place) {
        self.held.pass(place);
    }

    fn replaced(&mut self, event: &FlowEndEvent, place: Place, clocks: Clocks) {
        let (key, flow) = (event.key, event.flow);
        let known = self.recorded(&key, &flow);
        self.displaced.remove(&(key, flow.first_ns));
        let unknown = self.earlier.beyond(&key, &flow, known, clocks);
        let recorded = unknown.map(|pending| pending.recorded).or(known);
        self.balance.replaced(event);
        self.leave(&key, &flow);
        let left = if self.earlier.has_rest(&key, &flow, recorded.as_ref()) {
            Delta::default()
        } else {
            Delta::of(&flow, recorded.as_ref())
        };
        self.balance.leave(recorded.as_ref(), left.amount());
        self.rest(&key, &flow, recorded.as_ref(), left, Waiting::Nothing, clocks);
        self.held.hold(place, key, self.made);
    }

    /// Every event was heard that was sent until then, in ns of the sensor's clock.
    pub fn heard_all(&mut self, until_ns: u64) {
        // A daemon before this one left no others.
        self.earlier = Earlier::default();
        self.heard_ns = until_ns;
    }
}
