//! Records in formats others read, sent as they are stored.
//!
//! ```text
//! store ─ Feed ─┬─ queue ─► Sink: filter ─► Encoder (eve | ipfix | syslog) ─► Output (file | tcp | udp)
//!               └─ queue ─► Sink
//! ```
//!
//! - [`fields`] tells each field of a record once; formats are tables over it.
//! - [`mod@eve`], [`ipfix`] and [`syslog`] make messages, [`output`] carries them, a `sink` brings both together.
//!
//! A record is offered when the store has it, and never before. Nothing waits for a receiver: queues are bounded, and
//! what does not go in is counted by export and reason ([`state::Shed`]). A receiver that was away gets what the queue held.

pub mod eve;
pub mod fields;
mod filter;
pub mod ipfix;
pub mod message;
mod occurrence;
pub mod output;
pub mod protocol;
mod sink;
pub mod state;
pub mod syslog;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use tracing::error;

use self::eve::Eve;
use self::ipfix::{Carrier, Ipfix};
use self::message::Encoder;
use self::sink::Sink;
use self::state::{ExportStatus, Shed, State};
use self::syslog::{Framing, Syslog};
use crate::config::{Export, ExportKind, Target};
use crate::record::Record;

/// Records one export may have waiting: a minute of a busy campus, some 50 MiB, which exports share where they wait for
/// the same records.
const QUEUE_RECORDS_MAX: usize = 65_536;

/// Batches of them: the store commits at most five a second.
const QUEUE_BATCHES_MAX: usize = 4096;

/// How long a stop waits for an export that gets nothing sent.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How long it waits in all, well within the 90 s that systemd gives a service: a full queue takes a second or two.
const LAST_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often it looks.
const LAST_POLL: Duration = Duration::from_millis(10);

/// Records of one transaction of the store.
pub type Batch = Arc<Vec<Record>>;

/// The running exports.
pub struct Exports {
    feed: Feed,
    states: Vec<Arc<State>>,
    /// Dropped when waiting must end.
    stop: Sender<Infallible>,
    threads: Vec<JoinHandle<()>>,
}

/// Where records are offered to every export.
#[derive(Clone, Default)]
pub struct Feed(Vec<Lane>);

#[derive(Clone)]
struct Lane {
    export: Arc<Export>,
    queue: Sender<Batch>,
    state: Arc<State>,
}

/// Starts the exports of a sensor.
pub fn start(exports: &[Export], sensor: &str) -> io::Result<Exports> {
    let (stop, stopped) = bounded(0);
    let mut started =
        Exports { feed: Feed::default(), states: Vec::new(), stop, threads: Vec::new() };
    for export in exports {
        started.start(export, sensor, stopped.clone())?;
    }
    Ok(started)
}

impl Exports {
    fn start(
        &mut self,
        export: &Export,
        sensor: &str,
        stopped: Receiver<Infallible>,
    ) -> io::Result<()> {
        let export = Arc::new(export.clone());
        let state = Arc::new(State::of(&export));
        let (queue, batches) = bounded(QUEUE_BATCHES_MAX);
        let encoder = encoder(&export, sensor, &state);
        let output = output::of(&export);
        let sink = Sink::new(Arc::clone(&export), encoder, output, Arc::clone(&state), stopped);
        let name = format!("export-{}", export.name);
        self.threads.push(thread::Builder::new().name(name).spawn(move || sink.run(&batches))?);
        self.states.push(Arc::clone(&state));
        self.feed.0.push(Lane { export, queue, state });
        Ok(())
    }

    /// Where records are offered.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Counts of every export, in the order of the configuration.
    pub fn states(&self) -> Vec<Arc<State>> {
        self.states.clone()
    }

    /// Sends what is queued and ends. Waits for as long as records are sent, 30 seconds at most, and for two where
    /// none is. Every other feed must have gone before.
    pub fn stop(self) {
        let Self { feed, states, stop, threads } = self;
        drop(feed);
        let sent = || states.iter().map(|state| state.sent()).sum::<u64>();
        let started = Instant::now();
        let (mut before, mut moved) = (sent(), started);
        while !threads.iter().all(JoinHandle::is_finished)
            && moved.elapsed() < LAST_WAIT
            && started.elapsed() < LAST_WAIT_MAX
        {
            thread::sleep(LAST_POLL);
            let now = sent();
            if now != before {
                (before, moved) = (now, Instant::now());
            }
        }
        drop(stop);
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                error!(thread = name, "the thread of an export panicked");
            }
        }
    }
}

impl Feed {
    /// Offers records that are stored. Never waits.
    pub fn offer(&self, batch: &Batch) {
        for Lane { export, queue, state } in &self.0 {
            let wanted = batch.iter().filter(|record| export.takes(record)).count();
            if wanted == 0 {
                continue;
            }
            if !state.enqueue(batch.len(), QUEUE_RECORDS_MAX) {
                state.add_shed(Shed::QueueFull, wanted);
            } else if queue.try_send(Arc::clone(batch)).is_err() {
                state.dequeue(batch.len());
                state.add_shed(Shed::QueueFull, wanted);
            }
        }
    }
}

/// How every export is doing.
pub fn status(states: &[Arc<State>]) -> Vec<ExportStatus> {
    states.iter().map(|state| state.status()).collect()
}

fn encoder(export: &Export, sensor: &str, state: &Arc<State>) -> Box<dyn Encoder> {
    let is_datagrams = matches!(export.target, Target::Udp(_));
    match export.kind {
        ExportKind::Eve => Box::new(Eve::new(export.fields)),
        ExportKind::Ipfix => {
            let carrier = if is_datagrams { Carrier::Datagrams } else { Carrier::Stream };
            Box::new(Ipfix::new(export, carrier, sensor, Arc::clone(state)))
        }
        ExportKind::Syslog => {
            let framing = if is_datagrams { Framing::Datagram } else { Framing::OctetCounting };
            Box::new(Syslog::new(export.fields, framing, export.enterprise))
        }
    }
}
