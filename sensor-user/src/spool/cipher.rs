//! Encryption at rest: AES-256-GCM (NIST SP 800-38D), a key of its own for every chunk.
//!
//! A chunk's key is derived (HKDF-SHA256, RFC 5869) from the key in the file and 32 random bytes in the chunk's header.
//! A key that seals one chunk needs no nonce that is counted: none can come twice, however often a batch is tried,
//! and whatever becomes of the spool: deleted and begun again, put back from a copy, or two with one key file.
//!
//! Only records are secret: headers, cursors and losses are numbers and times. A chunk's header is associated data: who
//! changes what it says of its records makes them unreadable.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::SpoolError;
use crate::hex::unhex;

/// Bytes of the key: those of AES-256.
pub const KEY_BYTES: usize = 32;

/// Bytes of a salt: those of the hash.
pub(super) const SALT_BYTES: usize = 32;

/// Random bytes that a key is derived with.
pub(super) type RandomSalt = [u8; SALT_BYTES];

/// Bits that let somebody else at the file.
const OTHERS: u32 = 0o077;

/// Bytes read of the file: the digits and space around them.
const FILE_BYTES_MAX: u64 = 256;

/// What keys are derived for.
const CHUNK: &[u8] = b"campus-sensor spool chunk";
const CHECK: &[u8] = b"campus-sensor spool check";

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused.
    #[error(
        "{}: cannot read the key of the spool; make one with `openssl rand -hex {KEY_BYTES}`, for root alone, and keep \
         a copy elsewhere", path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "{}: others may read the key of the spool or write it (mode {mode:03o}, owner {owner}); \
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
        "{}: this is no key of {KEY_BYTES} bytes in hexadecimal; put the key back from where it is kept, or make one \
         with `openssl rand -hex {KEY_BYTES}`", path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
    },
}

/// Seals chunks and opens them.
pub(super) struct Cipher {
    key: [u8; KEY_BYTES],
}

impl fmt::Debug for Cipher {
    /// Without the key.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Cipher").finish_non_exhaustive()
    }
}

impl Cipher {
    /// With the key in a file: 64 hexadecimal digits, which nobody but the owner may read.
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
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
        let key = digits.and_then(unhex).and_then(|bytes| bytes.try_into().ok());
        Ok(Self { key: key.ok_or_else(|| KeyError::Content { path: path.to_owned() })? })
    }

    /// What a spool keeps to tell this key from another.
    pub(super) fn check(&self, salt: &RandomSalt) -> [u8; KEY_BYTES] {
        let mut check = [0; KEY_BYTES];
        let made =
            self.derive(salt).expand(&[CHECK], CheckBytes).and_then(|of| of.fill(&mut check));
        made.expect("HKDF gives as many bytes as the hash has");
        check
    }

    /// Seals bytes in place, and puts their tag behind them.
    pub(super) fn seal(&self, salt: &RandomSalt, header: &[u8], bytes: &mut Vec<u8>) {
        let sealed =
            self.of_chunk(salt).seal_in_place_append_tag(only_nonce(), Aad::from(header), bytes);
        sealed.expect("AES-GCM takes 64 GiB, and a chunk is smaller");
    }

    /// Opens what was sealed, in place; None where that is another key's, or was changed.
    pub(super) fn open<'a>(
        &self,
        salt: &RandomSalt,
        header: &[u8],
        bytes: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let opened = self.of_chunk(salt).open_in_place(only_nonce(), Aad::from(header), bytes);
        opened.ok().map(|plain| &*plain)
    }

    fn derive(&self, salt: &RandomSalt) -> Prk {
        Salt::new(HKDF_SHA256, salt).extract(&self.key)
    }

    fn of_chunk(&self, salt: &RandomSalt) -> LessSafeKey {
        let derived = self.derive(salt);
        let made = derived.expand(&[CHUNK], &AES_256_GCM).map(UnboundKey::from);
        LessSafeKey::new(made.expect("HKDF gives as many bytes as the hash has"))
    }
}

/// The nonce of a key that seals once.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Random bytes for a chunk or a spool.
pub(super) fn random_salt() -> Result<RandomSalt, SpoolError> {
    let mut salt = RandomSalt::default();
    getrandom::fill(&mut salt).map_err(SpoolError::Random)?;
    Ok(salt)
}

/// As long as the key.
struct CheckBytes;

impl KeyType for CheckBytes {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}
