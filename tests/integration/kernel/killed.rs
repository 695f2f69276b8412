//! A daemon dies between two steps, and the next one tells what is not told, once.

use std::net::IpAddr;

use anyhow::Result;
use sensor_lab::frames::{Frame, flag};
use sensor_user::assembly::{Clocks, UNSETTLED_MAX, Waiting};
use sensor_user::kernel::object::Sizes;
use sensor_user::record::{EndReason, Record};

use super::key;
use super::records::Stage;

/// What the store has.
pub(super) type Stored = Vec<Record>;

impl Stage {
    /// The store takes every record that was made; who waits for that is not told.
    pub(super) fn store(&mut self, stored: &mut Stored) -> Vec<Waiting> {
        let ready = self.assembler.take_ready().into_iter();
        let (records, waiting): (Vec<_>, Vec<_>) = ready.map(|one| (one.record, one.of)).unzip();
        stored.extend(records);
        waiting
    }

    /// The same, and who waits is told, until nothing is left to do.
    pub(super) fn settle(&mut self, stored: &mut Stored, clocks: Clocks) -> Result<()> {
        loop {
            self.hear(clocks);
            self.assembler.sweep(clocks)?;
            let waiting = self.store(stored);
            if waiting.is_empty() {
                return Ok(());
            }
            self.assembler.committed(&waiting, clocks)?;
        }
    }
}

fn syn() -> Frame {
    Frame::from_device(false, b"").with_flags(flag::SYN)
}

/// A connection from a SYN to a reset: one packet each way.
fn connection(stage: &mut Stage, sequence: u32) -> Result<()> {
    stage.run(&syn().further(sequence))?;
    stage.run(&syn().further(sequence).reply().with_flags(flag::RST | flag::ACK))
}

/// Packets and bytes, both ways, over all records.
fn told(stored: &Stored) -> [u64; 4] {
    stored.iter().fold([0; 4], |[a, b, c, d], record| {
        let Record { packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan, .. } = *record;
        [a + packets_to_peer, b + bytes_to_peer, c + packets_to_lan, d + bytes_to_lan]
    })
}

/// Packets of connections as above, in records that are numbered without a gap.
fn check(stored: &Stored, to_peer: u64, to_lan: u64) {
    let length = syn().bytes().len() as u64;
    assert_eq!(told(stored), [to_peer, to_peer * length, to_lan, to_lan * length], "{stored:?}");
    assert!(stored.iter().map(|record| record.sequence).eq(0..stored.len() as u64), "{stored:?}");
}

fn finals(stored: &Stored) -> usize {
    stored.iter().filter(|record| record.end_reason == EndReason::EndOfFlow).count()
}

/// The store has a flow's last record, nobody remembers that, and a straggler comes. Letting the flow go, the next daemon finds
/// it among what is left over: not a second time.
#[test]
fn what_came_behind_a_record_that_was_not_remembered_is_told_once() -> Result<()> {
    let (mut stage, mut stored) = (Stage::new()?, Stored::new());
    stage.at(10);
    connection(&mut stage, 0)?;
    let clocks = stage.at(20);
    stage.assembler.sweep(clocks)?;
    assert_eq!(stage.store(&mut stored).len(), 1);
    stage.at(21);
    stage.run(&syn().with_flags(flag::ACK))?;
    let mut stage = stage.die(&stored, 30)?;
    let clocks = stage.at(31);
    stage.settle(&mut stored, clocks)?;
    check(&stored, 2, 1);
    assert_eq!((stored.len(), finals(&stored)), (2, 2));
    // And once all is told, whoever comes finds nothing.
    let mut stage = stage.die(&stored, 40)?;
    let clocks = stage.at(100);
    stage.settle(&mut stored, clocks)?;
    check(&stored, 2, 1);
    Ok(())
}

/// The store has the record of what came behind the last record; the entry is not free yet. Whatever the next daemon has of it
/// in memory is other than what the dead one had.
#[test]
fn a_rest_that_is_stored_is_not_told_again() -> Result<()> {
    let (mut stage, mut stored) = (Stage::new()?, Stored::new());
    stage.at(10);
    connection(&mut stage, 0)?;
    let clocks = stage.at(20);
    stage.assembler.sweep(clocks)?;
    let waiting = stage.store(&mut stored);
    stage.run(&syn().with_flags(flag::ACK))?;
    stage.assembler.committed(&waiting, clocks)?;
    assert_eq!(stage.store(&mut stored).len(), 1, "the rest");
    for second in [30, 40] {
        stage = stage.die(&stored, second)?;
        let clocks = stage.at(second);
        stage.settle(&mut stored, clocks)?;
        check(&stored, 2, 1);
    }
    Ok(())
}

/// A port is used again: an event is all that is left of the connection before. A daemon that read it and died before the
/// store had its record leaves it to the next one; if the store had it, nothing is told twice.
#[test]
fn an_event_that_was_read_and_not_told_is_read_again() -> Result<()> {
    for is_stored in [false, true] {
        let (mut stage, mut stored) = (Stage::new()?, Stored::new());
        stage.at(10);
        connection(&mut stage, 0)?;
        let clocks = stage.at(11);
        connection(&mut stage, 5000)?;
        stage.hear(clocks);
        if is_stored {
            assert_eq!(stage.store(&mut stored).len(), 1, "the first connection");
        }
        let mut stage = stage.die(&stored, 12)?;
        let clocks = stage.at(20);
        stage.settle(&mut stored, clocks)?;
        check(&stored, 2, 2);
        assert_eq!(stored.len(), 2, "{stored:?}");
    }
    Ok(())
}

/// The same where the connection before had a record that was stored and not remembered, or was on its way.
#[test]
fn an_event_tells_what_records_do_not() -> Result<()> {
    for is_stored in [false, true] {
        let (mut stage, mut stored) = (Stage::new()?, Stored::new());
        stage.at(10);
        connection(&mut stage, 0)?;
        let clocks = stage.at(20);
        stage.assembler.sweep(clocks)?;
        if is_stored {
            stage.store(&mut stored);
        }
        // A straggler, and then another connection.
        stage.run(&syn().with_flags(flag::ACK))?;
        connection(&mut stage, 5000)?;
        stage.hear(clocks);
        let mut stage = stage.die(&stored, 21)?;
        let clocks = stage.at(30);
        stage.settle(&mut stored, clocks)?;
        check(&stored, 3, 2);
        let mut stage = stage.die(&stored, 31)?;
        let clocks = stage.at(40);
        stage.settle(&mut stored, clocks)?;
        check(&stored, 3, 2);
    }
    Ok(())
}

/// An event adds nothing to a record that is on its way, which never arrives.
#[test]
fn an_event_waits_for_the_record_that_has_all_of_it() -> Result<()> {
    for is_stored in [false, true] {
        let (mut stage, mut stored) = (Stage::new()?, Stored::new());
        stage.at(10);
        connection(&mut stage, 0)?;
        let clocks = stage.at(20);
        stage.assembler.sweep(clocks)?;
        connection(&mut stage, 5000)?;
        stage.hear(clocks);
        if is_stored {
            assert_eq!(stage.store(&mut stored).len(), 1, "the first connection");
        }
        let mut stage = stage.die(&stored, 21)?;
        let clocks = stage.at(30);
        stage.settle(&mut stored, clocks)?;
        check(&stored, 2, 2);
        assert_eq!(stored.len(), 2, "{stored:?}");
    }
    Ok(())
}

/// A connection that took the place of another waits for the event of that one: what is noted beside it is not its own.
#[test]
fn a_flow_has_no_record_before_the_event_of_the_one_before_it() -> Result<()> {
    let (mut stage, mut stored) = (Stage::new()?, Stored::new());
    stage.at(10);
    connection(&mut stage, 0)?;
    let clocks = stage.at(20);
    stage.assembler.sweep(clocks)?;
    let waiting = stage.store(&mut stored);
    stage.assembler.heard_all(clocks.now_ns);
    stage.at(21);
    connection(&mut stage, 5000)?;
    stage.assembler.committed(&waiting, clocks)?;
    let clocks = stage.at(30);
    stage.assembler.sweep(clocks)?;
    assert!(stage.store(&mut stored).is_empty(), "{stored:?}");
    stage.settle(&mut stored, clocks)?;
    check(&stored, 2, 2);
    assert_eq!(stored.len(), 2, "{stored:?}");
    Ok(())
}

/// A connection takes the key of a flow in the moment its entry is closed, and the daemon dies: what is noted there is of the
/// flow before, of which an event tells the rest.
#[test]
fn a_connection_that_went_with_the_entry_of_another_is_told_whole() -> Result<()> {
    let (mut stage, mut stored) = (Stage::new()?, Stored::new());
    stage.at(10);
    stage.run(&syn())?;
    stage.run(&syn().reply().with_flags(flag::SYN | flag::ACK))?;
    let clocks = stage.at(400);
    stage.run(&syn().further(1).with_flags(flag::ACK))?;
    stage.assembler.sweep(clocks)?;
    let waiting = stage.store(&mut stored);
    assert_eq!(stored.len(), 1, "what passed so far");
    stage.assembler.committed(&waiting, clocks)?;
    stage.run(&syn().reply().with_flags(flag::RST | flag::ACK))?;
    stage.at(401);
    stage.run(&syn().further(5000))?;
    assert_eq!(stage.assembler.table().take(&[key(&syn())])?.len(), 1);
    let mut stage = stage.die(&stored, 402)?;
    let clocks = stage.at(402);
    stage.settle(&mut stored, clocks)?;
    check(&stored, 3, 2);
    assert_eq!((stored.len(), finals(&stored)), (3, 2));
    Ok(())
}

/// However many flows end at once, so many records are on their way at most; the others follow.
#[test]
fn flows_that_end_at_once_are_told_by_and_by() -> Result<()> {
    const FLOWS: usize = UNSETTLED_MAX + 3000;
    const PORTS: usize = 10_000;
    let mut stage = Stage::of(Sizes { flows: 1 << 17, ..Sizes::SMALL })?;
    stage.at(10);
    for number in 0..FLOWS {
        let mut frame = Frame::from_device(false, b"").with_flags(flag::ACK);
        let port = u16::try_from(number % PORTS)? + 1024;
        frame.source = IpAddr::from([10, 20, 1, u8::try_from(number / PORTS)?]);
        stage.run(&frame.from_port(port))?;
    }
    let clocks = stage.at(1000);
    let mut stored = Stored::new();
    stage.assembler.sweep(clocks)?;
    let waiting = stage.store(&mut stored);
    assert_eq!(stored.len(), UNSETTLED_MAX);
    stage.assembler.sweep(clocks)?;
    assert!(stage.store(&mut stored).is_empty());
    stage.assembler.committed(&waiting, clocks)?;
    stage.settle(&mut stored, clocks)?;
    check(&stored, FLOWS as u64, 0);
    assert_eq!(stage.assembler.sweep(clocks)?, 0);
    Ok(())
}
