//! Pseudonyms, their key, and the way back.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::reidentify::{Candidates, pseudonym};
use super::*;
use crate::record::sample::{NOON_US, record, unnamed};
use crate::store::{DayStore, Query, Reader};

/// µs of a day.
const DAY_US: i64 = 24 * 3_600_000_000;

/// A file with a key that is no secret: 0, 1, 2 and so on.
fn key_file(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("pseudonym.key");
    fs::write(&path, format!("{}\n", hex((0..32).collect::<Vec<u8>>()))).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

fn pseudonyms(how: Pseudonymise) -> Pseudonyms {
    let dir = TempDir::new().unwrap();
    Pseudonyms::read(how, &key_file(&dir)).unwrap().unwrap()
}

#[test]
fn pseudonyms_are_what_anybody_with_the_key_reckons() {
    // By Python's hmac, over each text behind its length.
    let check = |how, user: &str, host_name: &str, mac: &str| {
        let mut records = [record(0), unnamed(1)];
        pseudonyms(how).cover(&mut records);
        let [covered, nobody] = records;
        assert_eq!(covered.user.as_deref(), Some(user));
        assert_eq!(covered.host_name.as_deref(), Some(host_name));
        assert_eq!(covered.mac.unwrap().to_string(), mac);
        assert_eq!(nobody, unnamed(1), "where nobody is known nobody is made up");
        let plain = record(0);
        let rest = Record {
            user: plain.user.clone(),
            host_name: plain.host_name.clone(),
            mac: plain.mac,
            ..covered
        };
        assert_eq!(rest, plain, "all else stays");
    };
    check(
        Pseudonymise::Keyed,
        "p-c41da10b1cf92eb9fbf01d88ac3f5f56",
        "p-ba3d1344a24aed3e643ced478138ca6b",
        "1e:77:ee:b6:9a:6a",
    );
    check(
        Pseudonymise::Daily,
        "p-cb174c6460e9fa5f17b460e4e26b1401",
        "p-7e3091da990090a5858780b1c0e5afa6",
        "8a:cd:9b:d5:85:8a",
    );
}

#[test]
fn a_day_does_not_know_the_day_before() {
    let mut records: Vec<Record> = [0, 0, 1, 0]
        .iter()
        .map(|day| Record { end_us: NOON_US + day * DAY_US, ..record(0) })
        .collect();
    pseudonyms(Pseudonymise::Daily).cover(&mut records);
    let named: Vec<_> = records.iter().map(|one| (&one.user, &one.host_name, one.mac)).collect();
    assert_eq!((named[0], named[0]), (named[1], named[3]));
    let (today, tomorrow) = (named[0], named[2]);
    assert!(today.0 != tomorrow.0 && today.1 != tomorrow.1 && today.2 != tomorrow.2);
    let mut records = [record(0), Record { end_us: NOON_US + DAY_US, ..record(1) }];
    pseudonyms(Pseudonymise::Keyed).cover(&mut records);
    assert_eq!(records[0].user, records[1].user);
    let same = Record { user: Some("pc-17".into()), ..record(0) };
    let mut records = [same];
    pseudonyms(Pseudonymise::Keyed).cover(&mut records);
    assert_ne!(records[0].user, records[0].host_name, "a user is not their device");
}

#[test]
fn a_key_is_made_once_and_is_the_owners() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pseudonym.key");
    assert_eq!(Pseudonyms::open(Pseudonymise::Off, &path).unwrap(), None);
    assert!(!path.exists());
    let error = Pseudonyms::read(Pseudonymise::Keyed, &path).unwrap_err().to_string();
    assert!(error.contains("the daemon makes it at its first start"), "{error}");
    let first = Pseudonyms::open(Pseudonymise::Keyed, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(Pseudonyms::open(Pseudonymise::Keyed, &path).unwrap(), first);
    assert_eq!(Pseudonyms::read(Pseudonymise::Keyed, &path).unwrap(), first);
    let other = Pseudonyms::open(Pseudonymise::Keyed, &dir.path().join("other.key")).unwrap();
    assert_ne!(other, first);
    let shown = format!("{first:?}");
    let key = fs::read_to_string(&path).unwrap();
    assert!(!shown.contains(key.trim()) && shown.len() < 60, "{shown}");
}

#[test]
fn a_key_that_is_none_is_refused_and_kept() {
    let dir = TempDir::new().unwrap();
    let path = key_file(&dir);
    let refusal = || Pseudonyms::open(Pseudonymise::Daily, &path).unwrap_err().to_string();
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = refusal();
        assert!(
            error.contains(&format!("mode {mode:03o}")) && error.contains("chmod 600"),
            "{error}"
        );
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for text in
        ["", "00", "not hexadecimal", &"00".repeat(31), &"00".repeat(33), &"00".repeat(4096)]
    {
        fs::write(&path, text).unwrap();
        let error = refusal();
        assert!(error.contains("put the key back"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), *text, "it may be the only one");
    }
    let missing = dir.path().join("no such folder/pseudonym.key");
    let error = Pseudonyms::open(Pseudonymise::Daily, &missing).unwrap_err().to_string();
    assert!(error.contains("cannot make the key"), "{error}");
}

/// Records of two days in a store.
fn stored(how: Pseudonymise) -> TempDir {
    let dir = TempDir::new().unwrap();
    let of_jones = Record { user: Some("b.jones".into()), ..record(2) };
    let mut records =
        [record(0), Record { end_us: NOON_US + DAY_US, ..record(1) }, of_jones, unnamed(3)];
    pseudonyms(how).cover(&mut records);
    DayStore::open(dir.path(), "gw-1").unwrap().append(&records).unwrap();
    dir
}

#[test]
fn names_are_in_no_file_and_found_by_the_key_alone() {
    for how in [Pseudonymise::Keyed, Pseudonymise::Daily] {
        let dir = stored(how);
        for file in fs::read_dir(dir.path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            for name in ["a.smith", "b.jones", "pc-17", "02:53:00:00:00:07"] {
                let is_there = bytes.windows(name.len()).any(|part| part == name.as_bytes());
                assert!(!is_there, "{name}");
            }
        }
        let reader = Reader::open(dir.path()).unwrap();
        let find = |query: &Query| -> Vec<u64> {
            let mut found: Vec<u64> =
                reader.flows(query).unwrap().iter().map(|one| one.sequence).collect();
            found.sort_unstable();
            found
        };
        let user = Query { user: Some("a.smith".into()), ..Query::default() };
        let mac = Query { mac: record(0).mac, ..Query::default() };
        assert_eq!((find(&user), find(&mac)), (vec![], vec![]));
        let pseudonyms = Some(pseudonyms(how));
        let user = Query { pseudonyms: pseudonyms.clone(), ..user };
        let mac = Query { pseudonyms, ..mac };
        assert_eq!((find(&user), find(&mac)), (vec![0, 1], vec![0, 1, 2]));
        assert_eq!(
            reader.sightings(&user).unwrap().len(),
            if how == Pseudonymise::Keyed { 1 } else { 2 }
        );
        assert_eq!(reader.visits(&user).unwrap()[0].records, 2);
        // A pseudonym needs no key.
        let seen = reader.flows(&Query::default()).unwrap();
        let user = seen.iter().find(|one| one.sequence == 2).unwrap().user.clone();
        assert_eq!(find(&Query { user, ..Query::default() }), [2]);
    }
}

#[test]
fn pseudonyms_lead_back_to_who_is_known() {
    let day = day_of(NOON_US);
    let tomorrow = day_of(NOON_US + DAY_US);
    let mut candidates = Candidates::default();
    assert!(candidates.is_empty());
    for name in ["A.Smith", "b.jones", "pc-17", "02-53-00-00-00-07", "02:53:00:00:00:08"] {
        assert!(candidates.add(name), "{name}");
    }
    assert!(!candidates.add(" ") && !candidates.add("a\tb"));
    for how in [Pseudonymise::Keyed, Pseudonymise::Daily] {
        let pseudonyms = pseudonyms(how);
        let mut records = [record(0), Record { user: Some("nobody".into()), ..record(1) }];
        pseudonyms.cover(&mut records);
        let [covered, nobody] = records;
        let mac = covered.mac.unwrap().to_string();
        let asked = [covered.user.unwrap(), covered.host_name.unwrap(), mac, nobody.user.unwrap()];
        let found = candidates.behind(&pseudonyms, &asked, &[tomorrow, day]);
        let names: Vec<_> = found.iter().map(|one| (one.kind, one.name.as_str())).collect();
        let expected =
            [(Kind::User, "a.smith"), (Kind::HostName, "pc-17"), (Kind::Mac, "02:53:00:00:00:07")];
        assert_eq!(names, expected);
        let on = (how == Pseudonymise::Daily).then_some(day);
        assert!(found.iter().all(|one| one.day == on), "{found:?}");
        assert_eq!(candidates.behind(&pseudonyms, &asked[3..], &[day]), []);
    }
}

#[test]
fn what_is_a_pseudonym() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(pseudonym(text).as_deref(), expected, "{text}");
    };
    let user = "p-c41da10b1cf92eb9fbf01d88ac3f5f56";
    check(user, Some(user));
    check(" P-C41DA10B1CF92EB9FBF01D88AC3F5F56", Some(user));
    check("1E-77-EE-B6-9A-6A", Some("1e:77:ee:b6:9a:6a"));
    for text in ["p-c4", "a.smith", "", "00:53:00:00:00:07", "p-g41da10b1cf92eb9fbf01d88ac3f5f56"] {
        check(text, None);
    }
}
