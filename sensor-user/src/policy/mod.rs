//! The policy: which names belong to which categories, and what a group of devices may see.
//!
//! `file` reads `policy.toml` and its preset, `list` and `import` the lists it names, `compile` joins them to
//! one entry a name; `locked` has names nobody may read, `schedule` and `during` say when a group's rules are others, `exception` who may visit a name
//! all the same, `no_name` what becomes of flows without one, `dns` how queries are answered,
//! `block_page` what a browser is shown; `decide` is the reference for what the kernel does with these entries, and
//! `why` explains it to people. A policy is loaded whole or not at all: who loads one keeps the
//! last good one when this one has a fault.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use sensor_ebpf::abi::{DomainEntry, GroupMasks, LISTED_PREFIXES_MAX, LOCKED, PORTS_MAX};

mod block_page;
mod category;
mod compare;
mod compile;
mod decide;
mod dns;
mod during;
mod error;
mod exception;
mod file;
pub mod generations;
mod group;
mod import;
mod list;
mod locked;
pub mod member;
pub mod name;
mod named;
pub mod no_name;
mod port;
pub(crate) mod prefix;
mod schedule;
mod source;
mod subject;
mod warning;
mod why;

use self::block_page::Answer;
use self::category::{Categories, LOCAL_ALLOW_ID, LOCAL_BLOCK_ID};
use self::compile::{Interest, Names, Table};
use self::exception::{EXCEPTION_ID, Exceptions};
use self::file::{ListDeclaration, LocalRule, NO_LIST_ID, PolicyFile, protected_mask};
use self::group::{Group, Groups};
use self::list::{Header, Sources};
use self::locked::Locked;
use self::member::{Device, Member};
use self::schedule::{Active, Calendar};
use self::subject::{Subject, is_name};
use crate::lists::Report;

pub use self::category::{CATEGORIES_MAX, Category, LOCAL_ALLOW, LOCAL_BLOCK};
pub use self::compile::NAMES_MAX;
pub use self::decide::{Decision, Listed};
pub(crate) use self::error::shown;
pub use self::error::{Fault, Place, PolicyError};
pub use self::file::LISTS_MAX;
pub use self::group::{DEFAULT_GROUP, GroupId, PREFIXES_MAX};
pub use self::port::Port;
pub(crate) use self::prefix::canonical as listed_prefix;
pub use self::schedule::SCHEDULES_MAX;
pub use self::warning::{WARNINGS_MAX, Warning, Warnings};
pub use self::why::{Finding, Why, Witness};

/// Index of the list of names that are in none: what the kernel says of a flow without an entry.
const NO_LIST: u16 = 0;
/// Index of the local allow rules.
const ALLOW_LIST: u16 = 1;
/// Index of the local block rules.
const BLOCK_LIST: u16 = 2;

/// Index of the first list of exceptions; each window has one.
const EXCEPTION_LISTS: u16 = BLOCK_LIST + 1;

/// A list that was read.
#[derive(Clone, Debug, Default)]
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

impl List {
    /// Days from the one it is of; fewer than none of a list of tomorrow.
    pub fn age_days(&self, today: Date) -> Option<i32> {
        Some(self.dated?.until(today).ok()?.get_days())
    }
}

/// A loaded policy.
#[derive(Debug)]
pub struct Policy {
    version: String,
    categories: Categories,
    calendar: Calendar,
    exceptions: Exceptions,
    /// What is on, and the date, for which the groups' masks are.
    now: (Active, Date),
    groups: Groups,
    answer: Answer,
    preset: Option<PathBuf>,
    lists: Vec<List>,
    allow: Vec<LocalRule>,
    block: Vec<LocalRule>,
    table: Table,
    locked: Locked,
    protected: u64,
    warnings: Warnings,
}

impl Policy {
    /// Reads a policy file, its preset and its lists, with the rules that hold now. Relative paths start at the
    /// file's folder.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        Self::load_at(path, Timestamp::now())
    }

    /// The same with the rules that hold at a moment.
    pub fn load_at(path: &Path, at: Timestamp) -> Result<Self, PolicyError> {
        let file = PolicyFile::read(path, at)?;
        let protected = protected_mask(&file.lists);
        let mut names = Names::default();
        let mut lists = lists_of_the_file(path, &file, &mut names)?;
        let mut hashes = Vec::new();
        let first = u16::try_from(lists.len()).unwrap_or_default();
        for (index, declaration) in (first..).zip(file.lists) {
            lists.push(read_list(path, index, declaration, &mut names, &mut hashes)?);
        }
        let mut interest =
            Interest { block: 0, alert: 0, protected, excepted: file.exceptions.mask() };
        for (_, group) in file.groups.iter() {
            interest.block |= group.ever_blocked();
            interest.alert |= group.ever_told();
        }
        let (table, mut warnings) = names.compile(&lists, interest);
        for (line, name) in &file.exceptions.over {
            warnings.push(Warning::ExceptionOver { name: name.clone(), line: *line });
        }
        import::warn(&lists, &mut warnings);
        for list in lists.iter().skip(usize::from(first)).filter(|list| list.names == 0) {
            let (list, file) = (list.id.clone(), list.file.clone());
            warnings.push(Warning::EmptyList { list, file });
        }
        let locked = Locked::of(hashes);
        let of_protected = table.iter().filter(|(_, entry)| entry.categories & protected != 0);
        locked.check(&lists, of_protected.map(|(name, _)| name))?;
        check_numbers(&table).map_err(|fault| PolicyError::of_file(path, fault))?;
        let PolicyFile {
            version,
            categories,
            calendar,
            groups,
            answer,
            preset,
            allow,
            block,
            exceptions,
            ..
        } = file;
        let mut policy = Self {
            version,
            categories,
            calendar,
            exceptions,
            now: (Active::default(), Date::MIN),
            groups,
            answer,
            preset,
            lists,
            allow,
            block,
            table,
            locked,
            protected,
            warnings,
        };
        policy.turn(at);
        Ok(policy)
    }

    /// Puts the rules in force that hold at a moment. True where they differ from those that did.
    pub fn turn(&mut self, at: Timestamp) -> bool {
        let now = (self.calendar.on(at), self.calendar.date(at));
        if now == self.now {
            return false;
        }
        let was_on = self.now.0;
        self.now = now;
        let before = self.groups.masks();
        let (active, date) = now;
        let Self { groups, exceptions, .. } = self;
        groups.turn(active, |group| exceptions.open_to(group, date));
        active != was_on || self.groups.masks() != before
    }

    /// The moment a text says: with an offset, or local to the policy's time zone.
    pub fn moment(&self, text: &str) -> Option<Timestamp> {
        let local = |text: &str| self.calendar.moment(text.parse().ok()?);
        text.parse().ok().or_else(|| local(text))
    }

    /// The date of a moment in the policy's time zone.
    pub fn date(&self, at: Timestamp) -> Date {
        self.calendar.date(at)
    }

    /// The files it was read of: its own, its preset's and its lists', each once.
    pub fn files(&self) -> Vec<PathBuf> {
        let lists = self.lists.iter().map(|list| &list.file);
        let files: BTreeSet<&PathBuf> = self.preset.iter().chain(lists).collect();
        files.into_iter().cloned().collect()
    }

    /// Ids of the schedules that are on.
    pub fn schedules_on(&self) -> Vec<&str> {
        self.calendar.names(self.now.0)
    }

    /// The version the policy file states.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every listed name, in order, with its entry.
    pub fn entries(&self) -> impl Iterator<Item = (&str, DomainEntry)> + Clone {
        self.table.iter().filter(|(name, _)| is_name(name))
    }

    /// Every listed port, with its entry.
    pub fn ports(&self) -> impl Iterator<Item = (Port, DomainEntry)> {
        self.subjects().filter_map(|(subject, entry)| match subject {
            Subject::Port(port) => Some((port, entry)),
            Subject::Name | Subject::Prefix(_) => None,
        })
    }

    /// Every listed prefix, with its entry.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, DomainEntry)> {
        self.subjects().filter_map(|(subject, entry)| match subject {
            Subject::Prefix(network) => Some((network, entry)),
            Subject::Name | Subject::Port(_) => None,
        })
    }

    fn subjects(&self) -> impl Iterator<Item = (Subject, DomainEntry)> {
        self.table.iter().map(|(name, entry)| (Subject::of(name), entry))
    }

    /// Number of listed names, ports and prefixes, the locked ones too.
    pub fn entry_count(&self) -> usize {
        self.table.len() + self.locked.len()
    }

    /// The first 64 bits of the SHA-256 of every locked name, with its entry.
    pub fn locked(&self) -> Vec<(u64, DomainEntry)> {
        self.locked.entries()
    }

    /// Every group with its name, masks and prefixes; the default group is the first.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &str, GroupMasks, &[IpNet])> {
        self.groups.iter().map(|(id, group)| (id, &*group.name, group.masks, &*group.prefixes))
    }

    /// The group of a device's address, by longest prefix.
    pub fn group_of(&self, address: IpAddr) -> GroupId {
        self.group_of_device(&Device::at(address))
    }

    /// The group of a device, by all that is known of it.
    pub fn group_of_device(&self, device: &Device<'_>) -> GroupId {
        self.groups.of(device)
    }

    /// The group of who is logged in; none where no group names them.
    pub fn group_of_login(&self, user: &str, roles: &[String]) -> Option<GroupId> {
        self.groups.of_login(user, roles)
    }

    /// What puts devices into groups beside prefixes and logins.
    pub fn members(&self) -> impl Iterator<Item = (&Member, GroupId)> {
        self.groups.members()
    }

    /// The group of a name.
    pub fn group_named(&self, name: &str) -> Option<GroupId> {
        self.groups.named(name)
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

    /// Whether names with these categories are counted and never named in records, whoever asks for them.
    pub fn is_unlogged(&self, categories: u64) -> bool {
        categories & (self.protected | LOCKED) != 0
    }

    /// Whether records of this group leave out names of these categories.
    pub fn leaves_out(&self, group: GroupId, categories: u64) -> bool {
        let of_group = |group: &Group| group.keeps_no_log_of(categories);
        self.is_unlogged(categories) || self.group(group).is_some_and(of_group)
    }

    /// Groups that keep no log of some categories, and the bits of those.
    pub(crate) fn no_logs(&self) -> impl Iterator<Item = (GroupId, u64)> {
        let masks = self.groups.iter().map(|(id, group)| (id, group.no_log()));
        masks.filter(|(_, mask)| *mask != 0)
    }

    /// What the policy may say, but hardly means.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }
}

/// More ports or prefixes than the kernel holds.
fn check_numbers(table: &Table) -> Result<(), Fault> {
    let (mut ports, mut prefixes) = (0, 0);
    for (name, _) in table.iter() {
        match Subject::of(name) {
            Subject::Name => {}
            Subject::Port(_) => ports += 1,
            Subject::Prefix(_) => prefixes += 1,
        }
    }
    let check = |found: u32, what, max: u32, remedy| match found {
        found if found > max => Err(Fault::TooMany { what, max: max as usize, remedy }),
        _ => Ok(()),
    };
    check(ports, "ports in all lists", PORTS_MAX, "list those that devices of yours use")?;
    let remedy = "join neighbouring prefixes, or drop lists that no group blocks";
    check(prefixes, "addresses and prefixes in all lists", LISTED_PREFIXES_MAX, remedy)
}

/// The lists that are written in the policy file itself, by index: none, local rules, exceptions of each kind.
fn lists_of_the_file(
    path: &Path,
    file: &PolicyFile,
    names: &mut Names,
) -> Result<Vec<List>, PolicyError> {
    let PolicyFile { allow, block, exceptions, .. } = file;
    let count = |rules: &[LocalRule]| u32::try_from(rules.len()).unwrap_or(u32::MAX);
    let mut lists = vec![
        pseudo_list(NO_LIST_ID, path, 0, 0),
        pseudo_list(LOCAL_ALLOW_ID, path, LOCAL_ALLOW, count(allow)),
        pseudo_list(LOCAL_BLOCK_ID, path, LOCAL_BLOCK, count(block)),
    ];
    let mut add = |name: &str, index, line| {
        names.add(name, index, line).map_err(|fault| PolicyError::at_line(path, line, fault))
    };
    for (index, rules) in [(ALLOW_LIST, allow), (BLOCK_LIST, block)] {
        for rule in rules {
            add(&rule.name, index, rule.line)?;
        }
    }
    for (index, window) in (EXCEPTION_LISTS..).zip(&exceptions.windows) {
        let mut granted = 0;
        for one in exceptions.granted.iter().filter(|one| EXCEPTION_LISTS + one.window == index) {
            add(&one.name, index, one.line)?;
            granted += 1;
        }
        lists.push(pseudo_list(EXCEPTION_ID, path, window.bit, granted));
    }
    Ok(lists)
}

/// A list that is written in the policy file itself.
fn pseudo_list(id: &str, policy: &Path, mask: u64, names: u32) -> List {
    List {
        id: id.to_owned(),
        file: policy.to_path_buf(),
        mask,
        protected: false,
        dated: None,
        names,
        report: None,
        sources: Sources::default(),
    }
}

fn read_list(
    policy: &Path,
    index: u16,
    declaration: ListDeclaration,
    names: &mut Names,
    hashes: &mut Vec<([u8; 32], u16)>,
) -> Result<List, PolicyError> {
    if let Some(format) = declaration.format {
        return import::read_list(policy, index, declaration, format, names, hashes);
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
mod tests;
