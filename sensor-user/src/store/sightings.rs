//! Where a device or a user was seen: records of a time by address and identity.

use std::collections::HashMap;
use std::net::IpAddr;

use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use serde::Serialize;

use super::read::{Reader, Span, bound, conditions, open};
use super::row::{count, parsed, unreadable};
use super::{Query, StoreError, day_files};
use crate::policy::member::Mac;

/// Somebody at an address, as records say it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Seen {
    /// Where.
    pub address: IpAddr,
    /// In which zone.
    pub zone: u16,
    /// The device.
    pub mac: Option<Mac>,
    /// What it calls itself.
    pub host_name: Option<String>,
    /// Who used it.
    pub user: Option<String>,
    /// Who told.
    pub identity_source: Option<String>,
    /// How well founded that is.
    pub identity_confidence: Option<String>,
}

/// How much was seen of them, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// Start of the first flow, µs since 1970 UTC.
    pub first_us: i64,
    /// End of the last record, µs since 1970 UTC.
    pub last_us: i64,
    /// Records.
    pub records: u64,
    /// Wire bytes both ways.
    pub bytes: u64,
}

impl Reader {
    /// Who was seen where, the newest first; the limit of the query does not count.
    pub fn sightings(&self, query: &Query) -> Result<Vec<(Seen, Sighting)>, StoreError> {
        let mut all: HashMap<Seen, Sighting> = HashMap::new();
        for (day, path) in day_files(&self.dir)? {
            let Some(span) = Span::of(day, query) else { continue };
            let Some(connection) = open(&path)? else { continue };
            let of_day = of_day(&connection, &span, query);
            for (seen, sighting) in of_day.map_err(|source| StoreError::of(&path, source))? {
                let sum = all.entry(seen).or_insert(Sighting { records: 0, bytes: 0, ..sighting });
                sum.first_us = sum.first_us.min(sighting.first_us);
                sum.last_us = sum.last_us.max(sighting.last_us);
                sum.records += sighting.records;
                sum.bytes = sum.bytes.saturating_add(sighting.bytes);
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(seen, sighting)| {
            (std::cmp::Reverse(sighting.last_us), seen.address, seen.zone)
        });
        Ok(all)
    }
}

fn of_day(
    connection: &Connection,
    span: &Span,
    query: &Query,
) -> rusqlite::Result<Vec<(Seen, Sighting)>> {
    let (conditions, mut values) = conditions(query, span);
    values.push((":from", Value::from(span.from_us)));
    values.push((":to", Value::from(span.to_us)));
    let sql = format!(
        "SELECT d.address, d.zone, nullif(i.mac, '') AS mac, nullif(i.host_name, '') AS host_name,
             nullif(i.user, '') AS user, i.source, i.confidence,
             min(f.start_us) AS first_us, max(f.end_us) AS last_us, count(*) AS records,
             sum(f.bytes_to_peer + f.bytes_to_lan) AS bytes
         FROM flows AS f
         JOIN devices AS d ON d.id = f.device
         LEFT JOIN identities AS i ON i.id = f.identity
         WHERE f.end_us >= :from AND f.end_us < :to AND {conditions}
         GROUP BY f.device, f.identity"
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(bound(&values).as_slice(), sighting)?;
    rows.collect()
}

fn sighting(row: &Row<'_>) -> rusqlite::Result<(Seen, Sighting)> {
    let mac = row.get::<_, Option<String>>("mac")?.map(|text| {
        text.parse::<Mac>().map_err(|()| unreadable(format!("{text:?} is no MAC address")))
    });
    let seen = Seen {
        address: parsed(row, "address")?,
        zone: row.get("zone")?,
        mac: mac.transpose()?,
        host_name: row.get("host_name")?,
        user: row.get("user")?,
        identity_source: row.get("source")?,
        identity_confidence: row.get("confidence")?,
    };
    let sighting = Sighting {
        first_us: row.get("first_us")?,
        last_us: row.get("last_us")?,
        records: count(row, "records")?,
        bytes: count(row, "bytes")?,
    };
    Ok((seen, sighting))
}
