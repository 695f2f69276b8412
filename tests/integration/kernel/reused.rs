//! Ports that come again while the flows they had are recorded, on all CPUs at once: each packet is in one record.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::{Direction, Happening, Verdict, Volume};
use sensor_lab::frames::{Frame, Hello, flag};
use sensor_user::kernel::object::Sizes;

use super::key;
use super::killed::Stored;
use super::records::Stage;

const PORTS: u32 = 16;
const CONNECTIONS: u32 = 64;

/// Connections that begin, and as many resets.
const CALLS: u32 = 200_000;

/// Seconds of the programs' clock from one sweep to the next: longer than a closed flow lingers.
const STEP: u64 = 3;

#[test]
fn a_connection_that_takes_the_key_as_its_flow_is_let_go_is_told_once() -> Result<()> {
    let mut stage = Stage::new()?;
    let syn = |port| {
        let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
        syn.from_port(1024 + port as u16)
    };
    let there: Vec<_> = (0..PORTS * CONNECTIONS)
        .map(|number| syn(number % PORTS).further(number / PORTS * 5000).bytes())
        .collect();
    let back: Vec<_> = (0..PORTS)
        .map(|port| syn(port).reply().with_flags(flag::RST | flag::ACK).bytes())
        .collect();
    let (ingress, egress) = (stage.object.repeated_xdp()?, stage.object.repeated_egress()?);
    let left = AtomicU32::new(2);
    let (mut stored, mut second) = (Stored::new(), 10);
    thread::scope(|scope| -> Result<()> {
        let left = &left;
        let hammers = [(&ingress, &there), (&egress, &back)].map(|(program, frames)| {
            scope.spawn(move || {
                let mut all = (0..CALLS).map(|call| &frames[call as usize % frames.len()]);
                let ran = all.try_for_each(|frame| program.run(frame, 1).map(drop));
                left.fetch_sub(1, Ordering::AcqRel);
                ran
            })
        });
        while left.load(Ordering::Acquire) > 0 {
            second += STEP;
            let clocks = stage.at(second);
            stage.hear(clocks);
            stage.assembler.sweep(clocks)?;
            let waiting = stage.store(&mut stored);
            stage.assembler.committed(&waiting, clocks)?;
        }
        for hammer in hammers {
            hammer.join().expect("no thread panics")?;
        }
        Ok(())
    })?;
    let clocks = stage.at(second + 1000);
    stage.settle(&mut stored, clocks)?;
    let told = stored.iter().fold(Volume::default(), |sum, record| Volume {
        packets: sum.packets + record.packets_to_peer + record.packets_to_lan,
        bytes: sum.bytes + record.bytes_to_peer + record.bytes_to_lan,
    });
    assert_eq!(stage.counters.in_flows(&[0])?, told, "{} records", stored.len());
    Ok(())
}

/// Without room for the event of the connection before, a connection shares its record: not its end, nor its place in the table.
#[test]
fn a_connection_in_the_place_of_one_whose_event_has_no_room_keeps_its_verdict() -> Result<()> {
    let mut stage = Stage::of(Sizes { flow_end_ring: 4096, ..Sizes::SMALL })?;
    let mut stored = Stored::new();
    let merged = |stage: &Stage| -> Result<u64> {
        Ok(stage.counters.totals(0, Direction::Ingress)?.happened(Happening::FlowMerged))
    };
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    let reset = syn.reply().with_flags(flag::RST | flag::ACK);
    stage.at(10);
    stage.run(&syn)?;
    stage.run(&reset)?;
    let clocks = stage.at(20);
    stage.assembler.sweep(clocks)?;
    let waiting = stage.store(&mut stored);
    assert_eq!(stored.len(), 1, "the first connection");

    // Connections of another port fill the ring.
    let other = syn.clone().from_port(2000);
    for number in 0..20 {
        stage.run(&other.clone().further(number * 5000))?;
        stage.run(&other.reply().with_flags(flag::RST | flag::ACK))?;
    }
    let before = merged(&stage)?;
    assert!(before > 0, "room for all");
    stage.run(&syn.clone().further(5000))?;
    assert_eq!(merged(&stage)?, before + 1);
    let hello = Hello::of("blocked.example").bytes();
    stage.run(&Frame::from_device(false, &hello).further(5000))?;
    assert_eq!(stage.flow(&syn).context("a flow")?.verdict, Verdict::Block as u8);

    stage.assembler.committed(&waiting, clocks)?;
    assert_eq!(stage.flow(&syn).context("a flow")?.verdict, Verdict::Block as u8, "let go");
    let clocks = stage.at(1000);
    stage.settle(&mut stored, clocks)?;
    let told = stored.iter().map(|record| record.packets_to_peer + record.packets_to_lan);
    assert_eq!(told.sum::<u64>(), stage.counters.in_flows(&[0])?.packets);
    assert!(stage.flow(&syn).is_none());
    // It is a flow of its own, from the end of the one before.
    let of_port: Vec<_> = stored.iter().filter(|one| one.device_port == syn.source_port).collect();
    let [first, second, ..] = of_port[..] else { panic!("{of_port:?}") };
    assert_ne!(first.flow_id, second.flow_id);
    assert!(second.start_us >= first.end_us && second.verdict == Verdict::Block, "{second:?}");
    Ok(())
}

/// A flow that was to go begins again before the last program that found it is over: it is found again, with its verdict.
#[test]
fn a_flow_that_goes_on_as_it_is_let_go_stays() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let hello = Frame::from_device(false, &Hello::of("blocked.example").bytes());
    stage.run(&hello)?;
    let looks = Cell::new(0);
    let taken = stage.assembler.table().take_if(&[key(&hello)], |_, _| {
        looks.set(looks.get() + 1);
        looks.get() == 1
    })?;
    assert_eq!((taken, looks.get()), (Vec::new(), 2));
    assert_eq!(stage.flow(&hello).context("a flow")?.verdict, Verdict::Block as u8);
    stage.run(&hello)?;
    assert_eq!(stage.flow(&hello).context("a flow")?.to_peer.packets, 2);
    Ok(())
}
