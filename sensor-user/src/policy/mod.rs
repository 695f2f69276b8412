//! The policy: which names belong to which categories, and what a group of devices may see.
//!
//! `file` reads `policy.toml` and its preset, `list` and `import` the lists it names, `compile` joins them to
//! one entry a name, `no_name` says what becomes of flows without one, `dns` how queries are answered,
//! `block_page` what a browser is shown; `decide` is the reference for what the kernel does with these entries, and
//! `why` explains it to people. A policy is loaded whole or not at all: who loads one keeps the
//! last good one when this one has a fault.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::civil::Date;
use sensor_ebpf::abi::{DomainEntry, GroupMasks, PORTS_MAX};

mod block_page;
mod category;
mod compile;
mod decide;
mod dns;
mod error;
mod file;
pub mod generations;
mod group;
mod import;
mod list;
pub mod name;
pub mod no_name;
mod port;
mod source;
mod warning;
mod why;

use self::block_page::Answer;
use self::category::{Categories, LOCAL_ALLOW_ID, LOCAL_BLOCK_ID};
use self::compile::{Interest, Names, Table};
use self::file::{ListDeclaration, LocalRule, NO_LIST_ID, PolicyFile, protected_mask};
use self::group::{Group, Groups};
use self::list::{Header, Sources};
use crate::lists::Report;

pub use self::category::{CATEGORIES_MAX, Category, LOCAL_ALLOW, LOCAL_BLOCK};
pub use self::compile::NAMES_MAX;
pub use self::decide::{Decision, Listed};
pub(crate) use self::error::shown;
pub use self::error::{Fault, Place, PolicyError};
pub use self::file::LISTS_MAX;
pub use self::group::{DEFAULT_GROUP, GroupId, PREFIXES_MAX};
pub use self::port::Port;
pub use self::warning::{WARNINGS_MAX, Warning, Warnings};
pub use self::why::{Finding, Why, Witness};

/// Index of the list of names that are in none: what the kernel says of a flow without an entry.
const NO_LIST: u16 = 0;
/// Index of the local allow rules.
const ALLOW_LIST: u16 = 1;
/// Index of the local block rules.
const BLOCK_LIST: u16 = 2;

/// A list that was read.
#[derive(Clone, Debug)]
pub struct List {
    /// Its id in the policy, in records and in metrics.
    pub id: String,
    /// Its file; the policy file for local rules.
    pub file: PathBuf,
    /// Categories of its names.
    pub mask: u64,
    /// Its names are never blocked and never named in records.
    pub protected: bool,
    /// The day its header names, else the day its file was written.
    pub dated: Option<Date>,
    /// Names read, doubles included.
    pub names: u32,
    /// What became of the lines of a list of another format; none for one name a line.
    pub report: Option<Report>,
    sources: Sources,
}

/// A loaded policy.
#[derive(Debug)]
pub struct Policy {
    version: String,
    categories: Categories,
    groups: Groups,
    answer: Answer,
    lists: Vec<List>,
    allow: Vec<LocalRule>,
    block: Vec<LocalRule>,
    table: Table,
    protected: u64,
    warnings: Warnings,
}

impl Policy {
    /// Reads a policy file, its preset and its lists. Relative paths start at the file's folder.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let file = PolicyFile::read(path)?;
        let protected = protected_mask(&file.lists);
        let mut names = Names::default();
        let mut lists = vec![
            pseudo_list(NO_LIST_ID, path, 0, &[]),
            pseudo_list(LOCAL_ALLOW_ID, path, LOCAL_ALLOW, &file.allow),
            pseudo_list(LOCAL_BLOCK_ID, path, LOCAL_BLOCK, &file.block),
        ];
        for (index, rules) in [(ALLOW_LIST, &file.allow), (BLOCK_LIST, &file.block)] {
            for rule in rules {
                let added = names.add(&rule.name, index, rule.line);
                added.map_err(|fault| PolicyError::at_line(path, rule.line, fault))?;
            }
        }
        for (index, declaration) in (BLOCK_LIST + 1..).zip(file.lists) {
            lists.push(read_list(path, index, declaration, &mut names)?);
        }
        let mut interest = Interest { block: 0, alert: 0, protected };
        for (_, group) in file.groups.iter() {
            interest.block |= group.masks.block;
            interest.alert |= group.masks.alert;
        }
        let (table, mut warnings) = names.compile(&lists, interest);
        import::warn(&lists, &mut warnings);
        let ports = table.iter().filter(|(name, _)| is_port(name)).count();
        if ports > PORTS_MAX as usize {
            let remedy = "list those that devices of yours use";
            let fault =
                Fault::TooMany { what: "ports in all lists", max: PORTS_MAX as usize, remedy };
            return Err(PolicyError::of_file(path, fault));
        }
        let PolicyFile { version, categories, groups, answer, allow, block, .. } = file;
        Ok(Self {
            version,
            categories,
            groups,
            answer,
            lists,
            allow,
            block,
            table,
            protected,
            warnings,
        })
    }

    /// The version the policy file states.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every listed name, in order, with its entry.
    pub fn entries(&self) -> impl Iterator<Item = (&str, DomainEntry)> {
        self.table.iter().filter(|(name, _)| !is_port(name))
    }

    /// Every listed port, with its entry.
    pub fn ports(&self) -> impl Iterator<Item = (Port, DomainEntry)> {
        self.table.iter().filter_map(|(name, entry)| Some((Port::parse(name)?.ok()?, entry)))
    }

    /// Number of listed names and ports.
    pub fn entry_count(&self) -> usize {
        self.table.len()
    }

    /// Every group with its name, masks and prefixes; the default group is the first.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &str, GroupMasks, &[IpNet])> {
        self.groups.iter().map(|(id, group)| (id, &*group.name, group.masks, &*group.prefixes))
    }

    /// The group of a device's address, by longest prefix.
    pub fn group_of(&self, address: IpAddr) -> GroupId {
        self.groups.of(address)
    }

    /// The group of a name.
    pub fn group_named(&self, name: &str) -> Option<GroupId> {
        self.groups.iter().find(|(_, group)| group.name == name).map(|(id, _)| id)
    }

    /// Name of a group; one of another policy is `unknown`.
    pub fn group_name(&self, group: GroupId) -> &str {
        self.groups.get(group).map_or("unknown", |group| &group.name)
    }

    /// Masks of a group; one of another policy has those of the default group.
    pub fn masks(&self, group: GroupId) -> GroupMasks {
        self.group(group).map_or_else(GroupMasks::default, |group| group.masks)
    }

    fn group(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(group).or_else(|| self.groups.get(GroupId::default()))
    }

    /// Every declared category, by bit.
    pub fn categories(&self) -> impl Iterator<Item = &Category> {
        self.categories.iter()
    }

    /// Ids of the categories in a mask.
    pub fn category_names(&self, mask: u64) -> Vec<&str> {
        self.categories.names(mask)
    }

    /// Every list by index, the three reserved ones first: none, local allow and local block.
    pub fn lists(&self) -> &[List] {
        &self.lists
    }

    /// Id of a list; one of another policy is `unknown`.
    pub fn list_name(&self, list: u16) -> &str {
        self.lists.get(usize::from(list)).map_or("unknown", |list| &list.id)
    }

    /// Whether names with these categories are counted and never named in records.
    pub fn is_unlogged(&self, categories: u64) -> bool {
        categories & self.protected != 0
    }

    /// What the policy may say, but hardly means.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }
}

/// No name has a slash.
fn is_port(name: &str) -> bool {
    name.contains('/')
}

/// A list that is written in the policy file itself.
fn pseudo_list(id: &str, policy: &Path, mask: u64, rules: &[LocalRule]) -> List {
    List {
        id: id.to_owned(),
        file: policy.to_path_buf(),
        mask,
        protected: false,
        dated: None,
        names: u32::try_from(rules.len()).unwrap_or(u32::MAX),
        report: None,
        sources: Sources::default(),
    }
}

fn read_list(
    policy: &Path,
    index: u16,
    declaration: ListDeclaration,
    names: &mut Names,
) -> Result<List, PolicyError> {
    if let Some(format) = declaration.format {
        return import::read_list(policy, index, declaration, format, names);
    }
    let ListDeclaration { id, path, line, categories: mask, protected, .. } = declaration;
    let opened = source::open(&path, list::LIST_BYTES_MAX)
        .map_err(|fault| PolicyError::at_line(policy, line, fault))?;
    let mut count = 0;
    let Header { dated, sources } = list::read(&path, opened, |name, line| {
        count += 1;
        names.add(name, index, line)
    })?;
    Ok(List { id, file: path, mask, protected, dated, names: count, report: None, sources })
}

#[cfg(test)]
mod fixture {
    use std::fs;

    use super::*;

    /// Loads `policy.toml` of a folder made of these files.
    pub(super) fn load(files: &[(&str, &str)]) -> Result<Policy, PolicyError> {
        load_in(tempfile::tempdir().unwrap().path(), files)
    }

    /// What the policy `text`, after a version and a default group `staff`, is refused with.
    pub(super) fn check_error(text: &str, expected: &str) {
        let text = format!("version = \"1\"\ndefault_group = \"staff\"\n{text}");
        let folder = tempfile::tempdir().unwrap();
        let error = load_in(folder.path(), &[("policy.toml", &text)]).unwrap_err().to_string();
        let path = folder.path().display().to_string();
        let error = error.replace(&format!("{path}/policy.toml"), "policy.toml");
        assert_eq!(error.replace(&path, ""), expected, "of {text}");
    }

    /// The same with a group `staff` at the end, for faults that are not about groups.
    pub(super) fn check_fault(text: &str, expected: &str) {
        check_error(&format!("{text}\n[[group]]\nname = \"staff\""), expected);
    }

    fn load_in(folder: &Path, files: &[(&str, &str)]) -> Result<Policy, PolicyError> {
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        Policy::load(&folder.join("policy.toml"))
    }
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::NoName;

    use super::*;

    fn rules(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules").join(file)
    }

    #[test]
    fn a_missing_policy_file_is_named() {
        let error = Policy::load(Path::new("/no/policy.toml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/no/policy.toml: cannot read /no/policy.toml \
                (No such file or directory (os error 2)): \
                relative paths start at the folder of the policy file"
        );
    }

    #[test]
    fn the_shipped_policy_loads_and_blocks_every_category() {
        let policy = Policy::load(&rules("policy.toml")).unwrap();
        assert_eq!(policy.warnings().shown, []);
        let student = policy.group_of("10.20.0.5".parse().unwrap());
        assert_eq!(policy.group_name(student), "student");
        // The table in the file says what holds without it.
        let without = fixture::load(&[(
            "policy.toml",
            "version = \"1\"\ndefault_group = \"all\"\n\
                category = [{ id = \"any\", title = \"\", covers = \"\" }]\n\
                group = [{ name = \"all\", block = [\"any\"] }]",
        )])
        .unwrap();
        for reason in no_name::JUDGED {
            let default = without.decide_no_name(reason, GroupId::default());
            assert_eq!(policy.decide_no_name(reason, student), default, "{}", reason.name());
        }
        for category in policy.categories() {
            let filled = policy.lists().iter().any(|list| list.mask & category.bit != 0);
            assert!(filled, "{} has no list", category.id);
        }
        for (name, expected) in [
            ("video.piracy.example", "block"),
            ("dns.google", "block"),
            ("www.childline.org.uk", "allow"),
            ("example.ac.uk", "allow"),
        ] {
            assert_eq!(policy.decide(name, student).verdict.name(), expected, "{name}");
        }
    }

    /// What is blocked as circumvention must not take lessons away with it.
    #[test]
    fn the_circumvention_pack_says_where_from_and_spares_what_lessons_need() {
        let policy = Policy::load(&rules("policy.toml")).unwrap();
        let student = policy.group_named("student").unwrap();
        let day: Date = "2026-11-22".parse().unwrap();
        let pack = [
            "encrypted-dns",
            "relays",
            "tor",
            "vpns",
            "web-proxies",
            "ports",
            "hidden-names",
            "dual-use",
        ];
        for id in pack {
            let list = policy.lists().iter().find(|list| list.id == id).unwrap();
            assert_eq!(list.dated, Some(day), "{id}");
            let text = std::fs::read_to_string(&list.file).unwrap();
            assert!(text.contains("\n# licence: "), "{id}");
            // Each group of names has its own source and date, below those of the list.
            let groups = text.split("\n\n").skip(1).map(str::trim);
            for group in groups {
                assert!(group.contains("\n# source: "), "{id}: {group}");
                assert!(group.contains("\n# date: 2026-"), "{id}: {group}");
            }
        }
        for (name, expected) in [
            ("chrome.cloudflare-dns.com", "block"),
            ("mask-h2.icloud.com", "block"),
            ("bridges.torproject.org", "block"),
            ("uk1234.nordvpn.com", "block"),
            ("de-fra.prod.surfshark.com", "block"),
            ("www.croxyproxy.com", "block"),
            ("abc.ngrok-free.app", "alert"),
            ("udp/51820", "block"),
            ("udp/443", "allow"),
            ("udp/4500", "allow"),
            ("cloudflare-ech.com", "allow"),
            // Whoever shares a name or a network with them.
            ("www.cloudflare.com", "allow"),
            ("cdnjs.cloudflare.com", "allow"),
            ("www.icloud.com", "allow"),
            ("gateway.icloud.com", "allow"),
            ("www.google.com", "allow"),
            ("fonts.gstatic.com", "allow"),
            ("d111111abcdef8.cloudfront.net", "allow"),
            ("ajax.aspnetcdn.com", "allow"),
            ("github.githubassets.com", "allow"),
            ("mail.proton.me", "allow"),
            ("www.opera.com", "allow"),
            ("addons.mozilla.org", "allow"),
            ("www.quad9.net", "allow"),
            ("teams.microsoft.com", "allow"),
            ("translate.google.com", "allow"),
        ] {
            let decision = policy.decide(name, student);
            assert_eq!(decision.verdict.name(), expected, "{name}");
        }
        let why = policy.why("uk1234.nordvpn.com", student, day).unwrap().to_string();
        assert!(why.contains("(circumvention)"), "{why}");
        assert!(
            why.contains("of 2026-11-22, 0 days old\n             source: the vendors' own names"),
            "{why}"
        );
    }

    #[test]
    fn the_examples_of_the_readme_load() {
        let readme = std::fs::read_to_string(rules("README.md")).unwrap();
        let example = |language: &str, number: usize| {
            let start = format!("```{language}\n");
            readme.split(&*start).nth(number).unwrap().split("```").next().unwrap().to_owned()
        };
        let policy = fixture::load(&[
            ("policy.toml", &example("toml", 1)),
            ("college.toml", &example("toml", 2)),
            ("piracy.txt", &example("text", 1)),
            ("helplines.txt", "help.example"),
        ])
        .unwrap();
        let names: Vec<_> = policy.entries().map(|(name, _)| name).collect();
        for (reason, group, expected) in [
            (NoName::Fragment, "student", "block"),
            (NoName::SlotFull, "student", "alert"),
            (NoName::Oversize, "staff", "alert"),
            (NoName::Fragment, "staff", "undecided"),
        ] {
            let group = policy.group_named(group).unwrap();
            assert_eq!(policy.decide_no_name(reason, group).name(), expected, "{}", reason.name());
        }
        assert!(names.contains(&"xn--filme-fr-alle-2ob.example"), "{names:?}");
        assert_eq!(policy.warnings().shown, []);
    }

    #[test]
    fn every_preset_loads() {
        for (preset, categories) in [("ukfe-8", 11), ("tec-4", 13)] {
            let path = rules(&format!("presets/{preset}.toml"));
            let policy = fixture::load(&[(
                "policy.toml",
                &format!(
                    "version = \"1\"\ndefault_group = \"all\"\npreset = {:?}\n\
                        group = [{{ name = \"all\" }}]",
                    path.display().to_string()
                ),
            )])
            .unwrap();
            assert_eq!(policy.categories().count(), categories, "{preset}");
        }
    }
}
