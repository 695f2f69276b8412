//! Files that are there whole or not at all, whenever the power fails.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::BundleError;
use crate::hex::hex;

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Copies to the end, and tells how many bytes that were and their SHA-256.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex(hash.finalize()))),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let read = buffer.get(..count).unwrap_or_default();
        hash.update(read);
        to.write_all(read)?;
        bytes += count as u64;
    }
}

/// Size and SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<(u64, String), BundleError> {
    let read = BundleError::io(path, "read");
    copy(&mut File::open(path).map_err(&read)?, &mut io::sink()).map_err(read)
}

/// SHA-256 of a text.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// Writes a file in one step: beside, then in its place.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let beside = beside(path);
    let write = BundleError::io(path, "write");
    File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(write)?;
    sync_folder_of(path)
}

/// A name beside a file that nothing else has.
pub(super) fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Makes a rename in a folder last.
pub(super) fn sync(folder: &Path) -> Result<(), BundleError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BundleError::io(folder, "sync"))
}

/// The same of the folder a file is in.
pub(super) fn sync_folder_of(path: &Path) -> Result<(), BundleError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync(folder.unwrap_or(Path::new(".")))
}

/// Removes a folder with all in it, if it is there.
pub(super) fn remove_folder(folder: &Path) -> Result<(), BundleError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BundleError::io(folder, "remove")(error))
        }
        _ => Ok(()),
    }
}
