//! Lines of a file, however long they are, in constant memory.

use std::io::{self, BufRead, Read as _};

/// Bytes of one line that are read. Filter rules name some hundred sites in their options, and a
/// dnsmasq line may have as many names: both stay below 16 KiB.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// What some editors put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line, without its end, and the first without a byte order mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Its start; the rest was skipped.
    TooLong(&'a [u8]),
}

/// Cuts a reader into lines that end with LF or CR LF, the last one perhaps with nothing.
pub(super) struct Lines<'a> {
    reader: &'a mut dyn BufRead,
    line: Vec<u8>,
    is_first: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(reader: &'a mut dyn BufRead) -> Self {
        Self { reader, line: Vec::new(), is_first: true }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut reader = (&mut *self.reader).take(LINE_BYTES_MAX as u64 + 1);
        let length = reader.read_until(b'\n', &mut self.line)?;
        if length == 0 {
            return Ok(None);
        }
        if std::mem::take(&mut self.is_first) && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        if self.line.ends_with(b"\n") {
            self.line.pop();
            if self.line.ends_with(b"\r") {
                self.line.pop();
            }
        } else if length > LINE_BYTES_MAX {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong(&self.line)));
        }
        Ok(Some(Line::Whole(&self.line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expected: &[Line<'_>]) {
        let mut reader = text;
        let mut lines = Lines::new(&mut reader);
        for line in expected {
            assert_eq!(lines.next().unwrap().as_ref(), Some(line));
        }
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn lines_end_as_they_may() {
        check(b"", &[]);
        check(b"\n\r\n", &[Line::Whole(b""), Line::Whole(b"")]);
        check(b"a\r\nb", &[Line::Whole(b"a"), Line::Whole(b"b")]);
        check(b"a\rb\n\xff\0", &[Line::Whole(b"a\rb"), Line::Whole(b"\xff\0")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let (fits, start) = (&long[1..], &*long);
        check(fits, &[Line::Whole(fits)]);
        check(&[fits, b"\na"].concat(), &[Line::Whole(fits), Line::Whole(b"a")]);
        check(start, &[Line::TooLong(start)]);
        check(&[start, start, b"\na"].concat(), &[Line::TooLong(start), Line::Whole(b"a")]);
    }
}
