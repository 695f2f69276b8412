//! The file: a redb database with four tables, how it is opened, and how one that cannot be is put aside.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadableDatabase as _, TableDefinition, TableError, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cipher::{Cipher, random_salt};
use super::{FORMAT, Options, SpoolError};
use crate::hex::{hex, unhex};

/// Name of the file in its directory.
pub(super) const FILE_NAME: &str = "spool.redb";

/// Class and batch to the chunk, so that the oldest of a class come first.
pub(super) const CHUNKS: TableDefinition<(u8, u64), &[u8]> = TableDefinition::new("chunks");

/// The same to the chunk's header.
pub(super) const HEADERS: TableDefinition<(u8, u64), &[u8]> = TableDefinition::new("headers");

/// Number of a shape to the names of its fields.
pub(super) const SHAPES: TableDefinition<u32, &str> = TableDefinition::new("shapes");

/// What there is one of, as JSON.
pub(super) const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");

/// Rows of [`STATE`].
const IDENTITY: &str = "identity";
pub(super) const LEDGER: &str = "ledger";
pub(super) const CURSORS: &str = "cursors";
pub(super) const LOSSES: &str = "losses";

/// Memory for pages: a few batches, which are read soon after they were written. redb's own default is 1 GiB.
/// Tests are to meet what is on the disk.
const CACHE_BYTES: usize = if cfg!(test) { 64 << 10 } else { 16 << 20 };

/// Damaged files kept beside the spool.
const ASIDE_MAX: u32 = 99;

/// Records are personal data, and nobody but the daemon reads them here.
const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o600;

/// What redb says.
pub(super) type Redb<T> = Result<T, redb::Error>;

/// What a spool says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format: u16,
    /// Random bytes that tell it from other spools, and its key from other keys. Hexadecimal, as the next.
    salt: String,
    /// What its key makes of that.
    check: Option<String>,
}

/// Runs what reads or writes the file. redb panics at some pages that are not as it wrote them: then the file is damaged.
pub(super) fn guarded<T>(
    path: &Path,
    doing: &'static str,
    run: impl FnOnce() -> Redb<T>,
) -> Result<T, SpoolError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done.map_err(|error| SpoolError::of(path, doing, error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let reason = text.unwrap_or("a page cannot be read").to_owned();
            Err(SpoolError::Damaged { path: path.to_owned(), reason })
        }
    }
}

/// Makes the directory where there is none.
pub(super) fn make_directory(dir: &Path) -> Result<(), SpoolError> {
    let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
    made.map_err(|source| SpoolError::Directory { path: dir.to_owned(), source })
}

/// Opens the file, which is made where there is none, and sees that its key is ours.
pub(super) fn open(
    path: &Path,
    options: &Options,
    cipher: Option<&Cipher>,
) -> Result<Database, SpoolError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| SpoolError::of(path, "open", source.into()))?;
    let database = guarded(path, "open", || {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        Ok(builder.create_with_backend(FileBackend::new(file)?)?)
    })?;
    match guarded(path, "read", || identity(&database))? {
        Found::Nothing => {
            let identity = Identity::make(cipher)?;
            guarded(path, "write", || make_tables(&database, &identity))?;
        }
        Found::Other => {
            let reason = "it has other tables".to_owned();
            return Err(SpoolError::Foreign { path: path.to_owned(), reason });
        }
        Found::Spool(bytes) => {
            let identity: Identity = decoded(path, &bytes)?;
            identity.check(path, options, cipher)?;
        }
    }
    Ok(database)
}

impl Identity {
    fn make(cipher: Option<&Cipher>) -> Result<Self, SpoolError> {
        let salt = random_salt()?;
        let check = cipher.map(|cipher| hex(cipher.check(&salt)));
        Ok(Self { format: FORMAT, salt: hex(salt), check })
    }

    fn check(
        &self,
        path: &Path,
        options: &Options,
        cipher: Option<&Cipher>,
    ) -> Result<(), SpoolError> {
        let path = path.to_owned();
        if self.format > FORMAT {
            return Err(SpoolError::Newer { path, found: self.format });
        }
        let key = options.key_file.clone().unwrap_or_default();
        match (&self.check, cipher) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(SpoolError::KeyMissing { path }),
            (None, Some(_)) => Err(SpoolError::NotEncrypted { path, key }),
            (Some(check), Some(cipher)) => {
                let salt = unhex(&self.salt).and_then(|salt| salt.try_into().ok());
                let is_ours = salt.is_some_and(|salt| hex(cipher.check(&salt)) == *check);
                is_ours.then_some(()).ok_or(SpoolError::WrongKey { path, key })
            }
        }
    }
}

/// What is in a database.
enum Found {
    Nothing,
    Other,
    Spool(Vec<u8>),
}

fn identity(database: &Database) -> Redb<Found> {
    let read = database.begin_read()?;
    let state = match read.open_table(STATE) {
        Ok(state) => state,
        Err(TableError::TableDoesNotExist(_)) => {
            let is_empty = read.list_tables()?.next().is_none();
            return Ok(if is_empty { Found::Nothing } else { Found::Other });
        }
        Err(error) => return Err(error.into()),
    };
    let identity = state.get(IDENTITY)?;
    Ok(identity.map_or(Found::Other, |bytes| Found::Spool(bytes.value().to_vec())))
}

fn make_tables(database: &Database, identity: &Identity) -> Redb<()> {
    let write = begin_write(database)?;
    write.open_table(CHUNKS)?;
    write.open_table(HEADERS)?;
    write.open_table(SHAPES)?;
    write.open_table(STATE)?.insert(IDENTITY, encoded(identity).as_slice())?;
    Ok(write.commit()?)
}

/// Begins a transaction that is on the disk when it is committed.
///
/// redb can leave out what it takes to open the file after a crash without reading all of it. Then a commit waits for
/// the disk once and not twice, and a flipped bit in one chunk makes the whole file one that cannot be opened after the next
/// crash: every page is checked then. With it such a chunk is found when it is read, and is all that is lost. A batch of 40 kB
/// takes 350 µs of CPU so, and 240 without, at five a second.
pub(super) fn begin_write(database: &Database) -> Redb<WriteTransaction> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    Ok(write)
}

/// As it is kept in [`STATE`].
pub(super) fn encoded(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers have their place in JSON")
}

/// As it was kept.
pub(super) fn decoded<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, SpoolError> {
    serde_json::from_slice(bytes).map_err(|error| SpoolError::Damaged {
        path: path.to_owned(),
        reason: format!("its state: {error}"),
    })
}

/// Makes room for a new file where a damaged one is; where that one is now.
pub(super) fn put_aside(path: &Path) -> Result<PathBuf, SpoolError> {
    let failed = |source| SpoolError::Aside { path: path.to_owned(), source };
    let aside = (1..=ASIDE_MAX)
        .map(|number| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".corrupt-{number}"));
            PathBuf::from(name)
        })
        .find(|aside| !aside.exists())
        .ok_or_else(|| failed(io::Error::from(io::ErrorKind::AlreadyExists)))?;
    fs::rename(path, &aside).map_err(failed)?;
    Ok(aside)
}
