//! Day files: kept, damaged, newer, shared.

use super::sites::TO_VERSION_2;
use super::*;

#[test]
fn retention_removes_whole_days() {
    let (dir, mut store) = store();
    for day in 0..5 {
        let end_us = NOON_US - day * DAY_US;
        store.append(&[Record { end_us, ..record(day.cast_unsigned()) }]).unwrap();
    }
    for beside in ["flows-2026-03-07.db.corrupt-1", "flows-2026-03-01.db-wal", "notes.txt"] {
        fs::write(dir.path().join(beside), "12345").unwrap();
    }
    let today = date(2026, 3, 10);
    let expired = store.expire(2, today).unwrap();
    assert_eq!(expired.days, [date(2026, 3, 1), date(2026, 3, 6), date(2026, 3, 7)]);
    assert!(expired.bytes > 10_000, "{}", expired.bytes);
    assert_eq!(sequences(&dir, &Query::default()), [0, 1, 2]);
    assert_eq!(store.expire(2, today).unwrap().days, []);
    drop(store);
    let left = ["flows-2026-03-08.db", "flows-2026-03-09.db", TODAY, "notes.txt"];
    assert_eq!(names(&dir), left);
}

#[test]
fn a_corrupt_file_is_moved_aside_and_told() {
    let check = |spoil: fn(&Path)| {
        let (dir, mut store) = store();
        store.append(&[record(0)]).unwrap();
        drop(store);
        let path = dir.path().join(TODAY);
        spoil(&path);
        let error = Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { path: told, .. } if *told == path),
            "{error}"
        );
        assert!(error.to_string().contains("move it out of the store"), "{error}");

        let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
        assert_eq!(store.last_sequence(&record(0).boot).unwrap(), None);
        store.append(&[record(1)]).unwrap();
        store.append(&[record(2)]).unwrap();
        assert_eq!(store.counters(), Counters { stored: 2, duplicates: 0, corrupt_files: 1 });
        assert_eq!(sequences(&dir, &Query::default()), [2, 1]);
        drop(store);
        assert_eq!(names(&dir), [TODAY, "flows-2026-03-10.db.corrupt-1"]);

        spoil(&path);
        let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
        store.append(&[record(3)]).unwrap();
        assert!(dir.path().join("flows-2026-03-10.db.corrupt-2").exists());
    };
    check(|path| fs::write(path, "this is no database, and it is long enough to tell").unwrap());
    check(|path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[100..5_000].fill(0xff);
        fs::write(path, bytes).unwrap();
    });
    check(|path| {
        Connection::open(path).unwrap().execute_batch("DELETE FROM meta").unwrap();
    });
    check(|path| {
        Connection::open(path)
            .unwrap()
            .execute_batch("DROP VIEW records; DROP TABLE meta")
            .unwrap();
    });
}

#[test]
fn damage_found_while_writing_loses_no_new_record() {
    let (dir, mut store) = store();
    let many: Vec<Record> = (0..2_000).map(record).collect();
    store.append(&many).unwrap();
    drop(store);
    let path = dir.path().join(TODAY);
    let mut bytes = fs::read(&path).unwrap();
    // The head and the schema stay whole: only a write or a scan meets the damage.
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    bytes[page * 3..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
    let fresh: Vec<Record> = (2_000..2_010).map(record).collect();
    store.append(&fresh).unwrap();
    assert_eq!(store.counters(), Counters { stored: 10, duplicates: 0, corrupt_files: 1 });
    assert_eq!(sequences(&dir, &Query::default()).len(), 10);
}

#[test]
fn an_unreadable_day_does_not_hide_the_others() {
    let (dir, mut store) = store();
    store.append(&assorted()).unwrap();
    let yesterday = dir.path().join(file_name(date(2026, 3, 9)));
    fs::write(&yesterday, "nothing SQLite would have written there").unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let mut seen = 0;
    let outcome = reader.visit(&Query::default(), |_| {
        seen += 1;
        Ok::<(), StoreError>(())
    });
    assert!(matches!(outcome, Err(StoreError::Corrupt { path, .. }) if path == yesterday));
    assert_eq!(seen, assorted().len());
    assert_eq!(sequences(&dir, &Query { limit: Some(2), ..Query::default() }), [8, 9]);
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let (dir, mut store) = store();
    store.append(&[record(0)]).unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    connection.execute_batch("UPDATE meta SET schema_version = 4").unwrap();
    drop(connection);
    let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
    let errors = [
        store.append(&[record(1)]).unwrap_err(),
        store.last_sequence(&record(0).boot).unwrap_err(),
        Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Newer { found: 4, .. }), "{error}");
        assert!(error.to_string().contains("install the version that wrote it"), "{error}");
    }
    drop(store);
    assert_eq!(names(&dir), [TODAY]);
}

#[test]
fn a_newer_file_of_today_stops_the_start() {
    let (dir, mut store) = store();
    let now_us = Timestamp::now().as_microsecond();
    store.append(&[Record { end_us: now_us, ..record(0) }]).unwrap();
    drop(store);
    let today = file_name(day_of(now_us).unwrap());
    let connection = Connection::open(dir.path().join(&today)).unwrap();
    connection.execute_batch("UPDATE meta SET schema_version = 4").unwrap();
    drop(connection);
    let error = DayStore::open(dir.path(), "gw-1").unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 4, .. }), "{error}");
    assert!(error.to_string().contains(&today), "{error}");
    assert_eq!(names(&dir), [today]);
}

/// Takes from a file of version 2 what version 1 did not have.
const TO_VERSION_1: &str = "
    DROP INDEX flows_by_identity;
    ALTER TABLE flows DROP COLUMN identity;
    DROP TABLE identities;
    UPDATE meta SET schema_version = 1";

#[test]
fn a_file_of_version_1_is_carried_over() {
    let (dir, mut store) = store();
    store.append(&[record(0), unnamed(1)]).unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    connection.execute_batch(TO_VERSION_2).unwrap();
    connection.execute_batch(TO_VERSION_1).unwrap();
    drop(connection);
    let error = Reader::open(dir.path()).unwrap().flows(&Query::default()).unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 1, .. }), "{error}");
    assert!(error.to_string().contains("start the daemon of this version"), "{error}");
    let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
    let of_before = |record: Record| Record {
        mac: None,
        mac_randomised: None,
        host_name: None,
        user: None,
        identity_source: None,
        identity_confidence: None,
        ..record
    };
    assert_eq!(read(&dir, &Query::default()), [unnamed(1), of_before(record(0))]);
    store.append(&[record(2)]).unwrap();
    let user = Some("a.smith".to_owned());
    assert_eq!(read(&dir, &Query { user, ..Query::default() }), [record(2)]);
}

#[test]
fn the_view_shows_who_it_was() {
    let (dir, mut store) = store();
    store.append(&[record(0), unnamed(1)]).unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    let who: String = connection
        .query_row(
            "SELECT mac || mac_randomised || host_name || user || identity_source
                 || identity_confidence FROM records WHERE sequence = 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(who, "02:53:00:00:00:071pc-17a.smithradiusconfirmed");
    let unknown: i64 = connection
        .query_row("SELECT count(*) FROM records WHERE mac_randomised IS NULL", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(unknown, 1);
}

#[test]
fn a_crash_before_the_first_write_leaves_a_usable_file() {
    let (dir, mut store) = store();
    fs::write(dir.path().join(TODAY), "").unwrap();
    assert_eq!(read(&dir, &Query::default()), []);
    store.append(&[record(0)]).unwrap();
    assert_eq!(sequences(&dir, &Query::default()), [0]);
}

#[test]
fn a_reader_sees_whole_batches_beside_the_writer() {
    let (dir, mut store) = store();
    store.append(&[record(0)]).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let mut seen = 0;
    reader
        .visit(&Query::default(), |_| {
            // The writer goes on under an open query.
            store.append(&[Record { end_us: NOON_US - 5, ..record(1) }])?;
            seen += 1;
            Ok::<(), StoreError>(())
        })
        .unwrap();
    assert_eq!(seen, 1);
    assert_eq!(sequences(&dir, &Query::default()), [0, 1]);
}

#[test]
fn the_view_shows_records_in_words() {
    let (dir, mut store) = store();
    store.append(&[record(0)]).unwrap();
    let connection = Connection::open(dir.path().join(TODAY)).unwrap();
    let row: (String, String, String, String, String, String) = connection
        .query_row(
            "SELECT \"end\", flow_id, device, verdict, categories, \"group\" FROM records",
            [],
            |row| row.try_into(),
        )
        .unwrap();
    let expected = (
        "2026-03-10T12:00:00.000000Z",
        "ffffffffffffffff",
        "10.0.0.5",
        "block",
        r#"["adult","gambling"]"#,
        "students",
    );
    let (end, flow_id, device, verdict, categories, group) = &row;
    assert_eq!(
        (
            end as &str,
            flow_id as &str,
            device as &str,
            verdict as &str,
            categories as &str,
            group as &str
        ),
        expected
    );
    let offer: String = connection
        .query_row("SELECT tls_version || alpn || ech || ja4 FROM records", [], |row| row.get(0))
        .unwrap();
    let expected = r#"TLS 1.3["h2","http/1.1"]1t13d1516h2_8daaf6152771_e5627efa2ab1"#;
    assert_eq!(offer, expected);
}

#[test]
fn no_directory_is_an_error_that_names_it() {
    let error = Reader::open(Path::new("/nonexistent/store")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/store: "), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(DayStore::open(file.path(), "gw-1"), Err(StoreError::Directory { .. })));
}

#[test]
fn days_and_their_files() {
    let check = |name: &str, expected: Option<(i16, i8, i8, &str)>| {
        let expected = expected.map(|(year, month, day, beside)| (date(year, month, day), beside));
        assert_eq!(day_of_file(name), expected, "{name}");
    };
    check(TODAY, Some((2026, 3, 10, "")));
    check("flows-2026-03-10.db-wal", Some((2026, 3, 10, "-wal")));
    check("flows-2026-03-10.db.corrupt-1-shm", Some((2026, 3, 10, ".corrupt-1-shm")));
    check("flows-2026-02-30.db", None);
    check("flows-20260310.db", None);
    check("flows-2026-03-10.sqlite", None);
    check("records-2026-03-10.db", None);
    let day = date(2026, 3, 10);
    assert_eq!(day_of(NOON_US), Some(day));
    assert_eq!(start_of(day), NOON_US - 12 * HOUR_US);
    assert_eq!(day_of(-1), Some(date(1969, 12, 31)));
}
