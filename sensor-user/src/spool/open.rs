//! Opening a file: its books are read, and a new one takes the place of one that is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use tracing::{error, warn};

use super::books::{Books, Ledger};
use super::chunk::Header;
use super::cipher::Cipher;
use super::class::Class;
use super::file::{self, CHUNKS, CURSORS, HEADERS, LEDGER, LOSSES, STATE, guarded};
use super::loss::{Loss, Reason};
use super::transaction::day_of;
use super::{Options, SpoolError, scan};

/// A file and what is in it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) books: Books,
    /// Days its chunks were appended on, the newest first.
    pub(super) days: Vec<Date>,
}

/// Opens the file and reads its books.
pub(super) fn open_and_read(
    path: &Path,
    options: &Options,
    cipher: Option<&Cipher>,
) -> Result<Opened, SpoolError> {
    let database = file::open(path, options, cipher)?;
    let (books, days) = read_books(&database, path)?;
    Ok(Opened { database, books, days })
}

/// The books: what is written of them, and what the headers say.
fn read_books(database: &Database, path: &Path) -> Result<(Books, Vec<Date>), SpoolError> {
    let (ledger, cursors, losses) = guarded(path, "read", || {
        let read = database.begin_read()?;
        let state = read.open_table(STATE)?;
        let row = |name| {
            let row = state.get(name)?;
            Ok::<_, redb::Error>(row.map(|bytes| bytes.value().to_vec()))
        };
        Ok((row(LEDGER)?, row(CURSORS)?, row(LOSSES)?))
    })?;
    let mut books = Books::default();
    if let Some(bytes) = ledger {
        books.ledger = file::decoded::<Ledger>(path, &bytes)?;
    }
    if let Some(bytes) = cursors {
        books.cursors = file::decoded(path, &bytes)?;
    }
    if let Some(bytes) = losses {
        books.losses = file::decoded(path, &bytes)?;
    }
    let mut days = BTreeSet::new();
    guarded(path, "read", || {
        let read = database.begin_read()?;
        let chunks = read.open_table(CHUNKS)?;
        for row in read.open_table(HEADERS)?.iter()? {
            let (key, header) = row?;
            let (class, batch) = key.value();
            let header = match Header::decode(header.value()) {
                Some(header) => Some(header),
                None => chunks.get((class, batch))?.and_then(|chunk| Header::decode(chunk.value())),
            };
            if let Some(header) = header {
                header.is_under(class, batch)?;
                books.add(&header);
                days.insert(day_of(header.appended_us));
                let this = (header.batch, header.appended_us);
                books.oldest = Some(books.oldest.unwrap_or(this).min(this));
            } else if let Some(class) = Class::of_number(class) {
                books.find_damaged(class, batch);
            }
        }
        Ok(())
    })?;
    Ok((books, days.into_iter().rev().collect()))
}

/// Puts a damaged file aside and enters in the books what is lost with it. `latest` is the last batch there was, where that is
/// known: what has a later number was never confirmed.
pub(super) fn set_aside(
    path: &Path,
    reason: &str,
    books: &mut Books,
    latest: Option<u64>,
) -> Result<PathBuf, SpoolError> {
    let aside = file::put_aside(path)?;
    let found = scan::headers(&aside).unwrap_or_else(|error| {
        warn!(file = %aside.display(), %error, "nothing can be read of the spool put aside");
        BTreeMap::new()
    });
    let floor = books.floor().unwrap_or(0);
    let is_lost = |header: &&Header| {
        header.batch > floor && latest.is_none_or(|latest| header.batch <= latest)
    };
    for header in found.values().filter(is_lost) {
        books.losses.add(Loss::of(header, Reason::PutAside));
    }
    if latest.is_none()
        && let Some(newest) = found.values().max_by_key(|header| header.batch)
    {
        let of_boot = found.values().filter(|header| header.boot == newest.boot);
        let sequence = of_boot.map(|header| header.last).max();
        books.ledger.latest = newest.batch;
        books.ledger.totals = newest.totals;
        books.ledger.newest = sequence.map(|sequence| (newest.boot.clone(), sequence));
    }
    let behind: Vec<_> = books.cursors.values().map(|cursor| books.behind(cursor)).collect();
    let Ledger { latest, totals, .. } = books.ledger;
    for (cursor, behind) in books.cursors.values_mut().zip(behind) {
        for (class, records) in behind.iter() {
            *cursor.lost.of_mut(class) += records;
        }
        (cursor.acknowledged, cursor.passed) = (latest, totals);
    }
    let records = books.records();
    books.empty();
    books.ledger.put_aside += 1;
    error!(
        spool = %path.display(), aside = %aside.display(), reason, records, latest,
        "the damaged spool was put aside; a new one goes on with the next number"
    );
    Ok(aside)
}
