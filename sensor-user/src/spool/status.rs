//! How a spool is, for people and monitoring.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::class::ByClass;
use super::file::guarded;
use super::loss::Loss;
use super::read::waiting_since;
use super::shared::Shared;

/// Bytes that `st_blocks` counts in, whatever the file system (inode(7)).
const BLOCK_BYTES: u64 = 512;

/// µs of a second.
const SECOND_US: i64 = 1_000_000;

/// A spool, as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolStatus {
    /// The file.
    pub path: String,
    /// Whether the file can be used. If not, the next batch has it opened again.
    pub open: bool,
    /// Whether records are encrypted.
    pub encrypted: bool,
    /// Number of the last batch.
    pub latest: u64,
    /// Records in the spool, by class.
    pub records: BTreeMap<String, u64>,
    /// Bytes of the file that they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub bytes_max: u64,
    /// Bytes the file has on the disk. It may look larger: what was never written to takes no room.
    pub file_bytes: u64,
    /// Seconds since the oldest was appended; none of an empty spool.
    pub oldest_s: Option<u64>,
    /// Who reads it.
    pub cursors: Vec<CursorStatus>,
    /// Records that were shed, for want of room or for their age, before every sink had them, by class; since the
    /// spool began.
    pub shed: BTreeMap<String, u64>,
    /// Records in chunks that the disk gave back damaged; since the spool began.
    pub damaged: u64,
    /// Files put aside because they could not be read; since the spool began.
    pub put_aside: u64,
}

/// A sink's cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CursorStatus {
    /// Its name.
    pub name: String,
    /// Whether somebody reads with it. If nobody does, it holds what is behind it all the same.
    pub read: bool,
    /// The last batch it acknowledged.
    pub acknowledged: u64,
    /// Records that it has before it. Those in damaged chunks count until they are passed.
    pub behind_records: u64,
    /// Seconds that the first of them has been waiting.
    pub behind_s: u64,
    /// Records that are gone and that it never had, by class; since it began.
    pub lost: BTreeMap<String, u64>,
}

/// Tells how a spool is, beside who writes and who reads.
#[derive(Clone, Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// How it is at a time, µs since 1970.
    pub fn status(&self, now_us: i64) -> SpoolStatus {
        let shared = &*self.shared;
        let books = shared.books().clone();
        let guard = shared.database();
        let since = |acknowledged| {
            let database = guard.as_ref()?;
            // Who cannot be asked now is told of by `open`, or by whoever reads.
            guarded(&shared.path, "read", || waiting_since(database, acknowledged)).ok()?
        };
        let cursors = books.cursors.iter().map(|(name, cursor)| CursorStatus {
            name: name.clone(),
            read: cursor.is_read,
            acknowledged: cursor.acknowledged,
            behind_records: books.behind(cursor).sum(),
            behind_s: since(cursor.acknowledged).map_or(0, |since| seconds(since, now_us)),
            lost: by_name(&cursor.lost),
        });
        let records =
            books.kept.iter().map(|(class, amount)| (class.name().to_owned(), amount.records));
        SpoolStatus {
            path: shared.path.display().to_string(),
            open: guard.is_some(),
            encrypted: shared.cipher.is_some(),
            latest: books.ledger.latest,
            records: records.collect(),
            bytes: books.bytes(),
            bytes_max: shared.bytes_max,
            file_bytes: std::fs::metadata(&shared.path)
                .map_or(0, |file| file.blocks() * BLOCK_BYTES),
            oldest_s: books.oldest.map(|(_, oldest)| seconds(oldest, now_us)),
            cursors: cursors.collect(),
            shed: by_name(&books.ledger.shed),
            damaged: books.ledger.damaged.sum(),
            put_aside: books.ledger.put_aside,
        }
    }

    /// What was given up, as ranges of sequence numbers, oldest first. The list is bounded: where it gets long, old ranges are joined,
    /// and tell fewer records than they span.
    pub fn losses(&self) -> Vec<Loss> {
        self.shared.books().losses.as_slice().to_vec()
    }
}

/// Whole seconds from one time to another, none back.
fn seconds(from_us: i64, to_us: i64) -> u64 {
    u64::try_from(to_us.saturating_sub(from_us) / SECOND_US).unwrap_or(0)
}

fn by_name(counts: &ByClass<u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(class, count)| (class.name().to_owned(), *count)).collect()
}

/// Lines of `status`: what waits, for whom, and what is gone.
impl fmt::Display for SpoolStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, records, bytes, bytes_max, cursors, shed, damaged, put_aside, .. } = self;
        let waiting: u64 = records.values().sum();
        let percent = bytes.saturating_mul(100) / (*bytes_max).max(1);
        let oldest = self.oldest_s.map(|age| format!(", oldest {age} s")).unwrap_or_default();
        let encrypted = if self.encrypted { ", encrypted" } else { "" };
        let closed = if *open { "" } else { ", NOT OPEN" };
        writeln!(f, "spool     {waiting} records, {percent} % full{oldest}{encrypted}{closed}")?;
        for cursor in cursors {
            let CursorStatus { name, read, behind_records, behind_s, lost, .. } = cursor;
            let unread = if *read { "" } else { ", NOBODY READS" };
            writeln!(f, "  {name:22}{behind_records:>12} behind, {behind_s} s{unread}")?;
            let lost: u64 = lost.values().sum();
            if lost > 0 {
                writeln!(f, "    NEVER HAD{lost:>23}")?;
            }
        }
        for (class, count) in shed.iter().filter(|(_, count)| **count != 0) {
            writeln!(f, "  SHED {class:17}{count:>12}")?;
        }
        if *damaged > 0 {
            writeln!(f, "  DAMAGED {damaged:>26}")?;
        }
        if *put_aside > 0 {
            writeln!(f, "  FILES PUT ASIDE {put_aside:>18}")?;
        }
        Ok(())
    }
}
