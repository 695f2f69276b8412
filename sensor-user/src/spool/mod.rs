//! The spool: what stands between the making of records and everyone they go to.
//!
//! A record is on this disk before its flow may leave the kernel's table, and it stays until every sink has acknowledged
//! it, or until there is no more room. One thread appends ([`Spool`]); each sink has a thread, a named cursor and a
//! [`Reader`]; whoever shows what becomes of it has a [`Watch`].
//!
//! ```
//! use std::time::Duration;
//! use sensor_user::spool::{Next, Options, Spool, Start};
//!
//! let dir = tempfile::tempdir()?;
//! let mut spool = Spool::open(Options::new(dir.path()))?;
//! let mut reader = spool.reader("day-store", Start::Oldest)?;
//! // Batches of records are appended here; then nothing more comes, and readers get the rest.
//! spool.finish();
//! while let Next::Batch(batch) = reader.next(Duration::from_secs(1))? {
//!     // Delivered first, acknowledged then.
//!     reader.acknowledge(batch.number);
//! }
//! drop(reader);
//! spool.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Batches and chunks
//!
//! What is appended in one go is a *batch*. It has a number: from 1, without gaps, and never one twice, even when everything
//! has been removed. Its records are split by what they are worth ([`Class`]), and each part is a *chunk* of its own: a
//! header ([`chunk`]) and the records, packed ([`codec`]) and, where there is a key, encrypted ([`cipher`]). So the oldest
//! allowed records can go while the blocked ones of the same batch stay, without a byte being written anew. Who reads
//! a batch gets what is left of it in the order of sequence numbers.
//!
//! # What is on the disk when
//!
//! [`Spool::append`] returns when the batch is on the disk: one transaction of redb, which waits for the disk twice, see
//! [`file::begin_write`]. A crash at any moment leaves what was there before or all of it. After an error the batch may be
//! appended again as it is; in the worst case it is then there under two numbers, and sinks, which know records by
//! `(sensor, boot, sequence)`, take them once.
//!
//! A cursor moves in memory. Where it is goes to the disk with the next append, or by [`Spool::tend`] where none comes. So a
//! crash gives a sink again what it had acknowledged in the last moments, and never passes anything over.
//!
//! # What it costs
//!
//! `cargo xtask bench --spool`, beside a plain file that the same bytes are appended to: in batches of 5,000 a record takes
//! 1.25 µs of CPU to append (1.14 times the file's), 1.6 µs to read (1.08 times), and 56 bytes of the file (1.06 times);
//! encrypted as good as the same. Five batches a second of 25 records each are 2 ms of CPU a second, and 106 bytes a record.
//!
//! # What goes, and in what order
//!
//! - What every cursor has passed is removed, and is no loss. Without any cursor nothing is removed that way.
//! - Over [`Options::bytes_max`], the oldest *allowed* records go, then alerts, then blocked ones; so do records older
//!   than [`Options::days_max`]. That is a loss for the sinks that had not read them: it is counted by class, for each sink,
//!   and kept as ranges of numbers ([`Loss`]), so that whoever misses them at the other end finds out who gave them up.
//!   Age goes by a clock that does not leap ([`crate::store::Today`]).
//! - A chunk that is not what was written (CRC-32, and the tag where it is encrypted) is passed over, counted as damaged and
//!   named by its header, which is kept twice.
//!
//! # How large the file is
//!
//! `bytes_max` is measured in pages: redb gives a value over 4 KiB a run of pages of the next power of two. On the disk the
//! file takes somewhat more, as what is being written and what was just removed has its place beside it: in tests with
//! batches of all sizes 1.08 times as much, and a test holds it to 1.3 times and 4 MiB. It may look twice as large, since redb
//! doubles a file that has to grow; what was never written to takes no room, and [`SpoolStatus::file_bytes`] leaves it out.
//! Places of removed chunks are used again. Where no more than a quarter of a file over 16 MiB is in use it is compacted: there
//! is little left to move then.
//!
//! # When the file fails
//!
//! After an error of the disk redb refuses to go on, so the next append opens the file again. A file that cannot be
//! opened, or whose pages are not what was written, is put aside as `spool.redb.corrupt-1`, never removed; a new one goes on
//! with the next number. What was in the old one is named where its headers are still to be found ([`scan`]). A file of a
//! newer version, with another key or in somebody else's hands stays where it is, and the error says what helps.

mod books;
mod chunk;
mod cipher;
mod class;
mod codec;
mod error;
mod file;
mod loss;
mod open;
mod read;
mod scan;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod transaction;
mod write;

use std::path::{Path, PathBuf};

pub use cipher::{KEY_BYTES, KeyError};
pub use class::{ByClass, Class};
pub use error::SpoolError;
pub use loss::{Loss, Reason};
pub use read::{Batch, Next, Reader};
pub use status::{CursorStatus, SpoolStatus, Watch};
pub use write::Spool;

/// Version of the file: of its tables, of a chunk's header and of what is behind it.
pub const FORMAT: u16 = 1;

/// Cursors of one spool: far more than anybody has sinks. Each is in every transaction.
pub const CURSORS_MAX: usize = 64;

/// Bytes of a cursor's name: that of an export, and what tells it from others.
pub const NAME_BYTES_MAX: usize = 79;

/// Bytes of the file that records may take where nothing else is said, 1 GiB: sixteen million records, more than a
/// campus makes in a day. A receiver that is away over a night loses nothing.
pub const BYTES_MAX: u64 = 1 << 30;

/// Fewest bytes that make sense: some batches of the largest size. What does not fit is shed as soon as it comes.
pub const BYTES_MIN: u64 = 4 << 20;

/// Days that records may wait where nothing else is said: a receiver that is away for longer is not coming back.
pub const DAYS_MAX: u32 = 7;

/// Where a spool is, and how much it may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory of the file `spool.redb`, made where there is none.
    pub dir: PathBuf,
    /// Bytes of the file that records may take; [`BYTES_MIN`] or more.
    pub bytes_max: u64,
    /// Full days before today that records may wait.
    pub days_max: u32,
    /// File with the key: 64 hexadecimal digits, for the owner alone. None: records are not encrypted.
    pub key_file: Option<PathBuf>,
}

impl Options {
    /// With what is kept where nothing else is said, and without encryption.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), bytes_max: BYTES_MAX, days_max: DAYS_MAX, key_file: None }
    }
}

/// Where a cursor begins that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest batch there is.
    Oldest,
    /// Behind the newest: only what is appended from now on.
    Newest,
}
