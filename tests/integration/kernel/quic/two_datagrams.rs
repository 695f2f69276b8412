//! Hellos that take two datagrams, as browsers' do.

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use sensor_lab::frames::Hello;
use sensor_lab::quic::{Content, Initial, from_device, message};

use super::{BLOCKED, FINE, Place, enforcing, halves, large, passes, small};

#[test]
fn the_datagram_that_completes_a_blocked_name_does_not_pass() -> Result<()> {
    let mut bench = enforcing()?;
    let mut ports = 40_000..;
    for (place, order, dropped) in [
        (Place::Last, [0, 1], 1),
        (Place::Last, [1, 0], 1),
        // The whole name is in the first one.
        (Place::First, [0, 1], 0),
        (Place::First, [1, 0], 1),
    ] {
        for name in [BLOCKED, FINE] {
            let hello = large(name, place);
            let port = ports.next().expect("a port");
            let datagrams = halves(&hello, 1000)
                .map(|half| from_device(false, &half.datagram()).from_port(port));
            for (at, number) in order.into_iter().enumerate() {
                let is_expected = name == FINE || at < dropped;
                let what = format!("{name} {place:?}, {order:?}: datagram {at}");
                assert_eq!(passes(&mut bench, &datagrams[number])?, is_expected, "{what}");
            }
            let flow = bench.flow(&datagrams[0]).expect("a flow");
            let verdict = if name == FINE { Verdict::Allow } else { Verdict::Block };
            assert_eq!(flow.verdict, verdict as u8, "{name} {place:?}, {order:?}");
            let event = bench.verdict().expect("an event");
            assert_eq!(event.name.as_bytes(), name.as_bytes());
            assert_eq!(event.name_source, NameSource::Quic as u8);
            while bench.verdict().is_some() {}
        }
    }
    Ok(())
}

#[test]
fn two_initials_of_one_datagram_are_both_read() -> Result<()> {
    let mut bench = enforcing()?;
    let mut ports = 40_000..;
    for cut in [1, 100, 400] {
        for order in [[0, 1], [1, 0]] {
            for name in [BLOCKED, FINE] {
                let halves = halves(&small(name), cut).map(|half| half.packet());
                let [first, second] = order.map(|number| halves[number].as_slice());
                let mut payload = [first, second].concat();
                payload.resize(1200, 0);
                let port = ports.next().expect("a port");
                let frame = from_device(false, &payload).from_port(port);
                let what = format!("{name} cut at {cut}, {order:?}");
                assert_eq!(passes(&mut bench, &frame)?, name == FINE, "{what}");
                let flow = bench.flow(&frame).expect("a flow");
                assert_eq!(flow.no_name, NoName::Named as u8, "{what}");
            }
        }
    }
    Ok(())
}

/// The server may ask for another hello (RFC 8446 section 4.1.4), which follows the first one in its stream.
#[test]
fn a_second_hello_begins_where_the_first_one_ends() -> Result<()> {
    let of = |name| message(&Hello { after: vec![(51, 1263)], ..Hello::of(name) });
    for (name, is_allowed) in [(FINE, true), (BLOCKED, false)] {
        let mut bench = enforcing()?;
        let first = of(FINE);
        // The last extension goes over from one datagram to the other.
        for half in halves(&first, 1000) {
            assert!(passes(&mut bench, &from_device(false, &half.datagram()))?);
        }
        let stream = [first.clone(), of(name)].concat();
        let cut = first.len() + 1000;
        let mut has_passed = true;
        for (number, (from, to)) in (2..).zip([(first.len(), cut), (cut, stream.len())]) {
            let piece = Initial::of(vec![Content::piece(&stream, from, to)]).numbered(number);
            has_passed &= passes(&mut bench, &from_device(false, &piece.datagram()))?;
        }
        assert_eq!(has_passed, is_allowed, "{name}");
        let flow = bench.flow(&from_device(false, &[])).expect("a flow");
        assert_eq!(flow.no_name, NoName::Named as u8, "{name}");
    }
    Ok(())
}

#[test]
fn half_a_hello_passes_and_says_what_is_missing() -> Result<()> {
    let mut bench = enforcing()?;
    let [first, second] = halves(&large(BLOCKED, Place::Last), 1000);
    for (port, half) in (40_000..).zip([first, second]) {
        let frame = from_device(false, &half.datagram()).from_port(port);
        assert!(passes(&mut bench, &frame)?);
        let flow = bench.flow(&frame).expect("a flow");
        assert_eq!(flow.verdict, Verdict::Undecided as u8);
        assert_eq!(flow.no_name, NoName::Truncated as u8);
    }
    Ok(())
}

#[test]
fn two_versions_of_a_byte_are_an_evasion() -> Result<()> {
    let (fine, blocked) = (large(FINE, Place::Last), large(BLOCKED, Place::Last));
    let mut changed = fine.clone();
    changed[600] ^= 1;
    let mut ports = 40_000..;
    for (what, first, second) in [
        // Of bytes that were read, of bytes that wait, and of the name.
        ("read", (&fine, 0, 1000), (&changed, 500, 900)),
        ("waiting", (&fine, 500, 1000), (&changed, 100, 700)),
        ("in the name", (&fine, 1000, fine.len()), (&blocked, 700, blocked.len())),
    ] {
        for is_enforced in [true, false] {
            let mut bench = enforcing()?;
            if !is_enforced {
                bench.block(&[])?;
            }
            let port = ports.next().expect("a port");
            let [first, second] = [(first, 0), (second, 1)].map(|((hello, from, to), number)| {
                let pieces = hello[from..to].chunks(1100).zip((from..).step_by(1100));
                let frames =
                    pieces.map(|(piece, offset)| Content::Crypto { offset, data: piece.to_vec() });
                let initial = Initial::of(frames.collect()).numbered(number);
                from_device(false, &initial.datagram()).from_port(port)
            });
            let before = bench.ingress()?.no_name(NoName::Evasion);
            assert!(passes(&mut bench, &first)?, "{what}");
            assert_eq!(passes(&mut bench, &second)?, !is_enforced, "{what}");
            assert_eq!(bench.ingress()?.no_name(NoName::Evasion), before + 1, "{what}");
            let flow = bench.flow(&second).expect("a flow");
            assert_eq!(flow.no_name, NoName::Evasion as u8, "{what}");
        }
    }
    Ok(())
}

#[test]
fn equal_bytes_may_come_twice() -> Result<()> {
    let mut bench = enforcing()?;
    let hello = large(FINE, Place::Last);
    let [first, second] = halves(&hello, 1000);
    let middle = Initial::of(vec![Content::piece(&hello, 600, hello.len())]).numbered(2);
    for initial in [&first, &first.clone().numbered(3), &middle, &second, &first] {
        assert!(passes(&mut bench, &from_device(false, &initial.datagram()))?);
    }
    let flow = bench.flow(&from_device(false, &[])).expect("a flow");
    assert_eq!(flow.verdict, Verdict::Allow as u8);
    assert_eq!(bench.ingress()?.no_name(NoName::Evasion), 0);
    Ok(())
}
