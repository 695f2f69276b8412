//! A bundle unpacked for a look, and gone again with it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::archive::Source;
use super::error::BundleError;
use super::manifest::{MANIFEST, Manifest, POLICY};
use super::{archive, key};
use crate::policy::{Keep, Policy};

/// An unpacked bundle.
#[derive(Debug)]
pub struct Unpacked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its policy.
    pub policy: Policy,
    folder: TempDir,
}

impl Unpacked {
    /// Unpacks a bundle; its signature is verified where keys are given.
    pub fn open(bundle: &Path, keys: Option<&[String]>) -> Result<Self, BundleError> {
        let source = Source { file: bundle, told: bundle };
        if let Some(keys) = keys {
            key::verify(source, keys)?;
        }
        let temporary = std::env::temp_dir();
        let folder = TempDir::new().map_err(BundleError::io(&temporary, "write in"))?;
        let manifest = archive::unpack(source, folder.path())?;
        let policy = load(bundle, folder.path(), &manifest, None)?;
        Ok(Self { manifest, policy, folder })
    }

    /// Its policy file.
    pub fn policy_file(&self) -> PathBuf {
        self.folder.path().join(POLICY)
    }
}

/// Loads the policy of an unpacked bundle, which has to be the one that the manifest names.
pub(super) fn load(
    bundle: &Path,
    folder: &Path,
    manifest: &Manifest,
    keep: Option<&Keep>,
) -> Result<Policy, BundleError> {
    let file = folder.join(POLICY);
    let policy = keep.map_or_else(|| Policy::load(&file), |keep| Policy::load_kept(&file, keep))?;
    if policy.version() != manifest.policy {
        let reason = format!("{MANIFEST} says policy {}, {POLICY} another", manifest.policy);
        return Err(BundleError::broken(bundle, reason));
    }
    Ok(policy)
}
