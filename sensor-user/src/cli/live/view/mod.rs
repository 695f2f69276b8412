//! Draws the view: a head with what is worth the first glance, the tabs, one table, and a line of keys.
//!
//! Whatever the daemon says of names, devices or files is escaped by [`plain`] before it is drawn.

mod devices;
mod head;
mod help;
mod losses;
mod names;
mod table;
mod theme;
mod verdicts;

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use self::table::Table;
pub(super) use self::theme::Theme;
use super::app::{App, Pane, Picture};
use super::rates::lasting;
use crate::record::display_name;

/// From this width on there is room for who uses a device, and what a loss means.
const WIDE: u16 = 110;

/// Draws all of it. Scrolling ends where the rows do.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme, time: &str) {
    let head = head::lines(app, theme, time, frame.area().width);
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let rows = Layout::vertical([
        Constraint::Length(height),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [head_area, tabs_area, body, keys_area] = rows.areas(frame.area());
    frame.render_widget(ratatui::text::Text::from(head), head_area);
    frame.render_widget(tabs(app, theme, tabs_area.width), tabs_area);
    frame.render_widget(keys(app, theme), keys_area);
    if app.has_help {
        frame.render_widget(help::text(), body);
        return;
    }
    let Some(picture) = app.picture.clone() else {
        frame.render_widget(Line::styled("waiting for the daemon", theme.faint()), body);
        return;
    };
    pane(frame, app, &picture, theme, body);
}

fn pane(frame: &mut Frame<'_>, app: &mut App, picture: &Picture, theme: Theme, area: Rect) {
    let wide = area.width >= WIDE;
    let top = picture.now.top.as_ref();
    let tables: Vec<Table> = match (app.pane, top) {
        (Pane::Losses, _) => losses::tables(app, picture, theme, wide),
        (Pane::Devices, Some(top)) => vec![devices::table(app, top, theme, wide)],
        (Pane::Names, Some(top)) => vec![names::table(app, top, theme)],
        (Pane::Verdicts, Some(top)) => verdicts::tables(app, picture, top, theme),
        (Pane::Devices | Pane::Names | Pane::Verdicts, None) => {
            let text =
                "This daemon's version does not tell what passes by device, name and verdict.";
            frame.render_widget(Line::styled(text, theme.warn()), area);
            return;
        }
    };
    let is_gathering = app.pane != Pane::Losses && top.is_some_and(|top| top.over_ms == 0);
    if is_gathering {
        let text = "gathering: the first sums are there in some seconds";
        frame.render_widget(Line::styled(text, theme.faint()), area);
        return;
    }
    app.scrolled = table::draw(frame, area, tables, app.scrolled);
}

fn tabs(app: &App, theme: Theme, width: u16) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, pane) in (1..).zip(Pane::ALL) {
        let style = if pane == app.pane { Theme::CHOSEN } else { theme.faint() };
        spans.push(Span::styled(format!(" {number} {} ", pane.title()), style));
        spans.push(Span::raw(" "));
    }
    let right = right_of_tabs(app);
    let left: usize = spans.iter().map(Span::width).sum();
    let gap = usize::from(width).saturating_sub(left + right.len());
    spans.push(Span::raw(" ".repeat(gap)));
    spans.push(Span::styled(right, theme.faint()));
    Line::from(spans)
}

/// What the figures are of.
fn right_of_tabs(app: &App) -> String {
    let over_ms = app.picture.as_ref().and_then(|picture| Some(picture.now.top.as_ref()?.over_ms));
    let over =
        over_ms.filter(|ms| *ms > 0).map(|ms| format!("last {}", lasting((ms + 500) / 1000)));
    match (app.pane, over) {
        (Pane::Devices | Pane::Names, Some(over)) => format!("by {}, {over}", app.sort.title()),
        (Pane::Verdicts, Some(over)) => over,
        (Pane::Losses, _) | (_, None) => String::new(),
    }
}

fn keys(app: &App, theme: Theme) -> Line<'static> {
    if app.is_typing {
        return Line::styled(format!("/{}_", app.filter), Theme::CHOSEN);
    }
    let mut spans = Vec::new();
    if app.is_paused {
        spans.push(Span::styled("HELD", theme.warn()));
        spans.push(Span::raw("  "));
    }
    if !app.filter.is_empty() {
        spans.push(Span::styled(format!("/{}", app.filter), theme.warn()));
        spans.push(Span::raw("  "));
    }
    spans.push(Span::styled("q quit  Tab pane  s sort  / filter  p hold  h help", theme.faint()));
    Line::from(spans)
}

/// A text that steers no terminal.
fn plain(text: &str) -> Cow<'_, str> {
    display_name(text)
}
