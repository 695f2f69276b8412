//! Layout of a day file.
//!
//! `flows` holds numbers only; what repeats is interned: names, devices, peers, sets of categories,
//! and `labels` for every other text. `flows` is clustered by the key of a record, which grows, so
//! that appending stays at the end of the file. The roll-ups are written in the same transaction, so their
//! sums are those of `flows` at any moment.
//!
//! | column | meaning |
//! |---|---|
//! | `flows.flow_id` | the 64 bits of the id, signed as `SQLite` has it; `records` shows them in hexadecimal |
//! | `flows.categories` | a set: JSON array, sorted |
//! | `flows.alpn` | label: JSON array in the client's order; NULL for none |
//! | `flows.identity` | who it was; NULL where nobody knows |
//! | `identities.*` | texts, empty where not known; all of a day that names a person, so that it can be erased |
//! | `flows.ech` | 0 or 1; NULL without a hello |
//! | `names.site` | the site the name belongs to, see [`super::site_of`] |
//! | `rollup.hour` | hour of the UTC day in which the records end, 0 to 23 |
//! | `rollup.device_group` | label, 0 for no group |
//! | `rollup.records` | rows of `flows` summed here |
//! | `rollup.flows` | those among them that are the last record of their flow |
//! | `site_rollup.site` | 0 for no name; names that DNS answers hint at count for their sites |
//! | `site_rollup.unnamed_*` | of the sums, what has no usable name, see [`crate::names`] |
//! | `totals` | `rollup` without devices: what is asked of a month reads some thousand rows a day |

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;

/// Version of the layout. It also stands for [`crate::record::RECORD_VERSION`] of the records kept.
pub const SCHEMA_VERSION: i64 = 3;

/// The oldest version of the layout.
const FIRST_VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (
    schema_version INTEGER NOT NULL,
    sensor TEXT NOT NULL,
    day TEXT NOT NULL
) STRICT;

CREATE TABLE origins (
    id INTEGER PRIMARY KEY,
    sensor TEXT NOT NULL,
    boot TEXT NOT NULL,
    UNIQUE (sensor, boot)
) STRICT;
CREATE TABLE names (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    site INTEGER REFERENCES sites
) STRICT;
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL,
    zone INTEGER NOT NULL,
    UNIQUE (address, zone)
) STRICT;
CREATE TABLE peers (id INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE category_sets (id INTEGER PRIMARY KEY, categories TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE labels (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE flows (
    origin INTEGER NOT NULL REFERENCES origins,
    sequence INTEGER NOT NULL,
    flow_id INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL,
    device INTEGER NOT NULL REFERENCES devices,
    device_port INTEGER NOT NULL,
    peer INTEGER NOT NULL REFERENCES peers,
    peer_port INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    interface INTEGER NOT NULL REFERENCES labels,
    packets_to_peer INTEGER NOT NULL,
    bytes_to_peer INTEGER NOT NULL,
    packets_to_lan INTEGER NOT NULL,
    bytes_to_lan INTEGER NOT NULL,
    name INTEGER REFERENCES names,
    name_source INTEGER NOT NULL REFERENCES labels,
    no_name INTEGER NOT NULL REFERENCES labels,
    verdict INTEGER NOT NULL REFERENCES labels,
    categories INTEGER NOT NULL REFERENCES category_sets,
    list INTEGER REFERENCES labels,
    policy INTEGER REFERENCES labels,
    device_group INTEGER REFERENCES labels,
    tls_version INTEGER REFERENCES labels,
    alpn INTEGER REFERENCES labels,
    ech INTEGER,
    ja4 INTEGER REFERENCES labels,
    application INTEGER REFERENCES labels,
    quic_version INTEGER REFERENCES labels,
    quic_datagrams INTEGER,
    end_reason INTEGER NOT NULL REFERENCES labels,
    initiator INTEGER NOT NULL REFERENCES labels,
    identity INTEGER REFERENCES identities,
    PRIMARY KEY (origin, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX flows_by_end ON flows (end_us);
CREATE INDEX flows_by_device ON flows (device, end_us);

CREATE TABLE rollup (
    hour INTEGER NOT NULL,
    device INTEGER NOT NULL REFERENCES devices,
    device_group INTEGER NOT NULL,
    categories INTEGER NOT NULL REFERENCES category_sets,
    verdict INTEGER NOT NULL REFERENCES labels,
    no_name INTEGER NOT NULL REFERENCES labels,
    interface INTEGER NOT NULL REFERENCES labels,
    records INTEGER NOT NULL,
    flows INTEGER NOT NULL,
    packets_to_peer INTEGER NOT NULL,
    bytes_to_peer INTEGER NOT NULL,
    packets_to_lan INTEGER NOT NULL,
    bytes_to_lan INTEGER NOT NULL,
    PRIMARY KEY (hour, device, device_group, categories, verdict, no_name, interface)
) STRICT, WITHOUT ROWID;
";

/// Sites and what all devices did together, which version 3 brought. Hours lead: a batch is written into one or two of
/// them, and who asks for a device asks for it hour by hour.
pub(super) const SITES: &str = "
CREATE TABLE sites (id INTEGER PRIMARY KEY, site TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE site_rollup (
    hour INTEGER NOT NULL,
    device INTEGER NOT NULL REFERENCES devices,
    site INTEGER NOT NULL,
    device_group INTEGER NOT NULL,
    verdict INTEGER NOT NULL REFERENCES labels,
    records INTEGER NOT NULL,
    flows INTEGER NOT NULL,
    packets_to_peer INTEGER NOT NULL,
    bytes_to_peer INTEGER NOT NULL,
    packets_to_lan INTEGER NOT NULL,
    bytes_to_lan INTEGER NOT NULL,
    unnamed_flows INTEGER NOT NULL,
    unnamed_bytes INTEGER NOT NULL,
    PRIMARY KEY (hour, device, site, device_group, verdict)
) STRICT, WITHOUT ROWID;
CREATE TABLE totals (
    hour INTEGER NOT NULL,
    device_group INTEGER NOT NULL,
    categories INTEGER NOT NULL REFERENCES category_sets,
    verdict INTEGER NOT NULL REFERENCES labels,
    no_name INTEGER NOT NULL REFERENCES labels,
    interface INTEGER NOT NULL REFERENCES labels,
    records INTEGER NOT NULL,
    flows INTEGER NOT NULL,
    packets_to_peer INTEGER NOT NULL,
    bytes_to_peer INTEGER NOT NULL,
    packets_to_lan INTEGER NOT NULL,
    bytes_to_lan INTEGER NOT NULL,
    PRIMARY KEY (hour, device_group, categories, verdict, no_name, interface)
) STRICT, WITHOUT ROWID;
";

/// Who it was, which version 2 brought.
pub(super) const IDENTITIES: &str = "
CREATE TABLE identities (
    id INTEGER PRIMARY KEY,
    mac TEXT NOT NULL,
    host_name TEXT NOT NULL,
    user TEXT NOT NULL,
    source TEXT NOT NULL,
    confidence TEXT NOT NULL,
    UNIQUE (mac, host_name, user, source, confidence)
) STRICT;
";

pub(super) const IDENTITY_INDEX: &str =
    "CREATE INDEX flows_by_identity ON flows (identity, end_us) WHERE identity IS NOT NULL;";

pub(super) const VIEW: &str = "
CREATE VIEW records AS SELECT
    origins.sensor, origins.boot, flows.sequence,
    printf('%016x', flows.flow_id) AS flow_id,
    strftime('%Y-%m-%dT%H:%M:%S', flows.start_us / 1000000, 'unixepoch')
        || printf('.%06dZ', flows.start_us % 1000000) AS start,
    strftime('%Y-%m-%dT%H:%M:%S', flows.end_us / 1000000, 'unixepoch')
        || printf('.%06dZ', flows.end_us % 1000000) AS \"end\",
    devices.address AS device, flows.device_port,
    nullif(identities.mac, '') AS mac,
    CASE WHEN identities.mac <> '' THEN substr(identities.mac, 2, 1) IN ('2', '3', '6', '7', 'a', 'b', 'e', 'f')
        END AS mac_randomised,
    nullif(identities.host_name, '') AS host_name, nullif(identities.user, '') AS user,
    identities.source AS identity_source, identities.confidence AS identity_confidence,
    peers.address AS peer, flows.peer_port,
    flows.protocol, devices.zone,
    (SELECT text FROM labels WHERE id = flows.interface) AS interface,
    flows.packets_to_peer, flows.bytes_to_peer, flows.packets_to_lan, flows.bytes_to_lan,
    names.name, (SELECT site FROM sites WHERE id = names.site) AS site,
    (SELECT text FROM labels WHERE id = flows.name_source) AS name_source,
    (SELECT text FROM labels WHERE id = flows.no_name) AS no_name,
    (SELECT text FROM labels WHERE id = flows.verdict) AS verdict,
    category_sets.categories,
    (SELECT text FROM labels WHERE id = flows.list) AS list,
    (SELECT text FROM labels WHERE id = flows.policy) AS policy,
    (SELECT text FROM labels WHERE id = flows.device_group) AS \"group\",
    (SELECT text FROM labels WHERE id = flows.tls_version) AS tls_version,
    (SELECT text FROM labels WHERE id = flows.alpn) AS alpn, flows.ech,
    (SELECT text FROM labels WHERE id = flows.ja4) AS ja4,
    (SELECT text FROM labels WHERE id = flows.application) AS application,
    (SELECT text FROM labels WHERE id = flows.quic_version) AS quic_version,
    flows.quic_datagrams,
    (SELECT text FROM labels WHERE id = flows.end_reason) AS end_reason,
    (SELECT text FROM labels WHERE id = flows.initiator) AS initiator
FROM flows
LEFT JOIN origins ON origins.id = flows.origin
LEFT JOIN devices ON devices.id = flows.device
LEFT JOIN identities ON identities.id = flows.identity
LEFT JOIN peers ON peers.id = flows.peer
LEFT JOIN names ON names.id = flows.name
LEFT JOIN category_sets ON category_sets.id = flows.categories;
";

/// What a file turned out to be.
pub(super) enum Found {
    /// Nothing was ever written to it.
    Empty,
    /// A day file of this version.
    Current,
    /// One of an older version, which [`super::migrate`] makes one of this.
    Older(i64),
}

/// Looks at a file without changing it.
pub(super) fn inspect(connection: &Connection, path: &Path) -> Result<Found, StoreError> {
    let failed = |source| StoreError::of(path, source);
    let corrupt =
        |reason: &str| StoreError::Corrupt { path: path.to_owned(), reason: reason.into() };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    if tables == 0 {
        return Ok(Found::Empty);
    }
    let has_meta: bool = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'", [], |row| row.get(0))
        .map_err(failed)?;
    if !has_meta {
        return Err(corrupt("it has tables, but not those of a day file"));
    }
    let version: Option<i64> = connection
        .query_row("SELECT schema_version FROM meta", [], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    match version {
        Some(SCHEMA_VERSION) => Ok(Found::Current),
        Some(found) if found > SCHEMA_VERSION => {
            Err(StoreError::Newer { path: path.to_owned(), found })
        }
        Some(found @ FIRST_VERSION..SCHEMA_VERSION) => Ok(Found::Older(found)),
        Some(_) => Err(corrupt("its schema version was never given out")),
        None => Err(corrupt("it does not tell its schema version")),
    }
}

/// Lays out an empty file. All of it or nothing: a crash leaves the file empty.
pub(super) fn create(connection: &mut Connection, sensor: &str, day: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(IDENTITIES)?;
    transaction.execute_batch(SITES)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(IDENTITY_INDEX)?;
    transaction.execute_batch(VIEW)?;
    transaction.execute(
        "INSERT INTO meta (schema_version, sensor, day) VALUES (?1, ?2, ?3)",
        params![SCHEMA_VERSION, sensor, day],
    )?;
    transaction.commit()
}
