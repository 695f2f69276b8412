//! Which policy a generation number of the kernel stands for.
//!
//! Flows carry numbers: generation, group, list, category bits. They outlive a policy, and the daemon;
//! so the meaning of the last few generations is kept, in memory and in a file beside the records.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use ipnet::IpNet;
use sensor_ebpf::abi::{Flow, LOCKED};
use serde::{Deserialize, Serialize};

use super::{GroupId, Policy, group};

/// Generations remembered: flows live for hours at most, pushes are minutes apart at least.
const GENERATIONS_MAX: usize = 64;

/// What the numbers of one generation mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Meaning {
    /// Boot the number belongs to: the kernel counts anew after each.
    boot: String,
    generation: u32,
    version: String,
    /// Category names by bit.
    categories: Vec<(u8, String)>,
    unlogged: u64,
    /// Categories that groups keep no log of.
    #[serde(default)]
    no_log: Vec<(u16, u64)>,
    lists: Vec<String>,
    groups: Vec<(u16, String, Vec<IpNet>)>,
}

/// What a flow's numbers mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Category names, sorted.
    pub categories: Vec<String>,
    /// List of the deciding entry.
    pub list: Option<String>,
    /// Policy version.
    pub policy: Option<String>,
    /// Group of the device.
    pub group: Option<String>,
    /// The name is not to be recorded.
    pub unlogged: bool,
}

/// The last generations, shared by whoever pushes a policy and whoever makes records.
#[derive(Default)]
pub struct Generations {
    meanings: RwLock<VecDeque<Meaning>>,
    file: Option<PathBuf>,
    boot: String,
}

impl Generations {
    /// Reads what an earlier daemon of this boot left. An unreadable file is an error; a missing one is not.
    pub fn open(file: &Path, boot: &str) -> io::Result<Self> {
        let mut meanings: VecDeque<Meaning> = match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => VecDeque::new(),
            Err(error) => return Err(error),
        };
        meanings.retain(|meaning| meaning.boot == boot);
        let (file, boot) = (Some(file.to_owned()), boot.to_owned());
        Ok(Self { meanings: RwLock::new(meanings), file, boot })
    }

    /// Notes what a generation means; called before its first flow can be recorded.
    pub fn note(&self, generation: u32, policy: &Policy) -> io::Result<()> {
        let bits = || (0..64_u8).map(|bit| (bit, 1_u64 << bit));
        let meaning = Meaning {
            boot: self.boot.clone(),
            generation,
            version: policy.version().to_owned(),
            categories: bits()
                .filter_map(|(bit, mask)| {
                    policy.category_names(mask).first().map(|name| (bit, (*name).to_owned()))
                })
                .collect(),
            unlogged: bits()
                .filter(|(_, mask)| policy.is_unlogged(*mask))
                .fold(0, |all, (_, mask)| all | mask),
            no_log: policy.no_logs().map(|(group, mask)| (group.0, mask)).collect(),
            lists: policy.lists().iter().map(|list| list.id.clone()).collect(),
            groups: policy
                .groups()
                .map(|(id, name, _, prefixes)| (id.0, name.to_owned(), prefixes.to_vec()))
                .collect(),
        };
        let mut meanings = self.meanings.write().unwrap_or_else(PoisonError::into_inner);
        meanings.retain(|known| known.generation != generation);
        meanings.push_back(meaning);
        while meanings.len() > GENERATIONS_MAX {
            meanings.pop_front();
        }
        match &self.file {
            Some(file) => write_whole(file, &serde_json::to_vec(&*meanings)?).map_err(|error| {
                let file = file.display();
                let text = format!(
                    "{file}: {error}; make room on its disk, and see that it may be written"
                );
                io::Error::new(error.kind(), text)
            }),
            None => Ok(()),
        }
    }

    /// What a flow's numbers mean. A flow that was never judged has the group its device is in now. Of a policy that is not
    /// known any more it is not known either which names it protects: none is recorded.
    pub fn resolve(&self, flow: &Flow, device: IpAddr) -> Judged {
        let meanings = self.meanings.read().unwrap_or_else(PoisonError::into_inner);
        if flow.policy == 0 {
            let Some(now) = meanings.back() else { return Judged::default() };
            let group = now.group_of(device);
            let unlogged = now.leaves_out(group, 0);
            return Judged { group: now.group_name(group), unlogged, ..Judged::default() };
        }
        let known = meanings.iter().find(|meaning| meaning.generation == flow.policy);
        let unknown = || Judged { unlogged: !meanings.is_empty(), ..Judged::default() };
        known.map_or_else(unknown, |meaning| meaning.judged(flow))
    }

    /// Whether records leave out this flow's name: what [`Self::resolve`] says of it, for much less.
    pub fn withholds(&self, flow: &Flow, device: IpAddr) -> bool {
        let meanings = self.meanings.read().unwrap_or_else(PoisonError::into_inner);
        if flow.policy == 0 {
            return meanings.back().is_some_and(|now| now.leaves_out(now.group_of(device), 0));
        }
        let known = meanings.iter().find(|meaning| meaning.generation == flow.policy);
        let leaves_out = |known: &Meaning| known.leaves_out(GroupId(flow.group), flow.categories);
        known.map_or(!meanings.is_empty(), leaves_out)
    }

    /// Whether records of a device leave out names that had these categories under a generation.
    pub fn leaves_out(&self, generation: u32, categories: u64, device: IpAddr) -> bool {
        let meanings = self.meanings.read().unwrap_or_else(PoisonError::into_inner);
        let known = meanings.iter().find(|meaning| meaning.generation == generation);
        let leaves_out = |known: &Meaning| known.leaves_out(known.group_of(device), categories);
        known.map_or(!meanings.is_empty(), leaves_out)
    }
}

impl Meaning {
    fn judged(&self, flow: &Flow) -> Judged {
        let unlogged = self.leaves_out(GroupId(flow.group), flow.categories);
        // Of a locked name the class and the list may be told.
        let shown = !unlogged || flow.categories & LOCKED != 0;
        let mut categories: Vec<String> = self
            .categories
            .iter()
            .filter(|(bit, _)| flow.categories >> bit & 1 == 1 && shown)
            .map(|(_, name)| name.clone())
            .collect();
        categories.sort();
        // Exceptions of several kinds have one name.
        categories.dedup();
        let listed = flow.list != 0 && shown;
        Judged {
            categories,
            list: self.lists.get(usize::from(flow.list)).filter(|_| listed).cloned(),
            policy: Some(self.version.clone()),
            group: self.group_name(GroupId(flow.group)),
            unlogged,
        }
    }

    fn leaves_out(&self, group: GroupId, categories: u64) -> bool {
        let of_group = self.no_log.iter().find(|(id, _)| *id == group.0);
        categories & self.unlogged != 0
            || of_group.is_some_and(|(_, mask)| group::leaves_out(*mask, categories))
    }

    fn group_name(&self, group: GroupId) -> Option<String> {
        self.groups.iter().find(|(id, _, _)| *id == group.0).map(|(_, name, _)| name.clone())
    }

    fn group_of(&self, device: IpAddr) -> GroupId {
        let longest = self
            .groups
            .iter()
            .flat_map(|(id, _, prefixes)| prefixes.iter().map(move |prefix| (id, prefix)))
            .filter(|(_, prefix)| prefix.contains(&device))
            .max_by_key(|(_, prefix)| prefix.prefix_len());
        GroupId(longest.map_or(0, |(id, _)| *id))
    }
}

/// Replaces a file in one step.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    std::fs::write(&beside, bytes)?;
    std::fs::File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::UNLISTED;

    use super::super::category::LOCAL_BLOCK;
    use super::super::fixture::load;
    use super::*;

    #[test]
    fn of_a_policy_that_is_not_known_any_more_no_name_is_recorded() {
        let policy = "version = \"1\"\ndefault_group = \"all\"\ngroup = [{ name = \"all\" }]\n";
        let policy = load(&[("policy.toml", policy)]).unwrap();
        let generations = Generations::default();
        let device = IpAddr::from([10, 0, 0, 1]);
        let flow = |policy| Flow { policy, categories: 1, ..Flow::default() };
        let all_of = |flow: &Flow| {
            let unlogged = generations.resolve(flow, device).unlogged;
            assert_eq!(generations.withholds(flow, device), unlogged);
            assert_eq!(generations.leaves_out(flow.policy, flow.categories, device), unlogged);
            unlogged
        };
        for generation in 1..=GENERATIONS_MAX as u32 + 1 {
            generations.note(generation, &policy).unwrap();
        }
        assert!(all_of(&flow(1)), "the oldest is forgotten");
        assert!(!all_of(&flow(2)));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("generations.json");
        let generations = Generations::open(&file, "boot").unwrap();
        drop(dir);
        let policy = "version = \"1\"\ndefault_group = \"all\"\ngroup = [{ name = \"all\" }]\n";
        let policy = load(&[("policy.toml", policy)]).unwrap();
        let refusal = generations.note(1, &policy).unwrap_err().to_string();
        assert!(refusal.starts_with(&file.display().to_string()), "{refusal}");
        assert!(refusal.contains("; make room"), "{refusal}");
    }

    /// What records say of a flow with these categories and of this list.
    fn judged(categories: u64, list: u16) -> Judged {
        let policy = "version = \"1\"\ndefault_group = \"all\"\ngroup = [{ name = \"all\" }]\n\
            list = [{ id = \"watch\", file = \"watch\", format = \"sha256-hex\", locked = true }]\n";
        let hash = format!("{:064x}\n", 7);
        let policy = load(&[("policy.toml", policy), ("watch", &hash)]).unwrap();
        let generations = Generations::default();
        generations.note(1, &policy).unwrap();
        let flow = Flow { policy: 1, categories, list, ..Flow::default() };
        generations.resolve(&flow, IpAddr::from([10, 0, 0, 1]))
    }

    #[test]
    fn of_a_locked_name_class_and_list_are_told_and_the_name_is_not() {
        let judged = judged(LOCKED, 3);
        assert_eq!((judged.unlogged, judged.list.as_deref()), (true, Some("watch")));
        assert_eq!(judged.categories, ["locked"]);
    }

    #[test]
    fn a_group_may_keep_no_log_of_some_names_or_of_all() {
        let policy = load(&[
            (
                "policy.toml",
                "version = \"1\"\ndefault_group = \"all\"\n\
                group = [{ name = \"all\" }, \
                { name = \"staff\", prefixes = [\"10.1.0.0/16\"], no_log = [\"health\"], block = [\"health\"] }, \
                { name = \"counsel\", prefixes = [\"10.2.0.0/16\"], no_log = [\"everything\"] }]\n\
                category = [{ id = \"health\", title = \"\", covers = \"\" }, \
                { id = \"news\", title = \"\", covers = \"\" }]\n",
            ),
        ])
        .unwrap();
        let generations = Generations::default();
        generations.note(1, &policy).unwrap();
        let bit = |id: &str| policy.categories().find(|one| one.id == id).unwrap().bit;
        let (health, news) = (bit("health"), bit("news"));
        for (group, third, categories, expected) in [
            ("all", 9, health, false),
            ("all", 9, 0, false),
            ("staff", 1, health, true),
            ("staff", 1, health | news, true),
            ("staff", 1, news, false),
            ("staff", 1, 0, false),
            ("counsel", 2, health, true),
            ("counsel", 2, news, true),
            ("counsel", 2, LOCAL_BLOCK, true),
            ("staff", 1, LOCAL_BLOCK, false),
            ("counsel", 2, UNLISTED, true),
            ("counsel", 2, 0, true),
        ] {
            let device = IpAddr::from([10, third, 0, 1]);
            let id = policy.group_named(group).unwrap();
            let flow = Flow { policy: 1, categories, group: id.0, ..Flow::default() };
            let judged = generations.resolve(&flow, device);
            let what = format!("{group} of {categories:#x}");
            assert_eq!(judged.unlogged, expected, "{what}");
            assert_eq!(judged.categories.is_empty(), expected || categories == 0, "{what}");
            assert_eq!(policy.leaves_out(id, categories), expected, "{what}");
            assert_eq!(generations.leaves_out(1, categories, device), expected, "{what}");
            // A flow that was never judged has no name, but somebody it goes to.
            let judged = generations.resolve(&Flow::default(), device);
            assert_eq!(
                (judged.group.as_deref(), judged.unlogged),
                (Some(if group == "all" { "default" } else { group }), group == "counsel")
            );
        }
        let today = "2026-03-10".parse().unwrap();
        let why = |group: &str| {
            policy.why("x.example", policy.group_named(group).unwrap(), today).unwrap().to_string()
        };
        assert!(
            why("counsel")
                .contains("\n  records    leave the name out: counsel keeps no log of it\n")
        );
        assert!(!why("staff").contains("records"));
    }

    #[test]
    fn an_unlisted_name_is_of_no_list() {
        let judged = judged(UNLISTED, 0);
        assert_eq!((judged.unlogged, judged.list), (false, None));
        assert_eq!(judged.categories, ["unlisted"]);
    }
}
