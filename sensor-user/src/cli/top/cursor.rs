//! Where a page of sums ended.

use std::fmt::{self, Display};
use std::str::FromStr;

use jiff::{Timestamp, ToSpan as _, Unit};
use serde::{Deserialize, Serialize};

use crate::hex::{hex, unhex};
use crate::store::{TopOrder, TopRow};

/// Where a page ended: the size and the keys of its last row, and when the first page was asked for. Written in
/// hexadecimal, since keys are any text.
///
/// Records that come meanwhile make rows larger and never smaller, so no row is on two pages. One that has grown past the
/// end of a page is on none; where the time ends before now, none does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    asked_us: i64,
    size: (u64, u64),
    keys: Vec<Option<String>>,
    zone: Option<u16>,
}

impl Cursor {
    /// The cursor behind a row.
    pub fn new(asked_at: Timestamp, order: TopOrder, row: &TopRow) -> Self {
        let TopRow { keys, zone, .. } = row;
        let (keys, zone) = (keys.clone(), *zone);
        Self { asked_us: asked_at.as_microsecond(), size: order.size(row), keys, zone }
    }

    /// When the first page was asked for.
    pub fn asked_at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.asked_us).unwrap_or(Timestamp::MAX)
    }

    /// The end of that hour: roll-ups are of hours.
    pub fn until(&self) -> Timestamp {
        let hour = self.asked_at().round(Unit::Hour).unwrap_or(Timestamp::MAX);
        if hour > self.asked_at() { hour } else { hour.checked_add(1.hour()).unwrap_or(hour) }
    }

    /// Whether a row comes behind it.
    pub fn is_before(&self, order: TopOrder, row: &TopRow) -> bool {
        let smaller = self.size.cmp(&order.size(row));
        smaller.then_with(|| (&row.keys, row.zone).cmp(&(&self.keys, self.zone))).is_gt()
    }
}

impl Display for Cursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = serde_json::to_vec(self).map_err(|_no_json| fmt::Error)?;
        to.write_str(&hex(bytes))
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cursor = unhex(text.trim()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        cursor.ok_or("not a cursor; give what the last page said after --after")
    }
}
