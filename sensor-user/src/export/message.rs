//! What a format makes of records, whatever carries it.

use std::time::Instant;

use crate::record::Record;

/// One write or datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// As it goes out.
    pub bytes: Vec<u8>,
    /// Leading records that are done with when it is out: none where it is a part of the first.
    pub records: usize,
}

/// A format. It does not know where records come from nor where messages go.
pub trait Encoder: Send {
    /// Whoever receives from now on has received nothing yet.
    fn restart(&mut self) {}

    /// What a receiver must have before the next message, where anything is due.
    fn opening(&mut self, _now: Instant) -> Option<Message> {
        None
    }

    /// The next message, of as many leading records as go into it. There is at least one record.
    fn message(&mut self, records: &[&Record]) -> Message;
}

/// The longest text of some cuts that fits: whole, then with each of its values cut to ever fewer bytes. The last cut is
/// taken as it is, so it must fit whatever the values are.
pub(super) fn fitted(room: usize, cuts: &[usize], write: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut written = write(usize::MAX);
    for cut in cuts {
        if written.len() <= room {
            break;
        }
        written = write(*cut);
    }
    written
}

/// The front of a text that has at most so many bytes. Values are visible ASCII; others are cut at a character.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{cut, fitted};

    #[test]
    fn the_longest_that_fits_is_taken() {
        let text = "a".repeat(300);
        let check = |room, length| {
            let written = fitted(room, &[200, 50], |bytes| cut(&text, bytes).as_bytes().to_vec());
            assert_eq!(written.len(), length, "{room}");
        };
        check(1000, 300);
        check(300, 300);
        check(299, 200);
        check(199, 50);
        check(10, 50);
    }

    #[test]
    fn characters_stay_whole() {
        assert_eq!(cut("b\u{fc}cher", 2), "b");
        assert_eq!(cut("b\u{fc}cher", 3), "b\u{fc}");
        assert_eq!(cut("b", 9), "b");
        assert_eq!(cut("", 0), "");
    }
}
