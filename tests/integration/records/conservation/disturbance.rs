//! Daemons that stand still, are killed and come back, while flows go on.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_lab::sensor::Sensor;

use crate::kernel::Random;

/// Kills of a run, at least.
const KILLS: usize = 3;

/// A daemon lives for so long at most. Of a full run it has more to do at its start.
const LIFE_MS: usize = 2_500;
const LIFE_MS_FULL: usize = 10_000;
/// And is away for so long before the next one starts.
const AWAY_MS: usize = 600;
/// It stands still for so long, so that both rings overflow.
const STILL: Duration = Duration::from_millis(1_500);
/// Every so many lives one stands still.
const STILL_EVERY: usize = 3;

/// How often the store is looked at for a commit.
const GLANCE: Duration = Duration::from_millis(1);

/// Where moments of kills come from.
const SEED: u64 = 20;

/// Kills daemons while there is something left to send, every other one in the moment of a commit, and so often at least. The
/// last one lives. How many were killed.
pub(super) fn kill_again_and_again(sensor: &mut Sensor, left: &AtomicBool) -> Result<usize> {
    let mut random = Random(SEED);
    let life_ms = if super::is_full() { LIFE_MS_FULL } else { LIFE_MS };
    for kills in 0.. {
        if kills >= KILLS && !left.load(Ordering::Acquire) {
            return Ok(kills);
        }
        if kills % STILL_EVERY == 1 {
            sensor.pause()?;
            thread::sleep(STILL);
            sensor.go_on()?;
        }
        thread::sleep(Duration::from_millis(random.below(life_ms) as u64));
        if kills % 2 == 1 {
            wait_for_commit(&sensor.store_directory())?;
        }
        sensor.kill()?;
        thread::sleep(Duration::from_millis(random.below(AWAY_MS) as u64));
        sensor.resume()?;
    }
    unreachable!("it goes on until it returns")
}

/// Waits until the journal of a day grows, which it does in a commit; for some seconds, in which there may be none.
fn wait_for_commit(store: &Path) -> Result<()> {
    let length = || -> Result<u64> {
        let journals = fs::read_dir(store).context("look into the store")?;
        let journals = journals.filter_map(Result::ok).filter(|entry| {
            entry.path().extension().is_some_and(|extension| extension == "db-wal")
        });
        // It may go meanwhile.
        Ok(journals.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum())
    };
    let (before, begin) = (length()?, Instant::now());
    while length()? <= before && begin.elapsed() < Duration::from_millis(LIFE_MS as u64) {
        thread::sleep(GLANCE);
    }
    Ok(())
}
