//! A file of leases, looked at again and again: what is new in it is told as facts.
//!
//! It is looked at, not listened to, as files of policies are: servers replace their files, and those of a network file
//! system change without a word.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::{Format, Lease, Leases};
use crate::identity::{Directory, Ended, Fact, Onset, Refusal, Source, told};

/// Bytes of a file that are read: 64 Ki leases of a KiB each.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// µs of a second.
const SECOND_US: i64 = 1_000_000;

/// What tells a file from itself once it was written to: device, inode, size, change.
type Stamp = (u64, u64, u64, i64, i64);

/// A file that is followed.
#[derive(Clone, Debug)]
pub struct Follower {
    format: Format,
    path: PathBuf,
    /// What was told of the files at the last look; none before the first.
    seen: Option<Vec<Option<Stamp>>>,
    told: Leases,
    has_failed: bool,
}

impl Follower {
    /// Follows a file from its next look on.
    pub const fn new(format: Format, path: PathBuf) -> Self {
        Self { format, path, seen: None, told: Leases::new(), has_failed: false }
    }

    /// Looks at the file, and tells the directory what is new. A file that cannot be read changes nothing.
    pub fn look(&mut self, directory: &Directory, now_us: i64) {
        let paths = self.paths();
        let stamps: Vec<Option<Stamp>> = paths.iter().map(|path| stamp(path)).collect();
        if self.seen.as_ref() == Some(&stamps) {
            return;
        }
        let is_first = self.seen.is_none();
        let read = paths.iter().filter_map(|path| bytes(path).transpose()).collect();
        let files: Vec<Vec<u8>> = match read {
            Ok(files) => files,
            Err(error) => return self.fail(&error, directory),
        };
        if files.is_empty() {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return self.fail(&missing, directory);
        }
        self.seen = Some(stamps);
        self.has_failed = false;
        let read = self.format.read(&files, now_us / SECOND_US);
        for (line, reason) in &read.refused {
            warn!(file = %self.path.display(), line, reason, "no lease: the line is left out");
        }
        for _line in 0..read.refused_count {
            directory.refuse(Refusal::LeaseLine);
        }
        let news: Vec<Fact> = read
            .leases
            .iter()
            .filter(|(address, lease)| self.told.get(address) != Some(lease))
            .map(|(address, lease)| fact(*address, lease, is_first, now_us))
            .collect();
        if !news.is_empty() {
            directory.learn(news, now_us);
        }
        let gone = self.told.keys().filter(|address| !read.leases.contains_key(address));
        for address in gone {
            let ended = Ended::At { source: Source::DhcpLease, address: *address, user: None };
            directory.end(&ended, now_us, now_us);
        }
        self.told = read.leases;
    }

    /// The files in the order they are to be read in. Kea's clean-up (`kea-lfc`) makes `.completed` of what it made
    /// last, `.2`, and of what was written since, `.1`; then that takes the place of `.2`.
    fn paths(&self) -> Vec<PathBuf> {
        let beside = |suffix: &str| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let before: &[&str] = match self.format {
            Format::Kea => &[".2", ".1", ".completed"],
            Format::Dnsmasq | Format::Dhcpd => &[],
        };
        before.iter().map(|suffix| beside(suffix)).chain([self.path.clone()]).collect()
    }

    fn fail(&mut self, error: &io::Error, directory: &Directory) {
        directory.refuse(Refusal::LeaseFile);
        if !std::mem::replace(&mut self.has_failed, true) {
            let file = self.path.display();
            warn!(%file, %error, "leases cannot be read; what is known of them stays");
        }
    }
}

/// What was there at the first look may have been so before; what comes later began when the file says, or now.
fn fact(address: IpAddr, lease: &Lease, is_first: bool, now_us: i64) -> Fact {
    let Lease { mac, host_name, from_s, until_s } = lease.clone();
    let micros = |seconds: i64| seconds.saturating_mul(SECOND_US);
    let onset = if is_first { Onset::Found } else { Onset::Began };
    let span = (from_s.map_or(now_us, micros), until_s.map(micros));
    told::lease(address, mac, host_name, onset, span)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

/// What is in a file; nothing of one that is not there.
fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(Some(bytes))
}
