//! A writer that is killed at any moment: every batch it was told of is there, and nothing that a sink did not have is
//! passed over.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sensor_lab::FULL_VARIABLE;
use sensor_user::spool::{Next, Start};

use super::{NOON_US, SINK, open, record, records, rest};

/// Tells the child where its spool is.
const DIR_VARIABLE: &str = "CAMPUS_SENSOR_SPOOL_TEST";

/// The test that is the child.
const CHILD: &str = "store::kill::appends_until_it_is_killed";

/// Kills, and with all that takes long.
const ROUNDS: u64 = 60;
const ROUNDS_FULL: u64 = 1_000;

/// Longest time between the child's first batch and its end, µs: some dozens of batches.
const KILL_WITHIN_US: u64 = 60_000;

/// What a child that was killed had said.
#[derive(Debug, Default)]
struct Said {
    /// The last batch that was confirmed, and the last record in it.
    appended: Option<(u64, u64)>,
    /// The last batch that the sink was given.
    read: u64,
}

#[test]
fn a_killed_writer_loses_nothing_it_was_told_of() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let rounds = if env::var_os(FULL_VARIABLE).is_some() { ROUNDS_FULL } else { ROUNDS };
    let (mut confirmed, mut batches) = (0, 0);
    // What the last spool said of its sink and its records.
    let (mut acknowledged, mut latest, mut last_sequence) = (0, 0, None::<u64>);
    for round in 0..rounds {
        let mut child = start(dir.path())?;
        let said = listen_and_kill(&mut child, round)?;
        if let Some((batch, sequence)) = said.appended {
            (latest, last_sequence) = (batch, Some(sequence));
            confirmed += 1;
        }
        let mut spool = open(dir.path())?;
        let status = spool.watch().status(NOON_US);
        ensure!(status.put_aside == 0 && status.damaged == 0, "round {round}: {status:?}");
        // One may be on the disk that the child had no time to tell of.
        ensure!(
            (latest..=latest + 1).contains(&status.latest),
            "round {round}: {said:?} {status:?}"
        );
        let boot = record(0).boot;
        let kept = spool.last_sequence(&boot);
        ensure!(kept >= last_sequence, "round {round}: {kept:?} {last_sequence:?}");
        let cursor = status.cursors.first().context("the sink's cursor")?.acknowledged;
        ensure!(
            (acknowledged..=said.read.max(acknowledged)).contains(&cursor),
            "round {round}: {said:?} {status:?}"
        );
        let mut reader = spool.reader(SINK, Start::Oldest)?;
        let read = rest(&mut reader)?;
        let numbers: Vec<_> = read.iter().map(|batch| batch.number).collect();
        let expected: Vec<_> = (cursor + 1..=status.latest).collect();
        ensure!(numbers == expected, "round {round}: {numbers:?} for {expected:?}");
        let mut sequence = None;
        for one in read.iter().flat_map(|batch| &batch.records) {
            ensure!(*one == record(one.sequence), "round {round}: {one:?}");
            ensure!(
                sequence.is_none_or(|before| before + 1 == one.sequence),
                "round {round}: a gap before {one:?}"
            );
            sequence = Some(one.sequence);
        }
        ensure!(sequence.is_none() || sequence == kept, "round {round}: {sequence:?} {kept:?}");
        batches += numbers.len();
        (acknowledged, latest, last_sequence) = (cursor, status.latest, kept);
        drop(reader);
        spool.close()?;
    }
    ensure!(confirmed > rounds / 2, "{confirmed} of {rounds} children came to append");
    ensure!(batches > 0, "nothing was left to read");
    Ok(())
}

fn start(dir: &Path) -> Result<Child> {
    let mut child = Command::new(env::current_exe()?);
    child.args(["--exact", CHILD, "--nocapture", "--test-threads=1"]).env(DIR_VARIABLE, dir);
    child.stdin(Stdio::null()).stdout(Stdio::piped());
    child.spawn().context("start this program again")
}

/// Waits for the first batch, then for some time, and kills the child. All that it said before is read.
fn listen_and_kill(child: &mut Child, round: u64) -> Result<Said> {
    let lines = BufReader::new(child.stdout.take().context("the child's output")?).lines();
    let mut said = Said::default();
    let mut killer = None;
    let id = child.id();
    for line in lines {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["appended", batch, sequence, "."] => {
                said.appended = Some((batch.parse()?, sequence.parse()?));
                killer.get_or_insert_with(|| {
                    let wait = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                    thread::spawn(move || {
                        thread::sleep(Duration::from_micros(wait % KILL_WITHIN_US));
                        kill(id)
                    })
                });
            }
            ["read", batch, "."] => said.read = batch.parse()?,
            // What the test's frame says, and a line that was cut.
            _ => {}
        }
    }
    let killed = killer.map(|killer| killer.join().expect("the killer does not panic"));
    let ended = child.wait()?;
    killed.context("the child appended nothing")??;
    ensure!(!ended.success(), "the child ended by itself");
    Ok(said)
}

/// SIGKILL, to a child that is not waited for yet: the number is nobody else's.
fn kill(id: u32) -> Result<()> {
    let status = Command::new("kill").args(["-KILL", &id.to_string()]).status()?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
}

/// The child of the test above, and nothing without it: appends until it is killed, with a sink beside it.
#[test]
fn appends_until_it_is_killed() -> Result<()> {
    let Some(dir) = env::var_os(DIR_VARIABLE) else { return Ok(()) };
    let mut spool = open(Path::new(&dir))?;
    let mut reader = spool.reader(SINK, Start::Oldest)?;
    let sink = thread::spawn(move || -> Result<()> {
        while let Next::Batch(batch) = reader.next(Duration::from_mins(1))? {
            say(&format!("read {} .", batch.number))?;
            // Now and then it is behind.
            if batch.number % 16 < 12 {
                reader.acknowledge(batch.number);
            }
        }
        Ok(())
    });
    let mut sequence = spool.last_sequence(&record(0).boot).map_or(0, |last| last + 1);
    loop {
        let count = 1 + sequence % 211;
        let batch = spool.append(&records(sequence, count), NOON_US)?;
        sequence += count;
        say(&format!("appended {batch} {} .", sequence - 1))?;
        ensure!(!sink.is_finished(), "the sink ended");
    }
}

/// In one go, so that no line is half another's.
fn say(line: &str) -> Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes())?;
    Ok(std::io::stdout().flush()?)
}
