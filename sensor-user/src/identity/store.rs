//! What is known of addresses and devices, and what was known of them before.
//!
//! A fact that is learnt late, or corrected, does not replace what was known: the store keeps both, with the versions
//! between which each was known, and tells the difference as an [`Amendment`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::amend::{self, Amendment};
use super::fact::{DeviceIdentity, Fact, Source};
use super::resolve::{TOLERANCE_US, View};
use super::table::{FACTS_MAX, Kept, Table, Version};

/// Whose end was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// What a source told of an address; of this user alone, where one is given.
    At {
        /// Who told.
        source: Source,
        /// Of which address.
        address: IpAddr,
        /// Of which user.
        user: Option<&'a str>,
    },
    /// A session.
    Session(&'a str),
    /// Every session whose name begins so.
    Sessions(&'a str),
    /// A session's addresses but these, of the families of these.
    Elsewhere {
        /// The session.
        session: &'a str,
        /// Where it is.
        addresses: &'a [IpAddr],
    },
    /// Every user of the device at an address.
    Users(IpAddr),
}

/// What the store has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Facts taken.
    pub learnt: u64,
    /// Facts that say nothing, end before they begin, or are too long.
    pub unsound: u64,
    /// Facts there was no room for: all that are kept still hold.
    pub no_room: u64,
    /// Facts that ended long ago and made room.
    pub forgotten: u64,
    /// Amendments.
    pub amendments: u64,
    /// Steps of the clock that times were moved by.
    pub clock_steps: u64,
}

/// What came of what was learnt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Addresses at which somebody else may be now.
    pub addresses: BTreeSet<IpAddr>,
    /// Facts that are to be written down.
    pub kept: Vec<u64>,
    /// What is known otherwise of the past.
    pub amendments: Vec<Amendment>,
}

/// The facts.
#[derive(Debug, Default)]
pub struct Store {
    table: Table,
    version: Version,
    /// Nothing of before can have been answered.
    since_us: Option<i64>,
    changes: Changes,
    counts: Counts,
}

impl Store {
    /// Who is at an address at a time, µs since 1970 UTC, as is known now. None: nobody knows.
    pub fn resolve(&self, address: IpAddr, at_us: i64) -> Option<DeviceIdentity> {
        self.resolve_as_known(address, at_us, self.version)
    }

    /// The same as it was known at a version.
    pub fn resolve_as_known(
        &self,
        address: IpAddr,
        at_us: i64,
        known: Version,
    ) -> Option<DeviceIdentity> {
        View::new(&self.table, known).resolve(address.to_canonical(), at_us)
    }

    /// The version of what is known now.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// What it has counted.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many facts are kept.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// When a session ended, if all that is known of it has.
    pub fn session_end(&self, session: &str) -> Option<i64> {
        let ids = self.table.of_session(session).iter();
        let facts = ids.filter_map(|id| self.table.fact(*id, self.version));
        let mut ends = facts.map(|fact| fact.to_us);
        ends.try_fold(None, |last: Option<i64>, end| Some(last.max(Some(end?)))).flatten()
    }

    /// Every fact that is kept, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.table.iter()
    }

    /// A fact by its number.
    pub fn kept(&self, id: u64) -> Option<&Kept> {
        self.table.kept(id)
    }

    /// What came of all that was learnt since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Takes a fact. What does not begin in the past begins now. False: it is not kept, which is counted.
    pub fn learn(&mut self, fact: Fact, now_us: i64) -> bool {
        self.learn_all(vec![fact], now_us) == 1
    }

    /// Takes facts that were told at once, and returns how many were kept.
    pub fn learn_all(&mut self, facts: Vec<Fact>, now_us: i64) -> usize {
        self.since_us.get_or_insert(now_us);
        let mut edit = Edit::new(self.version + 1, now_us);
        let mut kept = 0;
        for mut fact in facts {
            fact.address = fact.address.map(|address| address.to_canonical());
            fact.learnt_us = now_us;
            fact.from_us = fact.from_us.min(now_us);
            if !fact.is_sound() {
                self.counts.unsound += 1;
                continue;
            }
            if let Some((id, revised)) = self.extended(&fact) {
                self.revise(id, revised, &mut edit);
            } else if self.table.make_room(&fact, &mut self.counts.forgotten) {
                self.add(fact, &mut edit);
            } else {
                self.counts.no_room += 1;
                continue;
            }
            self.counts.learnt += 1;
            kept += 1;
        }
        self.settle(edit);
        kept
    }

    /// Takes note that something ended. Returns how many facts did.
    pub fn end(&mut self, ended: &Ended<'_>, at_us: i64, now_us: i64) -> usize {
        let at_us = at_us.min(now_us);
        let mut edit = Edit::new(self.version + 1, now_us);
        let mut count = 0;
        for id in self.meant(ended, now_us) {
            let Some(fact) = self.table.fact(id, self.version) else { continue };
            if fact.end_us().is_some_and(|end| end <= at_us) {
                continue;
            }
            // It did not hold at all if it began later.
            let revised = Fact { to_us: Some(at_us.max(fact.from_us)), ..fact.clone() };
            self.revise(id, revised, &mut edit);
            count += 1;
        }
        self.settle(edit);
        count
    }

    /// Lets the facts go that have ended by themselves.
    pub fn expire(&mut self, now_us: i64) {
        while let Some((at_us, fact)) = self.table.next_expired(now_us) {
            let fact = fact.clone();
            let touched = self.neighbourhood(&fact, at_us - 1);
            self.changes.addresses.extend(touched);
        }
    }

    /// The clock was set: what was before by the old clock is so by the new one.
    pub fn clock_stepped(&mut self, by_us: i64) {
        self.counts.clock_steps += 1;
        self.since_us = self.since_us.map(|since| since.saturating_add(by_us));
        self.changes.kept.extend(self.table.move_times(by_us));
    }

    /// Puts back what was kept of before a start. Told of the same number again, it is that which was told last.
    pub fn restore(&mut self, kept: Kept, now_us: i64) {
        self.table.remove(kept.id);
        if self.table.len() >= FACTS_MAX {
            self.counts.no_room += 1;
            return;
        }
        self.version = self.version.max(kept.learnt).max(kept.replaced.unwrap_or(0));
        let learnt_us = kept.fact.learnt_us;
        self.since_us = Some(self.since_us.map_or(learnt_us, |since| since.min(learnt_us)));
        self.table.insert(kept, now_us);
    }

    /// The addresses of all that holds.
    pub fn addresses(&self, now_us: i64) -> BTreeSet<IpAddr> {
        let known = self.table.iter().filter(|kept| kept.replaced.is_none());
        let holding = known.filter(|kept| kept.fact.holds_at(now_us));
        holding.filter_map(|kept| kept.fact.address).collect()
    }

    /// The fact that this one tells again, with what is new of it.
    fn extended(&self, fact: &Fact) -> Option<(u64, Fact)> {
        let ids = match (fact.address, fact.mac) {
            (Some(address), _) => self.table.of_address(address),
            (None, Some(mac)) => self.table.of_mac(mac),
            (None, None) => &[],
        };
        let mut newest: Option<(u64, &Fact)> = None;
        for id in ids {
            let Some(known) = self.table.fact(*id, self.version) else { continue };
            let of_source = known.source == fact.source
                && known.address == fact.address
                && known.mac.is_some() == fact.mac.is_some();
            if of_source && newest.is_none_or(|(_, newest)| known.from_us >= newest.from_us) {
                newest = Some((*id, known));
            }
        }
        let (id, known) = newest?;
        let goes_on =
            known.from_us <= fact.from_us && known.end_us().is_none_or(|end| fact.from_us <= end);
        // A session is one, whatever of it is told first.
        let is_one = goes_on || fact.session.is_some();
        if !known.says_what(fact) || !is_one || known.to_us.is_some() {
            return None;
        }
        // How long it has been is told in whole seconds.
        let is_earlier = fact.from_us < known.from_us - TOLERANCE_US;
        let earlier = if is_earlier { fact } else { known };
        let revised = Fact {
            from_us: earlier.from_us,
            onset: earlier.onset,
            to_us: fact.to_us,
            expires_us: fact.expires_us,
            learnt_us: fact.learnt_us,
            ..known.clone()
        };
        Some((id, revised))
    }

    /// The facts that are meant, as they are known now.
    fn meant(&self, ended: &Ended<'_>, now_us: i64) -> Vec<u64> {
        let view = View::new(&self.table, self.version);
        let of = |ids: &[u64], is_meant: &dyn Fn(&Fact) -> bool| {
            let known =
                ids.iter().filter(|id| self.table.fact(**id, self.version).is_some_and(is_meant));
            known.copied().collect::<Vec<_>>()
        };
        match *ended {
            Ended::At { source, address, user } => {
                of(self.table.of_address(address.to_canonical()), &|fact| {
                    fact.source == source && (user.is_none() || fact.user.as_deref() == user)
                })
            }
            Ended::Session(session) => of(self.table.of_session(session), &|_fact| true),
            Ended::Sessions(prefix) => {
                of(&self.table.of_sessions(prefix), &|fact| fact.holds_at(now_us))
            }
            Ended::Elsewhere { session, addresses } => {
                of(self.table.of_session(session), &|fact| {
                    fact.address.is_some_and(|address| {
                        let is_like = |one: &IpAddr| one.is_ipv4() == address.is_ipv4();
                        addresses.iter().any(is_like) && !addresses.contains(&address)
                    })
                })
            }
            Ended::Users(address) => {
                let address = address.to_canonical();
                let has_user = |fact: &Fact| fact.user.is_some() && fact.holds_at(now_us);
                let device = view.device_at(address, now_us);
                let others = device.map(|mac| view.addresses_of(mac, now_us)).unwrap_or_default();
                let mut ids =
                    device.map_or_else(Vec::new, |mac| of(self.table.of_mac(mac), &has_user));
                for one in others.into_iter().chain([address]) {
                    ids.extend(of(self.table.of_address(one), &has_user));
                }
                ids.sort_unstable();
                ids.dedup();
                ids
            }
        }
    }

    /// Adds a fact that is none of those that are there.
    fn add(&mut self, fact: Fact, edit: &mut Edit) {
        edit.touched.extend(self.neighbourhood(&fact, edit.now_us));
        edit.changed(fact.from_us);
        self.insert_new(fact, edit);
    }

    /// Replaces what is known of a fact. What is so only from now on is noted in its place; what was otherwise in the past
    /// leaves the old version beside the new one.
    fn revise(&mut self, id: u64, revised: Fact, edit: &mut Edit) {
        let Some(kept) = self.table.kept(id) else { return };
        let Some(changed_us) = first_change(&kept.fact, &revised) else { return };
        let kept = kept.clone();
        if changed_us > edit.now_us {
            // An end that moves on changes nothing now.
            edit.kept.push(id);
        } else {
            edit.touched.extend(self.neighbourhood(&kept.fact, edit.now_us));
            edit.changed(changed_us);
        }
        self.table.remove(id);
        if changed_us >= edit.now_us - TOLERANCE_US {
            self.table.insert(Kept { fact: revised, ..kept }, edit.now_us);
            edit.kept.push(id);
            return;
        }
        self.table.insert(Kept { replaced: Some(edit.version), ..kept }, edit.now_us);
        edit.kept.push(id);
        self.insert_new(revised, edit);
    }

    fn insert_new(&mut self, fact: Fact, edit: &mut Edit) {
        let id = self.table.next_id();
        edit.kept.push(id);
        edit.added.push(id);
        self.table.insert(Kept { id, learnt: edit.version, replaced: None, fact }, edit.now_us);
    }

    /// Makes what was edited known, and notes what it changes: addresses now, and answers about the past.
    fn settle(&mut self, mut edit: Edit) {
        let Edit { now_us, .. } = edit;
        if !edit.added.is_empty() {
            self.version = edit.version;
        }
        for id in &edit.added {
            let Some(kept) = self.table.kept(*id) else { continue };
            let source = kept.fact.source;
            edit.source = edit.source.or(Some(source));
            edit.touched.extend(self.neighbourhood(&kept.fact, now_us));
        }
        // Nothing was answered before anything was known.
        let from_us = edit.from_us.max(self.since_us.unwrap_or(now_us));
        if let Some(source) = edit.source
            && from_us < now_us - TOLERANCE_US
        {
            let amended =
                amend::between(&self.table, self.version, &edit.touched, from_us, now_us, source);
            self.counts.amendments += amended.len() as u64;
            self.changes.amendments.extend(amended);
        }
        self.changes.kept.append(&mut edit.kept);
        self.changes.addresses.extend(edit.touched);
    }

    /// The addresses at which a fact may count: its own, and the others of its device and of the one that is there.
    fn neighbourhood(&self, fact: &Fact, at_us: i64) -> BTreeSet<IpAddr> {
        let view = View::new(&self.table, self.version);
        let there = fact.address.and_then(|address| view.device_at(address, at_us));
        let mut addresses: BTreeSet<IpAddr> = fact.address.into_iter().collect();
        for mac in fact.mac.into_iter().chain(there) {
            addresses.extend(view.addresses_of(mac, at_us));
        }
        addresses
    }
}

/// What is told at once: it is one version.
#[derive(Debug)]
struct Edit {
    version: Version,
    now_us: i64,
    /// From when on something is otherwise.
    from_us: i64,
    /// Addresses at which it may be.
    touched: BTreeSet<IpAddr>,
    added: Vec<u64>,
    kept: Vec<u64>,
    source: Option<Source>,
}

impl Edit {
    const fn new(version: Version, now_us: i64) -> Self {
        Self {
            version,
            now_us,
            from_us: now_us,
            touched: BTreeSet::new(),
            added: Vec::new(),
            kept: Vec::new(),
            source: None,
        }
    }

    fn changed(&mut self, from_us: i64) {
        self.from_us = self.from_us.min(from_us);
    }
}

/// From when on a fact is otherwise; none where it is the same.
fn first_change(known: &Fact, revised: &Fact) -> Option<i64> {
    let far = i64::MAX;
    let (old_end, new_end) = (known.end_us().unwrap_or(far), revised.end_us().unwrap_or(far));
    let end = (old_end != new_end).then(|| old_end.min(new_end));
    let has_begun_otherwise = known.from_us != revised.from_us || known.onset != revised.onset;
    let begin = has_begun_otherwise.then(|| known.from_us.min(revised.from_us));
    end.into_iter().chain(begin).min()
}
