//! The writing side: one transaction for a batch of a day.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use rusqlite::Connection;
use tracing::{info, warn};

use super::ids::{INSERT_FLOW, Ids};
use super::migrate::migrate;
use super::rollup::Rollups;
use super::schema::{self, Found};
use super::{HOUR_US, Reader, StoreError, Today, day_files, day_of, file_name, files, start_of};
use crate::record::Record;

/// Day files kept open: today's, yesterday's around midnight, and what a late delivery brings.
const OPEN_DAYS_MAX: usize = 4;

/// Page cache of an open day, KiB: the index by device is written all over.
const CACHE_KIB: i64 = 16 << 10;

/// Pages of 4 KiB after which the journal is carried over into the file: 16 MiB, so that a page many
/// batches write to is carried over once.
const CHECKPOINT_PAGES: i64 = 4_096;

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
    /// created from now on. A file of a newer version is refused where it is of today: no record could be stored.
    pub fn open(dir: &Path, sensor: &str) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(|source| StoreError::Directory { path: dir.to_owned(), source })?;
        carry_over(dir, day_of(Timestamp::now().as_microsecond()))?;
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

    /// Which day it is for [`Self::expire`], by the days there are.
    pub fn today(&self) -> Result<Today, StoreError> {
        let days: Vec<_> = day_files(&self.dir)?.into_iter().map(|(day, _)| day).collect();
        Ok(Today::after(&days))
    }

    /// Removes every day that is more than `retention_days` full days before today, with all that
    /// lies beside its file. The caller vouches for `today`, see [`Today`]: a wrong clock removes too much.
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

/// Makes files of older versions ones of this. What is corrupt stays, and is told of when it is read; so does what is newer,
/// unless it is of today or later.
fn carry_over(dir: &Path, today: Option<Date>) -> Result<(), StoreError> {
    for (day, path) in day_files(dir)? {
        let failed = |source| StoreError::of(&path, source);
        let carried = Connection::open(&path).map_err(failed).and_then(|mut connection| {
            connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
            if let Found::Older(from) = schema::inspect(&connection, &path)? {
                migrate(&mut connection, from).map_err(failed)?;
                info!(%day, from, to = schema::SCHEMA_VERSION, "day file carried over");
            }
            Ok(())
        });
        match carried {
            Err(error @ StoreError::Newer { .. }) if Some(day) >= today => return Err(error),
            Err(error) => warn!(%error, "day passed over"),
            Ok(()) => {}
        }
    }
    Ok(())
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
        connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(32);
        match found {
            Found::Current => {}
            Found::Older(from) => migrate(&mut connection, from).map_err(failed)?,
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
        let mut insert_flow = transaction.prepare_cached(INSERT_FLOW)?;
        let mut rollups = Rollups::default();
        let mut stored = 0;
        for record in records {
            let Some(mut key) = self.ids.insert(&transaction, &mut insert_flow, record)? else {
                continue;
            };
            key.hour = (record.end_us - midnight_us).div_euclid(HOUR_US);
            rollups.add(&key, record);
            stored += 1;
        }
        rollups.write(&transaction)?;
        drop(insert_flow);
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
