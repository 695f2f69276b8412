//! A flow that lives on while the policy changes: the next packet of its device judges it again.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{Address, Flow, Happening, NameSource, NoName, Verdict};
use sensor_ebpf::flow::mark;

use crate::account::Row;
use crate::destination::Listed;
use crate::judge::{self, Decision};
use crate::maps::{self, Examination, NAMES};
use crate::{flows, group, payload};

/// True of a flow of a device that was judged by another policy than the one in force, or before somebody logged in there. What was blocked stays so: both ends have
/// been told. A flow of DNS queries is judged query by query.
#[inline(always)]
pub(crate) fn is_due(flow: &Flow, device: Address) -> bool {
    let judged = flow.judged;
    // Last what is nearly always true.
    judged != 0
        && maps::control().is_some_and(|control| control.epoch(control.policy, device) != judged)
        && flow.verdict != Verdict::Block as u8
        && flow.name_source != NameSource::Dns as u8
}

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    match rejudge(ctx, examination, row) {
        Some(decision) if decision.is_enforced(examination) => judge::reset(ctx, examination, row),
        _ => XDP_PASS,
    }
}

#[inline(always)]
fn rejudge(ctx: &XdpContext, examination: &mut Examination, row: Row) -> Option<Decision> {
    let flow = flows::of(examination)?;
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &mut *flow };
    // First, whatever comes of it: the next packet is not judged for this policy.
    let policy = maps::control()?.policy;
    let group = judge::group_now(ctx, examination, policy);
    flow.judged = examination.epoch;
    if flow.marks & mark::PEER_INITIATED == 0
        && let Some(listed) = Listed::find(examination, policy, group::uses_of(policy))
        && let Some(decision) = listed.decide_again(examination, flow, (policy, group), row)
        && decision.verdict == Verdict::Block
    {
        return Some(decision);
    }
    if flow.no_name == NoName::Named as u8 && recall_name(examination, flow).is_none() {
        row.happened(Happening::NameForgotten);
        return None;
    }
    judge::judge_again(examination, flow, (policy, group), row)
}

/// Puts the flow's name into the event.
#[inline(always)]
fn recall_name(examination: &mut Examination, flow: &Flow) -> Option<()> {
    let name = NAMES.get_ptr(flow.name_hash)?;
    // SAFETY: a live map value; one that another name takes meanwhile has another hash, which is looked at.
    payload::copy_value(&mut examination.event.name, unsafe { &*name });
    (examination.event.name.length != 0).then_some(())
}
