//! Tries cases, many at a time, and says what each came to.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use sensor_lab::lab::Family;
use sensor_lab::script::conversation::{Patience, Seen, converse};

use super::Ground;
use super::case::Case;
use super::draft::{Draft, INNOCENT};

/// Cases wait more than they work.
const AT_ONCE: usize = 24;

/// One case with one name.
#[derive(Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) case: &'a Case,
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) patience: Patience,
}

impl std::fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.case.name, self.family)
    }
}

/// Each case with this name, over each family it can be done over.
pub(super) fn of<'a>(
    cases: &'a [Case],
    name: &'static str,
    patience: Patience,
) -> impl Iterator<Item = Trial<'a>> {
    cases.iter().flat_map(move |case| {
        case.families().iter().map(move |&family| Trial { case, name, family, patience })
    })
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seen: Result<Seen>,
    /// Names that the server's TLS library read from this device, but for the innocent one, and the name
    /// under test where a request for it arrived.
    pub(super) read: Vec<String>,
    /// It also read the innocent one, and may have answered that.
    pub(super) misled: bool,
}

impl Outcome {
    /// The handshake was completed, or refused by a reset.
    pub(super) fn tried(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| seen.opened || seen.reset)
    }

    pub(super) fn answered(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| seen.answered)
    }
}

/// In a few words.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.seen {
            Ok(seen) => {
                let start = seen.data.get(..seen.data.len().min(16)).unwrap_or_default();
                write!(
                    f,
                    "{}, {}, {} bytes acknowledged, {} bytes from the server: {start:02x?}",
                    match (seen.opened, seen.answered) {
                        (_, true) => "answered",
                        (true, false) => "not answered",
                        (false, false) => "not opened",
                    },
                    if seen.reset { "reset" } else { "not reset" },
                    seen.acknowledged,
                    seen.data.len(),
                )?;
            }
            Err(error) => write!(f, "{error:#}")?,
        }
        if !self.read.is_empty() {
            write!(f, "; the server read {}", self.read.join(", "))?;
        }
        Ok(())
    }
}

/// Every trial's outcome, in their order.
pub(super) fn run<'a>(
    ground: &Ground,
    trials: impl IntoIterator<Item = Trial<'a>>,
) -> Result<Vec<(Trial<'a>, Outcome)>> {
    let waiting = Mutex::new(trials.into_iter().enumerate().collect::<Vec<_>>().into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, trial)) = next() {
                    let device = ground.wire.device();
                    let draft = Draft { name: trial.name };
                    let script = trial.case.script(&draft, trial.family);
                    let seen = converse(&device, &script, trial.patience);
                    let address = device.address(trial.family);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((number, trial, address, seen));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, ..)| *number);

    let hellos = [ground.web.hellos()?, ground.speaker.hellos()?].concat();
    let arrivals = ground.web.arrivals()?;
    let outcomes = done.into_iter().map(|(_, trial, address, seen)| {
        let names = hellos.iter().filter(|hello| hello.from == address).map(|hello| &hello.name);
        let (innocent, mut read): (Vec<_>, Vec<_>) =
            names.cloned().partition(|name| name == INNOCENT);
        let asked = arrivals.iter().filter(|arrival| arrival.from.parse() == Ok(address));
        read.extend(asked.map(|arrival| arrival.host.clone()).filter(|host| host == trial.name));
        (trial, Outcome { seen, read, misled: !innocent.is_empty() })
    });
    Ok(outcomes.collect())
}

/// Fails with every complaint there is.
pub(super) fn conclude(complaints: &[String], trials: usize) {
    let count = complaints.len();
    assert!(count == 0, "{trials} trials, {count} complaints:\n{}", complaints.join("\n"));
}

/// Where nothing gets lost, and nothing may be sent again.
pub(super) const ONCE: Patience = Patience { answer: Duration::from_secs(2), retransmissions: 0 };
/// Where no answer is expected.
pub(super) const BRIEF: Patience =
    Patience { answer: Duration::from_millis(400), retransmissions: 2 };
/// Where an answer is expected, however busy the machine.
pub(super) const LONG: Patience =
    Patience { answer: Duration::from_millis(400), retransmissions: 12 };
