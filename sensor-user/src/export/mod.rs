//! Records in formats others read, sent as the spool has them.
//!
//! ```text
//! spool ─┬─ cursor ─► Sink: filter ─► Encoder (eve | ipfix | syslog) ─► Output (file | tcp | udp)
//!        └─ cursor ─► Sink
//! ```
//!
//! - [`fields`] tells each field of a record once; formats are tables over it.
//! - [`mod@eve`], [`ipfix`] and [`syslog`] make messages, [`output`] carries them, a `sink` brings both together.
//!
//! Each export has a cursor of its own in the [spool](crate::spool), which moves when the system has taken a batch: a receiver
//! that was away, or a daemon that was, gets what it missed, for as long as the spool has room. Nobody waits for a receiver.
//! What was sent and not yet noted when a daemon dies is sent again: a record goes by sensor, boot and number.

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
use self::state::{ExportStatus, State};
use self::syslog::{Framing, Syslog};
use crate::config::{Export, ExportKind, Target};
use crate::spool::{Reader, Spool, SpoolError, SpoolStatus, Start};

/// How long a stop waits for an export that gets nothing sent.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How long it waits in all, well within the 90 s that systemd gives a service: a full queue takes a second or two.
const LAST_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often it looks.
const LAST_POLL: Duration = Duration::from_millis(10);

/// The running exports.
pub struct Exports {
    states: Vec<Arc<State>>,
    /// Dropped when waiting must end.
    stop: Sender<Infallible>,
    threads: Vec<JoinHandle<()>>,
}

/// Why an export could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It has no cursor.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// It has no thread.
    #[error("no thread for an export")]
    Thread(#[from] io::Error),
}

/// The name of an export's cursor in the spool.
pub fn cursor(export: &Export) -> String {
    cursor_of(&export.name)
}

fn cursor_of(name: &str) -> String {
    format!("export:{name}")
}

/// Starts the exports of a sensor. One that the spool does not know yet is sent what comes from now on.
pub fn start(exports: &[Export], sensor: &str, spool: &mut Spool) -> Result<Exports, ExportError> {
    let (stop, stopped) = bounded(0);
    let mut started = Exports { states: Vec::new(), stop, threads: Vec::new() };
    for export in exports {
        let reader = spool.reader(&cursor(export), Start::Newest)?;
        started.start(export, sensor, reader, stopped.clone())?;
    }
    Ok(started)
}

impl Exports {
    fn start(
        &mut self,
        export: &Export,
        sensor: &str,
        reader: Reader,
        stopped: Receiver<Infallible>,
    ) -> io::Result<()> {
        let export = Arc::new(export.clone());
        let state = Arc::new(State::of(&export));
        let encoder = encoder(&export, sensor, &state);
        let output = output::of(&export);
        let sink = Sink::new(Arc::clone(&export), encoder, output, Arc::clone(&state), stopped);
        let name = format!("export-{}", export.name);
        self.threads.push(thread::Builder::new().name(name).spawn(move || sink.run(reader))?);
        self.states.push(state);
        Ok(())
    }

    /// Counts of every export, in the order of the configuration.
    pub fn states(&self) -> Vec<Arc<State>> {
        self.states.clone()
    }

    /// Sends what the spool has, which must have ended, and ends. Waits for as long as records are sent, 30 seconds at most,
    /// and for two where none is. The rest stays in the spool.
    pub fn stop(self) {
        let Self { states, stop, threads } = self;
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

/// How every export is doing.
pub fn status(states: &[Arc<State>], spool: &SpoolStatus) -> Vec<ExportStatus> {
    let of = |state: &Arc<State>| {
        let status = state.status();
        let cursor = spool.cursors.iter().find(|one| one.name == cursor_of(&status.name));
        let (queued, lost) =
            cursor.map_or((0, 0), |cursor| (cursor.behind_records, cursor.lost.values().sum()));
        ExportStatus { queued, lost, ..status }
    };
    states.iter().map(of).collect()
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
