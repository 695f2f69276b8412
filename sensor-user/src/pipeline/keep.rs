//! The thread that has records on the disk: their flows may go then, and whoever they go to reads them there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{error, warn};

use super::{BATCH_RECORDS, LAST_TRIES, RETRY_WAIT, chain};
use crate::assembly::{Ready, Waiting};
use crate::clock;
use crate::metrics::Metrics;
use crate::privacy::Pseudonyms;
use crate::record::Record;
use crate::spool::Spool;

/// Longest a record waits for others of its transaction.
const BATCH_WAIT: Duration = Duration::from_millis(200);

/// How often the spool is looked after where no records come: what was acknowledged is noted, what is old goes.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// What a batch is made ready with, and who is told that the disk has it.
pub(super) struct Outlets {
    pub(super) settled: Sender<Vec<Waiting>>,
    pub(super) pseudonyms: Option<Pseudonyms>,
}

/// Works until nobody makes records any more. The spool has ended then: whoever reads it gets the rest.
pub(super) fn keep(
    mut spool: Spool,
    records: &Receiver<Vec<Ready>>,
    outlets: &Outlets,
    stop: &AtomicBool,
    metrics: &Metrics,
) -> Spool {
    let mut is_tended = true;
    loop {
        let first = match records.recv_timeout(TEND_INTERVAL) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                is_tended = tend(&mut spool, is_tended);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let batch = filled(first, records);
        let (mut batch, waiting): (Vec<Record>, Vec<Waiting>) =
            batch.into_iter().map(|ready| (ready.record, ready.of)).unzip();
        // Here, so that everybody has the same, and nothing else writes names.
        if let Some(pseudonyms) = &outlets.pseudonyms {
            pseudonyms.cover(&mut batch);
        }
        if append(&mut spool, &batch, stop, metrics) {
            // An error means that assembly has ended; its flows are found by the next start.
            let _ended = outlets.settled.send(waiting);
        }
    }
    spool.finish();
    spool
}

/// A batch of as many records as make a transaction, or come within the time.
fn filled(mut batch: Vec<Ready>, records: &Receiver<Vec<Ready>>) -> Vec<Ready> {
    let until = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_RECORDS {
        match records.recv_deadline(until) {
            Ok(more) => batch.extend(more),
            Err(_late_or_ended) => break,
        }
    }
    batch
}

/// Whether it went well; once it did not, that is not said again until it does.
fn tend(spool: &mut Spool, went_well: bool) -> bool {
    let tended = spool.tend(now_us());
    if let Err(failure) = &tended
        && went_well
    {
        warn!(error = %chain(failure), "the spool is not looked after");
    }
    tended.is_ok()
}

/// Has a batch on the disk, trying again and again; at a stop only so often, then false.
fn append(spool: &mut Spool, batch: &[Record], stop: &AtomicBool, metrics: &Metrics) -> bool {
    let mut last_tries = 0;
    while let Err(failure) = spool.append(batch, now_us()) {
        metrics.spool_failures.add(1);
        error!(error = %chain(&failure), records = batch.len(), "the spool refused; trying again");
        last_tries += u32::from(stop.load(Ordering::Relaxed));
        if last_tries >= LAST_TRIES {
            metrics.records_lost.add(batch.len() as u64);
            error!(records = batch.len(), "given up");
            return false;
        }
        thread::sleep(RETRY_WAIT);
    }
    metrics.records_spooled.add(batch.len() as u64);
    true
}

fn now_us() -> i64 {
    let clocks = clock::now();
    clocks.wall_us(clocks.now_ns)
}
