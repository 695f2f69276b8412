//! One export at work: takes batches out of the spool, has them encoded, and writes them out. A thread of its own.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, TryRecvError};
use tracing::{info, warn};

use super::message::Encoder;
use super::output::Output;
use super::state::{Shed, State};
use crate::config::Export;
use crate::record::Record;
use crate::spool::{Next, Reader};

/// How often an export without records looks at its output and at what is due.
const TICK: Duration = Duration::from_secs(1);

/// First wait before an output that failed is opened again; each is twice the one before.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// Longest wait: a receiver that is back should not wait for longer.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Between two warnings of one export: what comes and goes should not fill the log.
const WARNINGS_APART: Duration = Duration::from_mins(1);

/// What hands records over.
pub(super) struct Sink {
    export: Arc<Export>,
    encoder: Box<dyn Encoder>,
    output: Box<dyn Output>,
    state: Arc<State>,
    /// Ends when waiting must end.
    stop: Receiver<Infallible>,
    backoff: Duration,
    next_try: Instant,
    warned: Option<Instant>,
}

impl Sink {
    pub(super) fn new(
        export: Arc<Export>,
        encoder: Box<dyn Encoder>,
        output: Box<dyn Output>,
        state: Arc<State>,
        stop: Receiver<Infallible>,
    ) -> Self {
        let next_try = Instant::now();
        Self { export, encoder, output, state, stop, backoff: BACKOFF_MIN, next_try, warned: None }
    }

    /// Works until the spool has ended, or waiting must end.
    pub(super) fn run(mut self, mut reader: Reader) {
        loop {
            match reader.next(TICK) {
                Ok(Next::Batch(batch)) => {
                    let taken: Vec<&Record> =
                        batch.records.iter().filter(|record| self.export.takes(record)).collect();
                    if self.deliver(&taken) < taken.len() {
                        // The next daemon sends all of it.
                        return;
                    }
                    match self.output.settle() {
                        Ok(()) => reader.acknowledge(batch.number),
                        Err(error) => {
                            self.output.close();
                            self.failed(&error);
                            reader.rewind();
                        }
                    }
                }
                Ok(Next::Nothing) => self.tick(),
                Ok(Next::Ended) => return,
                Err(error) => {
                    self.failed(&io::Error::other(error));
                    if self.stop.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            }
        }
    }

    /// Hands records over in their order, waiting for the output where it must. Returns how many of the first are done
    /// with: all, unless it was told to stop.
    fn deliver(&mut self, records: &[&Record]) -> usize {
        let mut done = 0;
        while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
            if !self.make_ready() {
                return done;
            }
            let message = self.encoder.message(rest);
            match self.output.write(&message.bytes) {
                Ok(()) => {
                    self.state.went_well();
                    self.state.add_sent(message.records);
                }
                Err(error) if self.output.tries_again() => {
                    self.output.close();
                    self.failed(&error);
                    continue;
                }
                Err(error) => {
                    self.failed(&error);
                    self.state.add_shed(Shed::NotTaken, message.records);
                }
            }
            done += message.records;
        }
        done
    }

    /// Waits until the output is open and has what must come first; false where waiting must end.
    fn make_ready(&mut self) -> bool {
        loop {
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                return false;
            }
            let wait = self.next_try.saturating_duration_since(Instant::now());
            if !wait.is_zero()
                && self.stop.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected)
            {
                return false;
            }
            match self.try_ready() {
                Ok(()) => return true,
                Err(error) => self.failed(&error),
            }
        }
    }

    fn try_ready(&mut self) -> io::Result<()> {
        if self.state.take_rotation() && self.output.is_open() {
            self.output.rotate()?;
        }
        let was_open = self.output.is_open();
        if !was_open {
            self.output.open()?;
            self.encoder.restart();
        }
        while let Some(opening) = self.encoder.opening(Instant::now()) {
            self.output.write(&opening.bytes).inspect_err(|_| self.output.close())?;
        }
        (self.backoff, self.next_try) = (BACKOFF_MIN, Instant::now());
        if !was_open && self.state.opened() {
            info!(export = self.state.name(), target = %self.export.target, "export open");
        }
        Ok(())
    }

    /// Looks at an output that has nothing to do.
    fn tick(&mut self) {
        if Instant::now() >= self.next_try
            && let Err(error) = self.try_ready()
        {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &io::Error) {
        let is_open = self.output.is_open();
        if !is_open {
            self.next_try = Instant::now() + self.backoff;
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
        let is_news = self.state.failed(error, is_open);
        let is_due = self.warned.is_none_or(|warned| warned.elapsed() >= WARNINGS_APART);
        if is_news && is_due {
            self.warned = Some(Instant::now());
            let (export, target) = (self.state.name(), &self.export.target);
            warn!(export, %target, %error, "export failed; `status` counts what is not sent");
        }
    }
}
