//! Several connections of one pair of ports, and connections whose ID changes on the way.

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, Verdict};
use sensor_lab::frames::Frame;
use sensor_lab::quic::samples::{RETRY, bytes};
use sensor_lab::quic::{Content, Initial, Kind, Version, from_device, other, short};

use super::super::Bench;
use super::{BLOCKED, FINE, Place, enforcing, halves, large, passes, small};

/// Where the hello is cut.
const CUT: usize = 1000;

fn frame(initial: &Initial) -> Frame {
    from_device(false, &initial.datagram())
}

/// A datagram of the server's, at egress.
fn answer(bench: &mut Bench, payload: &[u8]) -> Result<()> {
    let reply = Frame { payload: payload.to_vec(), ..from_device(false, &[]).reply() };
    bench.run_egress(&reply)?;
    Ok(())
}

fn verdict_of(bench: &Bench) -> u8 {
    bench.flow(&from_device(false, &[])).expect("a flow").verdict
}

#[test]
fn a_connection_between_the_pieces_of_another_hides_nothing() -> Result<()> {
    let decoy = Initial::of(vec![Content::whole(&small(FINE))]).to_connection(b"decoy ID");
    for order in [[0, 1], [1, 0]] {
        let mut bench = enforcing()?;
        let pieces = halves(&large(BLOCKED, Place::Last), CUT);
        assert!(passes(&mut bench, &frame(&pieces[order[0]]))?);
        assert!(passes(&mut bench, &frame(&decoy))?);
        assert_eq!(verdict_of(&bench), Verdict::Allow as u8);
        assert!(!passes(&mut bench, &frame(&pieces[order[1]]))?, "{order:?}");
        assert_eq!(verdict_of(&bench), Verdict::Block as u8);
        let names: Vec<_> = std::iter::from_fn(|| bench.verdict()).collect();
        assert_eq!(names.len(), 2);
        for (event, name) in names.iter().zip([FINE, BLOCKED]) {
            assert_eq!(event.name.as_bytes(), name.as_bytes());
            assert_eq!(event.name_source, NameSource::Quic as u8);
        }
    }
    Ok(())
}

#[test]
fn the_pieces_of_two_hellos_alternate() -> Result<()> {
    let mut bench = enforcing()?;
    let blocked = halves(&large(BLOCKED, Place::Last), CUT);
    let fine = halves(&large(FINE, Place::Last), CUT)
        .map(|half| half.to_connection(b"another connection"));
    assert!(passes(&mut bench, &frame(&fine[0]))?);
    assert!(passes(&mut bench, &frame(&blocked[0]))?);
    assert!(passes(&mut bench, &frame(&fine[1]))?);
    assert!(!passes(&mut bench, &frame(&blocked[1]))?);
    Ok(())
}

#[test]
fn a_blocked_hello_behind_an_allowed_one_is_found() -> Result<()> {
    let mut bench = enforcing()?;
    let fine = Initial::of(vec![Content::whole(&small(FINE))]);
    let blocked = Initial::of(vec![Content::whole(&small(BLOCKED))]).to_connection(b"other ID");
    assert!(passes(&mut bench, &frame(&fine))?);
    assert!(!passes(&mut bench, &frame(&blocked))?);
    assert_eq!(verdict_of(&bench), Verdict::Block as u8);
    Ok(())
}

#[test]
fn behind_a_retry_its_connection_id_makes_the_keys() -> Result<()> {
    let retry = bytes(RETRY);
    // The Source Connection ID of the sample.
    let chosen = &retry[7..15];
    for (name, is_allowed) in [(FINE, true), (BLOCKED, false)] {
        for is_answer_seen in [true, false] {
            let mut bench = enforcing()?;
            let hello = large(name, Place::Last);
            let pieces = halves(&hello, CUT);
            assert!(passes(&mut bench, &frame(&pieces[0]))?);
            if is_answer_seen {
                answer(&mut bench, &retry)?;
            }
            let again = pieces.map(|piece| Initial {
                token: b"token".to_vec(),
                number: piece.number + 2,
                ..piece.to_connection(chosen)
            });
            assert!(passes(&mut bench, &frame(&again[0]))?, "{name}");
            assert_eq!(passes(&mut bench, &frame(&again[1]))?, is_allowed, "{name}");
            let verdict = if is_allowed { Verdict::Allow } else { Verdict::Block };
            assert_eq!(verdict_of(&bench), verdict as u8, "{name}");
        }
    }
    Ok(())
}

#[test]
fn the_first_connection_id_makes_the_keys_when_the_server_has_chosen_another() -> Result<()> {
    for (name, is_allowed) in [(FINE, true), (BLOCKED, false)] {
        for is_answer_seen in [true, false] {
            let mut bench = enforcing()?;
            let [first, second] = halves(&large(name, Place::Last), CUT);
            assert!(passes(&mut bench, &frame(&first))?);
            if is_answer_seen {
                let server = other(Kind::Initial, Version::V1, &first.source, 1160);
                answer(&mut bench, &server)?;
            }
            let second = Initial {
                keys_of: Some(first.destination.clone()),
                ..second.to_connection(b"the server's")
            };
            assert_eq!(passes(&mut bench, &frame(&second))?, is_allowed, "{name}");
            let verdict = if is_allowed { Verdict::Allow } else { Verdict::Block };
            assert_eq!(verdict_of(&bench), verdict as u8, "{name}");
        }
    }
    Ok(())
}

#[test]
fn another_connection_on_the_ports_of_a_blocked_one_is_judged_by_its_own_name() -> Result<()> {
    let mut bench = enforcing()?;
    let blocked = Initial::of(vec![Content::whole(&small(BLOCKED))]);
    assert!(!passes(&mut bench, &frame(&blocked))?);
    let fine = Initial::of(vec![Content::whole(&small(FINE))]).to_connection(b"a later one");
    let protected = from_device(false, &short(b"a later one", 60));
    assert!(!passes(&mut bench, &protected)?, "before its hello");
    assert!(passes(&mut bench, &frame(&fine))?);
    assert_eq!(verdict_of(&bench), Verdict::Allow as u8);
    assert!(passes(&mut bench, &protected)?, "behind it");
    // The blocked one gets nowhere, and takes nothing with it until its name comes again.
    assert!(!passes(&mut bench, &frame(&blocked))?);
    assert!(passes(&mut bench, &protected)?);
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}

#[test]
fn no_piece_of_a_blocked_hello_passes_behind_an_allowed_one() -> Result<()> {
    for order in [[0, 1], [1, 0]] {
        let mut bench = enforcing()?;
        let pieces = halves(&large(BLOCKED, Place::Last), CUT);
        assert!(passes(&mut bench, &frame(&pieces[order[0]]))?);
        assert!(!passes(&mut bench, &frame(&pieces[order[1]]))?);
        for id in [&b"an allowed one"[..], b"and another"] {
            let fine = Initial::of(vec![Content::whole(&small(FINE))]).to_connection(id);
            assert!(passes(&mut bench, &frame(&fine))?);
            assert_eq!(verdict_of(&bench), Verdict::Allow as u8);
            for piece in [order[1], order[0], order[1]] {
                assert!(!passes(&mut bench, &frame(&pieces[piece]))?, "{order:?} {piece}");
            }
        }
    }
    Ok(())
}
