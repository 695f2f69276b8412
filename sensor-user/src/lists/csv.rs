//! Comma-separated values (RFC 4180): the column that holds hosts, by the header or by the first line.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::host;
use super::intake::Intake;
use super::line::LINE_BYTES_MAX;
use super::{ListError, ListFault, Reason};

/// Names of columns that hold hosts; of two, the first in this order.
const COLUMNS: [&str; 12] = [
    "domain",
    "domain_name",
    "domainname",
    "hostname",
    "host",
    "fqdn",
    "name",
    "site",
    "website",
    "indicator",
    "ioc_value",
    "url",
];

/// Characters between columns; of those on the first line, the most frequent.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Bytes of one record, over lines: those of a line, and as much again for what it goes on with.
const RECORD_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// Columns of one record: feeds have a few dozen.
const COLUMNS_MAX: usize = 1024;

/// What has been read of a table.
pub(super) struct Csv {
    reader: Reader,
    /// The column that holds hosts, once it is known.
    column: Option<usize>,
    has_begun: bool,
    /// Fields of the record, one behind the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    /// How much of both is used.
    used: (usize, usize),
    /// A quote is open, since this line.
    opened: Option<u32>,
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            reader: Reader::new(),
            column: None,
            has_begun: false,
            text: vec![0; RECORD_BYTES_MAX],
            ends: vec![0; COLUMNS_MAX],
            used: (0, 0),
            opened: None,
        }
    }
}

impl Csv {
    pub(super) fn line(
        &mut self,
        line: &[u8],
        intake: &mut Intake<'_, '_>,
    ) -> Result<(), ListError> {
        if self.opened.is_none() {
            match line.trim_ascii().first() {
                None => {
                    intake.count(Reason::Blank, line);
                    return Ok(());
                }
                Some(b'#') => {
                    intake.count(Reason::Comment, line);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        if !self.has_begun {
            self.has_begun = true;
            self.reader = ReaderBuilder::new().delimiter(delimiter(line)).build();
        }
        let mut counted = false;
        for mut input in [line, b"\n"] {
            while !input.is_empty() {
                let (text, ends) = self.used;
                let (Some(free), Some(free_ends)) =
                    (self.text.get_mut(text..), self.ends.get_mut(ends..))
                else {
                    return Ok(());
                };
                let (result, read, written, ended) =
                    self.reader.read_record(input, free, free_ends);
                self.used = (text + written, ends + ended);
                input = input.get(read..).unwrap_or_default();
                match result {
                    ReadRecordResult::InputEmpty => {}
                    ReadRecordResult::OutputFull => return self.refuse(intake),
                    ReadRecordResult::OutputEndsFull => {
                        self.reader.reset();
                        (self.used, self.opened) = ((0, 0), None);
                        intake.count(Reason::InvalidLine, line);
                        return Ok(());
                    }
                    ReadRecordResult::Record | ReadRecordResult::End => {
                        self.record(line, intake);
                        (self.used, self.opened, counted) = ((0, 0), None, true);
                    }
                }
            }
        }
        if self.used == (0, 0) {
            return Ok(());
        }
        // The line's end did not end the record: a quote is open.
        self.opened.get_or_insert(intake.line());
        if !counted {
            intake.count(Reason::Continuation, line);
        }
        Ok(())
    }

    /// Refuses a table in which a quote stays open: what is behind it was not read.
    pub(super) fn end(&self, intake: &Intake<'_, '_>) -> Result<(), ListError> {
        if self.opened.is_some() { self.refuse(intake) } else { Ok(()) }
    }

    fn refuse(&self, intake: &Intake<'_, '_>) -> Result<(), ListError> {
        let line = self.opened.unwrap_or(intake.line());
        let fault = ListFault::Unclosed { what: "quote", max: RECORD_BYTES_MAX };
        Err(ListError::at_line(intake.file(), line, fault))
    }

    fn record(&mut self, line: &[u8], intake: &mut Intake<'_, '_>) {
        let column = if let Some(column) = self.column {
            column
        } else {
            let named = self.named_column();
            let column = named.or_else(|| self.first_host()).unwrap_or_default();
            self.column = Some(column);
            if named.is_some() {
                return intake.count(Reason::Header, line);
            }
            column
        };
        match self.field(column).map(<[u8]>::trim_ascii) {
            None | Some(b"") => intake.count(Reason::InvalidLine, line),
            Some(host) => intake.host(host),
        }
    }

    /// The column a header names.
    fn named_column(&self) -> Option<usize> {
        let is_named =
            |field: &[u8], name: &str| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        COLUMNS.iter().find_map(|name| self.fields().position(|field| is_named(field, name)))
    }

    /// The first column that holds a host, where there is no header.
    fn first_host(&self) -> Option<usize> {
        self.fields().position(|field| host::read(field.trim_ascii()).is_ok())
    }

    fn fields(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.used.1).map_while(|column| self.field(column))
    }

    fn field(&self, column: usize) -> Option<&[u8]> {
        let ends = self.ends.get(..self.used.1)?;
        let start = column.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied())?;
        self.text.get(start..*ends.get(column)?)
    }
}

fn delimiter(line: &[u8]) -> u8 {
    let count = |delimiter: &u8| line.split(|byte| byte == delimiter).count();
    // The last of several maxima is taken: commas come last, so that they win.
    DELIMITERS.into_iter().rev().max_by_key(count).unwrap_or(b',')
}
