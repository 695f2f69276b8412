//! Lists of every format: what is taken of them, and what becomes of every line.

mod bombs;
mod collections;
mod formats;
mod properties;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::{Entry, Format, ListError, Reason, Report, Selection, Taken, import};

/// A list that was read: its names with their lines, and its report.
struct Read {
    names: Vec<(String, u32)>,
    hashes: Vec<[u8; 32]>,
    report: Report,
}

/// Reads a list that is somewhere.
fn read_at(path: &Path, format: Format, member: Option<&str>) -> Result<Read, ListError> {
    let (mut names, mut hashes) = (Vec::new(), Vec::new());
    let report = import(Selection { path, format, member }, &mut |entry, line| {
        match entry {
            Entry::Name(name) => names.push((name.to_owned(), line)),
            Entry::Hash(hash) => hashes.push(hash),
            Entry::Prefix(_) => {}
        }
        ControlFlow::Continue(Taken::No)
    })?;
    assert_sums(&report);
    Ok(Read { names, hashes, report })
}

/// Reads a list that is written for it; errors name it `list`.
fn read(text: &[u8], format: Format) -> Result<Read, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, text).unwrap();
    let shown = |error: ListError| error.to_string().replace(&*path.to_string_lossy(), "list");
    read_at(&path, format, None).map_err(shown)
}

/// Every line, and every further entry on one, is counted once.
fn assert_sums(report: &Report) {
    for counts in report.files.iter().map(|file| file.counts.clone()).chain([report.total()]) {
        let sum: u64 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, counts.lines + counts.further, "{counts:?}");
    }
}

/// Why the list is refused, with its file named `list`.
fn refusal(text: &[u8], format: Format) -> String {
    let read = match read(text, format) {
        Ok(read) => read,
        Err(error) => return error,
    };
    let error = read.report.check().unwrap_err().to_string();
    let file = read.report.files[0].file.to_string_lossy().into_owned();
    error.replace(&file, "list")
}

#[test]
fn every_reason_has_its_place_and_a_name_of_its_own() {
    for (place, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place);
        let same = Reason::ALL.into_iter().filter(|other| other.name() == reason.name());
        assert_eq!(same.count(), 1, "{}", reason.name());
    }
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Some(format));
    }
}
