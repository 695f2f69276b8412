//! What a daemon before this one left behind: records it committed and could not remember, and flows it was letting go.

use std::collections::HashMap;

use sensor_ebpf::abi::{Flow, FlowKey, Recorded, Verdict};

use super::balance::Amount;
use super::{Assembler, Clocks, Pending, build, due, rest_of};
use crate::kernel::KernelError;
use crate::kernel::flows::Taken;
use crate::record::Record;

impl Assembler {
    /// Takes account of records an earlier daemon committed and could not remember: those of flows that
    /// are still in the table. `committed` are the newest records of the store, in any order.
    pub fn reconcile(&mut self, committed: &[Record], clocks: Clocks) -> Result<(), KernelError> {
        let mut by_flow: HashMap<u64, Vec<&Record>> = HashMap::new();
        for record in committed.iter().filter(|record| self.builder.is_of_this_boot(record)) {
            by_flow.entry(record.flow_id).or_default().push(record);
        }
        let mut live = Vec::new();
        self.table.scan(|key, flow| live.push((*key, *flow)))?;
        let mut settled = Vec::new();
        for (key, flow) in live {
            let known = self.table.recorded(&key, &flow);
            if let Some(pending) = unknown(&by_flow, &key, &flow, known, clocks) {
                settled.push((key, pending));
            }
        }
        self.settle(&settled, clocks)?;
        for taken in self.table.left_over() {
            let Taken { key, flow, recorded, entry } = taken;
            let rest = recorded.map(|recorded| rest_of(&flow, &recorded));
            // What came behind its last record has one too.
            if rest.is_some_and(|rest| by_flow.contains_key(&build::flow_id(&key, &rest))) {
                self.table.free(entry);
                continue;
            }
            let unknown = unknown(&by_flow, &key, &flow, recorded, clocks);
            let recorded = unknown.map(|pending| pending.recorded).or(recorded);
            self.rest(&Taken { recorded, ..taken }, clocks);
        }
        let mut of_live = Amount::default();
        self.table.recorded_of_live(|recorded| of_live += recorded.into())?;
        self.balance.begin(of_live);
        Ok(())
    }
}

/// What the store has of a flow beyond what is known to be recorded, if anything.
fn unknown(
    committed: &HashMap<u64, Vec<&Record>>,
    key: &FlowKey,
    flow: &Flow,
    known: Option<Recorded>,
    clocks: Clocks,
) -> Option<Pending> {
    let records = committed.get(&build::flow_id(key, flow))?;
    let is_unknown = |record: &&&Record| known.is_none_or(|known| record.sequence > known.sequence);
    let start = Recorded { first_ns: flow.first_ns, ..Recorded::default() };
    let mut recorded = known.unwrap_or(start);
    let mut last = false;
    for record in records.iter().filter(is_unknown) {
        recorded.to_peer.packets += record.packets_to_peer;
        recorded.to_peer.bytes += record.bytes_to_peer;
        recorded.to_lan.packets += record.packets_to_lan;
        recorded.to_lan.bytes += record.bytes_to_lan;
        recorded.sequence = recorded.sequence.max(record.sequence);
        recorded.recorded_ns = clocks.now_ns;
        last |= record.end_reason.is_final() && !due::is_blocked(flow);
    }
    let newest = records.iter().max_by_key(|record| record.sequence);
    let blocked = newest.is_some_and(|record| record.verdict == Verdict::Block);
    Some(Pending { recorded, last, blocked })
}
