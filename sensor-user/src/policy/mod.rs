//! The policy: which names belong to which categories, and what a group of devices may see.
//!
//! `file` reads `policy.toml` and its preset, `gather` the lists it names by `list` and `import`, `compile` joins them to
//! one entry a name in a `table`, which `kept` keeps in a file; `locked` has names nobody may read, `schedule` and `during` say when a group's rules are others, `exception` who may visit a name
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
use sensor_ebpf::abi::{DomainEntry, GroupMasks, LOCKED};

mod block_page;
mod category;
mod compare;
mod compile;
mod decide;
mod dns;
mod during;
mod ends;
mod error;
mod exception;
mod file;
mod gather;
pub mod generations;
mod group;
mod import;
mod kept;
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
mod table;
mod warning;
mod why;

use self::block_page::Answer;
use self::category::Categories;
use self::exception::Exceptions;
use self::file::{LocalRule, PolicyFile, protected_mask};
use self::gather::Gathered;
use self::group::{Group, Groups};
use self::list::Sources;
use self::locked::Locked;
use self::member::{Device, Member};
use self::schedule::{Active, Calendar};
use self::subject::Subject;
use self::table::Table;
use crate::lists::Report;

pub use self::category::{CATEGORIES_MAX, Category, LOCAL_ALLOW, LOCAL_BLOCK};
pub use self::compile::NAMES_MAX;
pub use self::decide::{Decision, Listed};
pub(crate) use self::error::shown;
pub use self::error::{Fault, Place, PolicyError};
pub use self::file::LISTS_MAX;
pub use self::group::{DEFAULT_GROUP, GroupId, PREFIXES_MAX};
pub use self::kept::{Id, Keep};
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
    names_id: Option<Id>,
}

impl Policy {
    /// Reads a policy file, its preset and its lists, with the rules that hold now. Relative paths start at the
    /// file's folder.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        Self::read(path, Timestamp::now(), None)
    }

    /// The same with the rules that hold at a moment.
    pub fn load_at(path: &Path, at: Timestamp) -> Result<Self, PolicyError> {
        Self::read(path, at, None)
    }

    /// The same as [`Policy::load`], with the names that were kept when these very lists were read before; else they are
    /// kept now.
    pub fn load_kept(path: &Path, keep: &Keep) -> Result<Self, PolicyError> {
        Self::read(path, Timestamp::now(), Some(keep))
    }

    fn read(path: &Path, at: Timestamp, keep: Option<&Keep>) -> Result<Self, PolicyError> {
        let file = PolicyFile::read(path, at)?;
        let Gathered { lists, table, locked, mut warnings, names_id } =
            Gathered::of(path, &file, keep)?;
        for (line, name) in &file.exceptions.over {
            warnings.push(Warning::ExceptionOver { name: name.clone(), line: *line });
        }
        import::warn(&lists, &mut warnings);
        for list in lists.iter().filter(|list| list.names == 0 && list.file != path) {
            let (list, file) = (list.id.clone(), list.file.clone());
            warnings.push(Warning::EmptyList { list, file });
        }
        let protected = protected_mask(&file.lists);
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
            names_id,
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
        self.table.names()
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
        self.table.others().map(|(entry, known)| (Subject::of(entry), known))
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

    /// What its names are kept under; none where they are not.
    pub const fn names_id(&self) -> Option<Id> {
        self.names_id
    }

    /// What the policy may say, but hardly means.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use std::fs;

    use super::*;

    /// Loads `policy.toml` of a folder made of these files.
    pub(crate) fn load(files: &[(&str, &str)]) -> Result<Policy, PolicyError> {
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
