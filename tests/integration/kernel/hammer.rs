//! Both hooks on all CPUs at the same few flows, while user space takes flows out: each packet stays with its flow.

use std::collections::HashMap;
use std::env;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::{Accounting, FlowEnd, Side, Volume};
use sensor_lab::FULL_VARIABLE;
use sensor_lab::frames::{Frame, flag};
use sensor_user::kernel::object::Sizes;
use sensor_user::kernel::test_run::Repeated;

use super::{Bench, key};

/// Flows: fewer than the table has room for, and enough for each bucket to have several.
const FLOWS: u16 = 48;

/// Packets of a call, all of one flow.
const PACKETS: u32 = 50;

/// Calls of each thread.
const CALLS: u32 = 1_500;
const CALLS_FULL: u32 = 100_000;

#[test]
fn each_packet_stays_with_its_flow_whoever_else_is_at_it() -> Result<()> {
    let mut bench = Bench::with_sizes(Side::Lan, Sizes { flows: 128, ..Sizes::SMALL })?;
    let calls = if env::var_os(FULL_VARIABLE).is_some() { CALLS_FULL } else { CALLS };
    // Each flow has frames of a length of its own: its bytes tell whether a packet is another one's.
    let frames: Vec<Frame> = (0..FLOWS)
        .map(|number| {
            let payload = vec![0; usize::from(number) + 1];
            Frame::from_device(false, &payload).with_flags(flag::ACK).from_port(number + 1)
        })
        .collect();
    let there: Vec<_> = frames.iter().map(Frame::bytes).collect();
    let back: Vec<_> = frames.iter().map(|frame| frame.reply().bytes()).collect();
    let (ingress, egress) = (bench.object.repeated_xdp()?, bench.object.repeated_egress()?);
    let hammers: [(&Repeated, &[Vec<u8>], u32); 4] =
        [(&ingress, &there, 1), (&egress, &back, 5), (&ingress, &there, 7), (&egress, &back, 11)];

    let (flows, over) = (&bench.flows, AtomicBool::new(false));
    let begin = Barrier::new(hammers.len() + 1);
    let mut recorded: HashMap<_, [Volume; 2]> = HashMap::new();
    let mut add = |key, [to_peer, to_lan]: [Volume; 2]| {
        let sums = recorded.entry(key).or_default();
        for (sum, volume) in sums.iter_mut().zip([to_peer, to_lan]) {
            sum.packets += volume.packets;
            sum.bytes += volume.bytes;
        }
    };
    thread::scope(|scope| -> Result<()> {
        let threads = hammers.map(|(program, frames, stride)| {
            let begin = &begin;
            scope.spawn(move || -> Result<()> {
                begin.wait();
                for call in 0..calls {
                    let at = (call * stride) as usize % frames.len();
                    program.run(frames.get(at).context("a frame")?, PACKETS)?;
                }
                Ok(())
            })
        });
        let over = &over;
        let watcher = scope.spawn(move || {
            let results = threads.map(|thread| thread.join().expect("no thread panics"));
            over.store(true, Ordering::Release);
            results.into_iter().collect::<Result<Vec<()>>>()
        });
        begin.wait();
        let keys: Vec<_> = frames.iter().map(key).collect();
        for turn in 0.. {
            if over.load(Ordering::Acquire) {
                break;
            }
            let some: Vec<_> = keys.iter().skip(turn % 7).step_by(3).copied().collect();
            for taken in flows.take(&some)? {
                add(taken.key, [taken.flow.to_peer, taken.flow.to_lan]);
                flows.free(taken.entry);
            }
        }
        watcher.join().expect("it does not panic").map(drop)
    })?;
    flows.scan(|key, flow| add(*key, [flow.to_peer, flow.to_lan]))?;

    let refused = |accounting| -> Result<u64> {
        let [ingress, egress] = [bench.ingress()?, bench.egress()?];
        Ok(ingress.accounted(accounting).packets + egress.accounted(accounting).packets)
    };
    let (busy, full) = (refused(Accounting::FlowBusy)?, refused(Accounting::TableFull)?);
    assert_eq!(recorded.len(), usize::from(FLOWS), "a flow that nobody sent packets of");
    let mut packets = 0;
    for (number, frame) in frames.iter().enumerate() {
        let [to_peer, to_lan] = recorded.get(&key(frame)).context("a flow")?;
        // A test's egress frames have no length.
        let bytes = to_peer.packets * frame.bytes().len() as u64;
        assert_eq!(to_peer.bytes, bytes, "a packet that is another flow's");
        for (volume, first) in [(to_peer, 0), (to_lan, 1)] {
            let strides = hammers.iter().skip(first).step_by(2).map(|(_, _, stride)| stride);
            let of_flow = |call: &u32, stride| (call * stride) as usize % frames.len() == number;
            let of_flow = |stride| (0..calls).filter(|call| of_flow(call, stride)).count() as u64;
            let sent: u64 = strides.map(of_flow).sum::<u64>() * u64::from(PACKETS);
            assert!(
                volume.packets <= sent,
                "{} of {sent} packets of flow {number}",
                volume.packets
            );
            packets += volume.packets;
        }
    }
    let sent = u64::from(calls) * u64::from(PACKETS) * 4;
    assert_eq!(packets + busy + full, sent, "{busy} busy, {full} full");
    // What two CPUs make at once is rare.
    assert!(busy + full < sent / 1000, "{busy} busy, {full} full");
    Ok(())
}

/// A port that comes again while the other direction's packets come in on another CPU: what the flow had is told by its event,
/// or is the next one's.
#[test]
fn a_flow_that_takes_the_place_of_another_loses_no_packet() -> Result<()> {
    const CONNECTIONS: u32 = 64;
    let mut bench = Bench::new(Side::Lan)?;
    let calls = if env::var_os(FULL_VARIABLE).is_some() { 10 * CALLS_FULL } else { 60 * CALLS };
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    let there: Vec<_> =
        (0..CONNECTIONS).map(|number| syn.clone().further(number * 5000).bytes()).collect();
    let back = vec![syn.reply().with_flags(flag::RST | flag::ACK).bytes()];
    let (ingress, egress) = (bench.object.repeated_xdp()?, bench.object.repeated_egress()?);
    let left = AtomicU32::new(2);
    let (mut told, mut replaced) = ([Volume::default(); 2], 0_u64);
    let mut add = |volumes: [Volume; 2]| {
        for (sum, volume) in told.iter_mut().zip(volumes) {
            sum.packets += volume.packets;
            sum.bytes += volume.bytes;
        }
    };
    thread::scope(|scope| -> Result<()> {
        let left = &left;
        let hammers = [(&ingress, &there, 1), (&egress, &back, PACKETS)];
        let hammers = hammers.map(|(program, frames, packets)| {
            scope.spawn(move || {
                let mut all = (0..calls).map(|call| &frames[call as usize % frames.len()]);
                let ran = all.try_for_each(|frame| program.run(frame, packets).map(drop));
                left.fetch_sub(1, Ordering::AcqRel);
                ran
            })
        });
        loop {
            let is_over = left.load(Ordering::Acquire) == 0;
            while let Some(event) = bench.flow_end() {
                if event.end == FlowEnd::Replaced as u8 {
                    replaced += 1;
                    add([event.flow.to_peer, event.flow.to_lan]);
                }
            }
            if is_over {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        for hammer in hammers {
            hammer.join().expect("no thread panics")?;
        }
        Ok(())
    })?;
    bench.flows.scan(|_, flow| add([flow.to_peer, flow.to_lan]))?;
    for (counted, told) in [bench.ingress()?, bench.egress()?].iter().zip(told) {
        assert_eq!(counted.accounted(Accounting::Flow), told, "{replaced} were replaced");
    }
    assert!(replaced > u64::from(calls) / 100, "only {replaced} were replaced");
    Ok(())
}
