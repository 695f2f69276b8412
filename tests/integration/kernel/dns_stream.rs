//! DNS over TCP: messages are put together from segments, and the one that completes a blocked query does
//! not pass.

use anyhow::Result;
use sensor_ebpf::abi::{Anomaly, NameSource, NoName, Side, Verdict};
use sensor_lab::dns::{A, Query};
use sensor_lab::frames::{Frame, Transport, flag};
use sensor_user::kernel::test_run::action;

use super::{Bench, Lent};

const BLOCKED: &str = "www.blocked.example";

/// One connection.
struct Connection<'a> {
    bench: &'a mut Bench,
    port: u16,
    v6: bool,
}

impl<'a> Connection<'a> {
    fn open(bench: &'a mut Bench, port: u16, v6: bool) -> Result<Self> {
        let connection = Self { bench, port, v6 };
        let syn = connection.segment(0, &[]).with_flags(flag::SYN);
        assert_eq!(connection.bench.run(&syn)?.action, action::PASS);
        Ok(connection)
    }

    fn segment(&self, at: usize, bytes: &[u8]) -> Frame {
        let frame = Frame { destination_port: 53, ..Frame::from_device(self.v6, bytes) };
        frame.from_port(self.port).further(at as u32)
    }

    /// What becomes of some bytes at an offset of the stream.
    fn send(&mut self, at: usize, bytes: &[u8]) -> Result<Fate> {
        let frame = self.segment(at, bytes);
        let outcome = self.bench.run(&frame)?;
        Ok(match outcome.action {
            action::PASS if outcome.frame == frame.bytes() => Fate::Passed,
            action::PASS => Fate::Reset,
            action::DROP => Fate::Dropped,
            _ => Fate::Answered,
        })
    }

    /// The server has the stream up to here.
    fn hear(&mut self, flags: u8, at: u32) -> Result<()> {
        let mut reply = self.segment(0, &[]).reply();
        let sequence = if flags & flag::SYN == 0 { 5001 } else { 5000 };
        reply.transport = Transport::Tcp { flags, sequence, acknowledgement: 1001 + at };
        assert_eq!(self.bench.run(&reply)?.action, action::PASS);
        Ok(())
    }

    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(event) = self.bench.verdict() {
            if event.name_source == NameSource::Dns as u8 {
                names.push(String::from_utf8_lossy(event.name.as_bytes()).into_owned());
            }
        }
        names
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    /// It went on as the server's reset.
    Reset,
    Answered,
    Dropped,
}

fn message(name: &str) -> Vec<u8> {
    let query = Query { edns: Some(Vec::new()), ..Query::of(name, A) }.bytes();
    [&(query.len() as u16).to_be_bytes()[..], &query].concat()
}

fn bench() -> Result<Lent> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_both(&["blocked.example"], &[NoName::Evasion, NoName::Oversize])?;
    Ok(bench)
}

#[test]
fn a_query_is_judged_however_it_is_cut() -> Result<()> {
    let mut bench = bench()?;
    let mut port = 1000;
    for v6 in [false, true] {
        for (name, last) in [("fine.example", Fate::Passed), (BLOCKED, Fate::Reset)] {
            let bytes = message(name);
            for size in [1, 2, 3, 7, 20, bytes.len()] {
                port += 1;
                let mut connection = Connection::open(&mut bench, port, v6)?;
                let mut at = 0;
                for piece in bytes.chunks(size) {
                    let is_last = at + piece.len() == bytes.len();
                    let expected = if is_last { last } else { Fate::Passed };
                    assert_eq!(connection.send(at, piece)?, expected, "{name} by {size} at {at}");
                    at += piece.len();
                }
                assert_eq!(connection.names(), [name]);
                let frame = connection.segment(0, &[]);
                let flow = bench.flow(&frame).expect("a flow");
                let verdict = if last == Fate::Reset { Verdict::Block } else { Verdict::Allow };
                assert_eq!(flow.verdict, verdict as u8, "{name} by {size}");
                assert_eq!(flow.name_source, NameSource::Dns as u8);
            }
        }
    }
    assert!(bench.ingress()?.is_conserved());
    Ok(())
}

#[test]
fn every_message_of_a_connection_is_judged() -> Result<()> {
    let mut bench = bench()?;
    let mut connection = Connection::open(&mut bench, 1, false)?;
    let (first, second) = (message("a.example"), message("b.example"));
    let three = [message("c.example"), message("d.example"), message(BLOCKED)].concat();
    assert_eq!(connection.send(0, &first)?, Fate::Passed);
    assert_eq!(connection.send(first.len(), &second)?, Fate::Passed);
    assert_eq!(connection.send(first.len() + second.len(), &three)?, Fate::Reset);
    assert_eq!(connection.names(), ["a.example", "b.example", "c.example", "d.example", BLOCKED]);
    Ok(())
}

/// More messages than there are tail calls: the segment is left out until all of it is judged.
#[test]
fn a_crowded_segment_is_judged_in_turns() -> Result<()> {
    for (last, expected) in [("z.example", Fate::Passed), (BLOCKED, Fate::Reset)] {
        let mut bench = bench()?;
        let mut connection = Connection::open(&mut bench, 1, false)?;
        let crowd: Vec<u8> =
            (0..39).flat_map(|number| message(&format!("n{number}.example"))).collect();
        let crowd = [crowd, message(last)].concat();
        let mut fates = Vec::new();
        for _ in 0..10 {
            fates.push(connection.send(0, &crowd)?);
            if fates.last() != Some(&Fate::Dropped) {
                break;
            }
        }
        assert_eq!(fates.last(), Some(&expected), "{fates:?}");
        assert!(fates.len() > 1, "{fates:?}");
        let names = connection.names();
        assert!(names.iter().any(|name| name == last), "{names:?}");
        assert!((0..39).all(|number| names.contains(&format!("n{number}.example"))), "{names:?}");
    }
    Ok(())
}

#[test]
fn what_is_sent_again_is_compared() -> Result<()> {
    let mut bench = bench()?;
    let bytes = message("fine.example");
    let mut connection = Connection::open(&mut bench, 1, false)?;
    connection.hear(flag::SYN | flag::ACK, 0)?;
    let (head, tail) = bytes.split_at(20);
    for (at, piece) in [(0, head), (0, head), (20, tail), (0, &*bytes), (20, tail)] {
        assert_eq!(connection.send(at, piece)?, Fate::Passed);
    }
    // What the server has is no matter any more, and the next query follows it.
    connection.hear(flag::ACK, 20)?;
    let mut other = bytes.clone();
    other[16] ^= 1;
    assert_eq!(connection.send(0, &other[..20])?, Fate::Passed);
    assert_eq!(connection.send(bytes.len(), &bytes)?, Fate::Passed);
    // Another name in place of what it may not have.
    assert_eq!(connection.send(bytes.len(), &other)?, Fate::Reset);
    assert_eq!(bench.ingress()?.no_name(NoName::Evasion), 1);
    Ok(())
}

#[test]
fn nothing_passes_unread_by_its_place() -> Result<()> {
    let mut bench = bench()?;
    let bytes = message(BLOCKED);
    let (head, tail) = bytes.split_at(20);
    // The end first: nobody has said what this is.
    let mut connection = Connection::open(&mut bench, 1, false)?;
    assert_eq!(connection.send(20, tail)?, Fate::Dropped);
    assert_eq!(connection.send(0, head)?, Fate::Passed);
    // Ahead of a gap, then what fills it.
    assert_eq!(connection.send(30, &tail[10..])?, Fate::Dropped);
    assert_eq!(connection.send(20, tail)?, Fate::Reset);
    assert!(bench.ingress()?.anomaly(Anomaly::OutOfWindow) >= 2);
    // A message longer than is kept, which a server might read all the same.
    for start in [[0x10, 0], [0x20, 0x01], [0xff, 0xff]] {
        let port = u16::from_be_bytes(start);
        let mut connection = Connection::open(&mut bench, port, true)?;
        assert_eq!(connection.send(0, &[&start[..], &bytes[2..]].concat())?, Fate::Reset);
    }
    Ok(())
}

#[test]
fn another_connection_on_the_same_ports_starts_anew() -> Result<()> {
    let mut bench = bench()?;
    let bytes = message("fine.example");
    let mut connection = Connection::open(&mut bench, 1, false)?;
    assert_eq!(connection.send(0, &bytes[..9])?, Fate::Passed);
    let syn = connection.segment(500_000, &[]).with_flags(flag::SYN);
    assert_eq!(bench.run(&syn)?.action, action::PASS);
    let mut connection = Connection { bench: &mut bench, port: 1, v6: false };
    assert_eq!(connection.send(500_000, &message(BLOCKED))?, Fate::Reset);
    Ok(())
}
