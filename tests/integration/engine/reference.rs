//! What `rules/README.md` says, in the plainest code there is: every list is gone through as text for every
//! question. It shares nothing with the policy module or the programs.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{CATEGORIES, Group, Model, Rules, Says, prefix};
use super::written::{Kind, List};

/// Deeper than that nothing is looked up.
const LABELS_MAX: usize = 16;
/// A name of fewer labels cannot be locked.
const LOCKED_LABELS_MIN: usize = 2;

/// What is decided of a name or port, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: &'static str,
    pub(super) list: String,
    pub(super) categories: BTreeSet<String>,
}

impl Answer {
    fn new(verdict: &'static str, list: &str, categories: BTreeSet<String>) -> Self {
        Self { verdict, list: list.to_owned(), categories }
    }
}

impl Model {
    pub(super) fn answer(&self, device: IpAddr, asked: &str) -> Answer {
        let lower = asked.to_ascii_lowercase();
        let name = match asked.parse::<IpAddr>() {
            Ok(address) => &*format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }),
            Err(_no_address) => lower.strip_suffix('.').unwrap_or(&lower),
        };
        let above = looked_up(name);
        for suffix in above.iter().filter(|suffix| labels(suffix) >= LOCKED_LABELS_MIN) {
            let mut locked = self.lists.iter().filter(|list| list.kind == Kind::Locked);
            if let Some(list) = locked.find(|list| list.names.iter().any(|name| name == suffix)) {
                return Answer::new("block", &list.id, ["locked".to_owned()].into());
            }
        }
        let group = self.group_of(device);
        let Some(deepest) = above.iter().find(|suffix| self.is_listed(suffix)) else {
            return self.answer_unlisted(&self.groups[group], name);
        };
        let (categories, list) = self.known_of(deepest);
        let means =
            |says| categories.iter().any(|id| self.means(&self.groups[group], id).contains(&says));
        let covering = looked_up(deepest);
        let excepted = self.exceptions.iter().any(|one| {
            one.is_open() && one.groups.contains(&group) && covering.contains(&one.name)
        });
        let verdict = if excepted { "allow" } else { verdict(means) };
        Answer::new(verdict, &list, categories)
    }

    /// Of what is in no list and no rule. A port is not judged then.
    fn answer_unlisted(&self, group: &Group, name: &str) -> Answer {
        let means = self.means(group, "unlisted");
        match verdict(|says| means.contains(&says)) {
            verdict @ ("block" | "alert") if !name.contains('/') => {
                Answer::new(verdict, "none", ["unlisted".to_owned()].into())
            }
            _ => Answer::new("allow", "none", BTreeSet::new()),
        }
    }

    /// Whether any list or rule has exactly this name.
    fn is_listed(&self, name: &str) -> bool {
        !self.sources(name).is_empty() || self.is_excepted(name)
    }

    /// Whether an exception that has not run out has exactly this name.
    fn is_excepted(&self, name: &str) -> bool {
        self.exceptions.iter().any(|one| one.name == name && !one.is_over())
    }

    /// Lists and rules that have exactly this name, with their categories, in the order in which records name them.
    fn sources(&self, name: &str) -> Vec<(String, Vec<String>)> {
        let ever = |list: &List, says: Says| {
            let meant = |id: &String| self.groups.iter().any(|group| self.ever(group, id, says));
            matches!(&list.kind, Kind::Of(categories) if categories.iter().any(meant))
        };
        let place = |list: &List| match list.kind {
            Kind::Protected(_) => 0,
            _ if ever(list, Says::Block) => 3,
            _ => 4,
        };
        let has =
            |list: &&List| list.kind != Kind::Locked && list.names.iter().any(|one| one == name);
        let lists = self.lists.iter().filter(has);
        let mut found: Vec<_> =
            lists.map(|list| (place(list), list.id.clone(), Self::filled_by(list))).collect();
        for (place, id, names) in [(1, "local-allow", &self.allow), (2, "local-block", &self.block)]
        {
            if names.iter().any(|one| one == name) {
                found.push((place, id.to_owned(), vec![id.to_owned()]));
            }
        }
        found.sort_by_key(|(place, _, _)| *place);
        found.into_iter().map(|(_, id, categories)| (id, categories)).collect()
    }

    fn filled_by(list: &List) -> Vec<String> {
        match &list.kind {
            Kind::Of(categories) => categories.clone(),
            Kind::Protected(category) => vec![category.clone()],
            Kind::Locked => Vec::new(),
        }
    }

    /// Categories of a listed name, and the list that records name.
    fn known_of(&self, name: &str) -> (BTreeSet<String>, String) {
        let suffixes = looked_up(name);
        let mut categories = BTreeSet::new();
        let mut list = None;
        // The name itself; one that is only excepted is known as what is above it.
        let known =
            suffixes.iter().map(|suffix| self.sources(suffix)).find(|sources| !sources.is_empty());
        for (id, filled) in known.unwrap_or_default() {
            list.get_or_insert(id);
            categories.extend(filled);
        }
        // Whatever is listed under a protected name is protected with it.
        let protecting = |suffix: &String| {
            let sources = self.sources(suffix);
            let protected = |id: &String| {
                self.lists
                    .iter()
                    .any(|list| list.id == *id && matches!(list.kind, Kind::Protected(_)))
            };
            let protectors: Vec<_> = sources.into_iter().filter(|(id, _)| protected(id)).collect();
            (!protectors.is_empty()).then_some(protectors)
        };
        if let Some(protectors) = suffixes.iter().find_map(protecting) {
            list = Some(protectors[0].0.clone());
            categories.extend(protectors.into_iter().flat_map(|(_, filled)| filled));
        }
        if suffixes.iter().any(|suffix| self.is_excepted(suffix)) {
            if categories.is_empty() && !name.contains('/') {
                categories.insert("unlisted".to_owned());
            }
            categories.insert("exception".to_owned());
            list.get_or_insert("exception".to_owned());
        }
        (categories, list.expect("it is listed"))
    }

    /// What a category means to a group now. A set may say one thing of it, and the category itself another.
    fn means(&self, group: &Group, category: &str) -> Vec<Says> {
        let is_protecting =
            |list: &List| matches!(&list.kind, Kind::Protected(id) if id == category);
        match category {
            "local-allow" => return vec![Says::Allow],
            "local-block" => return vec![Says::Block],
            _ if self.lists.iter().any(is_protecting) => return vec![Says::Allow],
            _ => {}
        }
        let mut means = self.said(&group.says, category);
        for (_, rules) in group.during.iter().filter(|(is_on, _)| *is_on) {
            let in_place = self.said(rules, category);
            if !in_place.is_empty() {
                means = in_place;
            }
        }
        means
    }

    /// Whether a group says this of a category at any time.
    fn ever(&self, group: &Group, category: &str, says: Says) -> bool {
        let during = group.during.iter().map(|(_, rules)| rules);
        during.chain([&group.says]).any(|rules| self.said(rules, category).contains(&says))
    }

    /// What some rules say of a category, of a set that it is in, or of everything.
    fn said(&self, rules: &Rules, category: &str) -> Vec<Says> {
        let is_member = self.members.iter().any(|member| member == category);
        let is_any = category == "unlisted" || CATEGORIES.contains(&category);
        let is_it = |named: &String| {
            named == category || named == "set" && is_member || named == "everything" && is_any
        };
        rules.iter().filter(|(named, _)| is_it(named)).map(|(_, says)| *says).collect()
    }

    /// The group of the longest prefix a device is in; else the first, which is the default group here.
    fn group_of(&self, device: IpAddr) -> usize {
        let prefixes = self.groups.iter().enumerate().flat_map(|(number, group)| {
            group.prefixes.iter().map(move |prefix| (prefix.1, number, prefix.0))
        });
        let having = prefixes.filter(|(length, _, network)| is_in(device, *network, *length));
        having.max_by_key(|(length, _, _)| *length).map_or(0, |(_, group, _)| group)
    }
}

/// The strongest thing that is said.
fn verdict(is_said: impl Fn(Says) -> bool) -> &'static str {
    if is_said(Says::Allow) {
        "allow"
    } else if is_said(Says::Block) {
        "block"
    } else if is_said(Says::Alert) {
        "alert"
    } else {
        "allow"
    }
}

/// The suffixes that are looked up, deepest first; of a prefix, those that it is in. A port is looked up as it is.
fn looked_up(name: &str) -> Vec<String> {
    if let Some((network, length)) = prefix(name) {
        return (0..=length)
            .rev()
            .map(|length| format!("{}/{length}", cut(network, length)))
            .collect();
    }
    let mut suffixes = vec![name.to_owned()];
    while let Some((_, above)) = suffixes[suffixes.len() - 1].split_once('.') {
        suffixes.push(above.to_owned());
    }
    suffixes.retain(|suffix| labels(suffix) <= LABELS_MAX);
    suffixes
}

/// The first bits of an address, and zeroes behind them.
fn cut(address: IpAddr, length: u8) -> IpAddr {
    let kept = u32::from(length);
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - kept).unwrap_or_default();
            Ipv4Addr::from_bits(four.to_bits() & mask).into()
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - kept).unwrap_or_default();
            Ipv6Addr::from_bits(six.to_bits() & mask).into()
        }
    }
}

fn labels(name: &str) -> usize {
    name.split('.').count()
}

pub(super) fn is_in(device: IpAddr, network: IpAddr, length: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
    };
    let (device, network, length) = (bits(device), bits(network), usize::from(length));
    device.len() == network.len() && device[..length] == network[..length]
}
