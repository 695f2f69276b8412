//! What became of every line of a list.

use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::reason::Weight;
use super::{Format, ListError, ListFault, Reason};
use crate::cli::table::{Column, write_table};

/// How many lines were counted as what.
///
/// Every line is counted once, and so is each further entry on a line of several:
/// `lines + further` is the sum over all reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines.
    pub lines: u64,
    /// Entries beyond the first on their line.
    pub further: u64,
    /// Of the names, those whose A-label was made from Unicode.
    pub idn: u64,
    /// Of the names, those under which a company lets strangers have theirs, such as `github.io`.
    pub private_suffix: u64,
    by_reason: [u64; Reason::ALL.len()],
}

impl Counts {
    /// How many lines or entries were counted as this.
    pub fn of(&self, reason: Reason) -> u64 {
        self.by_reason.get(reason as usize).copied().unwrap_or_default()
    }

    /// The reasons there are any of, in the order of [`Reason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.of(reason)))
            .filter(|(_, count)| *count > 0)
    }

    /// Counts one more, and returns how many there were.
    pub(super) fn add(&mut self, reason: Reason) -> u64 {
        let Some(count) = self.by_reason.get_mut(reason as usize) else { return 0 };
        *count += 1;
        *count - 1
    }

    fn merge(&mut self, other: &Self) {
        self.lines += other.lines;
        self.further += other.further;
        self.idn += other.idn;
        self.private_suffix += other.private_suffix;
        for (sum, count) in self.by_reason.iter_mut().zip(other.by_reason) {
            *sum += count;
        }
    }

    /// Names and hashes that were handed on.
    pub fn taken(&self) -> u64 {
        self.of(Reason::Name) + self.of(Reason::Hash) + self.of(Reason::Prefix)
    }

    /// What makes no sense in this format, and all that is neither blank nor a comment.
    pub(super) fn nonsense(&self) -> (u64, u64) {
        let (mut bad, mut all) = (0, 0);
        for (reason, count) in self.iter() {
            match reason.weight() {
                Weight::None => {}
                Weight::Understood => all += count,
                Weight::Nonsense => {
                    bad += count;
                    all += count;
                }
            }
        }
        (bad, all)
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("lines", &self.lines)?;
        map.serialize_entry("further", &self.further)?;
        map.serialize_entry("idn", &self.idn)?;
        map.serialize_entry("private-suffix", &self.private_suffix)?;
        for (reason, count) in self.iter() {
            map.serialize_entry(reason.name(), &count)?;
        }
        map.end()
    }
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Why.
    pub reason: Reason,
    /// Where, counted from 1.
    pub line: u32,
    /// What it says, shortened and escaped.
    pub text: String,
}

/// What became of one file of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The file; of an archive, its path behind that of the archive.
    pub file: PathBuf,
    /// Its counts.
    pub counts: Counts,
    /// The first few lines of each reason for which something was left out, in order of lines.
    pub examples: Vec<Example>,
}

/// What became of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The format it was read as.
    pub format: Format,
    /// The category of a collection that was read.
    pub member: Option<String>,
    /// The format its beginning looks like.
    pub(super) likely: Option<Format>,
    /// Its files: one, or those of the category.
    pub files: Vec<FileReport>,
}

impl Report {
    /// The sum over all files.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for file in &self.files {
            total.merge(&file.counts);
        }
        total
    }

    /// The file names were taken from, else the first.
    pub fn names_file(&self) -> Option<&FileReport> {
        let mut files = self.files.iter();
        files.find(|file| file.counts.taken() > 0).or(self.files.first())
    }

    /// Every example of a reason, with its file.
    pub fn examples(&self, reason: Reason) -> impl Iterator<Item = (&FileReport, &Example)> {
        self.files.iter().flat_map(move |file| {
            let examples = file.examples.iter().filter(move |example| example.reason == reason);
            examples.map(move |example| (file, example))
        })
    }

    /// The report in a line: `hosts, 3 names of 9 lines; left out: 2 address, 1 url`.
    pub fn summary(&self) -> String {
        let total = self.total();
        let left_out = total.iter().filter(|(reason, _)| reason.is_left_out());
        let left_out: Vec<String> =
            left_out.map(|(reason, count)| format!("{count} {}", reason.name())).collect();
        let left_out = if left_out.is_empty() { "nothing".to_owned() } else { left_out.join(", ") };
        let (format, taken, lines) = (self.format.name(), total.taken(), total.lines);
        format!("{format}, {taken} names of {lines} lines; left out: {left_out}")
    }

    /// Refuses a list that is mostly not understood, and one without a name: half a list blocks half
    /// of what its author meant, and an error page blocks nothing.
    pub fn check(&self) -> Result<(), ListError> {
        let total = self.total();
        let (bad, all) = total.nonsense();
        let likely = self.likely.filter(|likely| *likely != self.format);
        if bad * 2 > all {
            let is_nonsense = |example: &&Example| example.reason.weight() == Weight::Nonsense;
            let first = self
                .files
                .iter()
                .find_map(|file| Some((file, file.examples.iter().find(is_nonsense)?)));
            if let Some((file, Example { line, text, .. })) = first {
                let fault = ListFault::Nonsense {
                    format: self.format,
                    bad,
                    all,
                    example: text.clone(),
                    likely,
                };
                return Err(ListError::at_line(&file.file, *line, fault));
            }
        }
        if total.taken() == 0
            && let Some(file) = self.files.first()
        {
            let fault = ListFault::NoName { format: self.format, likely };
            return Err(ListError::of_file(&file.file, fault));
        }
        Ok(())
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("format", &self.format)?;
        map.serialize_entry("member", &self.member)?;
        map.serialize_entry("total", &self.total())?;
        map.serialize_entry("files", &self.files)?;
        map.end()
    }
}

/// A table: how many, what, why, and where the first of them is.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        let columns = [
            Column::Number("count"),
            Column::Word("reason"),
            Column::Text("which is", 24),
            Column::Text("first at", 16),
            Column::Text("such as", 16),
        ];
        let rows = total.iter().map(|(reason, count)| {
            let first = self.examples(reason).next();
            let place = first.map(|(file, example)| {
                let name = file.file.file_name().unwrap_or(file.file.as_os_str());
                format!("{}:{}", name.to_string_lossy(), example.line)
            });
            vec![
                count.to_string(),
                reason.name().to_owned(),
                reason.meaning().to_owned(),
                place.unwrap_or_default(),
                // The table escapes all that is not ASCII.
                first.map(|(_, example)| example.text.replace('…', "...")).unwrap_or_default(),
            ]
        });
        let mut table = Vec::new();
        write_table(&columns, rows, &mut table).map_err(|_error| fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&table))?;
        let Counts { lines, further, idn, private_suffix, .. } = total;
        write!(f, "{lines} lines")?;
        if further > 0 {
            write!(f, ", {further} further entries on lines of several")?;
        }
        if self.files.len() > 1 {
            write!(f, ", in {} files", self.files.len())?;
        }
        writeln!(f)?;
        if idn > 0 {
            writeln!(f, "{idn} of the names were made ASCII (xn--)")?;
        }
        if private_suffix > 0 {
            writeln!(
                f,
                "{private_suffix} of the names have strangers' names under them, such as github.io"
            )?;
        }
        Ok(())
    }
}
