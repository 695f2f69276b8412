//! Which format a list is in, by trying each on its beginning.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::intake::Intake;
use super::line::{Line, Lines};
use super::parser::Parser;
use super::source::{self, Content};
use super::{Format, ListError};

/// The format a list looks like; nothing if no format makes sense of it.
pub fn guess(path: &Path) -> Result<Option<Format>, ListError> {
    if path.is_dir() {
        return Ok(Some(Format::Ut1));
    }
    Ok(match source::open(path)?.content() {
        Content::Archive(_) => Some(Format::Ut1),
        Content::Text(source) => of_head(&source.head),
    })
}

/// The format the beginning of a file looks like: the one that finds most names in it, less the lines that
/// make no sense to it, if these are not the greater part.
pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    let end = head.iter().rposition(|byte| *byte == b'\n').unwrap_or(head.len());
    let head = head.get(..end).unwrap_or(head);
    let formats = Format::ALL.into_iter().filter(|format| *format != Format::Ut1);
    let scores = formats.filter_map(|format| Some((format, score(head, format)?)));
    // Of equals the first.
    scores.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(format, _)| format)
}

fn score(head: &[u8], format: Format) -> Option<u64> {
    let mut take = |_: super::Entry<'_>, _| ControlFlow::Continue(super::Taken::No);
    let mut intake = Intake::new(PathBuf::new(), &mut take);
    let mut parser = Parser::new(format);
    let mut reader = head;
    let mut lines = Lines::new(&mut reader);
    while let Some(line) = lines.next().ok()? {
        intake.begin_line();
        if let Line::Whole(text) = line {
            // A quote that is not closed here may be closed behind the beginning.
            parser.line(text, &mut intake).ok()?;
        }
        if intake.end_line().is_break() {
            return None;
        }
    }
    let counts = intake.into_report().counts;
    let (bad, all) = counts.nonsense();
    let score = counts.taken().checked_sub(bad).filter(|score| *score > 0)?;
    (bad * 2 <= all).then_some(score)
}
