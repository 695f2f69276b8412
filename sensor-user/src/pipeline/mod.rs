//! The data path's threads: rings → samples → records → spool → store. Wiring only.
//!
//! Every channel is bounded. When one is full its sender waits; in the end the rings wait, the kernel
//! counts what they refuse, and the sweep finds those flows later. No wait reaches a verdict.
//!
//! A flow may go when the spool has its record ([`mod@keep`]). From there the day store has it ([`mod@deliver`]) and every
//! [export](crate::export), each at its own pace.

mod deliver;
mod keep;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, bounded, never, select, tick};
use sensor_ebpf::abi::{FlowEndEvent, VerdictEvent, Volume};
use tracing::{debug, error};

use crate::assembly::{Assembler, Honesty, Ready, Waiting};
use crate::clock;
use crate::kernel::KernelError;
use crate::kernel::events;
use crate::kernel::events::Rings;
use crate::metrics::Metrics;
use crate::privacy::Pseudonyms;
use crate::spool::{Reader, Spool};
use crate::store::DayStore;

use self::deliver::deliver;
use self::keep::{Outlets, keep};

/// Samples between the rings and assembly: 16 Ki of at most 352 bytes.
const SAMPLES_MAX: usize = 1 << 14;

/// Batches of records between assembly and the store.
const BATCHES_MAX: usize = 64;

/// Commits assembly has not heard of: there are never more than batches on their way, and a few.
const COMMITS_MAX: usize = BATCHES_MAX * 2;

/// Longest wait for a verdict before the flow-end ring, which wakes nobody, is looked at.
const RING_WAIT: Duration = Duration::from_millis(10);

/// How often closed flows are looked at for the end of their linger.
const LINGER_TICK: Duration = Duration::from_millis(50);

/// Records of one transaction: where a commit's cost no longer shows in the rate of spool and store.
const BATCH_RECORDS: usize = 5000;

/// Wait before a failed transaction is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Between a stop and the last look at the rings: a flow that began before the stop is then known to have taken no other's
/// place, or whose, and is told. More than a tick of the programs' clock.
const LAST_PAUSE: Duration = Duration::from_millis(40);

/// Longest wait for a commit at a stop before no more records are made: as long as the store tries.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Tries of the last transaction at a stop, before its records are given up and counted.
const LAST_TRIES: u32 = 5;

/// How often records and flows are held against what the interfaces counted. A look takes some milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// An event off a ring.
enum Sample {
    Verdict(Bytes),
    FlowEnd(events::Sample),
    /// Every event was read that was sent until then, in ns of the sensor's clock.
    Heard(u64),
}

/// What the interfaces have counted in flows.
pub type Counted = Box<dyn Fn() -> Result<Volume, KernelError> + Send>;

/// Where records go.
pub struct Drains {
    /// What has every one before its flow may go.
    pub spool: Spool,
    /// What they have in place of names, there and behind it.
    pub pseudonyms: Option<Pseudonyms>,
    /// The store that has them from there.
    pub store: DayStore,
    /// Its cursor.
    pub reader: Reader,
    /// Full days it keeps before today.
    pub retention_days: u32,
}

/// The running threads.
pub struct Pipeline {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    spool: JoinHandle<Spool>,
}

/// Starts the threads.
pub fn start(
    rings: Rings,
    mut assembler: Assembler,
    drains: Drains,
    sweep_interval: Duration,
    counted: Counted,
    metrics: &Arc<Metrics>,
) -> std::io::Result<Pipeline> {
    assembler.keep_events(rings.keeper());
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    let (samples_in, samples_out) = bounded(SAMPLES_MAX);
    let (records_in, records_out) = bounded(BATCHES_MAX);
    let (commits_in, commits_out) = bounded(COMMITS_MAX);
    let thread = |name: &str| thread::Builder::new().name(name.to_owned());
    let read = {
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        move || read_rings(rings, &samples_in, &asked, &stop)
    };
    let assemble = {
        let metrics = Arc::clone(metrics);
        move || {
            let streams =
                Streams { samples: samples_out, records: records_in, commits: commits_out };
            let mut looks =
                Looks { counted, asked, is_asked: false, is_sweep: false, is_look: false };
            assemble(assembler, streams, sweep_interval, &mut looks, &metrics);
        }
    };
    let Drains { spool, pseudonyms, store, reader, retention_days } = drains;
    let keep = {
        let (stop, metrics) = (Arc::clone(&stop), Arc::clone(metrics));
        let outlets = Outlets { settled: commits_in, pseudonyms };
        move || keep(spool, &records_out, &outlets, &stop, &metrics)
    };
    let deliver = {
        let (stop, metrics) = (Arc::clone(&stop), Arc::clone(metrics));
        move || deliver(store, reader, retention_days, &stop, &metrics)
    };
    let threads = vec![
        thread("rings").spawn(read)?,
        thread("assembly").spawn(assemble)?,
        thread("store").spawn(deliver)?,
    ];
    Ok(Pipeline { stop, threads, spool: thread("spool").spawn(keep)? })
}

impl Pipeline {
    /// Empties the rings, records every flow so far, has it in the spool and the store, and ends: each thread ends when
    /// what feeds it has ended. Who else reads the spool goes on; it is to be closed when they have ended.
    pub fn stop(self) -> Option<Spool> {
        self.stop.store(true, Ordering::Relaxed);
        let spool = joined(self.spool);
        for thread in self.threads {
            let _ended = joined(thread);
        }
        spool
    }

    /// True while every thread runs.
    pub fn is_running(&self) -> bool {
        !self.spool.is_finished() && !self.threads.iter().any(JoinHandle::is_finished)
    }
}

fn joined<T>(thread: JoinHandle<T>) -> Option<T> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    let ended = thread.join().ok();
    if ended.is_none() {
        error!(thread = name, "a thread of the data path panicked");
    }
    ended
}

fn read_rings(mut rings: Rings, samples: &Sender<Sample>, asked: &AtomicBool, stop: &AtomicBool) {
    loop {
        let last_round = stop.load(Ordering::Relaxed);
        if last_round {
            thread::sleep(LAST_PAUSE);
        }
        let now_ns = clock::now().now_ns;
        // Before the rings are read: whatever was sent before it was asked is read now.
        let is_asked = asked.swap(false, Ordering::AcqRel);
        while let Some(sample) = rings.next_verdict() {
            if samples.send(Sample::Verdict(sample)).is_err() {
                return;
            }
        }
        while let Some(sample) = rings.next_flow_end() {
            if samples.send(Sample::FlowEnd(sample)).is_err() {
                return;
            }
        }
        if (is_asked || last_round) && samples.send(Sample::Heard(now_ns)).is_err() {
            return;
        }
        if last_round {
            return;
        }
        rings.wait(RING_WAIT);
    }
}

/// What assembly takes and gives.
struct Streams {
    samples: Receiver<Sample>,
    records: Sender<Vec<Ready>>,
    commits: Receiver<Vec<Waiting>>,
}

/// When the table is looked at: each time once every event is known that was sent before. An event may be all that is left of a
/// flow whose key another one has, and comes first. So a flow that began later than that is left for another look.
struct Looks {
    counted: Counted,
    /// Has the rings say when they were read to their end.
    asked: Arc<AtomicBool>,
    /// They have not said so since.
    is_asked: bool,
    /// All flows are due for a look.
    is_sweep: bool,
    /// Records and flows are to be held against what was counted.
    is_look: bool,
}

impl Looks {
    fn ask(&mut self) {
        if !self.is_asked {
            self.is_asked = true;
            self.asked.store(true, Ordering::Release);
        }
    }

    /// Every event was heard that was sent before this was asked.
    fn heard(&mut self, assembler: &mut Assembler, metrics: &Metrics) -> Result<(), KernelError> {
        self.is_asked = false;
        note_honesty(assembler.conclude_look(), metrics);
        assembler.lingered(clock::now())?;
        let live = if self.is_look {
            let live = assembler.sweep_and_look(&self.counted, clock::now)?;
            self.ask();
            live
        } else if self.is_sweep {
            assembler.sweep(clock::now())?
        } else {
            return Ok(());
        };
        // Where more was due than there is room for, another sweep follows as soon as there is.
        (self.is_look, self.is_sweep) = (false, !assembler.has_room());
        metrics.live_flows.set(live as u64);
        Ok(())
    }
}

fn assemble(
    mut assembler: Assembler,
    streams: Streams,
    sweep_interval: Duration,
    looks: &mut Looks,
    metrics: &Metrics,
) {
    let Streams { samples, records, commits } = streams;
    let lingered = tick(LINGER_TICK);
    let swept = tick(sweep_interval);
    let looked = tick(LOOK_INTERVAL);
    let nothing = never();
    loop {
        // First of all, so that the store never waits for room to say that it has committed.
        for keys in commits.try_iter() {
            settle(&mut assembler, &keys, metrics);
        }
        let samples = if assembler.has_room() { &samples } else { &nothing };
        select! {
            recv(samples) -> sample => match sample {
                Ok(Sample::Heard(until_ns)) => {
                    assembler.heard_all(until_ns);
                    note_failure(looks.heard(&mut assembler, metrics), metrics);
                }
                Ok(sample) => take(&mut assembler, &sample, metrics),
                // The rings are read to their end.
                Err(_ended) => break,
            },
            recv(commits) -> keys => settle(&mut assembler, &keys.unwrap_or_default(), metrics),
            recv(lingered) -> _ => looks.ask(),
            recv(swept) -> _ => looks.is_sweep = true,
            recv(looked) -> _ => looks.is_look = true,
        }
        if !pass_on(&mut assembler, &records, metrics) {
            return;
        }
    }
    conclude(assembler, records, &commits, metrics);
}

/// Records all there is, and waits until the store has it or gives up.
fn conclude(
    mut assembler: Assembler,
    records: Sender<Vec<Ready>>,
    commits: &Receiver<Vec<Waiting>>,
    metrics: &Metrics,
) {
    let mut left = assembler.all().unwrap_or_else(|failure| {
        note_failure(Err(failure), metrics);
        Vec::new()
    });
    loop {
        assembler.record_all(&mut left, clock::now());
        if !pass_on(&mut assembler, &records, metrics) {
            return;
        }
        if left.is_empty() && assembler.is_settled() {
            return;
        }
        match commits.recv_timeout(LAST_WAIT) {
            Ok(keys) => settle(&mut assembler, &keys, metrics),
            Err(_late_or_ended) => break,
        }
    }
    // What is still on its way is committed, or given up.
    drop(records);
    for keys in commits {
        settle(&mut assembler, &keys, metrics);
    }
}

fn settle(assembler: &mut Assembler, committed: &[Waiting], metrics: &Metrics) {
    note_failure(assembler.committed(committed, clock::now()), metrics);
}

fn take(assembler: &mut Assembler, sample: &Sample, metrics: &Metrics) {
    let clocks = clock::now();
    match sample {
        Sample::Verdict(sample) => {
            let Some(event) = VerdictEvent::decode(sample) else {
                metrics.undecodable_events.add(1);
                return;
            };
            metrics.verdict_events.add(1);
            metrics.verdict_latency.record(clocks.now_ns.saturating_sub(event.time_ns));
            debug!(verdict = event.verdict, policy = event.policy, "verdict");
        }
        Sample::FlowEnd(events::Sample { bytes, place }) => {
            let Some(event) = FlowEndEvent::decode(bytes) else {
                metrics.undecodable_events.add(1);
                assembler.pass_over(*place);
                return;
            };
            metrics.flow_end_events.add(1);
            assembler.flow_end(&event, *place, clocks);
        }
        Sample::Heard(_) => {}
    }
}

fn note_honesty(honesty: Honesty, metrics: &Metrics) {
    let mut known = metrics.honesty.lock().unwrap_or_else(PoisonError::into_inner);
    if honesty.packets_off > known.packets_off {
        error!(packets = honesty.packets_off, "packets are in no record and no flow, or in two");
    }
    *known = honesty;
}

/// Hands the finished records on, in pieces of a transaction, so that the store has some while more are made; false when
/// nobody takes them any more.
fn pass_on(assembler: &mut Assembler, records: &Sender<Vec<Ready>>, metrics: &Metrics) -> bool {
    let mut ready = assembler.take_ready();
    metrics.records_made.add(ready.len() as u64);
    while !ready.is_empty() {
        let rest = ready.split_off(ready.len().min(BATCH_RECORDS));
        if records.send(std::mem::replace(&mut ready, rest)).is_err() {
            return false;
        }
    }
    true
}

fn note_failure(done: Result<(), KernelError>, metrics: &Metrics) {
    if let Err(failure) = done {
        metrics.table_failures.add(1);
        error!(error = %chain(&failure), "the flow table refused; its flows wait for the next sweep");
    }
}

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests;
