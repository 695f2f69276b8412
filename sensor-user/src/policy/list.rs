//! Plain lists: one name a line, `#` starts a comment.
//!
//! A comment line `# date: 2026-01-31` before the first name says how old the list is; without one
//! the file's own time does. A comment line `# source: where from`, and the comment lines behind it,
//! say where the names below it are from, until the next one. A line that is no name refuses the whole
//! list: a list that is half understood blocks half of what its author meant.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::{Fault, PolicyError, shown};
use super::name;
use super::source::Opened;
use crate::progress;

/// Bytes of one list file: the largest public list, 4.6 M names, has about 100 MB.
pub(crate) const LIST_BYTES_MAX: u64 = 256 << 20;

/// Bytes of one line: a name has at most 255, the rest is room for a comment.
const LINE_BYTES_MAX: usize = 1024;

/// Bytes of a list that are read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Sources of one list that are kept; those of further groups of names are the last one kept.
const SOURCES_MAX: usize = 256;

/// Bytes of one source: a sentence or two. The rest is left out.
const SOURCE_BYTES_MAX: usize = 300;

/// Keys of comments that end a source which goes on over lines.
const KEYS: [&str; 3] = ["date:", "licence:", "title:"];

/// What is known of a list beside its names.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// The day its comments name.
    pub(crate) dated: Option<Date>,
    pub(crate) sources: Sources,
    /// SHA-256 of all that was read.
    pub(crate) digest: [u8; 32],
}

/// A file whose digest is reckoned as it is read.
struct Digesting<R> {
    inner: R,
    digest: Sha256,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Where the names of a list are from, by the line from which on that is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sources {
    by_line: Vec<(u32, String)>,
    /// The last one goes on in the next comment line.
    #[serde(skip)]
    open: bool,
}

impl Sources {
    /// The source of the name on a line.
    pub(crate) fn of(&self, line: u32) -> Option<&str> {
        let above = self.by_line.partition_point(|(from, _)| *from <= line);
        self.by_line.get(above.checked_sub(1)?).map(|(_, source)| source.as_str())
    }

    /// Says that a line is no comment.
    const fn end(&mut self) {
        self.open = false;
    }

    fn read(&mut self, line: u32, text: &str) {
        let Some(comment) = text.trim().strip_prefix('#') else { return self.end() };
        let comment = comment.trim();
        if let Some(source) = comment.strip_prefix("source:") {
            self.open = self.by_line.len() < SOURCES_MAX;
            if self.open {
                self.by_line.push((line, printable(source.trim())));
            }
        } else if KEYS.iter().any(|key| comment.starts_with(key)) {
            self.open = false;
        } else if let (true, Some((_, source))) = (self.open, self.by_line.last_mut())
            && source.len() < SOURCE_BYTES_MAX
        {
            source.push(' ');
            source.push_str(&printable(comment));
        }
    }
}

/// A comment as it may be shown: what would steer a terminal is left out.
fn printable(comment: &str) -> String {
    let mut shown: String = comment.chars().filter(|character| !character.is_control()).collect();
    shown.truncate(shown.floor_char_boundary(SOURCE_BYTES_MAX));
    shown
}

/// Reads a list line by line and hands each name with its line to `take`; returns what its comments say.
pub(crate) fn read(
    path: &Path,
    opened: Opened,
    mut take: impl FnMut(&str, u32) -> Result<(), Fault>,
) -> Result<Header, PolicyError> {
    let file = progress::reading(opened.file).take(LIST_BYTES_MAX);
    let file = Digesting { inner: file, digest: Sha256::new() };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut bytes = Vec::with_capacity(LINE_BYTES_MAX);
    let mut dated = None;
    let mut sources = Sources::default();
    let mut names: u32 = 0;
    let mut line: u32 = 0;
    loop {
        // Names that lie in the buffer, each alone on its line: most do.
        let mut used = 0;
        let buffer = reader.fill_buf().unwrap_or_default();
        while let Some((name, bytes)) = name::plain(buffer.get(used..).unwrap_or_default()) {
            line += 1;
            sources.end();
            take(name, line).map_err(|fault| PolicyError::at_line(path, line, fault))?;
            names += 1;
            used += bytes;
        }
        reader.consume(used);
        line += 1;
        let fail = |fault| PolicyError::at_line(path, line, fault);
        bytes.clear();
        // One byte more than a line may have tells a long line from one that just fits.
        (&mut reader)
            .take(LINE_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| fail(Fault::Unreadable { path: path.to_path_buf(), error }))?;
        if bytes.is_empty() {
            break;
        }
        if bytes.len() > LINE_BYTES_MAX {
            return Err(fail(Fault::LineTooLong(LINE_BYTES_MAX)));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_error| fail(Fault::NotUtf8))?;
        if names == 0 {
            dated = dated.or_else(|| date_of(text));
        }
        sources.read(line, text);
        if let Some(name) = name_of(text).map_err(fail)? {
            take(&name, line).map_err(fail)?;
            names += 1;
        }
    }
    Ok(Header { dated, sources, digest: reader.into_inner().digest.finalize().into() })
}

/// The name on a line, if it has one.
fn name_of(line: &str) -> Result<Option<std::borrow::Cow<'_, str>>, Fault> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let text = line.split('#').next().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains(char::is_whitespace) {
        return Err(Fault::MoreThanAName(shown(text)));
    }
    match name::listed(text) {
        Ok(name) => Ok(Some(name)),
        Err(error) => Err(Fault::Name { text: shown(text), error }),
    }
}

/// The day a header comment names.
fn date_of(line: &str) -> Option<Date> {
    line.trim().strip_prefix('#')?.trim_start().strip_prefix("date:")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::source::open;
    use super::*;

    fn check(text: &[u8], expected: Result<&[(&str, u32)], &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        fs::write(&path, text).unwrap();
        let mut names = Vec::new();
        let read = read(&path, open(&path, LIST_BYTES_MAX).unwrap(), |name, line| {
            names.push((name.to_owned(), line));
            Ok(())
        });
        let place = folder.path().display().to_string();
        match (read, expected) {
            (Ok(_), Ok(expected)) => {
                let names: Vec<_> = names.iter().map(|(name, line)| (&**name, *line)).collect();
                assert_eq!(names, expected);
            }
            (Err(error), Err(expected)) => {
                assert_eq!(error.to_string().replace(&place, ""), expected);
            }
            (read, expected) => panic!("{read:?} is not {expected:?}"),
        }
    }

    #[test]
    fn lines_are_names_or_comments() {
        check(b"", Ok(&[]));
        check(b"# only a comment\n\n", Ok(&[]));
        check(b"a.example\r\n\tB.example.  # why\n", Ok(&[("a.example", 1), ("b.example", 2)]));
        check("\u{feff}*.ä.example".as_bytes(), Ok(&[("xn--4ca.example", 1)]));
        let mut longest = format!("a.example #{}", "x".repeat(LINE_BYTES_MAX)).into_bytes();
        longest.truncate(LINE_BYTES_MAX);
        check(&longest, Ok(&[("a.example", 1)]));
    }

    #[test]
    fn a_line_that_is_no_name_refuses_the_list() {
        check(
            b"a.example\n0.0.0.0 b.example\n",
            Err("/list.txt:2: `0.0.0.0 b.example` is more than one name: \
                write one name a line, comments after `#`"),
        );
        check(
            b"# x\n\nhttps://b.example/\n",
            Err("/list.txt:3: `https://b.example/` contains ':': \
                write the bare host name, without scheme, port or path"),
        );
        check(
            b"192.0.2.1.",
            Err("/list.txt:1: `192.0.2.1.` is an address, and not as lists have them: \
                write one such as 192.0.2.7 or 2001:db8::7"),
        );
        check(
            b"a.example\n\xff.example\n",
            Err("/list.txt:2: is not UTF-8: \
                save the file as UTF-8, or write names in their xn-- form"),
        );
        check(
            &[b'a'; LINE_BYTES_MAX + 1],
            Err("/list.txt:1: is longer than 1024 bytes: write one name a line"),
        );
    }

    #[test]
    fn names_are_from_the_source_above_them() {
        let mut sources = Sources::default();
        let list = "none.example\n\
            # A list.\n\
            # source: here,\n\
            #   and \u{1b}[31mthere\n\
            # date: 2026-01-31\n\
            # more\n\
            a.example # source: not this\n\
            # source: elsewhere\n\
            \n\
            # of other things\n\
            b.example\n";
        for (line, text) in (1..).zip(list.lines()) {
            sources.read(line, text);
        }
        assert_eq!(sources.of(1), None);
        assert_eq!(sources.of(7), Some("here, and [31mthere"));
        assert_eq!(sources.of(11), Some("elsewhere"));
        for line in 12..1000 {
            sources.read(line, &format!("# source: {}", "\u{e4}".repeat(500)));
        }
        assert_eq!(sources.by_line.len(), SOURCES_MAX);
        assert!(sources.by_line.iter().all(|(_, source)| source.len() <= SOURCE_BYTES_MAX));
    }

    #[test]
    fn the_header_says_how_old_a_list_is() {
        for (line, expected) in [
            ("# date: 2026-01-31\n", Some("2026-01-31")),
            ("#date:2026-01-31", Some("2026-01-31")),
            ("# date: yesterday", None),
            ("date: 2026-01-31", None),
        ] {
            assert_eq!(date_of(line).map(|date| date.to_string()).as_deref(), expected, "{line}");
        }
    }
}
