//! What a daemon finds of the one before it: records that wait, and what those told.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::assembly::UNSETTLED_MAX;
use crate::config::Config;
use crate::export;
use crate::spool::{self, Spool};
use crate::store::{Reader, Told};

/// Newest records looked at for what an earlier daemon told last: those it had on its way, and those of one before it whose
/// events it had not come to.
const RECONCILED_MAX: usize = 2 * UNSETTLED_MAX;

/// The day store's cursor in the spool.
pub(super) const STORE_CURSOR: &str = "day-store";

/// Opens the spool, and takes leave of those who read it no more.
pub(super) fn open_spool(config: &Config) -> anyhow::Result<Spool> {
    let crate::config::Spool { dir, size_mib, days, key_file } = &config.spool;
    let mut spool = Spool::open(spool::Options {
        dir: dir.clone(),
        bytes_max: u64::from(*size_mib) << 20,
        days_max: *days,
        key_file: key_file.clone(),
    })?;
    let mut cursors: Vec<_> = config.export.iter().map(export::cursor).collect();
    cursors.push(STORE_CURSOR.to_owned());
    let cursors: Vec<&str> = cursors.iter().map(String::as_str).collect();
    for gone in spool.retain(&cursors)? {
        info!(cursor = gone, "nobody reads the spool by this cursor any more");
    }
    Ok(spool)
}

/// What the daemon before this one told last: in the store, or still on its way there.
pub(super) fn newest_records(
    config: &Config,
    spool: &Spool,
    boot: &str,
    sequence: u64,
) -> Vec<Told> {
    let since = sequence.saturating_sub(RECONCILED_MAX as u64);
    let read = |reader: Reader| reader.told_since(&config.sensor.name, boot, since);
    let warned = |error: &dyn std::error::Error| {
        warn!(%error, "older records cannot be read: flows of before may be counted twice");
    };
    let stored = Reader::open(&config.store.dir).and_then(read);
    let stored = stored.inspect_err(|error| warned(error)).unwrap_or_default();
    let spooled = spool.newest(RECONCILED_MAX).inspect_err(|error| warned(error));
    let spooled = spooled.unwrap_or_default();
    let spooled = spooled.iter().filter(|record| record.boot == boot && record.sequence >= since);
    // Most are in both.
    let told: BTreeMap<u64, Told> =
        spooled.map(Told::from).chain(stored).map(|told| (told.sequence, told)).collect();
    told.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::Record;
    use crate::record::sample::{NOON_US, record};
    use crate::spool::Start;
    use crate::store::DayStore;

    #[test]
    fn what_was_told_is_known_of_spool_and_store_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[[interface]]\nname = \"lan0\"\n[sensor]\nname = \"gw-1\"\n[store]\ndir = {:?}\n",
            dir.path()
        );
        let config = Config::parse(&text, Path::new("sensor.toml"), "gw-1").unwrap();
        let records: Vec<Record> = (0..10).map(record).collect();
        let (boot, sensor) = (records[0].boot.clone(), records[0].sensor.clone());
        let config = Config { sensor: crate::config::Sensor { name: sensor }, ..config };
        let mut spool = open_spool(&config).unwrap();
        let _kept = spool.reader(STORE_CURSOR, Start::Oldest).unwrap();
        let mut store = DayStore::open(&config.store.dir, &config.sensor.name).unwrap();
        // Some are stored and gone from the spool, some are in both, and some wait; a batch that was tried twice is there twice.
        store.append(&records[..7]).unwrap();
        spool.append(&records[4..], NOON_US).unwrap();
        spool.append(&records[8..], NOON_US).unwrap();
        let told = |boot| newest_records(&config, &spool, boot, 10);
        assert_eq!(told(&boot), records.iter().map(Told::from).collect::<Vec<_>>());
        assert_eq!(told("another boot"), []);
    }

    #[test]
    fn who_reads_no_more_holds_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[[interface]]\nname = \"lan0\"\n[store]\ndir = {:?}\n", dir.path());
        let config = Config::parse(&text, Path::new("sensor.toml"), "gw-1").unwrap();
        let mut spool = open_spool(&config).unwrap();
        for name in [STORE_CURSOR, "export:siem"] {
            drop(spool.reader(name, Start::Oldest).unwrap());
        }
        spool.close().unwrap();
        let spool = open_spool(&config).unwrap();
        let cursors = spool.watch().status(NOON_US).cursors;
        assert_eq!(cursors.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [STORE_CURSOR]);
    }
}
