//! Malformed captures, frame by frame, at an interface to the LAN with the shipped policy in force:
//! nothing is dropped or changed but for a reason that has a counter, and everything is counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::{Accounting, Anomaly, Flow, FlowKey, Happening, NoName, Side, Verdict};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::Packet;
use sensor_user::kernel::counters::Totals;
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::{FRAME_MIN, Outcome, action};
use sensor_user::policy::{GroupId, Policy};

use super::Bench;
use super::verdicts::shipped_policy;
use crate::captures::{Capture, captures};

/// Longest frame that is run: the kernel refuses what does not fit its pages, and no wire carries it.
const FRAME_MAX: usize = 1 << 16;

/// Bytes quoted of a frame that is no longer explained by its counters.
const QUOTED: usize = 160;

/// Every reason for which a packet does not go on as it came.
const DEEDS: [Happening; 6] = [
    Happening::ServerReset,
    Happening::ClientReset,
    Happening::BlockedDropped,
    Happening::ResetFailed,
    Happening::UnreadDropped,
    Happening::AnomalyDropped,
];

/// What became of all frames.
#[derive(Default)]
struct Tally {
    frames: u64,
    not_run: u64,
    bytes: u64,
    unchanged: u64,
    /// Of what was dropped or changed: by happening and reason.
    deeds: BTreeMap<(&'static str, String), u64>,
    surprises: Vec<String>,
}

#[test]
fn malformed_captures_lose_nothing_without_a_reason() -> Result<()> {
    let captures = captures()?;
    let policy = shipped_policy()?;
    for side in [Side::Lan, Side::Tap] {
        let tally = run(&captures, &policy, side)?;
        say(&tally.report(side, captures.len()));
        assert!(tally.surprises.is_empty(), "\n{}", tally.surprises.join("\n"));
    }
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "what the captures came to is for whoever reads the output"
)]
fn say(text: &str) {
    eprintln!("{text}");
}

fn run(captures: &[Capture], policy: &Policy, side: Side) -> Result<Tally> {
    let mut bench = Bench::new(side)?;
    bench.push(&PolicyImage::from(policy))?;
    let mut tally = Tally::default();
    let mut before = bench.ingress()?;
    for Capture { name, frames } in captures {
        for (number, (time_ns, frame)) in (1..).zip(frames) {
            if !(FRAME_MIN..=FRAME_MAX).contains(&frame.len()) {
                tally.not_run += 1;
                continue;
            }
            bench.control.set_replay_clock((*time_ns).max(1));
            let outcome = bench.object.run_xdp(frame)?;
            let after = bench.ingress()?;
            tally.frames += 1;
            tally.bytes += frame.len() as u64;
            let step = Step { frame, outcome: &outcome, before, after };
            match step.explain(&bench, policy, side) {
                Ok(None) => tally.unchanged += 1,
                Ok(Some((deed, reason))) => {
                    *tally.deeds.entry((deed.name(), reason)).or_default() += 1;
                }
                Err(surprise) => tally.surprises.push(format!(
                    "{name}, frame {number}: {surprise}: {} bytes{}",
                    frame.len(),
                    quote(frame)
                )),
            }
            before = after;
            while bench.verdict().is_some() {}
            while bench.flow_end().is_some() {}
        }
        bench.flows.clear()?;
    }
    ensure!(before.is_conserved(), "{side:?}: what was seen did not all go somewhere");
    ensure!(before.seen().packets == tally.frames, "{side:?}: not every frame was seen");
    ensure!(before.seen().bytes == tally.bytes, "{side:?}: not every byte was seen");
    for deed in DEEDS {
        let of_deed = tally.deeds.iter().filter(|((name, _), _)| *name == deed.name());
        let told: u64 = of_deed.map(|(_, count)| count).sum();
        let counted = before.happened(deed);
        let is_explained = told == counted || !tally.surprises.is_empty();
        ensure!(is_explained, "{}: {told} frames, {counted} counted", deed.name());
    }
    Ok(tally)
}

/// One frame, and what it moved.
struct Step<'a> {
    frame: &'a [u8],
    outcome: &'a Outcome,
    before: Totals,
    after: Totals,
}

impl Step<'_> {
    /// Why a frame did not go on as it came, by its counter and a reason that the counter or the flow
    /// names. `Ok(None)`: it did. `Err`: the counters do not tell what became of it.
    fn explain(
        &self,
        bench: &Bench,
        policy: &Policy,
        side: Side,
    ) -> Result<Option<(Happening, String)>, String> {
        self.is_counted()?;
        let moved: Vec<_> = DEEDS.into_iter().filter(|deed| self.happened(*deed) > 0).collect();
        let is_unchanged = self.outcome.action == action::PASS && self.outcome.frame == self.frame;
        let deed = match (is_unchanged, &moved[..]) {
            (true, []) => return Ok(None),
            (false, [deed]) if self.happened(*deed) == 1 => *deed,
            _ => return Err(format!("action {}, counted {moved:?}", self.outcome.action)),
        };
        if side == Side::Tap {
            return Err(format!("{deed:?} at a tap"));
        }
        let (expected, reason) = match deed {
            Happening::UnreadDropped => (action::DROP, self.unread(policy)),
            Happening::AnomalyDropped => (action::DROP, self.anomaly()),
            Happening::BlockedDropped => (action::DROP, self.blocked(bench, policy)),
            Happening::ClientReset => (action::TX, self.blocked(bench, policy)),
            Happening::ServerReset => (action::PASS, self.blocked(bench, policy)),
            // A reset that failed is lost on its sender.
            _ => return Err(format!("{deed:?}")),
        };
        if self.outcome.action != expected {
            return Err(format!("{deed:?} with action {}", self.outcome.action));
        }
        let reason = reason.ok_or_else(|| format!("{deed:?} without a reason"))?;
        Ok(Some((deed, reason)))
    }

    fn is_counted(&self) -> Result<(), String> {
        let volume = |totals: &Totals| (totals.seen().packets, totals.seen().bytes);
        let (packets, bytes) = volume(&self.before);
        if volume(&self.after) != (packets + 1, bytes + self.frame.len() as u64) {
            return Err("not counted as seen".to_owned());
        }
        if !self.after.is_conserved() {
            return Err("not conserved".to_owned());
        }
        Ok(())
    }

    fn happened(&self, what: Happening) -> u64 {
        self.after.happened(what) - self.before.happened(what)
    }

    /// The reason for a packet without a flow, if policy names it for its sender.
    fn unread(&self, policy: &Policy) -> Option<String> {
        let new = |what| self.after.accounted(what).packets - self.before.accounted(what).packets;
        let reason = match (new(Accounting::Fragment), new(Accounting::ExtensionHeaders)) {
            (1, 0) => NoName::Fragment,
            (0, 1) => NoName::ExtensionHeaders,
            _ => return None,
        };
        let is_missed = self.after.no_name(reason) == self.before.no_name(reason) + 1;
        let named = policy.groups().any(|(_, _, masks, _)| is_blocked(masks.block_no_name, reason));
        (is_missed && named).then(|| reason.name().to_owned())
    }

    fn anomaly(&self) -> Option<String> {
        let is_new = |what: &&Anomaly| self.after.anomaly(**what) > self.before.anomaly(**what);
        Anomaly::ALL.iter().find(is_new).map(|anomaly| anomaly.name().to_owned())
    }

    /// The reason for which its flow is blocked, if policy names it for the flow's group.
    fn blocked(&self, bench: &Bench, policy: &Policy) -> Option<String> {
        let flow = flow_of(bench, self.frame)?;
        if flow.verdict != Verdict::Block as u8 {
            return None;
        }
        let masks = policy.masks(GroupId(flow.group));
        match NoName::try_from(flow.no_name).ok()? {
            NoName::Named | NoName::ListedPort => {
                let categories = policy.category_names(flow.categories & masks.block);
                (!categories.is_empty()).then(|| categories.join(", "))
            }
            reason => is_blocked(masks.block_no_name, reason).then(|| reason.name().to_owned()),
        }
    }
}

const fn is_blocked(mask: u64, reason: NoName) -> bool {
    mask >> reason as u8 & 1 == 1
}

fn flow_of(bench: &Bench, frame: &[u8]) -> Option<Flow> {
    let packet = Packet::parse(Cursor::new(frame), frame.len() as u32).ok()?;
    let keys = [FlowKey::from_lan(&packet, 0), FlowKey::from_peer(&packet, 0)];
    keys.iter().find_map(|key| bench.flows.get(key))
}

fn quote(frame: &[u8]) -> String {
    let mut text = String::new();
    for chunk in frame[..frame.len().min(QUOTED)].chunks(2) {
        text.push(' ');
        for byte in chunk {
            write!(text, "{byte:02x}").expect("strings take everything");
        }
    }
    text
}

impl Tally {
    fn report(&self, side: Side, captures: usize) -> String {
        let Self { frames, not_run, bytes, unchanged, .. } = self;
        let mut text = format!(
            "{side:?}: {captures} captures, {frames} frames, {bytes} bytes, {not_run} too short or long \
             to run; {unchanged} passed as they came"
        );
        for ((deed, reason), count) in &self.deeds {
            write!(text, "\n  {count} {deed}: {reason}").expect("strings take everything");
        }
        text
    }
}
