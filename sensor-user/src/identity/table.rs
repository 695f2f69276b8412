//! The facts by number, and what they are found by: address, device, session, end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fact::Fact;
use crate::policy::member::Mac;

/// Counts what was learnt: each fact and each correction is a version.
pub type Version = u64;

/// Facts kept, some 300 bytes each: three for each of ten thousand devices, and their changes of a few days.
pub const FACTS_MAX: usize = 1 << 17;

/// Facts of one address. Who makes an address change hands that often loses the history of that address alone.
pub const ADDRESS_FACTS_MAX: usize = 128;

/// A fact as it was known for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its number, which stays.
    pub id: u64,
    /// Known since.
    pub learnt: Version,
    /// Known otherwise since; none where it is known still.
    pub replaced: Option<Version>,
    /// The fact.
    pub fact: Fact,
}

/// The facts.
#[derive(Debug, Default)]
pub(super) struct Table {
    facts: HashMap<u64, Kept>,
    by_address: HashMap<IpAddr, Vec<u64>>,
    by_mac: HashMap<Mac, Vec<u64>>,
    by_session: BTreeMap<String, Vec<u64>>,
    /// Facts that hold and end by themselves.
    expiring: BTreeSet<(i64, u64)>,
    /// Facts that count no more, by when they began.
    closed: BTreeSet<(i64, u64)>,
    next_id: u64,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.facts.values()
    }

    pub(super) fn kept(&self, id: u64) -> Option<&Kept> {
        self.facts.get(&id)
    }

    /// The number of the next fact.
    pub(super) const fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(super) fn of_address(&self, address: IpAddr) -> &[u64] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    pub(super) fn of_mac(&self, mac: Mac) -> &[u64] {
        self.by_mac.get(&mac).map_or(&[], Vec::as_slice)
    }

    /// A fact, if it was known at a version.
    pub(super) fn fact(&self, id: u64, known: Version) -> Option<&Fact> {
        let kept = self.facts.get(&id)?;
        let is_known =
            kept.learnt <= known && kept.replaced.is_none_or(|replaced| known < replaced);
        is_known.then_some(&kept.fact)
    }

    /// The facts of every session whose name begins so.
    pub(super) fn of_sessions(&self, prefix: &str) -> Vec<u64> {
        let sessions = self.by_session.range(prefix.to_owned()..);
        let meant = sessions.take_while(|(session, _)| session.starts_with(prefix));
        meant.flat_map(|(_, ids)| ids.iter().copied()).collect()
    }

    /// The facts of a session.
    pub(super) fn of_session(&self, session: &str) -> &[u64] {
        self.by_session.get(session).map_or(&[], Vec::as_slice)
    }

    /// A fact that has ended by itself, and that has not been told of before.
    pub(super) fn next_expired(&mut self, now_us: i64) -> Option<(i64, &Fact)> {
        let (at_us, id) = self.expiring.first().copied().filter(|(at_us, _)| *at_us <= now_us)?;
        self.expiring.remove(&(at_us, id));
        let fact = &self.facts.get(&id)?.fact;
        self.closed.insert((fact.from_us, id));
        Some((at_us, fact))
    }

    /// Moves every time. Returns the numbers of all facts.
    pub(super) fn move_times(&mut self, by_us: i64) -> Vec<u64> {
        let moved = |time: i64| time.saturating_add(by_us);
        let all = |times: &mut BTreeSet<(i64, u64)>| {
            *times = times.iter().map(|(time, id)| (moved(*time), *id)).collect();
        };
        all(&mut self.expiring);
        all(&mut self.closed);
        for Kept { fact, .. } in self.facts.values_mut() {
            fact.from_us = moved(fact.from_us);
            fact.to_us = fact.to_us.map(moved);
            fact.expires_us = fact.expires_us.map(moved);
            fact.learnt_us = moved(fact.learnt_us);
        }
        self.facts.keys().copied().collect()
    }

    /// Lets old facts go where there is no room for one more. False: all that are there still count.
    pub(super) fn make_room(&mut self, fact: &Fact, forgotten: &mut u64) -> bool {
        if let Some(address) = fact.address
            && self.of_address(address).len() >= ADDRESS_FACTS_MAX
        {
            let of_address = self.of_address(address).iter();
            let oldest = of_address.filter_map(|id| Some((self.facts.get(id)?.fact.from_us, *id)));
            if let Some((_, id)) = oldest.filter(|key| self.closed.contains(key)).min() {
                self.remove(id);
                *forgotten += 1;
            } else {
                return false;
            }
        }
        while self.facts.len() >= FACTS_MAX {
            let Some((_, id)) = self.closed.first().copied() else { return false };
            self.remove(id);
            *forgotten += 1;
        }
        true
    }

    pub(super) fn insert(&mut self, kept: Kept, now_us: i64) {
        let Kept { id, replaced, ref fact, .. } = kept;
        self.next_id = self.next_id.max(id + 1);
        if let Some(address) = fact.address {
            self.by_address.entry(address).or_default().push(id);
        }
        if let Some(mac) = fact.mac {
            self.by_mac.entry(mac).or_default().push(id);
        }
        if let Some(session) = &fact.session {
            self.by_session.entry(session.clone()).or_default().push(id);
        }
        let from_us = fact.from_us;
        if replaced.is_some() || fact.end_us().is_some_and(|end| end <= now_us) {
            self.closed.insert((from_us, id));
        } else if let Some(end) = fact.end_us() {
            self.expiring.insert((end, id));
        }
        let overtaken = self.overtaken(fact, id);
        self.facts.insert(id, kept);
        self.closed.extend(overtaken);
    }

    /// Of the facts of its address, those that count no more because of this one, or this one because of another.
    fn overtaken(&self, fact: &Fact, id: u64) -> Vec<(i64, u64)> {
        let Some(address) = fact.address else { return Vec::new() };
        let mut overtaken = Vec::new();
        for other in self.of_address(address) {
            let Some(known) = self.facts.get(other).filter(|known| known.replaced.is_none()) else {
                continue;
            };
            let known = &known.fact;
            if known.source != fact.source || known.mac.is_some() != fact.mac.is_some() {
                continue;
            }
            match known.from_us.cmp(&fact.from_us) {
                std::cmp::Ordering::Less => overtaken.push((known.from_us, *other)),
                std::cmp::Ordering::Greater => overtaken.push((fact.from_us, id)),
                std::cmp::Ordering::Equal => {}
            }
        }
        overtaken
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(Kept { fact, .. }) = self.facts.remove(&id) else { return };
        if let Some(address) = fact.address {
            drop_id(&mut self.by_address, &address, id);
        }
        if let Some(mac) = fact.mac {
            drop_id(&mut self.by_mac, &mac, id);
        }
        if let Some(session) = &fact.session
            && let Some(ids) = self.by_session.get_mut(session)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_session.remove(session);
            }
        }
        self.closed.remove(&(fact.from_us, id));
        if let Some(end) = fact.end_us() {
            self.expiring.remove(&(end, id));
        }
    }
}

fn drop_id<K: Eq + std::hash::Hash>(index: &mut HashMap<K, Vec<u64>>, key: &K, id: u64) {
    if let Some(ids) = index.get_mut(key) {
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
