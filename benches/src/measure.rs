//! Times one scenario for one round, and proves by counters and flows that its packets took the path
//! it is named after. A test run leaves a frame as the program left it, so only frames that are not
//! written to can be repeated within one call.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sensor_ebpf::abi::{Accounting, Anomaly, Flow, Happening, NameSource, NoName, Side, Verdict};
use sensor_ebpf::flow::{Phase, RESETS_MAX, mark, peer_mark};
use sensor_ebpf::parse::SYN;
use sensor_user::kernel::counters::Totals;
use sensor_user::kernel::lab::Lab;
use sensor_user::kernel::object::Sizes;
use sensor_user::kernel::test_run::action;

use crate::cpu;
use crate::flows::FlowCost;
use crate::peer::Sealed;
use crate::scenarios::{Course, Initials, OneFlow, Scenario, SplitHellos, State};
use crate::stand::{Stand, UNLISTED, key_of};

/// Packets before a measurement, to have caches and predictors as they are on a busy link.
pub(crate) const WARM_UP: u32 = 1000;

/// New flows between two clearings: most of what the small flow table holds.
const NEW_FLOWS: u32 = 50_000;

/// Blocked hellos between two drains: the small verdict ring holds 2,800 events.
const BLOCKED_HELLOS: u32 = 2000;

/// Split hellos at a time: a quarter of the slots there are, so that each flow finds a free one.
const SPLIT_HELLOS: u32 = Sizes::SMALL.slots / 4;

/// What the SYN of a stream arms: only where both are marked are timestamps and checksums looked at.
const ARMED: u16 = mark::SYN_CHECKSUM | mark::SYN_TIMESTAMP;

/// ns per packet. `baseline_ns` is this round's; what is measured through the mutator is the excess
/// over the mutator alone, on top of the baseline.
pub(crate) fn measure(stand: &mut Stand, scenario: &Scenario, baseline_ns: f64) -> Result<f64> {
    let packets = scenario.packets;
    let measured = match &scenario.course {
        Course::Baseline { frame } => baseline(stand, frame, packets),
        Course::Unwatched { frame } => unwatched(stand, frame, packets),
        Course::NotIp { frame } => {
            stand.repeat_counted(frame, packets, action::PASS, Some(Accounting::NotIp), None)
        }
        Course::OneFlow(course) => one_flow(stand, course, packets),
        Course::NewFlows { frame } => new_flows(stand, frame, packets).map(|net| net + baseline_ns),
        Course::BlockedHellos { open, hello } => {
            blocked_hellos(stand, open, hello, packets).map(|net| net + baseline_ns)
        }
        Course::Answer { query, answer } => answers(stand, query, answer, packets),
        Course::Initials(course) => initials(stand, course, packets).map(|net| net + baseline_ns),
        Course::OpenedInUserSpace(sealed) => opened_in_user_space(sealed, packets),
        Course::LookUp(look_up) => stand.lists.look_up(*look_up, packets),
        Course::List(cost, names) => stand.lists.cost(*cost, *names),
        Course::FlowTable(FlowCost::Export, place) => {
            stand.tables.cost(FlowCost::Export, *place, packets)
        }
        Course::FlowTable(cost, place) => {
            stand.tables.cost(*cost, *place, packets).map(|net| net + baseline_ns)
        }
        Course::SplitHellos(course) => {
            split_hellos(stand, course, packets).map(|net| net + baseline_ns)
        }
    };
    measured.with_context(|| format!("measure scenario {}", scenario.name))
}

fn baseline(stand: &mut Stand, frame: &[u8], packets: u32) -> Result<f64> {
    stand.alone.repeat("pass", frame, WARM_UP)?;
    let (time, result) = timed(|| stand.alone.repeat("pass", frame, packets));
    ensure!(result? == action::PASS, "the baseline did not pass");
    Ok(per_packet(time, packets))
}

fn unwatched(stand: &mut Stand, frame: &[u8], packets: u32) -> Result<f64> {
    stand.watch(Side::Unwatched)?;
    let measured = stand.repeat_counted(frame, packets, action::PASS, None, None);
    stand.watch(Side::Lan)?;
    measured
}

fn one_flow(stand: &mut Stand, course: &OneFlow, packets: u32) -> Result<f64> {
    stand.flows.clear()?;
    for (frame, action) in &course.story {
        stand.play(frame, *action)?;
    }
    stand.drain_verdicts();
    let policy = stand.push_policy()?;
    let key = key_of(&course.frame)?;
    let before = stand.flows.get(&key).context("the flow was not made")?;
    let (action, happening) = match course.state {
        State::Unexamined | State::Done | State::Known | State::Judged(_) => (action::PASS, None),
        State::Dropped => (action::DROP, Some(Happening::BlockedDropped)),
    };
    let accounting = Some(Accounting::Flow);
    let measured = stand.repeat_counted(&course.frame, packets, action, accounting, happening)?;
    let after = stand.flows.get(&key).context("the flow is gone")?;
    let added = after.to_peer.packets - before.to_peer.packets;
    ensure!(added == u64::from(WARM_UP + packets), "the flow got {added} packets");
    ensure!(is_in(stand, &after, course.state, policy), "the flow is {after:?}");
    Ok(measured)
}

/// True where the flow shows the state, and under which policy it was last judged.
fn is_in(stand: &Stand, flow: &Flow, state: State, policy: u32) -> bool {
    // What passes unread is judged by a new policy once, before anything is measured.
    let judged_now = flow.policy == policy;
    match state {
        State::Unexamined => {
            flow.phase == Phase::Done as u8 && flow.verdict == Verdict::Undecided as u8
        }
        State::Done => {
            // It came there by the server's answer: nothing was taken off the budget.
            flow.phase == Phase::Done as u8
                && is_named(stand, flow)
                && flow.peer_marks & peer_mark::ACKNOWLEDGED != 0
                && flow.examined == 0
                && judged_now
        }
        State::Known => {
            let is_quic = flow.phase == Phase::Named as u8 && flow.quic_version().is_some();
            is_quic && is_named(stand, flow) && judged_now
        }
        State::Judged(source) => {
            let is_armed = flow.marks & ARMED == ARMED;
            let is_read = match source {
                NameSource::Tls => {
                    let is_followed = flow.peer_marks & peer_mark::SYN != 0;
                    flow.phase == Phase::Named as u8 && flow.hello != 0 && is_armed && is_followed
                }
                NameSource::Http => flow.phase == Phase::Requests as u8 && is_armed,
                // Of DNS queries are judged whatever the flow has come to.
                NameSource::None | NameSource::Dns | NameSource::DnsAnswer | NameSource::Quic => {
                    flow.phase == Phase::Done as u8
                }
            };
            let is_judged = flow.name_source == source as u8 && is_named(stand, flow) && judged_now;
            is_read && is_judged && flow.slot == 0
        }
        State::Dropped => {
            flow.verdict == Verdict::Block as u8 && flow.resets == RESETS_MAX && !judged_now
        }
    }
}

/// True where the unlisted name was read and let pass.
fn is_named(stand: &Stand, flow: &Flow) -> bool {
    let name = stand.flows.name(flow.name_hash);
    name.is_some_and(|name| name.as_bytes() == UNLISTED.as_bytes())
        && flow.no_name == NoName::Named as u8
        && flow.verdict == Verdict::Allow as u8
}

/// What the sensor adds to the mutator.
fn new_flows(stand: &mut Stand, frame: &[u8], packets: u32) -> Result<f64> {
    let mut mutator = Lab::load()?;
    mutator.mutate_into(&mut stand.object)?;
    let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..packets / NEW_FLOWS {
        stand.flows.clear()?;
        let before = stand.totals()?;
        let (time, result) = timed(|| mutator.repeat("mutate", frame, NEW_FLOWS));
        ensure!(result? == action::PASS, "a new flow did not pass");
        with += time;
        expect(&before, &stand.totals()?, NEW_FLOWS, Some(Accounting::Flow), None)?;
        let new = |flow: &Flow| {
            flow.to_peer.packets == 1
                && flow.lan_tcp_flags == SYN
                && flow.phase == Phase::Waiting as u8
        };
        let flows = stand.all_flows()?;
        ensure!(flows.len() == NEW_FLOWS as usize, "there are {} flows", flows.len());
        ensure!(flows.iter().all(new), "a flow is not new");
        let (time, result) = timed(|| stand.alone.repeat("mutate", frame, NEW_FLOWS));
        result?;
        without += time;
    }
    let measured = packets / NEW_FLOWS * NEW_FLOWS;
    Ok(per_packet(with, measured) - per_packet(without, measured))
}

/// What the sensor adds to a call that runs the mutator. The hello becomes a reset, so that a second
/// run within the call would see that.
fn blocked_hellos(stand: &mut Stand, open: &[u8], hello: &[u8], packets: u32) -> Result<f64> {
    // Two mutators that have turned equally often give the same flows.
    let (mut opener, mut mutator) = (Lab::load()?, Lab::load()?);
    opener.mutate_into(&mut stand.object)?;
    mutator.mutate_into(&mut stand.object)?;
    let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..packets / BLOCKED_HELLOS {
        stand.flows.clear()?;
        stand.drain_verdicts();
        opener.repeat("mutate", open, BLOCKED_HELLOS)?;
        let before = stand.totals()?;
        let (time, result) = timed(|| one_by_one(&mut mutator, hello));
        result?;
        with += time;
        let after = stand.totals()?;
        let happening = Some(Happening::ServerReset);
        expect(&before, &after, BLOCKED_HELLOS, Some(Accounting::Flow), happening)?;
        let told = stand.drain_verdicts();
        ensure!(told == BLOCKED_HELLOS as usize, "{told} verdicts were told");
        let blocked = |flow: &Flow| {
            flow.to_peer.packets == 2 && flow.verdict == Verdict::Block as u8 && flow.resets == 0
        };
        let flows = stand.all_flows()?;
        ensure!(flows.len() == BLOCKED_HELLOS as usize, "there are {} flows", flows.len());
        ensure!(flows.iter().all(blocked), "a flow was not blocked by its second packet");
        let (time, result) = timed(|| one_by_one(&mut stand.alone, hello));
        result?;
        without += time;
    }
    let measured = packets / BLOCKED_HELLOS * BLOCKED_HELLOS;
    Ok(per_packet(with, measured) - per_packet(without, measured))
}

/// What the sensor adds to the mutator. The same flows go through it again and again, so that tables and
/// slots are in the caches as on a busy gateway.
fn split_hellos(stand: &mut Stand, course: &SplitHellos, packets: u32) -> Result<f64> {
    let mut mutator = Lab::load()?;
    mutator.mutate_into(&mut stand.object)?;
    stand.flows.clear()?;
    split_hello_batch(stand, &mut mutator, course)?;
    let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..packets / SPLIT_HELLOS {
        let (with_sensor, alone) = split_hello_batch(stand, &mut mutator, course)?;
        with += with_sensor;
        without += alone;
    }
    // Only now: to look at every flow empties the caches.
    let flows = stand.all_flows()?;
    ensure!(flows.len() == SPLIT_HELLOS as usize, "there are {} flows", flows.len());
    for flow in &flows {
        ensure!(has_slot(stand, flow, course), "the flow is {flow:?}");
    }
    mutator.turn_to(0)?;
    all_pass(&mut mutator, &course.give_up)?;
    stand.drain_flow_ends();
    let freed = stand.all_flows()?.iter().all(|flow| flow.slot == 0);
    ensure!(freed, "a flow has kept its slot");
    let measured = packets / SPLIT_HELLOS * SPLIT_HELLOS;
    Ok(per_packet(with, measured) - per_packet(without, measured))
}

/// One segment of each flow: time with the sensor, and without it.
fn split_hello_batch(
    stand: &mut Stand,
    mutator: &mut Lab,
    course: &SplitHellos,
) -> Result<(Duration, Duration)> {
    for frame in [&course.give_up].into_iter().chain(&course.story) {
        mutator.turn_to(0)?;
        all_pass(mutator, frame)?;
    }
    stand.drain_flow_ends();
    mutator.turn_to(0)?;
    let before = stand.totals()?;
    let (with, result) = timed(|| all_pass(mutator, &course.segment));
    result?;
    let happening = course.completes.then_some(Happening::HelloAssembled);
    expect(&before, &stand.totals()?, SPLIT_HELLOS, Some(Accounting::Flow), happening)?;
    let (without, result) = timed(|| all_pass(&mut stand.alone, &course.segment));
    result?;
    Ok((with, without))
}

fn all_pass(mutator: &mut Lab, frame: &[u8]) -> Result<()> {
    let result = mutator.repeat("mutate", frame, SPLIT_HELLOS)?;
    ensure!(result == action::PASS, "a segment had action {result}");
    Ok(())
}

/// True where a hello is kept: half of it, or all of it until the server answers.
fn has_slot(stand: &Stand, flow: &Flow, course: &SplitHellos) -> bool {
    let packets = course.story.len() as u64 + 1;
    let read = if course.completes {
        flow.phase == Phase::Named as u8 && flow.hello != 0 && is_named(stand, flow)
    } else {
        flow.phase == Phase::Waiting as u8 && flow.no_name == NoName::Truncated as u8
    };
    flow.slot != 0 && flow.marks & ARMED == ARMED && flow.to_peer.packets == packets && read
}

/// What the sensor adds to the mutator. The same flows begin anew each time.
fn initials(stand: &mut Stand, course: &Initials, packets: u32) -> Result<f64> {
    let mut mutator = Lab::load()?;
    mutator.mutate_into(&mut stand.object)?;
    stand.flows.clear()?;
    initial_batch(stand, &mut mutator, course)?;
    let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..packets / SPLIT_HELLOS {
        let (with_sensor, alone) = initial_batch(stand, &mut mutator, course)?;
        with += with_sensor;
        without += alone;
    }
    let measured = packets / SPLIT_HELLOS * SPLIT_HELLOS;
    Ok(per_packet(with, measured) - per_packet(without, measured))
}

/// One datagram of each flow: time with the sensor, and without it. All slots are free behind it.
fn initial_batch(
    stand: &mut Stand,
    mutator: &mut Lab,
    course: &Initials,
) -> Result<(Duration, Duration)> {
    for frame in &course.story {
        mutator.turn_to(0)?;
        all_pass(mutator, frame)?;
    }
    mutator.turn_to(0)?;
    let before = stand.totals()?;
    let (with, result) = timed(|| all_pass(mutator, &course.datagram));
    result?;
    let happening = (!course.story.is_empty()).then_some(Happening::HelloAssembled);
    expect(&before, &stand.totals()?, SPLIT_HELLOS, Some(Accounting::Flow), happening)?;
    let (without, result) = timed(|| all_pass(&mut stand.alone, &course.datagram));
    result?;
    for frame in &course.rest {
        mutator.turn_to(0)?;
        all_pass(mutator, frame)?;
    }
    let answered = stand.answer_all()?;
    ensure!(answered.len() == SPLIT_HELLOS as usize, "there are {} flows", answered.len());
    for flow in &answered {
        let is_read = flow.name_source == NameSource::Quic as u8 && is_named(stand, flow);
        let is_over = flow.phase == Phase::Answered as u8 && flow.slot == 0;
        ensure!(is_read && is_over && flow.hello != 0, "the flow is {flow:?}");
    }
    stand.flows.clear()?;
    Ok((with, without))
}

/// By CPU time too, on the same CPU.
fn opened_in_user_space(sealed: &Sealed, packets: u32) -> Result<f64> {
    let open = |times: u32| (0..times).try_for_each(|_| sealed.open());
    open(WARM_UP)?;
    let (time, result) = timed(|| open(packets));
    result?;
    Ok(per_packet(time, packets))
}

/// Answers to the flow's last query, whose addresses are kept anew each time.
fn answers(stand: &mut Stand, query: &[u8], answer: &[u8], packets: u32) -> Result<f64> {
    stand.flows.clear()?;
    stand.play(query, action::PASS)?;
    let before = stand.egress_totals()?;
    stand.object.repeat_egress(answer, WARM_UP)?;
    let (time, result) = timed(|| stand.object.repeat_egress(answer, packets));
    ensure!(result? == action::CONTINUE, "an answer did not pass");
    let happening = Some(Happening::AnswerNamed);
    let after = stand.egress_totals()?;
    expect(&before, &after, WARM_UP + packets, Some(Accounting::Flow), happening)?;
    Ok(per_packet(time, packets))
}

fn one_by_one(mutator: &mut Lab, frame: &[u8]) -> Result<()> {
    for _ in 0..BLOCKED_HELLOS {
        let result = mutator.repeat("mutate", frame, 1)?;
        ensure!(result == action::PASS, "a hello had action {result}");
    }
    Ok(())
}

impl Stand {
    /// Times a frame that must have this action, be accounted so, and make this happen, each time.
    fn repeat_counted(
        &mut self,
        frame: &[u8],
        packets: u32,
        action: u32,
        accounting: Option<Accounting>,
        happening: Option<Happening>,
    ) -> Result<f64> {
        let before = self.totals()?;
        self.object.repeat_xdp(frame, WARM_UP)?;
        let (time, result) = timed(|| self.object.repeat_xdp(frame, packets));
        let result = result?;
        ensure!(result == action, "the action was {result}, not {action}");
        expect(&before, &self.totals()?, WARM_UP + packets, accounting, happening)?;
        Ok(per_packet(time, packets))
    }
}

/// Between the two, so many packets were accounted so and made this happen, and nothing else.
fn expect(
    before: &Totals,
    after: &Totals,
    packets: u32,
    accounting: Option<Accounting>,
    happening: Option<Happening>,
) -> Result<()> {
    let only_if = |expected| if expected { u64::from(packets) } else { 0 };
    for &value in Accounting::ALL {
        let count = after.accounted(value).packets - before.accounted(value).packets;
        let name = value.name();
        ensure!(count == only_if(accounting == Some(value)), "{count} packets were {name}");
    }
    for &value in Happening::ALL {
        let count = after.happened(value) - before.happened(value);
        let name = value.name();
        ensure!(count == only_if(happening == Some(value)), "{name} happened {count} times");
    }
    for &value in NoName::ALL {
        let count = after.no_name(value) - before.no_name(value);
        ensure!(count == 0, "{count} times there was no name: {}", value.name());
    }
    for &value in Anomaly::ALL {
        let count = after.anomaly(value) - before.anomaly(value);
        ensure!(count == 0, "{count} segments were anomalous: {}", value.name());
    }
    ensure!(after.is_conserved(), "the counters are not conserved");
    Ok(())
}

pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let before = cpu::used();
    let result = run();
    (cpu::used().saturating_sub(before), result)
}

pub(crate) fn per_packet(time: Duration, packets: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(packets)
}
