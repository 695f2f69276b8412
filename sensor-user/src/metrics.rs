//! Every number of user space, by name, once. The kernel's are in [`crate::kernel::counters`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::assembly::Honesty;
use crate::names::Meter;

/// Longest latency told apart, an hour: what is slower is counted as this.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// A counter or a gauge.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds to a counter.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes from a gauge what was added to it.
    pub fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads either.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of latencies in µs, three significant digits.
#[derive(Debug)]
pub struct Latency(Mutex<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
        Self(Mutex::new(histogram.expect("1 µs to an hour is a range")))
    }
}

impl Latency {
    /// Counts one latency.
    pub fn record(&self, latency_ns: u64) {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.saturating_record((latency_ns / 1000).max(1));
    }

    /// Its quantiles.
    pub fn quantiles(&self) -> Quantiles {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Quantiles {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

/// Quantiles of a latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Quantiles {
    /// Values counted.
    pub count: u64,
    /// Median, µs.
    pub p50_us: u64,
    /// 99th percentile, µs.
    pub p99_us: u64,
    /// Largest, µs.
    pub max_us: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Verdict events taken off the ring.
    pub verdict_events: Number,
    /// Flow-end events taken off the ring.
    pub flow_end_events: Number,
    /// Events of another size or version.
    pub undecodable_events: Number,
    /// Flows in the table at the last sweep.
    pub live_flows: Number,
    /// Records made.
    pub records_made: Number,
    /// Records that the spool has: their flows may go.
    pub records_spooled: Number,
    /// Attempts of the spool that failed; the records were tried again.
    pub spool_failures: Number,
    /// Records committed to the store.
    pub records_stored: Number,
    /// Attempts of the store that failed; the records were tried again.
    pub store_failures: Number,
    /// Records given up at a stop, because the spool would not take them.
    pub records_lost: Number,
    /// Operations on the flow table that failed.
    pub table_failures: Number,
    /// Whether records and flows have every packet.
    pub honesty: Mutex<Honesty>,
    /// Policies that were refused; the last good one stayed.
    pub policies_refused: Number,
    /// From the deciding packet to its verdict in user space. The kernel's clock ticks every few ms.
    pub verdict_latency: Latency,
    /// From a flow's last packet to its committed record, linger or timeout included.
    pub record_latency: Latency,
    /// What of the committed records has a usable name.
    pub names: Mutex<Meter>,
}
