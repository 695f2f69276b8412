//! What the newest records tell of their flows' volumes: what a daemon that starts must know of the one before it.

use std::path::Path;

use rusqlite::{Row, params};
use sensor_ebpf::abi::{Verdict, Volume};
use tracing::warn;

use super::read::open;
use super::row::{count, named};
use super::{Reader, StoreError, day_files};
use crate::record::{EndReason, Record};

/// What a record tells of its flow's volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub sequence: u64,
    /// The flow.
    pub flow_id: u64,
    /// What went to the peer.
    pub to_peer: Volume,
    /// What went to the LAN side.
    pub to_lan: Volume,
    /// Why it was written.
    pub end_reason: EndReason,
    /// What became of the flow.
    pub verdict: Verdict,
}

impl From<&Record> for Told {
    fn from(record: &Record) -> Self {
        Self {
            sequence: record.sequence,
            flow_id: record.flow_id,
            to_peer: Volume { packets: record.packets_to_peer, bytes: record.bytes_to_peer },
            to_lan: Volume { packets: record.packets_to_lan, bytes: record.bytes_to_lan },
            end_reason: record.end_reason,
            verdict: record.verdict,
        }
    }
}

impl Reader {
    /// The records of a sensor and boot from a number on, in no order. By numbers and not by times: a flow that was silent for
    /// long has its record long after its end.
    pub fn told_since(
        &self,
        sensor: &str,
        boot: &str,
        sequence: u64,
    ) -> Result<Vec<Told>, StoreError> {
        let mut told = Vec::new();
        for (_, path) in day_files(&self.dir)? {
            match read_day(&path, sensor, boot, sequence, &mut told) {
                Err(error @ StoreError::Corrupt { .. }) => {
                    warn!(%error, "what its records told is not known");
                }
                other => other?,
            }
        }
        Ok(told)
    }
}

fn read_day(
    path: &Path,
    sensor: &str,
    boot: &str,
    sequence: u64,
    told: &mut Vec<Told>,
) -> Result<(), StoreError> {
    let Some(connection) = open(path)? else { return Ok(()) };
    let failed = |source| StoreError::of(path, source);
    let mut statement = connection
        .prepare(
            "SELECT sequence, flow_id, packets_to_peer, bytes_to_peer, packets_to_lan, bytes_to_lan,
                 (SELECT text FROM labels WHERE id = flows.end_reason) AS end_reason,
                 (SELECT text FROM labels WHERE id = flows.verdict) AS verdict
             FROM flows WHERE sequence >= ?3 AND origin =
                 (SELECT id FROM origins WHERE sensor = ?1 AND boot = ?2)",
        )
        .map_err(failed)?;
    let rows = statement.query_map(params![sensor, boot, sequence.cast_signed()], of_row);
    for row in rows.map_err(failed)? {
        told.push(row.map_err(failed)?);
    }
    Ok(())
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Told> {
    let volume = |packets, bytes| -> rusqlite::Result<Volume> {
        Ok(Volume { packets: count(row, packets)?, bytes: count(row, bytes)? })
    };
    Ok(Told {
        sequence: count(row, "sequence")?,
        flow_id: row.get::<_, i64>("flow_id")?.cast_unsigned(),
        to_peer: volume("packets_to_peer", "bytes_to_peer")?,
        to_lan: volume("packets_to_lan", "bytes_to_lan")?,
        end_reason: named(row, "end_reason")?,
        verdict: named(row, "verdict")?,
    })
}
