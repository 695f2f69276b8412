//! The kernel's own hash map as flow table: what ours is compared with.

use sensor_ebpf::abi::{Accounting, Flow, FlowKey};

use crate::maps::FLOWS;

/// `BPF_NOEXIST`: of two CPUs that make the same flow, one does.
const NOEXIST: u64 = 1;

/// The flow between these two ends, and whether the key has them the other way round.
#[inline(always)]
pub(super) fn find(key: &FlowKey) -> Option<(*mut Flow, bool)> {
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        return Some((flow, false));
    }
    FLOWS.get_ptr_mut(&key.reversed()).map(|flow| (flow, true))
}

/// Makes a flow, or finds the one that another CPU made meanwhile.
#[inline(always)]
pub(super) fn make(key: &FlowKey, flow: &Flow) -> Result<*mut Flow, Accounting> {
    // A failure shows in the look-up that follows.
    let _made = FLOWS.insert(key, flow, NOEXIST);
    FLOWS.get_ptr_mut(key).ok_or(Accounting::TableFull)
}
