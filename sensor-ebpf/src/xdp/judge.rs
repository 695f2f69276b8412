//! From a name to a verdict: fold and hash it, look its suffixes up, ask the group's masks.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    ABI_VERSION, Control, DomainEntry, DomainKey, GROUP_PREFIX_LEAD, GROUPS_MAX, GroupMasks,
    GroupPrefix, Happening, LISTED_LABELS_MAX, NAME_BUFFER, NameSource, NoName, Verdict,
};
use sensor_ebpf::cursor::bound;
use sensor_ebpf::flow::Phase;
use sensor_ebpf::name::{HashKey, without_final_dot};
use sensor_ebpf::policy::decide;

use crate::account::Row;
use crate::maps::{self, DOMAINS, Examination, GROUP_PREFIXES, GROUPS, NAMES, STAGES, stage};
use crate::steps::{self, run_loop};
use crate::{events, flows, reject};

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    let Some(control) = maps::control() else { return XDP_PASS };
    // Read once and carried along: a decision sees one policy.
    let policy = control.policy;
    hash_suffixes(examination, key_of(control));
    let entry = listed(examination, policy);
    let group = group_of(examination, policy);
    let verdict = decide(entry.categories, &masks_of(group, policy));

    let event = &mut examination.event;
    event.abi = ABI_VERSION;
    event.categories = entry.categories;
    event.list = entry.list;
    event.policy = policy;
    event.group = group as u16;
    event.verdict = verdict as u8;
    event.name_hash = examination.suffixes.whole();
    store_name(examination, row);
    keep_verdict(examination, verdict);

    #[cfg(feature = "trace")]
    aya_log_ebpf::debug!(
        ctx,
        "judged: verdict {} categories {:x} group {} policy {}",
        verdict as u8,
        entry.categories,
        group,
        policy
    );
    let told = verdict == Verdict::Block || verdict == Verdict::Alert || control.report_all != 0;
    if told && events::verdict(&examination.event).is_err() {
        row.happened(Happening::VerdictEventLost);
    }
    if verdict != Verdict::Block || examination.tap != 0 {
        return XDP_PASS;
    }
    examination.outcome = reject::RESET_BOTH;
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::REJECT) };
    row.happened(Happening::StageMissing);
    row.happened(Happening::BlockedDropped);
    XDP_DROP
}

#[inline(always)]
fn key_of(control: &Control) -> HashKey {
    HashKey { start: control.hash_key, multiplier: control.hash_multiplier }
}

/// Makes the name canonical and hashes its suffixes.
#[inline(always)]
fn hash_suffixes(examination: &mut Examination, key: HashKey) {
    let event = &mut examination.event;
    let length = u32::from(event.name.length);
    let last_at = bound::<{ NAME_BUFFER as u32 - 1 }>(length.wrapping_sub(1)) as usize;
    // SAFETY: the mask keeps the index below the length of the array.
    let last = unsafe { *event.name.bytes.as_ptr().add(last_at) };
    let length = without_final_dot(length, last);
    event.name.length = length as u16;
    examination.suffixes.begin(length, key);
    run_loop(examination, NAME_BUFFER as u32, suffix_step);
}

unsafe extern "C" fn suffix_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `run_loop` passes the context.
    let examination = unsafe { steps::examination(context) };
    let bytes = &mut examination.event.name.bytes;
    i64::from(!examination.suffixes.step(bytes))
}

/// The entry of the deepest listed suffix; all zero where none is.
#[inline(always)]
fn listed(examination: &Examination, policy: u32) -> DomainEntry {
    let mut labels = examination.suffixes.listable();
    // The compiler must not know this number, or it unrolls the loop and keeps all hashes on the stack;
    // the verifier must: before 6.8 it learns nothing of a count from its not being zero.
    let rounds = bound::<{ LISTED_LABELS_MAX as u32 * 2 - 1 }>(LISTED_LABELS_MAX as u32);
    for _ in 0..rounds {
        if labels == 0 {
            break;
        }
        let key = DomainKey { hash: examination.suffixes.suffix(labels), policy, reserved: 0 };
        // SAFETY: the value is copied out at once; a push writes other keys.
        if let Some(entry) = unsafe { DOMAINS.get(key) } {
            return *entry;
        }
        labels -= 1;
    }
    DomainEntry { categories: 0, list: 0, reserved: [0; 6] }
}

/// The group of the flow's LAN side.
#[inline(always)]
fn group_of(examination: &Examination, policy: u32) -> u32 {
    let prefix = GroupPrefix::new(policy, examination.event.key.lan_address);
    let key = Key::new(GROUP_PREFIX_LEAD + 128, prefix);
    GROUP_PREFIXES.get(key).map_or(0, |group| *group)
}

#[inline(always)]
fn masks_of(group: u32, policy: u32) -> GroupMasks {
    let row = (policy & 1) * GROUPS_MAX + group.min(GROUPS_MAX - 1);
    GROUPS.get(row).copied().unwrap_or(GroupMasks::default())
}

/// Keeps the name for the records of its flows.
#[inline(always)]
fn store_name(examination: &Examination, row: Row) {
    let event = &examination.event;
    // A look-up also keeps the name from being the next to go.
    let known = NAMES.get_ptr(event.name_hash).is_some();
    if !known && NAMES.insert(event.name_hash, &event.name, 0).is_err() {
        row.happened(Happening::NameNotStored);
    }
}

/// Keeps the verdict in the flow. A block stands for the flow's life.
#[inline(always)]
fn keep_verdict(examination: &Examination, verdict: Verdict) {
    let event = &examination.event;
    let Some(flow) = flows::find(&event.key) else { return };
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *flow };
    if flow.verdict == Verdict::Block as u8 {
        return;
    }
    flow.name_hash = event.name_hash;
    flow.categories = event.categories;
    flow.policy = event.policy;
    flow.group = event.group;
    flow.list = event.list;
    flow.name_source = event.name_source;
    flow.no_name = NoName::Named as u8;
    flow.phase = if event.name_source == NameSource::Http as u8 {
        Phase::Requests as u8
    } else {
        Phase::Named as u8
    };
    // Last: an event or a packet that sees the verdict sees what it was made with.
    flow.verdict = verdict as u8;
}
