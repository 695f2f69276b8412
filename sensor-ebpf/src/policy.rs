//! From what a name is to what happens to it.

use crate::abi::{GroupMasks, LOCKED, NoName, UNLISTED, Verdict};

/// The verdict for a name with these categories in a group with these masks.
///
/// `categories` are those of the deepest listed suffix; 0 where none is listed, which is a category of its own.
///
/// ```
/// use sensor_ebpf::{abi::{GroupMasks, LOCKED, Verdict}, policy::decide};
/// let masks = GroupMasks { block: 0b0110, alert: 0b1000, allow: 0b0100, ..GroupMasks::default() };
/// assert_eq!(decide(0b0010, &masks), Verdict::Block);
/// assert_eq!(decide(0b0110, &masks), Verdict::Allow); // allow beats block at one name
/// assert_eq!(decide(0b1000, &masks), Verdict::Alert);
/// assert_eq!(decide(LOCKED | 0b0100, &masks), Verdict::Block); // beats all, for everybody
/// ```
#[inline(always)]
pub const fn decide(categories: u64, masks: &GroupMasks) -> Verdict {
    let categories = if categories == 0 { UNLISTED } else { categories };
    if categories & LOCKED != 0 {
        Verdict::Block
    } else if categories & masks.allow != 0 {
        Verdict::Allow
    } else if categories & masks.block != 0 {
        Verdict::Block
    } else if categories & masks.alert != 0 {
        Verdict::Alert
    } else {
        Verdict::Allow
    }
}

/// The categories that a verdict is told with: of an unlisted name that does not simply pass, that it is one.
#[inline(always)]
pub const fn told_with(categories: u64, verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Block | Verdict::Alert if categories == 0 => UNLISTED,
        Verdict::Block | Verdict::Alert | Verdict::Allow | Verdict::Undecided => categories,
    }
}

/// The verdict for a flow or packet without a name, for this reason.
///
/// ```
/// use sensor_ebpf::{abi::{GroupMasks, NoName, Verdict}, policy::decide_nameless};
/// let masks =
///     GroupMasks { block_no_name: 1 << NoName::Oversize as u8, ..GroupMasks::default() };
/// assert_eq!(decide_nameless(NoName::Oversize, &masks), Verdict::Block);
/// assert_eq!(decide_nameless(NoName::NoSni, &masks), Verdict::Undecided);
/// ```
#[inline(always)]
pub const fn decide_nameless(reason: NoName, masks: &GroupMasks) -> Verdict {
    let bit = 1 << reason as u8;
    if masks.block_no_name & bit != 0 {
        Verdict::Block
    } else if masks.alert_no_name & bit != 0 {
        Verdict::Alert
    } else {
        Verdict::Undecided
    }
}
