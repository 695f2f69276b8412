//! The samples of the standards, at every kind of interface, and what is told of them.

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, NoName, Side, Verdict};
use sensor_lab::frames::Frame;
use sensor_lab::quic::samples::{CLIENT_INITIAL_V1, CLIENT_INITIAL_V2, NAME, bytes};
use sensor_lab::quic::{Initial, Version, from_device};

use super::super::Bench;
use super::{BLOCKED, FINE, enforcing, passes, small};
use sensor_lab::quic::Content;

/// A sample over both families, in a VLAN, in two, and in a session.
fn frames(sample: &str) -> Vec<Frame> {
    let of = |v6: bool| from_device(v6, &bytes(sample));
    vec![
        of(false),
        of(true),
        of(false).tagged(&[(0x8100, 42)]),
        of(true).tagged(&[(0x88a8, 7), (0x8100, 42)]),
        of(false).in_pppoe(),
    ]
}

#[test]
fn initials_of_the_standards_are_read() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    for (blocked, verdict) in [(FINE, Verdict::Allow), (NAME, Verdict::Block)] {
        bench.block(&[blocked])?;
        for sample in [CLIENT_INITIAL_V1, CLIENT_INITIAL_V2] {
            for frame in frames(sample) {
                let is_allowed = verdict == Verdict::Allow;
                assert_eq!(passes(&mut bench, &frame)?, is_allowed, "{frame:?}");
                let flow = bench.flow(&frame).expect("a flow");
                assert_eq!(flow.verdict, verdict as u8);
                assert_eq!(flow.no_name, NoName::Named as u8);
                let event = bench.verdict().expect("an event");
                assert_eq!(event.name.as_bytes(), NAME.as_bytes());
                assert_eq!(event.name_source, NameSource::Quic as u8);
                assert_eq!((event.verdict, event.from_peer), (verdict as u8, 0));
                bench.flows.clear()?;
            }
        }
    }
    Ok(())
}

#[test]
fn versions_and_ports_are_read_alike() -> Result<()> {
    let mut bench = enforcing()?;
    let mut from = 40_000..;
    for version in Version::ALL {
        for port in [443, 80, 8443, 50_000] {
            for (name, is_allowed) in [(FINE, true), (BLOCKED, false)] {
                let initial =
                    Initial { version, ..Initial::of(vec![Content::whole(&small(name))]) };
                let frame =
                    Frame { destination_port: port, ..from_device(false, &initial.datagram()) }
                        .from_port(from.next().expect("a port"));
                let what = format!("{version:?} to port {port}: {name}");
                assert_eq!(passes(&mut bench, &frame)?, is_allowed, "{what}");
                let flow = bench.flow(&frame).expect("a flow");
                assert_eq!(flow.name_source, NameSource::Quic as u8, "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_follows_on_a_blocked_flow_is_dropped() -> Result<()> {
    let mut bench = enforcing()?;
    let initial = Initial::of(vec![Content::whole(&small(BLOCKED))]);
    let frame = from_device(false, &initial.datagram());
    assert!(!passes(&mut bench, &frame)?);
    // It is sent again, and so is another packet.
    assert!(!passes(&mut bench, &frame)?);
    let ping = initial.numbered(1);
    let ping = Initial { frames: vec![Content::Ping, Content::Padding(9)], ..ping };
    assert!(!passes(&mut bench, &from_device(false, &ping.datagram()))?);
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}
