//! The store as the daemon shares it: sources tell it, records and groups ask it, a file keeps it.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Notify;
use tracing::{error, info};

use super::Login;
use super::amend::Amendment;
use super::fact::{DeviceIdentity, Fact, Source};
use super::journal::{Journal, JournalError};
use super::refusal::{Refusal, Refusals};
use super::store::{Counts, Ended, Store};
use crate::policy::member::Mac;

/// Amendments kept, some 500 bytes each; the oldest go first.
pub const AMENDMENTS_MAX: usize = 4096;

/// The clock was set where it is off by more than this since the last look; what is less is slewed; µs.
const STEP_US: i64 = 1_000_000;

/// Who is where, for all who tell and ask.
#[derive(Debug, Default)]
pub struct Directory {
    state: RwLock<State>,
    /// Addresses at which somebody else may be since they were taken last.
    changed: Mutex<BTreeSet<IpAddr>>,
    news: Notify,
    refusals: Refusals,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    amendments: VecDeque<Amendment>,
    journal: Option<Journal>,
    /// What the clock was off from the machine's own at the last look.
    offset_us: Option<i64>,
}

impl Directory {
    /// What is kept in a file, which keeps what is learnt from now on.
    pub fn open(path: &Path, now_us: i64) -> Result<Self, JournalError> {
        let (journal, store, amendments) = Journal::open(path, now_us)?;
        let changed = Mutex::new(store.addresses(now_us));
        let state = State { store, amendments, journal: Some(journal), offset_us: None };
        Ok(Self {
            state: RwLock::new(state),
            changed,
            news: Notify::new(),
            refusals: Refusals::default(),
        })
    }

    /// Takes facts that were told at once; returns how many were kept.
    pub fn learn(&self, facts: Vec<Fact>, now_us: i64) -> usize {
        let mut state = self.write();
        let kept = state.store.learn_all(facts, now_us);
        self.note(&mut state);
        kept
    }

    /// Takes note that something ended; returns how many facts did.
    pub fn end(&self, ended: &Ended<'_>, at_us: i64, now_us: i64) -> usize {
        let mut state = self.write();
        let count = state.store.end(ended, at_us, now_us);
        self.note(&mut state);
        count
    }

    /// Lets go of what ends by itself, and follows a clock that was set: `offset_us` is what the wall clock has more than
    /// the machine's own. To be called every second.
    pub fn keep_time(&self, now_us: i64, offset_us: i64) {
        let mut state = self.write();
        let by_us = offset_us.saturating_sub(state.offset_us.unwrap_or(offset_us));
        if by_us.unsigned_abs() > STEP_US.unsigned_abs() {
            info!(seconds = by_us / 1_000_000, "the clock was set");
            state.store.clock_stepped(by_us);
            state.offset_us = Some(offset_us);
        }
        state.offset_us.get_or_insert(offset_us);
        state.store.expire(now_us);
        self.note(&mut state);
    }

    /// Who was at an address at a time, µs since 1970 UTC. None: nobody knows.
    pub fn resolve(&self, address: IpAddr, at_us: i64) -> Option<DeviceIdentity> {
        self.read().store.resolve(address, at_us)
    }

    /// Who is logged in at an address.
    pub fn login(&self, address: IpAddr, now_us: i64) -> Option<Login> {
        let DeviceIdentity { user, roles, .. } = self.resolve(address, now_us)?;
        Some(Login { user: user?, roles })
    }

    /// The neighbours that are taken to be there.
    pub fn neighbours(&self, now_us: i64) -> Vec<(IpAddr, Mac)> {
        let state = self.read();
        let known = state.store.iter().filter(|kept| kept.replaced.is_none());
        let facts = known.map(|kept| &kept.fact).filter(|fact| {
            fact.source == Source::Neighbour && fact.expires_us.is_none() && fact.holds_at(now_us)
        });
        let there = facts.filter_map(|fact| Some((fact.address?, fact.mac?)));
        // Of an address the newest counts.
        there
            .filter(|(address, mac)| {
                let now = state.store.resolve(*address, now_us);
                now.is_some_and(|now| now.mac == Some(*mac))
            })
            .collect()
    }

    /// When a session ended, if it has.
    pub fn session_end(&self, session: &str) -> Option<i64> {
        self.read().store.session_end(session)
    }

    /// Counts something that was not taken.
    pub fn refuse(&self, refusal: Refusal) {
        self.refusals.count(refusal);
    }

    /// How often something was not taken.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals.get(refusal)
    }

    /// What of the past is known otherwise, oldest first.
    pub fn amendments(&self) -> Vec<Amendment> {
        self.read().amendments.iter().cloned().collect()
    }

    /// What the store has counted, and how many facts it keeps.
    pub fn counts(&self) -> (Counts, usize) {
        let state = self.read();
        (state.store.counts(), state.store.len())
    }

    /// Addresses at which somebody else may be since this was asked last.
    pub fn take_changed(&self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut *self.lock_changed())
    }

    /// Waits until there may be some.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Writes down what was learnt, and tells whom it concerns.
    fn note(&self, state: &mut State) {
        let changes = state.store.take_changes();
        let room = AMENDMENTS_MAX.saturating_sub(changes.amendments.len());
        while state.amendments.len() > room {
            state.amendments.pop_front();
        }
        state.amendments.extend(changes.amendments.iter().take(AMENDMENTS_MAX).cloned());
        let State { store, amendments, journal, .. } = state;
        let is_news = !changes.kept.is_empty() || !changes.amendments.is_empty();
        if is_news
            && let Some(journal) = journal
            && let Err(failure) = journal.note(&changes, store, amendments)
        {
            // It holds all the same: a full disk changes nobody's group.
            error!(error = %failure, "what was learnt of devices is not kept for the next start");
        }
        if !changes.addresses.is_empty() {
            self.lock_changed().extend(changes.addresses);
            self.news.notify_one();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_changed(&self) -> MutexGuard<'_, BTreeSet<IpAddr>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
