//! The writing side.

use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::books::{Books, Cursor};
use super::chunk::{self, Place, Sealed};
use super::cipher::Cipher;
use super::class::Class;
use super::file::{self, FILE_NAME, guarded, make_directory};
use super::open::{Opened, open_and_read, set_aside};
use super::read::{self, Reader};
use super::shared::Shared;
use super::status::Watch;
use super::transaction::{self, Bounds, day_of};
use super::{CURSORS_MAX, NAME_BYTES_MAX, Options, SpoolError, Start};
use crate::record::Record;
use crate::store::Today;

/// Bytes of a file that is not worth compacting.
const COMPACT_BYTES_MIN: u64 = 16 << 20;

/// Where less than this part of the file is in use, it is compacted: what has to be moved is then little beside what is won.
const COMPACT_SHARE: u64 = 4;

/// The writer of a spool. There is one for a file, in one process.
#[derive(Debug)]
pub struct Spool {
    options: Options,
    shared: Arc<Shared>,
    today: Today,
    /// The disk was full when it was last written to.
    was_full: bool,
}

impl Spool {
    /// Opens the spool in a directory, which is made where there is none. A file that cannot be opened for what is in it is put
    /// aside; one that could be opened with another version or key, or by somebody else, is an error.
    pub fn open(options: Options) -> Result<Self, SpoolError> {
        make_directory(&options.dir)?;
        let path = options.dir.join(FILE_NAME);
        let cipher = options.key_file.as_deref().map(Cipher::read).transpose()?;
        let opened = match open_and_read(&path, &options, cipher.as_ref()) {
            Err(SpoolError::Damaged { path, reason }) => {
                let mut books = Books::default();
                set_aside(&path, &reason, &mut books, None)?;
                let database = file::open(&path, &options, cipher.as_ref())?;
                guarded(&path, "write", || transaction::commit_books(&database, &books))?;
                Opened { database, books, days: Vec::new() }
            }
            other => other?,
        };
        let Opened { database, books, days } = opened;
        let shared = Arc::new(Shared::new(path, options.bytes_max, cipher, database, books));
        Ok(Self { options, shared, today: Today::after(&days), was_full: false })
    }

    /// Appends a batch of one boot and returns its number when it is on the disk; of no records, the last batch's.
    /// `now_us` is the time, µs since 1970.
    ///
    /// After an error nothing of it needs to be done again but this.
    pub fn append(&mut self, records: &[Record], now_us: i64) -> Result<u64, SpoolError> {
        let Some(first) = records.first() else { return Ok(self.shared.books().ledger.latest) };
        if let Some(other) = records.iter().find(|record| record.boot != first.boot) {
            return Err(SpoolError::Boot { boot: other.boot.clone() });
        }
        self.make_ready()?;
        if self.was_full && self.shared.books().has_passed() {
            // Places of what goes are free when it is gone: a batch in the same transaction would need others.
            let bounds = self.bounds(now_us);
            let written = self.write(&[], None, bounds);
            self.mend(written)?;
        }
        let sequence = records.iter().map(|record| record.sequence).max();
        let newest = sequence.map(|sequence| (first.boot.clone(), sequence));
        let written = self.append_once(records, newest.clone(), now_us);
        match self.mend(written)? {
            Some(number) => Ok(number),
            // The file is a new one.
            None => self.append_once(records, newest, now_us),
        }
    }

    /// Does what is due without a batch: puts on the disk how far sinks are, removes what they all have and what is too old, and
    /// makes a file smaller that is mostly empty. Cheap where nothing is due; to be called every few seconds.
    pub fn tend(&mut self, now_us: i64) -> Result<(), SpoolError> {
        self.make_ready()?;
        let bounds = self.bounds(now_us);
        let is_due = {
            let books = self.shared.books();
            books.has_moved
                || books.has_passed()
                || !books.damaged.is_empty()
                || books.oldest.is_some_and(|(_, oldest)| bounds.is_too_old(oldest))
                || books.bytes() > bounds.bytes_max
        };
        if is_due {
            let written = self.write(&[], None, bounds);
            self.mend(written)?;
        }
        self.compact()
    }

    /// A reader with a cursor of that name, which is made where there is none. A cursor holds what is behind it from now on.
    pub fn reader(&mut self, name: &str, start: Start) -> Result<Reader, SpoolError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(SpoolError::Name { name: name.to_owned() });
        }
        self.make_ready()?;
        let is_new = {
            let mut books = self.shared.books();
            let Books { cursors, ledger, .. } = &mut *books;
            let count = cursors.len();
            match cursors.get_mut(name) {
                Some(cursor) if cursor.is_read => {
                    return Err(SpoolError::Reading { name: name.to_owned() });
                }
                Some(cursor) => {
                    cursor.is_read = true;
                    false
                }
                None if count >= CURSORS_MAX => return Err(SpoolError::Cursors),
                None => {
                    let fresh = Cursor { is_read: true, ..Cursor::default() };
                    let cursor = match start {
                        // There is nothing before the oldest.
                        Start::Oldest => fresh,
                        Start::Newest => {
                            let (acknowledged, passed) = (ledger.latest, ledger.totals);
                            Cursor { acknowledged, passed, ..fresh }
                        }
                    };
                    cursors.insert(name.to_owned(), cursor);
                    true
                }
            }
        };
        // From here on a reader that goes lets the cursor go.
        let reader = Reader::new(Arc::clone(&self.shared), name);
        if is_new {
            self.commit_books()?;
        }
        Ok(reader)
    }

    /// Removes the cursors of sinks that are gone, all but those named and those that are read with, and returns their
    /// names: what they held may go.
    pub fn retain(&mut self, names: &[&str]) -> Result<Vec<String>, SpoolError> {
        self.make_ready()?;
        let mut removed = Vec::new();
        self.shared.books().cursors.retain(|name, cursor| {
            let stays = cursor.is_read || names.contains(&name.as_str());
            if !stays {
                removed.push(name.clone());
            }
            stays
        });
        if !removed.is_empty() {
            self.shared.books().has_moved = true;
            self.commit_books()?;
        }
        Ok(removed)
    }

    /// Highest sequence number of a boot that was ever appended, if that is the boot of the last batch.
    pub fn last_sequence(&self, boot: &str) -> Option<u64> {
        let books = self.shared.books();
        let newest = books.ledger.newest.as_ref();
        newest.filter(|(of, _)| of == boot).map(|(_, sequence)| *sequence)
    }

    /// The newest records, so many of each class and the rest of their batches, in no order and perhaps twice: what a daemon
    /// that starts must know of the one before it. What is damaged is left out.
    pub fn newest(&self, records: usize) -> Result<Vec<Record>, SpoolError> {
        read::newest(&self.shared, records)
    }

    /// What tells how it is.
    pub fn watch(&self) -> Watch {
        Watch::new(Arc::clone(&self.shared))
    }

    /// Says that nothing more is appended: readers get what is left, and then [`super::Next::Ended`].
    pub fn finish(&mut self) {
        self.shared.books().is_over = true;
        self.shared.news().notify_all();
    }

    /// Ends it, and puts on the disk how far sinks are. Readers that are still there get nothing more.
    pub fn close(mut self) -> Result<(), SpoolError> {
        self.close_file()
    }

    fn close_file(&mut self) -> Result<(), SpoolError> {
        self.finish();
        let Self { shared, .. } = self;
        let Some(database) = shared.database_alone().take() else { return Ok(()) };
        let books = shared.books().clone();
        guarded(&shared.path, "close", || {
            if books.has_moved {
                transaction::commit_books(&database, &books)?;
            }
            Ok(database.close()?)
        })
    }

    fn bounds(&mut self, now_us: i64) -> Bounds {
        let today = self.today.of(day_of(now_us), Instant::now());
        Bounds::of(self.shared.bytes_max, self.options.days_max, today)
    }

    fn append_once(
        &mut self,
        records: &[Record],
        newest: Option<(String, u64)>,
        now_us: i64,
    ) -> Result<u64, SpoolError> {
        let Some((boot, _)) = &newest else { return Ok(0) };
        let (batch, mut totals) = {
            let books = self.shared.books();
            (books.ledger.latest + 1, books.ledger.totals)
        };
        let of_class = |class| {
            let records = records.iter().filter(move |record| Class::of(record) == class);
            records.collect::<Vec<_>>()
        };
        let parts: Vec<_> = Class::ALL.iter().map(|class| (*class, of_class(*class))).collect();
        for (class, records) in &parts {
            *totals.of_mut(*class) += records.len() as u64;
        }
        let place = Place { batch, appended_us: now_us, totals };
        let chunks =
            parts.iter().filter(|(_, records)| !records.is_empty()).map(|(class, records)| {
                chunk::seal(records, *class, boot, place, self.shared.cipher.as_ref())
            });
        let chunks: Vec<Sealed> = chunks.collect::<Result<_, _>>()?;
        let bounds = self.bounds(now_us);
        self.write(&chunks, newest, bounds)?;
        self.was_full = false;
        Ok(batch)
    }

    /// One transaction. The books are as it left them, but for cursors that moved meanwhile.
    fn write(
        &self,
        chunks: &[Sealed],
        newest: Option<(String, u64)>,
        bounds: Bounds,
    ) -> Result<(), SpoolError> {
        let shared = &*self.shared;
        let guard = shared.database();
        let database =
            guard.as_ref().ok_or_else(|| SpoolError::Closed { path: shared.path.clone() })?;
        let before = shared.books().clone();
        let mut next = before.clone();
        if let Some(Sealed { header, .. }) = chunks.first() {
            next.ledger.latest = header.batch;
            next.ledger.totals = header.totals;
            next.ledger.newest = newest;
        }
        guarded(&shared.path, "write", || {
            transaction::commit(database, &mut next, chunks, &shared.shape, bounds)
        })?;
        let mut books = shared.books();
        next.merge(&before, &books);
        *books = next;
        drop(books);
        shared.news().notify_all();
        Ok(())
    }

    fn commit_books(&mut self) -> Result<(), SpoolError> {
        let written = {
            let guard = self.shared.database();
            let books = self.shared.books().clone();
            match guard.as_ref() {
                None => Err(SpoolError::Closed { path: self.shared.path.clone() }),
                Some(database) => guarded(&self.shared.path, "write", || {
                    transaction::commit_books(database, &books)
                }),
            }
        };
        self.mend(written).map(|_| ())
    }

    /// Looks at all of the file where a reader found it wanting, and opens it again where it failed.
    fn make_ready(&mut self) -> Result<(), SpoolError> {
        if self.shared.books().is_suspect {
            match self.check() {
                Err(error) if error.asks_to_reopen() => self.drop_database(),
                checked => {
                    self.mend(checked)?;
                }
            }
        }
        if self.shared.database().is_none() {
            let reopened = self.reopen();
            self.mend(reopened)?;
        }
        Ok(())
    }

    /// What follows from an error: the file is closed, to be opened again; where it may be damaged that is done here, and all of
    /// it looked at. None where what was tried may be tried once more.
    fn mend<T>(&mut self, done: Result<T, SpoolError>) -> Result<Option<T>, SpoolError> {
        let error = match done {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        self.was_full = matches!(error, SpoolError::Full { .. });
        if error.asks_to_reopen() {
            self.drop_database();
        }
        if !matches!(error, SpoolError::Damaged { .. }) {
            return Err(error);
        }
        self.drop_database();
        match self.reopen().and_then(|()| self.check()) {
            Err(SpoolError::Damaged { reason, .. }) => self.replace(&reason)?,
            other => other?,
        }
        Ok(None)
    }

    /// Lets the file go, without whatever redb may say to that.
    fn drop_database(&self) {
        let database = self.shared.database_alone().take();
        let _dropped = guarded(&self.shared.path, "close", move || {
            drop(database);
            Ok(())
        });
    }

    fn reopen(&self) -> Result<(), SpoolError> {
        let Shared { path, cipher, .. } = &*self.shared;
        let mut place = self.shared.database_alone();
        let Opened { database, books: mut next, .. } =
            open_and_read(path, &self.options, cipher.as_ref())?;
        let mut books = self.shared.books();
        // Whoever reads goes on reading.
        for (name, cursor) in &books.cursors {
            next.cursors.entry(name.clone()).or_default().clone_from(cursor);
        }
        next.is_over = books.is_over;
        next.has_moved = true;
        *books = next;
        *place = Some(database);
        info!(spool = %path.display(), "spool opened again");
        Ok(())
    }

    /// Looks at every page.
    fn check(&self) -> Result<(), SpoolError> {
        let path = &self.shared.path;
        let mut place = self.shared.database_alone();
        let Some(database) = place.as_mut() else { return Ok(()) };
        let is_whole = guarded(path, "check", || Ok(database.check_integrity()?))?;
        if !is_whole {
            warn!(spool = %path.display(), "the spool's free pages were not what they should be");
        }
        self.shared.books().is_suspect = false;
        Ok(())
    }

    /// Puts a damaged file aside and goes on with a new one.
    fn replace(&mut self, reason: &str) -> Result<(), SpoolError> {
        self.drop_database();
        let Shared { path, cipher, .. } = &*self.shared;
        let mut place = self.shared.database_alone();
        let mut next = self.shared.books().clone();
        let latest = next.ledger.latest;
        set_aside(path, reason, &mut next, Some(latest))?;
        let database = file::open(path, &self.options, cipher.as_ref())?;
        guarded(path, "write", || transaction::commit_books(&database, &next))?;
        *self.shared.books() = next;
        *place = Some(database);
        Ok(())
    }

    /// Makes the file smaller where most of it is empty.
    fn compact(&self) -> Result<(), SpoolError> {
        let shared = &*self.shared;
        let file_bytes = std::fs::metadata(&shared.path).map_or(0, |metadata| metadata.len());
        let used = shared.books().bytes();
        if file_bytes < COMPACT_BYTES_MIN || used > file_bytes / COMPACT_SHARE {
            return Ok(());
        }
        let mut place = shared.database_alone();
        let Some(database) = place.as_mut() else { return Ok(()) };
        let done = guarded(&shared.path, "compact", || match database.compact() {
            // Another time.
            Err(redb::CompactionError::TransactionInProgress) => Ok(false),
            done => Ok(done?),
        });
        done.map(|_| ())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = self.close_file() {
            warn!(%error, "the spool was not closed; sinks get some records again");
        }
    }
}
