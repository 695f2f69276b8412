//! The compiled names: sorted, in one text, with what the kernel is told of each and the rows of lists that say so.
//!
//! They lie in memory as they lie in a file (see [`super::kept`]), so that a table of millions of names is there as soon
//! as its file is.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
use sensor_ebpf::abi::DomainEntry;

use super::subject::is_name;

/// A name in a list.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Row {
    pub(super) start: u32,
    /// In the list's file, or in the policy file for local rules.
    pub(crate) line: u32,
    pub(crate) list: u16,
    pub(super) length: u8,
    pub(super) reserved: u8,
}

/// A listed name, with the first of its rows.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) categories: u64,
    pub(super) row: u32,
    pub(super) list: u16,
    pub(super) reserved: u16,
}

/// A part of a table: in memory, or in a file that is mapped.
pub(super) enum Part<T> {
    Made(Vec<T>),
    Kept { file: Arc<Mmap>, bytes: Range<usize>, of: PhantomData<T> },
}

impl<T: Pod> Part<T> {
    /// These bytes of a file, which have to be so many of these; `None` where they are not, or lie otherwise than in
    /// memory.
    pub(super) fn of_file(file: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, T>(file.get(bytes.clone())?).ok()?;
        Some(Self::Kept { file: Arc::clone(file), bytes, of: PhantomData })
    }
}

impl<T> Part<T> {
    /// One of what was made; what is kept in a file is what it is.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        match self {
            Self::Made(all) => all.get_mut(place),
            Self::Kept { .. } => None,
        }
    }
}

impl<T: Pod> Deref for Part<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Made(all) => all,
            // Looked at when it was opened: what is cut off a mapped file stays in its range.
            Self::Kept { file, bytes, .. } => {
                let bytes = file.get(bytes.clone()).unwrap_or_default();
                bytemuck::try_cast_slice(bytes).unwrap_or_default()
            }
        }
    }
}

impl<T: Pod> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.len(), std::any::type_name::<T>())
    }
}

/// The compiled names, sorted.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) text: String,
    pub(super) rows: Part<Row>,
    pub(super) entries: Part<Entry>,
    /// Places of the entries that are of no names, but of ports and prefixes.
    pub(super) others: Part<u32>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries in order, with what the kernel is told of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, DomainEntry)> + Clone {
        let (text, rows) = (&*self.text, &*self.rows);
        self.entries.iter().map(|entry| (entry_name(text, rows, entry), domain_entry(entry)))
    }

    /// Those that are of names.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, DomainEntry)> + Clone {
        let only_names = self.others.is_empty();
        self.iter().filter(move |(name, _)| only_names || is_name(name))
    }

    /// Those that are of ports and prefixes.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&str, DomainEntry)> {
        let entries = self.others.iter().filter_map(|place| self.entries.get(*place as usize));
        entries.map(|entry| (self.name(entry), domain_entry(entry)))
    }

    /// The entry of exactly this name.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, DomainEntry)> {
        let entry = self.entries.get(self.find(name)?)?;
        Some((self.name(entry), domain_entry(entry)))
    }

    /// The rows of exactly this name, by list.
    pub(crate) fn rows(&self, name: &str) -> &[Row] {
        let Some(index) = self.find(name) else { return &[] };
        let start = |index: usize| self.entries.get(index).map(|entry| entry.row as usize);
        let end = start(index + 1).unwrap_or(self.rows.len());
        start(index).and_then(|start| self.rows.get(start..end)).unwrap_or_default()
    }

    /// The names of a list, in order, each once.
    pub(crate) fn names_of(&self, list: u16) -> impl Iterator<Item = &str> {
        let rows = self.rows.iter().filter(move |row| row.list == list);
        rows.map(|row| name_of(&self.text, row))
    }

    pub(super) fn name(&self, entry: &Entry) -> &str {
        entry_name(&self.text, &self.rows, entry)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let order = |entry: &Entry| -> Ordering { self.name(entry).cmp(name) };
        self.entries.binary_search_by(order).ok()
    }
}

fn entry_name<'text>(text: &'text str, rows: &[Row], entry: &Entry) -> &'text str {
    rows.get(entry.row as usize).map_or("", |row| name_of(text, row))
}

pub(super) fn name_of<'text>(text: &'text str, row: &Row) -> &'text str {
    let start = row.start as usize;
    text.get(start..start + usize::from(row.length)).unwrap_or_default()
}

pub(super) fn domain_entry(entry: &Entry) -> DomainEntry {
    DomainEntry { categories: entry.categories, list: entry.list, canary: 0, reserved: [0; 5] }
}
