//! Whether the files of the bundle in force are still what was signed.

use super::archive::{self, Source};
use super::error::BundleError;
use super::site::Site;
use super::{disk, key};
use crate::config::Policy;

/// Holds the bundle in force to its signature: the file it came in, and every file it was unpacked to. Passes where
/// policies do not come as bundles.
///
/// # Errors
///
/// The first thing that is not as it was signed.
pub fn check_in_force(config: &Policy) -> Result<(), BundleError> {
    let site = Site::of(&config.dir);
    if config.file != site.policy_file() {
        return Ok(());
    }
    site.in_force()?.map_or(Ok(()), |number| check(&site, number, &config.keys))
}

/// The same of a bundle that is kept.
pub(super) fn check(site: &Site, number: u64, keys: &[String]) -> Result<(), BundleError> {
    let bundle = site.bundle(number);
    let source = Source { file: &bundle, told: &bundle };
    key::verify(source, keys)?;
    for member in archive::manifest(source)?.members {
        let path = site.folder(number).join(&member.path);
        if disk::digest(&path)? != (member.bytes, member.sha256) {
            return Err(BundleError::Tampered { path, number });
        }
    }
    Ok(())
}
