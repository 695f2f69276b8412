//! Flows summed by what a policy judges: name, device and time, and where they went.

use std::net::IpAddr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use sensor_ebpf::abi::{NameSource, Verdict};

use super::read::{Reader, Span, Values, bound};
use super::row::{count, named, parsed};
use super::{Query, StoreError};
use crate::record::{EndReason, Initiator, Named as _};

/// Flows of one device to one name in one piece of time, with one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFlows {
    /// The name of their own; none only where [`NamedLimits::ends`] are asked for.
    pub name: Option<String>,
    /// The device.
    pub device: IpAddr,
    /// The group it was in.
    pub group: Option<String>,
    /// Where they went, where that is asked for and the device began.
    pub end: Option<End>,
    /// When the piece of time begins, µs since 1970.
    pub from_us: i64,
    /// What was decided.
    pub verdict: Verdict,
    /// How many.
    pub flows: u64,
}

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Its port; 0 where the protocol has none.
    pub port: u16,
}

/// How much is summed of a day at most.
#[derive(Clone, Copy, Debug)]
pub struct NamedLimits {
    /// Whether flows are told apart by where they went, and those without a name counted.
    pub ends: bool,
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
            let (rows, values) = rows(span, limits.ends);
            let all = format!("SELECT count(*) FROM flows WHERE {rows}");
            let all: u64 =
                connection.query_row(&all, bound(&values).as_slice(), |row| count(row, 0))?;
            let mut values = values;
            values.push((":piece", Value::from(limits.piece_us)));
            values.push((":records", number(limits.records)));
            values.push((":sums", number(limits.sums)));
            let end = if limits.ends {
                values.push((":lan", Value::from(Initiator::Lan.text().to_owned())));
                let began = "initiator = (SELECT id FROM labels WHERE text = :lan)";
                format!("iif({began}, peer, NULL) AS peer, protocol, peer_port")
            } else {
                "NULL AS peer, 0 AS protocol, 0 AS peer_port".to_owned()
            };
            let sql = format!(
                "SELECT (SELECT name FROM names WHERE id = s.name) AS name,
                     (SELECT address FROM devices WHERE id = s.device) AS device,
                     (SELECT text FROM labels WHERE id = s.device_group) AS device_group,
                     (SELECT address FROM peers WHERE id = s.peer) AS peer,
                     s.protocol, s.peer_port, s.piece,
                     (SELECT text FROM labels WHERE id = s.verdict) AS verdict, s.flows
                 FROM (SELECT name, device, device_group, peer, protocol, peer_port, piece, verdict,
                           count(*) AS flows
                       FROM (SELECT name, device, device_group, {end}, start_us / :piece AS piece,
                                 verdict
                             FROM flows WHERE {rows} ORDER BY end_us DESC LIMIT :records)
                       GROUP BY piece, name, device, device_group, verdict, peer, protocol, peer_port
                       ORDER BY piece LIMIT :sums) AS s"
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
                    group: row.get("device_group")?,
                    end: end_of(row)?,
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

fn end_of(row: &Row<'_>) -> rusqlite::Result<Option<End>> {
    if row.get_ref("peer")? == ValueRef::Null {
        return Ok(None);
    }
    let (address, protocol) = (parsed(row, "peer")?, row.get("protocol")?);
    Ok(Some(End { address, protocol, port: row.get("peer_port")? }))
}

/// Which rows of `flows` count.
fn rows(span: &Span, nameless: bool) -> (String, Values) {
    let label = |key: &str| format!("(SELECT id FROM labels WHERE text = {key})");
    let named = if nameless { "" } else { "AND name IS NOT NULL" };
    let sql = format!(
        "end_us >= :from AND end_us < :to {named} AND name_source IS NOT {}
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
