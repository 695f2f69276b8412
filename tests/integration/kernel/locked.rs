//! Names that are known by their SHA-256 alone: the loaded program finds them as the host does.

use anyhow::Result;
use sensor_ebpf::abi::{DomainEntry, GroupMasks, LOCKED, NoName, Side, Verdict};
use sensor_ebpf::name::HashKey;
use sensor_lab::dns::{A, Query};
use sensor_lab::frames::{Frame, Hello, request};
use sensor_lab::quic::{Content, Initial, from_device, message};
use sensor_user::engine::Image;
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;
use sha2::{Digest as _, Sha256};

use super::{Bench, Lent, Random};

/// What an allowed category says of a name.
const ALLOWED: DomainEntry = DomainEntry { categories: 1, list: 4, canary: 0, reserved: [0; 5] };

fn locked(list: u16) -> DomainEntry {
    DomainEntry { categories: LOCKED, list, ..DomainEntry::default() }
}

fn first_of_sha256(name: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(name).into();
    digest.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A policy in which everybody may visit what is listed, under these locks.
fn policy(listed: &[&str], locks: &[(&str, u16)]) -> PolicyImage {
    let masks = GroupMasks { allow: !LOCKED, ..GroupMasks::default() };
    PolicyImage {
        domains: listed.iter().map(|name| ((*name).to_owned(), ALLOWED)).collect(),
        locked: locks.iter().map(|(name, list)| (first_of_sha256(name), locked(*list))).collect(),
        groups: vec![(0, masks, Vec::new())],
        ..PolicyImage::default()
    }
}

fn bench(side: Side, image: &PolicyImage) -> Result<Lent> {
    let mut bench = Bench::new(side)?;
    bench.push(image)?;
    Ok(bench)
}

#[test]
fn a_locked_name_is_blocked_however_it_is_sent() -> Result<()> {
    let image = policy(&["shop.bad.example"], &[("bad.example", 9)]);
    let mut bench = bench(Side::Lan, &image)?;
    let name = "www.shop.BAD.example";
    let initial = Initial::of(vec![Content::whole(&message(&Hello::of(name)))]).datagram();
    for (port, sent) in (1..).zip([
        Frame::from_device(false, &Hello::of(name).bytes()),
        Frame::from_device(true, &request(name, "/", &[])),
        super::dns::frame(false, &Query::of(name, A).bytes()),
        from_device(false, &initial),
    ]) {
        let sent = sent.from_port(port);
        let outcome = bench.run(&sent)?;
        let passed = outcome.action == action::PASS && outcome.frame == sent.bytes();
        assert!(!passed, "{port} passed");
        let event = bench.verdict().expect("a verdict");
        assert_eq!((event.verdict, event.list), (Verdict::Block as u8, 9), "{port}");
        assert_eq!(event.categories, LOCKED, "{port}");
    }
    Ok(())
}

/// Hashing is dear: who sends names without end gets none through, and nobody else is any worse off.
#[test]
fn a_client_has_a_budget_of_names() -> Result<()> {
    /// Sixteen suffixes of four blocks each: as many such names at once.
    const AT_ONCE: u16 = 32_768 / 64;
    const ONE_MORE_NS: u64 = 64 * (1_000_000_000 / 16_384);
    let name = format!("{}example", "aaaaaaaaaaaaaa.".repeat(16));
    let image = policy(&["example"], &[("bad.example", 9)]);
    let mut bench = bench(Side::Lan, &image)?;
    let query = |port: u16| super::dns::frame(false, &Query::of(&name, A).bytes()).from_port(port);
    for port in 1..=AT_ONCE {
        assert_eq!(bench.run(&query(port))?.action, action::PASS, "{port}");
        bench.verdict().expect("every judged name is told");
    }
    assert_eq!(bench.run(&query(AT_ONCE + 1))?.action, action::DROP);
    let event = bench.verdict().expect("a verdict");
    let reason = NoName::LockedBudget;
    assert_eq!((event.verdict, event.no_name), (Verdict::Block as u8, reason as u8));
    assert_eq!((event.categories, event.name.as_bytes()), (0, &b""[..]));
    assert_eq!(bench.ingress()?.no_name(reason), 1);
    let other = query(1);
    let other = Frame { source: "10.20.0.6".parse()?, ..other };
    assert_eq!(bench.run(&other)?.action, action::PASS);
    let short = super::dns::frame(false, &Query::of("fine.example", A).bytes());
    assert_eq!(bench.run(&short.from_port(AT_ONCE + 9))?.action, action::DROP, "all is spent");
    // A moment on there is room for one more.
    bench.control.set_replay_clock(1 + ONE_MORE_NS);
    assert_eq!(bench.run(&query(AT_ONCE + 2))?.action, action::PASS);
    assert_eq!(bench.run(&query(AT_ONCE + 3))?.action, action::DROP);
    // Where nothing is locked there is room for any number.
    bench.push(&policy(&["example"], &[]))?;
    assert_eq!(bench.run(&query(AT_ONCE + 4))?.action, action::PASS);
    Ok(())
}

#[test]
fn the_program_finds_what_the_host_finds() -> Result<()> {
    const LABELS: [&str; 7] =
        ["a", "b", "example", "com", "x-1", "_y", "0123456789012345678901234567890123456789"];
    let mut random = Random(5);
    let name = |random: &mut Random, labels: usize| {
        let labels = (0..labels).map(|_| LABELS[random.below(LABELS.len())]);
        labels.collect::<Vec<_>>().join(".")
    };
    let listed: Vec<String> = (0..40).map(|_| name(&mut random, 2)).collect();
    let locks: Vec<String> = (0..60).map(|at| name(&mut random, 2 + at % 5)).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let mut locks: Vec<(&str, u16)> = locks.iter().map(String::as_str).zip(100..).collect();
    locks.sort_unstable();
    locks.dedup_by_key(|(name, _)| *name);
    let image = policy(&listed, &locks);
    let entries = image.domains.iter().map(|(name, entry)| (name.as_str(), *entry));
    let table =
        Image::build_with_locked(&entries, &image.locked, HashKey { start: 1, multiplier: 3 })?;
    let mut bench = bench(Side::Tap, &image)?;
    let mut found = [0; 3];
    for port in 1..=3000 {
        let labels = 1 + random.below(if port % 10 == 0 { 40 } else { 6 });
        let mut asked = name(&mut random, labels);
        if port % 3 == 0 {
            asked = format!("www.{}", locks[random.below(locks.len())].0);
        }
        asked.truncate(253);
        let asked = asked.trim_end_matches('.');
        // Within the device's budget.
        bench.control.set_replay_clock(u64::from(port) * 10_000_000);
        bench.run(&Frame::from_device(false, &Hello::of(asked).bytes()).from_port(port))?;
        let event = bench.verdict().expect("every judged name is told");
        let expected = table.look_up(asked);
        assert_eq!((event.categories, event.list), (expected.categories, expected.list), "{asked}");
        found[match expected.categories {
            0 => 0,
            LOCKED => 1,
            _ => 2,
        }] += 1;
    }
    assert!(found.iter().all(|count| *count > 50), "{found:?}: too few of one kind");
    Ok(())
}
