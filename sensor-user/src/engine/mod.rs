//! What decides about names: the table of listed names, as the kernel looks them up.
//!
//! [`Image::build`] makes a table of names, [`Image::of_hashes`] of hashes; `placement` finds a place for each, `patch` changes few,
//! `file` keeps a table between starts. `sensor_ebpf::table` says how a table lies in memory, and looks names up in
//! it, in the kernel and here. [`crate::kernel::tables`] puts one in force.

mod build;
mod file;
pub mod of_policy;
mod patch;
mod placement;
#[cfg(test)]
mod tests;

use sensor_ebpf::abi::table::{Head, Line, SETS_MAX};
use sensor_ebpf::abi::{DomainEntry, NAME_BUFFER};
use sensor_ebpf::locked::{LockedReader, Step};
use sensor_ebpf::name::{HashKey, SuffixReader, without_final_dot};
use sensor_ebpf::table::{deepest, find, set};

pub use self::build::{BuildError, KEYS_MAX};
pub use self::file::{FileError, VERSION};
pub use self::patch::Change;

/// A key nobody knows.
///
/// # Errors
///
/// The system gives no random bytes.
pub fn new_key() -> Result<HashKey, getrandom::Error> {
    let (start, multiplier) = (getrandom::u64()?, getrandom::u64()? | 1);
    Ok(HashKey { start, multiplier })
}

/// A table of listed names, whole: what the kernel looks names up in, line by line.
///
/// ```
/// use sensor_ebpf::abi::DomainEntry;
/// use sensor_ebpf::name::HashKey;
/// use sensor_user::engine::Image;
///
/// let drugs = DomainEntry { categories: 2, list: 1, ..DomainEntry::default() };
/// let key = HashKey { start: 7, multiplier: 9 };
/// let image = Image::build(&[("drugs.example", drugs)].into_iter(), key).unwrap();
/// assert_eq!(image.look_up("www.Drugs.example."), drugs);
/// assert_eq!(image.look_up("nodrugs.example"), DomainEntry::default());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The first is the head's.
    lines: Vec<Line>,
    head: Head,
}

impl Image {
    /// Key the names are hashed with.
    pub const fn key(&self) -> HashKey {
        self.head.key
    }

    /// Names listed, the locked ones too.
    pub const fn names(&self) -> u32 {
        self.head.names
    }

    /// The table as it lies in memory.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        size_of_val(self.lines()) as u64
    }

    /// Bytes of the largest table of so many names: all the sets there may be are little beside five million.
    pub const fn bytes_max(names: u32) -> u64 {
        let sets = if names < SETS_MAX { names } else { SETS_MAX };
        let buckets = build::buckets_for(names);
        let head =
            Head { key: HashKey { start: 0, multiplier: 1 }, buckets, sets, names, locked: 0 };
        head.lines() * size_of::<Line>() as u64
    }

    /// What is known of a name as a packet carries it: case and one final dot are no difference. The entry of its
    /// deepest listed suffix, or of one that is locked; all zero where none is listed, and of what is no name: more
    /// than 255 bytes.
    pub fn look_up(&self, name: &str) -> DomainEntry {
        let mut buffer = [0; NAME_BUFFER];
        let Some(room) = buffer.get_mut(..name.len()) else { return DomainEntry::default() };
        room.copy_from_slice(name.as_bytes());
        let last = room.last().copied().unwrap_or(0);
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        let length = without_final_dot(length, last);
        let mut reader = SuffixReader::default();
        reader.begin(length, self.head.key);
        while reader.step(&mut buffer) {}
        let line = |line| self.lines.get(line as usize);
        self.locked(&buffer, length, reader.dots()).map_or_else(
            || deepest(self.head, &reader, line),
            |number| set(self.head, number, line),
        )
    }

    /// Number of the set of a suffix that is locked.
    fn locked(&self, name: &[u8; NAME_BUFFER], length: u32, dots: u32) -> Option<u32> {
        if self.head.locked == 0 {
            return None;
        }
        let mut reader = LockedReader::default();
        reader.begin(length, dots);
        loop {
            match reader.step(name) {
                Step::More => {}
                Step::Hashed => {
                    let hash = reader.hash(self.head.key);
                    let found = find(self.head, hash, |line| self.lines.get(line as usize));
                    if let Some(number) = found.filter(|number| *number != 0) {
                        return Some(number);
                    }
                    reader.go_on();
                }
                Step::Done => return None,
            }
        }
    }
}
