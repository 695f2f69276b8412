//! Groups of devices: the prefixes they are in, and what each category means to them.

use ipnet::IpNet;
use sensor_ebpf::abi::{DnsRules, GROUPS_MAX, GroupMasks, NoName, QuicRule, UNLISTED};
use serde::{Deserialize, Serialize};
use toml::Spanned;

mod members;

use self::members::Members;
use super::category::{Categories, EVERYTHING_ID, LOCAL_ALLOW, LOCAL_BLOCK};
use super::dns::{self, RawDns};
use super::during::{self, During, RawDuring};
use super::error::{Fault, PolicyError, shown};
use super::file::check_id;
use super::member::{Device, Member};
use super::name::NameError;
use super::named::Named;
use super::no_name::{NoNameRules, RawNoName};
use super::prefix;
use super::schedule::{Active, Calendar};
use super::source::Source;

/// Prefixes of one policy: one a subnet of a large site, and small enough to be scanned.
pub const PREFIXES_MAX: usize = 4096;

/// Name of the group of devices that are in no prefix.
pub const DEFAULT_GROUP: &str = "default";

/// A group of one policy; 0 is the default group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct GroupId(pub u16);

/// A group in a policy file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGroup {
    name: Spanned<String>,
    #[serde(default)]
    prefixes: Vec<Spanned<String>>,
    #[serde(default)]
    users: Vec<Spanned<String>>,
    #[serde(default)]
    roles: Vec<Spanned<String>>,
    #[serde(default)]
    macs: Vec<Spanned<String>>,
    #[serde(default)]
    vlans: Vec<Spanned<u16>>,
    #[serde(default)]
    interfaces: Vec<Spanned<String>>,
    #[serde(default)]
    block: Vec<Spanned<String>>,
    #[serde(default)]
    alert: Vec<Spanned<String>>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    no_log: Vec<Spanned<String>>,
    no_name: Option<Spanned<RawNoName>>,
    dns: Option<Spanned<RawDns>>,
    #[serde(default)]
    quic: RawQuic,
    #[serde(default)]
    during: Vec<RawDuring>,
}

impl RawGroup {
    /// Whether it ever blocks a category.
    fn blocks(&self) -> bool {
        !self.block.is_empty() || self.during.iter().any(RawDuring::blocks)
    }
}

/// What becomes of QUIC in a policy file.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawQuic {
    #[default]
    Inspect,
    Drop,
    Allow,
}

/// What groups are declared with.
pub(crate) struct Rules<'policy> {
    pub(crate) categories: &'policy Categories,
    pub(crate) calendar: &'policy Calendar,
    /// Categories of the protected lists.
    pub(crate) protected: u64,
    /// For groups that block a category and have no table of their own.
    pub(crate) no_name: NoNameRules,
    /// The same of DNS.
    pub(crate) dns: DnsRules,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// What holds while no schedule is on.
    base: GroupMasks,
    during: Vec<During>,
    /// What holds now, see [`Groups::turn`].
    pub(crate) masks: GroupMasks,
    pub(crate) no_name: NoNameRules,
    /// Categories whose names its records leave out.
    no_log: u64,
    pub(crate) prefixes: Vec<IpNet>,
}

/// All groups, the default group first.
#[derive(Debug)]
pub(crate) struct Groups {
    all: Vec<Group>,
    /// The declared group whose rules the default group has.
    default: GroupId,
    /// Longest first, so that the first that contains an address is the longest that does.
    prefixes: Vec<(IpNet, GroupId)>,
    members: Members,
}

impl Group {
    /// Categories it blocks at any time.
    pub(crate) fn ever_blocked(&self) -> u64 {
        self.during.iter().fold(self.base.block, |mask, during| mask | during.block())
    }

    /// Whether names of these categories are blocked at any time; what is allowed at times alone does not count.
    pub(crate) fn ever_blocks(&self, categories: u64) -> bool {
        let always =
            self.during.iter().fold(self.base.allow, |mask, during| during.allowed_of(mask));
        categories & self.ever_blocked() != 0 && categories & always == 0
    }

    /// Whether its records leave out names of these categories.
    pub(crate) const fn keeps_no_log_of(&self, categories: u64) -> bool {
        leaves_out(self.no_log, categories)
    }

    /// What [`leaves_out`] goes by.
    pub(crate) const fn no_log(&self) -> u64 {
        self.no_log
    }

    /// Categories it tells of at any time.
    pub(crate) fn ever_told(&self) -> u64 {
        self.during.iter().fold(self.base.alert, |mask, during| mask | during.alert())
    }
}

/// Whether a group that keeps no log of `no_log` leaves out names of these categories. Those in none are `unlisted`, which
/// a flow is told to be only where something was decided by that.
pub(crate) const fn leaves_out(no_log: u64, categories: u64) -> bool {
    let categories = if categories == 0 { UNLISTED } else { categories };
    categories & no_log != 0
}

impl Groups {
    /// Checks and numbers what a policy file declares.
    pub(crate) fn declare(
        source: &Source,
        raw: &[RawGroup],
        default_group: &Spanned<String>,
        rules: &Rules<'_>,
    ) -> Result<Self, PolicyError> {
        let mut groups: Vec<Group> = Vec::with_capacity(raw.len() + 1);
        let mut prefixes: Vec<(IpNet, GroupId)> = Vec::new();
        let mut members = Members::default();
        groups.push(Group {
            name: DEFAULT_GROUP.to_owned(),
            base: GroupMasks::default(),
            during: Vec::new(),
            masks: GroupMasks::default(),
            no_name: NoNameRules::NONE,
            no_log: 0,
            prefixes: Vec::new(),
        });
        for group in raw {
            let id = next_id(source, group, &groups)?;
            let no_name = no_name(source, group, rules)?;
            let masks = no_name.with(masks(source, group, rules)?);
            let masks = GroupMasks { dns: dns_rules(source, group, rules)?, ..masks };
            let masks = with_quic(masks, group.quic);
            let first = prefixes.len();
            for prefix in &group.prefixes {
                let network = parse_prefix(source, prefix)?;
                check_new(source, prefix, network, &prefixes, raw)?;
                prefixes.push((network, id));
            }
            members.declare(source, group, id, raw)?;
            let own = prefixes.iter().skip(first).map(|(network, _)| *network).collect();
            let name = group.name.get_ref().clone();
            let during =
                group.during.iter().map(|during| During::read(source, during, &name, rules));
            let during = during.collect::<Result<Vec<_>, _>>()?;
            let no_log = no_log(source, group, rules)?;
            groups.push(Group { name, base: masks, during, masks, no_name, no_log, prefixes: own });
        }
        let named = |group: &Group| group.name == *default_group.get_ref();
        let Some(default) = groups.iter().skip(1).position(named) else {
            let known: Vec<_> = groups.iter().skip(1).map(|group| group.name.as_str()).collect();
            let (id, known) = (shown(default_group.get_ref()), known.join(", "));
            let fault = Fault::Unknown { what: "group", id, known };
            return Err(source.fail(&default_group.span(), fault));
        };
        if let [first, declared @ ..] = &mut groups[..]
            && let Some(group) = declared.get(default)
        {
            (first.base, first.during, first.masks) =
                (group.base, group.during.clone(), group.base);
            (first.no_name, first.no_log) = (group.no_name.clone(), group.no_log);
        }
        let default = GroupId(u16::try_from(default + 1).unwrap_or_default());
        prefixes.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Ok(Self { all: groups, default, prefixes, members })
    }

    /// Puts the masks in force that hold while these schedules are on; `allowed` are further bits a group allows.
    pub(crate) fn turn(&mut self, active: Active, allowed: impl Fn(GroupId) -> u64) {
        let default = self.default;
        for (id, group) in (0..).map(GroupId).zip(&mut self.all) {
            group.masks = during::with(group.base, &group.during, active);
            group.masks.allow |= allowed(if id == GroupId::default() { default } else { id });
        }
    }

    /// What holds of each group.
    pub(crate) fn masks(&self) -> Vec<GroupMasks> {
        self.all.iter().map(|group| group.masks).collect()
    }

    /// The group of a name.
    pub(crate) fn named(&self, name: &str) -> Option<GroupId> {
        self.iter().find(|(_, group)| group.name == name).map(|(id, _)| id)
    }

    /// Names of all groups that a policy declares.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.all.iter().skip(1).map(|group| group.name.as_str()).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        (0..).map(GroupId).zip(&self.all)
    }

    pub(crate) fn get(&self, id: GroupId) -> Option<&Group> {
        self.all.get(usize::from(id.0))
    }

    /// What puts devices into groups beside prefixes.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Member, GroupId)> {
        self.members.iter()
    }

    /// The group of who is logged in: by name, else the first that has a role of theirs. `None`: no group names them.
    pub(crate) fn of_login(&self, user: &str, roles: &[String]) -> Option<GroupId> {
        let of_role = |role: &String| self.members.get(&Member::Role(role.clone()));
        self.members
            .get(&Member::User(user.to_owned()))
            .or_else(|| roles.iter().filter_map(of_role).min())
    }

    /// The group of a device, by what is known of it.
    pub(crate) fn of(&self, device: &Device<'_>) -> GroupId {
        let Device { address, user, roles, mac, vlan, interface } = *device;
        let address = address.to_canonical();
        let prefixes = || self.prefixes.iter();
        let longest = || prefixes().find(|(network, _)| network.contains(&address));
        let get = |member: Member| self.members.get(&member);
        user.and_then(|user| self.of_login(user, roles))
            .or_else(|| mac.and_then(|mac| get(Member::Mac(mac))))
            .or_else(|| longest().map(|(_, group)| *group))
            .or_else(|| vlan.and_then(|vlan| get(Member::Vlan(vlan))))
            .or_else(|| interface.and_then(|name| get(Member::Interface(name.to_owned()))))
            .unwrap_or_default()
    }
}

/// The name of a group in the order of their declarations.
fn name_of(id: GroupId, groups: &[RawGroup]) -> String {
    let group = groups.get(usize::from(id.0).wrapping_sub(1));
    group.map_or(DEFAULT_GROUP, |group| group.name.get_ref()).to_owned()
}

fn dns_rules(source: &Source, raw: &RawGroup, rules: &Rules<'_>) -> Result<DnsRules, PolicyError> {
    match &raw.dns {
        Some(own) => dns::read(source, own),
        None if !raw.blocks() => Ok(DnsRules { https_records: 0, canaries: 0, ..rules.dns }),
        None => Ok(rules.dns),
    }
}

fn with_quic(masks: GroupMasks, rule: RawQuic) -> GroupMasks {
    let (rule, masks) = match rule {
        RawQuic::Inspect => (QuicRule::Inspect, masks),
        RawQuic::Drop => (QuicRule::Drop, NoNameRules::block(masks, NoName::QuicRefused)),
        RawQuic::Allow => (QuicRule::Allow, masks),
    };
    GroupMasks { quic: rule as u64, ..masks }
}

fn next_id(source: &Source, raw: &RawGroup, groups: &[Group]) -> Result<GroupId, PolicyError> {
    let name = raw.name.get_ref();
    let fail = |fault| Err(source.fail(&raw.name.span(), fault));
    check_id(source, &raw.name)?;
    if name == DEFAULT_GROUP {
        return fail(Fault::Reserved { what: "group", id: name.clone() });
    }
    if groups.iter().any(|group| group.name == *name) {
        return fail(Fault::Duplicate { what: "group", id: name.clone() });
    }
    match u16::try_from(groups.len()) {
        Ok(id) if u32::from(id) < GROUPS_MAX => Ok(GroupId(id)),
        _ => {
            let max = GROUPS_MAX as usize - 1;
            fail(Fault::TooMany { what: "groups", max, remedy: "join groups with equal rules" })
        }
    }
}

/// `everything` is every bit here: also that of a name which is allowed or blocked by hand.
fn no_log(source: &Source, raw: &RawGroup, rules: &Rules<'_>) -> Result<u64, PolicyError> {
    let mut named = Named::new(source, raw.name.get_ref(), rules.categories, rules.protected);
    let mask = named.mask(&raw.no_log)?;
    let is_everything = raw.no_log.iter().any(|id| id.get_ref() == EVERYTHING_ID);
    Ok(if is_everything { u64::MAX } else { mask })
}

fn no_name(source: &Source, raw: &RawGroup, rules: &Rules<'_>) -> Result<NoNameRules, PolicyError> {
    match &raw.no_name {
        Some(own) => NoNameRules::of_group(source, own),
        None if !raw.blocks() => Ok(NoNameRules::NONE),
        None => Ok(rules.no_name.clone()),
    }
}

fn masks(source: &Source, raw: &RawGroup, rules: &Rules<'_>) -> Result<GroupMasks, PolicyError> {
    let protected = rules.protected;
    let mut named = Named::new(source, raw.name.get_ref(), rules.categories, protected);
    Ok(GroupMasks {
        block: named.mask(&raw.block)? | LOCAL_BLOCK,
        alert: named.mask(&raw.alert)?,
        allow: named.mask(&raw.allow)? | LOCAL_ALLOW | protected,
        ..GroupMasks::default()
    })
}

/// A prefix, or an address as the prefix of itself.
fn parse_prefix(source: &Source, raw: &Spanned<String>) -> Result<IpNet, PolicyError> {
    let text = raw.get_ref();
    let parsed = prefix::parse(text);
    let fault = if let Some(Ok(network)) = parsed {
        return Ok(network);
    } else if let Some(Err(NameError::HostBits(network))) = parsed {
        Fault::PrefixHostBits { given: shown(text), network: network.to_string() }
    } else if let Some(Err(NameError::Mapped(network))) = parsed {
        Fault::PrefixMapped(network.to_string())
    } else {
        Fault::Prefix(shown(text))
    };
    Err(source.fail(&raw.span(), fault))
}

fn check_new(
    source: &Source,
    raw: &Spanned<String>,
    network: IpNet,
    prefixes: &[(IpNet, GroupId)],
    groups: &[RawGroup],
) -> Result<(), PolicyError> {
    let fail = |fault| Err(source.fail(&raw.span(), fault));
    if let Some((_, id)) = prefixes.iter().find(|(taken, _)| *taken == network) {
        let group = name_of(*id, groups);
        return fail(Fault::PrefixTwice { prefix: network.to_string(), group });
    }
    if prefixes.len() == PREFIXES_MAX {
        let remedy = "join neighbouring prefixes";
        return fail(Fault::TooMany { what: "prefixes", max: PREFIXES_MAX, remedy });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
