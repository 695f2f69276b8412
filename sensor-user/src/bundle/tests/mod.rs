//! Bundles as they are made, carried and applied, with real keys, folders and records.

mod applied;
mod compared;
mod hostile;
mod logged;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use minisign::SecretKey;
use tempfile::TempDir;

use super::archive::Source;
use super::key::{self, signature_path};
use super::{Ask, BundleError, Check, Made, Order, Outcome, Reload, Site, Unpacked, apply, make};
use crate::config::Config;
use crate::policy::{GroupId, Policy};

const NOW: &str = "2026-03-10T12:00:00Z";

/// A policy of every kind of list, rule and table, with comments that have to survive.
const POLICY: &str = r#"# What our college blocks.
version = "VERSION"
default_group = "student"
preset = "presets/college.toml" # the board decided

[[category]]
id = "helplines"
title = "Helplines"
covers = ""

[[group]]
name = "student"
prefixes = ["10.0.0.0/8"]
block = ["games", "drugs"]

[[group]]
name = "staff"
prefixes = ["10.9.0.0/16"]
block = ["drugs"]

[[list]]
id = "games"
file = "hosts.txt" # fetched every night
categories = ["games"]
format = "hosts"

[[list]]
id = "drugs"
file = "ut1"
categories = ["drugs"]
format = "ut1"
member = "drugs"

[[list]]
id = "own"
file = "own.txt"
categories = ["drugs"]

[[list]]
id = "help"
file = "help.txt"
categories = ["helplines"]
protected = true

[[allow]]
name = "chess.games.example"
reason = "the chess club"
"#;

const PRESET: &str = "title = \"Ours\"\n[[category]]\nid = \"games\"\ntitle = \"\"\ncovers = \"\"\n\
    [[category]]\nid = \"drugs\"\ntitle = \"\"\ncovers = \"\"\n";

/// A folder with a policy, keys, a site and room for records.
struct Bed {
    folder: TempDir,
    key: SecretKey,
    public: String,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let public = key::generate(folder.path(), None).unwrap();
        let no_password = || panic!("the key has none");
        let key = key::secret(&folder.path().join("campus-sensor.key"), no_password).unwrap();
        let bed = Self { folder, key, public };
        for folder in ["policy/presets", "policy/ut1/drugs"] {
            fs::create_dir_all(bed.path(folder)).unwrap();
        }
        bed.write("presets/college.toml", PRESET);
        bed.write(
            "hosts.txt",
            "0.0.0.0 games.example b.example # both\n0.0.0.0 co.uk\n0.0.0.0 a.example\n",
        );
        bed.write("ut1/drugs/domains", "drugs.example\nA.example\n");
        bed.write("own.txt", "# source: our own\nown.example\ntcp/1194\n");
        bed.write("help.txt", "# date: 2026-01-02\nhelp.example\n");
        bed.policy("1", "");
        bed
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file of the policy, as old as the day before [`NOW`].
    fn write(&self, path: &str, text: &str) {
        let path = self.path("policy").join(path);
        fs::write(&path, text).unwrap();
        let yesterday = SystemTime::from(now()) - Duration::from_hours(24);
        fs::File::options().write(true).open(path).unwrap().set_modified(yesterday).unwrap();
    }

    /// Writes the policy in a version, with more tables behind it.
    fn policy(&self, version: &str, more: &str) {
        self.write("policy.toml", &(POLICY.replace("VERSION", version) + more));
    }

    fn make_at(&self, number: u64, out: &str, now: Timestamp) -> Made {
        let order = Order { number, author: "a.smith", reason: "new term", now };
        make(&self.path("policy/policy.toml"), &self.path(out), &self.key, &order).unwrap()
    }

    /// Makes a bundle called by its number.
    fn make(&self, number: u64) -> PathBuf {
        let name = format!("{number}.bundle");
        self.make_at(number, &name, now());
        self.path(&name)
    }

    fn config(&self) -> Config {
        self.config_with("")
    }

    fn config_with(&self, guard: &str) -> Config {
        self.config_of("site/current/policy.toml", guard)
    }

    /// One whose policy does not come as bundles.
    fn config_at(&self, policy: &str) -> Config {
        self.config_of(policy, "")
    }

    fn config_of(&self, policy: &str, guard: &str) -> Config {
        let root = self.folder.path().display();
        let text = format!(
            "[[interface]]\nname = \"lan0\"\n[store]\ndir = \"{root}/store\"\n[policy]\n\
            file = \"{root}/{policy}\"\ndir = \"{root}/site\"\n\
            keys = [{:?}]\n[policy.guard]\n{guard}\n",
            self.public
        );
        Config::parse(&text, Path::new("sensor.toml"), "gw").unwrap()
    }

    fn site(&self) -> Site {
        Site::of(&self.path("site"))
    }

    /// A daemon that takes what it is given.
    fn daemon(&self) -> impl FnMut() -> Reload {
        let file = self.site().policy_file();
        move || match Policy::load(&file) {
            Ok(policy) => {
                Reload::Has { version: policy.version().to_owned(), names: policy.entry_count() }
            }
            Err(error) => Reload::Refused(error.to_string()),
        }
    }

    fn apply_with(&self, config: &Config, bundle: &Path) -> Result<Outcome, BundleError> {
        apply(config, bundle, &ask(&[]), &mut self.daemon())
    }

    fn apply(&self, bundle: &Path) -> Result<Outcome, BundleError> {
        self.apply_with(&self.config(), bundle)
    }

    /// An error as people see it, without the folder.
    fn told(&self, error: &BundleError) -> String {
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// Why a bundle is not applied.
    fn refusal(&self, bundle: &Path) -> String {
        self.told(&self.apply(bundle).unwrap_err())
    }

    /// Signs a file, as a bundle is.
    fn sign(&self, bundle: &Path) {
        fs::write(signature_path(bundle), key::sign(bundle, &self.key, "x").unwrap()).unwrap();
    }
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ask(accept: &[Check]) -> Ask<'_> {
    Ask { who: "root", author: None, reason: None, accept, now: now() }
}

fn of(bundle: &Path) -> Source<'_> {
    Source { file: bundle, told: bundle }
}

#[test]
fn a_bundle_has_what_was_loaded_and_nothing_else() {
    let bed = Bed::new();
    let made = bed.make_at(7, "7.bundle", now());
    assert_eq!((made.manifest.number, &*made.manifest.policy), (7, "1"));
    assert_eq!((&*made.manifest.author, &*made.manifest.reason), ("a.smith", "new term"));
    assert_eq!(made.manifest.created, NOW);
    let opened = Unpacked::open(&bed.path("7.bundle"), Some(std::slice::from_ref(&bed.public)));
    let opened = opened.unwrap();
    assert_eq!(opened.manifest, made.manifest);
    assert!(opened.policy.listed().eq(made.policy.listed()));
    let folder = opened.policy_file();
    let folder = folder.parent().unwrap();
    let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(
        text("lists/games.txt"),
        "# source: hosts.txt, format hosts\n# date: 2026-03-09\na.example\nb.example\ngames.example\n"
    );
    assert_eq!(
        text("lists/drugs.txt"),
        "# source: domains, format ut1\n# date: 2026-03-09\na.example\ndrugs.example\n"
    );
    assert_eq!(text("lists/own.txt"), "# source: our own\nown.example\ntcp/1194\n");
    let policy = POLICY
        .replace("VERSION", "1")
        .replace("presets/college.toml", "preset.toml")
        .replace("\"hosts.txt\"", "\"lists/games.txt\"")
        .replace("\"hosts\"", "\"names\"")
        .replace("\"ut1\"\ncategories", "\"lists/drugs.txt\"\ncategories")
        .replace("\"ut1\"\nmember = \"drugs\"", "\"names\"")
        .replace("\"own.txt\"", "\"lists/own.txt\"")
        .replace("\"help.txt\"", "\"lists/help.txt\"");
    assert_eq!(text("policy.toml"), policy);
    assert_eq!(text("preset.toml"), PRESET);

    // Lines are those of the bundle's files, and lists are as old as they were.
    let day = now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let why = |name: &str| opened.policy.why(name, GroupId(0), day).unwrap().because.unwrap();
    let own = why("own.example");
    assert!(own.witnesses[0].file.ends_with("lists/own.txt"));
    assert_eq!((own.witnesses[0].line, own.witnesses[0].age_days), (2, Some(1)));
    assert_eq!(own.witnesses[0].source.as_deref(), Some("our own"));
    let games = why("b.example");
    assert_eq!((games.witnesses[0].line, games.witnesses[0].age_days), (4, Some(1)));
    assert_eq!(games.witnesses[0].source.as_deref(), Some("hosts.txt, format hosts"));
}

#[test]
fn lists_may_be_written_on_one_line() {
    let bed = Bed::new();
    let text = "version = \"1\"\ndefault_group = \"all\"\ngroup = [{ name = \"all\" }]\n\
        category = [{ id = \"games\", title = \"\", covers = \"\" }]\n\
        list = [{ id = \"games\", file = \"hosts.txt\", categories = [\"games\"], format = \"hosts\" }]\n";
    bed.write("policy.toml", text);
    bed.make(1);
    let opened = Unpacked::open(&bed.path("1.bundle"), None).unwrap();
    let expected = text.replace("hosts.txt", "lists/games.txt").replace("\"hosts\"", "\"names\"");
    assert_eq!(fs::read_to_string(opened.policy_file()).unwrap(), expected);
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (bed, other) = (Bed::new(), Bed::new());
    let one = bed.make_at(7, "7.bundle", now());
    let same = other.make_at(7, "again.bundle", now());
    assert_eq!(one.sha256, same.sha256);
    assert_eq!(
        fs::read(bed.path("7.bundle")).unwrap(),
        fs::read(other.path("again.bundle")).unwrap()
    );
    let later = other.make_at(7, "later.bundle", now() + Duration::from_secs(1));
    assert_ne!(one.sha256, later.sha256);
    assert_eq!(one.manifest.members, later.manifest.members);
}

#[test]
fn a_policy_with_a_fault_makes_no_bundle() {
    let bed = Bed::new();
    bed.write("own.txt", "https://own.example/\n");
    let order = Order { number: 1, author: "a", reason: "b", now: now() };
    let policy = bed.path("policy/policy.toml");
    let error = make(&policy, &bed.path("1.bundle"), &bed.key, &order).unwrap_err();
    assert_eq!(
        bed.told(&error),
        "policy/own.txt:1: `https://own.example/` contains ':': \
            write the bare host name, without scheme, port or path"
    );
    let left: Vec<_> =
        fs::read_dir(bed.folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "two keys and the policy: {left:?}");
}

#[test]
fn tar_and_gzip_read_a_bundle() {
    let bed = Bed::new();
    let bundle = bed.make(3);
    let archive = flate2::read::GzDecoder::new(fs::File::open(bundle).unwrap());
    let mut archive = tar::Archive::new(archive);
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mode().unwrap(), 0o644);
        seen.push(entry.path().unwrap().display().to_string());
    }
    assert_eq!(
        seen,
        [
            "manifest.json",
            "policy.toml",
            "preset.toml",
            "lists/games.txt",
            "lists/drugs.txt",
            "lists/own.txt",
            "lists/help.txt"
        ]
    );
}
