//! Sums over day files: whole hours from the roll-ups, what is cut off an hour from the records.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::read::{Reader, Span, Values, bound, conditions, open};
use super::row::{count, named, texts};
use super::{HOUR_US, Query, StoreError, day_files};
use crate::names::{ByReason, HourSums, Tally, USABLE};
use crate::record::{EndReason, Named as _};

/// What [`Reader::top`] counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopBy {
    /// The name, which the roll-ups do not have: every record of the time is read.
    Name,
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

/// A row of [`Reader::top`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// Name, address, category, verdict, reason, group or interface; none where a flow has no such thing.
    pub key: Option<String>,
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
    /// Sums by one property, largest first.
    pub fn top(
        &self,
        by: TopBy,
        order: TopOrder,
        query: &Query,
    ) -> Result<Vec<TopRow>, StoreError> {
        let mut sums = HashMap::new();
        self.each_day(query, |connection, span| {
            top_of_day(connection, by, span, query, &mut sums)
        })?;
        let mut rows: Vec<TopRow> = sums.into_values().collect();
        rows.sort_by(|left, right| {
            let size = |row: &TopRow| match order {
                TopOrder::Flows => (row.flows, row.bytes),
                TopOrder::Bytes => (row.bytes, row.flows),
                TopOrder::Unnamed => (row.unnamed.bytes, row.unnamed.flows),
            };
            let largest_first = size(right).cmp(&size(left));
            largest_first.then_with(|| (&left.key, left.zone).cmp(&(&right.key, right.zone)))
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

/// Adds a day to sums by key and zone.
fn top_of_day(
    connection: &Connection,
    by: TopBy,
    span: &Span,
    query: &Query,
    sums: &mut HashMap<(Option<String>, Option<u16>), TopRow>,
) -> rusqlite::Result<()> {
    let (key, zone) = match by {
        TopBy::Name => ("(SELECT name FROM names WHERE id = f.name)", "NULL"),
        TopBy::Device => (
            "(SELECT address FROM devices WHERE id = f.device)",
            "(SELECT zone FROM devices WHERE id = f.device)",
        ),
        TopBy::Category => {
            ("(SELECT categories FROM category_sets WHERE id = f.categories)", "NULL")
        }
        TopBy::Verdict => ("(SELECT text FROM labels WHERE id = f.verdict)", "NULL"),
        TopBy::Reason => ("(SELECT text FROM labels WHERE id = f.no_name)", "NULL"),
        TopBy::Group => ("(SELECT text FROM labels WHERE id = f.device_group)", "NULL"),
        TopBy::Interface => ("(SELECT text FROM labels WHERE id = f.interface)", "NULL"),
    };
    let column = match by {
        TopBy::Name => "f.name",
        TopBy::Device => "f.device",
        TopBy::Category => "f.categories",
        TopBy::Verdict => "f.verdict",
        TopBy::Reason => "f.no_name",
        TopBy::Group => "f.device_group",
        TopBy::Interface => "f.interface",
    };
    let (summed, values) = summed(span, query, by);
    let usable = USABLE.map(|reason| format!("'{}'", reason.text())).join(", ");
    let usable = format!("f.no_name IN (SELECT id FROM labels WHERE text IN ({usable}))");
    let sql = format!(
        "SELECT {key}, {zone}, sum(f.records), sum(f.flows), sum(f.packets), sum(f.bytes),
             sum(iif({usable}, 0, f.flows)), sum(iif({usable}, 0, f.bytes))
         FROM {summed} GROUP BY {column}"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(bound(&values).as_slice())?;
    while let Some(row) = rows.next()? {
        let key: Option<String> = row.get(0)?;
        let zone: Option<u16> = row.get(1)?;
        let keys = match (by, key) {
            (TopBy::Category, Some(set)) => {
                let set = texts(&set)?;
                if set.is_empty() { vec![None] } else { set.into_iter().map(Some).collect() }
            }
            (_, key) => vec![key],
        };
        for key in keys {
            let sum = sums.entry((key.clone(), zone)).or_insert_with(|| TopRow {
                key,
                zone,
                records: 0,
                flows: 0,
                packets: 0,
                bytes: 0,
                unnamed: Tally::default(),
            });
            for (at, sum) in [
                &mut sum.records,
                &mut sum.flows,
                &mut sum.packets,
                &mut sum.bytes,
                &mut sum.unnamed.flows,
                &mut sum.unnamed.bytes,
            ]
            .into_iter()
            .enumerate()
            {
                *sum = sum.saturating_add(count(row, 2 + at)?);
            }
        }
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
    let (summed, values) = summed(span, query, TopBy::Device);
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
         FROM rollup WHERE hour >= ?1 GROUP BY interface, hour, no_name",
    )?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, midnight + row.get::<_, i64>(1)?);
        let tally = Tally { flows: count(row, 3)?, bytes: count(row, 4)? };
        sums.entry(key).or_default().add(named(row, "reason")?, tally);
    }
    Ok(())
}

/// Rows `f` with what a span sums to, narrowed to a query, and the values they are bound to. Where the
/// name matters every record is a row, since the roll-ups have no names.
fn summed(span: &Span, query: &Query, by: TopBy) -> (String, Values) {
    let (conditions, mut values) = conditions(query);
    let needs_names = by == TopBy::Name || query.name.is_some();
    let (first, end) = if needs_names { (0, 0) } else { span.whole_hours() };
    // Without a whole hour the first cut-off piece is all there is.
    let (piece_end, piece_start) = if first < end {
        (span.midnight_us + first * HOUR_US, span.midnight_us + end * HOUR_US)
    } else {
        (span.to_us, span.to_us)
    };
    values.push((":from", Value::from(span.from_us)));
    values.push((":piece_end", Value::from(piece_end)));
    values.push((":piece_start", Value::from(piece_start)));
    values.push((":to", Value::from(span.to_us)));
    values.push((":first", Value::from(first)));
    values.push((":end", Value::from(end)));
    values.push((":unfinished", Value::from(EndReason::ActiveTimeout.text().to_owned())));
    let piece = "SELECT name, no_name, interface, device, ifnull(device_group, 0) AS device_group,
             categories, verdict, 1 AS records,
             end_reason IS NOT (SELECT id FROM labels WHERE text = :unfinished) AS flows,
             packets_to_peer + packets_to_lan AS packets, bytes_to_peer + bytes_to_lan AS bytes
         FROM flows WHERE";
    let sql = format!(
        "(
             SELECT NULL AS name, no_name, interface, device, device_group, categories, verdict,
                 records, flows,
                 packets_to_peer + packets_to_lan AS packets, bytes_to_peer + bytes_to_lan AS bytes
             FROM rollup WHERE hour >= :first AND hour < :end
             UNION ALL {piece} end_us >= :from AND end_us < :piece_end
             UNION ALL {piece} end_us >= :piece_start AND end_us < :to
         ) AS f WHERE {conditions}"
    );
    (sql, values)
}
