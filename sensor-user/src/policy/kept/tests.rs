use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::civil::date;
use tempfile::TempDir;

use super::{FILES_MAX, Keep};
use crate::policy::{GroupId, Policy};

const POLICY: &str = r#"
    version = "1"
    default_group = "all"
    category = [{ id = "drugs", title = "", covers = "" }, { id = "help", title = "", covers = "" }]
    list = [
        { id = "drugs", file = "lists/drugs.txt", categories = ["drugs"] },
        { id = "watch", file = "lists/watch.txt", format = "sha256-hex", locked = true },
        { id = "help", file = "lists/help.txt", categories = ["help"], protected = true },
    ]
    group = [{ name = "all", block = ["drugs"] }]
    allow = [{ name = "allowed.example", reason = "x" }]
    exception = [{ name = "a.example", groups = ["all"], owner = "x", reason = "x", until = "2999-01-01" }]
"#;

const DRUGS: &str = "# source: here\n# date: 2026-01-31\nb.example\nco.uk\na.example\nallowed.example\n\
    198.51.100.0/24\nudp/1194\nx.help.example\n";

/// A policy and the folder its names are kept in.
struct Bed {
    folder: TempDir,
    keep: Keep,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::everything(&folder.path().join("kept"));
        let bed = Self { folder, keep };
        bed.write("policy.toml", POLICY);
        bed.write("lists/drugs.txt", DRUGS);
        bed.write("lists/watch.txt", &format!("{}\n", "ab".repeat(32)));
        bed.write("lists/help.txt", "help.example\n");
        bed
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join("policy").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Policy {
        Policy::load_kept(&self.folder.path().join("policy/policy.toml"), &self.keep).unwrap()
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(self.folder.path().join("kept")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn loaded_from_lists(&self) -> Policy {
        Policy::load(&self.folder.path().join("policy/policy.toml")).unwrap()
    }
}

/// All that a policy says of names.
fn said(policy: &Policy) -> String {
    let why = |name: &str| format!("{:?}\n", policy.why(name, GroupId(0), date(2026, 5, 1)));
    let names = ["www.a.example", "b.example", "x.help.example", "allowed.example", "none.example"];
    let lists: Vec<_> = policy.lists().iter().map(|list| format!("{list:?}")).collect();
    format!(
        "{:?} {:?} {:?} {:?} {} {lists:#?} {:?} {:?}",
        policy.listed().collect::<Vec<_>>(),
        policy.entries().collect::<Vec<_>>(),
        policy.ports().collect::<Vec<_>>(),
        policy.prefixes().collect::<Vec<_>>(),
        names.map(why).concat(),
        policy.warnings(),
        policy.locked(),
    )
}

#[test]
fn kept_names_are_the_names_of_the_lists() {
    let bed = Bed::new();
    let read = bed.loaded_from_lists();
    assert_eq!(read.names_id(), None);
    let first = bed.load();
    assert_eq!(bed.files().len(), 1);
    let second = bed.load();
    assert_eq!((said(&first), said(&second)), (said(&read), said(&read)));
    assert_eq!(first.names_id(), second.names_id());
    assert!(said(&second).contains("is a registry's") || said(&second).contains("Registry"));
    assert_eq!(bed.files().len(), 1);
}

#[test]
fn whatever_changes_is_compiled_anew() {
    let bed = Bed::new();
    let first = bed.load().names_id();
    let changes: [(&str, String); 6] = [
        ("lists/drugs.txt", format!("{DRUGS}c.example\n")),
        ("lists/help.txt", "help.example # x\n".to_owned()),
        ("policy.toml", POLICY.replace("name = \"allowed.example\"", "name = \"b.example\"")),
        ("policy.toml", POLICY.replace("block = [\"drugs\"]", "alert = [\"drugs\"]")),
        ("policy.toml", POLICY.replace(", protected = true", "")),
        (
            "policy.toml",
            POLICY.replace("{ name = \"a.example\", groups", "{ name = \"b.example\", groups"),
        ),
    ];
    for (file, text) in changes {
        let bed = Bed::new();
        bed.load();
        bed.write(file, &text);
        let changed = bed.load();
        assert_ne!(changed.names_id(), first, "{text}");
        assert_eq!(said(&changed), said(&bed.loaded_from_lists()), "{text}");
    }
    // What no name depends on is no change.
    bed.write("policy.toml", &POLICY.replace("version = \"1\"", "version = \"2\""));
    let other = bed.load();
    assert_eq!((other.names_id(), other.version()), (first, "2"));
    // Hashes are read anew each time.
    bed.write("lists/watch.txt", &format!("{}\n", "cd".repeat(32)));
    assert_eq!(bed.load().locked(), bed.loaded_from_lists().locked());
}

#[test]
fn kept_names_move_with_their_policy() {
    let bed = Bed::new();
    bed.load();
    let moved = bed.folder.path().join("elsewhere");
    fs::rename(bed.folder.path().join("policy"), &moved).unwrap();
    let policy = Policy::load_kept(&moved.join("policy.toml"), &bed.keep).unwrap();
    let warnings: String = policy.warnings().shown.iter().map(ToString::to_string).collect();
    assert!(warnings.contains("elsewhere/lists/drugs.txt:4 is a registry's"), "{warnings}");
}

#[test]
fn a_file_that_is_broken_is_made_again() {
    let bed = Bed::new();
    let whole = said(&bed.load());
    let path = bed.files().remove(0);
    let bytes = fs::read(&path).unwrap();
    let break_it = |broken: &dyn Fn(&Path)| {
        broken(&path);
        assert_eq!(said(&bed.load()), whole);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    };
    for length in [0, 1, 63, 64, 65, 200, bytes.len() - 1, bytes.len() - 64] {
        break_it(&|path| fs::write(path, &bytes[..length]).unwrap());
    }
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0x40;
        break_it(&|path| fs::write(path, &other).unwrap());
    }
    // More than it says.
    break_it(&|path| fs::write(path, [&*bytes, &[0; 64]].concat()).unwrap());
}

#[test]
fn old_files_go() {
    let bed = Bed::new();
    for version in 0..FILES_MAX + 3 {
        bed.write("lists/drugs.txt", &format!("{DRUGS}v{version}.example\n"));
        bed.load();
    }
    assert_eq!(bed.files().len(), FILES_MAX);
    // So does what somebody who was killed left, and what is being written stays.
    let left = ["new", "old"].map(|name| bed.folder.path().join("kept").join(format!(".{name}")));
    let old = left.each_ref().map(|path| fs::File::create(path).unwrap());
    old[1].set_modified(SystemTime::now() - Duration::from_hours(2)).unwrap();
    bed.load();
    assert_eq!(left.map(|path| path.exists()), [true, false]);
    let newest = bed.load();
    assert_eq!(newest.listed().count(), bed.loaded_from_lists().listed().count());
}
