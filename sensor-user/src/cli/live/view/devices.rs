//! Devices, by what they have now.

use std::cmp::Reverse;

use super::super::app::{App, Sort};
use super::super::rates::{Rate, shown};
use super::table::{Column, Row, Shorten, Table};
use super::{Theme, plain};
use crate::assembly::rates::Sums;
use crate::cli::flows::device;
use crate::control::top::{DeviceRow, Top};
use crate::names::percent;

pub(super) fn table(app: &App, top: &Top, theme: Theme, wide: bool) -> Table {
    let mut columns = sums_columns();
    columns.push(Column::Number("unnamed", 8));
    if wide {
        columns.push(Column::Text("who", 28));
    }
    let mut devices: Vec<&DeviceRow> = top.devices.iter().collect();
    devices.sort_by_key(|row| (Reverse(order(app.sort, &row.sums)), row.device, row.zone));
    let row = |row: &DeviceRow| {
        let label = device(&row.device.to_string(), row.zone);
        let who = who(row);
        let is_shown = app.lets_through(&[&label, &who]);
        is_shown.then(|| of_sums(top, label, &row.sums, Some(who), theme))
    };
    let mut rows: Vec<Row> = devices.into_iter().filter_map(row).collect();
    if top.devices_others != Sums::default() && app.filter.is_empty() {
        let label = "(all others)".to_owned();
        rows.push(of_sums(top, label, &top.devices_others, Some(String::new()), theme));
    }
    let title = "device";
    Table { title, shorten: Shorten::Middle, columns, rows, empty: "no device has packets" }
}

/// The user, and what the device calls itself.
fn who(row: &DeviceRow) -> String {
    let user = row.user.as_deref().map(plain).unwrap_or_default();
    let host = row.host_name.as_deref().map(plain).unwrap_or_default();
    if user.is_empty() || host.is_empty() {
        return format!("{user}{host}");
    }
    format!("{user} at {host}")
}

/// Columns of [`of_sums`].
pub(super) fn sums_columns() -> Vec<Column> {
    vec![
        Column::Number("down bit/s", 10),
        Column::Number("up bit/s", 8),
        Column::Number("pkt/s", 6),
        Column::Number("flows/s", 7),
        Column::Number("blocked/s", 9),
    ]
}

/// A row of sums; of devices, with the share without a name and who uses it.
pub(super) fn of_sums(
    top: &Top,
    label: String,
    sums: &Sums,
    who: Option<String>,
    theme: Theme,
) -> Row {
    let over = std::time::Duration::from_millis(top.over_ms);
    let rate = |count| shown(Rate::of(count, over));
    let bits = |bytes| shown(Rate::of(bytes, over).map(Rate::bits));
    let mut cells = vec![
        bits(sums.bytes_to_lan),
        bits(sums.bytes_to_peer),
        rate(sums.packets()),
        rate(sums.flows),
        rate(sums.blocked),
    ];
    if let Some(who) = who {
        cells.push(percent(sums.bytes_unnamed, sums.bytes()));
        cells.push(who);
    }
    let style = if sums.blocked > 0 { theme.bad() } else { ratatui::style::Style::new() };
    Row { label, cells, style }
}

/// What is sorted by; what is equal by more bytes.
pub(super) fn order(sort: Sort, sums: &Sums) -> (u64, u64) {
    let first = match sort {
        Sort::Bits => sums.bytes(),
        Sort::Packets => sums.packets(),
        Sort::Flows => sums.flows,
        Sort::Blocked => sums.blocked,
        Sort::Unnamed => sums.bytes_unnamed,
    };
    (first, sums.bytes())
}
