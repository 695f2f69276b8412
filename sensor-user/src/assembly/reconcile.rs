//! What a daemon before this one left behind: records it committed and could not remember, flows it was letting go, and events
//! it may have told.

use std::collections::HashMap;

use sensor_ebpf::abi::{Flow, FlowKey, Recorded, Verdict};

use super::balance::Amount;
use super::due::Stand;
use super::{Assembler, Clocks, Pending, due, part};
use crate::kernel::KernelError;
use crate::kernel::flows::Taken;
use crate::record::EndReason;
use crate::store::Told;

/// What the newest records of the store tell, by their flows.
#[derive(Debug, Default)]
pub(super) struct Earlier(HashMap<u64, Vec<Told>>);

impl Assembler {
    /// Takes account of records an earlier daemon committed and could not remember. `committed` are the newest of this sensor
    /// and boot, in any order: twice as many as are ever on their way, [`UNSETTLED_MAX`](super::UNSETTLED_MAX).
    pub fn reconcile(&mut self, committed: Vec<Told>, clocks: Clocks) -> Result<(), KernelError> {
        let mut by_flow: HashMap<u64, Vec<Told>> = HashMap::new();
        for told in committed {
            by_flow.entry(told.flow_id).or_default().push(told);
        }
        let earlier = Earlier(by_flow);
        let mut live = Vec::new();
        self.table.scan(|key, flow| live.push((*key, *flow)))?;
        let mut settled = Vec::new();
        for (key, flow) in live {
            let known = self.table.recorded(&key, &flow);
            if let Some(pending) = earlier.beyond(&key, &flow, known, clocks) {
                settled.push((key, pending));
            }
        }
        // Before anything is let go: what is left over now is an earlier daemon's.
        let left_over = self.table.left_over();
        self.settle(&settled, clocks)?;
        for taken in left_over {
            let Taken { key, flow, recorded, entry } = taken;
            let unknown = earlier.beyond(&key, &flow, recorded, clocks);
            let recorded = unknown.map(|pending| pending.recorded).or(recorded);
            // What came behind its last record has one too.
            if earlier.has_rest(&key, &flow, recorded.as_ref()) {
                self.table.free(entry);
            } else {
                self.left(&Taken { recorded, ..taken }, clocks);
            }
        }
        // Of events that are still in the ring.
        self.earlier = earlier;
        let mut of_live = Amount::default();
        self.table.recorded_of_live(|recorded| of_live += recorded.into())?;
        self.balance.begin(of_live);
        Ok(())
    }
}

impl Earlier {
    /// Whether there is a record of what came of a flow after these.
    pub(super) fn has_rest(&self, key: &FlowKey, flow: &Flow, recorded: Option<&Recorded>) -> bool {
        recorded.is_some() && self.0.contains_key(&part::rest_id(key, flow, recorded))
    }

    /// What the store has of a flow beyond what is known to be recorded, if anything.
    pub(super) fn beyond(
        &self,
        key: &FlowKey,
        flow: &Flow,
        known: Option<Recorded>,
        clocks: Clocks,
    ) -> Option<Pending> {
        let records = self.0.get(&part::flow_id(key, flow))?;
        let newest = records.iter().max_by_key(|record| record.sequence)?;
        let start = Recorded { first_ns: flow.first_ns, ..Recorded::default() };
        let mut recorded = known.unwrap_or(start);
        for record in records {
            if known.is_some_and(|known| record.sequence <= known.sequence) {
                continue;
            }
            recorded.to_peer.packets += record.to_peer.packets;
            recorded.to_peer.bytes += record.to_peer.bytes;
            recorded.to_lan.packets += record.to_lan.packets;
            recorded.to_lan.bytes += record.to_lan.bytes;
            recorded.sequence = recorded.sequence.max(record.sequence);
            recorded.recorded_ns = clocks.now_ns;
        }
        // A blocked flow stays when its record says that it is over. One that is over goes, also where that was remembered.
        let is_over = matches!(newest.end_reason, EndReason::EndOfFlow | EndReason::IdleTimeout);
        let last = is_over && !due::is_blocked(flow);
        let blocked = newest.verdict == Verdict::Block;
        Some(Pending { recorded, last, blocked, stand: Stand::of(flow) })
    }
}
