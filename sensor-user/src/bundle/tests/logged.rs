//! The log: what it keeps, and that it shows when somebody was at it.

use std::fs;

use super::super::audit::{self, Action, Became, Entry, Log};
use super::super::rollback;
use super::{Ask, Bed, Check, NOW, ask, now};

/// A log of some lines.
fn log_of(lines: usize) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for number in 0..lines {
        let entry = Entry { to: Some(number as u64), who: "root".to_owned(), ..Entry::default() };
        audit::append(&path, entry).unwrap();
    }
    (folder, path)
}

fn lines(log: &Log) -> Vec<usize> {
    log.entries.iter().map(|(line, _)| *line).collect()
}

#[test]
fn everything_that_was_tried_is_kept() {
    let bed = Bed::new();
    bed.apply(&bed.make(7)).unwrap();
    let sha256 = bed.make_at(7, "7.bundle", now()).sha256;
    bed.refusal(&bed.make(6));
    bed.policy("2", "");
    let asked = Ask {
        author: Some("b.jones"),
        reason: Some("ticket 4711"),
        accept: &[Check::Growth],
        ..ask(&[])
    };
    super::apply(&bed.config(), &bed.make(8), &asked, &mut || super::Reload::Absent).unwrap();
    rollback(&bed.config(), 7, &ask(&[]), &mut bed.daemon()).unwrap();
    let log = audit::read(&bed.site().audit_file()).unwrap();
    assert_eq!((lines(&log), &log.cut, &log.broken), (vec![1, 2, 3, 4], &vec![], &None));
    let entry = |line: usize| log.entries[line - 1].1.clone();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        entry(1),
        Entry {
            at: NOW.to_owned(),
            who: "root".to_owned(),
            author: None,
            action: Action::Apply,
            became: Became::InForce,
            why: None,
            from: None,
            from_policy: None,
            to: Some(7),
            to_policy: text("1"),
            bundle: Some(sha256.clone()),
            reason: text("new term"),
            accepted: Vec::new(),
            previous: "0".repeat(64),
        }
    );
    assert_eq!((entry(2).became, entry(2).to), (Became::Refused, Some(6)));
    assert!(entry(2).why.unwrap().starts_with("bundle 6 is not above 7"));
    assert_eq!(
        (entry(3).became, entry(3).from, entry(3).to),
        (Became::NextStart, Some(7), Some(8))
    );
    assert_eq!((entry(3).author, entry(3).reason), (text("b.jones"), text("ticket 4711")));
    assert_eq!((entry(4).action, entry(4).from_policy), (Action::Rollback, text("2")));
    assert_eq!(entry(4).bundle, Some(sha256));
}

#[test]
fn a_changed_line_is_found() {
    let (_folder, path) = log_of(5);
    let whole = fs::read_to_string(&path).unwrap();
    assert_eq!(lines(&audit::read(&path).unwrap()), [1, 2, 3, 4, 5]);
    let broken = |text: String| {
        fs::write(&path, text).unwrap();
        audit::read(&path).unwrap().broken
    };
    let odd = "it does not follow the line before it";
    // A change shows in the line behind it.
    let text = whole.replace("\"to\":2,", "\"to\":9,");
    assert_eq!(broken(text), Some((4, odd.to_owned())));
    let rows: Vec<&str> = whole.lines().collect();
    let without = |row: usize| {
        let mut rows = rows.clone();
        rows.remove(row);
        rows.join("\n") + "\n"
    };
    assert_eq!(broken(without(0)), Some((1, odd.to_owned())));
    assert_eq!(broken(without(2)), Some((3, odd.to_owned())));
    let swapped = [rows[0], rows[2], rows[1], rows[3], rows[4]].join("\n") + "\n";
    assert_eq!(broken(swapped), Some((2, odd.to_owned())));
    let (line, why) = broken(whole.replace("\"to\":2,", "\"to\":,")).unwrap();
    assert!(line == 3 && why.starts_with("it is no entry: "), "{line} {why}");
    let (line, _) = broken(whole.replace("\"to\":4,", "\"to\":,")).unwrap();
    assert_eq!(line, 5);
    // The end has nothing behind it but what was noted elsewhere.
    fs::write(&path, &whole).unwrap();
    let head = audit::read(&path).unwrap().head;
    assert_eq!(broken(without(4)), None);
    assert_ne!(audit::read(&path).unwrap().head, head);
}

#[test]
fn half_a_line_stops_nobody() {
    let (_folder, path) = log_of(3);
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let third = second + whole[second..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in third + 1..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let log = audit::read(&path).unwrap();
        assert_eq!((lines(&log), &*log.cut, &log.broken), (vec![1, 2], &[3][..], &None), "{cut}");
        audit::append(&path, Entry::default()).unwrap();
        audit::append(&path, Entry::default()).unwrap();
        let log = audit::read(&path).unwrap();
        assert_eq!((lines(&log), &*log.cut, &log.broken), (vec![1, 2, 4, 5], &[3][..], &None));
        // What is left of it cannot be changed either.
        let text = fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        let changed = [rows[0], rows[1], "half", rows[3], rows[4]].join("\n") + "\n";
        fs::write(&path, changed).unwrap();
        assert_eq!(audit::read(&path).unwrap().broken.unwrap().0, 3, "{cut}");
    }
    // A whole line that lacks its end is a line.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(lines(&audit::read(&path).unwrap()), [1, 2, 3]);
    audit::append(&path, Entry::default()).unwrap();
    assert_eq!(lines(&audit::read(&path).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn a_log_that_is_missing_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let log = audit::read(&folder.path().join("audit.jsonl")).unwrap();
    assert!(log.entries.is_empty() && log.broken.is_none() && log.highest().is_none());
    assert!(!audit::account().is_empty());
}
