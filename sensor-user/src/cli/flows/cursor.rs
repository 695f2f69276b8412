//! Where a page of flows ended.

use std::fmt::{self, Display};
use std::str::FromStr;

use jiff::Timestamp;

use crate::store::Position;

/// Where a page ended, and when the first one was asked for. Written as four numbers parted by dots, which nobody but this
/// program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    asked_at: Timestamp,
    position: Position,
}

impl Cursor {
    /// The cursor behind a record.
    pub const fn new(asked_at: Timestamp, position: Position) -> Self {
        Self { asked_at, position }
    }

    /// When the first page was asked for.
    pub const fn asked_at(self) -> Timestamp {
        self.asked_at
    }

    /// The last record of the page.
    pub const fn position(self) -> Position {
        self.position
    }
}

impl Display for Cursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { end_us, origin, sequence } = self.position;
        write!(to, "{}.{end_us}.{origin}.{sequence}", self.asked_at.as_microsecond())
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or("not a cursor; give what the last page said after --after")
    }
}

fn read(text: &str) -> Option<Cursor> {
    let mut parts = text.trim().split('.');
    let asked_at = Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?;
    let end_us = parts.next()?.parse().ok()?;
    let origin = parts.next()?.parse().ok()?;
    let sequence = parts.next()?.parse().ok()?;
    let cursor = Cursor::new(asked_at, Position { end_us, origin, sequence });
    parts.next().is_none().then_some(cursor)
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for text in ["1773144000000000.1773143999000000.1.18446744073709551615", "0.-1.7.0"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        for text in
            ["", "1", "1.2.3", "1.2.3.4.5", "a.2.3.4", "9999999999999999999.2.3.4", "1.2.3.-4"]
        {
            let error = text.parse::<Cursor>().unwrap_err();
            assert!(error.contains("give what the last page said"), "{text}");
        }
    }
}
