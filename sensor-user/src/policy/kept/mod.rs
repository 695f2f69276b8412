//! Compiled names kept in files, so that lists which were read once need not be read again: to make a table of five
//! million names takes seconds, to map its file none.
//!
//! A file is found by what its names were compiled of, see [`Id`]; nothing that has changed is found. Words of eight bytes,
//! in the machine's order:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 8 | [`VERSION`] |
//! | 16 | bytes of the five parts that follow, each from a multiple of 64 on |
//! | 56 | sum of the words in front of it and of the parts, filled up with zeros |
//!
//! The parts are what is known of the lists, in JSON, and text, rows, entries and others of a [`Table`]. Files are readable
//! for their owner alone, written beside their place and then renamed, and never changed. What a power cut leaves of one, its
//! sum tells.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tracing::{debug, warn};

use crate::hex::hex;
use crate::policy::List;
use crate::policy::Place;
use crate::policy::compile::{Interest, Names};
use crate::policy::file::ListDeclaration;
use crate::policy::list::Sources;
use crate::policy::table::{Part, Table};
use crate::policy::warning::{Warning, Warnings};
use crate::sum::{Sum, WORDS};

/// Version of the file and of what is compiled: raised when either changes.
const VERSION: u64 = 1;

/// The first word.
const MAGIC: u64 = u64::from_ne_bytes(*b"cs-lists");

/// Where parts may begin: as lines of a CPU's cache do.
const ALIGNMENT: usize = 64;

const PARTS: usize = 5;

/// Bytes in front of the parts.
const HEAD_BYTES: usize = 64;

/// Files of a kind that are kept: those in force, the ones before them, and the ones to come.
const FILES_MAX: usize = 3;

/// Bytes of lists whose names are worth a file: fewer are read in a tenth of a second.
const LEAST_BYTES: u64 = 4 << 20;

/// What is written for longer than this is written no more.
const LEFT_OVER: Duration = Duration::from_hours(1);

/// Ends of the files' names.
const NAMES: &str = "names";
const TABLE: &str = "table";

/// What names were compiled of: the SHA-256 of every list and of all that the policy file says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id([u8; 32]);

impl Id {
    /// `own` are the lists of the policy file, whose names are `names`; `digests` are of those of `declared` that are the
    /// project's own.
    pub(super) fn of(
        own: &[List],
        declared: &[ListDeclaration],
        names: &Names,
        interest: Interest,
        digests: &[[u8; 32]],
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_ne_bytes());
        let mut list = |id: &str, mask: u64, protected: bool| {
            hash.update(format!("{id} {mask} {protected}\n"));
        };
        for one in own {
            list(&one.id, one.mask, one.protected);
        }
        for one in declared {
            list(&one.id, one.categories, one.protected);
        }
        let Interest { block, alert, protected, excepted } = interest;
        hash.update(bytemuck::cast_slice(&[block, alert, protected, excepted]));
        hash.update((names.text.len() as u64).to_ne_bytes());
        hash.update(&names.text);
        hash.update(bytemuck::cast_slice(&names.rows));
        hash.update(bytemuck::cast_slice(digests));
        Self(hash.finalize().into())
    }

    /// The id of what is made of these names and something else.
    #[must_use]
    pub fn with(self, what: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(self.0).chain_update(what).finalize().into())
    }
}

/// What is kept of a list beside its names.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct KeptList {
    /// The day its comments name.
    pub(super) dated: Option<Date>,
    pub(super) names: u32,
    pub(super) sources: Sources,
}

/// What was kept.
pub(super) struct Kept {
    pub(super) table: Table,
    /// Of names.
    pub(super) warnings: Warnings,
    /// Of the project's own lists, in order.
    pub(super) lists: Vec<KeptList>,
}

/// What is kept of all lists.
#[derive(Deserialize)]
struct Head {
    warnings: Warnings,
    lists: Vec<KeptList>,
}

/// The folder of the files.
#[derive(Clone, Debug)]
pub struct Keep {
    folder: PathBuf,
    pub(super) least_bytes: u64,
}

impl Keep {
    /// Files are kept in this folder, which need not be there yet.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), least_bytes: LEAST_BYTES }
    }

    /// The same of lists of any size.
    #[cfg(test)]
    pub(crate) fn everything(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), least_bytes: 0 }
    }

    /// Where the table that the kernel has of these names is kept.
    pub fn table_file(&self, id: Id) -> PathBuf {
        self.file(id, TABLE)
    }

    /// Says that a file was of use, and removes those that were not for the longest time.
    pub fn used(&self, file: &Path) {
        let touched = File::open(file).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched.and_then(|()| self.prune(file)) {
            debug!(%error, "kept lists are not looked after");
        }
    }

    fn file(&self, id: Id, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", hex(id.0)))
    }

    /// Removes the oldest files of a kind, and what was never finished because its writer was killed.
    fn prune(&self, like: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let modified = path.metadata()?.modified()?;
            let kind = path.extension().and_then(OsStr::to_str);
            if path.extension() == like.extension() {
                files.push((modified, path));
            } else if !matches!(kind, Some(NAMES | TABLE))
                && modified.elapsed().unwrap_or_default() > LEFT_OVER
            {
                fs::remove_file(path)?;
            }
        }
        files.sort();
        let old = files.len().saturating_sub(FILES_MAX);
        files.iter().take(old).try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// The names of this id, where they are kept and their file is whole.
    pub(super) fn open(&self, id: Id, policy: &Path) -> Option<Kept> {
        let path = self.file(id, NAMES);
        let file = File::open(&path).ok()?;
        let kept = read(&file, policy);
        if kept.is_none() {
            warn!(file = %path.display(), "is no file of names of this version: it is made again");
        }
        self.used(&path);
        kept
    }

    /// Keeps names under their id. False where that fails: then they are read again another time.
    pub(super) fn put(
        &self,
        id: Id,
        policy: &Path,
        table: &Table,
        warnings: &Warnings,
        lists: &[KeptList],
    ) -> bool {
        let path = self.file(id, NAMES);
        let written = self.write(&path, |out| write(out, policy, table, warnings, lists));
        if let Err(error) = &written {
            warn!(file = %path.display(), %error, "names are not kept, and compiled again at the next start");
            return false;
        }
        self.used(&path);
        true
    }

    /// Writes a file of the folder whole, or not at all.
    fn write(
        &self,
        path: &Path,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let file = NamedTempFile::new_in(&self.folder)?;
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file());
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

fn write(
    out: &mut impl Write,
    policy: &Path,
    table: &Table,
    warnings: &Warnings,
    lists: &[KeptList],
) -> io::Result<()> {
    let folder = policy.parent().unwrap_or(Path::new(""));
    let shown = warnings.shown.iter().cloned().map(|warning| {
        moved(warning, |file| file.strip_prefix(folder).map_or(file.clone(), Path::to_owned))
    });
    let warnings = Warnings { shown: shown.collect(), count: warnings.count };
    let head = serde_json::to_vec(&serde_json::json!({ "warnings": warnings, "lists": lists }))?;
    let Table { text, rows, entries, others } = table;
    let parts: [&[u8]; PARTS] = [
        &head,
        text.as_bytes(),
        bytemuck::cast_slice(rows),
        bytemuck::cast_slice(entries),
        bytemuck::cast_slice(others),
    ];
    let lengths = parts.map(|part| part.len() as u64);
    let mut words = first_line(lengths);
    let mut sum = Sum::default();
    sum.add(&words);
    for part in parts {
        add(&mut sum, part);
    }
    if let Some(last) = words.last_mut() {
        *last = sum.total();
    }
    out.write_all(bytemuck::cast_slice(&words))?;
    for part in parts {
        out.write_all(part)?;
        let padding = [0; ALIGNMENT];
        let padded = part.len().next_multiple_of(ALIGNMENT) - part.len();
        out.write_all(padding.get(..padded).unwrap_or_default())?;
    }
    Ok(())
}

/// The first line of a file, the sum apart.
fn first_line(lengths: [u64; PARTS]) -> [u64; WORDS] {
    let mut words = [MAGIC, VERSION, 0, 0, 0, 0, 0, 0];
    words.iter_mut().skip(2).zip(lengths).for_each(|(word, length)| *word = length);
    words
}

/// Adds bytes to a sum, filled up with zeros.
fn add(sum: &mut Sum, bytes: &[u8]) {
    let (lines, rest) = bytes.as_chunks::<ALIGNMENT>();
    let mut last = [0; ALIGNMENT];
    last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    let last = (!rest.is_empty()).then_some(&last);
    for line in lines.iter().chain(last) {
        let mut words = [0; WORDS];
        let bytes = line.as_chunks().0;
        words.iter_mut().zip(bytes).for_each(|(word, bytes)| *word = u64::from_ne_bytes(*bytes));
        sum.add(&words);
    }
}

/// What a file of names holds; `None` where it is none of this version.
#[expect(unsafe_code, reason = "a mapped file")]
fn read(file: &File, policy: &Path) -> Option<Kept> {
    // SAFETY: the file was renamed to its place when it was whole, and nobody writes to it: what is kept anew is another
    // file. Who else may write here may stop the daemon anyhow.
    let map = Arc::new(unsafe { Mmap::map(file) }.ok()?);
    let words: &[u64] = bytemuck::try_cast_slice(map.get(..HEAD_BYTES)?).ok()?;
    let [MAGIC, VERSION, lengths @ .., written] = words else { return None };
    let mut sum = Sum::default();
    sum.add(&first_line(*lengths.as_array()?));
    add(&mut sum, map.get(HEAD_BYTES..)?);
    if sum.total() != *written {
        return None;
    }
    let mut from = HEAD_BYTES;
    let mut parts: [Range<usize>; PARTS] = Default::default();
    for (part, length) in parts.iter_mut().zip(lengths) {
        let end = from.checked_add(usize::try_from(*length).ok()?)?;
        *part = from..end;
        from = end.checked_next_multiple_of(ALIGNMENT)?;
    }
    if from != map.len() {
        return None;
    }
    let [head, text, rows, entries, others] = parts;
    let head: Head = serde_json::from_slice(map.get(head)?).ok()?;
    let table = Table {
        text: str::from_utf8(map.get(text)?).ok()?.to_owned(),
        rows: Part::of_file(&map, rows)?,
        entries: Part::of_file(&map, entries)?,
        others: Part::of_file(&map, others)?,
    };
    let folder = policy.parent().unwrap_or(Path::new(""));
    let Head { mut warnings, lists } = head;
    let shown = warnings.shown.into_iter();
    warnings.shown = shown.map(|warning| moved(warning, |file| folder.join(file))).collect();
    Some(Kept { table, warnings, lists })
}

/// A warning with another path where it names a file: policies move, with their lists.
fn moved(warning: Warning, path: impl FnOnce(&PathBuf) -> PathBuf) -> Warning {
    match warning {
        Warning::Registry { name, place: Place { file, line } } => {
            Warning::Registry { name, place: Place { file: path(&file), line } }
        }
        same @ (Warning::Protected { .. }
        | Warning::AllowedAndBlocked(_)
        | Warning::TopLevelDomain(_)
        | Warning::EmptyList { .. }
        | Warning::OwnAddresses(_)
        | Warning::ExceptionOver { .. }
        | Warning::PublicSuffix { .. }) => same,
    }
}

#[cfg(test)]
mod tests;
