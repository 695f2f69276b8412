//! Tables, one below the other, scrolled as one: the first column takes the room that is left.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};

use super::Theme;

/// What the first column has at least: an IPv4 address, most names' ends. Columns go for it, the last one first.
const LABEL_MIN: usize = 20;

/// How a first column is shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shorten {
    /// What is in front goes: the end of a host's name says whose it is.
    Front,
    /// What is in the middle goes: both ends of an address tell it from others.
    Middle,
}

/// A column after the first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Aligned right.
    Number(&'static str, usize),
    /// Aligned left, and shortened at its end.
    Text(&'static str, usize),
}

impl Column {
    const fn width(self) -> usize {
        match self {
            Self::Number(_, width) | Self::Text(_, width) => width,
        }
    }

    fn cell(self, text: &str) -> String {
        let width = self.width();
        match self {
            Self::Number(..) => format!(" {text:>width$}"),
            Self::Text(..) => format!(" {:width$}", cut(text, width)),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Number(title, _) | Self::Text(title, _) => title,
        }
    }
}

/// A row: the first column, the others, and how they look.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) cells: Vec<String>,
    pub(super) style: Style,
}

/// A table. Texts are plain already.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) shorten: Shorten,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// What is there in place of rows where there are none.
    pub(super) empty: &'static str,
}

/// Draws them, and returns how many rows are above the screen: never so many that it is not full.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    tables: Vec<Table>,
    scrolled: usize,
) -> usize {
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for table in tables {
        if !lines.is_empty() {
            lines.push(Line::raw(""));
        }
        lines.extend(table.lines(width));
    }
    // The first table's titles stay.
    let mut lines = lines.into_iter();
    let titles = lines.next();
    let room = usize::from(area.height).saturating_sub(1);
    let scrolled = scrolled.min(lines.len().saturating_sub(room));
    let shown = titles.into_iter().chain(lines.skip(scrolled).take(room));
    frame.render_widget(shown.collect::<Text<'_>>(), area);
    scrolled
}

impl Table {
    fn lines(self, width: usize) -> Vec<Line<'static>> {
        let Self { title, shorten, mut columns, rows, empty } = self;
        let room = loop {
            let taken: usize = columns.iter().map(|column| column.width() + 1).sum();
            let room = width.saturating_sub(taken);
            if room >= LABEL_MIN || columns.pop().is_none() {
                break room;
            }
        };
        let line = |label: &str, cells: &mut dyn Iterator<Item = &str>| {
            let mut line = format!("{label:room$}");
            line.extend(columns.iter().zip(cells).map(|(column, cell)| column.cell(cell)));
            line
        };
        let titles = line(title, &mut columns.iter().map(|column| column.title()));
        let mut lines = vec![Line::styled(titles, Theme::STRONG)];
        if rows.is_empty() {
            lines.push(Line::raw(empty));
        }
        lines.extend(rows.into_iter().map(|Row { label, cells, style }| {
            let label = match shorten {
                Shorten::Front => without_front(&label, room),
                Shorten::Middle => without_middle(&label, room),
            };
            Line::from(Span::styled(line(&label, &mut cells.iter().map(String::as_str)), style))
        }));
        lines
    }
}

/// What stands for what was left out.
const GAP: &str = "..";

fn cut(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    let start = text.get(..width.saturating_sub(GAP.len())).unwrap_or_default();
    format!("{start}{GAP}")
}

fn without_front(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    let end = text.len() - width.saturating_sub(GAP.len()).min(text.len());
    format!("{GAP}{}", text.get(end..).unwrap_or_default())
}

fn without_middle(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(GAP.len());
    let (front, back) = (room / 2, room - room / 2);
    let start = text.get(..front).unwrap_or_default();
    let end = text.get(text.len() - back.min(text.len())..).unwrap_or_default();
    format!("{start}{GAP}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_loses_what_tells_least() {
        assert_eq!(without_front("www.example.org", 15), "www.example.org");
        assert_eq!(without_front("www.example.org", 13), "..example.org");
        assert_eq!(without_middle("2001:db8::1:2:3:4", 11), "2001..2:3:4");
        assert_eq!(cut("library", 5), "lib..");
        for width in 0..3 {
            assert_eq!(without_front("abcdef", width).get(..2), Some(".."));
        }
    }
}
