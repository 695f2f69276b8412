//! A chunk: the records of one class of one batch, behind a header that says what it holds.
//!
//! The header is kept twice, with the records and in a table of headers, so that the books can be made without reading
//! records, and what is lost can be named where either is damaged. Integers are little-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`], which also finds headers in a file that cannot be opened |
//! | 8 | 2 | [`FORMAT`] |
//! | 10 | 1 | class |
//! | 11 | 1 | 1 where the records are encrypted |
//! | 12 | 4 | shape of the records, see [`super::codec`] |
//! | 16 | 8 | number of the batch |
//! | 24 | 8 | when it was appended, µs since 1970 |
//! | 32 | 8, 8 | first and last sequence number |
//! | 48 | 8, 8 | first and last end of a record, µs since 1970 |
//! | 64 | 8 × 3 | records appended so far by class, this batch included |
//! | 88 | 4 | records |
//! | 92 | 4 | bytes of records before they were compressed |
//! | 96 | 32 | salt of the key, zeros where nothing is encrypted |
//! | 128 | 1, 63 | length of the boot id, and the boot id behind it |
//! | 192 | 4 | bytes behind the header |
//! | 196 | 4 | CRC-32 of those |
//! | 200 | 4 | CRC-32 of the header so far |

use super::cipher::{Cipher, RandomSalt, random_salt};
use super::class::{ByClass, Class};
use super::codec::{self, Shape, Unpacked};
use super::file::Redb;
use super::{FORMAT, SpoolError};
use crate::record::Record;

/// Begins a header. Not text, so that no name in a record looks like it.
pub(super) const MAGIC: [u8; 8] = *b"\x89CSSPL\r\n";

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 204;

/// Bytes of the header that are associated data of the encryption: all that is known before it.
const AUTHENTIC_BYTES: usize = 192;

/// Room for a boot id, which has 36 bytes on Linux.
const BOOT_BYTES: usize = 63;

/// What a chunk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) class: Class,
    pub(super) batch: u64,
    pub(super) appended_us: i64,
    pub(super) boot: String,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) first_end_us: i64,
    pub(super) last_end_us: i64,
    /// Records appended until after this batch, so that what lies between two batches is a difference.
    pub(super) totals: ByClass<u64>,
    pub(super) records: u32,
    pub(super) plain_bytes: u32,
    pub(super) shape: u32,
    pub(super) salt: Option<RandomSalt>,
    pub(super) payload_bytes: u32,
    pub(super) payload_crc: u32,
}

impl Header {
    /// How many records of its class there were before it.
    pub(super) fn total_before(&self) -> u64 {
        self.totals.of(self.class).saturating_sub(u64::from(self.records))
    }

    /// An error where it does not belong to a key: then it is the key that is damaged, and who knows what else.
    pub(super) fn is_under(&self, class: u8, batch: u64) -> Redb<()> {
        if (self.class.number(), self.batch) == (class, batch) {
            return Ok(());
        }
        let text = format!("batch {} is kept as batch {batch}", self.batch);
        Err(redb::Error::Corrupted(text))
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut to = Vec::with_capacity(HEADER_BYTES);
        to.extend(MAGIC);
        to.extend(FORMAT.to_le_bytes());
        to.extend([self.class.number(), u8::from(self.salt.is_some())]);
        to.extend(self.shape.to_le_bytes());
        to.extend(self.batch.to_le_bytes());
        to.extend(self.appended_us.to_le_bytes());
        to.extend(self.first.to_le_bytes());
        to.extend(self.last.to_le_bytes());
        to.extend(self.first_end_us.to_le_bytes());
        to.extend(self.last_end_us.to_le_bytes());
        for (_, total) in self.totals.iter() {
            to.extend(total.to_le_bytes());
        }
        to.extend(self.records.to_le_bytes());
        to.extend(self.plain_bytes.to_le_bytes());
        to.extend(self.salt.unwrap_or_default());
        let boot = self.boot.as_bytes();
        to.push(u8::try_from(boot.len()).unwrap_or(u8::MAX));
        to.extend(boot);
        to.resize(AUTHENTIC_BYTES, 0);
        to.extend(self.payload_bytes.to_le_bytes());
        to.extend(self.payload_crc.to_le_bytes());
        to.extend(crc32fast::hash(&to).to_le_bytes());
        to.try_into().expect("the fields are as long as the table says")
    }

    /// The header at the front of bytes; None where there is none, or not as it was written.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (covered, crc) = header.split_last_chunk::<4>()?;
        if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut fields = Fields(header);
        let known = fields.take::<8>()? == MAGIC && u16::from_le_bytes(fields.take()?) == FORMAT;
        let [class] = fields.take()?;
        let [is_encrypted] = fields.take()?;
        let shape = fields.number_32()?;
        let batch = fields.number()?;
        let appended_us = fields.number()?.cast_signed();
        let (first, last) = (fields.number()?, fields.number()?);
        let (first_end_us, last_end_us) =
            (fields.number()?.cast_signed(), fields.number()?.cast_signed());
        let totals = ByClass {
            allowed: fields.number()?,
            alert: fields.number()?,
            blocked: fields.number()?,
        };
        let (records, plain_bytes) = (fields.number_32()?, fields.number_32()?);
        let salt = fields.take()?;
        let [boot_bytes] = fields.take()?;
        let boot = fields.take::<BOOT_BYTES>()?;
        let boot = str::from_utf8(boot.get(..usize::from(boot_bytes))?).ok()?.to_owned();
        let header = Self {
            class: Class::of_number(class)?,
            batch,
            appended_us,
            boot,
            first,
            last,
            first_end_us,
            last_end_us,
            totals,
            records,
            plain_bytes,
            shape,
            salt: (is_encrypted != 0).then_some(salt),
            payload_bytes: fields.number_32()?,
            payload_crc: fields.number_32()?,
        };
        known.then_some(header)
    }
}

/// Fields that follow each other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn number_32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

/// Where records are in the spool, and what came before them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) batch: u64,
    pub(super) appended_us: i64,
    /// Records appended until after this batch.
    pub(super) totals: ByClass<u64>,
}

/// A chunk that is ready to be kept.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) header: Header,
    /// The header and what is behind it.
    pub(super) bytes: Vec<u8>,
}

impl Sealed {
    /// The header of a chunk, as bytes.
    pub(super) fn header_of(chunk: &[u8]) -> &[u8] {
        chunk.get(..HEADER_BYTES).unwrap_or_default()
    }
}

/// Makes the chunk of a class. All records are of one boot.
pub(super) fn seal(
    records: &[&Record],
    class: Class,
    boot: &str,
    place: Place,
    cipher: Option<&Cipher>,
) -> Result<Sealed, SpoolError> {
    if boot.len() > BOOT_BYTES {
        return Err(SpoolError::Boot { boot: boot.to_owned() });
    }
    let of = |error| SpoolError::Records { batch: place.batch, reason: error };
    let (mut payload, plain_bytes) = codec::pack(records).map_err(|error| of(error.to_string()))?;
    let sequences = || records.iter().map(|record| record.sequence);
    let ends = || records.iter().map(|record| record.end_us);
    let salt = cipher.map(|_| random_salt()).transpose()?;
    let mut header = Header {
        class,
        batch: place.batch,
        appended_us: place.appended_us,
        boot: boot.to_owned(),
        first: sequences().min().unwrap_or_default(),
        last: sequences().max().unwrap_or_default(),
        first_end_us: ends().min().unwrap_or_default(),
        last_end_us: ends().max().unwrap_or_default(),
        totals: place.totals,
        records: u32::try_from(records.len()).map_err(|error| of(error.to_string()))?,
        plain_bytes: u32::try_from(plain_bytes).map_err(|error| of(error.to_string()))?,
        shape: Shape::own().id(),
        salt,
        payload_bytes: 0,
        payload_crc: 0,
    };
    if let (Some(cipher), Some(salt)) = (cipher, &salt) {
        let authentic = header.encode();
        cipher.seal(salt, authentic.get(..AUTHENTIC_BYTES).unwrap_or_default(), &mut payload);
    }
    header.payload_bytes = u32::try_from(payload.len()).map_err(|error| of(error.to_string()))?;
    header.payload_crc = crc32fast::hash(&payload);
    let mut bytes = header.encode().to_vec();
    bytes.append(&mut payload);
    Ok(Sealed { header, bytes })
}

/// The records of a chunk; None where the chunk is not as it was written.
pub(super) fn open(
    bytes: &[u8],
    header: &Header,
    shape: &Shape,
    cipher: Option<&Cipher>,
) -> Option<Unpacked> {
    let (authentic, payload) = bytes.split_at_checked(HEADER_BYTES)?;
    if crc32fast::hash(payload) != header.payload_crc {
        return None;
    }
    let plain_bytes = usize::try_from(header.plain_bytes).ok()?;
    let unpack = |packed: &[u8]| codec::unpack(packed, plain_bytes, header.records, shape).ok();
    match &header.salt {
        None => unpack(payload),
        Some(salt) => {
            let mut payload = payload.to_vec();
            unpack(cipher?.open(salt, authentic.get(..AUTHENTIC_BYTES)?, &mut payload)?)
        }
    }
}
