//! The reading side: one sink's cursor.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, ReadOnlyTable, ReadableDatabase as _};
use tracing::warn;

use super::SpoolError;
use super::chunk::{self, Header};
use super::class::{ByClass, Class};
use super::codec::{Shape, Unpacked};
use super::file::{CHUNKS, HEADERS, Redb, SHAPES, guarded};
use super::shared::Shared;
use crate::record::Record;

/// Longest wait for a file that failed: whoever appends opens it again.
const CLOSED_WAIT: Duration = Duration::from_millis(100);

/// Records that were appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number. What is acknowledged.
    pub number: u64,
    /// When it was appended, µs since 1970.
    pub appended_us: i64,
    /// What is left of it, in the order of sequence numbers; never empty.
    pub records: Vec<Record>,
}

/// What a reader has next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A batch.
    Batch(Batch),
    /// Nothing within the time.
    Nothing,
    /// Nothing any more: the spool has ended. All of it is read, unless it was closed before.
    Ended,
}

/// Reads for one sink. There is one for each cursor.
///
/// Several batches may be read ahead of what is acknowledged.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    name: String,
    /// The last batch that was read, or that there is nothing left of.
    position: u64,
    /// Batches read and not acknowledged: number, and records appended until after each.
    ahead: VecDeque<(u64, ByClass<u64>)>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let mut reader =
            Self { shared, name: name.to_owned(), position: 0, ahead: VecDeque::new() };
        reader.rewind();
        reader
    }

    /// The name of its cursor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next batch, waiting for one if there is none.
    ///
    /// A chunk that is damaged is left out and counted. After an error the same batch comes next.
    pub fn next(&mut self, timeout: Duration) -> Result<Next, SpoolError> {
        let until = Instant::now() + timeout;
        loop {
            let (latest, is_over) = {
                let books = self.shared.books();
                (books.ledger.latest, books.is_over)
            };
            if latest > self.position {
                match self.read_next(latest) {
                    Ok(Some(batch)) => return Ok(Next::Batch(batch)),
                    Ok(None) => continue,
                    // What is left is there at the next start.
                    Err(SpoolError::Closed { .. }) if is_over => return Ok(Next::Ended),
                    Err(SpoolError::Closed { .. }) => {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Ok(Next::Nothing);
                        }
                        std::thread::sleep(left.min(CLOSED_WAIT));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            if is_over {
                return Ok(Next::Ended);
            }
            let books = self.shared.books();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Nothing);
            }
            let position = self.position;
            let waited = self.shared.news().wait_timeout_while(books, left, |books| {
                books.ledger.latest <= position && !books.is_over
            });
            drop(waited);
        }
    }

    /// Says that a batch and all before it are where they should be: they need not be kept for this sink. Of what was not
    /// read nothing can be acknowledged.
    pub fn acknowledge(&mut self, batch: u64) {
        let mut reached = None;
        while self.ahead.front().is_some_and(|(number, _)| *number <= batch) {
            reached = self.ahead.pop_front();
        }
        let Some((number, totals)) = reached else { return };
        let mut books = self.shared.books();
        if let Some(cursor) = books.cursors.get_mut(&self.name)
            && number > cursor.acknowledged
        {
            (cursor.acknowledged, cursor.passed) = (number, totals);
            books.has_moved = true;
        }
    }

    /// Goes back to what is not acknowledged: it is read again.
    pub fn rewind(&mut self) {
        self.ahead.clear();
        let books = self.shared.books();
        self.position = books.cursors.get(&self.name).map_or(0, |cursor| cursor.acknowledged);
    }

    /// The first batch behind the position that there is something of; `latest` is known to have been appended.
    fn read_next(&mut self, latest: u64) -> Result<Option<Batch>, SpoolError> {
        let found = {
            let shared = &*self.shared;
            let guard = shared.database();
            let database =
                guard.as_ref().ok_or_else(|| SpoolError::Closed { path: shared.path.clone() })?;
            guarded(&shared.path, "read", || find(database, self.position, &shared.shape))
                // Whoever writes looks at all of it before the next batch, and opens it again where it must be.
                .inspect_err(|_| shared.books().is_suspect = true)?
        };
        let Some(Found { number, chunks }) = found else {
            // All up to there is gone.
            self.position = latest;
            return Ok(None);
        };
        let batch = self.open(number, &chunks);
        self.position = number;
        Ok(batch)
    }

    /// Puts a batch together; None where nothing of it can be read.
    fn open(&mut self, number: u64, chunks: &[Chunk]) -> Option<Batch> {
        let mut records = Vec::new();
        let mut known = None;
        for chunk in chunks {
            let Chunk { class, header, .. } = chunk;
            if let Some(header) = header {
                known = Some((header.appended_us, header.totals));
            }
            let opened = chunk.open(&self.shared);
            let mut books = self.shared.books();
            match opened {
                Some(unpacked) => {
                    if unpacked.foreign > 0 {
                        let records = unpacked.foreign;
                        warn!(
                            batch = number,
                            records,
                            "records of a newer version, with values unknown here, are left out"
                        );
                        if let Some(cursor) = books.cursors.get_mut(&self.name) {
                            *cursor.lost.of_mut(*class) += records;
                        }
                    }
                    records.extend(unpacked.records);
                }
                None => {
                    if books.find_damaged(*class, number) {
                        warn_of_damage(&self.shared.path, number, *class, header.as_ref());
                    }
                }
            }
        }
        if let Some((_, totals)) = known {
            self.ahead.push_back((number, totals));
        }
        records.sort_by_key(|record| record.sequence);
        let (appended_us, _) = known?;
        (!records.is_empty()).then_some(Batch { number, appended_us, records })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(cursor) = self.shared.books().cursors.get_mut(&self.name) {
            cursor.is_read = false;
        }
    }
}

fn warn_of_damage(path: &Path, batch: u64, class: Class, header: Option<&Header>) {
    let (first, last) = header.map_or((0, 0), |header| (header.first, header.last));
    let class = class.name();
    warn!(spool = %path.display(), batch, class, first, last, "a damaged chunk is left out");
}

/// A batch as it lies in the file.
struct Found {
    number: u64,
    chunks: Vec<Chunk>,
}

struct Chunk {
    class: Class,
    header: Option<Header>,
    bytes: Vec<u8>,
    shape: Shape,
}

impl Chunk {
    /// The records; nothing where it is damaged.
    fn open(&self, shared: &Shared) -> Option<Unpacked> {
        let header = self.header.as_ref()?;
        chunk::open(&self.bytes, header, &self.shape, shared.cipher.as_ref())
    }
}

/// The newest records, so many and the rest of their batches, in no order. What is damaged is left out: who reads it says so.
pub(super) fn newest(shared: &Shared, records: usize) -> Result<Vec<Record>, SpoolError> {
    let guard = shared.database();
    let database =
        guard.as_ref().ok_or_else(|| SpoolError::Closed { path: shared.path.clone() })?;
    let mut found = Vec::new();
    guarded(&shared.path, "read", || {
        let tables = Tables::open(database)?;
        for class in Class::ALL {
            let before = found.len();
            let mut batches =
                tables.headers.range((class.number(), 0)..=(class.number(), u64::MAX))?;
            while found.len() - before < records
                && let Some((key, _)) = batches.next_back().transpose()?
            {
                let Some(chunk) = tables.chunk(*class, key.value().1, &shared.shape)? else {
                    continue;
                };
                found.extend(chunk.open(shared).into_iter().flat_map(|unpacked| unpacked.records));
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// The first batch behind a number, with all chunks of it that are there.
fn find(database: &Database, position: u64, own: &Shape) -> Redb<Option<Found>> {
    let tables = Tables::open(database)?;
    let mut next = None;
    for class in Class::ALL {
        let first = first_after(&tables.headers, *class, position)?;
        next = [next, first].into_iter().flatten().min();
    }
    let Some(number) = next else { return Ok(None) };
    let mut found = Found { number, chunks: Vec::new() };
    for class in Class::ALL {
        found.chunks.extend(tables.chunk(*class, number, own)?);
    }
    Ok(Some(found))
}

/// The tables, as they are at one moment.
struct Tables {
    chunks: ReadOnlyTable<(u8, u64), &'static [u8]>,
    headers: ReadOnlyTable<(u8, u64), &'static [u8]>,
    shapes: ReadOnlyTable<u32, &'static str>,
}

impl Tables {
    fn open(database: &Database) -> Redb<Self> {
        let read = database.begin_read()?;
        let (chunks, headers) = (read.open_table(CHUNKS)?, read.open_table(HEADERS)?);
        Ok(Self { chunks, headers, shapes: read.open_table(SHAPES)? })
    }

    /// What a batch has of a class.
    fn chunk(&self, class: Class, number: u64, own: &Shape) -> Redb<Option<Chunk>> {
        let key = (class.number(), number);
        let Some(header) = self.headers.get(key)? else { return Ok(None) };
        let bytes = self.chunks.get(key)?.map(|bytes| bytes.value().to_vec()).unwrap_or_default();
        let header = Header::decode(header.value()).or_else(|| Header::decode(&bytes));
        if let Some(header) = &header {
            header.is_under(class.number(), number)?;
        }
        let shape = match &header {
            Some(header) if header.shape != own.id() => {
                let text = self.shapes.get(header.shape)?;
                text.map_or_else(|| own.clone(), |text| Shape::of_text(text.value()))
            }
            Some(_) | None => own.clone(),
        };
        Ok(Some(Chunk { class, header, bytes, shape }))
    }
}

/// The first batch behind a number that has a chunk of a class.
fn first_after(
    headers: &ReadOnlyTable<(u8, u64), &'static [u8]>,
    class: Class,
    position: u64,
) -> Redb<Option<u64>> {
    let number = class.number();
    let Some(from) = position.checked_add(1) else { return Ok(None) };
    let mut behind = headers.range((number, from)..=(number, u64::MAX))?;
    Ok(behind.next().transpose()?.map(|(key, _)| key.value().1))
}

/// When the first batch behind a number was appended.
pub(super) fn waiting_since(database: &Database, position: u64) -> Redb<Option<i64>> {
    let read = database.begin_read()?;
    let headers = read.open_table(HEADERS)?;
    let mut since = None;
    for class in Class::ALL {
        if let Some(batch) = first_after(&headers, *class, position)?
            && let Some(header) = headers.get((class.number(), batch))?
        {
            let appended = Header::decode(header.value()).map(|header| header.appended_us);
            since = [since, appended].into_iter().flatten().min();
        }
    }
    Ok(since)
}
