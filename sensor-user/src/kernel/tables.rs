//! The policy's tables. A policy is filled beside the one in force and published by one store; then
//! the old one is taken out.

use std::io;
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError};
use ipnet::IpNet;
use sensor_ebpf::abi::{
    Address, DomainEntry, GROUPS_MAX, GroupMasks, MemberKey, PREFIX_LEAD, Page, PageKey, PortKey,
    Prefix, member, uses,
};
use tracing::warn;

use super::control::ControlCell;
use super::listed::ListedNames;
use super::object::Object;
use super::{KernelError, syscall};
use crate::engine::Image;
use crate::engine::of_policy::names_of;
use crate::policy::member::{Mac, Member};
use crate::policy::{Policy, Port};

/// What puts a device into a group beside its prefix, as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Somebody is logged in at an address.
    Login(IpAddr),
    /// Frames come from a MAC address.
    Mac(Mac),
    /// They are of a VLAN.
    Vlan(u16),
    /// They come in by the interface with this row of counters.
    Interface(u16),
}

impl Sign {
    fn key(self, policy: u32) -> MemberKey {
        let number = |kind, number| MemberKey::number(policy, kind, number);
        match self {
            Self::Login(address) => MemberKey::login(policy, address.into()),
            Self::Mac(mac) => number(member::MAC, mac.number()),
            Self::Vlan(vlan) => number(member::VLAN, vlan.into()),
            Self::Interface(slot) => number(member::INTERFACE, slot.into()),
        }
    }

    /// The bit of [`uses`] for these.
    const fn uses(self) -> u32 {
        match self {
            Self::Login(_) => uses::LOGINS,
            Self::Mac(_) => uses::MACS,
            Self::Vlan(_) => uses::VLANS,
            Self::Interface(_) => uses::INTERFACES,
        }
    }
}

/// What a policy becomes in the kernel.
#[derive(Clone, Debug, Default)]
pub struct PolicyImage {
    /// Listed names; of one that comes twice the last entry counts.
    pub domains: Vec<(String, DomainEntry)>,
    /// The first 64 bits of the SHA-256 of names that are known by it alone.
    pub locked: Vec<(u64, DomainEntry)>,
    /// Listed ports.
    pub ports: Vec<(Port, DomainEntry)>,
    /// Listed addresses and prefixes.
    pub prefixes: Vec<(IpNet, DomainEntry)>,
    /// Groups: number, masks, prefixes.
    pub groups: Vec<(u16, GroupMasks, Vec<IpNet>)>,
    /// What else puts devices into groups.
    pub members: Vec<(Sign, u16)>,
    /// Block pages: group, number of the category's bit, response.
    pub pages: Vec<(u16, u8, Page)>,
}

impl From<&Policy> for PolicyImage {
    fn from(policy: &Policy) -> Self {
        let domains = names_of(policy).map(|(name, entry)| (name.to_owned(), entry)).collect();
        Self { domains, locked: policy.locked(), ..Self::without_names(policy, &[]) }
    }
}

impl PolicyImage {
    /// All but the names, of which [`crate::engine::of_policy`] makes a table without a copy of each. Interfaces are by their rows of
    /// counters; groups that name others have nobody there. Who is logged in is not in it.
    pub fn without_names(policy: &Policy, interfaces: &[String]) -> Self {
        let groups = policy.groups();
        let groups = groups.map(|(id, _, masks, prefixes)| (id.0, masks, prefixes.to_vec()));
        let sign = |member: &Member| {
            Some(match member {
                Member::Mac(mac) => Sign::Mac(*mac),
                Member::Vlan(vlan) => Sign::Vlan(*vlan),
                Member::Interface(name) => {
                    let slot = interfaces.iter().position(|interface| interface == name)?;
                    Sign::Interface(slot.try_into().ok()?)
                }
                Member::User(_) | Member::Role(_) => return None,
            })
        };
        let members = policy.members();
        let members = members.filter_map(|(member, group)| Some((sign(member)?, group.0)));
        let pages = policy.block_pages().into_iter();
        let pages = pages.map(|(group, category, page)| (group.0, category, page)).collect();
        Self {
            domains: Vec::new(),
            locked: Vec::new(),
            ports: policy.ports().collect(),
            prefixes: policy.prefixes().collect(),
            groups: groups.collect(),
            members: members.collect(),
            pages,
        }
    }

    /// Bits of [`uses`].
    fn uses(&self) -> u32 {
        let prefixes = self.groups.iter().any(|(_, _, prefixes)| !prefixes.is_empty());
        let tables = [
            (prefixes, uses::PREFIXES),
            (!self.ports.is_empty(), uses::PORTS),
            (!self.prefixes.is_empty(), uses::ADDRESSES),
        ];
        let used = tables.into_iter().filter(|(used, _)| *used).map(|(_, bit)| bit);
        let signs = self.members.iter().map(|(sign, _)| sign.uses());
        used.chain(signs).fold(0, |all, bit| all | bit)
    }
}

/// Writer of the policy's maps.
pub struct PolicyTables {
    domains: ListedNames,
    ports: HashMap<MapData, PortKey, DomainEntry>,
    prefixes: LpmTrie<MapData, Prefix, DomainEntry>,
    group_prefixes: LpmTrie<MapData, Prefix, u32>,
    members: HashMap<MapData, MemberKey, u32>,
    groups: Array<MapData, GroupMasks>,
    pages: HashMap<MapData, PageKey, Page>,
    domains_max: u32,
}

impl PolicyTables {
    /// Takes the maps out of the object.
    pub fn open(object: &mut Object, domains_max: u32) -> Result<Self, KernelError> {
        Ok(Self {
            domains: ListedNames::open(object)?,
            ports: object.take("PORTS")?,
            prefixes: object.take("PREFIXES")?,
            group_prefixes: object.take("GROUP_PREFIXES")?,
            members: object.take("MEMBERS")?,
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
        let names = image.domains.iter().map(|(name, entry)| (name.as_str(), *entry));
        let key = control.hash_key();
        let table = Image::build_with_locked(&names, &image.locked, key).map_err(|source| {
            KernelError::Map { map: "DOMAINS", operation: "fill", source: source.into() }
        })?;
        self.push_with(control, image, &table, note)
    }

    /// The same with a table of names that is made already; those of `image` are left aside.
    pub fn push_with(
        &mut self,
        control: &ControlCell,
        image: &PolicyImage,
        table: &Image,
        note: impl FnOnce(u32) -> io::Result<()>,
    ) -> Result<u32, KernelError> {
        if table.names() > self.domains_max {
            let limit = self.domains_max;
            return Err(KernelError::Full { map: "DOMAINS", limit, knob: "kernel.domains_max" });
        }
        self.put_in_force(control, image, |domains, next| domains.fill(next, table), note)
    }

    /// The same with the table of names that was pushed last: of a policy that lists the same names with the same
    /// entries, where only its rules are others. It costs nothing a name.
    pub fn push_rules(
        &mut self,
        control: &ControlCell,
        image: &PolicyImage,
        note: impl FnOnce(u32) -> io::Result<()>,
    ) -> Result<u32, KernelError> {
        self.put_in_force(control, image, ListedNames::keep, note)
    }

    /// Lets go of both tables of names, for a test whose control cell is new.
    #[cfg(feature = "lab")]
    pub fn forget(&mut self) -> Result<(), KernelError> {
        [0, 1].into_iter().try_for_each(|generation| self.domains.clear_all_but(generation))
    }

    fn put_in_force(
        &mut self,
        control: &ControlCell,
        image: &PolicyImage,
        list: impl FnOnce(&mut ListedNames, u32) -> Result<(), KernelError>,
        note: impl FnOnce(u32) -> io::Result<()>,
    ) -> Result<u32, KernelError> {
        let in_force = control.policy();
        let next = following(in_force);
        self.clear_all_but(in_force)?;
        self.fill(next, image)?;
        control.set_uses(next, image.uses());
        // Last of the tables: it waits until nobody can be reading what it replaces.
        list(&mut self.domains, next)?;
        note(next).map_err(|source| KernelError::Map {
            map: "DOMAINS",
            operation: "note the generation of",
            source: source.into(),
        })?;
        control.publish(next);
        // A decision that read the old generation still finds its tables.
        syscall::wait_for_programs();
        // The policy is in force: what is left of the old one is cleared by the next push.
        if let Err(failure) =
            self.domains.clear_all_but(next).and_then(|()| self.clear_all_but(next))
        {
            warn!(error = %failure, "an old policy keeps its memory");
        }
        Ok(next)
    }

    /// Puts the device at an address into a group, or out of the one it is in by a login, under the policy in force. Its
    /// flows are judged again with their next packets.
    pub fn log_in(
        &mut self,
        control: &ControlCell,
        address: IpAddr,
        group: Option<u16>,
    ) -> Result<(), KernelError> {
        let policy = control.policy();
        let key = Sign::Login(address).key(policy);
        match group {
            Some(group) => {
                self.join(&key, group)?;
                control.add_use(policy, uses::LOGINS);
            }
            None => match self.members.remove(&key) {
                // Nobody was in a group there.
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| map_error("MEMBERS", "clear", source))?,
            },
        }
        control.count_login(address.into());
        Ok(())
    }

    fn join(&mut self, key: &MemberKey, group: u16) -> Result<(), KernelError> {
        self.members
            .insert(key, u32::from(group), 0)
            .map_err(|source| map_error("MEMBERS", "fill", source))
    }

    fn fill(&mut self, generation: u32, image: &PolicyImage) -> Result<(), KernelError> {
        for (port, entry) in &image.ports {
            let Port { protocol, number: port } = *port;
            let key = PortKey { policy: generation, port, protocol, reserved: 0 };
            self.ports
                .insert(key, entry, 0)
                .map_err(|source| map_error("PORTS", "fill", source))?;
        }
        for (prefix, entry) in &image.prefixes {
            self.prefixes
                .insert(&prefix_key(generation, *prefix), entry, 0)
                .map_err(|source| map_error("PREFIXES", "fill", source))?;
        }
        for (sign, group) in &image.members {
            self.join(&sign.key(generation), *group)?;
        }
        for (group, masks, prefixes) in &image.groups {
            let row = (generation & 1) * GROUPS_MAX + u32::from(*group);
            self.groups.set(row, masks, 0).map_err(|source| map_error("GROUPS", "fill", source))?;
            for prefix in prefixes {
                self.group_prefixes
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
        let stale: Vec<PortKey> =
            self.ports.keys().flatten().filter(|key| key.policy != generation).collect();
        for key in stale {
            self.ports.remove(&key).map_err(|source| map_error("PORTS", "clear", source))?;
        }
        clear_prefixes(&mut self.prefixes, "PREFIXES", generation)?;
        clear_prefixes(&mut self.group_prefixes, "GROUP_PREFIXES", generation)?;
        let stale: Vec<MemberKey> =
            self.members.keys().flatten().filter(|key| key.policy != generation).collect();
        for key in stale {
            self.members.remove(&key).map_err(|source| map_error("MEMBERS", "clear", source))?;
        }
        let stale: Vec<PageKey> =
            self.pages.keys().flatten().filter(|key| key.policy != generation).collect();
        for key in stale {
            self.pages.remove(&key).map_err(|source| map_error("PAGES", "clear", source))?;
        }
        Ok(())
    }
}

/// The generation behind one. Their lowest bits differ, which tables are told apart by, and 0 is none.
fn following(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(2)
}

/// Takes out the prefixes of other generations.
fn clear_prefixes<V: aya::Pod>(
    table: &mut LpmTrie<MapData, Prefix, V>,
    map: &'static str,
    generation: u32,
) -> Result<(), KernelError> {
    let is_stale = |key: &Key<Prefix>| key.data().policy != generation.to_be();
    let stale: Vec<Key<Prefix>> = table.keys().flatten().filter(is_stale).collect();
    stale
        .iter()
        .try_for_each(|key| table.remove(key).map_err(|source| map_error(map, "clear", source)))
}

fn prefix_key(generation: u32, prefix: IpNet) -> Key<Prefix> {
    let mapped = match prefix {
        IpNet::V4(_) => 96,
        IpNet::V6(_) => 0,
    };
    let address = Address::from(prefix.network());
    let length = PREFIX_LEAD + mapped + u32::from(prefix.prefix_len());
    Key::new(length, Prefix::new(generation, address))
}

pub(super) fn map_error(
    map: &'static str,
    operation: &'static str,
    source: MapError,
) -> KernelError {
    KernelError::Map { map, operation, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::following;

    #[test]
    fn generations_that_follow_each_other_have_tables_of_their_own() {
        for (generation, expected) in [(0, 1), (1, 2), (u32::MAX - 1, u32::MAX), (u32::MAX, 2)] {
            assert_eq!(following(generation), expected);
            assert_ne!(generation & 1, expected & 1);
        }
    }
}
