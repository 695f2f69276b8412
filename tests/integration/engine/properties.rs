//! Random policies and questions: the program, the host and the reference give one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_lab::FULL_VARIABLE;
use sensor_user::policy::{Policy, Port};

use super::super::kernel::Random;
use super::gateway::{Gateway, Told, Way};
use super::model::{Model, TODAY};
use super::reference::Answer;
use super::written::Written;

/// Policies of a short run, and of one with nothing left out.
const POLICIES: [u64; 2] = [60, 1000];
/// The same where no program is asked.
const POLICIES_OF_HOST: [u64; 2] = [200, 10_000];
const QUESTIONS: usize = 80;
/// Policies that one gateway has in turn: its table of flows has room for all their questions.
const POLICIES_OF_GATEWAY: u64 = 500;

/// What kinds of answers there were.
type Seen = BTreeMap<String, usize>;

fn count([short, full]: [u64; 2]) -> u64 {
    if env::var_os(FULL_VARIABLE).is_some() { full } else { short }
}

/// One random policy, and questions to it.
fn check(seed: u64, mut gateway: Option<&mut Gateway>, seen: &mut Seen) -> Result<()> {
    // Seeds that are alike begin alike.
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let model = Model::random(&mut random);
    let policy = Written::new(&model.rules(), &model.lists)?.load_at(TODAY.parse()?)?;
    if let Some(gateway) = &mut gateway {
        gateway.load(&policy)?;
    }
    for _ in 0..QUESTIONS {
        let (asked, device) = (model.question(&mut random), model.device(&mut random));
        let question = || format!("{asked} of {device}");
        let group = policy.group_of(device);
        let address: Option<IpAddr> = asked.parse().ok();
        let decision = address
            .map_or_else(|| policy.decide(&asked, group), |at| policy.decide_address(at, group));
        let by_host = Told {
            verdict: decision.verdict,
            categories: decision.categories(),
            list: decision.list(),
            group: group.0,
            reason: NoName::Named,
        };
        let (expected, found) = (model.answer(device, &asked), in_words(&policy, by_host));
        ensure!(found == expected, "{}: the host says {found:?}, not {expected:?}", question());
        note(seen, &expected);
        let Some(gateway) = &mut gateway else { continue };
        if let Some(address) = address {
            if address.is_ipv4() == device.is_ipv4() {
                let fate = gateway.reach(device, address)?;
                let by_host = Told { reason: NoName::ListedAddress, ..by_host };
                let expected = (by_host.verdict != Verdict::Allow).then_some(by_host);
                ensure!(fate.told == expected, "{}: the program says {:?}", question(), fate.told);
                ensure!(fate.passes == (by_host.verdict != Verdict::Block), "{}", question());
            }
            continue;
        }
        if let Some(port) = Port::parse(&asked) {
            let fate = gateway.open(device, port?)?;
            let by_host = Told { reason: NoName::ListedPort, ..by_host };
            let expected = (by_host.verdict != Verdict::Allow).then_some(by_host);
            ensure!(fate.told == expected, "{}: the program says {:?}", question(), fate.told);
            ensure!(fate.passes == (by_host.verdict != Verdict::Block), "{}", question());
            continue;
        }
        let way = Way::ALL[random.below(Way::ALL.len())];
        let fate = gateway.ask(device, &asked, way)?;
        let told =
            fate.told.with_context(|| format!("{} by {way:?}: nothing is told", question()))?;
        ensure!(told == by_host, "{} by {way:?}: the program says {told:?}", question());
        ensure!(fate.passes == (told.verdict != Verdict::Block), "{} by {way:?}", question());
    }
    Ok(())
}

fn in_words(policy: &Policy, told: Told) -> Answer {
    let categories = policy.category_names(told.categories);
    Answer {
        verdict: told.verdict.name(),
        list: policy.list_name(told.list).to_owned(),
        categories: categories.into_iter().map(ToOwned::to_owned).collect::<BTreeSet<_>>(),
    }
}

fn note(seen: &mut Seen, answer: &Answer) {
    let kinds = ["exception", "local-allow", "local-block", "locked", "p0", "p1", "unlisted"];
    let kind = kinds.into_iter().find(|kind| answer.categories.contains(*kind));
    let listed = if answer.categories.is_empty() { "unlisted" } else { "listed" };
    let kind = format!("{} {}", kind.unwrap_or(listed), answer.verdict);
    *seen.entry(kind).or_default() += 1;
}

/// What would not come up would be tested by nobody.
fn check_seen(seen: &Seen) {
    for kind in [
        "unlisted allow",
        "unlisted alert",
        "unlisted block",
        "listed allow",
        "listed alert",
        "listed block",
        "local-allow allow",
        "local-block block",
        "locked block",
        "p0 allow",
        "exception allow",
        "exception alert",
        "exception block",
    ] {
        let count = seen.get(kind).copied().unwrap_or_default();
        assert!(count >= 10, "{count} questions with answer {kind}: {seen:?}");
    }
}

#[test]
fn program_host_and_reference_give_one_answer() -> Result<()> {
    let mut seen = Seen::new();
    let mut gateway = Gateway::new()?;
    for seed in 1..=count(POLICIES) {
        if seed % POLICIES_OF_GATEWAY == 0 {
            gateway = Gateway::new()?;
        }
        check(seed, Some(&mut gateway), &mut seen).with_context(|| format!("seed {seed}"))?;
    }
    check_seen(&seen);
    Ok(())
}

#[test]
fn host_and_reference_give_one_answer() -> Result<()> {
    let mut seen = Seen::new();
    for seed in 1..=count(POLICIES_OF_HOST) {
        let seed = seed << 32;
        check(seed, None, &mut seen).with_context(|| format!("seed {seed}"))?;
    }
    check_seen(&seen);
    Ok(())
}
