//! Who asked is written down, and only then there is an answer.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::identity::{Fact, Source};
use crate::privacy::Pseudonymise;
use crate::record::sample::record;
use crate::store::DayStore;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    asked: ReidentifyArgs,
}

/// A gateway whose records have pseudonyms, and the record it has.
fn gateway(how: &str) -> (TempDir, Config, crate::record::Record) {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let text = format!(
        "[[interface]]\nname = \"lan0\"\n[store]\ndir = {:?}\n[privacy]\npseudonyms = {how:?}\n\
         key_file = {:?}\naudit_file = {:?}\n",
        at("store"),
        at("pseudonym.key"),
        at("audit.jsonl"),
    );
    let config = Config::parse(&text, Path::new("sensor.toml"), "gw").unwrap();
    let Privacy { pseudonyms, key_file, .. } = &config.privacy;
    let pseudonyms = Pseudonyms::open(*pseudonyms, key_file).unwrap();
    let mut records = [record(0)];
    if let Some(pseudonyms) = pseudonyms {
        pseudonyms.cover(&mut records);
    }
    DayStore::open(&config.store.dir, "gw").unwrap().append(&records).unwrap();
    let [record] = records;
    (dir, config, record)
}

/// Puts a person into the identity journal.
fn know(config: &Config, user: &str) {
    let (mut journal, mut store, amendments) =
        Journal::open(&config.store.dir.join(IDENTITY_FILE), 0).unwrap();
    let address: IpAddr = [10, 0, 0, 5].into();
    let fact =
        Fact { address: Some(address), user: Some(user.into()), ..Fact::new(Source::Login, 0) };
    assert!(store.learn(fact, 1));
    let changes = store.take_changes();
    journal.note(&changes, &store, &amendments).unwrap();
}

fn ask(config: &Config, arguments: &[&str]) -> anyhow::Result<String> {
    let args = Command::try_parse_from(["reidentify"].iter().chain(arguments))?.asked;
    let mut out = Vec::new();
    show(config, &args, true, &mut out)?;
    Ok(String::from_utf8(out)?)
}

fn audited(config: &Config) -> Vec<Value> {
    let text = fs::read_to_string(&config.privacy.audit_file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn who_asks_is_written_down_and_gets_an_answer() {
    for how in ["keyed", "daily"] {
        let (_dir, config, record) = gateway(how);
        know(&config, "a.smith");
        let journal = fs::read(config.store.dir.join(IDENTITY_FILE)).unwrap();
        let user = record.user.unwrap();
        let shown =
            ask(&config, &[&user, "--reason", "case 7", "--requester", "B. Jones"]).unwrap();
        let answer: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&answer["name"], &answer["kind"]), (&"a.smith".into(), &"user".into()));
        assert_eq!(answer["day"].as_str(), (how == "daily").then_some("2026-03-10"));
        let lines = audited(&config);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["reason"], "case 7");
        assert_eq!(lines[0]["requester"], "B. Jones");
        assert_eq!(lines[0]["asked"], serde_json::json!([user]));
        assert_eq!(lines[0]["act"], "reidentify");
        assert!(lines[0]["uid"].is_u64() && lines[0]["answer"].as_str().unwrap().len() == 64);
        assert!(!lines[0].to_string().contains("a.smith"));
        // The journal is the daemon's.
        assert_eq!(fs::read(config.store.dir.join(IDENTITY_FILE)).unwrap(), journal);
    }
}

#[test]
fn without_a_line_there_is_no_answer() {
    let (dir, mut config, record) = gateway("keyed");
    know(&config, "a.smith");
    let user = record.user.unwrap();
    for reason in [&["--reason", " "][..], &["--reason", "a\nb"], &[]] {
        let error = ask(&config, &[&[user.as_str()], reason].concat()).unwrap_err();
        assert!(error.to_string().contains("--reason"), "{error}");
    }
    assert_eq!(audited(&config).len(), 0);
    config.privacy.audit_file = dir.path().join("no such folder/audit.jsonl");
    let error = ask(&config, &[&user, "--reason", "case 7"]).unwrap_err();
    assert!(error.to_string().contains("so there is no answer"), "{error}");
    let asked = ["a.smith".to_owned()];
    assert!(look_up(&config.privacy, &asked, None).is_err());
}

#[test]
fn names_of_others_are_tried_too() {
    let (dir, config, record) = gateway("daily");
    let (user, mac) = (record.user.unwrap(), record.mac.unwrap().to_string());
    let asked = [user.as_str(), mac.as_str(), "--reason", "case 7"];
    let error = ask(&config, &asked).unwrap_err().to_string();
    assert!(error.contains("2 of 2 stand for nobody of 0 names tried"), "{error}");
    assert_eq!(audited(&config).len(), 1, "who asked in vain is written down too");
    let everybody = dir.path().join("everybody.txt");
    let path = everybody.to_str().unwrap();
    fs::write(&everybody, "b.jones\n\n A.Smith \n02-53-00-00-00-07\n").unwrap();
    let shown = ask(&config, &[&asked[..], &["--candidates", path]].concat()).unwrap();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("a.smith") && shown.contains("02:53:00:00:00:07"), "{shown}");
    fs::write(&everybody, "a.smith\na\u{7}b\n").unwrap();
    let error = ask(&config, &[&asked[..], &["--candidates", path]].concat()).unwrap_err();
    assert!(error.to_string().contains("everybody.txt:2: neither"), "{error}");
    let error = ask(&config, &["a.smith", "--reason", "case 7"]).unwrap_err().to_string();
    assert!(error.contains("give p- and 32 digits"), "{error}");
}

#[test]
fn looking_somebody_up_by_name_is_written_down() {
    let (_dir, mut config, record) = gateway("daily");
    let asked = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(look_up(&config.privacy, &[], None).unwrap().is_none());
    assert!(look_up(&config.privacy, &[record.user.unwrap()], None).unwrap().is_none());
    assert_eq!(audited(&config).len(), 0);
    assert!(look_up(&config.privacy, &asked(&["a.smith"]), Some("case 7")).unwrap().is_some());
    let lines = audited(&config);
    assert_eq!((&lines[0]["act"], &lines[0]["reason"]), (&"look-up".into(), &"case 7".into()));
    assert_eq!(lines[0]["asked"], serde_json::json!(["a.smith"]));
    fs::remove_file(&config.privacy.key_file).unwrap();
    let error = look_up(&config.privacy, &asked(&["a.smith"]), None).unwrap_err();
    assert!(format!("{error:#}").contains("a name is found with their key alone"), "{error:#}");
    config.privacy.pseudonyms = Pseudonymise::Off;
    assert!(look_up(&config.privacy, &asked(&["a.smith"]), None).unwrap().is_none());
    assert_eq!(audited(&config).len(), 1);
    let error = ask(&config, &["p-c41da10b1cf92eb9fbf01d88ac3f5f56", "--reason", "x"]).unwrap_err();
    assert!(error.to_string().contains("privacy.pseudonyms is \"off\""), "{error}");
}
