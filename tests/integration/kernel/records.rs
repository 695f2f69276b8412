//! From the flow table to records, step by step: what a daemon does between two packets.

use std::sync::Arc;

use anyhow::Result;
use sensor_ebpf::abi::{Flow, FlowEndEvent, Side, Verdict};
use sensor_lab::frames::{Frame, Hello, flag};
use sensor_user::assembly::{Assembler, Clocks, Identity, Timeouts};
use sensor_user::kernel::control::ControlCell;
use sensor_user::kernel::events::Rings;
use sensor_user::kernel::object::Object;
use sensor_user::policy::generations::Generations;
use sensor_user::record::EndReason;

use super::{Bench, key};

const SECOND: u64 = 1_000_000_000;

/// The programs behind one interface, and the assembler that works on their flow table.
struct Stage {
    object: Object,
    control: ControlCell,
    rings: Rings,
    assembler: Assembler,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut bench = Bench::new(Side::Lan)?;
        bench.block(&["blocked.example"])?;
        let Bench { object, control, flows, rings, .. } = bench;
        let timeouts = Timeouts {
            idle_ns: 60 * SECOND,
            tcp_idle_ns: 600 * SECOND,
            active_ns: 300 * SECOND,
            linger_ns: 2 * SECOND,
            blocked_hold_ns: 180 * SECOND,
        };
        let identity = Identity { sensor: "gw-1".to_owned(), boot: "boot".to_owned() };
        let generations = Arc::new(Generations::default());
        let assembler = Assembler::new(flows, timeouts, identity, Vec::new(), generations, 0);
        Ok(Self { object, control, rings, assembler })
    }

    fn at(&self, second: u64) -> Clocks {
        self.control.set_replay_clock(second * SECOND);
        Clocks { now_ns: second * SECOND, wall_offset_ns: 0 }
    }

    fn run(&mut self, frame: &Frame) -> Result<()> {
        self.object.run_xdp(&frame.bytes())?;
        Ok(())
    }

    fn flow(&self, frame: &Frame) -> Option<Flow> {
        self.assembler.table().get(&key(frame))
    }
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
    stage.assembler.committed(&key(&syn), later)?;
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
    stage.assembler.committed(&key(&syn), later)?;
    let flow = stage.flow(&syn).expect("the new flow");
    assert_eq!((flow.verdict, flow.to_peer.packets), (Verdict::Block as u8, 2));
    // And the event of the old one tells nothing twice.
    while let Some(sample) = stage.rings.next_flow_end() {
        let event = FlowEndEvent::decode(&sample).expect("an event");
        stage.assembler.flow_end(&event, later)?;
    }
    assert!(stage.assembler.take_ready().is_empty());
    Ok(())
}
