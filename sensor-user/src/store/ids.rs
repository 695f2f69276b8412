//! Rows of a record: texts become ids, known ones without asking the file.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use rusqlite::{OptionalExtension as _, Params, Row, Statement, Transaction, params};

use super::rollup::{RollupKey, integer};
use super::site::site_of;
use crate::record::{Named as _, Record};

/// Ids kept in memory for each dictionary of an open day; beyond, they are looked up again.
/// 64 Ki names of 40 bytes are about 6 MiB.
const IDS_MAX: usize = 1 << 16;

/// Sensors and boots kept in memory: one, and one more for each restart of the machine that day.
const ORIGINS_MAX: usize = 64;

/// A table that gives texts their ids.
struct Dictionary {
    select: &'static str,
    insert: &'static str,
}

const ORIGINS: Dictionary = Dictionary {
    select: "SELECT id FROM origins WHERE sensor = ?1 AND boot = ?2",
    insert: "INSERT INTO origins (sensor, boot) VALUES (?1, ?2)",
};
const DEVICES: Dictionary = Dictionary {
    select: "SELECT id FROM devices WHERE address = ?1 AND zone = ?2",
    insert: "INSERT INTO devices (address, zone) VALUES (?1, ?2)",
};
const IDENTITIES: Dictionary = Dictionary {
    select: "SELECT id FROM identities
        WHERE mac = ?1 AND host_name = ?2 AND user = ?3 AND source = ?4 AND confidence = ?5",
    insert: "INSERT INTO identities (mac, host_name, user, source, confidence)
        VALUES (?1, ?2, ?3, ?4, ?5)",
};
const PEERS: Dictionary = Dictionary {
    select: "SELECT id FROM peers WHERE address = ?1",
    insert: "INSERT INTO peers (address) VALUES (?1)",
};
const SITES: Dictionary = Dictionary {
    select: "SELECT id FROM sites WHERE site = ?1",
    insert: "INSERT INTO sites (site) VALUES (?1)",
};
const CATEGORY_SETS: Dictionary = Dictionary {
    select: "SELECT id FROM category_sets WHERE categories = ?1",
    insert: "INSERT INTO category_sets (categories) VALUES (?1)",
};
const LABELS: Dictionary = Dictionary {
    select: "SELECT id FROM labels WHERE text = ?1",
    insert: "INSERT INTO labels (text) VALUES (?1)",
};

impl Dictionary {
    /// The id of a text, given now if it has none.
    fn id(&self, transaction: &Transaction<'_>, text: impl Params + Copy) -> rusqlite::Result<i64> {
        let mut select = transaction.prepare_cached(self.select)?;
        if let Some(id) = select.query_row(text, |row| row.get(0)).optional()? {
            return Ok(id);
        }
        transaction.prepare_cached(self.insert)?.execute(text)?;
        Ok(transaction.last_insert_rowid())
    }
}

/// The id of a site, given now if it has none.
pub(super) fn site(transaction: &Transaction<'_>, site: &str) -> rusqlite::Result<i64> {
    SITES.id(transaction, [site])
}

/// Ids of a name and of its site. What the name's site was when it was first seen that day stays so.
#[derive(Clone, Copy, Debug)]
struct NameIds {
    name: i64,
    site: i64,
}

impl NameIds {
    fn of(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<Self> {
        let mut select =
            transaction.prepare_cached("SELECT id, site FROM names WHERE name = ?1")?;
        let ids = |row: &Row<'_>| Ok(Self { name: row.get(0)?, site: row.get(1)? });
        if let Some(known) = select.query_row([name], ids).optional()? {
            return Ok(known);
        }
        let site = site(transaction, site_of(name))?;
        transaction
            .prepare_cached("INSERT INTO names (name, site) VALUES (?1, ?2)")?
            .execute(params![name, site])?;
        Ok(Self { name: transaction.last_insert_rowid(), site })
    }
}

/// Stores a record unless it is there.
pub(super) const INSERT_FLOW: &str = "
    INSERT INTO flows (origin, sequence, flow_id, start_us, end_us, device, device_port, peer,
        peer_port, protocol, interface, packets_to_peer, bytes_to_peer, packets_to_lan,
        bytes_to_lan, name, name_source, no_name, verdict, categories, list, policy, device_group,
        tls_version, alpn, ech, ja4, application, quic_version, quic_datagrams, end_reason,
        initiator, identity)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
        ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)
    ON CONFLICT (origin, sequence) DO NOTHING";

/// Who a record says it was: texts, empty where not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    mac: String,
    host_name: String,
    user: String,
    source: String,
    confidence: String,
}

impl Identity {
    fn of(record: &Record) -> Option<Self> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Some(Self {
            mac: record.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            host_name: text(&record.host_name),
            user: text(&record.user),
            source: record.identity_source?.text().to_owned(),
            confidence: record.identity_confidence?.text().to_owned(),
        })
    }
}

/// Ids known without asking.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// A batch has one origin or few: they are searched, not hashed.
    origins: Vec<(String, String, i64)>,
    devices: HashMap<(IpAddr, u16), i64>,
    identities: HashMap<Identity, i64>,
    peers: HashMap<IpAddr, i64>,
    names: HashMap<String, NameIds>,
    category_sets: HashMap<Vec<String>, i64>,
    labels: HashMap<String, i64>,
}

impl Ids {
    /// Stores a record and tells what it counts for, all but the hour; nothing if it was there.
    pub(super) fn insert(
        &mut self,
        transaction: &Transaction<'_>,
        insert_flow: &mut Statement<'_>,
        record: &Record,
    ) -> rusqlite::Result<Option<RollupKey>> {
        let origin = self.origin(transaction, &record.sensor, &record.boot)?;
        let device = known(&mut self.devices, &(record.device, record.zone), || {
            DEVICES.id(transaction, (record.device.to_string().as_str(), record.zone))
        })?;
        let identity = match Identity::of(record) {
            Some(identity) => Some(known(&mut self.identities, &identity, || {
                let Identity { mac, host_name, user, source, confidence } = &identity;
                IDENTITIES.id(transaction, [mac, host_name, user, source, confidence])
            })?),
            None => None,
        };
        let peer = known(&mut self.peers, &record.peer, || {
            PEERS.id(transaction, [record.peer.to_string().as_str()])
        })?;
        let name = match record.name.as_deref() {
            Some(name) => Some(known(&mut self.names, name, || NameIds::of(transaction, name))?),
            None => None,
        };
        let categories = known(&mut self.category_sets, record.categories.as_slice(), || {
            CATEGORY_SETS.id(transaction, [array(&record.categories).as_str()])
        })?;
        let alpn = (!record.alpn.is_empty()).then(|| array(&record.alpn));
        let mut label =
            |text: &str| known(&mut self.labels, text, || LABELS.id(transaction, [text]));
        let verdict = label(record.verdict.text())?;
        let no_name = label(record.no_name.text())?;
        let interface = label(&record.interface)?;
        let device_group = record.group.as_deref().map(&mut label).transpose()?;
        let rows = insert_flow.execute(params![
            origin,
            record.sequence.cast_signed(),
            record.flow_id.cast_signed(),
            record.start_us,
            record.end_us,
            device,
            record.device_port,
            peer,
            record.peer_port,
            record.protocol,
            interface,
            integer(record.packets_to_peer),
            integer(record.bytes_to_peer),
            integer(record.packets_to_lan),
            integer(record.bytes_to_lan),
            name.map(|ids| ids.name),
            label(record.name_source.text())?,
            no_name,
            verdict,
            categories,
            record.list.as_deref().map(&mut label).transpose()?,
            record.policy.as_deref().map(&mut label).transpose()?,
            device_group,
            record.tls_version.as_deref().map(&mut label).transpose()?,
            alpn.as_deref().map(&mut label).transpose()?,
            record.ech,
            record.ja4.as_deref().map(&mut label).transpose()?,
            record.application.as_deref().map(&mut label).transpose()?,
            record.quic_version.as_deref().map(&mut label).transpose()?,
            record.quic_datagrams,
            label(record.end_reason.text())?,
            label(record.initiator.text())?,
            identity,
        ])?;
        let key = RollupKey {
            hour: 0,
            device,
            device_group: device_group.unwrap_or(0),
            categories,
            verdict,
            no_name,
            interface,
            site: name.map_or(0, |ids| ids.site),
        };
        Ok((rows > 0).then_some(key))
    }

    fn origin(
        &mut self,
        transaction: &Transaction<'_>,
        sensor: &str,
        boot: &str,
    ) -> rusqlite::Result<i64> {
        let known = self.origins.iter().find(|known| known.0 == sensor && known.1 == boot);
        if let Some((_, _, id)) = known {
            return Ok(*id);
        }
        let id = ORIGINS.id(transaction, (sensor, boot))?;
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.clear();
        }
        self.origins.push((sensor.to_owned(), boot.to_owned(), id));
        Ok(id)
    }
}

/// Texts as a JSON array.
fn array(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// An id from memory, or from the file and from then on from memory.
fn known<K, Q, I>(
    ids: &mut HashMap<K, I>,
    key: &Q,
    look_up: impl FnOnce() -> rusqlite::Result<I>,
) -> rusqlite::Result<I>
where
    I: Copy,
    K: Borrow<Q> + Eq + Hash,
    Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
{
    if let Some(id) = ids.get(key) {
        return Ok(*id);
    }
    let id = look_up()?;
    if ids.len() >= IDS_MAX {
        ids.clear();
    }
    ids.insert(key.to_owned(), id);
    Ok(id)
}
