//! Whether a file of the policy is another one than when it was read.
//!
//! Files are looked at rather than listened to: a link that is replaced, a remount and a network file system change
//! what a path leads to without a word.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files below one folder that are looked at: a UT1 collection has some two hundred.
const BELOW_MAX: usize = 4096;

/// How coarse a file system's clock is: the kernel gives files the time of its last tick.
const TICK: Duration = Duration::from_millis(10);

/// What tells a file from another one, and from itself once it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When it changed last: seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

/// What is known of every file; nothing of one that is not there.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// The files of a policy, as they were when it was read.
#[derive(Debug, Default)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    read: Stamps,
    /// What the last look found, if that was something else.
    found: Option<Stamps>,
}

/// What is known before the policy is read.
#[derive(Debug)]
pub(super) struct Before {
    at: SystemTime,
    stamps: Stamps,
}

impl Watch {
    /// To be asked for before the policy is read again.
    pub(super) fn before(&self) -> Before {
        Before { at: SystemTime::now(), stamps: stamps(&self.files) }
    }

    /// Of files that were read since `before`. One that changed meanwhile counts as changed: nobody knows which of the two
    /// was read.
    pub(super) fn of(files: Vec<PathBuf>, before: &Before) -> Self {
        let mut read = stamps(&files);
        let since = before.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = since.saturating_sub(TICK);
        let since = (since.as_secs().cast_signed(), i64::from(since.subsec_nanos()));
        for (path, stamp) in &mut read {
            let is_same = before.stamps.get(path) == Some(&*stamp);
            *stamp = stamp.filter(|stamp| is_same || stamp.changed < since);
        }
        Self { files, read, found: None }
    }

    /// True once for every change, when it is over: when a look finds what the one before it found.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = stamps(&self.files);
        if now == self.read {
            self.found = None;
            return false;
        }
        let is_over = self.found.as_ref() == Some(&now);
        if is_over {
            self.read = now;
            self.found = None;
        } else {
            self.found = Some(now);
        }
        is_over
    }

    /// What is there now was refused, and need not be refused again before it changes; nor before this file does, which
    /// the refusal names.
    pub(super) fn refused(&mut self, because_of: Option<&Path>) {
        self.files.extend(because_of.map(Path::to_owned));
        self.read = stamps(&self.files);
        self.found = None;
    }
}

fn stamps(files: &[PathBuf]) -> Stamps {
    let mut stamps = Stamps::new();
    for file in files {
        match fs::metadata(file) {
            Ok(found) if found.is_dir() => below(file, &mut stamps),
            found => {
                stamps.insert(file.clone(), found.ok().as_ref().map(stamp));
            }
        }
    }
    stamps
}

/// Adds a folder and what is in it and in its folders, as the folder of a collection is made.
fn below(folder: &Path, stamps: &mut Stamps) {
    let mut folders = vec![folder.to_owned()];
    let mut left = BELOW_MAX;
    while let Some(folder) = folders.pop() {
        stamps.insert(folder.clone(), fs::metadata(&folder).ok().as_ref().map(stamp));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Some(less) = left.checked_sub(1) else { return };
            left = less;
            let path = entry.path();
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(path),
                found => {
                    stamps.insert(path, found.ok().as_ref().map(stamp));
                }
            }
        }
    }
}

fn stamp(found: &fs::Metadata) -> Stamp {
    Stamp {
        device: found.dev(),
        inode: found.ino(),
        bytes: found.size(),
        changed: (found.ctime(), found.ctime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Two changes within a tick may look alike.
            std::thread::sleep(TICK);
            fs::write(path, text).unwrap();
        }

        /// A watch of files that were read just now.
        fn watch(&self, names: &[&str]) -> Watch {
            let files: Vec<_> = names.iter().map(|name| self.path(name)).collect();
            let before = Watch { files: files.clone(), ..Watch::default() }.before();
            Watch::of(files, &before)
        }
    }

    /// Two looks: one finds a change, the other that it is over. A third finds nothing.
    fn check(watch: &mut Watch, what: &str) {
        let looks = [watch.has_changed(), watch.has_changed(), watch.has_changed()];
        assert_eq!(looks, [false, true, false], "{what}");
    }

    #[test]
    fn every_way_to_change_a_file_is_told_once() {
        let folder = Folder::new();
        for name in ["policy", "list", "1/list", "2/list", "ut1/games/domains"] {
            folder.write(name, "a.example\n");
        }
        symlink(folder.path("1"), folder.path("current")).unwrap();
        let mut watch = folder.watch(&["policy", "list", "current/list", "ut1", "not-there"]);
        assert!(!watch.has_changed());
        folder.write("list", "b.example\n");
        check(&mut watch, "as many bytes, written over");
        folder.write("beside", "a.example\n");
        fs::rename(folder.path("beside"), folder.path("list")).unwrap();
        check(&mut watch, "replaced");
        fs::remove_file(folder.path("current")).unwrap();
        symlink(folder.path("2"), folder.path("current")).unwrap();
        check(&mut watch, "a link to another");
        folder.write("ut1/games/domains", "a.example\nb.example\n");
        check(&mut watch, "in a folder's folder");
        folder.write("ut1/new/domains", "");
        check(&mut watch, "a new folder");
        folder.write("not-there", "");
        check(&mut watch, "made");
        fs::remove_file(folder.path("policy")).unwrap();
        check(&mut watch, "removed");
        folder.write("unwatched", "");
        assert!(!watch.has_changed() && !watch.has_changed());
    }

    #[test]
    fn a_change_under_way_is_waited_for() {
        let folder = Folder::new();
        folder.write("list", "");
        let mut watch = folder.watch(&["list"]);
        for end in 1..5 {
            folder.write("list", &"a.example\n".repeat(end));
            assert!(!watch.has_changed());
        }
        assert!(watch.has_changed());
    }

    #[test]
    fn what_changed_while_it_was_read_is_read_again() {
        let folder = Folder::new();
        folder.write("list", "");
        let mut watch = folder.watch(&["list"]);
        let before = watch.before();
        folder.write("list", "a.example\n");
        folder.write("other", "");
        watch = Watch::of(vec![folder.path("list"), folder.path("other")], &before);
        check(&mut watch, "both");
    }

    #[test]
    fn what_was_refused_is_refused_once() {
        let folder = Folder::new();
        folder.write("policy", "");
        let mut watch = folder.watch(&["policy"]);
        folder.write("policy", "new list");
        watch.refused(Some(&folder.path("list")));
        assert!(!watch.has_changed() && !watch.has_changed());
        folder.write("list", "");
        check(&mut watch, "the file that was missing");
    }
}
