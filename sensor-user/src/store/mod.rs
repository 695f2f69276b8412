//! The day store: `SQLite` files, one for each UTC day, chosen by the end of a record.
//!
//! A day is a file so that retention is deleting files, and so that anyone can copy a day and open
//! it with `sqlite3`; the view `records` shows it in full. [`DayStore`] writes, and only one process
//! does; [`Reader`] reads beside it, from any number of processes.
//!
//! A record is stored once, however often it is delivered: `(sensor, boot, sequence)` is its key.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::ErrorCode;

mod ids;
mod migrate;
mod named;
mod read;
mod rollup;
mod row;
mod schema;
mod sightings;
mod site;
mod summed;
#[cfg(test)]
mod tests;
mod today;
mod told;
mod top;
mod visits;
mod write;

pub use named::{End, NamedFlows, NamedLimits};
pub use read::{Position, Query, Reader};
pub use schema::SCHEMA_VERSION;
pub use sightings::{Seen, Sighting};
pub use site::site_of;
pub use today::Today;
pub use told::Told;
pub use top::{DeviceNames, TopBy, TopOrder, TopRow};
pub use visits::Visits;
pub use write::{Counters, DayStore, Expired};

/// µs of an hour.
const HOUR_US: i64 = 3_600_000_000;

/// µs of a day: UTC as computers keep it has no leap seconds.
const DAY_US: i64 = 24 * HOUR_US;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be used.
    #[error("{}: cannot use the store directory; see that it exists and that this user may write to it", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file could not be created, renamed or removed.
    #[error("{}: cannot {doing} the day file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not a whole day file.
    #[error(
        "{}: the day file is corrupt ({reason}); move it out of the store, and get back what is \
         left with `sqlite3 FILE .recover`",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// A file was written by a later version.
    #[error(
        "{}: the day file has schema {found} and this version knows {SCHEMA_VERSION}; install the \
         version that wrote it, or move the file out of the store",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// A file was written by an older version, and no daemon of this one has opened the store yet.
    #[error(
        "{}: the day file has schema {found} and this version reads {SCHEMA_VERSION}; start the daemon of \
         this version, which carries it over",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// A file that was just read is there no more.
    #[error("{}: the day file is gone: its day has expired; ask again", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Anything else `SQLite` refused: a full disk, a lock held too long.
    #[error("{}: cannot read or write the day file", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        #[source]
        source: rusqlite::Error,
    },
    /// A record ends at a time no calendar has.
    #[error("record {sequence} ends at {end_us} µs, which is no date")]
    Time {
        /// The record.
        sequence: u64,
        /// Its end.
        end_us: i64,
    },
}

impl StoreError {
    /// What an error of `SQLite` means for a file.
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, reason: source.to_string() }
            }
            Some(_) | None => Self::Sqlite { path, source },
        }
    }
}

/// UTC day of a time, µs since 1970.
fn day_of(time_us: i64) -> Option<Date> {
    let time = Timestamp::from_microsecond(time_us).ok()?;
    Some(time.to_zoned(TimeZone::UTC).date())
}

/// First moment of a UTC day, µs since 1970.
fn start_of(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC).map_or(i64::MIN, |start| start.timestamp().as_microsecond())
}

/// Name of a day's file.
fn file_name(day: Date) -> String {
    format!("flows-{day}.db")
}

/// The day a file belongs to and what follows its name: nothing for the day file itself, `-wal` or
/// `.corrupt-1` for what lies beside it.
fn day_of_file(name: &str) -> Option<(Date, &str)> {
    let rest = name.strip_prefix("flows-")?;
    let (day, beside) = rest.split_once(".db")?;
    let day: Date = day.parse().ok()?;
    // Other spellings of a date are not ours.
    name.starts_with(&file_name(day)).then_some((day, beside))
}

/// Files of the store with their day and what follows the day file's name, newest day first.
fn files(dir: &Path) -> Result<Vec<(Date, String, PathBuf)>, StoreError> {
    let unusable = |source| StoreError::Directory { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in dir.read_dir().map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        let name = entry.file_name();
        if let Some((day, beside)) = name.to_str().and_then(day_of_file) {
            found.push((day, beside.to_owned(), entry.path()));
        }
    }
    found.sort_by(|(left_day, left, _), (right_day, right, _)| {
        right_day.cmp(left_day).then_with(|| left.cmp(right))
    });
    Ok(found)
}

/// Days that there are files of, newest first.
pub fn days(dir: &Path) -> Result<Vec<Date>, StoreError> {
    Ok(day_files(dir)?.into_iter().map(|(day, _)| day).collect())
}

/// The day files themselves, newest first.
fn day_files(dir: &Path) -> Result<Vec<(Date, PathBuf)>, StoreError> {
    let files = files(dir)?.into_iter();
    Ok(files.filter(|(_, beside, _)| beside.is_empty()).map(|(day, _, path)| (day, path)).collect())
}
