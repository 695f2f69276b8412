//! The policy's files: opened as regular files of bounded size, with offsets told as lines.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use super::error::{Fault, Place, PolicyError};

/// Bytes of one TOML file: 10,000 local rules with reasons are about 1 MiB.
const TOML_BYTES_MAX: u64 = 4 << 20;

/// A regular file within its limit, and the day it was last written.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) written: Option<Date>,
}

/// Opens a regular file of at most `bytes_max`.
pub(crate) fn open(path: &Path, bytes_max: u64) -> Result<Opened, Fault> {
    // A look before opening: opening a pipe would wait for its writer.
    let unreadable = |error| Fault::Unreadable { path: path.to_path_buf(), error };
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::NotAFile(path.to_path_buf()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() > bytes_max {
        return Err(Fault::TooLarge { path: path.to_path_buf(), max_bytes: bytes_max });
    }
    Ok(Opened { file, written: written(&metadata) })
}

/// The day a file was last written.
pub(crate) fn written(metadata: &Metadata) -> Option<Date> {
    let written = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    written.map(|time| TimeZone::UTC.to_datetime(time).date())
}

/// A TOML file and its text.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    text: String,
}

impl Source {
    /// Reads a whole TOML file.
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let mut text = String::new();
        let read = open(path, TOML_BYTES_MAX)?.file.take(TOML_BYTES_MAX).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(Self { path: path.to_path_buf(), text }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Fault::NotText(path.to_path_buf()))
            }
            Err(error) => Err(Fault::Unreadable { path: path.to_path_buf(), error }),
        }
    }

    /// The text as the schema `T`.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, PolicyError> {
        toml::from_str(&self.text).map_err(|error| {
            let fault = Fault::Toml(shown_message(error.message()));
            match error.span() {
                Some(span) => self.fail(&span, fault),
                None => PolicyError::of_file(&self.path, fault),
            }
        })
    }

    /// A fault at a span of the text.
    pub(crate) fn fail(&self, span: &Range<usize>, fault: Fault) -> PolicyError {
        PolicyError::at_line(&self.path, self.line(span), fault)
    }

    /// Where a span starts.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        Place { file: self.path.clone(), line: Some(self.line(span)) }
    }

    /// The line a span starts at, counted from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> u32 {
        let newlines = self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
        u32::try_from(newlines).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// A path of this file, which is relative to the file's folder.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_path_buf(), |folder| folder.join(path))
    }
}

/// The parser's message on one line; it quotes keys of the file.
fn shown_message(message: &str) -> String {
    message.lines().map(|line| line.replace(char::is_control, "")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_regular_text_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let check = |result: Result<(), Fault>, expected: &str| {
            let fault = result.unwrap_err().to_string();
            assert_eq!(fault.replace(&folder.path().display().to_string(), ""), expected);
        };
        check(open(folder.path(), 9).map(|_| ()), " is no regular file: name a text file");
        fs::write(&path, "0123456789").unwrap();
        assert!(open(&path, 10).is_ok());
        check(open(&path, 9).map(|_| ()), "/file has more than 9 bytes: split it");
        fs::write(&path, b"version = \"\xff\"").unwrap();
        check(Source::read(&path).map(|_| ()), "/file is not UTF-8: save it as UTF-8");
    }

    #[test]
    fn a_parser_message_is_one_line_without_control_characters() {
        assert_eq!(shown_message("a\u{1b}[31m\nb"), "a[31m, b");
    }
}
