//! A row of a day file as the record it was.

use std::net::IpAddr;

use rusqlite::{Row, RowIndex};

use crate::policy::member::Mac;
use crate::record::{Named, RECORD_VERSION, Record};

/// A row of the query over a day as the record it was.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let mac = row.get::<_, Option<String>>("mac")?.map(|text| {
        text.parse::<Mac>().map_err(|()| unreadable(format!("{text:?} is no MAC address")))
    });
    let mac = mac.transpose()?;
    Ok(Record {
        schema_version: RECORD_VERSION,
        sensor: row.get("sensor")?,
        boot: row.get("boot")?,
        sequence: row.get::<_, i64>("sequence")?.cast_unsigned(),
        flow_id: row.get::<_, i64>("flow_id")?.cast_unsigned(),
        start_us: row.get("start_us")?,
        end_us: row.get("end_us")?,
        device: parsed(row, "device")?,
        device_port: row.get("device_port")?,
        mac,
        mac_randomised: mac.map(Mac::is_local),
        host_name: row.get("host_name")?,
        user: row.get("user")?,
        identity_source: maybe_named(row, "identity_source")?,
        identity_confidence: maybe_named(row, "identity_confidence")?,
        peer: parsed(row, "peer")?,
        peer_port: row.get("peer_port")?,
        protocol: row.get("protocol")?,
        zone: row.get("zone")?,
        interface: row.get("interface")?,
        packets_to_peer: count(row, "packets_to_peer")?,
        bytes_to_peer: count(row, "bytes_to_peer")?,
        packets_to_lan: count(row, "packets_to_lan")?,
        bytes_to_lan: count(row, "bytes_to_lan")?,
        name: row.get("name")?,
        name_source: named(row, "name_source")?,
        no_name: named(row, "no_name")?,
        verdict: named(row, "verdict")?,
        categories: texts(&row.get::<_, String>("categories")?)?,
        list: row.get("list")?,
        policy: row.get("policy")?,
        group: row.get("device_group")?,
        tls_version: row.get("tls_version")?,
        alpn: texts(row.get::<_, Option<String>>("alpn")?.as_deref().unwrap_or("[]"))?,
        ech: row.get("ech")?,
        ja4: row.get("ja4")?,
        application: row.get("application")?,
        quic_version: row.get("quic_version")?,
        quic_datagrams: row.get("quic_datagrams")?,
        end_reason: named(row, "end_reason")?,
        initiator: named(row, "initiator")?,
    })
}

/// A text no version of the store writes there.
pub(super) fn unreadable(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
}

/// A column that holds the name of a value.
pub(super) fn named<T: Named>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    T::of(&text).ok_or_else(|| unreadable(format!("{text:?} is no {}", T::WHAT)))
}

/// A column that may hold the name of a value.
fn maybe_named<T: Named>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    if row.get::<_, Option<String>>(column)?.is_none() {
        return Ok(None);
    }
    named(row, column).map(Some)
}

/// A column that holds an address.
pub(super) fn parsed(row: &Row<'_>, column: &str) -> rusqlite::Result<IpAddr> {
    row.get::<_, String>(column)?.parse().map_err(unreadable)
}

/// A column that holds a counter.
pub(super) fn count(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.try_into().unwrap_or(0))
}

/// A JSON array of texts.
pub(super) fn texts(text: &str) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(text).map_err(unreadable)
}
