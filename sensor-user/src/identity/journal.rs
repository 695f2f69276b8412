//! Logins in a file: a line for each that came or went, and no more lines than twice those that hold.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Login, Logins};

/// Bytes of a line: a user, their roles and an address fit eight times.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// Lines that are there before it is worth writing the file anew.
const LINES_MIN: usize = 1024;

/// The file is the owner's: it says who was where.
const MODE: u32 = 0o600;

/// A file of logins that cannot be read or written.
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
    #[error("{}:{line}: is no login ({reason}): remove the line", path.display())]
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
struct Line<'a> {
    address: IpAddr,
    /// None: nobody is there any more.
    #[serde(borrow)]
    login: Option<std::borrow::Cow<'a, Login>>,
}

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl Journal {
    /// Reads who was logged in, and opens the file for what follows. What a crash cut off at the end was not acknowledged.
    pub fn open(path: &Path) -> Result<(Self, Logins), JournalError> {
        let mut logins = Logins::default();
        match File::open(path) {
            Ok(file) => read(path, file, &mut logins)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("open", path, source)),
        }
        let (file, lines) = write_anew(path, &logins)?;
        Ok((Self { path: path.to_owned(), file, lines }, logins))
    }

    /// Adds what has happened at an address; `logins` are those that hold with it.
    pub fn note(&mut self, address: IpAddr, logins: &Logins) -> Result<(), JournalError> {
        if self.lines >= LINES_MIN.max(logins.len() * 2) {
            (self.file, self.lines) = write_anew(&self.path, logins)?;
            return Ok(());
        }
        let line = line(address.to_canonical(), logins.at(address));
        if let Err(source) = self.file.write_all(&line) {
            // Part of it may be there: the next one does not go behind that.
            self.lines = usize::MAX;
            return Err(failed("write", &self.path, source));
        }
        self.lines += 1;
        Ok(())
    }
}

fn line(address: IpAddr, login: Option<&Login>) -> Vec<u8> {
    let login = login.map(std::borrow::Cow::Borrowed);
    // Neither part can fail to become JSON.
    let mut line = serde_json::to_vec(&Line { address, login }).unwrap_or_default();
    line.push(b'\n');
    line
}

fn read(path: &Path, file: File, logins: &mut Logins) -> Result<(), JournalError> {
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let mut one = io::Read::take(&mut reader, LINE_BYTES_MAX);
        one.read_until(b'\n', &mut bytes).map_err(|source| failed("read", path, source))?;
        if bytes.last() != Some(&b'\n') {
            // The end, or a line that was cut.
            break;
        }
        let wrong = |reason: String| {
            let path = path.to_owned();
            JournalError::Line { path, line: number, reason }
        };
        let line: Line<'_> =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if !logins.set(line.address, line.login.map(std::borrow::Cow::into_owned)) {
            return Err(wrong("there are too many".to_owned()));
        }
    }
    Ok(())
}

/// Replaces the file in one step by one with a line for each that holds.
fn write_anew(path: &Path, logins: &Logins) -> Result<(File, usize), JournalError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<File> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&beside)?;
        let mut lines = BufWriter::new(file);
        for (address, login) in logins.iter() {
            lines.write_all(&line(address, Some(login)))?;
        }
        let file = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        OpenOptions::new().append(true).open(path)
    };
    let file = write().map_err(|source| failed("write", path, source))?;
    Ok((file, logins.len()))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str) -> Login {
        Login { user: user.to_owned(), roles: vec!["teacher".to_owned()] }
    }

    #[test]
    fn logins_outlive_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        let (mut journal, mut logins) = Journal::open(&path).unwrap();
        assert!(logins.is_empty());
        let address = |number: u8| IpAddr::from([192, 0, 2, number]);
        for number in 0..20 {
            assert!(logins.set(address(number), Some(login("a.smith"))));
            journal.note(address(number), &logins).unwrap();
        }
        assert!(logins.set(address(3), None));
        journal.note(address(3), &logins).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, logins);
        // The same address again and again does not grow the file.
        for number in 0..5000 {
            assert!(logins.set(address(7), Some(login(&format!("user{number}")))));
            journal.note(address(7), &logins).unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MIN, "{lines} lines");
        assert_eq!(Journal::open(&path).unwrap().1, logins);
    }

    #[test]
    fn a_cut_line_is_left_out_and_a_wrong_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins.jsonl");
        let (mut journal, mut logins) = Journal::open(&path).unwrap();
        let address = IpAddr::from([192, 0, 2, 1]);
        assert!(logins.set(address, Some(login("a.smith"))));
        journal.note(address, &logins).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"address\":\"192.0.2.2\",\"log").unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, logins);
        std::fs::write(&path, b"{}\n").unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(error.contains("logins.jsonl:1: is no login (missing field `address`"), "{error}");
    }
}
