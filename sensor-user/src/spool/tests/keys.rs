//! Encryption at rest.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::super::chunk::{self, Header, Place};
use super::super::cipher::Cipher;
use super::super::class::ByClass;
use super::super::codec::Shape;
use super::*;
use crate::hex::hex;

/// Makes a key file.
fn key(dir: &Path, name: &str, byte: u8, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("{}\n", hex([byte; KEY_BYTES]))).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn with(dir: &Path, key_file: Option<PathBuf>) -> Result<Spool, SpoolError> {
    Spool::open(Options { key_file, ..Options::new(&dir.join("spool")) })
}

#[test]
fn encrypted_records_are_read_with_the_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let one = key(dir.path(), "one.key", 1, 0o600);
    let other = key(dir.path(), "other.key", 2, 0o400);
    let mut spool = with(dir.path(), Some(one.clone())).unwrap();
    append(&mut spool, &mixed(0, 30));
    assert!(status(&spool).encrypted);
    spool.close().unwrap();

    let error = with(dir.path(), Some(other.clone())).unwrap_err();
    assert!(matches!(&error, SpoolError::WrongKey { key, .. } if *key == other), "{error}");
    let error = with(dir.path(), None).unwrap_err();
    assert!(matches!(error, SpoolError::KeyMissing { .. }), "{error}");
    assert!(error.to_string().contains("spool.key_file"), "{error}");

    let mut spool = with(dir.path(), Some(one)).unwrap();
    let mut reader = spool.reader("one", Start::Oldest).unwrap();
    assert_eq!(next(&mut reader).records, mixed(0, 30), "no error destroyed anything");
}

#[test]
fn a_spool_without_a_key_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = with(dir.path(), None).unwrap();
    append(&mut spool, &mixed(0, 3));
    drop(spool);
    let one = key(dir.path(), "one.key", 1, 0o600);
    let error = with(dir.path(), Some(one)).unwrap_err();
    assert!(matches!(error, SpoolError::NotEncrypted { .. }), "{error}");
    let mut spool = with(dir.path(), None).unwrap();
    assert_eq!(rest(&mut spool.reader("one", Start::Oldest).unwrap()).len(), 1);
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let check = |key_file: PathBuf, expected: &str| {
        let error = with(dir.path(), Some(key_file)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(key(dir.path(), "open", 1, 0o640), "mode 640");
    check(key(dir.path(), "wide", 1, 0o602), "chmod 600");
    check(dir.path().join("nothing"), "openssl rand -hex 32");
    let short = dir.path().join("short");
    fs::write(&short, "0102").unwrap();
    fs::set_permissions(&short, Permissions::from_mode(0o600)).unwrap();
    check(short, "no key of 32 bytes");
}

#[test]
fn equal_batches_look_different_and_show_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cipher = Cipher::read(&key(dir.path(), "one.key", 1, 0o600)).unwrap();
    let records = [sample::record(1), sample::record(2)];
    let records: Vec<_> = records.iter().collect();
    let place = Place { batch: 1, appended_us: NOON_US, totals: ByClass::default() };
    let seal = || chunk::seal(&records, Class::Blocked, "b", place, Some(&cipher)).unwrap();
    let (left, right) = (seal(), seal());
    assert_ne!(left.header.salt, right.header.salt);
    let same = left.bytes.iter().zip(&right.bytes).skip(chunk::HEADER_BYTES);
    let same = same.filter(|(left, right)| left == right).count();
    assert!(same < 20, "{same} bytes are alike, as in noise");
    let mut packed = left.bytes.clone();
    assert!(packed.windows(6).all(|window| window != b"casino"));

    let shape = Shape::own();
    let open = |bytes: &[u8], header: &Header| {
        chunk::open(bytes, header, &shape, Some(&cipher)).map(|unpacked| unpacked.records.len())
    };
    assert_eq!(open(&left.bytes, &left.header), Some(2));
    assert_eq!(chunk::open(&left.bytes, &left.header, &shape, None), None);
    // Who changes the header and its sum is found out by the tag.
    packed[32] ^= 1;
    let covered = packed[..chunk::HEADER_BYTES - 4].to_vec();
    packed[chunk::HEADER_BYTES - 4..chunk::HEADER_BYTES]
        .copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    let forged = Header::decode(&packed).unwrap();
    assert_ne!(forged.first, left.header.first);
    assert_eq!(open(&packed, &forged), None);
}
