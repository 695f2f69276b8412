//! The writing side: one transaction for a batch of a day.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::Hash;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Params, Transaction, params};
use tracing::{info, warn};

use super::schema::{self, Found};
use super::{HOUR_US, Reader, StoreError, day_of, file_name, files, start_of};
use crate::record::{Named as _, Record};

/// Day files kept open: today's, yesterday's around midnight, and what a late delivery brings.
const OPEN_DAYS_MAX: usize = 4;

/// Ids kept in memory for each dictionary of an open day; beyond, they are looked up again.
/// 64 Ki names of 40 bytes are about 6 MiB.
const IDS_MAX: usize = 1 << 16;

/// Sensors and boots kept in memory: one, and one more for each restart of the machine that day.
const ORIGINS_MAX: usize = 64;

/// Largest counter of a record: 8 PiB, or so many packets.
const COUNTER_MAX: u64 = 1 << 53;

/// Corrupt files of one day kept beside it.
const CORRUPT_FILES_MAX: u32 = 99;

/// Longest wait for a lock that a reader holds while a file is recovered or changes its journal.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Records are personal data: owner and group only.
const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

/// The writer of a store. There is one for a directory.
#[derive(Debug)]
pub struct DayStore {
    dir: PathBuf,
    sensor: String,
    /// The most recently used is last.
    open: Vec<DayFile>,
    counters: Counters,
}

/// What a writer did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records stored.
    pub stored: u64,
    /// Records that were there already.
    pub duplicates: u64,
    /// Corrupt day files moved aside.
    pub corrupt_files: u64,
}

/// What retention removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Days that are gone, oldest first.
    pub days: Vec<Date>,
    /// Bytes their files had, corrupt ones included.
    pub bytes: u64,
}

impl DayStore {
    /// Opens the store in a directory, which is made if it is not there. `sensor` is noted in files
    /// created from now on.
    pub fn open(dir: &Path, sensor: &str) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(|source| StoreError::Directory { path: dir.to_owned(), source })?;
        Ok(Self {
            dir: dir.to_owned(),
            sensor: sensor.to_owned(),
            open: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// Stores a batch: one transaction for each day in it, so one in all but the batch at midnight.
    /// After an error the batch can be appended again as it is: what is stored is not stored twice.
    pub fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut days: BTreeMap<Date, Vec<&Record>> = BTreeMap::new();
        for record in records {
            let Record { sequence, end_us, .. } = *record;
            let day = day_of(end_us).ok_or(StoreError::Time { sequence, end_us })?;
            days.entry(day).or_default().push(record);
        }
        for (day, records) in days {
            let outcome = match self.append_to(day, &records) {
                Err(StoreError::Corrupt { path, reason }) => {
                    self.move_aside(&path, &reason)?;
                    self.append_to(day, &records)
                }
                other => other,
            };
            self.counters.stored += outcome?;
        }
        Ok(())
    }

    /// Highest sequence number stored for a boot of this sensor. Days that cannot be read for
    /// corruption are passed over with a warning.
    pub fn last_sequence(&self, boot: &str) -> Result<Option<u64>, StoreError> {
        Reader::open(&self.dir)?.last_sequence(&self.sensor, boot)
    }

    /// Removes every day that is more than `retention_days` full days before today, with all that
    /// lies beside its file. The caller vouches for `today`: a wrong clock removes too much.
    pub fn expire(&mut self, retention_days: u32, today: Date) -> Result<Expired, StoreError> {
        let mut expired = Expired::default();
        // A retention longer than the calendar keeps everything.
        let Ok(oldest) = today.checked_sub(i64::from(retention_days).days()) else {
            return Ok(expired);
        };
        self.open.retain(|file| file.day >= oldest);
        for (day, beside, path) in files(&self.dir)?.into_iter().rev() {
            if day >= oldest {
                break;
            }
            let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            match fs::remove_file(&path) {
                Ok(()) => expired.bytes += bytes,
                // SQLite removes what lies beside a file when it is closed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::File { path, doing: "remove", source }),
            }
            if beside.is_empty() {
                info!(%day, bytes, "day expired");
            }
            if expired.days.last() != Some(&day) {
                expired.days.push(day);
            }
        }
        Ok(expired)
    }

    /// What was done so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Stores the records of one day and tells how many were new.
    fn append_to(&mut self, day: Date, records: &[&Record]) -> Result<u64, StoreError> {
        let mut file = match self.open.iter().position(|file| file.day == day) {
            Some(index) => self.open.remove(index),
            None => DayFile::open(&self.dir, day, &self.sensor)?,
        };
        // After an error the file is closed: ids it knows may have gone with the transaction.
        let stored = file.append(records).map_err(|source| StoreError::of(&file.path, source))?;
        self.counters.duplicates += records.len() as u64 - stored;
        if self.open.len() >= OPEN_DAYS_MAX {
            self.open.remove(0);
        }
        self.open.push(file);
        Ok(stored)
    }

    /// Makes room for a new file where a corrupt one is. Its journal goes with it: beside the new
    /// file it would be taken for its own.
    fn move_aside(&mut self, path: &Path, reason: &str) -> Result<(), StoreError> {
        let failed =
            |source| StoreError::File { path: path.to_owned(), doing: "move aside", source };
        let aside = (1..=CORRUPT_FILES_MAX)
            .map(|number| beside(path, &format!(".corrupt-{number}")))
            .find(|aside| !aside.exists())
            .ok_or_else(|| failed(io::Error::from(io::ErrorKind::AlreadyExists)))?;
        for suffix in ["-wal", "-shm", "-journal"] {
            match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(path, &aside).map_err(failed)?;
        self.counters.corrupt_files += 1;
        warn!(
            file = %path.display(), aside = %aside.display(), reason,
            "corrupt day file moved aside; new records go to a new one"
        );
        Ok(())
    }
}

/// A path with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// An open day.
#[derive(Debug)]
struct DayFile {
    day: Date,
    path: PathBuf,
    connection: Connection,
    ids: Ids,
}

impl DayFile {
    fn open(dir: &Path, day: Date, sensor: &str) -> Result<Self, StoreError> {
        let path = dir.join(file_name(day));
        // Only a file that is not there is opened here: closing another handle of one that is would
        // take the locks SQLite holds on it in this process.
        match OpenOptions::new().create_new(true).write(true).mode(FILE_MODE).open(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::File { path, doing: "create", source });
            }
            Ok(_) | Err(_) => {}
        }
        let failed = |source| StoreError::of(&path, source);
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        let found = schema::inspect(&connection, &path)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "normal").map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(32);
        match found {
            Found::Current => {}
            Found::Empty => {
                schema::create(&mut connection, sensor, &day.to_string()).map_err(failed)?;
            }
        }
        Ok(Self { day, path, connection, ids: Ids::default() })
    }

    /// Stores what is not there yet, with its roll-ups, and tells how much that was.
    fn append(&mut self, records: &[&Record]) -> rusqlite::Result<u64> {
        let midnight_us = start_of(self.day);
        let transaction = self.connection.transaction()?;
        let mut rollup: HashMap<RollupKey, Sums> = HashMap::new();
        let mut stored = 0;
        for record in records {
            let Some(mut key) = self.ids.insert(&transaction, record)? else {
                continue;
            };
            key.hour = (record.end_us - midnight_us).div_euclid(HOUR_US);
            rollup.entry(key).or_default().add(record);
            stored += 1;
        }
        for (key, sums) in &rollup {
            sums.insert(&transaction, key)?;
        }
        transaction.commit()?;
        Ok(stored)
    }
}

impl Drop for DayFile {
    /// Leaves one file that needs nothing beside it, which whoever may read but not write can open.
    fn drop(&mut self) {
        let Self { connection, .. } = self;
        let left = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| connection.pragma_update(None, "journal_mode", "delete"));
        if let Err(error) = left {
            // A reader is at it: the file stays as it is, which is no harm.
            tracing::debug!(file = %self.path.display(), %error, "journal stays beside the file");
        }
    }
}

/// What a row of the roll-up is about.
#[derive(PartialEq, Eq, Hash)]
struct RollupKey {
    hour: i64,
    device: i64,
    device_group: i64,
    categories: i64,
    verdict: i64,
}

/// What a row of the roll-up sums.
#[derive(Default)]
struct Sums {
    records: i64,
    flows: i64,
    packets_to_peer: i64,
    bytes_to_peer: i64,
    packets_to_lan: i64,
    bytes_to_lan: i64,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        let add = |sum: &mut i64, value| *sum = sum.saturating_add(integer(value));
        self.records += 1;
        self.flows += i64::from(record.end_reason.is_final());
        add(&mut self.packets_to_peer, record.packets_to_peer);
        add(&mut self.bytes_to_peer, record.bytes_to_peer);
        add(&mut self.packets_to_lan, record.packets_to_lan);
        add(&mut self.bytes_to_lan, record.bytes_to_lan);
    }

    fn insert(&self, transaction: &Transaction<'_>, key: &RollupKey) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO rollup (hour, device, device_group, categories, verdict, records, flows,
                 packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (hour, device, device_group, categories, verdict) DO UPDATE SET
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
fn integer(value: u64) -> i64 {
    value.min(COUNTER_MAX).cast_signed()
}

/// A table that gives texts their ids.
struct Dictionary {
    select: &'static str,
    insert: &'static str,
}

const ORIGINS: Dictionary = Dictionary {
    select: "SELECT id FROM origins WHERE sensor = ?1 AND boot = ?2",
    insert: "INSERT INTO origins (sensor, boot) VALUES (?1, ?2)",
};
const DEVICES: Dictionary = Dictionary {
    select: "SELECT id FROM devices WHERE address = ?1 AND zone = ?2",
    insert: "INSERT INTO devices (address, zone) VALUES (?1, ?2)",
};
const PEERS: Dictionary = Dictionary {
    select: "SELECT id FROM peers WHERE address = ?1",
    insert: "INSERT INTO peers (address) VALUES (?1)",
};
const NAMES: Dictionary = Dictionary {
    select: "SELECT id FROM names WHERE name = ?1",
    insert: "INSERT INTO names (name) VALUES (?1)",
};
const CATEGORY_SETS: Dictionary = Dictionary {
    select: "SELECT id FROM category_sets WHERE categories = ?1",
    insert: "INSERT INTO category_sets (categories) VALUES (?1)",
};
const LABELS: Dictionary = Dictionary {
    select: "SELECT id FROM labels WHERE text = ?1",
    insert: "INSERT INTO labels (text) VALUES (?1)",
};

impl Dictionary {
    /// The id of a text, given now if it has none.
    fn id(&self, transaction: &Transaction<'_>, text: impl Params + Copy) -> rusqlite::Result<i64> {
        let mut select = transaction.prepare_cached(self.select)?;
        if let Some(id) = select.query_row(text, |row| row.get(0)).optional()? {
            return Ok(id);
        }
        transaction.prepare_cached(self.insert)?.execute(text)?;
        Ok(transaction.last_insert_rowid())
    }
}

/// Ids known without asking.
#[derive(Debug, Default)]
struct Ids {
    /// A batch has one origin or few: they are searched, not hashed.
    origins: Vec<(String, String, i64)>,
    devices: HashMap<(IpAddr, u16), i64>,
    peers: HashMap<IpAddr, i64>,
    names: HashMap<String, i64>,
    category_sets: HashMap<Vec<String>, i64>,
    labels: HashMap<String, i64>,
}

impl Ids {
    /// Stores a record and tells what it counts for, all but the hour; nothing if it was there.
    fn insert(
        &mut self,
        transaction: &Transaction<'_>,
        record: &Record,
    ) -> rusqlite::Result<Option<RollupKey>> {
        let origin = self.origin(transaction, &record.sensor, &record.boot)?;
        let device = known(&mut self.devices, &(record.device, record.zone), || {
            DEVICES.id(transaction, (record.device.to_string().as_str(), record.zone))
        })?;
        let peer = known(&mut self.peers, &record.peer, || {
            PEERS.id(transaction, [record.peer.to_string().as_str()])
        })?;
        let name = match record.name.as_deref() {
            Some(name) => Some(known(&mut self.names, name, || NAMES.id(transaction, [name]))?),
            None => None,
        };
        let categories = known(&mut self.category_sets, record.categories.as_slice(), || {
            let set = serde_json::Value::from(record.categories.as_slice()).to_string();
            CATEGORY_SETS.id(transaction, [set.as_str()])
        })?;
        let mut label =
            |text: &str| known(&mut self.labels, text, || LABELS.id(transaction, [text]));
        let verdict = label(record.verdict.text())?;
        let device_group = record.group.as_deref().map(&mut label).transpose()?;
        let mut statement = transaction.prepare_cached(
            "INSERT INTO flows (origin, sequence, flow_id, start_us, end_us, device, device_port,
                 peer, peer_port, protocol, interface, packets_to_peer, bytes_to_peer,
                 packets_to_lan, bytes_to_lan, name, name_source, no_name, verdict, categories,
                 list, policy, device_group, end_reason, initiator)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)
             ON CONFLICT (origin, sequence) DO NOTHING",
        )?;
        let rows = statement.execute(params![
            origin,
            record.sequence.cast_signed(),
            record.flow_id.cast_signed(),
            record.start_us,
            record.end_us,
            device,
            record.device_port,
            peer,
            record.peer_port,
            record.protocol,
            label(&record.interface)?,
            integer(record.packets_to_peer),
            integer(record.bytes_to_peer),
            integer(record.packets_to_lan),
            integer(record.bytes_to_lan),
            name,
            label(record.name_source.text())?,
            label(record.no_name.text())?,
            verdict,
            categories,
            record.list.as_deref().map(&mut label).transpose()?,
            record.policy.as_deref().map(&mut label).transpose()?,
            device_group,
            label(record.end_reason.text())?,
            label(record.initiator.text())?,
        ])?;
        let key = RollupKey {
            hour: 0,
            device,
            device_group: device_group.unwrap_or(0),
            categories,
            verdict,
        };
        Ok((rows > 0).then_some(key))
    }

    fn origin(
        &mut self,
        transaction: &Transaction<'_>,
        sensor: &str,
        boot: &str,
    ) -> rusqlite::Result<i64> {
        let known = self.origins.iter().find(|known| known.0 == sensor && known.1 == boot);
        if let Some((_, _, id)) = known {
            return Ok(*id);
        }
        let id = ORIGINS.id(transaction, (sensor, boot))?;
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.clear();
        }
        self.origins.push((sensor.to_owned(), boot.to_owned(), id));
        Ok(id)
    }
}

/// An id from memory, or from the file and from then on from memory.
fn known<K, Q>(
    ids: &mut HashMap<K, i64>,
    key: &Q,
    look_up: impl FnOnce() -> rusqlite::Result<i64>,
) -> rusqlite::Result<i64>
where
    K: Borrow<Q> + Eq + Hash,
    Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
{
    if let Some(id) = ids.get(key) {
        return Ok(*id);
    }
    let id = look_up()?;
    if ids.len() >= IDS_MAX {
        ids.clear();
    }
    ids.insert(key.to_owned(), id);
    Ok(id)
}
