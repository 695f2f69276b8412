//! The tables of listed names: two arrays in an array, one of each policy.
//!
//! A table's array is as large as the table and filled by one copy. It takes its place in the outer array whole, and
//! the kernel lets go of the one that was there when no program can be reading it. Two policies that list the same
//! names share an array.

use std::sync::Arc;

#[cfg(feature = "lab")]
use aya::maps::Map;
use aya::maps::{Array, ArrayOfMaps, IterableMap as _, MapData, MapError};
use sensor_ebpf::abi::table::Line;

use super::KernelError;
use super::object::Object;
use super::syscall::Mapping;
use super::tables::map_error;
use crate::engine::Image;

const DOMAINS: &str = "DOMAINS";

/// `BPF_F_MMAPABLE` and `BPF_F_INNER_MAP`, as the kernel's half declares the lines.
const FLAGS: u32 = 1 << 10 | 1 << 12;

type Lines = Array<MapData, Line>;

/// Writer of the tables.
pub(super) struct ListedNames {
    tables: ArrayOfMaps<MapData, Lines>,
    /// What this process put into each place.
    filled: [Option<Arc<Lines>>; 2],
    /// Takes the place of a table that nobody needs.
    none: Lines,
}

impl ListedNames {
    pub(super) fn open(object: &mut Object) -> Result<Self, KernelError> {
        let nothing = Line::default();
        let (tables, none) = (object.take(DOMAINS)?, array(&[nothing])?);
        Ok(Self { tables, filled: [None, None], none })
    }

    /// Puts a table where the policy of this generation looks for it. Waits for a grace period.
    pub(super) fn fill(&mut self, generation: u32, table: &Image) -> Result<(), KernelError> {
        self.put(generation, Arc::new(array(table.lines())?))
    }

    /// Has the policy of this generation look at the table of the one before it. Waits for a grace period.
    pub(super) fn keep(&mut self, generation: u32) -> Result<(), KernelError> {
        let Some(lines) = self.filled_by(!generation).clone() else {
            return Err(failed("keep", MapError::ElementNotFound));
        };
        self.put(generation, lines)
    }

    fn put(&mut self, generation: u32, lines: Arc<Lines>) -> Result<(), KernelError> {
        self.tables.set(generation & 1, &lines, 0).map_err(|source| failed("fill", source))?;
        *self.filled_by(generation) = Some(lines);
        Ok(())
    }

    /// Gives back the memory of the table that this generation does not look at.
    pub(super) fn clear_all_but(&mut self, generation: u32) -> Result<(), KernelError> {
        let other = !generation & 1;
        self.tables.set(other, &self.none, 0).map_err(|source| failed("clear", source))?;
        *self.filled_by(other) = None;
        Ok(())
    }

    const fn filled_by(&mut self, generation: u32) -> &mut Option<Arc<Lines>> {
        let [even, odd] = &mut self.filled;
        if generation & 1 == 0 { even } else { odd }
    }
}

/// Puts a table into both places of an outer array of a test's.
#[cfg(feature = "lab")]
pub(super) fn fill_both(map: &mut Map, table: &Image) -> Result<(), KernelError> {
    let lines = array(table.lines())?;
    let mut tables =
        ArrayOfMaps::<_, Lines>::try_from(map).map_err(|source| failed("open", source))?;
    [0, 1]
        .into_iter()
        .try_for_each(|place| tables.set(place, &lines, 0))
        .map_err(|source| failed("fill", source))
}

/// A new array of these lines.
fn array(lines: &[Line]) -> Result<Lines, KernelError> {
    let count = u32::try_from(lines.len()).map_err(|source| KernelError::Map {
        map: DOMAINS,
        operation: "make lines of",
        source: source.into(),
    })?;
    let array = Lines::create(count, FLAGS).map_err(|source| failed("make lines of", source))?;
    Mapping::of(array.map().fd(), size_of_val(lines))
        .map(|mut mapping| mapping.copy_from(lines))
        .map_err(|source| KernelError::Map {
        map: DOMAINS,
        operation: "copy lines to",
        source: source.into(),
    })?;
    Ok(array)
}

fn failed(operation: &'static str, source: MapError) -> KernelError {
    map_error(DOMAINS, operation, source)
}
