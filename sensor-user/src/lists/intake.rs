//! Where the lines of a file are counted, and its names handed on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::host::{self, Host};
use super::report::{Example, FileReport};
use super::{Entry, Reason, Take, Taken};
use crate::policy::{listed_prefix, shown};

/// Examples of one reason: enough to see what it is about.
const EXAMPLES_MAX: u64 = 3;

/// Examples of public suffixes: a policy warns of each, as somebody may rely on it.
const SUFFIXES_MAX: u64 = 20;

/// Bytes of a line an example is made from: more than is shown of it.
const EXAMPLE_BYTES: usize = 400;

/// The counts of one file as it is read.
pub(super) struct Intake<'a, 't> {
    report: FileReport,
    /// The line that is read, counted from 1.
    line: u32,
    /// Entries counted on it.
    entries: u64,
    take: &'a mut Take<'t>,
    flow: ControlFlow<()>,
}

impl<'a, 't> Intake<'a, 't> {
    pub(super) fn new(file: PathBuf, take: &'a mut Take<'t>) -> Self {
        let report = FileReport { file, ..FileReport::default() };
        Self { report, line: 0, entries: 0, take, flow: ControlFlow::Continue(()) }
    }

    pub(super) fn file(&self) -> &Path {
        &self.report.file
    }

    pub(super) fn line(&self) -> u32 {
        self.line
    }

    pub(super) fn begin_line(&mut self) {
        self.report.counts.lines += 1;
        self.line = self.line.saturating_add(1);
        self.entries = 0;
    }

    /// Ends a line; a break where whoever takes the names broke off.
    ///
    /// A line of which nothing was counted counts here, so that the sums hold whatever a parser does.
    pub(super) fn end_line(&mut self) -> ControlFlow<()> {
        if self.entries == 0 {
            self.count(Reason::InvalidLine, b"");
        }
        self.report.counts.further += self.entries - 1;
        self.flow
    }

    /// Counts the line, or an entry on it, and keeps `text` as an example of what was left out.
    pub(super) fn count(&mut self, reason: Reason, text: &[u8]) {
        self.entries += 1;
        let before = self.report.counts.add(reason);
        let examples_max = if reason == Reason::PublicSuffix {
            SUFFIXES_MAX
        } else if reason.is_left_out() {
            EXAMPLES_MAX
        } else {
            0
        };
        if before < examples_max {
            self.keep(reason, text);
        }
    }

    #[cold]
    fn keep(&mut self, reason: Reason, text: &[u8]) {
        let text = text.get(..EXAMPLE_BYTES).unwrap_or(text);
        let text = shown(&String::from_utf8_lossy(text));
        self.report.examples.push(Example { reason, line: self.line, text });
    }

    /// Counts a host as it is written, and hands its name on if it is one.
    pub(super) fn host(&mut self, text: &[u8]) {
        match host::read(text) {
            Ok(Host { name, is_international, is_private_suffix }) => {
                self.report.counts.idn += u64::from(is_international);
                self.report.counts.private_suffix += u64::from(is_private_suffix);
                self.count(Reason::Name, b"");
                self.give(Entry::Name(&name));
            }
            Err(Reason::Address) => self.address(text),
            Err(reason) => self.count(reason, text),
        }
    }

    /// Counts an address, and hands it on if it is written as one can be listed.
    fn address(&mut self, text: &[u8]) {
        let listed = std::str::from_utf8(text).ok().and_then(|text| listed_prefix(text.trim()));
        if let Some(Ok(prefix)) = listed
            && self.give(Entry::Prefix(&prefix)) == Taken::Yes
        {
            self.count(Reason::Prefix, b"");
        } else {
            self.count(Reason::Address, text);
        }
    }

    pub(super) fn hash(&mut self, hash: [u8; 32]) {
        self.count(Reason::Hash, b"");
        self.give(Entry::Hash(hash));
    }

    /// Hands an entry on, as long as whoever takes them goes on.
    fn give(&mut self, entry: Entry<'_>) -> Taken {
        if self.flow.is_break() {
            return Taken::No;
        }
        match (self.take)(entry, self.line) {
            ControlFlow::Continue(taken) => taken,
            ControlFlow::Break(()) => {
                self.flow = ControlFlow::Break(());
                Taken::No
            }
        }
    }

    pub(super) fn into_report(self) -> FileReport {
        self.report
    }
}
