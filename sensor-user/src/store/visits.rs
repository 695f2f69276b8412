//! What somebody visited: sites by verdict, with the hours it was in.

use std::collections::HashMap;

use rusqlite::Connection;
use sensor_ebpf::abi::Verdict;

use super::read::{Reader, Span, bound};
use super::row::{count, named};
use super::summed::{Column, summed};
use super::{HOUR_US, Query, StoreError};

/// Flows of a time to one site with one verdict: connections, and queries for its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visits {
    /// The site; none for flows without a name, and for those whose name is not recorded.
    pub site: Option<String>,
    /// What was decided.
    pub verdict: Verdict,
    /// The hour in which the first record ends, its start as µs since 1970 UTC.
    pub first_us: i64,
    /// The hour in which the last one does.
    pub last_us: i64,
    /// Records.
    pub records: u64,
    /// Flows that ended in that time.
    pub flows: u64,
    /// Of these, flows that only an answer of DNS names, or nothing.
    pub unnamed_flows: u64,
    /// Packets both ways.
    pub packets: u64,
    /// Wire bytes both ways.
    pub bytes: u64,
}

/// By site and verdict.
type Sums = HashMap<(Option<String>, &'static str), Visits>;

impl Reader {
    /// What was visited, most flows first. Where a query tells device, group or verdict and nothing else, whole hours come
    /// from the roll-up.
    pub fn visits(&self, query: &Query) -> Result<Vec<Visits>, StoreError> {
        let mut sums = Sums::new();
        self.each_day(query, |connection, span| of_day(connection, span, query, &mut sums))?;
        let mut visits: Vec<Visits> = sums.into_values().collect();
        visits.sort_by(|left, right| {
            let size = |visits: &Visits| (visits.flows, visits.bytes);
            let key = |visits: &Visits| (visits.site.clone(), visits.verdict.name());
            size(right).cmp(&size(left)).then_with(|| key(left).cmp(&key(right)))
        });
        let limit = query.limit.and_then(|limit| usize::try_from(limit).ok());
        visits.truncate(limit.unwrap_or(usize::MAX));
        Ok(visits)
    }
}

fn of_day(
    connection: &Connection,
    span: &Span,
    query: &Query,
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    let (summed, values) = summed(span, query, &[Column::Site, Column::Verdict]);
    let sql = format!(
        "SELECT (SELECT site FROM sites WHERE id = f.site) AS site,
             (SELECT text FROM labels WHERE id = f.verdict) AS verdict,
             min(f.hour) AS first, max(f.hour) AS last, sum(f.records) AS records,
             sum(f.flows) AS flows, sum(f.unnamed_flows) AS unnamed_flows,
             sum(f.packets) AS packets, sum(f.bytes) AS bytes
         FROM {summed} GROUP BY f.site, f.verdict"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(bound(&values).as_slice())?;
    while let Some(row) = rows.next()? {
        let site: Option<String> = row.get("site")?;
        let verdict: Verdict = named(row, "verdict")?;
        let hour = |column| -> rusqlite::Result<i64> {
            Ok(span.midnight_us + row.get::<_, i64>(column)? * HOUR_US)
        };
        let (first_us, last_us) = (hour("first")?, hour("last")?);
        let sum = sums.entry((site.clone(), verdict.name())).or_insert_with(|| Visits {
            site,
            verdict,
            first_us,
            last_us,
            records: 0,
            flows: 0,
            unnamed_flows: 0,
            packets: 0,
            bytes: 0,
        });
        sum.first_us = sum.first_us.min(first_us);
        sum.last_us = sum.last_us.max(last_us);
        for (sum, column) in [
            (&mut sum.records, "records"),
            (&mut sum.flows, "flows"),
            (&mut sum.unnamed_flows, "unnamed_flows"),
            (&mut sum.packets, "packets"),
            (&mut sum.bytes, "bytes"),
        ] {
            *sum = sum.saturating_add(count(row, column)?);
        }
    }
    Ok(())
}
