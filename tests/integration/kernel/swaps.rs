//! Tables of names that change places while they are looked at.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use sensor_ebpf::abi::{
    DomainEntry, GroupMasks, Happening, NameSource, Side, Verdict, VerdictEvent,
};
use sensor_ebpf::name::HashKey;
use sensor_lab::dns::{A, Answer, Query, Record};
use sensor_lab::frames::Frame;
use sensor_user::engine::Image;
use sensor_user::kernel::object::Sizes;
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;

use super::Bench;
use super::dns::{NXDOMAIN, frame};

/// Pushes behind the first one.
const SWAPS: u32 = 100;

/// What policies of even generations say of the names that are asked for, and what those of odd ones say.
const SAID: [(Verdict, DomainEntry); 2] = [
    (Verdict::Block, DomainEntry { categories: 1, list: 7, canary: 0, reserved: [0; 5] }),
    (Verdict::Alert, DomainEntry { categories: 2, list: 3, canary: 0, reserved: [0; 5] }),
];

/// A policy, and its table: other names, of another number, hashed with another key.
fn policy(generation: u32) -> Result<(PolicyImage, Image)> {
    let (_, entry) = SAID[(generation & 1) as usize];
    let (listed, others) =
        if generation & 1 == 0 { ("www.both.example", 10) } else { ("example", 5000) };
    let other = DomainEntry { categories: 4, ..entry };
    let mut names = vec![(listed.to_owned(), entry), ("alike.example".to_owned(), entry)];
    names.extend((0..others).map(|number| (format!("{number}.other"), other)));
    let key =
        HashKey { start: u64::from(generation), multiplier: (u64::from(generation) << 40) + 77 };
    let table = Image::build(&names.iter().map(|(name, entry)| (name.as_str(), *entry)), key)?;
    let masks = GroupMasks { block: 1, alert: 2, ..GroupMasks::default() };
    let groups = vec![(0, masks, Vec::new())];
    Ok((PolicyImage { groups, ..PolicyImage::default() }, table))
}

fn push(bench: &mut Bench, generation: u32) -> Result<()> {
    let (image, table) = policy(generation)?;
    let pushed = bench.tables.push_with(&bench.control, &image, &table, |_| Ok(()))?;
    assert_eq!(pushed, generation);
    Ok(())
}

/// Every verdict is one policy's, in all it says.
#[test]
fn while_policies_change_every_verdict_is_that_of_one() -> Result<()> {
    let mut bench = Bench::new(Side::Tap)?;
    push(&mut bench, 1)?;
    let Bench { object, control, tables, rings, .. } = &mut *bench;
    let mut seen = [0_u32; 2];
    let begun = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let control = &*control;
        let pushes = scope.spawn(move || -> Result<()> {
            for generation in 2..2 + SWAPS {
                let (image, table) = policy(generation)?;
                assert_eq!(tables.push_with(control, &image, &table, |_| Ok(()))?, generation);
            }
            Ok(())
        });
        let names = ["www.both.example", "a.b.WWW.both.example.", "alike.example"];
        let mut newest = 0;
        while !pushes.is_finished() {
            for (port, name) in (1..).zip(names) {
                let asked = frame(false, &Query::of(name.trim_end_matches('.'), A).bytes());
                let asked = asked.from_port(port);
                assert_eq!(object.run_xdp(&asked.bytes())?.action, action::PASS);
                let event = rings.next_verdict().and_then(|sample| VerdictEvent::decode(&sample));
                let event = event.expect("every judged name is told");
                assert!(rings.next_verdict().is_none(), "{name} was judged twice");
                let (verdict, entry) = SAID[(event.policy & 1) as usize];
                assert_eq!(
                    Verdict::try_from(event.verdict)?,
                    verdict,
                    "{name} by {}",
                    event.policy
                );
                assert_eq!(
                    (event.categories, event.list),
                    (entry.categories, entry.list),
                    "{name}"
                );
                assert!(event.policy >= newest, "{} came back behind {newest}", event.policy);
                newest = event.policy;
                seen[(event.policy & 1) as usize] += 1;
            }
        }
        pushes.join().expect("the pushes end")
    })?;
    tell(seen.iter().sum(), begun.elapsed());
    assert_eq!(bench.control.policy(), 1 + SWAPS);
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}: too few of one policy");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the harness shows it only where it is wanted")]
fn tell(verdicts: u32, took: Duration) {
    eprintln!(
        "{SWAPS} swaps, {verdicts} verdicts, {:.0} a second",
        f64::from(verdicts) / took.as_secs_f64()
    );
}

/// Where only rules change, the table is the one before's, however often.
#[test]
fn rules_change_without_their_names() -> Result<()> {
    let mut lent = Bench::new(Side::Tap)?;
    let bench = &mut *lent;
    let rules = |verdict: Verdict| {
        let mut masks = GroupMasks::default();
        match verdict {
            Verdict::Block => masks.block = 1,
            _ => masks.alert = 1,
        }
        PolicyImage { groups: vec![(0, masks, Vec::new())], ..PolicyImage::default() }
    };
    let nothing = bench.tables.push_rules(&bench.control, &rules(Verdict::Block), |_| Ok(()));
    let expected = "keep map DOMAINS";
    assert_eq!(nothing.unwrap_err().to_string(), expected);
    // Generations of even numbers list the name under the category that is asked for.
    push(bench, 1)?;
    push(bench, 2)?;
    for generation in 3..8 {
        let verdict = [Verdict::Alert, Verdict::Block][(generation & 1) as usize];
        let pushed = bench.tables.push_rules(&bench.control, &rules(verdict), |_| Ok(()))?;
        assert_eq!(pushed, generation);
        let asked = frame(false, &Query::of("www.both.example", A).bytes());
        bench.run(&asked.from_port(u16::try_from(generation)?))?;
        let event = bench.verdict().expect("a verdict");
        assert_eq!(
            (event.policy, event.verdict, event.list),
            (generation, verdict as u8, SAID[0].1.list)
        );
    }
    push(bench, 8)?;
    push(bench, 9)
}

/// A refused push leaves the policy in force as it is, and the next one goes through.
#[test]
fn more_names_than_there_may_be_are_refused() -> Result<()> {
    let mut lent = Bench::new(Side::Tap)?;
    let bench = &mut *lent;
    push(bench, 1)?;
    let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hashes = (0..=u64::from(Sizes::SMALL.domains)).map(|number| (hash(number), SAID[0].1));
    let table = Image::of_hashes(hashes, HashKey { start: 1, multiplier: 1 })?;
    let (image, _) = policy(2)?;
    let refusal = bench.tables.push_with(&bench.control, &image, &table, |_| Ok(())).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "map DOMAINS is full at 65536 entries; raise kernel.domains_max and start again"
    );
    assert_eq!(bench.control.policy(), 1);
    let asked = frame(false, &Query::of("alike.example", A).bytes());
    bench.run(&asked)?;
    let event = bench.verdict().expect("a verdict");
    assert_eq!((event.policy, event.verdict), (1, SAID[1].0 as u8));
    push(bench, 2)
}

/// The hash of the query's name is another one by then: nothing is kept, least of all under another name.
#[test]
fn an_answer_behind_another_key_names_nothing() -> Result<()> {
    let mut bench = super::dns::bench(Side::Lan, NXDOMAIN)?;
    bench.control.set_replay_clock(1_000_000_000);
    let query = Query::of("library.example", A);
    let address = [198, 51, 100, 7];
    let answer = Answer::to(&query, vec![Record::of(A, 300, &address)]);
    for (port, between, kept) in [(1, false, true), (2, true, false), (3, false, true)] {
        let asked = frame(false, &query.bytes()).from_port(port);
        assert_eq!(bench.run(&asked)?.action, action::PASS);
        let flow = bench.flow(&asked).expect("a flow");
        assert_eq!(flow.name_source, NameSource::Dns as u8);
        assert_eq!(
            bench.flows.name(flow.name_hash).expect("a name").as_bytes(),
            b"library.example"
        );
        if between {
            let generation = bench.control.policy() + 1;
            push(&mut bench, generation)?;
        }
        let before = bench.egress()?.happened(Happening::AnswerNamed);
        let back = Frame { payload: answer.bytes(), ..asked.reply() };
        bench.run_egress(&back)?;
        let named = bench.egress()?.happened(Happening::AnswerNamed) - before;
        assert_eq!(named, u64::from(kept), "port {port}");
    }
    Ok(())
}
