//! Records as bytes: `MessagePack` arrays, one a record, compressed together.
//!
//! A record is an array of its values, without the names of the fields: the names, in their order, are the chunk's
//! *shape*, which is kept once a spool. So a record takes as little as in a format of our own, and it can still be read by
//! a version with other fields: values are then taken by name, what this version does not know is left out, and what it
//! misses is as serde has it for a field that is not there (nothing, for an `Option`; other kinds of new fields
//! need `#[serde(default)]`).
//!
//! Measured on records of a campus with every field of identity filled in, 5,000 a batch, ns of CPU and bytes a record:
//!
//! | | plain | zstd 1 | encode | compress | read |
//! |---|---|---|---|---|---|
//! | arrays (this) | 324 | 64.4 | 312 | 436 | 1,517 |
//! | `MessagePack` with names | 718 | 68.7 | 493 | 650 | 2,139 |
//! | CBOR with names (ciborium) | 717 | 67.1 | 1,114 | 618 | 6,258 |
//! | JSON lines | 904 | 69.4 | 870 | 817 | 4,018 |
//!
//! In batches of 25, as they come on a quiet day, arrays take 83 bytes and the others 98 to 101.

use rmp_serde::{Deserializer, Serializer};
use serde::de::{self, Error as _, Visitor};
use serde::{Deserialize as _, Serialize as _, forward_to_deserialize_any};

use crate::record::Record;

/// Level of zstd. Of arrays of 5,000 records level 1 makes 64.4 bytes a record in 436 ns, level 3 62.3 in 627, level 6 58.3
/// in 2,188, and level -1 76.6 in 368: beyond 1 a byte costs 90 ns and more, below it a byte saves 6.
const LEVEL: i32 = 1;

/// Most bytes of a chunk before it is compressed: 5,000 records of 50 KiB, twenty times what the longest names make of one.
/// A chunk that claims more is not unpacked.
pub(super) const PLAIN_BYTES_MAX: usize = 256 << 20;

/// Bytes a record may take, for a first guess at the room.
const RECORD_BYTES: usize = 384;

/// The names of a record's fields, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape(Vec<String>);

impl Shape {
    /// Of the records of this version.
    pub(super) fn own() -> Self {
        let mut asked = FieldNames(&[]);
        // It always fails: names are all it has.
        let _no_record = Record::deserialize(&mut asked);
        Self(asked.0.iter().map(|name| (*name).to_owned()).collect())
    }

    /// As it is kept.
    pub(super) fn text(&self) -> String {
        self.0.join(",")
    }

    /// As it was kept.
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.split(',').map(str::to_owned).collect())
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        crc32fast::hash(self.text().as_bytes())
    }
}

/// Why bytes are not the records they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    /// More than [`PLAIN_BYTES_MAX`].
    #[error("{0} bytes of records in one chunk, {PLAIN_BYTES_MAX} at most")]
    TooLarge(usize),
    /// The compressed bytes are not what zstd made.
    #[error("zstd: {0}")]
    Zstd(String),
    /// A value is not one.
    #[error("MessagePack: {0}")]
    Value(String),
}

/// Packs records; also how many bytes they were before they were compressed.
pub(super) fn pack(records: &[&Record]) -> Result<(Vec<u8>, usize), CodecError> {
    let mut plain = Vec::with_capacity(records.len() * RECORD_BYTES);
    // As people read them: addresses and enumerations are texts then, in whatever version.
    let mut to = Serializer::new(&mut plain).with_human_readable();
    for record in records {
        record.serialize(&mut to).map_err(|error| CodecError::Value(error.to_string()))?;
    }
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(CodecError::TooLarge(plain.len()));
    }
    let packed = zstd::bulk::compress(&plain, LEVEL);
    Ok((packed.map_err(|error| CodecError::Zstd(error.to_string()))?, plain.len()))
}

/// What was in a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// The records this version understands.
    pub(super) records: Vec<Record>,
    /// How many it does not: a newer one wrote values that this one has no meaning for.
    pub(super) foreign: u64,
}

/// Unpacks what [`pack`] made of `count` records of a shape.
pub(super) fn unpack(
    packed: &[u8],
    plain_bytes: usize,
    count: u32,
    shape: &Shape,
) -> Result<Unpacked, CodecError> {
    if plain_bytes > PLAIN_BYTES_MAX {
        return Err(CodecError::TooLarge(plain_bytes));
    }
    let plain = zstd::bulk::decompress(packed, plain_bytes)
        .map_err(|error| CodecError::Zstd(error.to_string()))?;
    if *shape == Shape::own()
        && let Ok(records) = of_own_shape(&plain, count)
    {
        return Ok(Unpacked { records, foreign: 0 });
    }
    of_any_shape(&plain, count, shape)
}

fn of_own_shape(plain: &[u8], count: u32) -> Result<Vec<Record>, rmp_serde::decode::Error> {
    let mut from = Deserializer::from_read_ref(plain).with_human_readable();
    (0..count).map(|_| Record::deserialize(&mut from)).collect()
}

/// Value by value, taken by name.
fn of_any_shape(plain: &[u8], count: u32, shape: &Shape) -> Result<Unpacked, CodecError> {
    let own = Shape::own();
    let mut from = Deserializer::from_read_ref(plain).with_human_readable();
    let mut unpacked = Unpacked { records: Vec::new(), foreign: 0 };
    for _ in 0..count {
        let values = Vec::<serde_json::Value>::deserialize(&mut from)
            .map_err(|error| CodecError::Value(error.to_string()))?;
        let known = shape.0.iter().cloned().zip(values).filter(|(name, _)| own.0.contains(name));
        match serde_json::from_value(serde_json::Value::Object(known.collect())) {
            Ok(record) => unpacked.records.push(record),
            Err(_other_version) => unpacked.foreign += 1,
        }
    }
    Ok(unpacked)
}

/// Has a type say which fields it has, and gives it none.
struct FieldNames(&'static [&'static str]);

impl<'de> de::Deserializer<'de> for &mut FieldNames {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = fields;
        Err(Self::Error::custom("names only"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("names only"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
