//! Roll-ups: sums of records by hour, written with the records they sum.
//!
//! Three tables, each as narrow as what is asked of it: by device and what was decided, by device and site, and of all
//! devices together.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params_from_iter};

use crate::names::USABLE;
use crate::record::Record;

/// Largest counter of a record: 8 PiB, or so many packets.
const COUNTER_MAX: u64 = 1 << 53;

/// What a record counts for. 0 stands for no group and for no site.
#[derive(Clone, Copy)]
pub(super) struct RollupKey {
    pub(super) hour: i64,
    pub(super) device: i64,
    pub(super) device_group: i64,
    pub(super) categories: i64,
    pub(super) verdict: i64,
    pub(super) no_name: i64,
    pub(super) interface: i64,
    pub(super) site: i64,
}

impl RollupKey {
    const fn of_device(&self) -> [i64; 7] {
        let Self { hour, device, device_group, categories, verdict, no_name, interface, .. } =
            *self;
        [hour, device, device_group, categories, verdict, no_name, interface]
    }

    const fn of_site(&self) -> [i64; 5] {
        [self.hour, self.device, self.site, self.device_group, self.verdict]
    }

    const fn of_all(&self) -> [i64; 6] {
        let Self { hour, device_group, categories, verdict, no_name, interface, .. } = *self;
        [hour, device_group, categories, verdict, no_name, interface]
    }
}

/// What a row of a roll-up sums.
#[derive(Clone, Copy, Default)]
struct Sums {
    records: i64,
    flows: i64,
    packets_to_peer: i64,
    bytes_to_peer: i64,
    packets_to_lan: i64,
    bytes_to_lan: i64,
    /// Of flows and bytes, what has no usable name.
    unnamed_flows: i64,
    unnamed_bytes: i64,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        let add = |sum: &mut i64, value| *sum = sum.saturating_add(integer(value));
        let flows = i64::from(record.end_reason.is_final());
        self.records += 1;
        self.flows += flows;
        add(&mut self.packets_to_peer, record.packets_to_peer);
        add(&mut self.bytes_to_peer, record.bytes_to_peer);
        add(&mut self.packets_to_lan, record.packets_to_lan);
        add(&mut self.bytes_to_lan, record.bytes_to_lan);
        if !USABLE.contains(&record.no_name) {
            self.unnamed_flows += flows;
            add(&mut self.unnamed_bytes, record.bytes_to_peer);
            add(&mut self.unnamed_bytes, record.bytes_to_lan);
        }
    }

    const fn volumes(&self) -> [i64; 6] {
        let Self {
            records,
            flows,
            packets_to_peer,
            bytes_to_peer,
            packets_to_lan,
            bytes_to_lan,
            ..
        } = *self;
        [records, flows, packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan]
    }

    const fn all(&self) -> [i64; 8] {
        let [records, flows, packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan] =
            self.volumes();
        let Self { unnamed_flows, unnamed_bytes, .. } = *self;
        [
            records,
            flows,
            packets_to_peer,
            bytes_to_peer,
            packets_to_lan,
            bytes_to_lan,
            unnamed_flows,
            unnamed_bytes,
        ]
    }
}

const TO_DEVICES: &str = "
    INSERT INTO rollup (hour, device, device_group, categories, verdict, no_name, interface,
        records, flows, packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (hour, device, device_group, categories, verdict, no_name, interface)
    DO UPDATE SET
        records = records + excluded.records,
        flows = flows + excluded.flows,
        packets_to_peer = packets_to_peer + excluded.packets_to_peer,
        bytes_to_peer = bytes_to_peer + excluded.bytes_to_peer,
        packets_to_lan = packets_to_lan + excluded.packets_to_lan,
        bytes_to_lan = bytes_to_lan + excluded.bytes_to_lan";

const TO_SITES: &str = "
    INSERT INTO site_rollup (hour, device, site, device_group, verdict, records, flows,
        packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan, unnamed_flows, unnamed_bytes)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (hour, device, site, device_group, verdict)
    DO UPDATE SET
        records = records + excluded.records,
        flows = flows + excluded.flows,
        packets_to_peer = packets_to_peer + excluded.packets_to_peer,
        bytes_to_peer = bytes_to_peer + excluded.bytes_to_peer,
        packets_to_lan = packets_to_lan + excluded.packets_to_lan,
        bytes_to_lan = bytes_to_lan + excluded.bytes_to_lan,
        unnamed_flows = unnamed_flows + excluded.unnamed_flows,
        unnamed_bytes = unnamed_bytes + excluded.unnamed_bytes";

const TO_TOTALS: &str = "
    INSERT INTO totals (hour, device_group, categories, verdict, no_name, interface, records,
        flows, packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
    ON CONFLICT (hour, device_group, categories, verdict, no_name, interface)
    DO UPDATE SET
        records = records + excluded.records,
        flows = flows + excluded.flows,
        packets_to_peer = packets_to_peer + excluded.packets_to_peer,
        bytes_to_peer = bytes_to_peer + excluded.bytes_to_peer,
        packets_to_lan = packets_to_lan + excluded.packets_to_lan,
        bytes_to_lan = bytes_to_lan + excluded.bytes_to_lan";

/// What a batch adds to the roll-ups of a day, in the order of their keys: neighbours share a page.
#[derive(Default)]
pub(super) struct Rollups {
    devices: BTreeMap<[i64; 7], Sums>,
    sites: BTreeMap<[i64; 5], Sums>,
    totals: BTreeMap<[i64; 6], Sums>,
}

impl Rollups {
    /// Counts a record that was stored.
    pub(super) fn add(&mut self, key: &RollupKey, record: &Record) {
        self.devices.entry(key.of_device()).or_default().add(record);
        self.sites.entry(key.of_site()).or_default().add(record);
        self.totals.entry(key.of_all()).or_default().add(record);
    }

    /// Adds all of it to the file.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        write(transaction, TO_DEVICES, &self.devices, Sums::volumes)?;
        write(transaction, TO_SITES, &self.sites, Sums::all)?;
        write(transaction, TO_TOTALS, &self.totals, Sums::volumes)
    }
}

fn write<const KEY: usize, const SUMS: usize>(
    transaction: &Transaction<'_>,
    sql: &str,
    rows: &BTreeMap<[i64; KEY], Sums>,
    sums_of: impl Fn(&Sums) -> [i64; SUMS],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(sql)?;
    for (key, sums) in rows {
        statement.execute(params_from_iter(key.iter().copied().chain(sums_of(sums))))?;
    }
    Ok(())
}

/// A counter as it is kept. No flow carries 8 PiB between two records: a counter that claims to is
/// kept at that, so that no sum of a day can leave 63 bits.
pub(super) fn integer(value: u64) -> i64 {
    value.min(COUNTER_MAX).cast_signed()
}
