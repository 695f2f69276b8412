//! What writer, readers and whoever watches have in common.

use std::path::PathBuf;
use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use redb::Database;

use super::books::Books;
use super::cipher::Cipher;
use super::codec::Shape;

/// The spool itself.
///
/// The file's lock is taken before that of the books where both are. Books are never held while the disk is waited for.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) cipher: Option<Cipher>,
    /// The shape of this version's records, and how it is kept.
    pub(super) shape: Shape,
    /// None after an error, until it is opened again. Written to only for that: transactions share it.
    database: RwLock<Option<Database>>,
    books: Mutex<Books>,
    /// Told when there is something new, or nothing more.
    news: Condvar,
}

impl Shared {
    pub(super) fn new(
        path: PathBuf,
        bytes_max: u64,
        cipher: Option<Cipher>,
        database: Database,
        books: Books,
    ) -> Self {
        Self {
            path,
            bytes_max,
            cipher,
            shape: Shape::own(),
            database: RwLock::new(Some(database)),
            books: Mutex::new(books),
            news: Condvar::new(),
        }
    }

    /// The file, to read it or to write to it.
    pub(super) fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, to put another in its place.
    pub(super) fn database_alone(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn news(&self) -> &Condvar {
        &self.news
    }
}
