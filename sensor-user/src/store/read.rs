//! The reading side: questions over day files, newest first, beside a writer or without one.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use sensor_ebpf::abi::Verdict;
use tracing::warn;

use super::row::record;
use super::schema::{self, Found};
use super::write::BUSY_TIMEOUT;
use super::{DAY_US, HOUR_US, StoreError, day_files, day_of, file_name, start_of};
use crate::policy::member::Mac;
use crate::privacy::Pseudonyms;
use crate::record::{Named as _, Record};

/// Which records are wanted. Nothing set is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Records that end then or later.
    pub since: Option<Timestamp>,
    /// Records that end before then.
    pub until: Option<Timestamp>,
    /// Records of this address, in whatever zone.
    pub device: Option<IpAddr>,
    /// Records of this device.
    pub mac: Option<Mac>,
    /// Records of this user, as [`crate::policy::member::user`] makes it.
    pub user: Option<String>,
    /// Records with this name or one below it; canonical, without a leading dot.
    pub name: Option<String>,
    /// Records with this verdict.
    pub verdict: Option<Verdict>,
    /// Records with this category among theirs.
    pub category: Option<String>,
    /// Records of this group.
    pub group: Option<String>,
    /// The record of this number; one of each boot has it.
    pub sequence: Option<u64>,
    /// Records of this boot.
    pub boot: Option<String>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Records behind this one; for [`Reader::visit`].
    pub after: Option<Position>,
    /// Records have these in place of `mac` and `user`, or may have.
    pub pseudonyms: Option<Pseudonyms>,
}

/// A record's place in the order of [`Reader::visit`]. Records that come later leave it where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its end, which tells the day file.
    pub end_us: i64,
    /// Number of its sensor and boot in that file.
    pub origin: i64,
    /// Its own number.
    pub sequence: u64,
}

/// A store opened for reading.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) dir: PathBuf,
}

impl Reader {
    /// Opens the store in a directory that must be there. Files are opened when asked for.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        day_files(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Gives records to `each`, newest end first, and tells how many there were.
    ///
    /// A file that cannot be read does not hide those that can: the rest is visited, and the first
    /// error is returned at the end, so that an answer with a hole never looks whole.
    pub fn visit<E: From<StoreError>>(
        &self,
        query: &Query,
        mut each: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut left = query.limit.unwrap_or(u64::MAX);
        let mut visited = 0;
        let mut broken = None;
        for (day, path) in day_files(&self.dir)? {
            let Some(span) = Span::of(day, query) else {
                continue;
            };
            if left == 0 {
                break;
            }
            let mut failed = None;
            let outcome = open(&path).and_then(|file| {
                let Some(connection) = file else {
                    return Ok(0);
                };
                let each = |record| each(record).map_err(|error| failed = Some(error)).is_ok();
                visit_day(&connection, &span, query, left, each)
                    .map_err(|source| StoreError::of(&path, source))
            });
            if let Some(error) = failed {
                return Err(error);
            }
            match outcome {
                Ok(count) => {
                    visited += count;
                    left -= count;
                }
                Err(error) => {
                    warn!(%error, "day passed over");
                    broken = broken.or(Some(error));
                }
            }
        }
        broken.map_or(Ok(visited), |error| Err(error.into()))
    }

    /// The records, newest end first. Set a limit: all of them are held in memory.
    pub fn flows(&self, query: &Query) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        self.visit(query, |record| {
            records.push(record);
            Ok::<(), StoreError>(())
        })?;
        Ok(records)
    }

    /// Where a record is that [`Self::visit`] gave.
    pub fn position(&self, record: &Record) -> Result<Position, StoreError> {
        let Record { sequence, end_us, .. } = *record;
        let day = day_of(end_us).ok_or(StoreError::Time { sequence, end_us })?;
        let path = self.dir.join(file_name(day));
        let connection = open(&path)?.ok_or_else(|| StoreError::Gone { path: path.clone() })?;
        let origin = connection
            .query_row(
                "SELECT id FROM origins WHERE sensor = ?1 AND boot = ?2",
                [&record.sensor, &record.boot],
                |row| row.get(0),
            )
            .map_err(|source| StoreError::of(&path, source))?;
        Ok(Position { end_us, origin, sequence })
    }

    /// Highest sequence number of a sensor and boot.
    pub(super) fn last_sequence(
        &self,
        sensor: &str,
        boot: &str,
    ) -> Result<Option<u64>, StoreError> {
        let mut last = None;
        for (_, path) in day_files(&self.dir)? {
            let highest = open(&path).and_then(|file| {
                let Some(connection) = file else {
                    return Ok(None);
                };
                let highest: Option<i64> = connection
                    .query_row(
                        "SELECT max(sequence) FROM flows WHERE origin =
                             (SELECT id FROM origins WHERE sensor = ?1 AND boot = ?2)",
                        [sensor, boot],
                        |row| row.get(0),
                    )
                    .map_err(|source| StoreError::of(&path, source))?;
                Ok(highest.map(i64::cast_unsigned))
            });
            match highest {
                Ok(highest) => last = last.max(highest),
                Err(error @ StoreError::Corrupt { .. }) => {
                    warn!(%error, "last sequence number may be higher than found");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }
}

/// Opens a day for reading; nothing if it is gone or nothing was written to it yet.
pub(super) fn open(path: &Path) -> Result<Option<Connection>, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    });
    let connection = match opened {
        Ok(connection) => connection,
        // Retention may have come first.
        Err(error)
            if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) && !path.exists() =>
        {
            return Ok(None);
        }
        Err(error) => return Err(StoreError::of(path, error)),
    };
    match schema::inspect(&connection, path)? {
        Found::Current => Ok(Some(connection)),
        Found::Empty => Ok(None),
        Found::Older(found) => Err(StoreError::Older { path: path.to_owned(), found }),
    }
}

/// What of a day a query is about, µs since 1970, the end excluded.
#[expect(clippy::struct_field_names, reason = "a name ends with its unit")]
pub(super) struct Span {
    pub(super) midnight_us: i64,
    pub(super) from_us: i64,
    pub(super) to_us: i64,
}

impl Span {
    pub(super) fn of(day: Date, query: &Query) -> Option<Self> {
        let midnight_us = start_of(day);
        let next_us = midnight_us.saturating_add(DAY_US);
        let bound = |time: Option<Timestamp>| time.map(Timestamp::as_microsecond);
        let from_us = bound(query.since).map_or(midnight_us, |since| since.max(midnight_us));
        let to_us = bound(query.until).map_or(next_us, |until| until.min(next_us));
        let to_us = query.after.map_or(to_us, |after| to_us.min(after.end_us.saturating_add(1)));
        (from_us < to_us).then_some(Self { midnight_us, from_us, to_us })
    }

    /// What a user may be called in the day's records.
    fn users(&self, pseudonyms: Option<&Pseudonyms>, user: &str) -> Vec<String> {
        let mut users = vec![user.to_owned()];
        if let (Some(pseudonyms), Some(day)) = (pseudonyms, day_of(self.midnight_us)) {
            users.extend(pseudonyms.users(day, user));
        }
        users
    }

    /// What a device may be called there.
    fn macs(&self, pseudonyms: Option<&Pseudonyms>, mac: Mac) -> Vec<String> {
        let mut macs = vec![mac.to_string()];
        if let (Some(pseudonyms), Some(day)) = (pseudonyms, day_of(self.midnight_us)) {
            macs.extend(pseudonyms.macs(day, mac).map(|mac| mac.to_string()));
        }
        macs
    }

    /// Whole hours of the span, as hours of the day, the end excluded.
    pub(super) const fn whole_hours(&self) -> (i64, i64) {
        let first = (self.from_us - self.midnight_us + HOUR_US - 1).div_euclid(HOUR_US);
        let end = (self.to_us - self.midnight_us).div_euclid(HOUR_US);
        (first, if end < first { first } else { end })
    }
}

/// Named values of a statement.
pub(super) type Values = Vec<(&'static str, Value)>;

/// Conditions on `f`, a row of `flows` or what stands for one.
pub(super) fn conditions(query: &Query, span: &Span) -> (String, Values) {
    let mut sql = String::from("1");
    let mut values = Values::new();
    let mut also = |condition: &str, key, value: String| {
        write!(sql, " AND {condition}").expect("a String takes all that is written");
        values.push((key, Value::from(value)));
    };
    if let Some(sequence) = query.sequence {
        also("f.sequence = CAST(:sequence AS INTEGER)", ":sequence", sequence.to_string());
    }
    if let Some(boot) = &query.boot {
        let condition = "f.origin IN (SELECT id FROM origins WHERE boot = :boot)";
        also(condition, ":boot", boot.clone());
    }
    if let Some(device) = query.device {
        let address = device.to_canonical().to_string();
        also("f.device IN (SELECT id FROM devices WHERE address = :device)", ":device", address);
    }
    if let Some(mac) = query.mac {
        let macs = span.macs(query.pseudonyms.as_ref(), mac);
        let condition = "f.identity IN (SELECT id FROM identities
                 WHERE mac IN (SELECT value FROM json_each(:macs)))";
        also(condition, ":macs", serde_json::json!(macs).to_string());
    }
    if let Some(user) = &query.user {
        let users = span.users(query.pseudonyms.as_ref(), user);
        let condition = "f.identity IN (SELECT id FROM identities
                 WHERE user IN (SELECT value FROM json_each(:users)))";
        also(condition, ":users", serde_json::json!(users).to_string());
    }
    if let Some(name) = &query.name {
        also(
            "f.name IN (SELECT id FROM names
                 WHERE name = :name OR substr(name, -length(:name) - 1) = '.' || :name)",
            ":name",
            name.clone(),
        );
    }
    if let Some(verdict) = query.verdict {
        also(
            "f.verdict = (SELECT id FROM labels WHERE text = :verdict)",
            ":verdict",
            verdict.text().to_owned(),
        );
    }
    if let Some(category) = &query.category {
        also(
            "f.categories IN (SELECT s.id FROM category_sets AS s, json_each(s.categories) AS c
                 WHERE c.value = :category)",
            ":category",
            category.clone(),
        );
    }
    if let Some(group) = &query.group {
        also(
            "f.device_group = (SELECT id FROM labels WHERE text = :group)",
            ":group",
            group.clone(),
        );
    }
    (sql, values)
}

/// Values as `rusqlite` takes them.
pub(super) fn bound(values: &Values) -> Vec<(&str, &dyn ToSql)> {
    values.iter().map(|(key, value)| (*key, value as &dyn ToSql)).collect()
}

/// Gives the records of a day to `each`, until it says no.
fn visit_day(
    connection: &Connection,
    span: &Span,
    query: &Query,
    limit: u64,
    mut each: impl FnMut(Record) -> bool,
) -> rusqlite::Result<u64> {
    let (mut conditions, mut values) = conditions(query, span);
    if let Some(after) = query.after {
        conditions.push_str(" AND (f.end_us, f.origin, f.sequence) < (:end, :origin, :number)");
        values.push((":end", Value::from(after.end_us)));
        values.push((":origin", Value::from(after.origin)));
        values.push((":number", Value::from(after.sequence.cast_signed())));
    }
    values.push((":from", Value::from(span.from_us)));
    values.push((":to", Value::from(span.to_us)));
    values.push((":limit", Value::from(i64::try_from(limit).unwrap_or(i64::MAX))));
    // Outer joins keep `flows` outermost, so that its index gives the order.
    let sql = format!(
        "SELECT o.sensor, o.boot, f.sequence, f.flow_id, f.start_us, f.end_us,
             d.address AS device, f.device_port, nullif(i.mac, '') AS mac,
             nullif(i.host_name, '') AS host_name, nullif(i.user, '') AS user,
             i.source AS identity_source, i.confidence AS identity_confidence,
             p.address AS peer, f.peer_port, f.protocol, d.zone,
             (SELECT text FROM labels WHERE id = f.interface) AS interface,
             f.packets_to_peer, f.bytes_to_peer, f.packets_to_lan, f.bytes_to_lan,
             n.name,
             (SELECT text FROM labels WHERE id = f.name_source) AS name_source,
             (SELECT text FROM labels WHERE id = f.no_name) AS no_name,
             (SELECT text FROM labels WHERE id = f.verdict) AS verdict,
             s.categories,
             (SELECT text FROM labels WHERE id = f.list) AS list,
             (SELECT text FROM labels WHERE id = f.policy) AS policy,
             (SELECT text FROM labels WHERE id = f.device_group) AS device_group,
             (SELECT text FROM labels WHERE id = f.tls_version) AS tls_version,
             (SELECT text FROM labels WHERE id = f.alpn) AS alpn, f.ech,
             (SELECT text FROM labels WHERE id = f.ja4) AS ja4,
             (SELECT text FROM labels WHERE id = f.application) AS application,
             (SELECT text FROM labels WHERE id = f.quic_version) AS quic_version, f.quic_datagrams,
             (SELECT text FROM labels WHERE id = f.end_reason) AS end_reason,
             (SELECT text FROM labels WHERE id = f.initiator) AS initiator
         FROM flows AS f
         LEFT JOIN origins AS o ON o.id = f.origin
         LEFT JOIN devices AS d ON d.id = f.device
         LEFT JOIN identities AS i ON i.id = f.identity
         LEFT JOIN peers AS p ON p.id = f.peer
         LEFT JOIN names AS n ON n.id = f.name
         LEFT JOIN category_sets AS s ON s.id = f.categories
         WHERE f.end_us >= :from AND f.end_us < :to AND {conditions}
         ORDER BY f.end_us DESC, f.origin DESC, f.sequence DESC LIMIT :limit"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(bound(&values).as_slice())?;
    let mut visited = 0;
    while let Some(row) = rows.next()? {
        if !each(record(row)?) {
            break;
        }
        visited += 1;
    }
    Ok(visited)
}
