//! Ports that come again while the flows they had are recorded, on all CPUs at once: each packet is in one record.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::Result;
use sensor_ebpf::abi::Volume;
use sensor_lab::frames::{Frame, flag};

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
