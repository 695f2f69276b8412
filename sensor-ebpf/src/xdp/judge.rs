//! From a name to a verdict: fold and hash it, look its suffixes up, ask the group's masks.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    ABI_VERSION, Control, DomainEntry, Flow, Happening, NAME_BUFFER, NameSource, NoName, Verdict,
};
use sensor_ebpf::cursor::bound;
use sensor_ebpf::flow::Phase;
use sensor_ebpf::locked::{LOCKED_STEPS_MAX, Step};
use sensor_ebpf::name::{HashKey, SUFFIX_STEPS_MAX, without_final_dot};
use sensor_ebpf::policy::{decide, decide_nameless, told_with};

use crate::account::Row;
use crate::destination::Entry;
use crate::group::{self, masks_of};
use crate::listed::Table;
use crate::maps::{self, Examination, JUDGING, NAMES, STAGES, sight, stage};
use crate::steps::run_loop;
use crate::{budget, events, flows, reject, slots};

/// What was decided about a name, or about having none.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) verdict: Verdict,
    /// It is a name that does not exist where policy is against what it stands for.
    pub(crate) is_canary: bool,
}

impl Decision {
    /// True where the packet does not pass.
    #[inline(always)]
    pub(crate) fn is_enforced(self, examination: &Examination) -> bool {
        self.verdict == Verdict::Block && examination.sight & sight::TAP == 0
    }
}

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    let Some(decision) = judge(ctx, examination, row) else { return XDP_PASS };
    if decision.is_enforced(examination) {
        return reset(ctx, examination, row);
    }
    if decision.verdict != Verdict::Block && examination.goes_on == JUDGING {
        // SAFETY: same context; on failure control comes back.
        unsafe { STAGES.tail_call(ctx, stage::REQUESTS) };
        row.happened(Happening::StageMissing);
    }
    XDP_PASS
}

/// Has both ends of the packet's connection reset.
#[inline(always)]
pub(crate) fn reset(ctx: &XdpContext, examination: &mut Examination, row: Row) -> u32 {
    examination.outcome = reject::RESET_BOTH;
    // SAFETY: same context; on failure control comes back.
    unsafe { STAGES.tail_call(ctx, stage::REJECT) };
    row.happened(Happening::StageMissing);
    row.happened(Happening::BlockedDropped);
    XDP_DROP
}

/// Decides about what the event says, keeps the verdict in the flow, and tells it. `None`: the maps are
/// not there.
#[inline(always)]
pub(crate) fn judge(ctx: &XdpContext, examination: &mut Examination, row: Row) -> Option<Decision> {
    let control = maps::control()?;
    // Read once and carried along: a decision sees one policy.
    let policy = control.policy;
    let reason = NoName::try_from(examination.event.no_name).unwrap_or(NoName::Malformed);
    // First: it is most of the work, and the verifier comes to it by one way.
    let entry = look_up(examination, control, policy, reason);
    let is_over = examination.locked_set == OVER_BUDGET;
    let reason = if is_over { NoName::LockedBudget } else { reason };
    examination.event.no_name = reason as u8;
    let group = group_now(ctx, examination, policy);
    let masks = masks_of(group, policy);
    let mut is_canary = false;
    let verdict = if reason == NoName::Named {
        examination.event.name_hash = examination.suffixes.whole();
        examination.event.list = entry.list;
        store_name(examination, row);
        let verdict = decide(entry.categories, &masks);
        examination.event.categories = told_with(entry.categories, verdict);
        is_canary = examination.event.name_source == NameSource::Dns as u8
            && entry.canary != 0
            && masks.dns.canaries != 0
            && entry.categories & masks.allow == 0;
        if is_canary { Verdict::Block } else { verdict }
    } else {
        examination.event.name_hash = 0;
        examination.event.categories = 0;
        examination.event.list = 0;
        examination.event.name.length = 0;
        examination.event.name_source = NameSource::None as u8;
        row.no_name(reason);
        // What could be locked, and is not looked at, does not pass.
        if is_over { Verdict::Block } else { decide_nameless(reason, &masks) }
    };
    let was_blocked = examination.sight & sight::BLOCKED != 0;
    // On a blocked flow only another name gets through.
    let verdict = if was_blocked && reason != NoName::Named { Verdict::Block } else { verdict };
    keep(examination, policy, group, verdict, row);

    #[cfg(feature = "trace")]
    aya_log_ebpf::debug!(
        ctx,
        "judged: verdict {} reason {} categories {:x} group {} policy {}",
        verdict as u8,
        examination.event.no_name,
        examination.event.categories,
        group,
        policy
    );
    let every = control.report_all != 0 && reason == NoName::Named;
    let is_new = verdict == Verdict::Block && !was_blocked;
    if is_new || verdict == Verdict::Alert || every {
        tell(examination, row);
    }
    Some(Decision { verdict, is_canary })
}

/// Keeps and tells what was decided about a flow by where it goes, in a policy and a group.
#[inline(always)]
pub(crate) fn by_destination(
    examination: &mut Examination,
    (policy, group): (u32, u32),
    (verdict, reason, entry): (Verdict, NoName, Entry),
    row: Row,
) -> Decision {
    let event = &mut examination.event;
    event.no_name = reason as u8;
    event.name_hash = 0;
    event.name.length = 0;
    event.name_source = NameSource::None as u8;
    event.categories = entry.categories;
    event.list = entry.list;
    if verdict == Verdict::Block {
        row.no_name(reason);
    }
    keep(examination, policy, group, verdict, row);
    tell(examination, row);
    Decision { verdict, is_canary: false }
}

/// Decides once more about a flow that an earlier policy judged, by the name in the event or by the reason for having
/// none. What was told of a flow stands in its record until there is more to tell.
#[inline(always)]
pub(crate) fn judge_again(
    examination: &mut Examination,
    flow: &mut Flow,
    (policy, group): (u32, u32),
    row: Row,
) -> Option<Decision> {
    let control = maps::control()?;
    let reason = NoName::try_from(flow.no_name).unwrap_or(NoName::Malformed);
    let entry = look_up(examination, control, policy, reason);
    if examination.locked_set == OVER_BUDGET {
        // The next packet asks again.
        flow.judged = examination.epoch.wrapping_sub(1);
        return None;
    }
    let masks = masks_of(group, policy);
    let is_named = reason == NoName::Named;
    let verdict =
        if is_named { decide(entry.categories, &masks) } else { decide_nameless(reason, &masks) };
    let was_told = flow.verdict == Verdict::Alert as u8;
    if was_told && verdict != Verdict::Block && verdict != Verdict::Alert {
        return None;
    }
    let is_new = verdict as u8 != flow.verdict;
    flow.policy = policy;
    flow.group = group as u16;
    if is_named {
        flow.categories = told_with(entry.categories, verdict);
        flow.list = entry.list;
    }
    if verdict == Verdict::Block {
        // Nothing of it is read again.
        slots::free_of(flow, &examination.event.key);
    }
    // Last: an event or a packet that sees the verdict sees what it was made with.
    flow.verdict = verdict as u8;
    if is_new && (verdict == Verdict::Block || verdict == Verdict::Alert) {
        let event = &mut examination.event;
        event.abi = ABI_VERSION;
        event.policy = policy;
        event.group = group as u16;
        event.verdict = verdict as u8;
        event.no_name = flow.no_name;
        event.name_source = flow.name_source;
        event.name_hash = flow.name_hash;
        event.categories = flow.categories;
        event.list = flow.list;
        if !is_named {
            event.name.length = 0;
        }
        tell(examination, row);
    }
    Some(Decision { verdict, is_canary: false })
}

/// Puts a verdict in the event and in the flow.
#[inline(always)]
fn keep(examination: &mut Examination, policy: u32, group: u32, verdict: Verdict, row: Row) {
    let event = &mut examination.event;
    event.abi = ABI_VERSION;
    event.policy = policy;
    event.group = group as u16;
    event.verdict = verdict as u8;
    keep_verdict(examination, verdict, row);
}

#[inline(always)]
fn tell(examination: &Examination, row: Row) {
    if events::verdict(&examination.event).is_err() {
        row.happened(Happening::VerdictEventLost);
    }
}

/// [`Examination::locked_set`] of a name that its client has no budget for.
const OVER_BUDGET: u32 = u32::MAX;

/// What is known of the name in the event, which is made canonical and hashed; all zero of none.
#[inline(always)]
fn look_up(
    examination: &mut Examination,
    control: &Control,
    policy: u32,
    reason: NoName,
) -> DomainEntry {
    examination.locked_set = 0;
    if reason != NoName::Named {
        return DomainEntry { categories: 0, list: 0, canary: 0, reserved: [0; 5] };
    }
    let table = Table::of(policy, control);
    hash_suffixes(examination, table.key());
    if table.has_locked() {
        let (length, dots) = (examination.event.name.length.into(), examination.suffixes.dots());
        if !budget::grants_locked(examination.event.key.lan_address, length, dots) {
            examination.locked_set = OVER_BUDGET;
            return DomainEntry { categories: 0, list: 0, canary: 0, reserved: [0; 5] };
        }
        find_locked(examination, policy);
        // Any of its suffixes beats what is listed of the others.
        if examination.locked_set != 0 {
            return table.set(examination.locked_set);
        }
    }
    table.deepest(&examination.suffixes)
}

/// Looks for a suffix of the canonical name that is locked.
#[inline(always)]
fn find_locked(examination: &mut Examination, policy: u32) {
    let length = u32::from(examination.event.name.length);
    examination.locked.begin(length, examination.suffixes.dots());
    run_loop(&mut Search { examination, policy }, LOCKED_STEPS_MAX, locked_step);
}

struct Search<'a> {
    examination: &'a mut Examination,
    policy: u32,
}

unsafe extern "C" fn locked_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `find_locked` passes the context.
    let search = unsafe { &mut *context.cast::<Search<'_>>() };
    let examination = &mut *search.examination;
    match examination.locked.step(&examination.event.name.bytes) {
        Step::More => 0,
        Step::Hashed => {
            let Some(control) = maps::control() else { return 1 };
            examination.locked_set = Table::of(search.policy, control).locked(&examination.locked);
            examination.locked.go_on();
            i64::from(examination.locked_set != 0)
        }
        Step::Done => 1,
    }
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
    run_loop(&mut Context { examination }, SUFFIX_STEPS_MAX, suffix_step);
}

struct Context<'a> {
    examination: &'a mut Examination,
}

unsafe extern "C" fn suffix_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: only `hash_suffixes` passes the context.
    let examination = unsafe { &mut *(*context.cast::<Context<'_>>()).examination };
    let bytes = &mut examination.event.name.bytes;
    i64::from(!examination.suffixes.step(bytes))
}

/// The group of the packet's device, and with it what its flow is judged by. The count of logins is read first: one that
/// comes in between has the flow judged again.
#[inline(always)]
pub(crate) fn group_now(ctx: &XdpContext, examination: &mut Examination, policy: u32) -> u32 {
    let device = examination.event.key.lan_address;
    examination.epoch = maps::control().map_or(policy, |control| control.epoch(policy, device));
    group::of(ctx, examination, policy)
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

/// Keeps the verdict in the flow. A block stands for the flow's life; that of a datagram flow ends with the hello of
/// another connection on the same ports.
#[inline(always)]
fn keep_verdict(examination: &Examination, verdict: Verdict, row: Row) {
    let event = &examination.event;
    let Some(flow) = flows::of(examination) else { return };
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *flow };
    flow.judged = examination.epoch;
    if verdict == Verdict::Block
        && examination.sight & sight::TAP == 0
        && slots::refuse(examination.connection, &event.key)
    {
        flow.body_laps += 1;
    }
    if flow.verdict == Verdict::Block as u8 {
        if verdict == Verdict::Block || examination.sight & sight::BLOCKED == 0 {
            return;
        }
        flows::begin_again(flow, &event.key, row, event.time_ns);
    }
    if examination.is_further_name != 0 && verdict != Verdict::Block {
        // The first name of a head is the one that counts (RFC 9112 section 3.2.2).
        return;
    }
    if verdict == Verdict::Undecided && flow.name_hash != 0 {
        // What could not be read takes nothing from what was.
        return;
    }
    if flow.verdict == Verdict::Alert as u8
        && verdict != Verdict::Block
        && examination.sight & sight::DNS == 0
    {
        // What was told of a flow stands in its record; an alert for where it goes gets the name that comes later.
        // With the name come its categories: they say whether it may be told at all.
        if flow.name_hash == 0 {
            if flow.policy != event.policy {
                flow.policy = event.policy;
                flow.group = event.group;
                flow.list = 0;
                flow.categories = 0;
            }
            flow.categories |= event.categories;
            flow.name_hash = event.name_hash;
            flow.name_source = event.name_source;
            flow.no_name = event.no_name;
        }
        if examination.sight & sight::HTTP == 0 {
            flow.phase = Phase::Named as u8;
        }
        return;
    }
    flow.policy = event.policy;
    flow.group = event.group;
    let by_destination =
        event.no_name == NoName::ListedPort as u8 || event.no_name == NoName::ListedAddress as u8;
    if event.no_name == NoName::Named as u8 {
        flow.name_hash = event.name_hash;
        flow.categories = event.categories;
        flow.list = event.list;
        flow.name_source = event.name_source;
        flow.no_name = NoName::Named as u8;
    } else if flow.name_hash == 0 || verdict == Verdict::Block {
        // A blocked flow tells what it was blocked for. The categories of a name it had before stay:
        // whether that one may be told.
        flow.name_hash = 0;
        flow.list = 0;
        flow.name_source = NameSource::None as u8;
        if by_destination {
            flow.categories = event.categories;
            flow.list = event.list;
        }
        // Where that passes, the flow has yet to say why it has no name.
        if !by_destination || verdict == Verdict::Block {
            flow.no_name = event.no_name;
        }
    }
    if examination.sight & (sight::DNS | sight::HTTP) == 0 && !by_destination {
        flow.phase = Phase::Named as u8;
    }
    if verdict == Verdict::Block && examination.connection == 0 {
        // Nothing of it is read again.
        slots::free_of(flow, &event.key);
    }
    // Last: an event or a packet that sees the verdict sees what it was made with.
    flow.verdict = verdict as u8;
}
