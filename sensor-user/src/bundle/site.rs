//! Where bundles are kept: `bundles/7/`, each with the signed file it came in, and `current`, a link to one of them. Beside
//! them `kept/`, what was compiled of their lists.
//!
//! A bundle is unpacked beside the others and gets its number when it is whole; `current` is replaced in one step. So
//! what is in force is always one bundle or another, whenever the power fails.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::error::BundleError;
use super::manifest::{MANIFEST, Manifest, POLICY};
use super::{audit, disk};
use crate::policy::Keep;

/// Bundles kept: two weeks of one a working day.
pub const KEPT: usize = 8;

const BUNDLES: &str = "bundles";
const CURRENT: &str = "current";

/// The directory bundles are kept in.
#[derive(Clone, Debug)]
pub struct Site {
    dir: PathBuf,
}

impl Site {
    /// The site in a directory, which need not be there yet.
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The policy file of the bundle in force, whichever that is.
    pub fn policy_file(&self) -> PathBuf {
        self.dir.join(CURRENT).join(POLICY)
    }

    /// Where compiled names are kept, of bundles and of other policies.
    pub fn compiled(&self) -> Keep {
        Keep::in_folder(&self.dir.join("kept"))
    }

    /// The log of what was applied.
    pub fn audit_file(&self) -> PathBuf {
        self.dir.join("audit.jsonl")
    }

    /// The number in force; none where nothing was applied yet.
    pub fn in_force(&self) -> Result<Option<u64>, BundleError> {
        let current = self.dir.join(CURRENT);
        let target = match fs::read_link(&current) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            target => target.map_err(BundleError::io(&current, "follow"))?,
        };
        let number = target.file_name().and_then(|name| name.to_str()?.parse().ok());
        number.map(Some).ok_or_else(|| {
            BundleError::io(&current, "follow")(io::Error::other("it leads to no bundle"))
        })
    }

    /// The highest number that was ever in force.
    pub fn highest(&self) -> Result<Option<u64>, BundleError> {
        Ok(audit::read(&self.audit_file())?.highest().max(self.in_force()?))
    }

    /// What a kept bundle says of itself.
    pub fn manifest(&self, number: u64) -> Result<Manifest, BundleError> {
        let path = self.folder(number).join(MANIFEST);
        let read = BundleError::io(&path, "read");
        serde_json::from_slice(&fs::read(&path).map_err(&read)?).map_err(|error| read(error.into()))
    }

    /// Numbers of the bundles that are kept, lowest first.
    pub fn kept(&self) -> Result<Vec<u64>, BundleError> {
        let bundles = self.dir.join(BUNDLES);
        let read = BundleError::io(&bundles, "read");
        let entries = match fs::read_dir(&bundles) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(&read)?,
        };
        let mut kept = Vec::new();
        for entry in entries {
            let name = entry.map_err(&read)?.file_name();
            kept.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        kept.sort_unstable();
        Ok(kept)
    }

    /// Folder of a kept bundle.
    pub(super) fn folder(&self, number: u64) -> PathBuf {
        self.dir.join(BUNDLES).join(number.to_string())
    }

    /// The signed file a kept bundle came in.
    pub(super) fn bundle(&self, number: u64) -> PathBuf {
        bundle_in(&self.folder(number))
    }

    /// Takes the site for one command; it is free again when the file is closed, be it by a crash.
    pub(super) fn lock(&self) -> Result<File, BundleError> {
        let creating = BundleError::io(&self.dir, "create");
        fs::create_dir_all(self.dir.join(BUNDLES)).map_err(creating)?;
        let path = self.dir.join("lock");
        let locking = BundleError::io(&path, "lock");
        let mut options = File::options();
        let file =
            options.write(true).create(true).truncate(false).open(&path).map_err(&locking)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(BundleError::Locked(path.clone())),
            Err(TryLockError::Error(error)) => Err(locking(error)),
        }
    }

    /// Where a bundle is unpacked before it has its place.
    pub(super) fn staged(&self) -> PathBuf {
        self.dir.join(BUNDLES).join("new")
    }

    /// Makes that folder anew; what an earlier command left there goes.
    pub(super) fn stage(&self) -> Result<PathBuf, BundleError> {
        let folder = self.staged();
        disk::remove_folder(&folder)?;
        fs::create_dir(&folder).map_err(BundleError::io(&folder, "create"))?;
        Ok(folder)
    }

    /// Gives an unpacked bundle its place. One of this number that is there is not in force.
    pub(super) fn keep(&self, staged: &Path, number: u64) -> Result<(), BundleError> {
        let folder = self.folder(number);
        disk::sync(staged)?;
        disk::remove_folder(&folder)?;
        fs::rename(staged, &folder).map_err(BundleError::io(&folder, "create"))?;
        disk::sync_folder_of(&folder)
    }

    /// Puts a kept bundle in force, or none.
    pub(super) fn switch(&self, number: Option<u64>) -> Result<(), BundleError> {
        let current = self.dir.join(CURRENT);
        let switching = BundleError::io(&current, "replace");
        let Some(number) = number else {
            fs::remove_file(&current).map_err(switching)?;
            return disk::sync(&self.dir);
        };
        let beside = disk::beside(&current);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(switching(error)),
            _ => {}
        }
        symlink(Path::new(BUNDLES).join(number.to_string()), &beside)
            .and_then(|()| fs::rename(&beside, &current))
            .map_err(switching)?;
        disk::sync(&self.dir)
    }

    /// Removes all but the newest bundles and the one in force.
    pub(super) fn prune(&self) -> Result<Vec<u64>, BundleError> {
        let (kept, in_force) = (self.kept()?, self.in_force()?);
        let old = kept.iter().rev().skip(KEPT).filter(|number| Some(**number) != in_force);
        let old: Vec<u64> = old.copied().collect();
        for number in &old {
            disk::remove_folder(&self.folder(*number))?;
        }
        Ok(old)
    }
}

/// The signed file in the folder of a bundle.
pub(super) fn bundle_in(folder: &Path) -> PathBuf {
    folder.join("bundle")
}
