//! Roll-ups: sums by hour, device, group, categories, verdict, reason for no name and interface,
//! written with the records they sum.

use rusqlite::{Transaction, params};

use crate::record::Record;

/// Largest counter of a record: 8 PiB, or so many packets.
const COUNTER_MAX: u64 = 1 << 53;

/// What a row of the roll-up is about.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct RollupKey {
    pub(super) hour: i64,
    pub(super) device: i64,
    pub(super) device_group: i64,
    pub(super) categories: i64,
    pub(super) verdict: i64,
    pub(super) no_name: i64,
    pub(super) interface: i64,
}

/// What a row of the roll-up sums.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) records: i64,
    pub(super) flows: i64,
    pub(super) packets_to_peer: i64,
    pub(super) bytes_to_peer: i64,
    pub(super) packets_to_lan: i64,
    pub(super) bytes_to_lan: i64,
}

impl Sums {
    pub(super) fn add(&mut self, record: &Record) {
        let add = |sum: &mut i64, value| *sum = sum.saturating_add(integer(value));
        self.records += 1;
        self.flows += i64::from(record.end_reason.is_final());
        add(&mut self.packets_to_peer, record.packets_to_peer);
        add(&mut self.bytes_to_peer, record.bytes_to_peer);
        add(&mut self.packets_to_lan, record.packets_to_lan);
        add(&mut self.bytes_to_lan, record.bytes_to_lan);
    }

    pub(super) fn insert(
        &self,
        transaction: &Transaction<'_>,
        key: &RollupKey,
    ) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO rollup (hour, device, device_group, categories, verdict, no_name,
                 interface, records, flows, packets_to_peer, bytes_to_peer, packets_to_lan,
                 bytes_to_lan)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (hour, device, device_group, categories, verdict, no_name, interface)
             DO UPDATE SET
                 records = records + excluded.records,
                 flows = flows + excluded.flows,
                 packets_to_peer = packets_to_peer + excluded.packets_to_peer,
                 bytes_to_peer = bytes_to_peer + excluded.bytes_to_peer,
                 packets_to_lan = packets_to_lan + excluded.packets_to_lan,
                 bytes_to_lan = bytes_to_lan + excluded.bytes_to_lan",
        )?;
        statement.execute(params![
            key.hour,
            key.device,
            key.device_group,
            key.categories,
            key.verdict,
            key.no_name,
            key.interface,
            self.records,
            self.flows,
            self.packets_to_peer,
            self.bytes_to_peer,
            self.packets_to_lan,
            self.bytes_to_lan,
        ])?;
        Ok(())
    }
}

/// A counter as it is kept. No flow carries 8 PiB between two records: a counter that claims to is
/// kept at that, so that no sum of a day can leave 63 bits.
pub(super) fn integer(value: u64) -> i64 {
    value.min(COUNTER_MAX).cast_signed()
}
