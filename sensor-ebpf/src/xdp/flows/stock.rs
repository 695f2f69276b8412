//! The kernel's own hash map as flow table: what ours is compared with.

use sensor_ebpf::abi::{Accounting, Flow, FlowKey};

use super::{Found, NOWHERE};
use crate::maps::FLOWS;

/// `BPF_NOEXIST`: of two CPUs that make the same flow, one does.
const NOEXIST: u64 = 1;

/// The flow between these two ends, whichever way round.
#[inline(always)]
pub(super) fn find(key: &FlowKey) -> Option<Found> {
    if let Some(flow) = at(key) {
        return Some(Found { flow, entry: NOWHERE, is_reverse: false });
    }
    at(&key.reversed()).map(|flow| Found { flow, entry: NOWHERE, is_reverse: true })
}

/// The flow with this key.
#[inline(always)]
pub(super) fn at(key: &FlowKey) -> Option<*mut Flow> {
    FLOWS.get_ptr_mut(key)
}

/// Makes a flow, or finds the one that another CPU made meanwhile.
#[inline(always)]
pub(super) fn make(key: &FlowKey, flow: &Flow) -> Result<Found, Accounting> {
    // A failure shows in the look-up that follows.
    let _made = FLOWS.insert(key, flow, NOEXIST);
    let made = at(key).map(|flow| Found { flow, entry: NOWHERE, is_reverse: false });
    made.ok_or(Accounting::TableFull)
}
