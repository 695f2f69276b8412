//! Entries of the table as facts.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use crate::identity::{Directory, Fact, Refusal, told};
use crate::policy::member::Mac;

/// Neighbours that are followed: more than any table of the kernel's has room for as it comes (`gc_thresh3`), times 64.
pub const NEIGHBOURS_MAX: usize = 1 << 16;

/// How long a device is taken to be at its address when the kernel has let go of it: it lets go of who is silent, and
/// whoever takes the address is seen with the first packet; µs.
pub const GONE_US: i64 = 3600 * 1_000_000;

/// µs of a tick that the kernel tells times in (`USER_HZ` is 100).
const TICK_US: i64 = 10_000;

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    mac: Mac,
    is_gone: bool,
}

/// What the directory was told.
#[derive(Debug, Default)]
pub struct Table(HashMap<IpAddr, Known>);

/// An entry that tells of a device.
struct Entry {
    address: IpAddr,
    mac: Mac,
    /// How long ago that was sure, µs.
    age_us: i64,
}

impl Table {
    /// Takes the whole table. What is not in it is gone, what an earlier daemon told of too.
    pub fn replace(&mut self, entries: &[NeighbourMessage], directory: &Directory, now_us: i64) {
        for (address, mac) in directory.neighbours(now_us) {
            self.0.entry(address).or_insert(Known { mac, is_gone: false });
        }
        let mut seen = HashSet::new();
        for message in entries {
            seen.extend(address(message));
            self.note(message, directory, now_us);
        }
        let gone: Vec<IpAddr> =
            self.0.keys().filter(|address| !seen.contains(address)).copied().collect();
        for address in gone {
            self.fade(address, directory, now_us);
        }
    }

    /// Takes an entry that is new, or otherwise than it was.
    pub fn note(&mut self, message: &NeighbourMessage, directory: &Directory, now_us: i64) {
        let Some(address) = address(message) else { return };
        if message.header.state == NeighbourState::Failed {
            return self.fade(address, directory, now_us);
        }
        let Some(Entry { address, mac, age_us }) = entry(message, address) else {
            return;
        };
        let known = Known { mac, is_gone: false };
        if self.0.get(&address) == Some(&known) {
            return;
        }
        if self.0.len() >= NEIGHBOURS_MAX && !self.0.contains_key(&address) {
            directory.refuse(Refusal::Neighbour);
            return;
        }
        self.0.insert(address, known);
        directory.learn(vec![told::neighbour(address, mac, now_us.saturating_sub(age_us))], now_us);
    }

    /// Takes an entry that is none any more.
    pub fn forget(&mut self, message: &NeighbourMessage, directory: &Directory, now_us: i64) {
        if let Some(address) = address(message) {
            self.fade(address, directory, now_us);
            self.0.remove(&address);
        }
    }

    fn fade(&mut self, address: IpAddr, directory: &Directory, now_us: i64) {
        let Some(known) = self.0.get_mut(&address).filter(|known| !known.is_gone) else { return };
        known.is_gone = true;
        let fact = told::neighbour(address, known.mac, now_us);
        directory.learn(vec![Fact { expires_us: Some(now_us + GONE_US), ..fact }], now_us);
    }
}

/// The address that an entry is of. None: it is of a bridge, answers for another machine, or needs no answer.
fn address(message: &NeighbourMessage) -> Option<IpAddr> {
    let is_proxy = message.header.flags.contains(NeighbourFlags::Proxy);
    if is_proxy || message.header.state == NeighbourState::Noarp {
        return None;
    }
    message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = attribute {
            return Some(IpAddr::from(*address));
        }
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) = attribute {
            return Some(IpAddr::from(*address).to_canonical());
        }
        None
    })
}

/// The device of an entry. None: nobody has answered yet, or it has no MAC address.
fn entry(message: &NeighbourMessage, address: IpAddr) -> Option<Entry> {
    const KNOWN: [NeighbourState; 5] = [
        NeighbourState::Reachable,
        NeighbourState::Stale,
        NeighbourState::Delay,
        NeighbourState::Probe,
        NeighbourState::Permanent,
    ];
    if !KNOWN.contains(&message.header.state) {
        return None;
    }
    let mut mac = None;
    let mut age_us = 0;
    for attribute in &message.attributes {
        if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
        }
        if let NeighbourAttribute::CacheInfo(info) = attribute {
            age_us = i64::from(info.confirmed) * TICK_US;
        }
    }
    let mac = mac.filter(|mac| !mac.is_group() && mac.0 != [0; 6])?;
    Some(Entry { address, mac, age_us })
}
