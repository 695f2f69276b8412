//! The key of pseudonyms, in a file of its own.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{KEY_BYTES, Key};
use crate::hex::{hex, unhex};

/// The owner alone reads it.
const MODE: u32 = 0o600;

/// Bits that let somebody else at it.
const OTHERS: u32 = 0o077;

/// Bytes read of the file: the digits and space around them.
const FILE_BYTES_MAX: u64 = 256;

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused.
    #[error(
        "{}: cannot {operation} the key of pseudonyms; it is for root alone, and the daemon makes it at its first start \
         with pseudonyms", path.display()
    )]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "{}: others may read the key of pseudonyms or write it (mode {mode:03o}, owner {owner}); \
         chown root: and chmod 600 it, and take another one if it was read", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Whose it is.
        owner: u32,
    },
    /// It holds something else.
    #[error(
        "{}: this is no key of {KEY_BYTES} bytes in hexadecimal; put the key back from where it is kept. Without it \
         nobody finds out whom older records are about; to begin anew, remove the file", path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the system gives no randomness for a key of pseudonyms")]
    Random(#[source] getrandom::Error),
}

/// Reads the key; makes one where there is no file.
pub(super) fn read_or_make(path: &Path) -> Result<Key, KeyError> {
    let failed =
        |operation| move |source| KeyError::File { operation, path: path.to_owned(), source };
    if path.symlink_metadata().is_ok() {
        return read(path);
    }
    let mut key = Key::default();
    getrandom::fill(&mut key).map_err(KeyError::Random)?;
    // Whole or not at all: a start that was killed leaves no half key.
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut made = tempfile::Builder::new()
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)
        .map_err(failed("make"))?;
    let written = writeln!(made, "{}", hex(key)).and_then(|()| made.as_file().sync_all());
    written.map_err(failed("write"))?;
    match made.persist_noclobber(path) {
        Ok(_) => {}
        // Somebody else was first.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make")(error.error)),
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("make"))?;
    read(path)
}

/// Reads the key.
pub(super) fn read(path: &Path) -> Result<Key, KeyError> {
    let failed = |source| KeyError::File { operation: "read", path: path.to_owned(), source };
    // A FIFO would be waited for.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    let own = std::fs::metadata("/proc/self").map_err(failed)?.uid();
    if mode & OTHERS != 0 || (owner != own && owner != 0) {
        return Err(KeyError::Open { path: path.to_owned(), mode, owner });
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    let digits = str::from_utf8(text.trim_ascii()).ok();
    let key = digits.and_then(unhex).and_then(|bytes| Key::try_from(bytes).ok());
    key.ok_or_else(|| KeyError::Content { path: path.to_owned() })
}
