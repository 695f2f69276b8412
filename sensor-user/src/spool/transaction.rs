//! One transaction: a batch comes, and what has had its time goes.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use redb::{Database, ReadableTable as _, Table, WriteTransaction};

use super::books::Books;
use super::chunk::{Header, Sealed};
use super::class::Class;
use super::codec::Shape;
use super::file::{
    CHUNKS, CURSORS, HEADERS, LEDGER, LOSSES, Redb, SHAPES, STATE, begin_write, encoded,
};
use super::loss::Reason;

/// Chunks removed in one transaction: an append that follows a long backlog, or a smaller bound, is to take milliseconds all
/// the same. What is left goes with the next ones, which bring three chunks each.
const REMOVED_MAX: usize = 512;

/// What bounds the spool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    /// Chunks of days before this one are too old.
    oldest_day: Option<Date>,
}

impl Bounds {
    /// As of a day.
    pub(super) fn of(bytes_max: u64, days_max: u32, today: Date) -> Self {
        // A bound beyond the calendar keeps everything.
        Self { bytes_max, oldest_day: today.checked_sub(i64::from(days_max).days()).ok() }
    }

    /// Whether what was appended then is.
    pub(super) fn is_too_old(&self, appended_us: i64) -> bool {
        self.oldest_day.is_some_and(|oldest| day_of(appended_us) < oldest)
    }
}

/// UTC day of a time, µs since 1970; what no calendar has is the first.
pub(super) fn day_of(time_us: i64) -> Date {
    let time = Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::MIN);
    time.to_zoned(TimeZone::UTC).date()
}

/// Commits a batch, or none, and keeps to the bounds. `books` are then as the file is; after an error they are neither.
pub(super) fn commit(
    database: &Database,
    books: &mut Books,
    chunks: &[Sealed],
    shape: &Shape,
    bounds: Bounds,
) -> Redb<()> {
    let write = begin_write(database)?;
    for sealed in chunks {
        books.add(&sealed.header);
    }
    let mut tables = Tables::open(&write)?;
    for Sealed { header, bytes } in chunks {
        let key = (header.class.number(), header.batch);
        tables.chunks.insert(key, bytes.as_slice())?;
        tables.headers.insert(key, Sealed::header_of(bytes))?;
    }
    tables.remove_passed(books)?;
    tables.remove_damaged(books)?;
    tables.shed(books, bounds)?;
    books.oldest = tables.first_batch()?;
    drop(tables);
    if !chunks.is_empty() {
        let mut shapes = write.open_table(SHAPES)?;
        if shapes.get(shape.id())?.is_none() {
            shapes.insert(shape.id(), shape.text().as_str())?;
        }
    }
    write_books(&write, books)?;
    write.commit()?;
    books.has_moved = false;
    Ok(())
}

/// Commits the books alone.
pub(super) fn commit_books(database: &Database, books: &Books) -> Redb<()> {
    let write = begin_write(database)?;
    write_books(&write, books)?;
    Ok(write.commit()?)
}

fn write_books(write: &WriteTransaction, books: &Books) -> Redb<()> {
    let mut state = write.open_table(STATE)?;
    let losses = encoded(&books.losses);
    let is_known = state.get(LOSSES)?.is_some_and(|known| known.value() == losses.as_slice());
    if !is_known {
        state.insert(LOSSES, losses.as_slice())?;
    }
    state.insert(LEDGER, encoded(&books.ledger).as_slice())?;
    state.insert(CURSORS, encoded(&books.cursors).as_slice())?;
    Ok(())
}

type Chunks<'a> = Table<'a, (u8, u64), &'static [u8]>;

/// The tables of chunks, which change together.
struct Tables<'a> {
    chunks: Chunks<'a>,
    headers: Chunks<'a>,
    removed: usize,
}

impl<'a> Tables<'a> {
    fn open(write: &'a WriteTransaction) -> Redb<Self> {
        let (chunks, headers) = (write.open_table(CHUNKS)?, write.open_table(HEADERS)?);
        Ok(Self { chunks, headers, removed: 0 })
    }

    /// Removes what every sink has.
    fn remove_passed(&mut self, books: &mut Books) -> Redb<()> {
        let Some(floor) = books.floor() else { return Ok(()) };
        for class in Class::ALL {
            while let Some(oldest) = self.oldest(*class)?.filter(|oldest| oldest.batch <= floor) {
                if !self.may_remove() {
                    return Ok(());
                }
                if let Some(header) = self.remove(*class, oldest)? {
                    books.remove_oldest(&header);
                }
            }
        }
        Ok(())
    }

    /// Removes what readers found damaged.
    fn remove_damaged(&mut self, books: &mut Books) -> Redb<()> {
        while let Some(((class, batch), lacking)) = books.damaged.pop_first() {
            if let Some(header) = self.remove(class, Oldest { batch, header: None })? {
                books.remove(&header);
                books.lose_damaged(&header, &lacking);
            }
        }
        Ok(())
    }

    /// Removes what is too old, then what there is no room for.
    fn shed(&mut self, books: &mut Books, bounds: Bounds) -> Redb<()> {
        for class in Class::ALL {
            while let Some(oldest) = self.oldest(*class)? {
                let header = oldest.header.as_ref();
                let is_too_old = header.is_some_and(|one| bounds.is_too_old(one.appended_us));
                if !is_too_old || !self.may_remove() {
                    break;
                }
                self.shed_one(books, *class, oldest, Reason::Age)?;
            }
        }
        for class in Class::ALL {
            while books.bytes() > bounds.bytes_max
                && let Some(oldest) = self.oldest(*class)?
            {
                if !self.may_remove() {
                    return Ok(());
                }
                self.shed_one(books, *class, oldest, Reason::Size)?;
            }
        }
        Ok(())
    }

    fn shed_one(
        &mut self,
        books: &mut Books,
        class: Class,
        oldest: Oldest,
        reason: Reason,
    ) -> Redb<()> {
        if let Some(header) = self.remove(class, oldest)? {
            books.remove_oldest(&header);
            // What every sink has is no loss, even if it had no time to be removed.
            if books.floor().is_none_or(|floor| header.batch > floor) {
                books.shed(&header, reason);
            }
        }
        Ok(())
    }

    const fn may_remove(&self) -> bool {
        self.removed < REMOVED_MAX
    }

    fn oldest(&self, class: Class) -> Redb<Option<Oldest>> {
        let number = class.number();
        let mut of_class = self.headers.range((number, 0)..=(number, u64::MAX))?;
        let Some(first) = of_class.next() else { return Ok(None) };
        let (key, header) = first?;
        Ok(Some(Oldest { batch: key.value().1, header: Header::decode(header.value()) }))
    }

    /// The header of a chunk, from either of its places.
    fn header(&self, class: Class, batch: u64) -> Redb<Option<Header>> {
        let key = (class.number(), batch);
        let header = self.headers.get(key)?.and_then(|bytes| Header::decode(bytes.value()));
        if header.is_some() {
            return Ok(header);
        }
        Ok(self.chunks.get(key)?.and_then(|bytes| Header::decode(bytes.value())))
    }

    /// Removes a chunk and tells what it was. Without either header nobody knows: then the books are right again at the next
    /// start.
    fn remove(&mut self, class: Class, chunk: Oldest) -> Redb<Option<Header>> {
        let key = (class.number(), chunk.batch);
        let header = match chunk.header {
            Some(header) => Some(header),
            None => self.header(class, chunk.batch)?,
        };
        let had_header = self.headers.remove(key)?.is_some();
        let was_there = self.chunks.remove(key)?.is_some() || had_header;
        self.removed += 1;
        Ok(header.filter(|_| was_there))
    }

    /// The oldest batch that something is left of, and when it was appended.
    fn first_batch(&self) -> Redb<Option<(u64, i64)>> {
        let mut first = None;
        for class in Class::ALL {
            let appended = self.oldest(*class)?.and_then(|one| one.header);
            let of_class = appended.map(|header| (header.batch, header.appended_us));
            first = [first, of_class].into_iter().flatten().min();
        }
        Ok(first)
    }
}

/// The first chunk of a class, with its header where that can be read.
struct Oldest {
    batch: u64,
    header: Option<Header>,
}
