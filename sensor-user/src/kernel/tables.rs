//! The policy's tables. A policy is filled beside the one in force and published by one store; then
//! the old one is taken out.

use std::collections::HashMap as StdHashMap;
use std::io;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError};
use ipnet::IpNet;
use sensor_ebpf::abi::{
    Address, DomainEntry, DomainKey, GROUP_PREFIX_LEAD, GROUPS_MAX, GroupMasks, GroupPrefix, Page,
    PageKey, PortKey,
};
use sensor_ebpf::name::{HashKey, listed_hash};

use super::control::ControlCell;
use super::object::Object;
use super::{KernelError, syscall};
use crate::policy::{Policy, Port};

/// What a policy becomes in the kernel.
#[derive(Clone, Debug, Default)]
pub struct PolicyImage {
    /// Listed names.
    pub domains: Vec<(String, DomainEntry)>,
    /// Listed ports.
    pub ports: Vec<(Port, DomainEntry)>,
    /// Groups: number, masks, prefixes.
    pub groups: Vec<(u16, GroupMasks, Vec<IpNet>)>,
    /// Block pages: group, number of the category's bit, response.
    pub pages: Vec<(u16, u8, Page)>,
}

impl From<&Policy> for PolicyImage {
    fn from(policy: &Policy) -> Self {
        let canaries: Vec<_> = policy.canaries().collect();
        let is_canary = |name: &str| canaries.iter().any(|(canary, _)| *canary == name);
        let others = policy.entries().filter(|(name, _)| !is_canary(name));
        let domains = others.chain(canaries.iter().copied());
        let domains = domains.map(|(name, entry)| (name.to_owned(), entry)).collect();
        let groups = policy.groups();
        let groups = groups.map(|(id, _, masks, prefixes)| (id.0, masks, prefixes.to_vec()));
        let pages = policy.block_pages().into_iter();
        let pages = pages.map(|(group, category, page)| (group.0, category, page)).collect();
        Self { domains, ports: policy.ports().collect(), groups: groups.collect(), pages }
    }
}

/// Writer of the policy's maps.
pub struct PolicyTables {
    domains: HashMap<MapData, DomainKey, DomainEntry>,
    ports: HashMap<MapData, PortKey, DomainEntry>,
    prefixes: LpmTrie<MapData, GroupPrefix, u32>,
    groups: Array<MapData, GroupMasks>,
    pages: HashMap<MapData, PageKey, Page>,
    domains_max: u32,
}

/// Two listed names with one hash: the policy cannot be told apart from them.
#[derive(Debug, thiserror::Error)]
#[error(
    "the names {0} and {1} have the same hash under this key; start the sensor again to draw another"
)]
pub struct Collision(String, String);

impl PolicyTables {
    /// Takes the maps out of the object.
    pub fn open(object: &mut Object, domains_max: u32) -> Result<Self, KernelError> {
        Ok(Self {
            domains: object.take("DOMAINS")?,
            ports: object.take("PORTS")?,
            prefixes: object.take("GROUP_PREFIXES")?,
            groups: object.take("GROUPS")?,
            pages: object.take("PAGES")?,
            domains_max,
        })
    }

    /// Fills the next generation, puts it in force and clears the one before. Returns the generation.
    ///
    /// `note` is called with the generation before its first verdict. On an error the policy in force
    /// stays; what was filled is cleared by the next push.
    pub fn push(
        &mut self,
        control: &ControlCell,
        image: &PolicyImage,
        note: impl FnOnce(u32) -> io::Result<()>,
    ) -> Result<u32, KernelError> {
        let in_force = control.policy();
        let next = in_force.wrapping_add(1).max(1);
        self.clear_all_but(in_force)?;
        self.fill(next, image, control.hash_key())?;
        note(next).map_err(|source| KernelError::Map {
            map: "DOMAINS",
            operation: "note the generation of",
            source: source.into(),
        })?;
        control.publish(next);
        // A decision that read the old generation still finds its tables.
        syscall::wait_for_programs();
        self.clear_all_but(next)?;
        Ok(next)
    }

    fn fill(
        &mut self,
        generation: u32,
        image: &PolicyImage,
        key: HashKey,
    ) -> Result<(), KernelError> {
        let mut names: StdHashMap<u64, &str> = StdHashMap::with_capacity(image.domains.len());
        for (name, entry) in &image.domains {
            let hash = listed_hash(name, key);
            if let Some(other) = names.insert(hash, name).filter(|other| other != name) {
                let source = Collision(other.to_owned(), name.clone());
                return Err(KernelError::Map {
                    map: "DOMAINS",
                    operation: "fill",
                    source: source.into(),
                });
            }
            let domain = DomainKey { hash, policy: generation, reserved: 0 };
            self.domains
                .insert(domain, entry, 0)
                .map_err(|source| full_or(source, self.domains_max))?;
        }
        for (port, entry) in &image.ports {
            let Port { protocol, number: port } = *port;
            let key = PortKey { policy: generation, port, protocol, reserved: 0 };
            self.ports
                .insert(key, entry, 0)
                .map_err(|source| map_error("PORTS", "fill", source))?;
        }
        for (group, masks, prefixes) in &image.groups {
            let row = (generation & 1) * GROUPS_MAX + u32::from(*group);
            self.groups.set(row, masks, 0).map_err(|source| map_error("GROUPS", "fill", source))?;
            for prefix in prefixes {
                self.prefixes
                    .insert(&prefix_key(generation, *prefix), u32::from(*group), 0)
                    .map_err(|source| map_error("GROUP_PREFIXES", "fill", source))?;
            }
        }
        for (group, category, page) in &image.pages {
            let key =
                PageKey { policy: generation, group: *group, category: *category, reserved: 0 };
            self.pages.insert(key, page, 0).map_err(|source| map_error("PAGES", "fill", source))?;
        }
        Ok(())
    }

    /// Takes out what belongs to another generation: an old policy, or one that failed half-way.
    fn clear_all_but(&mut self, generation: u32) -> Result<(), KernelError> {
        let stale: Vec<DomainKey> =
            self.domains.keys().flatten().filter(|key| key.policy != generation).collect();
        for key in stale {
            self.domains.remove(&key).map_err(|source| map_error("DOMAINS", "clear", source))?;
        }
        let stale: Vec<PortKey> =
            self.ports.keys().flatten().filter(|key| key.policy != generation).collect();
        for key in stale {
            self.ports.remove(&key).map_err(|source| map_error("PORTS", "clear", source))?;
        }
        let stale: Vec<Key<GroupPrefix>> = self
            .prefixes
            .keys()
            .flatten()
            .filter(|key| key.data().policy != generation.to_be())
            .collect();
        for key in stale {
            self.prefixes
                .remove(&key)
                .map_err(|source| map_error("GROUP_PREFIXES", "clear", source))?;
        }
        let stale: Vec<PageKey> =
            self.pages.keys().flatten().filter(|key| key.policy != generation).collect();
        for key in stale {
            self.pages.remove(&key).map_err(|source| map_error("PAGES", "clear", source))?;
        }
        Ok(())
    }
}

fn prefix_key(generation: u32, prefix: IpNet) -> Key<GroupPrefix> {
    let mapped = match prefix {
        IpNet::V4(_) => 96,
        IpNet::V6(_) => 0,
    };
    let address = Address::from(prefix.network());
    let length = GROUP_PREFIX_LEAD + mapped + u32::from(prefix.prefix_len());
    Key::new(length, GroupPrefix::new(generation, address))
}

fn full_or(source: MapError, limit: u32) -> KernelError {
    let full = matches!(
        &source,
        MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG)
    );
    if full {
        KernelError::Full { map: "DOMAINS", limit, knob: "kernel.domains_max" }
    } else {
        map_error("DOMAINS", "fill", source)
    }
}

fn map_error(map: &'static str, operation: &'static str, source: MapError) -> KernelError {
    KernelError::Map { map, operation, source: source.into() }
}
