//! Flows with a name of their own, summed by what a policy judges: name, device and time.

use std::net::IpAddr;

use jiff::Timestamp;
use rusqlite::types::Value;
use sensor_ebpf::abi::{NameSource, Verdict};

use super::read::{Reader, Span, Values, bound};
use super::row::{count, named, parsed};
use super::{Query, StoreError};
use crate::record::{EndReason, Named as _};

/// Flows of one device to one name in one piece of time, with one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFlows {
    /// The name.
    pub name: String,
    /// The device.
    pub device: IpAddr,
    /// When the piece of time begins, µs since 1970.
    pub from_us: i64,
    /// What was decided.
    pub verdict: Verdict,
    /// How many.
    pub flows: u64,
}

/// How much is summed of a day at most.
#[derive(Clone, Copy, Debug)]
pub struct NamedLimits {
    /// Length of a piece of time.
    pub piece_us: i64,
    /// Records, the newest.
    pub records: u64,
    /// Sums.
    pub sums: u64,
}

impl Reader {
    /// Gives the sums of every day since a moment to `each`, those of one piece of time behind one another, and returns
    /// how many flows were left out by the limits.
    ///
    /// Left out by nature: names from DNS answers, which no verdict rests on, and records of flows that go on.
    pub fn named_flows(
        &self,
        since: Timestamp,
        limits: NamedLimits,
        mut each: impl FnMut(NamedFlows),
    ) -> Result<u64, StoreError> {
        let query = Query { since: Some(since), ..Query::default() };
        let mut left_out = 0;
        self.each_day(&query, |connection, span| {
            let (rows, values) = rows(span);
            let all = format!("SELECT count(*) FROM flows WHERE {rows}");
            let all: u64 =
                connection.query_row(&all, bound(&values).as_slice(), |row| count(row, 0))?;
            let mut values = values;
            values.push((":piece", Value::from(limits.piece_us)));
            values.push((":records", number(limits.records)));
            values.push((":sums", number(limits.sums)));
            let sql = format!(
                "SELECT (SELECT name FROM names WHERE id = s.name) AS name,
                     (SELECT address FROM devices WHERE id = s.device) AS device, s.piece,
                     (SELECT text FROM labels WHERE id = s.verdict) AS verdict, s.flows
                 FROM (SELECT name, device, piece, verdict, count(*) AS flows
                       FROM (SELECT name, device, start_us / :piece AS piece, verdict
                             FROM flows WHERE {rows} ORDER BY end_us DESC LIMIT :records)
                       GROUP BY piece, name, device, verdict ORDER BY piece LIMIT :sums) AS s"
            );
            let mut statement = connection.prepare(&sql)?;
            let mut found = statement.query(bound(&values).as_slice())?;
            let mut summed = 0;
            while let Some(row) = found.next()? {
                let flows = count(row, "flows")?;
                summed += flows;
                each(NamedFlows {
                    name: row.get("name")?,
                    device: parsed(row, "device")?,
                    from_us: row.get::<_, i64>("piece")?.saturating_mul(limits.piece_us),
                    verdict: named(row, "verdict")?,
                    flows,
                });
            }
            left_out += all.saturating_sub(summed);
            Ok(())
        })?;
        Ok(left_out)
    }
}

/// Which rows of `flows` count.
fn rows(span: &Span) -> (String, Values) {
    let label = |key: &str| format!("(SELECT id FROM labels WHERE text = {key})");
    let sql = format!(
        "end_us >= :from AND end_us < :to AND name IS NOT NULL AND name_source IS NOT {}
             AND end_reason IS NOT {}",
        label(":answer"),
        label(":unfinished"),
    );
    let text = |text: &str| Value::from(text.to_owned());
    let values = vec![
        (":from", Value::from(span.from_us)),
        (":to", Value::from(span.to_us)),
        (":answer", text(NameSource::DnsAnswer.text())),
        (":unfinished", text(EndReason::ActiveTimeout.text())),
    ];
    (sql, values)
}

fn number(number: u64) -> Value {
    Value::from(i64::try_from(number).unwrap_or(i64::MAX))
}
