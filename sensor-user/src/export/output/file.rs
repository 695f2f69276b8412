//! A file that lines are appended to, and that is put aside by size, by age and on demand.
//!
//! A file is put aside by renaming it, and a new one begun. Where somebody else moves or removes it, a new one is begun
//! too, so that `logrotate` needs to tell nobody.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Output;
use crate::config::Rotate;

/// Names of people's devices are in it: the owner writes, the group reads.
const MODE: u32 = 0o640;

/// Files put aside within one second: size alone cannot make as many.
const SAME_SECOND_MAX: u32 = 1000;

/// A file and those put aside.
pub struct FileOutput {
    path: PathBuf,
    rotate: Rotate,
    open: Option<Open>,
}

struct Open {
    file: File,
    bytes: u64,
    since: SystemTime,
    /// Device and inode: another file at the path has others.
    identity: (u64, u64),
}

impl FileOutput {
    /// Appends to this path.
    pub const fn new(path: PathBuf, rotate: Rotate) -> Self {
        Self { path, rotate, open: None }
    }

    fn is_due(&self, more: usize) -> bool {
        let Some(Open { bytes, since, .. }) = &self.open else { return false };
        let size_max = u64::from(self.rotate.size_mib) << 20;
        let age_max = Duration::from_hours(u64::from(self.rotate.hours));
        // A clock that was set back makes it young.
        let age = since.elapsed().unwrap_or_default();
        *bytes > 0 && (bytes.saturating_add(more as u64) > size_max || age >= age_max)
    }

    /// The rest of a line that a crash cut is kept apart from the next one.
    fn end_last_line(file: &mut File, bytes: u64) -> io::Result<u64> {
        let mut last = [b'\n'];
        if let Some(end) = bytes.checked_sub(1) {
            file.read_exact_at(&mut last, end)?;
        }
        if last == [b'\n'] {
            return Ok(bytes);
        }
        file.write_all(b"\n")?;
        Ok(bytes + 1)
    }

    /// Removes what was put aside beyond what is kept, the oldest first.
    fn expire(&self) -> io::Result<()> {
        let mut aside = self.put_aside()?;
        aside.sort();
        let excess = aside.len().saturating_sub(self.rotate.keep as usize);
        aside.iter().take(excess).try_for_each(fs::remove_file)
    }

    /// The files put aside.
    fn put_aside(&self) -> io::Result<Vec<PathBuf>> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let before = format!("{}.", self.path.file_name().unwrap_or_default().to_string_lossy());
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let end = name.to_str().and_then(|name| name.strip_prefix(&before));
            if end.is_some_and(is_ours) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

/// `20260310T120000Z-000`: when it was put aside, and which of that second.
fn is_ours(end: &str) -> bool {
    const PATTERN: &[u8] = b"00000000T000000Z-000";
    let fits = |(pattern, byte): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        other => other == byte,
    };
    end.len() == PATTERN.len() && PATTERN.iter().copied().zip(end.bytes()).all(fits)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Output for FileOutput {
    fn open(&mut self) -> io::Result<()> {
        self.open = None;
        let options = OpenOptions::new().create(true).append(true).read(true).mode(MODE).clone();
        let mut file = options.open(&self.path)?;
        let metadata = file.metadata()?;
        let bytes = Self::end_last_line(&mut file, metadata.len())?;
        let since = metadata.created().unwrap_or_else(|_| SystemTime::now());
        self.open = Some(Open { file, bytes, since, identity: identity(&metadata) });
        Ok(())
    }

    fn is_open(&mut self) -> bool {
        let there = fs::metadata(&self.path).ok();
        let there = there.as_ref().map(identity);
        self.open.as_ref().is_some_and(|open| Some(open.identity) == there)
    }

    fn close(&mut self) {
        self.open = None;
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        if self.is_due(message.len()) {
            self.rotate()?;
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotConnected.into()) };
        match open.file.write_all(message) {
            Ok(()) => {
                open.bytes += message.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line is no line. Where this fails as well, the next opening ends it.
                let _cut = open.file.set_len(open.bytes);
                Err(error)
            }
        }
    }

    fn settle(&mut self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.bytes == 0) || !self.is_open() {
            return Ok(());
        }
        let now = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        let before = format!("{}.{now}-", self.path.display());
        // Behind those of the same second, so that names tell the order.
        let taken = self.put_aside()?;
        let taken = taken
            .iter()
            .filter_map(|path| path.to_str()?.strip_prefix(&before)?.parse::<u32>().ok());
        let number = taken.max().map_or(0, |last| last + 1);
        if number == SAME_SECOND_MAX {
            return Err(io::Error::other("a thousand files were put aside within a second"));
        }
        let aside = format!("{before}{number:03}");
        fs::rename(&self.path, aside)?;
        self.open()?;
        self.expire()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const PLENTY: Rotate = Rotate { size_mib: 100, hours: 24, keep: 8 };

    fn output(dir: &TempDir, rotate: Rotate) -> FileOutput {
        let mut output = FileOutput::new(dir.path().join("eve.json"), rotate);
        output.open().unwrap();
        output
    }

    fn aside(output: &FileOutput) -> Vec<String> {
        let mut aside = output.put_aside().unwrap();
        aside.sort();
        aside.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    fn text(output: &FileOutput) -> String {
        fs::read_to_string(&output.path).unwrap()
    }

    #[test]
    fn what_is_there_is_appended_to() {
        let dir = TempDir::new().unwrap();
        output(&dir, PLENTY).write(b"1\n").unwrap();
        let mut again = output(&dir, PLENTY);
        again.write(b"2\n").unwrap();
        assert_eq!(text(&again), "1\n2\n");
        assert_eq!(fs::metadata(&again.path).unwrap().mode() & 0o777, MODE);
    }

    #[test]
    fn a_line_that_a_crash_cut_stands_alone() {
        let dir = TempDir::new().unwrap();
        output(&dir, PLENTY).write(b"{\"a\":").unwrap();
        let mut again = output(&dir, PLENTY);
        again.write(b"2\n").unwrap();
        assert_eq!(text(&again), "{\"a\":\n2\n");
    }

    #[test]
    fn a_file_is_put_aside_at_its_size_and_the_oldest_go() {
        let dir = TempDir::new().unwrap();
        let mut output = output(&dir, Rotate { size_mib: 1, keep: 2, ..PLENTY });
        // Not ours, and never removed.
        fs::write(dir.path().join("eve.json.gz"), "x").unwrap();
        let line = |letter: char| format!("{}\n", letter.to_string().repeat((1 << 20) - 1));
        for letter in 'a'..='e' {
            output.write(line(letter).as_bytes()).unwrap();
        }
        assert!(text(&output) == line('e'));
        assert!(aside(&output) == [line('c'), line('d')]);
        assert!(dir.path().join("eve.json.gz").exists());
    }

    #[test]
    fn a_file_is_put_aside_at_its_age_and_on_demand() {
        let dir = TempDir::new().unwrap();
        let mut output = output(&dir, PLENTY);
        output.rotate().unwrap();
        assert_eq!(aside(&output).len(), 0, "nothing is in it");
        output.write(b"1\n").unwrap();
        output.rotate().unwrap();
        output.write(b"2\n").unwrap();
        output.open.as_mut().unwrap().since -= Duration::from_hours(24);
        output.write(b"3\n").unwrap();
        assert_eq!(aside(&output), ["1\n", "2\n"]);
        assert_eq!(text(&output), "3\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_not_open() {
        let dir = TempDir::new().unwrap();
        let mut output = output(&dir, PLENTY);
        output.write(b"1\n").unwrap();
        assert!(output.is_open());
        fs::rename(&output.path, dir.path().join("moved")).unwrap();
        assert!(!output.is_open());
        fs::write(&output.path, "").unwrap();
        assert!(!output.is_open(), "another file is not it");
        output.open().unwrap();
        output.write(b"2\n").unwrap();
        assert_eq!(text(&output), "2\n");
        assert_eq!(fs::read_to_string(dir.path().join("moved")).unwrap(), "1\n");
    }

    #[test]
    fn a_message_that_does_not_fit_leaves_no_half_of_a_line() {
        // /dev/full takes nothing; what is written to it fails as on a full disk.
        let dir = TempDir::new().unwrap();
        let mut output = output(&dir, PLENTY);
        output.write(b"1\n").unwrap();
        let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let whole = std::mem::replace(&mut output.open.as_mut().unwrap().file, full);
        assert_eq!(output.write(b"2\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        output.open.as_mut().unwrap().file = whole;
        output.write(b"3\n").unwrap();
        assert_eq!(text(&output), "1\n3\n");
    }
}
