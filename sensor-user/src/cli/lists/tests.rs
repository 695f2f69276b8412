//! A policy from its files to the gateway, as the commands are typed.

use std::fs;
use std::path::Path;

use clap::Parser;
use serde_json::Value;

use super::{ListsCommand, lists};
use crate::record::Record;
use crate::record::sample::record;
use crate::store::DayStore;

#[derive(Parser, Debug)]
struct Command {
    #[command(subcommand)]
    lists: ListsCommand,
}

const POLICY: &str = "version = \"VERSION\"\ndefault_group = \"student\"\n\
    [[category]]\nid = \"games\"\ntitle = \"\"\ncovers = \"\"\n\
    [[category]]\nid = \"help\"\ntitle = \"\"\ncovers = \"\"\n\
    [[group]]\nname = \"student\"\nblock = [\"games\"]\n\
    [[list]]\nid = \"games\"\nfile = \"games.txt\"\ncategories = [\"games\"]\nformat = \"hosts\"\n\
    [[list]]\nid = \"help\"\nfile = \"help.txt\"\ncategories = [\"help\"]\nprotected = true\n";

struct Bed(tempfile::TempDir);

impl Bed {
    fn new() -> Self {
        let bed = Self(tempfile::tempdir().unwrap());
        bed.write("help.txt", "help.example\n");
        bed.policy("1", "0.0.0.0 a.example b.example\n0.0.0.0 co.uk\n");
        bed
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn policy(&self, version: &str, games: &str) {
        self.write("games.txt", games);
        self.write("policy.toml", &POLICY.replace("VERSION", version));
    }

    fn configure(&self, key: &str) {
        let root = self.0.path().display();
        let text = format!(
            "[[interface]]\nname = \"lan0\"\n[policy]\nfile = \"{root}/site/current/policy.toml\"\n\
            dir = \"{root}/site\"\nkeys = [{key:?}]\n[store]\ndir = \"{root}/store\"\n\
            [control]\nsocket = \"{root}/none.sock\"\n"
        );
        self.write("sensor.toml", &text);
    }

    /// What a command says, with files by their names; paths are below the bed.
    fn run(&self, line: &str, json: bool) -> Result<String, String> {
        let root = self.0.path();
        let words = line.split(' ').map(|word| match word.strip_prefix('@') {
            Some(file) => root.join(file).display().to_string(),
            None => word.to_owned(),
        });
        let args = Command::try_parse_from(["lists".to_owned()].into_iter().chain(words))
            .map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        let told = |text: String| text.replace(&format!("{}/", root.display()), "");
        lists(&args.lists, &root.join("sensor.toml"), json, &mut out)
            .map_err(|error| told(format!("{error:#}")))?;
        Ok(told(String::from_utf8(out).unwrap()))
    }
}

/// Times and digests differ from run to run.
fn settle() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "(the time)        ");
    settings.add_filter(r"[0-9a-f]{64}", "(a digest)");
    settings.add_filter(r"[\d.]+ k?B,", "(so many) B,");
    settings.bind_to_scope()
}

#[test]
fn a_policy_is_pushed_as_it_is_typed() {
    let _settled = settle();
    let bed = Bed::new();
    let said: Value = serde_json::from_str(&bed.run("keys --out @.", true).unwrap()).unwrap();
    let import = |what: &str| {
        let line = format!(
            "import @policy.toml --key @campus-sensor.key --reason term --author a.smith {what}"
        );
        bed.run(&line, false)
    };
    let first = import("--out @1.bundle").unwrap();
    bed.configure(said["public_key"].as_str().unwrap());
    let applied = bed.run("apply @1.bundle", false).unwrap();
    insta::assert_snapshot!("first", format!("{first}\n{applied}"));

    bed.policy("2", "0.0.0.0 a.example c.example d.example\n");
    let second = import("--out @2.bundle").unwrap();
    assert!(second.contains("\nbundle 2: policy 2, 4 names, 0 warnings\n"), "{second}");
    assert!(!second.contains("no earlier bundle"), "{second}");
    let flow = |sequence, name: &str| {
        let name = Some(name.to_owned());
        let end_us = jiff::Timestamp::now().as_microsecond();
        Record { name, start_us: end_us, end_us, ..record(sequence) }
    };
    let records = [flow(0, "www.c.example"), flow(1, "b.example"), flow(2, "\u{1b}.c.example")];
    DayStore::open(&bed.0.path().join("store"), "gw").unwrap().append(&records).unwrap();
    insta::assert_snapshot!("diff", bed.run("diff @2.bundle --names 1", false).unwrap());
    let said = bed.run("diff @2.bundle @1.bundle --days 0", true).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["names"]["added"], 2);
    assert_eq!(said["lists"][0]["list"], "games");
    assert_eq!(said["dry_run"], Value::Null);
    assert_eq!((&said["is_verified"], &said["from_policy"]), (&true.into(), &"1".into()));

    let refused = bed.run("apply @2.bundle --accept over-blockin", false).unwrap_err();
    assert!(refused.contains("give one of growth, over-blocking"), "{refused}");
    let said = bed.run("apply @2.bundle --accept growth,over-blocking", true).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["number"], &said["taken"]), (&2.into(), &"next-start".into()));
    let refused = bed.run("apply @1.bundle", false).unwrap_err();
    assert!(refused.starts_with("bundle 1 is not above 2"), "{refused}");
    bed.run("rollback 1 --reason oops --author b.jones", false).unwrap();
    let log = bed.run("audit", false).unwrap();
    assert!(log.contains("\nin force: 1; kept: 1, 2\nthe log is whole, up to "), "{log}");
    assert_eq!(bed.run("audit", true).unwrap().lines().count(), 5);
    let third = import("--out @3.bundle").unwrap();
    assert!(
        third.contains("\nbundle 3: "),
        "above the highest, not above what is in force: {third}"
    );

    let log = bed.0.path().join("site/audit.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replace("\"reason\":\"oops\"", "\"reason\":\"fine\"")).unwrap();
    // The last line has nothing behind it yet.
    assert!(bed.run("audit", false).is_ok());
    fs::write(&log, text.replacen("\"to\":1", "\"to\":2", 1)).unwrap();
    assert_eq!(
        bed.run("audit", false).unwrap_err(),
        "site/audit.jsonl: line 2 is not what was written, it does not follow the line before it"
    );
}

#[test]
fn numbers_are_given_or_found() {
    let bed = Bed::new();
    bed.run("keys --out @.", false).unwrap();
    let import = |what: &str| {
        bed.run(&format!("import @policy.toml --key @campus-sensor.key --reason x {what}"), false)
    };
    // No configuration is needed where bundles are made.
    assert!(!bed.0.path().join("sensor.toml").exists());
    let said = import("--out @a.bundle").unwrap();
    assert!(said.ends_with("give --number or --after\n"), "{said}");
    assert!(import("--out @b.bundle --number 41").unwrap().contains("\nbundle 41: "));
    let after = import("--out @c.bundle --after @b.bundle").unwrap();
    assert!(after.contains("\nbundle 42: ") && !after.contains("--after"), "{after}");
    let both = import("--out @d.bundle --after @b.bundle --number 7").unwrap_err();
    assert!(both.contains("cannot be used with"), "{both}");
    import(&format!("--out @e.bundle --number {}", u64::MAX)).unwrap();
    let above = import("--out @f.bundle --after @e.bundle").unwrap_err();
    assert_eq!(above, "there is no number above that");
    assert!(Path::new(&bed.0.path().join("e.bundle.minisig")).exists());
}
