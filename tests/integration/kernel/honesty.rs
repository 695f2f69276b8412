//! Records and the flow table have every packet that was counted, whatever becomes of flows; and where they have not, it shows.

use anyhow::Result;
use sensor_lab::frames::{Frame, Hello, flag};
use sensor_user::assembly::Honesty;

use super::key;
use super::records::Stage;

impl Stage {
    /// Holds records and table against the counters, at rest.
    fn look(&mut self, second: u64) -> Result<Honesty> {
        let clocks = self.at(second);
        let counted = || self.counters.in_flows(&[0]);
        self.assembler.sweep_and_look(counted, || clocks)?;
        self.hear(clocks);
        Ok(self.assembler.conclude_look())
    }

    /// Has the store take every record that was made.
    fn commit(&mut self, second: u64) -> Result<usize> {
        let clocks = self.at(second);
        let ready = self.assembler.take_ready();
        for ready in &ready {
            self.assembler.committed(&[ready.of], clocks)?;
        }
        Ok(ready.len())
    }

    fn is_honest(&mut self, second: u64) -> Result<()> {
        let found = self.look(second)?;
        assert_eq!(
            (found.packets_off, found.bytes_off, found.packets_unsure),
            (0, 0, 0),
            "at {second} s"
        );
        Ok(())
    }
}

#[test]
fn every_packet_is_in_one_record_or_flow_whatever_becomes_of_it() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    stage.run(&syn)?;
    stage.is_honest(10)?;
    stage.run(&syn.reply().with_flags(flag::SYN | flag::ACK))?;
    stage.is_honest(11)?;
    // A long flow's record, its commit, and what comes behind it.
    stage.run(&syn.clone().further(1))?;
    stage.is_honest(400)?;
    assert_eq!(stage.commit(400)?, 1);
    stage.is_honest(401)?;
    stage.at(402);
    stage.run(&syn.clone().further(2))?;
    stage.is_honest(402)?;
    // It ends, its port is used again before the store has the record, and by a blocked hello.
    stage.run(&syn.reply().with_flags(flag::RST | flag::ACK))?;
    stage.is_honest(410)?;
    stage.at(411);
    stage.run(&syn.clone().further(5000))?;
    stage.run(&Frame::from_device(false, &Hello::of("blocked.example").bytes()).further(5000))?;
    stage.is_honest(411)?;
    stage.commit(411)?;
    stage.is_honest(412)?;
    stage.commit(412)?;
    // Blocked flows leave late; further packets of theirs are told apart.
    stage.run(&syn.clone().further(5001))?;
    for second in [413, 500, 700, 701, 900] {
        stage.is_honest(second)?;
        stage.commit(second)?;
    }
    assert!(stage.flow(&syn).is_none());
    stage.is_honest(901)
}

#[test]
fn a_packet_that_is_lost_or_told_twice_shows() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.at(10);
    let syn = Frame::from_device(false, b"").with_flags(flag::SYN);
    stage.run(&syn)?;
    stage.run(&syn.reply())?;
    stage.is_honest(11)?;
    let bytes = stage.flow(&syn).expect("a flow");
    let bytes = bytes.to_peer.bytes + bytes.to_lan.bytes;
    // Behind its back.
    stage.assembler.table().take(&[key(&syn)])?;
    let found = stage.look(12)?;
    assert_eq!((found.packets_off, found.bytes_off), (2, bytes));
    // Once told it is told.
    assert_eq!(stage.look(13)?.packets_off, 2);
    Ok(())
}
