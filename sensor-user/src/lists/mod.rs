//! Category lists that others keep, in their formats: what of them can be enforced by name.
//!
//! `source` opens a file and unpacks it, `line` cuts it into lines, a parser for each format finds the
//! hosts on a line, `host` says what a host is worth, and `intake` counts it and hands names on. Nothing
//! of a list is kept but counts and a few examples, so the memory it takes does not grow with the list.
//!
//! Lists of others have lines that no policy can use, and bad ones. Both are left out and counted,
//! each under a [`Reason`]: a [`Report`] accounts for every line. A file that is mostly not understood
//! is refused ([`Report::check`]), as is one without a single name: it is of another format, or
//! what was downloaded is an error page.
//!
//! The project's own format, one name a line, is read by the policy itself and tolerates nothing.

mod adblock;
mod csv;
mod dnsmasq;
mod error;
mod format;
mod guess;
mod host;
mod hosts;
mod intake;
mod line;
mod parser;
mod plain;
mod reason;
mod report;
mod rpz;
mod source;
#[cfg(test)]
mod tests;
mod unbound;
mod ut1;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use self::intake::Intake;
use self::line::{Line, Lines};
use self::parser::Parser;
use self::source::{Content, Source};

pub use self::error::{ListError, ListFault};
pub use self::format::Format;
pub use self::guess::guess;
pub use self::reason::Reason;
pub use self::report::{Counts, Example, FileReport, Report};

/// What a list says on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A canonical name, as [`crate::policy::name::listed`] makes it.
    Name(&'a str),
    /// An address or a prefix, as it makes it.
    Prefix(&'a str),
    /// SHA-256 of a canonical name.
    Hash([u8; 32]),
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is taken.
    Yes,
    /// It is not wanted: so are addresses most often.
    No,
}

/// Takes an entry and the line it is on, counted from 1; a break ends the import.
pub type Take<'a> = dyn FnMut(Entry<'_>, u32) -> ControlFlow<(), Taken> + 'a;

/// A list, and how to read it.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// A file; for [`Format::Ut1`] also a folder or an archive of folders.
    pub path: &'a Path,
    /// Its format.
    pub format: Format,
    /// The category of a collection; only for [`Format::Ut1`].
    pub member: Option<&'a str>,
}

/// Reads a list from its beginning to its end, and hands on what can be enforced.
///
/// The report says what was left out; [`Report::check`] says whether the list is good for anything.
///
/// # Errors
///
/// What cannot be read at all: no such file or category, an archive that is cut or holds members that
/// lead out of it, more bytes or members than are read. [`ListFault::Stopped`] if `take` broke off.
pub fn import(selection: Selection<'_>, take: &mut Take<'_>) -> Result<Report, ListError> {
    let Selection { path, format, member } = selection;
    if format == Format::Ut1 {
        return ut1::import(path, member, take);
    }
    if member.is_some() {
        return Err(ListError::of_file(path, ListFault::MemberUnused(format)));
    }
    let (head, mut reader) = match source::open(path)?.content() {
        Content::Text(Source { head, reader }) => (head, reader),
        Content::Archive(_) => return Err(ListError::of_file(path, ListFault::Archive)),
    };
    let parser = Parser::new(format);
    let file = read(path.to_path_buf(), &mut reader, parser, take)?;
    let mut report = Report { format, member: None, likely: None, files: vec![file] };
    if report.check().is_err() {
        report.likely = guess::of_head(&head);
    }
    Ok(report)
}

/// Reads the lines of one file, from a buffered reader; `at` is what errors and the report call it.
fn read(
    at: PathBuf,
    reader: &mut dyn std::io::BufRead,
    mut parser: Parser,
    take: &mut Take<'_>,
) -> Result<FileReport, ListError> {
    let mut intake = Intake::new(at, take);
    let mut lines = Lines::new(reader);
    loop {
        let line = lines.next().map_err(|error| {
            let line = intake.line().saturating_add(1);
            ListError::at_line(intake.file(), line, ListFault::of_io(error))
        })?;
        let Some(line) = line else { break };
        intake.begin_line();
        match line {
            Line::TooLong(start) => intake.count(Reason::LineTooLong, start),
            Line::Whole(text) => parser.line(text, &mut intake)?,
        }
        if intake.end_line().is_break() {
            return Err(ListError::at_line(intake.file(), intake.line(), ListFault::Stopped));
        }
    }
    parser.end(&intake)?;
    Ok(intake.into_report())
}
