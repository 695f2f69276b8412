//! How much a client is told: who floods must not make the gateway flood.

use sensor_ebpf::abi::Address;

use crate::clock;
use crate::maps::BUDGETS;

/// Time one answer takes out of the budget: 250 a second. A browser makes some ten connections a second.
const ANSWER_NS: u64 = 4_000_000;

/// Answers at once after a silence: pages with hundreds of blocked names on them, opened together. A
/// device's worst second is then 760 answers, of which pages are 1.3 KiB each.
const BURST: u64 = 512;

/// True where the client may be told something now. Its budget is the time its answers are paid up to (a
/// token bucket as one number). Of answers at once on several CPUs some may cost nothing.
#[inline(always)]
pub(crate) fn grants(client: Address) -> bool {
    let now_ns = clock::now_ns();
    let Some(paid_ns) = BUDGETS.get_ptr_mut(client) else {
        // Where it cannot be kept there is no budget to be over.
        let _kept = BUDGETS.insert(client, now_ns + ANSWER_NS, 0);
        return true;
    };
    // SAFETY: the pointer is a live map value.
    let paid_ns = unsafe { &mut *paid_ns };
    let from_ns = if *paid_ns > now_ns { *paid_ns } else { now_ns };
    if from_ns - now_ns >= ANSWER_NS * BURST {
        return false;
    }
    *paid_ns = from_ns + ANSWER_NS;
    true
}
