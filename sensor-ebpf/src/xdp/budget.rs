//! What one client may cost: who floods must not make the gateway flood, and must leave others their share of it.

use sensor_ebpf::abi::{Address, LISTED_LABELS_MAX};

use crate::clock;
use crate::maps::{self, BUDGETS};

/// Time one answer takes out of the budget: 250 a second. A browser makes some ten connections a second.
const ANSWER_NS: u64 = 4_000_000;

/// Answers at once after a silence: pages with hundreds of blocked names on them, opened together. A
/// device's worst second is then 760 answers, of which pages are 1.3 KiB each.
const ANSWERS_AT_ONCE: u64 = 512;

/// Initials opened at once after a silence: a page of a hundred servers, each with a hello in three of them.
/// These are 10 ms of one CPU.
const INITIALS_AT_ONCE: u64 = 320;

/// Time one block of SHA-256 takes out of the budget, where names are locked and each of their suffixes is hashed: 16,384
/// a second, some hundredths of a CPU. A name of three labels has two suffixes of a block: that is 8,000 names a second,
/// more than a resolver asks for which has a campus behind it.
const LOCKED_BLOCK_NS: u64 = 1_000_000_000 / 16_384;

/// Blocks at once after a silence.
const LOCKED_AT_ONCE: u64 = 32_768;

/// Bytes of a block (FIPS 180-4 section 5.2.1).
const LOCKED_BLOCK: u32 = 64;

/// Up to when what a client has had is paid (a token bucket as one number), ns of the sensor's clock.
#[repr(C)]
pub(crate) struct Budget {
    answers: u64,
    initials: u64,
    locked: u64,
}

/// True where the client may be told something now.
#[inline(always)]
pub(crate) fn grants(client: Address) -> bool {
    let now_ns = clock::now_ns();
    let Some(budget) = of(&client) else { return true };
    spend(&mut budget.answers, now_ns, ANSWER_NS, ANSWER_NS * ANSWERS_AT_ONCE)
}

/// True where an Initial of the client may be opened now.
#[inline(always)]
pub(crate) fn grants_initial(client: Address) -> bool {
    let cost_ns = maps::control().map_or(0, |control| control.quic_initial_ns);
    let now_ns = clock::now_ns();
    let Some(budget) = of(&client) else { return true };
    spend(&mut budget.initials, now_ns, cost_ns, cost_ns * INITIALS_AT_ONCE)
}

/// True where a name of the client, of so many bytes and dots, may be looked for among the locked ones now.
#[inline(always)]
pub(crate) fn grants_locked(client: Address, length: u32, dots: u32) -> bool {
    let now_ns = clock::now_ns();
    let Some(budget) = of(&client) else { return true };
    // Top-level domains cannot be locked, and of many labels only the last are.
    let suffixes = if dots > LISTED_LABELS_MAX as u32 { LISTED_LABELS_MAX as u32 } else { dots };
    let blocks = u64::from(suffixes) * u64::from(length / LOCKED_BLOCK + 1);
    let most_ns = LOCKED_BLOCK_NS * LOCKED_AT_ONCE;
    spend(&mut budget.locked, now_ns, blocks * LOCKED_BLOCK_NS, most_ns)
}

/// The client's budget. Where it cannot be kept there is none to be over.
#[inline(always)]
fn of(client: &Address) -> Option<&'static mut Budget> {
    let budget = if let Some(budget) = BUDGETS.get_ptr_mut(client) {
        budget
    } else {
        let _kept = BUDGETS.insert(client, &Budget { answers: 0, initials: 0, locked: 0 }, 0);
        BUDGETS.get_ptr_mut(client)?
    };
    // SAFETY: the pointer is a live map value.
    Some(unsafe { &mut *budget })
}

/// Takes what one of them costs, if all that is not paid yet is at most so much then. Of several at once on several CPUs some may cost nothing.
#[inline(always)]
fn spend(paid_ns: &mut u64, now_ns: u64, cost_ns: u64, most_ns: u64) -> bool {
    let ahead_ns = paid_ns.saturating_sub(now_ns);
    // What is further ahead than can be was paid at other prices, or by the clock of another capture.
    let from_ns = if ahead_ns > most_ns { now_ns } else { now_ns + ahead_ns };
    if from_ns - now_ns + cost_ns > most_ns {
        return false;
    }
    *paid_ns = from_ns + cost_ns;
    true
}
