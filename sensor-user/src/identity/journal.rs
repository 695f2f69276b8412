//! What is known of devices in a file: a line for each fact and each amendment, the last of a fact's number counts, and
//! no more lines than twice what is kept.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::amend::Amendment;
use super::directory::AMENDMENTS_MAX;
use super::fact::Fact;
use super::store::{Changes, Store};
use super::table::{FACTS_MAX, Kept};

/// Bytes of a line: a user, their roles and texts fit eight times.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// Lines that are there before it is worth writing the file anew.
const LINES_MIN: usize = 1024;

/// Lines read of a file: more than that is not ours.
const LINES_MAX: usize = 4 * (FACTS_MAX + AMENDMENTS_MAX);

/// The file is the owner's: it says who was where.
const MODE: u32 = 0o600;

/// A file of facts that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line that is none.
    #[error("{}:{line}: tells nothing of a device ({reason}): remove the line", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Fact(Cow<'a, Kept>),
    Amendment(Cow<'a, Amendment>),
}

impl Line<'_> {
    fn bytes(&self) -> Vec<u8> {
        // No part can fail to become JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl Journal {
    /// Reads what was known, and opens the file for what follows. What a crash cut off at the end is left out.
    pub fn open(
        path: &Path,
        now_us: i64,
    ) -> Result<(Self, Store, VecDeque<Amendment>), JournalError> {
        let mut store = Store::default();
        let mut amendments = VecDeque::new();
        match File::open(path) {
            Ok(file) => read(path, file, now_us, &mut store, &mut amendments)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("open", path, source)),
        }
        let _old = store.take_changes();
        let (file, lines) = write_anew(path, &store, &amendments)?;
        Ok((Self { path: path.to_owned(), file, lines }, store, amendments))
    }

    /// The facts in a file, which stays as it is; none where there is no file.
    pub fn facts(path: &Path, now_us: i64) -> Result<Vec<Fact>, JournalError> {
        let mut store = Store::default();
        match File::open(path) {
            Ok(file) => read(path, file, now_us, &mut store, &mut VecDeque::new())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("open", path, source)),
        }
        Ok(store.iter().map(|kept| kept.fact.clone()).collect())
    }

    /// Adds what has changed; `store` and `amendments` are what is known with it.
    pub fn note(
        &mut self,
        changes: &Changes,
        store: &Store,
        amendments: &VecDeque<Amendment>,
    ) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        let facts = changes.kept.iter().filter_map(|id| store.kept(*id));
        for kept in facts {
            bytes.extend(Line::Fact(Cow::Borrowed(kept)).bytes());
        }
        for amendment in &changes.amendments {
            bytes.extend(Line::Amendment(Cow::Borrowed(amendment)).bytes());
        }
        let lines = self.lines.saturating_add(changes.kept.len() + changes.amendments.len());
        if lines > LINES_MIN.max(2 * (store.len() + amendments.len())) {
            (self.file, self.lines) = write_anew(&self.path, store, amendments)?;
            return Ok(());
        }
        if let Err(source) = self.file.write_all(&bytes) {
            // Part of it may be there: the next one does not go behind that.
            self.lines = usize::MAX;
            return Err(failed("write", &self.path, source));
        }
        self.lines = lines;
        Ok(())
    }
}

fn read(
    path: &Path,
    file: File,
    now_us: i64,
    store: &mut Store,
    amendments: &mut VecDeque<Amendment>,
) -> Result<(), JournalError> {
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for number in 1..=LINES_MAX {
        bytes.clear();
        let mut one = io::Read::take(&mut reader, LINE_BYTES_MAX);
        one.read_until(b'\n', &mut bytes).map_err(|source| failed("read", path, source))?;
        if bytes.last() != Some(&b'\n') {
            // The end, or a line that was cut.
            break;
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| JournalError::Line {
            path: path.to_owned(),
            line: number,
            reason: error.to_string(),
        })?;
        match line {
            Line::Fact(kept) => store.restore(kept.into_owned(), now_us),
            Line::Amendment(amendment) => {
                amendments.push_back(amendment.into_owned());
                if amendments.len() > AMENDMENTS_MAX {
                    amendments.pop_front();
                }
            }
        }
    }
    Ok(())
}

/// Replaces the file in one step by one with a line for each that is kept.
fn write_anew(
    path: &Path,
    store: &Store,
    amendments: &VecDeque<Amendment>,
) -> Result<(File, usize), JournalError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<File> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&beside)?;
        let mut lines = BufWriter::new(file);
        for kept in store.iter() {
            lines.write_all(&Line::Fact(Cow::Borrowed(kept)).bytes())?;
        }
        for amendment in amendments {
            lines.write_all(&Line::Amendment(Cow::Borrowed(amendment)).bytes())?;
        }
        let file = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        OpenOptions::new().append(true).open(path)
    };
    let file = write().map_err(|source| failed("write", path, source))?;
    Ok((file, store.len() + amendments.len()))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::File { operation, path: path.to_owned(), source }
}
