//! A campus for the store to keep: 20,000 devices, ten million records a day, and what the roll-ups of a day hold of them.
//!
//! Every record is drawn and summed here, and only the sums are written: the rows are those that the records would have
//! made, and a month takes minutes instead of hours. Who visits what is no measurement. Devices are at work in eight hours of
//! sixteen; seven of ten flows go to one of thirty sites of the device's own, the rest to one of 50,000, the n-th of which
//! is visited as often as 1/n (Zipf's law, which names on the Internet follow).

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use rusqlite::{Connection, params_from_iter};

/// Devices of the campus.
pub(crate) const DEVICES: u64 = 20_000;

/// Records of a day.
pub(crate) const RECORDS_A_DAY: u64 = 10_000_000;

const GROUPS: u64 = 5;
const SITES: u64 = 50_000;
const OWN_SITES: u64 = 30;
const CATEGORY_SETS: u64 = 60;
const REASONS: u64 = 4;
/// Hours of a day that a device may be at work in, and how many of them it is.
const HOURS: u64 = 16;
const FIRST_HOUR: u64 = 6;
const HOURS_AT_WORK: u64 = 8;
pub(crate) const VERDICTS: [&str; 3] = ["undecided", "allow", "block"];
const REASON_NAMES: [&str; 5] = ["named", "not-tls", "no-sni", "not-quic", "mid-stream"];

/// Numbers without a pattern, the same in every run: `SplitMix64`.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A site by Zipf's law: the logarithm of its rank is uniform.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank between one and fifty thousand"
    )]
    fn zipf(&mut self) -> u64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (SITES as f64).powf(uniform) as u64 - 1
    }
}

const fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// What a record counts for: ids as the tables have them, 0 for no site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Drawn {
    pub(crate) hour: u64,
    pub(crate) device: u64,
    pub(crate) group: u64,
    pub(crate) site: u64,
    pub(crate) categories: u64,
    pub(crate) verdict: u64,
    reason: u64,
    interface: u64,
}

impl Drawn {
    pub(crate) fn new(draw: &mut Draw) -> Self {
        let device = draw.below(DEVICES);
        let begins = mixed(device) % (HOURS - HOURS_AT_WORK + 1);
        let hour = FIRST_HOUR + begins + draw.below(HOURS_AT_WORK);
        let group = device % GROUPS;
        let (site, reason) = match draw.below(10) {
            0 => (0, 1 + draw.below(REASONS)),
            1..=7 => {
                // Its own sites are popular ones too.
                let own = draw.below(OWN_SITES);
                (Draw(mixed(device * OWN_SITES + own)).zipf() + 1, 0)
            }
            _ => (draw.zipf() + 1, 0),
        };
        // Half of the sites are in no list.
        let listed = mixed(site) % (2 * CATEGORY_SETS);
        let categories = if site == 0 || listed >= CATEGORY_SETS { 0 } else { listed };
        let verdict = match categories {
            _ if site == 0 => 0,
            // Each group blocks a few of the sets.
            set if set > 0 && (set + group).is_multiple_of(8) => 2,
            _ => 1,
        };
        Self { hour, device, group, site, categories, verdict, reason, interface: device % 2 }
    }
}

/// Records and bytes.
type Sums = [u64; 2];

/// The sums of a day.
#[derive(Default)]
pub(crate) struct Day {
    devices: HashMap<[u64; 7], Sums>,
    sites: HashMap<[u64; 5], Sums>,
    totals: HashMap<[u64; 6], Sums>,
}

impl Day {
    /// All roll-ups of a day's records, or what all devices did together alone.
    pub(crate) fn draw(seed: u64, with_devices: bool) -> Self {
        let mut day = Self::default();
        let mut draw = Draw(seed);
        for _ in 0..RECORDS_A_DAY {
            let one = Drawn::new(&mut draw);
            let bytes = 200 + draw.below(1 << 16);
            let Drawn { hour, device, group, site, categories, verdict, reason, interface } = one;
            let key = [hour, group, categories, verdict, reason, interface];
            add(day.totals.entry(key).or_default(), bytes);
            if with_devices {
                let key = [hour, device, group, categories, verdict, reason, interface];
                add(day.devices.entry(key).or_default(), bytes);
                add(day.sites.entry([hour, device, site, group, verdict]).or_default(), bytes);
            }
        }
        day
    }

    /// Rows of the device's, the site's and all devices' roll-up.
    pub(crate) fn rows(&self) -> [usize; 3] {
        [self.devices.len(), self.sites.len(), self.totals.len()]
    }

    /// Writes them into a day file in place of what it has.
    pub(crate) fn write(&self, connection: &mut Connection) -> Result<()> {
        let transaction = connection.transaction()?;
        transaction
            .execute_batch("DELETE FROM rollup; DELETE FROM site_rollup; DELETE FROM totals;")?;
        let ids = Ids::new(&transaction)?;
        let sums = |[records, bytes]: Sums| {
            [records, records, 3 * records, bytes, 2 * records, bytes].map(u64::cast_signed)
        };
        write(&transaction, "rollup", &self.devices, |key, all| {
            let [hour, device, group, categories, verdict, reason, interface] = *key;
            let rest = ids.judged(group, categories, verdict, reason, interface)?;
            let key = [hour.cast_signed(), at(&ids.devices, device)?];
            Ok(key.into_iter().chain(rest).chain(sums(all)).collect())
        })?;
        write(&transaction, "totals", &self.totals, |key, all| {
            let [hour, group, categories, verdict, reason, interface] = *key;
            let rest = ids.judged(group, categories, verdict, reason, interface)?;
            Ok(std::iter::once(hour.cast_signed()).chain(rest).chain(sums(all)).collect())
        })?;
        write(&transaction, "site_rollup", &self.sites, |key, all| {
            let [hour, device, site, group, verdict] = *key;
            let key = [
                hour.cast_signed(),
                at(&ids.devices, device)?,
                site.checked_sub(1).map_or(Ok(0), |site| at(&ids.sites, site))?,
                at(&ids.groups, group)?,
                at(&ids.verdicts, verdict)?,
            ];
            let unnamed = if site == 0 { all } else { [0, 0] }.map(u64::cast_signed);
            Ok(key.into_iter().chain(sums(all)).chain(unnamed).collect())
        })?;
        transaction.commit()?;
        Ok(())
    }
}

fn add(sums: &mut Sums, bytes: u64) {
    let [records, all] = sums;
    *records += 1;
    *all += bytes;
}

/// Address of a device.
pub(crate) fn address(device: u64) -> Ipv4Addr {
    let [.., block, high, low] = device.to_be_bytes();
    Ipv4Addr::new(10, 64 + block, high, low)
}

/// Name of a group.
pub(crate) fn group(number: u64) -> String {
    format!("group-{number}")
}

/// A site, by its rank.
pub(crate) fn site(number: u64) -> String {
    format!("site-{number}.example")
}

/// Categories of a set; the first has none, a third has two.
pub(crate) fn categories(set: u64) -> Vec<String> {
    let second = set.is_multiple_of(3).then(|| format!("category-{}", 100 + set));
    let first = (set > 0).then(|| format!("category-{set}"));
    first.into_iter().chain(second.filter(|_| set > 0)).collect()
}

/// Ids of a file's dictionaries.
struct Ids {
    devices: Vec<i64>,
    sites: Vec<i64>,
    groups: Vec<i64>,
    sets: Vec<i64>,
    verdicts: Vec<i64>,
    reasons: Vec<i64>,
    interfaces: Vec<i64>,
}

impl Ids {
    fn new(connection: &Connection) -> Result<Self> {
        let labels = |texts: &mut dyn Iterator<Item = String>| ids(connection, LABELS, texts);
        Ok(Self {
            devices: ids(
                connection,
                DEVICE_ROWS,
                &mut (0..DEVICES).map(|one| address(one).to_string()),
            )?,
            sites: ids(connection, SITE_ROWS, &mut (1..=SITES).map(site))?,
            groups: labels(&mut (0..GROUPS).map(group))?,
            sets: ids(
                connection,
                SETS,
                &mut (0..CATEGORY_SETS).map(|set| serde_json::json!(categories(set)).to_string()),
            )?,
            verdicts: labels(&mut VERDICTS.map(str::to_owned).into_iter())?,
            reasons: labels(&mut REASON_NAMES.map(str::to_owned).into_iter())?,
            interfaces: labels(&mut (0..2).map(|one| format!("lan{one}")))?,
        })
    }

    /// Columns from the group to the interface.
    fn judged(
        &self,
        group: u64,
        categories: u64,
        verdict: u64,
        reason: u64,
        interface: u64,
    ) -> Result<[i64; 5]> {
        Ok([
            at(&self.groups, group)?,
            at(&self.sets, categories)?,
            at(&self.verdicts, verdict)?,
            at(&self.reasons, reason)?,
            at(&self.interfaces, interface)?,
        ])
    }
}

fn at(ids: &[i64], number: u64) -> Result<i64> {
    ids.get(usize::try_from(number)?).copied().context("a number beyond its table")
}

/// How a text gets its id, and how that is looked up.
type Dictionary = [&'static str; 2];

const LABELS: Dictionary =
    ["INSERT OR IGNORE INTO labels (text) VALUES (?1)", "SELECT id FROM labels WHERE text = ?1"];
const SETS: Dictionary = [
    "INSERT OR IGNORE INTO category_sets (categories) VALUES (?1)",
    "SELECT id FROM category_sets WHERE categories = ?1",
];
const DEVICE_ROWS: Dictionary = [
    "INSERT OR IGNORE INTO devices (address, zone) VALUES (?1, 0)",
    "SELECT id FROM devices WHERE address = ?1 AND zone = 0",
];
const SITE_ROWS: Dictionary =
    ["INSERT OR IGNORE INTO sites (site) VALUES (?1)", "SELECT id FROM sites WHERE site = ?1"];

fn ids(
    connection: &Connection,
    [insert, select]: Dictionary,
    texts: &mut dyn Iterator<Item = String>,
) -> Result<Vec<i64>> {
    let (mut insert, mut select) = (connection.prepare(insert)?, connection.prepare(select)?);
    texts
        .map(|text| {
            insert.execute([&text])?;
            Ok(select.query_row([&text], |row| row.get(0))?)
        })
        .collect()
}

/// Writes rows in the order of their keys.
fn write<const KEY: usize>(
    connection: &Connection,
    table: &str,
    rows: &HashMap<[u64; KEY], Sums>,
    values: impl Fn(&[u64; KEY], Sums) -> Result<Vec<i64>>,
) -> Result<()> {
    let ordered = rows.iter().map(|(key, sums)| values(key, *sums));
    let mut ordered = ordered.collect::<Result<Vec<_>>>()?;
    ordered.sort_unstable();
    let Some(first) = ordered.first() else { return Ok(()) };
    let places = vec!["?"; first.len()].join(", ");
    let mut insert = connection.prepare(&format!("INSERT INTO {table} VALUES ({places})"))?;
    for row in ordered {
        insert.execute(params_from_iter(row))?;
    }
    Ok(())
}
