//! What can go wrong with a spool, and what helps.

use std::io;
use std::path::{Path, PathBuf};

use super::FORMAT;
use super::cipher::KeyError;

/// A spool that cannot be opened, written or read. Nothing that was appended is removed by any of these.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory is missing, or closed to this process.
    #[error("{}: cannot make or enter the directory of the spool; check `spool.dir` and who owns it", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else has the file open.
    #[error(
        "{}: another process has the spool open; there is one writer, so stop the other daemon, or give this one a \
         `spool.dir` of its own", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error(
        "{}: cannot {doing} the spool; check its disk and its permissions. Records wait where they are until it works",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no room.
    #[error(
        "{}: cannot {doing} the spool, its disk is full; make room, or lower `spool.size_mib`. What is in it stays, and \
         records wait where they are", path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A newer version made it.
    #[error(
        "{}: the spool has format {found}, this version reads {FORMAT}; start the newer version, which empties it, or move \
         the file away", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// A file of the same kind that is no spool, or one of another version of the store underneath.
    #[error("{}: this is no spool ({reason}); move the file away, or set another `spool.dir`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// The file is not as it was written.
    #[error("{}: the spool is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Too many damaged files lie there already.
    #[error("{}: cannot put the damaged spool aside; copy `{}.corrupt-*` elsewhere and remove them", path.display(), path.display())]
    Aside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is another one.
    #[error(
        "{}: the spool is encrypted with another key than that in {}; put the key it was made with back. Without it \
         nobody reads what is in it; to begin anew, move the spool away", path.display(), key.display()
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// There is a key to it, and none is configured.
    #[error(
        "{}: the spool is encrypted, and no key is configured; set `spool.key_file` to the key it was made with. To go on \
         without encryption, let it become empty first, then move it away", path.display()
    )]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// It was made without a key.
    #[error(
        "{}: the spool is not encrypted, and {} is configured as its key; take `spool.key_file` out until it is empty, then \
         move it away: the next one is encrypted", path.display(), key.display()
    )]
    NotEncrypted {
        /// The file.
        path: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// No randomness.
    #[error("the system gives no randomness for the spool's encryption")]
    Random(#[source] getrandom::Error),
    /// A batch has records of two boots, or a boot id that no machine has.
    #[error(
        "records of boot {boot:?} cannot go with the others of their batch; this is a fault of the sensor"
    )]
    Boot {
        /// The boot id.
        boot: String,
    },
    /// Records that cannot be packed.
    #[error("batch {batch} cannot be packed: {reason}; this is a fault of the sensor")]
    Records {
        /// Number of the batch.
        batch: u64,
        /// Why.
        reason: String,
    },
    /// A cursor's name.
    #[error("{name:?} is no name for a cursor of the spool: 1 to {} bytes", super::NAME_BYTES_MAX)]
    Name {
        /// The name.
        name: String,
    },
    /// A cursor that somebody reads with.
    #[error("the spool is read as {name:?} already: one reader for a cursor")]
    Reading {
        /// Its name.
        name: String,
    },
    /// Too many cursors.
    #[error(
        "the spool has {} cursors already; remove those of sinks that are gone",
        super::CURSORS_MAX
    )]
    Cursors,
    /// The spool was closed, or could not be opened again after an error.
    #[error("{}: the spool is not open; the next append opens it again", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
}

impl SpoolError {
    /// What an error of the store underneath means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb may learn to fail in more ways")]
    pub(super) fn of(path: &Path, doing: &'static str, error: redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                Self::InUse { path }
            }
            redb::Error::UpgradeRequired(version) => {
                Self::Foreign { path, reason: format!("a redb file of format {version}") }
            }
            redb::Error::Io(source) => Self::of_io(path, doing, source),
            // Whoever asks once more finds the file closed, and opens it again.
            redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_)
            | redb::Error::TransactionPoisoned => Self::Closed { path },
            error if is_damage(&error) => Self::Damaged { path, reason: error.to_string() },
            error => Self::File { path, doing, source: io::Error::other(error) },
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "systems fail in more ways than matter here"
    )]
    fn of_io(path: PathBuf, doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, doing, source }
            }
            // A file that is no database, or ends early.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Damaged { path, reason: source.to_string() }
            }
            _other => Self::File { path, doing, source },
        }
    }

    /// Whether the file must be opened again before it can be used.
    pub(super) const fn asks_to_reopen(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Full { .. } | Self::Closed { .. })
    }
}

/// Whether the store underneath says that the file is not what it wrote.
const fn is_damage(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)
    )
}
