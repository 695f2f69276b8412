//! Sites and roll-ups: sums that say the same as the records.

use rusqlite::Connection;
use sensor_ebpf::abi::NameSource;

use super::*;
use crate::store::Visits;

/// Records of all kinds over two days, some to each of a few sites.
fn mixed() -> Vec<Record> {
    let names = [
        "www.example.co.uk",
        "cdn.example.co.uk",
        "co.uk",
        "192.0.2.1",
        "casino.example.org",
        "a.b.example.org",
    ];
    let all = (0..600_u64).map(|number| {
        let is = |every: u64| number.is_multiple_of(every);
        let named = Record {
            name: Some(names[usize::try_from(number % 6).unwrap()].to_owned()),
            end_us: NOON_US + number.cast_signed() * (HOUR_US / 16),
            device: [10, 0, 0, u8::try_from(number % 7).unwrap()].into(),
            verdict: if is(3) { Verdict::Allow } else { Verdict::Block },
            group: (!is(5)).then(|| format!("group-{}", number % 2)),
            bytes_to_lan: number,
            ..record(number)
        };
        match number % 11 {
            0 => Record { device: named.device, end_us: named.end_us, ..unnamed(number) },
            // A name that its group does not have recorded.
            1 => Record { name: None, no_name: NoName::Unlogged, ..named },
            2 => Record { name_source: NameSource::DnsAnswer, no_name: NoName::NoSni, ..named },
            3 => Record { end_reason: EndReason::ActiveTimeout, ..named },
            _ => named,
        }
    });
    all.collect()
}

#[test]
fn roll_ups_say_what_records_say() {
    let (dir, mut store) = store();
    for batch in mixed().chunks(97) {
        store.append(batch).unwrap();
    }
    let reader = Reader::open(dir.path()).unwrap();
    let wide = Query::default();
    let queries = [
        Query { device: Some([10, 0, 0, 3].into()), ..wide.clone() },
        Query { verdict: Some(Verdict::Block), group: Some("group-1".into()), ..wide.clone() },
        Query { category: Some("adult".into()), ..wide.clone() },
        Query {
            since: Some(time(NOON_US + HOUR_US / 3)),
            until: Some(time(NOON_US + 20 * HOUR_US + 1)),
            ..wide.clone()
        },
        wide,
    ];
    for query in queries {
        // No roll-up knows boots: all of it comes from records.
        let by_record = Query { boot: Some(record(0).boot), ..query.clone() };
        let pairs = EVERY_TOP.windows(2).map(<[TopBy]>::to_vec);
        for by in EVERY_TOP.map(|by| vec![by]).into_iter().chain(pairs) {
            let sums = reader.top(&by, TopOrder::Bytes, &query).unwrap();
            assert!(!sums.is_empty());
            let expected = reader.top(&by, TopOrder::Bytes, &by_record).unwrap();
            assert_eq!(sums, expected, "{by:?} {query:?}");
        }
        assert_eq!(reader.visits(&query).unwrap(), reader.visits(&by_record).unwrap());
    }
}

#[test]
fn sites_are_those_of_the_names_recorded() {
    let (dir, mut store) = store();
    store.append(&mixed()).unwrap();
    let mut expected: Vec<(Option<String>, u64)> = Vec::new();
    for record in mixed() {
        let site = match record.name.as_deref() {
            Some("www.example.co.uk" | "cdn.example.co.uk") => Some("example.co.uk"),
            Some("casino.example.org" | "a.b.example.org") => Some("example.org"),
            other => other,
        };
        let site = site.map(str::to_owned);
        match expected.iter_mut().find(|(known, _)| *known == site) {
            Some((_, records)) => *records += 1,
            None => expected.push((site, 1)),
        }
    }
    expected.sort();
    let rows = Reader::open(dir.path()).unwrap();
    let rows = rows.top(&[TopBy::Site], TopOrder::Flows, &Query::default()).unwrap();
    let mut found: Vec<_> =
        rows.into_iter().map(|row| (row.keys[0].clone(), row.records)).collect();
    found.sort();
    assert_eq!(found, expected);
    // Protected names leave no site behind, nor does the file have one.
    let unlogged = mixed().iter().filter(|record| record.no_name == NoName::Unlogged).count();
    assert!(unlogged > 0 && found[0].0.is_none() && found[0].1 >= unlogged as u64);
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    let sites: i64 =
        connection.query_row("SELECT count(*) FROM sites", [], |row| row.get(0)).unwrap();
    assert_eq!(sites, 4);
}

#[test]
fn visits_have_their_hours() {
    let (dir, mut store) = store();
    let at =
        |hour: i64, sequence| Record { end_us: NOON_US + hour * HOUR_US + 7, ..record(sequence) };
    let hint = Record { name_source: NameSource::DnsAnswer, no_name: NoName::NoSni, ..at(1, 2) };
    store.append(&[at(-1, 0), at(3, 1), hint, at(13, 3)]).unwrap();
    let day = Query { until: Some(time(NOON_US + 12 * HOUR_US)), ..Query::default() };
    let of_user = Query { user: Some("a.smith".into()), ..day.clone() };
    let expected = Visits {
        site: Some("example.org".into()),
        verdict: Verdict::Block,
        first_us: NOON_US - HOUR_US,
        last_us: NOON_US + 3 * HOUR_US,
        records: 3,
        flows: 3,
        unnamed_flows: 1,
        packets: 18,
        bytes: 3 * 1020,
    };
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.visits(&day).unwrap(), std::slice::from_ref(&expected));
    assert_eq!(reader.visits(&of_user).unwrap(), [expected]);
    assert_eq!(reader.visits(&Query { limit: Some(0), ..day }).unwrap(), []);
}

/// Takes from a file what version 2 did not have.
pub(super) const TO_VERSION_2: &str = "
    DROP VIEW records;
    ALTER TABLE names DROP COLUMN site;
    DROP TABLE sites;
    DROP TABLE site_rollup;
    DROP TABLE totals;
    CREATE VIEW records AS SELECT sequence FROM flows;
    UPDATE meta SET schema_version = 2";

fn dump(dir: &TempDir, table: &str) -> Vec<Vec<rusqlite::types::Value>> {
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    let mut statement =
        connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_file_of_version_2_gets_the_sites_of_its_own_records() {
    let (dir, mut store) = store();
    store.append(&mixed()).unwrap();
    drop(store);
    let tables = ["sites", "names", "site_rollup", "totals", "rollup", "flows"];
    let before = tables.map(|table| dump(&dir, table));
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    connection.execute_batch(TO_VERSION_2).unwrap();
    drop(connection);
    let error = Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 2, .. }), "{error}");
    let store = DayStore::open(dir.path(), "gw-1").unwrap();
    drop(store);
    for (table, before) in tables.iter().zip(before) {
        assert!(!before.is_empty(), "{table}");
        assert_eq!(dump(&dir, table), before, "{table}");
    }
}

#[test]
fn a_file_that_cannot_be_carried_over_stays_as_it_was() {
    let (dir, mut store) = store();
    store.append(&mixed()).unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    connection.execute_batch(TO_VERSION_2).unwrap();
    // The last step of carrying it over fails.
    connection.execute_batch("DROP VIEW records; CREATE TABLE records (a INTEGER)").unwrap();
    drop(connection);
    let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
    assert!(matches!(store.append(&[record(9999)]), Err(StoreError::Sqlite { .. })));
    drop(store);
    let error = Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 2, .. }), "{error}");
    assert_eq!(dump(&dir, "flows").len(), 192);
    let made = Connection::open(dir.path().join(TODAY)).unwrap().query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('sites', 'site_rollup', 'totals')",
        [],
        |row| row.get::<_, i64>(0),
    );
    assert_eq!(made.unwrap(), 0, "nothing of it is left");
}
