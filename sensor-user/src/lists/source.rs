//! Files as bytes: regular ones, unpacked where they are gzip, within limits.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::error::{ListError, ListFault};
use crate::progress;

/// Bytes of a list, unpacked: as many names as a policy holds have about that, 30 bytes a line.
/// A bomb is read up to here, which takes seconds and no memory.
pub(super) const SOURCE_BYTES_MAX: u64 = 512 << 20;

/// Bytes of one member of an archive: twice what the largest category there is has.
pub(super) const MEMBER_BYTES_MAX: u64 = 256 << 20;

/// Members of an archive: the largest collection there is has 66 categories of up to six files.
pub(super) const MEMBERS_MAX: usize = 4096;

/// Bytes of a member's path, and of attributes written in front of it.
pub(super) const MEMBER_PATH_BYTES_MAX: u64 = 4096;

/// Bytes that tell what a file is, and what format a list looks like.
const HEAD_BYTES: u64 = 64 << 10;

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// What other packed files begin with.
const PACKED: [(&[u8], &str); 5] = [
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// Where a tar archive says what it is (POSIX.1 ustar, and GNU's).
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// A file, unpacked.
pub(super) struct Source {
    /// Its first bytes; the reader begins with them too.
    pub(super) head: Vec<u8>,
    pub(super) reader: Box<dyn BufRead>,
}

/// What a file holds.
pub(super) enum Content {
    Text(Source),
    Archive(Source),
}

impl Source {
    /// Tells text from archives.
    pub(super) fn content(self) -> Content {
        let (at, magic) = TAR_MAGIC;
        if self.head.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            Content::Archive(self)
        } else {
            Content::Text(self)
        }
    }
}

/// Opens a regular file, and unpacks it if it begins like gzip, whatever its name.
pub(super) fn open(path: &Path) -> Result<Source, ListError> {
    open_within(path, SOURCE_BYTES_MAX).map_err(|fault| ListError::of_file(path, fault))
}

fn open_within(path: &Path, bytes_max: u64) -> Result<Source, ListFault> {
    // A look before opening: opening a pipe would wait for its writer.
    if !path.metadata().map_err(ListFault::of_io)?.is_file() {
        return Err(ListFault::NotAFile);
    }
    let file = progress::reading(File::open(path).map_err(ListFault::of_io)?);
    let (head, file) = behead(file)?;
    let bytes = Cursor::new(head.clone()).chain(file);
    let (head, rest): (_, Box<dyn Read>) = if head.starts_with(b"\x1f\x8b") {
        let (head, rest) = behead(MultiGzDecoder::new(BufReader::new(bytes)))?;
        (head, Box::new(rest))
    } else {
        (head, Box::new(bytes.into_inner().1))
    };
    if let Some((_, name)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(ListFault::Packed(name));
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Err(ListFault::Utf16);
    }
    let left = bytes_max.saturating_sub(head.len() as u64);
    let reader = Cursor::new(head.clone()).chain(Bounded { inner: rest, left });
    Ok(Source { head, reader: Box::new(BufReader::with_capacity(BUFFER_BYTES, reader)) })
}

/// Takes the first bytes off.
fn behead<R: Read>(mut reader: R) -> Result<(Vec<u8>, R), ListFault> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(ListFault::of_io)?;
    Ok((head, reader))
}

/// A reader that fails with [`io::ErrorKind::FileTooLarge`] where it would give more than its limit.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(bytes as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_bomb_is_refused_where_it_unpacks_to_more_than_is_read() {
        const BOMB_BYTES: u64 = 4 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb");
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::best());
        io::copy(&mut io::repeat(b'x').take(BOMB_BYTES), &mut encoder).unwrap();
        encoder.finish().unwrap();
        assert!(fs::metadata(&path).unwrap().len() < BOMB_BYTES / 500);
        let read = |bytes_max| {
            let mut reader = open_within(&path, bytes_max).unwrap().reader;
            io::copy(&mut reader, &mut io::sink()).map_err(ListFault::of_io)
        };
        assert_eq!(read(BOMB_BYTES).unwrap(), BOMB_BYTES);
        assert!(matches!(read(BOMB_BYTES - 1), Err(ListFault::TooLarge)));
    }

    #[test]
    fn a_bounded_reader_gives_its_limit_and_no_more() {
        let read = |left| Bounded { inner: &b"0123456789"[..], left }.read_to_end(&mut Vec::new());
        assert_eq!(read(10).unwrap(), 10);
        assert_eq!(read(9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
