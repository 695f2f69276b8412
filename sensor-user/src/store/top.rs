//! Sums over day files: whole hours from the roll-ups, what is cut off an hour from the records.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::read::{Reader, Span, bound, open};
use super::row::{count, named, texts};
use super::summed::{Column, summed};
use super::{HOUR_US, Query, StoreError, day_files};
use crate::names::{ByReason, HourSums, Tally};

/// What [`Reader::top`] counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopBy {
    /// The name, which the roll-ups do not have: every record of the time is read.
    Name,
    /// The site, see [`super::site_of`].
    Site,
    /// The device, by zone and address.
    Device,
    /// The category. A flow with two counts for both.
    Category,
    /// The verdict.
    Verdict,
    /// Why there is no name.
    Reason,
    /// The group of the device.
    Group,
    /// The interface of the flow's first packet.
    Interface,
}

impl TopBy {
    const fn column(self) -> Column {
        match self {
            Self::Name => Column::Name,
            Self::Site => Column::Site,
            Self::Device => Column::Device,
            Self::Category => Column::Categories,
            Self::Verdict => Column::Verdict,
            Self::Reason => Column::NoName,
            Self::Group => Column::Group,
            Self::Interface => Column::Interface,
        }
    }

    /// The text of the column's id.
    fn text(self) -> String {
        let (text, table) = match self {
            Self::Name => ("name", "names"),
            Self::Site => ("site", "sites"),
            Self::Device => ("address", "devices"),
            Self::Category => ("categories", "category_sets"),
            Self::Verdict | Self::Reason | Self::Group | Self::Interface => ("text", "labels"),
        };
        format!("(SELECT {text} FROM {table} WHERE id = f.{})", self.column().name())
    }
}

/// What makes a row of [`Reader::top`] come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopOrder {
    /// Flows, then bytes.
    #[default]
    Flows,
    /// Bytes, then flows.
    Bytes,
    /// Bytes without a usable name, then such flows.
    Unnamed,
}

impl TopOrder {
    /// What rows are ordered by, the largest first; rows of one size are ordered by their keys and zone.
    pub const fn size(self, row: &TopRow) -> (u64, u64) {
        match self {
            Self::Flows => (row.flows, row.bytes),
            Self::Bytes => (row.bytes, row.flows),
            Self::Unnamed => (row.unnamed.bytes, row.unnamed.flows),
        }
    }
}

/// A row of [`Reader::top`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// Name, site, address, category, verdict, reason, group or interface, one for each that is counted by; none where a
    /// flow has no such thing.
    pub keys: Vec<Option<String>>,
    /// Zone of a device; none for anything else.
    pub zone: Option<u16>,
    /// Records of that time.
    pub records: u64,
    /// Flows that ended in that time: those among the records that are the last of their flow.
    pub flows: u64,
    /// Packets both ways.
    pub packets: u64,
    /// Wire bytes both ways.
    pub bytes: u64,
    /// What of flows and bytes has no usable name, see [`crate::names`].
    pub unnamed: Tally,
}

/// What of a device's flows and bytes has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNames {
    /// Its address.
    pub address: String,
    /// Its zone.
    pub zone: u16,
    /// Sums by reason.
    pub sums: ByReason,
}

impl Reader {
    /// Sums by one property or several, largest first. A category with a group is the category in that group.
    pub fn top(
        &self,
        by: &[TopBy],
        order: TopOrder,
        query: &Query,
    ) -> Result<Vec<TopRow>, StoreError> {
        let mut sums = HashMap::new();
        self.each_day(query, |connection, span| {
            top_of_day(connection, by, span, query, &mut sums)
        })?;
        let mut rows: Vec<TopRow> = sums.into_values().collect();
        rows.sort_by(|left, right| {
            let largest_first = order.size(right).cmp(&order.size(left));
            largest_first.then_with(|| (&left.keys, left.zone).cmp(&(&right.keys, right.zone)))
        });
        let limit = query.limit.and_then(|limit| usize::try_from(limit).ok());
        rows.truncate(limit.unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// What of every device's traffic has a name, most bytes without one first. The query's limit is not
    /// applied: how many devices there are is part of the answer.
    pub fn names_by_device(&self, query: &Query) -> Result<Vec<DeviceNames>, StoreError> {
        let mut sums = HashMap::new();
        self.each_day(query, |connection, span| names_of_day(connection, span, query, &mut sums))?;
        let mut devices: Vec<DeviceNames> = sums
            .into_iter()
            .map(|((address, zone), sums)| DeviceNames { address, zone, sums })
            .collect();
        devices.sort_by(|left, right| {
            let size = |device: &DeviceNames| {
                let Tally { flows, bytes } = device.sums.unnamed();
                (bytes, flows)
            };
            let largest_first = size(right).cmp(&size(left));
            let key = |device: &DeviceNames| (device.address.clone(), device.zone);
            largest_first.then_with(|| key(left).cmp(&key(right)))
        });
        Ok(devices)
    }

    /// What has a name by interface and hour, from the hour of `since` on.
    pub fn names_by_hour(&self, since: Timestamp) -> Result<Vec<HourSums>, StoreError> {
        let query = Query { since: Some(since), ..Query::default() };
        let mut sums = HashMap::new();
        self.each_day(&query, |connection, span| hours_of_day(connection, span, &mut sums))?;
        let hour = |((interface, hour), sums)| HourSums { interface, hour, sums };
        Ok(sums.into_iter().map(hour).collect())
    }

    /// Opens every day that a query is about, newest first.
    pub(super) fn each_day(
        &self,
        query: &Query,
        mut each: impl FnMut(&Connection, &Span) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        for (day, path) in day_files(&self.dir)? {
            let Some(span) = Span::of(day, query) else {
                continue;
            };
            let Some(connection) = open(&path)? else {
                continue;
            };
            each(&connection, &span).map_err(|source| StoreError::of(&path, source))?;
        }
        Ok(())
    }
}

/// Sums by keys and zone.
type Sums = HashMap<(Vec<Option<String>>, Option<u16>), TopRow>;

/// Columns of the sums of a row, in the order of [`add`].
const SUMS: &str = "sum(f.records), sum(f.flows), sum(f.packets), sum(f.bytes), sum(f.unnamed_flows), sum(f.unnamed_bytes)";

/// Adds a day to sums.
fn top_of_day(
    connection: &Connection,
    by: &[TopBy],
    span: &Span,
    query: &Query,
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    let zone = if by.contains(&TopBy::Device) {
        "(SELECT zone FROM devices WHERE id = f.device)"
    } else {
        "NULL"
    };
    let texts: Vec<String> = by.iter().map(|by| format!("{}, ", by.text())).collect();
    let texts = texts.concat();
    let columns: Vec<Column> = by.iter().map(|by| by.column()).collect();
    let grouped: Vec<String> =
        columns.iter().map(|column| format!("f.{}", column.name())).collect();
    let (summed, values) = summed(span, query, &columns);
    let sql = format!("SELECT {SUMS}, {texts}{zone} FROM {summed} GROUP BY {}", grouped.join(", "));
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(bound(&values).as_slice())?;
    while let Some(row) = rows.next()? {
        let mut all_keys = vec![Vec::with_capacity(by.len())];
        for (by, at) in by.iter().zip(SUM_COUNT..) {
            let ones = keys_of(*by, row.get(at)?)?;
            let with = |keys: &Vec<Option<String>>| {
                ones.iter()
                    .map(|one| [keys.clone(), vec![one.clone()]].concat())
                    .collect::<Vec<_>>()
            };
            all_keys = all_keys.iter().flat_map(with).collect();
        }
        let zone: Option<u16> = row.get(SUM_COUNT + by.len())?;
        for keys in all_keys {
            add(row, keys, zone, sums)?;
        }
    }
    Ok(())
}

/// Sums in [`SUMS`].
const SUM_COUNT: usize = 6;

/// What a row counts for: each category of its set.
fn keys_of(by: TopBy, text: Option<String>) -> rusqlite::Result<Vec<Option<String>>> {
    match (by, text) {
        (TopBy::Category, Some(set)) => {
            let set = texts(&set)?;
            Ok(if set.is_empty() { vec![None] } else { set.into_iter().map(Some).collect() })
        }
        (_, text) => Ok(vec![text]),
    }
}

fn add(
    row: &Row<'_>,
    keys: Vec<Option<String>>,
    zone: Option<u16>,
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    let sum = sums.entry((keys.clone(), zone)).or_insert_with(|| TopRow {
        keys,
        zone,
        records: 0,
        flows: 0,
        packets: 0,
        bytes: 0,
        unnamed: Tally::default(),
    });
    let all: [&mut u64; SUM_COUNT] = [
        &mut sum.records,
        &mut sum.flows,
        &mut sum.packets,
        &mut sum.bytes,
        &mut sum.unnamed.flows,
        &mut sum.unnamed.bytes,
    ];
    for (at, sum) in all.into_iter().enumerate() {
        *sum = sum.saturating_add(count(row, at)?);
    }
    Ok(())
}

/// Adds a day to sums by address and zone.
fn names_of_day(
    connection: &Connection,
    span: &Span,
    query: &Query,
    sums: &mut HashMap<(String, u16), ByReason>,
) -> rusqlite::Result<()> {
    let (summed, values) = summed(span, query, &[Column::Device, Column::NoName]);
    let sql = format!(
        "SELECT d.address, d.zone, (SELECT text FROM labels WHERE id = s.no_name) AS reason,
             s.flows, s.bytes
         FROM (SELECT f.device AS device, f.no_name AS no_name, sum(f.flows) AS flows,
                   sum(f.bytes) AS bytes
               FROM {summed} GROUP BY f.device, f.no_name) AS s
         JOIN devices AS d ON d.id = s.device"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(bound(&values).as_slice())?;
    while let Some(row) = rows.next()? {
        let tally = Tally { flows: count(row, 3)?, bytes: count(row, 4)? };
        sums.entry((row.get(0)?, row.get(1)?)).or_default().add(named(row, "reason")?, tally);
    }
    Ok(())
}

/// Adds a day to sums by interface and hour.
fn hours_of_day(
    connection: &Connection,
    span: &Span,
    sums: &mut HashMap<(String, i64), ByReason>,
) -> rusqlite::Result<()> {
    let midnight = span.midnight_us.div_euclid(HOUR_US);
    let first = span.from_us.div_euclid(HOUR_US) - midnight;
    let mut statement = connection.prepare(
        "SELECT (SELECT text FROM labels WHERE id = interface), hour,
             (SELECT text FROM labels WHERE id = no_name) AS reason, sum(flows),
             sum(bytes_to_peer + bytes_to_lan)
         FROM totals WHERE hour >= ?1 GROUP BY interface, hour, no_name",
    )?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, midnight + row.get::<_, i64>(1)?);
        let tally = Tally { flows: count(row, 3)?, bytes: count(row, 4)? };
        sums.entry(key).or_default().add(named(row, "reason")?, tally);
    }
    Ok(())
}
