//! What is wrong with a configuration file: where, what, and what to do about it.

use std::fmt::{self, Display};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::knobs::KNOBS;

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot read the configuration; name another with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file was read and is wrong. All that was found is listed, one problem a line.
    #[error("{}", Listing(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1; none where the trouble is what the file does not say.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where the message does not say.
    pub remedy: Option<String>,
}

/// Problems as `file:line: message; remedy`.
struct Listing<'a>(&'a Path, &'a [Problem]);

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, problems) = self;
        for (index, Problem { line, message, remedy }) in problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", path.display())?;
            if let Some(line) = line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {message}")?;
            if let Some(remedy) = remedy {
                write!(f, "; {remedy}")?;
            }
        }
        Ok(())
    }
}

/// Gathers problems of one text.
pub(super) struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Line of a place in the text.
    pub(super) fn line(&self, place: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(place.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// Something wrong at a place of the text.
    pub(super) fn at(
        &mut self,
        place: &Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let line = Some(self.line(place));
        self.found.push(Problem { line, message: message.into(), remedy: Some(remedy.into()) });
    }

    /// Something the text lacks.
    pub(super) fn missing(&mut self, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(Problem {
            line: None,
            message: message.into(),
            remedy: Some(remedy.into()),
        });
    }

    /// What the parser could not read: there is no more to check then.
    pub(super) fn syntax(&self, error: &toml::de::Error, path: &Path) -> ConfigError {
        let line = error.span().map(|place| self.line(&place));
        let source = line.and_then(|line| self.text.lines().nth(line - 1)).unwrap_or_default();
        let (message, remedy) = explain(error.message(), source);
        let problems = vec![Problem { line, message, remedy }];
        ConfigError::Invalid { path: path.to_owned(), problems }
    }

    /// The value if nothing was wrong.
    pub(super) fn finish<T>(self, path: &Path, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        let mut problems = self.found;
        problems.sort_by_key(|problem| problem.line);
        Err(ConfigError::Invalid { path: path.to_owned(), problems })
    }
}

/// The parser's message in the file's own terms, and a remedy.
///
/// Serde quotes with backticks: first what it found, then what it expected. A message of another
/// make passes unchanged.
fn explain(message: &str, source: &str) -> (String, Option<String>) {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut quoted = message.split('`').skip(1).step_by(2);
    let found = quoted.next().unwrap_or_default();
    let expected: Vec<&str> = quoted.collect();
    if message.starts_with("unknown field") {
        let elsewhere = KNOBS.iter().find(|knob| knob.key == found);
        let remedy = match (nearest(found, &expected), elsewhere) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(knob)) => format!("it belongs under [{}]", knob.table),
            (None, None) => format!("known here: {}", expected.join(", ")),
        };
        return (format!("unknown key `{found}`"), Some(remedy));
    }
    if message.starts_with("unknown variant") {
        let remedy = match nearest(found, &expected) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("use one of \"{}\"", expected.join("\", \"")),
        };
        return (format!("unknown value \"{found}\""), Some(remedy));
    }
    if message.starts_with("duplicate key") {
        return (message, Some("keep one of the two".to_owned()));
    }
    let key = source.split('=').next().unwrap_or_default().trim();
    let remedy = KNOBS
        .iter()
        .find(|knob| knob.key == key)
        .map(|knob| format!("give {} to {} ({})", knob.min, knob.max, knob.unit))
        .or_else(|| {
            message.contains("expected a string").then(|| "write it in double quotes".to_owned())
        })
        .or_else(|| {
            message.contains("expected a sequence").then(|| "write it in brackets".to_owned())
        });
    let message = message.replace("expected i64", "expected a whole number");
    (message.replace("expected a sequence", "expected a list"), remedy)
}

/// The candidate a typing error away, if there is one.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (near, distance) = candidates
        .iter()
        .map(|candidate| (*candidate, edits(word, candidate)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= (near.len() / 3).max(1)).then_some(near)
}

/// Characters to insert, remove or replace to make one word of the other.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, from) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = left;
        }
        for (cell, to) in cells.zip(to.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn edits_are_counted() {
        let check = |from, to, count| assert_eq!(edits(from, to), count, "{from} {to}");
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "", 3);
        check("lann", "lan", 1);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn only_a_near_miss_is_suggested() {
        assert_eq!(
            nearest("idle_timout_s", &["linger_ms", "idle_timeout_s"]),
            Some("idle_timeout_s")
        );
        assert_eq!(nearest("colour", &["linger_ms", "idle_timeout_s"]), None);
        assert_eq!(nearest("anything", &[]), None);
    }
}
