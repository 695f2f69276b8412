//! A table kept in a file, so that a start need not make it again.
//!
//! Words of eight bytes, little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 8 | [`VERSION`] |
//! | 16 | lines that follow |
//! | 24 | sum of the other words of this line and of all that follow |
//! | 32 | 0 |
//! | 64 | the table's lines, as `sensor_ebpf::table` says |
//!
//! The table has its key, so the file is made readable for its owner alone. It is written beside its place and then
//! renamed. What a power cut leaves of it, its sum tells: then it is made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sensor_ebpf::abi::table::{Head, Line};

use super::Image;
use crate::sum::Sum;

/// Version of the file: raised when the file, the table or the hash changes.
pub const VERSION: u64 = 2;

/// The first word.
const MAGIC: u64 = u64::from_le_bytes(*b"cs-names");

/// Lines of the largest file that is read: tables of sixty million names have fewer.
const LINES_MAX: u64 = 1 << 23;

/// Bytes read or written in one call.
const CHUNK: usize = 1 << 18;

/// Bytes of a line.
const LINE: usize = size_of::<Line>();

/// Why a table was not read from a file or written to it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is the matter.
    #[source]
    pub fault: FileFault,
}

/// What is the matter with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// Refused by the system.
    #[error("cannot {operation} ({source})")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not begin like one.
    #[error("is no table of names; remove it, it is made again")]
    NoTable,
    /// Written by another version.
    #[error("is of version {0}, this build reads {VERSION}; remove it, it is made again")]
    OtherVersion(u64),
    /// Shorter or longer than it says.
    #[error("has {found} bytes and should have {expected}; remove it, it is made again")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes by its first line.
        expected: u64,
    },
    /// Its sum is another one.
    #[error("was changed since it was written; remove it, it is made again")]
    Changed,
}

/// The file's first line, the sum apart.
const fn opening(lines: u64) -> Line {
    Line { words: [MAGIC, VERSION, lines, 0, 0, 0, 0, 0] }
}

impl Image {
    /// Writes the table to a file, over one that is there.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let beside = path.with_extension("new");
        let written = self.write_to(&beside).and_then(|()| {
            fs::rename(&beside, path).map_err(|source| system("rename to it", source))
        });
        written.map_err(|fault| FileError { path: path.to_owned(), fault })
    }

    fn write_to(&self, path: &Path) -> Result<(), FileFault> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path).map_err(|source| system("create", source))?;
        let mut first = opening(self.lines.len() as u64);
        let mut sum = Sum::default();
        sum.add(&first.words);
        self.lines.iter().for_each(|line| sum.add(&line.words));
        if let Some(word) = first.words.get_mut(3) {
            *word = sum.total();
        }
        let mut out = BufWriter::with_capacity(CHUNK, file);
        let mut all = std::iter::once(&first).chain(&self.lines);
        all.try_for_each(|line| out.write_all(&bytes_of(line)))
            .and_then(|()| out.flush())
            .map_err(|source| system("write", source))
    }

    /// Reads a table from a file that [`Image::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        read_from(path).map_err(|fault| FileError { path: path.to_owned(), fault })
    }
}

fn read_from(path: &Path) -> Result<Image, FileFault> {
    let file = File::open(path).map_err(|source| system("open", source))?;
    let found = file.metadata().map_err(|source| system("look at", source))?.len();
    let mut file = BufReader::with_capacity(CHUNK, file);
    let mut next = || {
        let mut bytes = [0; LINE];
        file.read_exact(&mut bytes).map_err(|source| system("read", source))?;
        Ok(line_of(&bytes))
    };
    if found < LINE as u64 {
        return Err(FileFault::NoTable);
    }
    let first = next()?;
    let [magic, version, count, written, ..] = first.words;
    if magic != MAGIC {
        return Err(FileFault::NoTable);
    }
    if version != VERSION {
        return Err(FileFault::OtherVersion(version));
    }
    let expected = count.saturating_add(1).saturating_mul(LINE as u64);
    if found != expected || count > LINES_MAX {
        return Err(FileFault::Size { found, expected });
    }
    let mut sum = Sum::default();
    let [.., a, b, c, d] = first.words;
    sum.add(&[magic, version, count, 0, a, b, c, d]);
    let mut lines = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for _ in 0..count {
        let line = next()?;
        sum.add(&line.words);
        lines.push(line);
    }
    let head = lines.first().map(Head::of).ok_or(FileFault::NoTable)?;
    if sum.total() != written || head.buckets == 0 || head.lines() != count {
        return Err(FileFault::Changed);
    }
    Ok(Image { lines, head })
}

fn bytes_of(line: &Line) -> [u8; LINE] {
    let mut bytes = [0; LINE];
    for (to, word) in bytes.chunks_exact_mut(8).zip(line.words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn line_of(bytes: &[u8; LINE]) -> Line {
    let mut line = Line::default();
    for (word, from) in line.words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*from);
    }
    line
}

fn system(operation: &'static str, source: io::Error) -> FileFault {
    FileFault::System { operation, source }
}
