//! What one client's Initials may cost, and what a block holds.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_lab::frames::Frame;
use sensor_lab::quic::{Content, Initial, from_device, short};

use super::super::{Bench, Random};
use super::{BLOCKED, FINE, enforcing, passes, reason_of, small};

const SECOND_NS: u64 = 1_000_000_000;

/// More Initials than any budget has room for at once.
const FLOOD: u16 = 6000;

fn hello(name: &str, id: &[u8]) -> Vec<u8> {
    Initial::of(vec![Content::whole(&small(name))]).to_connection(id).datagram()
}

fn from(client: u8, port: u16, payload: &[u8]) -> Frame {
    let source = IpAddr::from(Ipv4Addr::new(10, 20, 0, client));
    Frame { source, ..from_device(false, payload) }.from_port(port)
}

/// Has one client use up its budget; how many of its Initials were read.
fn flood(bench: &mut Bench, random: &mut Random) -> Result<u16> {
    let mut read = 0;
    for number in 0..FLOOD {
        let frame = from(5, 1024 + number, &hello(FINE, &random.next().to_be_bytes()));
        let (reason, has_passed) = reason_of(bench, &frame)?;
        while bench.verdict().is_some() {}
        match reason {
            None => {
                assert!(has_passed);
                read += 1;
                // The server has it: nothing more is kept.
                bench.run_egress(&Frame { payload: short(b"client's", 60), ..frame.reply() })?;
            }
            Some(reason) => {
                assert_eq!((reason, has_passed), (NoName::QuicBudget, false));
                let flow = bench.flow(&frame).expect("a flow");
                assert_eq!(flow.no_name, NoName::QuicBudget as u8);
            }
        }
    }
    Ok(read)
}

#[test]
fn who_sends_too_many_initials_costs_others_nothing() -> Result<()> {
    let mut bench = enforcing()?;
    bench.control.set_replay_clock(SECOND_NS);
    bench.control.limit_quic(1, 0);
    let mut random = Random(0x5eed_0005);
    let read = flood(&mut bench, &mut random)?;
    assert!((1..FLOOD / 2).contains(&read), "{read} were read");
    for (port, name, is_allowed) in [(2000, FINE, true), (2001, BLOCKED, false)] {
        let frame = from(6, port, &hello(name, b"a quiet client"));
        assert_eq!(passes(&mut bench, &frame)?, is_allowed, "{name}");
        let flow = bench.flow(&frame).expect("a flow");
        let verdict = if is_allowed { Verdict::Allow } else { Verdict::Block };
        assert_eq!((flow.verdict, flow.no_name), (verdict as u8, NoName::Named as u8));
    }
    // After a while all is well.
    bench.control.set_replay_clock(100_000 * SECOND_NS);
    for (port, name, is_allowed) in [(60_000, FINE, true), (60_001, BLOCKED, false)] {
        let frame = from(5, port, &hello(name, b"again"));
        assert_eq!(passes(&mut bench, &frame)?, is_allowed, "{name}");
    }
    Ok(())
}

#[test]
fn without_a_budget_all_initials_are_read() -> Result<()> {
    let mut bench = enforcing()?;
    bench.control.limit_quic(0, 0);
    assert_eq!(flood(&mut bench, &mut Random(0x5eed_0006))?, FLOOD);
    Ok(())
}

#[test]
fn a_block_holds_what_cannot_be_read_between_the_same_two() -> Result<()> {
    let mut bench = enforcing()?;
    bench.control.set_replay_clock(SECOND_NS);
    bench.control.limit_quic(0, 60);
    let protected = short(b"of the server", 900);
    let (reason, has_passed) = reason_of(&mut bench, &from(5, 40_000, &protected))?;
    assert_eq!((reason, has_passed), (Some(NoName::MidStream), true), "before the block");
    assert!(!passes(&mut bench, &from(5, 40_001, &hello(BLOCKED, b"to be blocked")))?);
    let (reason, has_passed) = reason_of(&mut bench, &from(5, 40_002, &protected))?;
    assert_eq!((reason, has_passed), (Some(NoName::QuicHeld), false), "behind the block");
    // Initials are judged by their own names, other clients and servers by what they do.
    assert!(passes(&mut bench, &from(5, 40_003, &hello(FINE, b"another name")))?);
    assert!(passes(&mut bench, &from(6, 40_004, &protected))?);
    let elsewhere = Frame {
        destination: IpAddr::from(Ipv4Addr::new(192, 0, 2, 77)),
        ..from(5, 40_005, &protected)
    };
    assert!(passes(&mut bench, &elsewhere)?);
    bench.control.set_replay_clock(62 * SECOND_NS);
    assert!(passes(&mut bench, &from(5, 40_006, &protected))?, "a minute later");
    Ok(())
}
