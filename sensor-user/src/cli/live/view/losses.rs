//! What is lost, and how exports do.

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::style::Style;

use super::super::app::{App, Picture};
use super::super::losses::{Loss, losses};
use super::super::rates::{Rate, prefixed, shown};
use super::table::{Column, Row, Shorten, Table};
use super::{Theme, plain};
use crate::export::state::ExportStatus;

pub(super) fn tables(app: &App, picture: &Picture, theme: Theme, wide: bool) -> Vec<Table> {
    let mut tables = vec![lost(app, picture, theme, wide)];
    if !picture.now.status.exports.is_empty() {
        tables.push(exports(app, picture, theme, wide));
    }
    tables
}

fn lost(app: &App, picture: &Picture, theme: Theme, wide: bool) -> Table {
    let mut columns =
        vec![Column::Text("where", 20), Column::Number("now /s", 8), Column::Number("in all", 8)];
    if wide {
        columns.push(Column::Text("what it means", 58));
    }
    let row = |Loss { what, place, meaning, total, rate }: Loss| {
        let (what, place) = (plain(&what).into_owned(), plain(&place).into_owned());
        let is_shown = app.lets_through(&[&what, &place]);
        is_shown.then(|| Row {
            label: what,
            cells: vec![place, shown(rate), prefixed(total), meaning.to_owned()],
            style: if rate.is_some_and(|rate| !rate.is_zero()) {
                theme.bad()
            } else {
                Style::new()
            },
        })
    };
    let rows = losses(&picture.now, picture.before.as_deref()).into_iter().filter_map(row);
    let (title, empty) = ("lost", "nothing was ever lost");
    Table { title, shorten: Shorten::Front, columns, rows: rows.collect(), empty }
}

fn exports(app: &App, picture: &Picture, theme: Theme, wide: bool) -> Table {
    let mut columns = vec![
        Column::Text("state", 8),
        Column::Number("sent/s", 7),
        Column::Number("queued", 7),
        Column::Number("not sent", 8),
        Column::Text("trouble", 24),
    ];
    if wide {
        columns.push(Column::Text("to", 40));
    }
    let status = &picture.now.status;
    let before = picture.before.as_ref().filter(|one| status.goes_on_from(&one.status));
    let sent_before: BTreeMap<&str, u64> = before
        .iter()
        .flat_map(|before| &before.status.exports)
        .map(|export| (export.name.as_str(), export.sent))
        .collect();
    let over = before.map_or(Duration::ZERO, |before| picture.now.at.duration_since(before.at));
    let row = |export: &ExportStatus| {
        let (name, target) = (plain(&export.name).into_owned(), plain(&export.target));
        let is_shown = app.lets_through(&[&name, &target]);
        let sent = sent_before.get(export.name.as_str()).copied();
        let rate = sent.and_then(|sent| Rate::between(sent, export.sent, over));
        is_shown.then(|| Row {
            label: name,
            cells: vec![
                if export.open { "open" } else { "NOT OPEN" }.to_owned(),
                shown(rate),
                prefixed(export.queued),
                prefixed(not_sent(export)),
                plain(export.trouble.as_deref().unwrap_or_default()).into_owned(),
                target.into_owned(),
            ],
            style: if is_well(export) { Style::new() } else { theme.bad() },
        })
    };
    let rows = status.exports.iter().filter_map(row).collect();
    Table { title: "export", shorten: Shorten::Front, columns, rows, empty: "none like this" }
}

/// Records it did not send, for whatever reason.
fn not_sent(export: &ExportStatus) -> u64 {
    export.shed.values().copied().fold(0, u64::saturating_add)
}

/// Open, and without trouble.
pub(super) const fn is_well(export: &ExportStatus) -> bool {
    export.open && export.trouble.is_none()
}
