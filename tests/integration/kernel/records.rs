//! From the flow table to records, step by step: what a daemon does between two packets.

use std::sync::Arc;

use anyhow::Result;
use sensor_ebpf::abi::{Flow, FlowEndEvent, NameSource, NoName, Side, Verdict};
use sensor_lab::frames::{Frame, Hello, flag, request};
use sensor_user::assembly::{Assembler, Clocks, Identity, Timeouts, Waiting};
use sensor_user::kernel::control::ControlCell;
use sensor_user::kernel::counters::Counters;
use sensor_user::kernel::events::Rings;
use sensor_user::kernel::flows::FlowTable;
use sensor_user::kernel::object::{Object, Sizes};
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::policy::Policy;
use sensor_user::policy::generations::Generations;
use sensor_user::record::{EndReason, Record};
use sensor_user::store::Told;

use super::verdicts::shipped_policy;
use super::{Bench, Lent, key};

const SECOND: u64 = 1_000_000_000;

/// The programs behind one interface, and the assembler that works on their flow table.
pub(super) struct Stage {
    pub(super) object: Object,
    control: ControlCell,
    pub(super) counters: Counters,
    pub(super) rings: Rings,
    pub(super) assembler: Assembler,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        Self::of(Sizes::SMALL)
    }

    pub(super) fn of(sizes: Sizes) -> Result<Self> {
        let mut bench = Bench::with_sizes(Side::Lan, sizes)?;
        bench.block_both(&["blocked.example"], &[NoName::Evasion])?;
        Ok(Self::behind(bench, Generations::default()))
    }

    fn with_policy(policy: &Policy) -> Result<Self> {
        let mut bench = Bench::new(Side::Lan)?;
        bench.push(&PolicyImage::from(policy))?;
        let generations = Generations::default();
        generations.note(bench.control.policy(), policy)?;
        Ok(Self::behind(bench, generations))
    }

    fn behind(bench: Lent, generations: Generations) -> Self {
        let Bench { object, control, counters, flows, rings, .. } = bench.keep();
        let assembler = assembler(flows, &rings, Arc::new(generations), 0);
        Self { object, control, counters, rings, assembler }
    }

    /// The daemon dies with all it knows, and another one begins with what the store has.
    pub(super) fn die(mut self, stored: &[Record], second: u64) -> Result<Self> {
        self.rings.read_again();
        let flows = self.assembler.into_table();
        let generations = Arc::new(Generations::default());
        let mut assembler = assembler(flows, &self.rings, generations, stored.len() as u64);
        self.control.set_replay_clock(second * SECOND);
        let clocks = Clocks { now_ns: second * SECOND, wall_offset_ns: 0 };
        assembler.reconcile(stored.iter().map(Told::from).collect(), clocks)?;
        Ok(Self { assembler, ..self })
    }

    /// Hears every event there is.
    pub(super) fn hear(&mut self, clocks: Clocks) {
        while let Some(sample) = self.rings.next_flow_end() {
            let event = FlowEndEvent::decode(&sample.bytes).expect("an event");
            self.assembler.flow_end(&event, sample.place, clocks);
        }
        self.assembler.heard_all(u64::MAX);
    }

    pub(super) fn at(&self, second: u64) -> Clocks {
        self.control.set_replay_clock(second * SECOND);
        Clocks { now_ns: second * SECOND, wall_offset_ns: 0 }
    }

    pub(super) fn run(&mut self, frame: &Frame) -> Result<()> {
        self.object.run_xdp(&frame.bytes())?;
        Ok(())
    }

    pub(super) fn flow(&self, frame: &Frame) -> Option<Flow> {
        self.assembler.table().get(&key(frame))
    }

    /// The only record that a sweep at this second makes, once the store has it.
    fn record(&mut self, second: u64) -> Result<Record> {
        let clocks = self.at(second);
        self.assembler.sweep(clocks)?;
        let mut ready = self.assembler.take_ready();
        assert_eq!(ready.len(), 1, "at {second} s: {ready:?}");
        let ready = ready.remove(0);
        self.assembler.committed(&[ready.of], clocks)?;
        Ok(ready.record)
    }
}

/// An assembler whose next record has this number.
fn assembler(
    flows: FlowTable,
    rings: &Rings,
    generations: Arc<Generations>,
    sequence: u64,
) -> Assembler {
    let timeouts = Timeouts {
        idle_ns: 60 * SECOND,
        tcp_idle_ns: 600 * SECOND,
        active_ns: 300 * SECOND,
        linger_ns: 2 * SECOND,
        blocked_hold_ns: 180 * SECOND,
    };
    let identity = Identity { sensor: "gw-1".to_owned(), boot: "boot".to_owned() };
    let mut assembler =
        Assembler::new(flows, timeouts, identity, Vec::new(), generations, sequence);
    assembler.keep_events(rings.keeper());
    assembler
}

#[test]
fn a_flow_stays_until_the_store_has_its_record() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    stage.run(&syn)?;
    stage.run(&syn.reply().with_flags(flag::RST | flag::ACK))?;
    let later = stage.at(20);
    stage.assembler.sweep(later)?;
    let ready = stage.assembler.take_ready();
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].record.end_reason, EndReason::EndOfFlow);
    assert!(stage.flow(&syn).is_some(), "not committed yet");
    stage.assembler.sweep(later)?;
    assert!(stage.assembler.take_ready().is_empty(), "on its way already");
    stage.assembler.committed(&[Waiting::Flow(key(&syn))], later)?;
    assert!(stage.flow(&syn).is_none());
    assert!(stage.assembler.take_ready().is_empty());
    Ok(())
}

#[test]
fn a_connection_that_took_the_key_meanwhile_keeps_its_flow_and_verdict() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    stage.run(&syn)?;
    stage.run(&syn.reply().with_flags(flag::RST | flag::ACK))?;
    let later = stage.at(20);
    stage.assembler.sweep(later)?;
    assert_eq!(stage.assembler.take_ready().len(), 1);
    // The record is on its way, and the port is used again.
    stage.run(&syn.clone().further(5000))?;
    let hello = Frame::from_device(false, &Hello::of("blocked.example").bytes());
    stage.run(&hello.further(5000))?;
    stage.assembler.committed(&[Waiting::Flow(key(&syn))], later)?;
    let flow = stage.flow(&syn).expect("the new flow");
    assert_eq!((flow.verdict, flow.to_peer.packets), (Verdict::Block as u8, 2));
    // And the event of the old one tells nothing twice.
    stage.hear(later);
    assert!(stage.assembler.take_ready().is_empty());
    Ok(())
}

/// A connection whose first hello is read and allowed; a byte of it comes in another version before the
/// server has it.
struct Evasive {
    syn: Frame,
    hello: Vec<u8>,
}

impl Evasive {
    fn new(name: &str) -> Self {
        let hello = Hello { before: vec![(51, 1263)], ..Hello::of(name) }.bytes();
        Self { syn: Frame::from_device(false, b"").with_flags(flag::SYN), hello }
    }

    fn run(&self, stage: &mut Stage) -> Result<()> {
        stage.run(&self.syn)?;
        stage.run(&Frame::from_device(false, &self.hello[..1000]))?;
        stage.run(&self.last())?;
        let named = stage.flow(&self.syn).expect("a flow");
        assert_eq!((named.verdict, named.no_name), (Verdict::Allow as u8, NoName::Named as u8));
        let mut other = self.hello.clone();
        other[600] ^= 1;
        stage.run(&Frame::from_device(false, &other[500..900]).further(500))
    }

    fn last(&self) -> Frame {
        Frame::from_device(false, &self.hello[1000..]).further(1000)
    }
}

#[test]
fn a_flow_that_was_named_and_then_blocked_for_an_evasion_says_what_for() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let evasive = Evasive::new("fine.example");
    evasive.run(&mut stage)?;
    let record = stage.record(20)?;
    is_blocked_for_evasion(&record, 4);
    assert_eq!(record.end_reason, EndReason::ForcedEnd);
    assert!(record.ja4.is_some() && record.tls_version.is_some(), "{record:?}");
    // What the client sends on it later is told when the flow is forgotten, for the same reason.
    stage.at(100);
    stage.run(&evasive.last())?;
    stage.run(&evasive.last())?;
    let rest = stage.record(300)?;
    is_blocked_for_evasion(&rest, 2);
    assert_eq!((&rest.ja4, &rest.tls_version), (&record.ja4, &record.tls_version));
    assert!(stage.flow(&evasive.syn).is_none());
    Ok(())
}

#[test]
fn a_protected_name_is_not_told_by_a_later_evasion() -> Result<()> {
    let policy = shipped_policy()?;
    let protected = |categories| policy.is_unlogged(categories);
    let (name, _) = policy.entries().find(|(_, entry)| protected(entry.categories)).expect("one");
    let mut stage = Stage::with_policy(&policy)?;
    stage.at(10);
    Evasive::new(name).run(&mut stage)?;
    let record = stage.record(20)?;
    is_blocked_for_evasion(&record, 4);
    assert!(record.peer.is_unspecified(), "{record:?}");
    assert_eq!((&record.ja4, record.alpn.len()), (&None, 0), "{record:?}");
    Ok(())
}

fn is_blocked_for_evasion(record: &Record, packets: u64) {
    assert_eq!((record.verdict, record.no_name), (Verdict::Block, NoName::Evasion), "{record:?}");
    assert_eq!((&record.name, record.name_source), (&None, NameSource::None), "{record:?}");
    assert_eq!((&record.list, record.categories.len()), (&None, 0), "{record:?}");
    assert_eq!(record.packets_to_peer, packets, "{record:?}");
}

/// A connection that is used for long has records of what passed; the block is one more, and soon.
#[test]
fn a_block_is_told_soon_on_a_connection_that_has_a_record_already() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    let fine = Frame::from_device(false, &request("fine.example", "/", &[]));
    let length = fine.payload.len() as u32;
    let blocked = Frame::from_device(false, &request("blocked.example", "/", &[]));
    stage.run(&syn)?;
    stage.run(&fine)?;
    stage.at(300);
    stage.run(&fine.further(length))?;
    let first = stage.record(311)?;
    assert_eq!((first.verdict, first.end_reason), (Verdict::Allow, EndReason::ActiveTimeout));
    assert_eq!(first.name.as_deref(), Some("fine.example"));

    stage.at(320);
    stage.run(&blocked.further(2 * length))?;
    let second = stage.record(323)?;
    assert_eq!((second.verdict, second.end_reason), (Verdict::Block, EndReason::ForcedEnd));
    assert_eq!(second.name.as_deref(), Some("blocked.example"));
    assert_eq!((second.flow_id, second.packets_to_peer), (first.flow_id, 1));
    Ok(())
}

/// A client asks for more random names than are kept. It changes no verdict, and each name that is gone is counted: no flow is
/// told by another one's name.
#[test]
fn a_flood_of_names_costs_names_and_is_counted() -> Result<()> {
    const KEPT: u32 = 256;
    const FLOOD: u16 = 4000;
    let mut stage = Stage::of(Sizes { names: KEPT, ..Sizes::SMALL })?;
    stage.at(10);
    let name = |number: u16| {
        if number.is_multiple_of(100) {
            "blocked.example".to_owned()
        } else {
            format!("n{number}.example")
        }
    };
    for number in 0..FLOOD {
        let hello = Frame::from_device(false, &Hello::of(&name(number)).bytes());
        stage.run(&hello.from_port(1024 + number))?;
    }
    let later = stage.at(2000);
    stage.assembler.sweep(later)?;
    let (mut named, mut evicted) = (0, 0);
    for ready in stage.assembler.take_ready() {
        let Record { device_port, name: told, no_name, verdict, .. } = ready.record;
        let expected = name(device_port - 1024);
        let blocked = if expected == "blocked.example" { Verdict::Block } else { Verdict::Allow };
        assert_eq!(verdict, blocked, "{expected}");
        match (told, no_name) {
            (Some(told), NoName::Named) => {
                assert_eq!(told, expected);
                named += 1;
            }
            (None, NoName::NameEvicted) => evicted += 1,
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert_eq!(named + evicted, u32::from(FLOOD));
    assert!((1..=KEPT + u32::from(FLOOD) / 100).contains(&named), "{named} named");
    Ok(())
}
