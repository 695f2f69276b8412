//! The thread that has records in the day store, from the spool.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing::{error, info, warn};

use super::{LAST_TRIES, RETRY_WAIT, chain};
use crate::clock;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::spool::{Next, Reader};
use crate::store::{DayStore, StoreError, Today};

/// How often the store is looked at where no records come: days expire all the same.
const TICK: Duration = Duration::from_secs(1);

/// Longest work on what waits once a stop is asked for, well within the 90 s that systemd gives a service. A store that was away
/// for long has hours of records to take.
const LAST_WORK: Duration = Duration::from_secs(20);

/// Works until the spool has ended. What the store has not taken by the end of a stop stays there.
pub(super) fn deliver(
    mut store: DayStore,
    mut reader: Reader,
    retention_days: u32,
    stop: &AtomicBool,
    metrics: &Metrics,
) {
    let mut days = Days::of(&store, retention_days);
    let mut last = LastWork::default();
    while !last.is_over(stop.load(Ordering::Relaxed), Instant::now()) {
        match reader.next(TICK) {
            Ok(Next::Batch(batch)) => {
                if !commit(&mut store, &batch.records, stop, metrics) {
                    return;
                }
                reader.acknowledge(batch.number);
            }
            Ok(Next::Nothing) => {}
            Ok(Next::Ended) => return,
            Err(failure) => {
                error!(error = %chain(&failure), "the spool cannot be read; trying again");
                thread::sleep(RETRY_WAIT);
            }
        }
        days.expire(&mut store);
    }
    info!("the rest stays in the spool for the next start");
}

/// How long there is still to work.
#[derive(Default)]
struct LastWork(Option<Instant>);

impl LastWork {
    fn is_over(&mut self, is_stopping: bool, now: Instant) -> bool {
        is_stopping && now >= *self.0.get_or_insert(now + LAST_WORK)
    }
}

/// Which days are kept.
struct Days {
    today: Result<Today, StoreError>,
    /// So many before today.
    kept: u32,
    expired_on: Option<Date>,
}

impl Days {
    fn of(store: &DayStore, kept: u32) -> Self {
        let today = store.today();
        if let Err(failure) = &today {
            warn!(error = %chain(failure), "the days of the store could not be listed: none is removed");
        }
        Self { today, kept, expired_on: None }
    }

    /// Removes what is too old, once a day.
    fn expire(&mut self, store: &mut DayStore) {
        let Ok(today) = &mut self.today else { return };
        let day = today.of(Timestamp::now().to_zoned(TimeZone::UTC).date(), Instant::now());
        if self.expired_on == Some(day) {
            return;
        }
        self.expired_on = Some(day);
        if let Err(failure) = store.expire(self.kept, day) {
            warn!(error = %chain(&failure), "old day files could not be removed");
        }
    }
}

/// Commits a batch, again and again until the store takes it; at a stop only so often, then false.
fn commit(store: &mut DayStore, batch: &[Record], stop: &AtomicBool, metrics: &Metrics) -> bool {
    let mut last_tries = 0;
    while let Err(failure) = store.append(batch) {
        metrics.store_failures.add(1);
        error!(error = %chain(&failure), records = batch.len(), "the store refused; trying again");
        last_tries += u32::from(stop.load(Ordering::Relaxed));
        if last_tries >= LAST_TRIES {
            warn!("the rest stays in the spool for the next start");
            return false;
        }
        thread::sleep(RETRY_WAIT);
    }
    metrics.records_stored.add(batch.len() as u64);
    let clocks = clock::now();
    let now_us = clocks.wall_us(clocks.now_ns);
    metrics.names.lock().unwrap_or_else(PoisonError::into_inner).add(batch, now_us);
    for record in batch {
        let latency_us = now_us.saturating_sub(record.end_us);
        metrics.record_latency.record(u64::try_from(latency_us).unwrap_or(0) * 1000);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_waited_for_so_long_and_no_longer() {
        let (start, mut last) = (Instant::now(), LastWork::default());
        assert!(!last.is_over(false, start + 2 * LAST_WORK));
        let stopped = start + 3 * LAST_WORK;
        assert!(!last.is_over(true, stopped));
        assert!(!last.is_over(true, stopped + LAST_WORK / 2));
        assert!(last.is_over(true, stopped + LAST_WORK));
    }
}
