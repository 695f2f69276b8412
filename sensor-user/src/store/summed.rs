//! Where sums come from: whole hours from the narrowest roll-up that can tell, what is cut off an hour from the records.

use std::fmt::Write as _;

use rusqlite::types::Value;

use super::read::{Span, Values, conditions};
use super::{HOUR_US, Query};
use crate::names::USABLE;
use crate::record::{EndReason, Named as _};

/// What sums are told apart or narrowed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Site,
    Device,
    Identity,
    Group,
    Categories,
    Verdict,
    NoName,
    Interface,
    Record,
}

impl Column {
    /// The column of a row `f` of [`summed`].
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Site => "site",
            Self::Device => "device",
            Self::Identity => "identity",
            Self::Group => "device_group",
            Self::Categories => "categories",
            Self::Verdict => "verdict",
            Self::NoName => "no_name",
            Self::Interface => "interface",
            Self::Record => "sequence",
        }
    }

    /// What it is of a record.
    const fn of_record(self) -> &'static str {
        match self {
            Self::Site => "ifnull((SELECT site FROM names WHERE id = f.name), 0)",
            Self::Group => "ifnull(f.device_group, 0)",
            Self::Name => "f.name",
            Self::Device => "f.device",
            Self::Identity => "f.identity",
            Self::Categories => "f.categories",
            Self::Verdict => "f.verdict",
            Self::NoName => "f.no_name",
            Self::Interface => "f.interface",
            Self::Record => "f.sequence",
        }
    }
}

/// What a query narrows by.
fn narrowed_by(query: &Query) -> impl Iterator<Item = Column> {
    let by = |is_set: bool, column| is_set.then_some(column);
    [
        by(query.name.is_some(), Column::Name),
        by(query.device.is_some(), Column::Device),
        by(query.mac.is_some() || query.user.is_some(), Column::Identity),
        by(query.group.is_some(), Column::Group),
        by(query.category.is_some(), Column::Categories),
        by(query.verdict.is_some(), Column::Verdict),
        by(query.sequence.is_some() || query.boot.is_some(), Column::Record),
    ]
    .into_iter()
    .flatten()
}

/// A table of sums by hour.
struct Rollup {
    table: &'static str,
    columns: &'static [Column],
    /// Whether it has `unnamed_flows` and `unnamed_bytes`; where not, it has the reason.
    sums_unnamed: bool,
}

/// The narrowest first.
const ROLLUPS: [Rollup; 3] = [
    Rollup {
        table: "totals",
        columns: &[
            Column::Group,
            Column::Categories,
            Column::Verdict,
            Column::NoName,
            Column::Interface,
        ],
        sums_unnamed: false,
    },
    Rollup {
        table: "site_rollup",
        columns: &[Column::Device, Column::Site, Column::Group, Column::Verdict],
        sums_unnamed: true,
    },
    Rollup {
        table: "rollup",
        columns: &[
            Column::Device,
            Column::Group,
            Column::Categories,
            Column::Verdict,
            Column::NoName,
            Column::Interface,
        ],
        sums_unnamed: false,
    },
];

/// Rows `f` with what a span sums to, narrowed to a query, and the values they are bound to. They have the columns of `by`,
/// `hour`, `records`, `flows`, `packets`, `bytes`, `unnamed_flows` and `unnamed_bytes`.
pub(super) fn summed(span: &Span, query: &Query, by: &[Column]) -> (String, Values) {
    let has = |rollup: &&Rollup| {
        narrowed_by(query).chain(by.iter().copied()).all(|column| rollup.columns.contains(&column))
    };
    let rollup = ROLLUPS.iter().find(has);
    let (first, end) = if rollup.is_some() { span.whole_hours() } else { (0, 0) };
    // Without a whole hour the first cut-off piece is all there is.
    let (piece_end, piece_start) = if first < end {
        (span.midnight_us + first * HOUR_US, span.midnight_us + end * HOUR_US)
    } else {
        (span.to_us, span.to_us)
    };
    let (narrowed, mut values) = conditions(query, span);
    values.push((":unfinished", Value::from(EndReason::ActiveTimeout.text().to_owned())));
    values.push((":midnight", Value::from(span.midnight_us)));
    let mut arms = String::new();
    if let Some(rollup) = rollup.filter(|_| first < end) {
        arms = format!("{} AND {narrowed} UNION ALL ", of_rollup(rollup, by, first..end));
    }
    let piece = of_records(by);
    for (key_from, from, key_to, to) in [
        (":from", span.from_us, ":piece_end", piece_end),
        (":piece_start", piece_start, ":to", span.to_us),
    ] {
        write!(arms, "{piece} WHERE f.end_us >= {key_from} AND f.end_us < {key_to} AND {narrowed}")
            .expect("a String takes all that is written");
        if key_from == ":from" {
            arms.push_str(" UNION ALL ");
        }
        values.push((key_from, Value::from(from)));
        values.push((key_to, Value::from(to)));
    }
    (format!("({arms}) AS f"), values)
}

/// Rows of a roll-up in hours of the day.
fn of_rollup(rollup: &Rollup, by: &[Column], hours: std::ops::Range<i64>) -> String {
    let columns: Vec<String> = by.iter().map(|column| format!("f.{}, ", column.name())).collect();
    let columns = columns.concat();
    let unnamed = if rollup.sums_unnamed {
        "f.unnamed_flows, f.unnamed_bytes".to_owned()
    } else {
        unnamed("f.flows", "f.bytes_to_peer + f.bytes_to_lan")
    };
    // Each by itself, so that the key finds a device in each.
    let hours: Vec<String> = hours.map(|hour| hour.to_string()).collect();
    format!(
        "SELECT {columns}f.hour, f.records, f.flows, f.packets_to_peer + f.packets_to_lan AS packets,
             f.bytes_to_peer + f.bytes_to_lan AS bytes, {unnamed}
         FROM {} AS f WHERE f.hour IN ({})",
        rollup.table,
        hours.join(", ")
    )
}

/// Records, each as a row.
fn of_records(by: &[Column]) -> String {
    let column = |column: &Column| format!("{} AS {}, ", column.of_record(), column.name());
    let columns = by.iter().map(column).collect::<Vec<_>>().concat();
    let is_last = "(f.end_reason IS NOT (SELECT id FROM labels WHERE text = :unfinished))";
    let unnamed = unnamed(is_last, "f.bytes_to_peer + f.bytes_to_lan");
    format!(
        "SELECT {columns}(f.end_us - :midnight) / {HOUR_US} AS hour, 1 AS records, {is_last} AS flows,
             f.packets_to_peer + f.packets_to_lan AS packets, f.bytes_to_peer + f.bytes_to_lan AS bytes,
             {unnamed}
         FROM flows AS f"
    )
}

fn unnamed(flows: &str, bytes: &str) -> String {
    let usable = USABLE.map(|reason| format!("'{}'", reason.text())).join(", ");
    let usable = format!("f.no_name IN (SELECT id FROM labels WHERE text IN ({usable}))");
    format!(
        "iif({usable}, 0, {flows}) AS unnamed_flows, iif({usable}, 0, {bytes}) AS unnamed_bytes"
    )
}
