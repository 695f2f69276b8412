//! What a file that cannot be opened was about: headers are found by how they begin, wherever they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::chunk::{HEADER_BYTES, Header, MAGIC};
use super::class::Class;

/// Bytes read in one go.
const PIECE_BYTES: usize = 1 << 20;

/// Chunks that are remembered: of a spool of 1 GiB in batches of a few records not all, and 20 MiB.
const CHUNKS_MAX: usize = 1 << 16;

/// Headers of chunks that are or were in a file, by class and batch. Each is there twice, and longer than its chunk is: what
/// was removed is found until its place is used again.
pub(super) fn headers(path: &Path) -> io::Result<BTreeMap<(Class, u64), Header>> {
    let mut file = File::open(path)?;
    let mut found = BTreeMap::new();
    let mut window = Vec::with_capacity(PIECE_BYTES + HEADER_BYTES);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(found);
        }
        window.extend_from_slice(piece.get(..read).unwrap_or_default());
        for (at, start) in window.windows(MAGIC.len()).enumerate() {
            if start == MAGIC
                && let Some(header) = window.get(at..).and_then(Header::decode)
                && found.len() < CHUNKS_MAX
            {
                found.insert((header.class, header.batch), header);
            }
        }
        // One that goes on in the next piece is found there.
        let done = window.len().saturating_sub(HEADER_BYTES - 1);
        window.drain(..done);
    }
}
