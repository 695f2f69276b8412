//! What was answered of the past and is known otherwise now.
//!
//! Records are not rewritten: whoever reads one of an address and a time finds here what its identity would be today,
//! beside the one it has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fact::{DeviceIdentity, Source};
use super::resolve::View;
use super::table::{Table, Version};

/// Stretches that one change may tell apart at one address; what is beyond them is one stretch.
const STRETCHES_MAX: usize = 64;

/// A stretch of the past that is known otherwise now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// Where.
    pub address: IpAddr,
    /// From when, µs since 1970 UTC.
    pub from_us: i64,
    /// Until when, the end excluded.
    pub to_us: i64,
    /// Who was said to be there.
    pub was: Option<DeviceIdentity>,
    /// Who is known to have been there.
    pub is: Option<DeviceIdentity>,
    /// When that was learnt.
    pub learnt_us: i64,
    /// Who told.
    pub source: Source,
}

/// What the newest version of the store changes about these addresses, between two times.
pub(super) fn between(
    table: &Table,
    version: Version,
    addresses: &BTreeSet<IpAddr>,
    from_us: i64,
    now_us: i64,
    source: Source,
) -> Vec<Amendment> {
    let (before, after) = (View::new(table, version.saturating_sub(1)), View::new(table, version));
    let mut amendments = Vec::new();
    for address in addresses {
        let mut last: Option<Amendment> = None;
        let starts = starts(table, *address, from_us, now_us);
        let ends = starts.iter().skip(1).copied().chain([now_us]);
        for (start_us, end_us) in starts.iter().copied().zip(ends) {
            let was = before.resolve(*address, start_us);
            let is = after.resolve(*address, start_us);
            match &mut last {
                Some(last) if last.to_us == start_us && last.was == was && last.is == is => {
                    last.to_us = end_us;
                }
                _ => {
                    amendments.extend(last.take());
                    last = (was != is).then_some(Amendment {
                        address: *address,
                        from_us: start_us,
                        to_us: end_us,
                        was,
                        is,
                        learnt_us: now_us,
                        source,
                    });
                }
            }
        }
        amendments.extend(last);
    }
    amendments
}

/// Where anything may begin or end at an address: of its own facts, and of those of the devices that they name.
fn starts(table: &Table, address: IpAddr, from_us: i64, now_us: i64) -> Vec<i64> {
    let own = || table.of_address(address).iter().filter_map(|id| table.kept(*id));
    let devices: BTreeSet<_> = own().filter_map(|kept| kept.fact.mac).collect();
    let theirs = devices
        .into_iter()
        .flat_map(|mac| table.of_mac(mac).iter().filter_map(|id| table.kept(*id)));
    let times = own().chain(theirs).flat_map(|kept| {
        let fact = &kept.fact;
        [Some(fact.from_us), fact.to_us, fact.expires_us].into_iter().flatten()
    });
    let times: BTreeSet<i64> =
        times.filter(|time| (from_us..now_us).contains(time)).chain([from_us]).collect();
    times.into_iter().take(STRETCHES_MAX).collect()
}
