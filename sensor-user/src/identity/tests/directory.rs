//! What outlives the daemon, and what it is told of.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{MINUTE_US, address, mac, shown, time};
use crate::identity::{Directory, Ended, Login, Source, told};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.jsonl");
    (folder, path)
}

fn login(user: &str) -> Login {
    Login { user: user.to_owned(), roles: vec!["teacher".to_owned()] }
}

#[test]
fn what_is_known_outlives_the_daemon() {
    let (_folder, path) = folder();
    let directory = Directory::open(&path, time("0")).unwrap();
    assert!(directory.take_changed().is_empty());
    for minute in 0..20 {
        let now = minute * MINUTE_US;
        let at = address(&minute.to_string());
        directory.learn(vec![told::login(at, login("a.smith"), now)], now);
    }
    let ended = Ended::At { source: Source::Login, address: address("3"), user: None };
    assert_eq!(directory.end(&ended, time("10"), time("25")), 1);
    assert_eq!(directory.amendments().len(), 1);
    let again = Directory::open(&path, time("30")).unwrap();
    assert_eq!(again.amendments(), directory.amendments());
    for at in 0..20 {
        let at = address(&at.to_string());
        assert_eq!(again.login(at, time("30")), directory.login(at, time("30")), "{at}");
        assert_eq!(again.login(at, time("30")).is_some(), at != address("3"));
    }
    assert_eq!(again.take_changed().len(), 19);
    // The same again and again does not grow the file.
    for turn in 0..3000 {
        let now = time("40") + turn;
        directory.learn(vec![told::neighbour(address("7"), mac("A").unwrap(), now)], now);
        let ended = Ended::At { source: Source::Neighbour, address: address("7"), user: None };
        directory.end(&ended, now + 1, now + 1);
    }
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!(lines <= 1024, "{lines} lines");
}

#[test]
fn a_cut_line_is_left_out_and_a_wrong_one_is_told() {
    let (_folder, path) = folder();
    let directory = Directory::open(&path, time("0")).unwrap();
    directory.learn(vec![told::login(address("1"), login("a.smith"), 5)], 5);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"fact\":{\"id\":7,\"lear").unwrap();
    let again = Directory::open(&path, time("1")).unwrap();
    assert_eq!(again.counts().1, 1);
    assert_eq!(again.login(address("1"), time("1")), Some(login("a.smith")));
    std::fs::write(&path, b"{\"fact\":{}}\n").unwrap();
    let error = Directory::open(&path, 0).unwrap_err().to_string();
    assert!(
        error.contains("identity.jsonl:1: tells nothing of a device (missing field"),
        "{error}"
    );
}

#[test]
fn a_clock_that_was_set_is_followed() {
    let directory = Directory::default();
    directory.keep_time(time("10"), 0);
    directory.learn(vec![told::login(address("1"), login("a.smith"), time("10"))], time("10"));
    // A clock that is slewed is not.
    directory.keep_time(time("11"), 900_000);
    assert!(directory.resolve(address("1"), time("10")).is_some());
    directory.keep_time(time("72"), 60 * MINUTE_US);
    assert_eq!(shown(directory.resolve(address("1"), time("69")).as_ref()), "nobody");
    assert!(directory.resolve(address("1"), time("70")).is_some());
    assert_eq!(directory.counts().0.clock_steps, 1);
    directory.keep_time(time("12"), 0);
    assert!(directory.resolve(address("1"), time("10")).is_some());
}

#[test]
fn whoever_waits_is_told_of_changes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let directory = Directory::default();
    directory.learn(vec![told::user_id(address("1"), "smith".into(), 0, Some(MINUTE_US))], 0);
    runtime.block_on(directory.changed());
    assert_eq!(directory.take_changed(), [address("1")].into());
    directory.keep_time(MINUTE_US, 0);
    runtime.block_on(directory.changed());
    assert_eq!(directory.take_changed(), [address("1")].into());
    assert_eq!(directory.login(address("1"), MINUTE_US), None);
}
