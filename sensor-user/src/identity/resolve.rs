//! Who was at an address at a time, of facts that may contradict each other.
//!
//! An answer is never a guess. In this order:
//!
//! 1. **Of one source, what began last counts**, also when it has ended: nothing of before comes back. Two things that
//!    began at once contradict each other.
//! 2. **The device at an address** is the one whose fact began last. Of facts that began within [`TOLERANCE_US`], the
//!    neighbour table counts before RADIUS, and RADIUS before DHCP. Where one source contradicts itself, nobody is known.
//! 3. **What is told of a device** (RADIUS of a user, DHCP of a host name) holds wherever the device is, and nowhere else.
//! 4. **What is told of an address** (`login`, User-ID) holds for the device that was there when it began: not for
//!    another one that the address went to.
//! 5. **Users that contradict each other**: the one whose fact began last counts, but not against a source that ranks
//!    higher (`login`, then User-ID, then RADIUS): then the user is unknown. Facts that began within [`TOLERANCE_US`] are
//!    as new as each other.
//! 6. **Where nothing is told of a user here**, users at the device's other addresses count, if all are the same one.
//! 7. **A device at more than [`DEVICE_ADDRESSES_MAX`] addresses** is a router, or answers for others (RFC 1027): that
//!    the neighbour table has its MAC address says nothing of who is at an address, and nothing carries over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ROLES_MAX;
use super::fact::{Confidence, DeviceIdentity, Fact, Onset, Source};
use super::table::{Table, Version};
use crate::policy::member::Mac;

/// Times within this are one time: clocks of other machines, and the whole seconds that RADIUS and leases are told in; µs.
pub const TOLERANCE_US: i64 = 2_000_000;

/// Addresses of one device: an IPv4 address, and of a few IPv6 prefixes a stable one and a week's temporary ones each
/// (RFC 8981 section 3.8).
pub const DEVICE_ADDRESSES_MAX: usize = 32;

/// The store as it was known at a version.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    table: &'a Table,
    known: Version,
}

/// What one source says.
enum Told<'a> {
    Nothing,
    One(&'a Fact),
    /// Two things that cannot both be so.
    Contradiction,
}

/// Which device is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Contested,
    Device { mac: Mac, source: Source, from_us: i64, onset: Onset, sources: usize },
}

impl Holder {
    const fn mac(self) -> Option<Mac> {
        match self {
            Self::Device { mac, .. } => Some(mac),
            Self::Nobody | Self::Contested => None,
        }
    }
}

impl<'a> View<'a> {
    pub(super) const fn new(table: &'a Table, known: Version) -> Self {
        Self { table, known }
    }

    /// Who was at an address at a time. None: nobody knows.
    pub(super) fn resolve(self, address: IpAddr, at_us: i64) -> Option<DeviceIdentity> {
        let holder = self.holder(address, at_us);
        if holder == Holder::Contested {
            return None;
        }
        let mac = holder.mac();
        let host_name = self.host_name(address, mac, at_us);
        let (user, roles, told) = match self.user(address, holder, at_us) {
            Some(Who { user, roles, source, confidence }) => {
                (Some(user), roles, Some((source, confidence)))
            }
            None => (None, Vec::new(), None),
        };
        let of_device = match holder {
            Holder::Device { source, sources, .. } => {
                Some((source, if sources > 1 { Confidence::Confirmed } else { Confidence::Stated }))
            }
            Holder::Nobody | Holder::Contested => None,
        };
        let of_name = host_name.as_ref().map(|_name| (Source::DhcpLease, Confidence::Stated));
        let (source, confidence) = told.or(of_device).or(of_name)?;
        Some(DeviceIdentity { mac, host_name, user, roles, source, confidence })
    }

    /// The addresses a device is told to be at, at most one more than [`DEVICE_ADDRESSES_MAX`].
    pub(super) fn addresses_of(self, mac: Mac, at_us: i64) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        // The newest facts come first: a router's are not all looked at.
        for fact in self.facts(self.table.of_mac(mac)).rev() {
            if fact.holds_at(at_us) {
                addresses.extend(fact.address);
            }
            if addresses.len() > DEVICE_ADDRESSES_MAX {
                break;
            }
        }
        addresses
    }

    /// The device at an address, if one is known.
    pub(super) fn device_at(self, address: IpAddr, at_us: i64) -> Option<Mac> {
        self.holder(address, at_us).mac()
    }

    /// The facts that were known.
    fn facts(self, ids: &'a [u64]) -> impl DoubleEndedIterator<Item = &'a Fact> {
        ids.iter().filter_map(move |id| self.table.fact(*id, self.known))
    }

    /// What a source says at a time, of the facts that `matters`.
    fn told(
        self,
        ids: &'a [u64],
        source: Source,
        at_us: i64,
        matters: impl Fn(&Fact) -> bool,
    ) -> Told<'a> {
        let mut newest: Option<&Fact> = None;
        let mut others: Vec<&Fact> = Vec::new();
        for fact in self.facts(ids) {
            if fact.source != source || fact.from_us > at_us || !matters(fact) {
                continue;
            }
            match newest.map(|newest| fact.from_us.cmp(&newest.from_us)) {
                None | Some(std::cmp::Ordering::Greater) => {
                    newest = Some(fact);
                    others.clear();
                }
                Some(std::cmp::Ordering::Equal) => others.push(fact),
                Some(std::cmp::Ordering::Less) => {}
            }
        }
        others.extend(newest);
        others.retain(|fact| fact.holds_at(at_us));
        let Some(one) = others.pop() else { return Told::Nothing };
        if others.iter().all(|other| other.mac == one.mac && other.user == one.user) {
            Told::One(one)
        } else {
            Told::Contradiction
        }
    }

    fn holder(self, address: IpAddr, at_us: i64) -> Holder {
        let mut facts: Vec<&Fact> = Vec::with_capacity(3);
        for source in [Source::Neighbour, Source::Radius, Source::DhcpLease] {
            let ids = self.table.of_address(address);
            match self.told(ids, source, at_us, |fact| fact.mac.is_some()) {
                Told::Nothing => {}
                Told::Contradiction => return Holder::Contested,
                Told::One(fact) => {
                    let is_many = fact.mac.is_some_and(|mac| self.is_many(mac, at_us));
                    if source != Source::Neighbour || !is_many {
                        facts.push(fact);
                    }
                }
            }
        }
        let Some(latest_us) = facts.iter().map(|fact| fact.from_us).max() else {
            return Holder::Nobody;
        };
        let new = facts.iter().filter(|fact| fact.from_us >= latest_us - TOLERANCE_US);
        let chosen = new.max_by_key(|fact| fact.source.mac_rank());
        let Some((chosen, mac)) = chosen.and_then(|fact| Some((fact, fact.mac?))) else {
            return Holder::Nobody;
        };
        let agreeing = || facts.iter().filter(|fact| fact.mac == Some(mac));
        // The device was there as early as any of them says.
        let first = agreeing().min_by_key(|fact| fact.from_us).unwrap_or(chosen);
        Holder::Device {
            mac,
            source: chosen.source,
            from_us: first.from_us,
            onset: first.onset,
            sources: agreeing().count(),
        }
    }

    fn is_many(self, mac: Mac, at_us: i64) -> bool {
        self.addresses_of(mac, at_us).len() > DEVICE_ADDRESSES_MAX
    }

    /// What the device calls itself: in its newest lease, wherever that is; or what was told of an address of which no
    /// device is known.
    fn host_name(self, address: IpAddr, mac: Option<Mac>, at_us: i64) -> Option<String> {
        let told = if let Some(mac) = mac {
            self.told(self.table.of_mac(mac), Source::DhcpLease, at_us, has_name)
        } else {
            let of_address = |fact: &Fact| has_name(fact) && fact.mac.is_none();
            self.told(self.table.of_address(address), Source::DhcpLease, at_us, of_address)
        };
        match told {
            Told::One(fact) => fact.host_name.clone(),
            Told::Nothing | Told::Contradiction => None,
        }
    }

    fn user(self, address: IpAddr, holder: Holder, at_us: i64) -> Option<Who> {
        let mut facts = self.told_of_address(address, holder, at_us)?;
        if let Some(mac) = holder.mac() {
            let of_device = |fact: &Fact| fact.user.is_some();
            match self.told(self.table.of_mac(mac), Source::Radius, at_us, of_device) {
                Told::Nothing => {}
                Told::One(fact) => facts.push(fact),
                Told::Contradiction => return None,
            }
        }
        if !facts.is_empty() {
            return Who::of(&facts);
        }
        let mac = holder.mac()?;
        let addresses = self.addresses_of(mac, at_us);
        if addresses.len() > DEVICE_ADDRESSES_MAX {
            return None;
        }
        for other in addresses.into_iter().filter(|other| *other != address) {
            let there = self.holder(other, at_us);
            if there.mac() == Some(mac) {
                facts.extend(self.told_of_address(other, there, at_us)?);
            }
        }
        let first = facts.first()?;
        if facts.iter().any(|fact| fact.user != first.user) {
            return None;
        }
        Who::of(&facts).map(|who| Who { confidence: Confidence::Inferred, ..who })
    }

    /// What is told of an address and holds for the device that is there now. None: something contradicts itself.
    fn told_of_address(self, address: IpAddr, holder: Holder, at_us: i64) -> Option<Vec<&'a Fact>> {
        let ids = self.table.of_address(address);
        let mut facts = Vec::new();
        for source in [Source::Login, Source::UserId, Source::Radius] {
            match self.told(ids, source, at_us, |fact| fact.user.is_some() && fact.mac.is_none()) {
                Told::Nothing => {}
                Told::Contradiction => return None,
                Told::One(fact) => {
                    if self.is_same_device(address, fact.from_us, holder) {
                        facts.push(fact);
                    }
                }
            }
        }
        Some(facts)
    }

    /// Whether what was told of an address then was told of the device that is there now.
    fn is_same_device(self, address: IpAddr, then_us: i64, now: Holder) -> bool {
        match (self.holder(address, then_us), now) {
            (Holder::Device { mac: then, .. }, Holder::Device { mac, .. }) => then == mac,
            // It has gone, and nobody knows who came.
            (Holder::Device { .. }, Holder::Nobody)
            | (Holder::Contested, _)
            | (_, Holder::Contested) => false,
            (Holder::Nobody, Holder::Device { from_us, onset, .. }) => {
                onset == Onset::Found || from_us <= then_us + TOLERANCE_US
            }
            (Holder::Nobody, Holder::Nobody) => true,
        }
    }
}

const fn has_name(fact: &Fact) -> bool {
    fact.host_name.is_some()
}

/// A user, and who says so.
struct Who {
    user: String,
    roles: Vec<String>,
    source: Source,
    confidence: Confidence,
}

impl Who {
    /// The one that counts. None: nothing decides.
    fn of(facts: &[&Fact]) -> Option<Self> {
        let latest_us = facts.iter().map(|fact| fact.from_us).max()?;
        let new = facts.iter().filter(|fact| fact.from_us >= latest_us - TOLERANCE_US);
        let chosen = new.max_by_key(|fact| fact.source.user_rank())?;
        let (agree, contradict): (Vec<&Fact>, Vec<&Fact>) =
            facts.iter().partition(|fact| fact.user == chosen.user);
        let rank = chosen.source.user_rank();
        if contradict.iter().any(|fact| fact.source.user_rank() > rank) {
            return None;
        }
        let mut roles: Vec<String> =
            agree.iter().flat_map(|fact| fact.roles.iter().cloned()).collect();
        roles.sort();
        roles.dedup();
        roles.truncate(ROLES_MAX);
        let mut sources: Vec<Source> = agree.iter().map(|fact| fact.source).collect();
        sources.sort();
        sources.dedup();
        let confidence = if sources.len() > 1 { Confidence::Confirmed } else { Confidence::Stated };
        Some(Self { user: chosen.user.clone()?, roles, source: chosen.source, confidence })
    }
}
