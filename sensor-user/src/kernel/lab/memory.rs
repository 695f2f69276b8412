//! What loaded programs remember, for tests that forget it: verifying the programs takes seconds, and minutes where
//! a processor is emulated.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{Map, MapData};
use aya::util::nr_cpus;

use super::super::object::Object;
use super::super::{KernelError, syscall};

/// Maps per CPU are the programs' scratch memory, which no program finds empty; but for this one.
const COUNTERS: &str = "COUNTERS";

/// Elements of each CPU come in multiples of so many bytes (`Documentation/bpf/map_array.rst`).
const PER_CPU_ALIGNMENT: usize = 8;

/// The maps of a loaded object that programs remember things in.
///
/// Arrays of maps and ring buffers are not among them: [`PolicyTables::forget`] empties the one, reading the other.
///
/// [`PolicyTables::forget`]: super::super::tables::PolicyTables::forget
pub struct Memory {
    maps: Vec<Remembered>,
}

struct Remembered {
    name: String,
    map: OwnedFd,
    shape: Shape,
}

enum Shape {
    /// Keys, of so many bytes.
    Keyed { key_size: usize },
    /// Elements of so many bytes, so many.
    Array { value_size: usize, count: u32 },
}

impl Memory {
    /// Of an object nothing was taken out of yet.
    pub fn of(object: &Object) -> Result<Self, KernelError> {
        let maps = object.ebpf.maps().filter_map(|(name, map)| remembered(name, map).transpose());
        Ok(Self { maps: maps.collect::<Result<_, _>>()? })
    }

    /// Empties them. No program may run meanwhile.
    pub fn forget(&self) -> Result<(), KernelError> {
        for Remembered { name, map, shape } in &self.maps {
            match *shape {
                Shape::Keyed { key_size } => syscall::clear(map.as_fd(), key_size),
                Shape::Array { value_size, count } => syscall::zero(map.as_fd(), value_size, count),
            }
            .map_err(|source| failed(name, "empty", source))?;
        }
        Ok(())
    }
}

fn remembered(name: &str, map: &Map) -> Result<Option<Remembered>, KernelError> {
    let look = |data: &MapData| data.info().map_err(|source| failed(name, "look at", source));
    let (data, shape) = if let Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data) = map
    {
        (data, Shape::Keyed { key_size: look(data)?.key_size() as usize })
    } else if let Map::Array(data) = map
        // Constants have a section's name and cannot be written.
        && !name.starts_with('.')
    {
        let info = look(data)?;
        (data, Shape::Array { value_size: info.value_size() as usize, count: info.max_entries() })
    } else if let Map::PerCpuArray(data) = map
        && name == COUNTERS
    {
        let cpus = nr_cpus().map_err(|(_, source)| failed(name, "count the CPUs of", source))?;
        let info = look(data)?;
        let value_size = (info.value_size() as usize).next_multiple_of(PER_CPU_ALIGNMENT) * cpus;
        (data, Shape::Array { value_size, count: info.max_entries() })
    } else {
        return Ok(None);
    };
    let map = data.fd().as_fd().try_clone_to_owned();
    let map = map.map_err(|source| failed(name, "duplicate", source))?;
    Ok(Some(Remembered { name: name.to_owned(), map, shape }))
}

fn failed(name: &str, operation: &'static str, source: impl std::fmt::Display) -> KernelError {
    let source = io::Error::other(format!("{name}: {source}"));
    KernelError::Map { map: "of a test", operation, source: source.into() }
}
