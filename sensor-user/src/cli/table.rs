//! How answers look: tables for people, CSV for spreadsheets, one JSON object a line for programs.
//!
//! What a stranger chose, a name above all, reaches none of them unescaped.

use std::fmt::Write as _;
use std::io::{self, Write};

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING,
};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::record::display_name;

/// Columns a table fits into: a terminal that is wider than the least, and a full host name beside the rest.
pub const TABLE_WIDTH: u16 = 120;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Text that may be broken over lines, and the columns it has at least, its gap included.
    Text(&'static str, u16),
    /// Text that is kept on its line; only for what is short.
    Word(&'static str),
    /// A number, aligned right and kept on its line.
    Number(&'static str),
}

/// Writes a table without borders, [`TABLE_WIDTH`] wide at most.
///
/// Cells are escaped by [`display_name`] here, so that no caller can forget it.
pub fn write_table(
    columns: &[Column],
    rows: impl IntoIterator<Item = Vec<String>>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(TABLE_WIDTH);
    table.set_header(columns.iter().map(|column| column.title()));
    for row in rows {
        table.add_row(row.iter().map(|cell| display_name(cell).into_owned()));
    }
    for (column, layout) in columns.iter().zip(table.column_iter_mut()) {
        layout.set_padding((0, 1));
        match column {
            Column::Text(_, least) => {
                layout.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*least)));
            }
            Column::Word(_) => {
                layout.set_constraint(ColumnConstraint::ContentWidth);
            }
            Column::Number(_) => {
                layout.set_constraint(ColumnConstraint::ContentWidth);
                layout.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Text(title, _) | Self::Word(title) | Self::Number(title) => title,
        }
    }
}

/// Bytes in decimal units, as volumes are sold and links are rated.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, rounded down: a sum of what is shown is never above what is there.
    let mut tenths = bytes / 100;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while tenths >= 10_000 {
        tenths /= 1_000;
        unit = units.next();
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, unit.copied().unwrap_or_default())
}

/// A cell of a CSV line (RFC 4180).
#[derive(Clone, Debug)]
pub enum Cell<'a> {
    /// Text of whatever origin.
    Text(&'a str),
    /// A number.
    Number(u64),
}

/// Writes a line of CSV.
///
/// Text is always quoted. Where a spreadsheet would take it for a formula, an apostrophe goes before
/// it, which spreadsheets take for "this is text".
pub fn write_csv<'a>(
    cells: impl IntoIterator<Item = Cell<'a>>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut line = String::new();
    for cell in cells {
        if !line.is_empty() {
            line.push(',');
        }
        match cell {
            Cell::Text(text) => push_quoted(&mut line, text),
            Cell::Number(number) => {
                write!(line, "{number}").expect("a String takes all that is written");
            }
        }
    }
    line.push_str("\r\n");
    out.write_all(line.as_bytes())
}

fn push_quoted(line: &mut String, text: &str) {
    let shown = display_name(text);
    line.push('"');
    if shown.trim_start().starts_with(['=', '+', '-', '@']) {
        line.push('\'');
    }
    line.push_str(&shown.replace('"', "\"\""));
    line.push('"');
}

/// Writes a value as one line of JSON in ASCII: what would steer a terminal is escaped.
pub fn write_json(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Ascii))?;
    writeln!(out)
}

/// Escapes all that is not printable ASCII.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, bytes, write_csv, write_json};

    #[test]
    fn bytes_have_units() {
        let check = |count, shown: &str| assert_eq!(bytes(count), shown);
        check(0, "0 B");
        check(999, "999 B");
        check(1_000, "1.0 kB");
        check(1_999, "1.9 kB");
        check(999_999, "999.9 kB");
        check(1_000_000, "1.0 MB");
        check(52_428_800, "52.4 MB");
        check(u64::MAX, "18.4 EB");
    }

    #[test]
    fn csv_is_text_to_a_spreadsheet() {
        let check = |text: &str, expected: &str| {
            let mut line = Vec::new();
            write_csv([Cell::Text(text), Cell::Number(7)], &mut line).unwrap();
            assert_eq!(String::from_utf8(line).unwrap(), format!("{expected},7\r\n"));
        };
        check("www.example.org", r#""www.example.org""#);
        check("", r#""""#);
        check("=cmd|' /C calc'!A0", r#""'=cmd|' /C calc'!A0""#);
        check("  =1+1", r#""'  =1+1""#);
        check("+1", r#""'+1""#);
        check("-1", r#""'-1""#);
        check("@SUM(A1)", r#""'@SUM(A1)""#);
        check("\t=1", r#""\x09=1""#);
        check("a\",\"b", "\"a\"\",\"\"b\"");
        check("a\r\nb", r#""a\x0d\x0ab""#);
        check("\u{ff1d}1", r#""\xef\xbc\x9d1""#);
    }

    #[test]
    fn json_is_ascii() {
        let check = |text: &str, expected: &str| {
            let mut line = Vec::new();
            write_json(&text, &mut line).unwrap();
            assert_eq!(String::from_utf8(line.clone()).unwrap(), format!("{expected}\n"));
            assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        };
        check("plain \"quoted\" \\", r#""plain \"quoted\" \\""#);
        check("\u{1b}[2J\n", r#""\u001b[2J\n""#);
        check("\u{7f}\u{9b}\u{202e}", r#""\u007f\u009b\u202e""#);
        check("\u{1f600}", r#""\ud83d\ude00""#);
    }
}
