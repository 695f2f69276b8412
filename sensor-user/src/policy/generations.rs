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

use super::{GroupId, Policy};

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
            Some(file) => write_whole(file, &serde_json::to_vec(&*meanings)?),
            None => Ok(()),
        }
    }

    /// What a flow's numbers mean. A flow that was never judged has the group its device is in now.
    pub fn resolve(&self, flow: &Flow, device: IpAddr) -> Judged {
        let meanings = self.meanings.read().unwrap_or_else(PoisonError::into_inner);
        if flow.policy == 0 {
            let group = meanings.back().and_then(|now| now.group_of(device));
            return Judged { group, ..Judged::default() };
        }
        let known = meanings.iter().find(|meaning| meaning.generation == flow.policy);
        known.map_or_else(Judged::default, |meaning| meaning.judged(flow))
    }
}

impl Meaning {
    fn judged(&self, flow: &Flow) -> Judged {
        let unlogged = flow.categories & self.unlogged != 0;
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

    fn group_name(&self, group: GroupId) -> Option<String> {
        self.groups.iter().find(|(id, _, _)| *id == group.0).map(|(_, name, _)| name.clone())
    }

    fn group_of(&self, device: IpAddr) -> Option<String> {
        let longest = self
            .groups
            .iter()
            .flat_map(|(id, _, prefixes)| prefixes.iter().map(move |prefix| (id, prefix)))
            .filter(|(_, prefix)| prefix.contains(&device))
            .max_by_key(|(_, prefix)| prefix.prefix_len());
        self.group_name(GroupId(longest.map_or(0, |(id, _)| *id)))
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

    use super::super::fixture::load;
    use super::*;

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
    fn an_unlisted_name_is_of_no_list() {
        let judged = judged(UNLISTED, 0);
        assert_eq!((judged.unlogged, judged.list), (false, None));
        assert_eq!(judged.categories, ["unlisted"]);
    }
}
