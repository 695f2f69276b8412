//! Categories of squidGuard, as the blacklists of the university of Toulouse (UT1) have them: a folder
//! `adult` with the files `domains`, `urls`, `expressions` and `usage`, alone or beside others, on disk
//! or in an archive (dsi.ut-capitole.fr/blacklists).
//!
//! An archive is read from its beginning to its end and never unpacked to disk. Members that would
//! lead out of it refuse it. Links are not followed: collections have some, for old names of
//! categories, and who chooses one is told where it leads.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::error::{ListError, ListFault};
use super::parser::Parser;
use super::source::{self, Content, MEMBER_BYTES_MAX, MEMBER_PATH_BYTES_MAX, MEMBERS_MAX, Source};
use super::{FileReport, Format, Reason, Report, Take};
use crate::policy::shown;

/// Categories an error names: all of the largest collection there is.
const KNOWN_MAX: usize = 100;

/// Bytes read at once from a member.
const BUFFER_BYTES: usize = 128 << 10;

/// Reads one category.
pub(super) fn import(
    path: &Path,
    member: Option<&str>,
    take: &mut Take<'_>,
) -> Result<Report, ListError> {
    let fail = |fault| ListError::of_file(path, fault);
    if let Some(member) = member
        && (member.is_empty() || member.starts_with('.') || member.contains(['/', '\\', '\0']))
    {
        return Err(fail(ListFault::MemberName(shown(member))));
    }
    let is_folder = path.metadata().map_err(|error| fail(ListFault::of_io(error)))?.is_dir();
    let (member, files) = if is_folder {
        let folder = folder(path, member).map_err(fail)?;
        let member = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        (member, read_folder(&folder, take)?)
    } else {
        match source::open(path)?.content() {
            Content::Archive(source) => read_archive(path, source, member, take)?,
            Content::Text(_) => return Err(fail(ListFault::NoCategory)),
        }
    };
    Ok(Report { format: Format::Ut1, member, likely: None, files })
}

/// What reads a file of a category; nothing for other files.
fn parser(file: &str) -> Option<Parser> {
    match file {
        "domains" => Some(Parser::new(Format::Ut1)),
        "urls" => Some(Parser::Only(Reason::Url)),
        "expressions" => Some(Parser::Only(Reason::Expression)),
        "usage" => Some(Parser::Only(Reason::Setting)),
        _ => None,
    }
}

/// The folder of the chosen category.
fn folder(path: &Path, member: Option<&str>) -> Result<PathBuf, ListFault> {
    let is_category =
        |folder: &Path| ["domains", "urls"].iter().any(|file| folder.join(file).metadata().is_ok());
    if member.is_none() && is_category(path) {
        return Ok(path.to_path_buf());
    }
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(ListFault::of_io)?.take(MEMBERS_MAX) {
        let entry = entry.map_err(ListFault::of_io)?;
        if is_category(&entry.path()) {
            known.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    choose(member, &known).map(|member| path.join(member))
}

/// The category to read: the one asked for, or the only one there is.
fn choose<'a>(member: Option<&'a str>, known: &'a BTreeSet<String>) -> Result<&'a str, ListFault> {
    let names = || {
        let names: Vec<&str> = known.iter().map(String::as_str).take(KNOWN_MAX).collect();
        shown_names(&names)
    };
    match (member, known.first()) {
        (_, None) => Err(ListFault::NoCategory),
        (Some(member), _) if known.contains(member) => Ok(member),
        (Some(member), _) => {
            Err(ListFault::UnknownMember { member: shown(member), known: names() })
        }
        (None, Some(only)) if known.len() == 1 => Ok(only),
        (None, _) => Err(ListFault::SeveralMembers(names())),
    }
}

fn shown_names(names: &[&str]) -> String {
    names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

fn read_folder(folder: &Path, take: &mut Take<'_>) -> Result<Vec<FileReport>, ListError> {
    let mut files = Vec::new();
    for name in ["domains", "urls", "expressions", "usage"] {
        let path = folder.join(name);
        if let Some(parser) = parser(name)
            && path.metadata().is_ok()
        {
            let mut source = source::open(&path)?;
            files.push(super::read(path, &mut source.reader, parser, take)?);
        }
    }
    Ok(files)
}

/// What has been seen of an archive.
struct Collection<'a> {
    path: &'a Path,
    /// The category to read: asked for, else the first there is.
    member: Option<String>,
    /// Where it is.
    folder: Option<PathBuf>,
    known: BTreeSet<String>,
    files: Vec<FileReport>,
}

fn read_archive(
    path: &Path,
    source: Source,
    member: Option<&str>,
    take: &mut Take<'_>,
) -> Result<(Option<String>, Vec<FileReport>), ListError> {
    let fail = |fault| ListError::of_file(path, fault);
    let fail_io = |error| fail(ListFault::of_io(error));
    let mut collection = Collection {
        path,
        member: member.map(str::to_owned),
        folder: None,
        known: BTreeSet::new(),
        files: Vec::new(),
    };
    let mut archive = Archive::new(source.reader);
    let mut long_path = None;
    // Raw: the library would read attributes of any length into memory.
    for (index, entry) in archive.entries().map_err(fail_io)?.raw(true).enumerate() {
        let mut entry = entry.map_err(fail_io)?;
        if index == MEMBERS_MAX {
            return Err(fail(ListFault::TooManyMembers));
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            let mut path = attributes(&mut entry).map_err(fail)?;
            path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
            long_path = Some(path);
        } else if kind.is_pax_local_extensions() {
            let attributes = attributes(&mut entry).map_err(fail)?;
            long_path = pax_path(&attributes).map_err(fail)?.or(long_path);
        } else if !kind.is_gnu_longlink() && !kind.is_pax_global_extensions() {
            let path = long_path.take().unwrap_or_else(|| entry.path_bytes().into_owned());
            collection.member(kind, &path, entry, take)?;
        }
    }
    // To its end, where gzip tells whether all of it is as it was packed.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(fail_io)?;
    let Collection { member: chosen, known, files, .. } = collection;
    if files.is_empty() || (member.is_none() && known.len() > 1) {
        choose(member, &known).map_err(fail)?;
        return Err(fail(ListFault::NoCategory));
    }
    Ok((chosen, files))
}

impl Collection<'_> {
    /// Reads a member if it is a file of the chosen category.
    fn member(
        &mut self,
        kind: EntryType,
        path: &[u8],
        entry: Entry<'_, impl Read>,
        take: &mut Take<'_>,
    ) -> Result<(), ListError> {
        let fail = |fault| Err(ListError::of_file(self.path, fault));
        let text = String::from_utf8_lossy(path);
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if text.starts_with('/') || parts.contains(&"..") {
            return fail(ListFault::MemberPath(shown(&text)));
        }
        let [folders @ .., file] = &*parts else { return Ok(()) };
        let category = folders.last().copied().unwrap_or_default();
        let is_chosen = |name: &str| self.member.as_deref() == Some(name);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            let is_wanted = self.member.is_none() && parser(file).is_some();
            if is_wanted || is_chosen(category) || is_chosen(file) {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = shown(&String::from_utf8_lossy(&target));
                return fail(ListFault::MemberLink { path: shown(&text), target });
            }
            return Ok(());
        }
        if kind == EntryType::Directory {
            return Ok(());
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return fail(ListFault::MemberKind(shown(&text)));
        }
        let Some(parser) = parser(file) else { return Ok(()) };
        if matches!(*file, "domains" | "urls") && self.known.len() < MEMBERS_MAX {
            self.known.insert(category.to_owned());
        }
        if self.member.is_none() {
            self.member = Some(category.to_owned());
        } else if !is_chosen(category) {
            return Ok(());
        }
        let folder: PathBuf = folders.iter().collect();
        let is_known = self.folder.as_ref().is_none_or(|known| *known == folder);
        let at = self.path.join(category).join(file);
        if !is_known || self.files.iter().any(|file| file.file == at) {
            return fail(ListFault::MemberTwice(shown(&text)));
        }
        self.folder = Some(folder);
        let size = entry.header().size().map_err(ListFault::of_io);
        if size.map_err(|fault| ListError::of_file(self.path, fault))? > MEMBER_BYTES_MAX {
            return fail(ListFault::MemberTooLarge(shown(&text)));
        }
        let mut reader: Box<dyn BufRead> = Box::new(BufReader::with_capacity(BUFFER_BYTES, entry));
        self.files.push(super::read(at, &mut reader, parser, take)?);
        Ok(())
    }
}

/// Reads what is written in front of a member: its path if it is long, and further attributes.
fn attributes(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, ListFault> {
    if entry.header().size().map_err(ListFault::of_io)? > MEMBER_PATH_BYTES_MAX {
        return Err(ListFault::MemberPathTooLong);
    }
    let mut bytes = Vec::new();
    entry.take(MEMBER_PATH_BYTES_MAX).read_to_end(&mut bytes).map_err(ListFault::of_io)?;
    Ok(bytes)
}

/// The path among a member's attributes. One with a size of its own is larger than is read.
fn pax_path(attributes: &[u8]) -> Result<Option<Vec<u8>>, ListFault> {
    let mut path = None;
    for attribute in PaxExtensions::new(attributes) {
        let attribute = attribute.map_err(ListFault::of_io)?;
        match attribute.key_bytes() {
            b"path" => path = Some(attribute.value_bytes().to_vec()),
            b"size" => {
                let name = path.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                return Err(ListFault::MemberTooLarge(shown(&name)));
            }
            _ => {}
        }
    }
    Ok(path)
}
