//! Day files of older versions made ones of this.

use rusqlite::{Connection, Transaction, params};
use sensor_ebpf::abi::NoName;

use super::ids;
use super::schema::{IDENTITIES, IDENTITY_INDEX, SCHEMA_VERSION, SITES, VIEW};
use super::site::site_of;
use crate::names::USABLE;
use crate::record::{EndReason, Named as _};

/// Carries a file over from a version. All of it or nothing: a crash leaves the file as it was.
///
/// What an old file has no column for is not known. Sites and their roll-up are made of its own names and records,
/// which takes some seconds for each million of them.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if from < 2 {
        add_identities(&transaction)?;
    }
    add_sites(&transaction)?;
    transaction.execute_batch("DROP VIEW records;")?;
    transaction.execute_batch(VIEW)?;
    transaction.execute("UPDATE meta SET schema_version = ?1", [SCHEMA_VERSION])?;
    transaction.commit()
}

fn add_identities(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(IDENTITIES)?;
    transaction
        .execute_batch("ALTER TABLE flows ADD COLUMN identity INTEGER REFERENCES identities;")?;
    transaction.execute_batch(IDENTITY_INDEX)
}

fn add_sites(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(SITES)?;
    transaction.execute_batch("ALTER TABLE names ADD COLUMN site INTEGER REFERENCES sites;")?;
    {
        let mut names = transaction.prepare("SELECT id, name FROM names ORDER BY id")?;
        let mut update = transaction.prepare("UPDATE names SET site = ?2 WHERE id = ?1")?;
        // Collected first: what is read is not changed meanwhile.
        let all = names.query_map([], |row| row.try_into())?;
        for (name, text) in all.collect::<rusqlite::Result<Vec<(i64, String)>>>()? {
            update.execute([name, ids::site(transaction, site_of(&text))?])?;
        }
    }
    let [named, unlogged] = USABLE.map(NoName::text);
    let unnamed = "no_name NOT IN (SELECT id FROM labels WHERE text IN (?1, ?2))";
    let last = "end_reason IS NOT (SELECT id FROM labels WHERE text = ?3)";
    transaction.execute(
        &format!(
            "INSERT INTO site_rollup
             SELECT (end_us - (SELECT unixepoch(day) FROM meta) * 1000000) / 3600000000, device,
                 ifnull((SELECT site FROM names WHERE id = flows.name), 0) AS site,
                 ifnull(device_group, 0), verdict, count(*), sum({last}), sum(packets_to_peer),
                 sum(bytes_to_peer), sum(packets_to_lan), sum(bytes_to_lan),
                 sum({unnamed} AND {last}), sum(iif({unnamed}, bytes_to_peer + bytes_to_lan, 0))
             FROM flows GROUP BY 1, 2, 3, 4, 5"
        ),
        params![named, unlogged, EndReason::ActiveTimeout.text()],
    )?;
    transaction.execute(
        "INSERT INTO totals
         SELECT hour, device_group, categories, verdict, no_name, interface, sum(records),
             sum(flows), sum(packets_to_peer), sum(bytes_to_peer), sum(packets_to_lan),
             sum(bytes_to_lan)
         FROM rollup GROUP BY 1, 2, 3, 4, 5, 6",
        [],
    )?;
    Ok(())
}
