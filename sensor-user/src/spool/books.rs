//! What is in the spool, who has read how far, and what was lost: kept in memory, and written with every transaction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::chunk::{HEADER_BYTES, Header};
use super::class::{ByClass, Class};
use super::loss::{Loss, Losses, Reason};

/// Bytes of a page of the file. A larger value takes as many pages as the next power of two.
const PAGE_BYTES: u64 = 4_096;

/// Bytes a chunk takes beside itself: two keys, the header's copy, and its share of the pages above.
const CHUNK_OVERHEAD: u64 = 2 * (9 + 8) + HEADER_BYTES as u64;

/// The durable part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ledger {
    /// Number of the last batch.
    pub(super) latest: u64,
    /// The last record, by boot id and sequence number.
    pub(super) newest: Option<(String, u64)>,
    /// Records appended.
    pub(super) totals: ByClass<u64>,
    /// How many there were with the last chunk that is no longer here, whatever became of it.
    pub(super) gone: ByClass<u64>,
    /// Records shed that not every sink had.
    pub(super) shed: ByClass<u64>,
    /// Records in chunks that were damaged.
    pub(super) damaged: ByClass<u64>,
    /// Files put aside.
    pub(super) put_aside: u64,
}

/// How far a sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cursor {
    /// The last batch it acknowledged.
    pub(super) acknowledged: u64,
    /// Records appended until after that.
    pub(super) passed: ByClass<u64>,
    /// Records that are gone and that it never had.
    pub(super) lost: ByClass<u64>,
    /// Somebody reads with it.
    #[serde(skip)]
    pub(super) is_read: bool,
}

/// What there is of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) chunks: u64,
    pub(super) records: u64,
    /// Bytes of the file.
    pub(super) bytes: u64,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    pub(super) cursors: BTreeMap<String, Cursor>,
    pub(super) losses: Losses,
    pub(super) kept: ByClass<Amount>,
    /// Number of the oldest batch that something is left of, and when it was appended, µs since 1970.
    pub(super) oldest: Option<(u64, i64)>,
    /// Chunks that a reader found damaged and that are still here, with the sinks that did not have them before.
    pub(super) damaged: BTreeMap<(Class, u64), Vec<String>>,
    /// A cursor moved since the last transaction.
    pub(super) has_moved: bool,
    /// A reader met pages that are no longer what they were.
    pub(super) is_suspect: bool,
    /// Nothing more is appended.
    pub(super) is_over: bool,
}

impl Books {
    /// The last batch that every sink has; None where there is no sink.
    pub(super) fn floor(&self) -> Option<u64> {
        self.cursors.values().map(|cursor| cursor.acknowledged).min()
    }

    /// Whether something is here that every sink has.
    pub(super) fn has_passed(&self) -> bool {
        self.oldest.is_some_and(|(batch, _)| self.floor() >= Some(batch))
    }

    /// Bytes of the file that chunks take.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.iter().map(|(_, amount)| amount.bytes).sum()
    }

    /// Records that are here.
    pub(super) fn records(&self) -> u64 {
        self.kept.iter().map(|(_, amount)| amount.records).sum()
    }

    /// A chunk that came.
    pub(super) fn add(&mut self, header: &Header) {
        let amount = self.kept.of_mut(header.class);
        amount.chunks += 1;
        amount.records += u64::from(header.records);
        amount.bytes += bytes_of(header);
    }

    /// A chunk that goes.
    pub(super) fn remove(&mut self, header: &Header) {
        let amount = self.kept.of_mut(header.class);
        amount.chunks = amount.chunks.saturating_sub(1);
        amount.records = amount.records.saturating_sub(u64::from(header.records));
        amount.bytes = amount.bytes.saturating_sub(bytes_of(header));
    }

    /// A chunk that goes as the oldest of its class.
    pub(super) fn remove_oldest(&mut self, header: &Header) {
        self.remove(header);
        let gone = self.ledger.gone.of_mut(header.class);
        *gone = (*gone).max(*header.totals.of(header.class));
    }

    /// A chunk that was shed before every sink had it. One that is acknowledged in that very moment counts as lost too.
    pub(super) fn shed(&mut self, header: &Header, reason: Reason) {
        let (class, records) = (header.class, u64::from(header.records));
        *self.ledger.shed.of_mut(class) += records;
        self.losses.add(Loss::of(header, reason));
        for cursor in self.cursors.values_mut().filter(|one| one.acknowledged < header.batch) {
            *cursor.lost.of_mut(class) += records;
        }
    }

    /// Notes that a chunk is damaged, and who did not have it before; whether that is news.
    pub(super) fn find_damaged(&mut self, class: Class, batch: u64) -> bool {
        let lacking = self.cursors.iter().filter(|(_, cursor)| cursor.acknowledged < batch);
        let lacking = lacking.map(|(name, _)| name.clone()).collect();
        let is_news = !self.damaged.contains_key(&(class, batch));
        self.damaged.entry((class, batch)).or_insert(lacking);
        is_news
    }

    /// A damaged chunk that those never had.
    pub(super) fn lose_damaged(&mut self, header: &Header, lacking: &[String]) {
        let (class, records) = (header.class, u64::from(header.records));
        *self.ledger.damaged.of_mut(class) += records;
        self.losses.add(Loss::of(header, Reason::Damage));
        for name in lacking {
            if let Some(cursor) = self.cursors.get_mut(name) {
                *cursor.lost.of_mut(class) += records;
            }
        }
    }

    /// Takes over what readers did while a transaction went from `before` to what is here.
    pub(super) fn merge(&mut self, before: &Self, now: &Self) {
        for (name, cursor) in &mut self.cursors {
            let (Some(before), Some(now)) = (before.cursors.get(name), now.cursors.get(name))
            else {
                continue;
            };
            if now.acknowledged > cursor.acknowledged {
                (cursor.acknowledged, cursor.passed) = (now.acknowledged, now.passed);
                self.has_moved = true;
            }
            for (class, lost) in now.lost.iter() {
                *cursor.lost.of_mut(class) += lost.saturating_sub(*before.lost.of(class));
            }
            cursor.is_read = now.is_read;
        }
        let found = now.damaged.iter().filter(|(chunk, _)| !before.damaged.contains_key(chunk));
        self.damaged.extend(found.map(|(chunk, lacking)| (*chunk, lacking.clone())));
        self.is_suspect |= now.is_suspect;
        self.is_over |= now.is_over;
    }

    /// Records that a sink has before it. One that is damaged counts until it is passed.
    pub(super) fn behind(&self, cursor: &Cursor) -> ByClass<u64> {
        let Ledger { totals, gone, .. } = &self.ledger;
        let mut behind = ByClass::default();
        for (class, total) in totals.iter() {
            let had = (*cursor.passed.of(class)).max(*gone.of(class));
            *behind.of_mut(class) = total.saturating_sub(had);
        }
        behind
    }

    /// Everything in the file is gone with it.
    pub(super) fn empty(&mut self) {
        self.ledger.gone = self.ledger.totals;
        (self.kept, self.oldest) = (ByClass::default(), None);
        self.damaged.clear();
        self.is_suspect = false;
    }
}

/// Bytes of the file that a chunk takes.
fn bytes_of(header: &Header) -> u64 {
    let bytes = HEADER_BYTES as u64 + u64::from(header.payload_bytes) + CHUNK_OVERHEAD;
    if bytes <= PAGE_BYTES { bytes } else { bytes.next_power_of_two() }
}
