//! Random policies, as people could have written them: names that nest, categories in sets, groups in nested prefixes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::kernel::Random;
use super::reference::is_in;
use super::written::{Kind, List};

/// The day of all questions; exceptions begin and end so many days from it.
pub(super) const TODAY: &str = "2026-11-23T12:00:00Z";

pub(super) const CATEGORIES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "set"];
const PROTECTED: [&str; 2] = ["p0", "p1"];
const LABELS: [&str; 5] = ["a", "b", "c", "x-1", "_y"];
const TOPS: [&str; 2] = ["test", "example"];
/// Deeper than anything is looked up.
const SPINE: &str = "r.q.p.o.n.m.l.k.j.i.h.g.f.e.d.c.b.a.test";
const PORTS: [&str; 5] = ["udp/1000", "udp/1001", "tcp/1000", "tcp/1001", "tcp/65535"];
/// Prefixes that nest, of both families.
const PREFIXES: [&str; 8] = [
    "198.51.0.0/16",
    "198.51.100.0/24",
    "198.51.100.64/26",
    "198.51.100.77/32",
    "2001:db8:70::/44",
    "2001:db8:77::/48",
    "2001:db8:77:1::/64",
    "2001:db8:77:1::7/128",
];
const LENGTHS4: [u8; 9] = [7, 8, 9, 15, 16, 17, 24, 31, 32];
const LENGTHS6: [u8; 9] = [31, 32, 33, 47, 48, 63, 64, 127, 128];

/// What a group says of a category; `Pass` for a while only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Block,
    Alert,
    Allow,
    Pass,
}

impl Says {
    const ALL: [Self; 4] = [Self::Block, Self::Alert, Self::Allow, Self::Pass];

    fn key(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Alert => "alert",
            Self::Allow => "allow",
            Self::Pass => "pass",
        }
    }
}

/// Categories, and what is said of each.
pub(super) type Rules = Vec<(String, Says)>;

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) says: Rules,
    /// What it says in place of that, and whether that is on.
    pub(super) during: Vec<(bool, Rules)>,
    pub(super) prefixes: Vec<(IpAddr, u8)>,
}

#[derive(Debug)]
pub(super) struct Exception {
    pub(super) name: String,
    pub(super) groups: Vec<usize>,
    from: Option<i8>,
    until: i8,
}

impl Exception {
    pub(super) fn is_over(&self) -> bool {
        self.until < 0
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_over() && self.from.is_none_or(|from| from <= 0)
    }
}

/// A policy; its first group is the default group.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) lists: Vec<List>,
    /// Members of the category `set`.
    pub(super) members: Vec<String>,
    pub(super) groups: Vec<Group>,
    pub(super) allow: Vec<String>,
    pub(super) block: Vec<String>,
    pub(super) exceptions: Vec<Exception>,
}

impl Model {
    pub(super) fn random(random: &mut Random) -> Self {
        let mut model = Self { members: some(random, &CATEGORIES[..5], 2), ..Self::default() };
        for number in 0..3 + random.below(4) {
            let kind = Kind::Of(some(random, &CATEGORIES, 1));
            model.add_list(random, format!("l{number}"), kind, 12);
        }
        for (number, category) in (0..random.below(3)).zip(PROTECTED) {
            model.add_list(random, format!("h{number}"), Kind::Protected(category.to_owned()), 3);
        }
        model.allow = names(random, 4);
        model.block = names(random, 4);
        for rules in [&mut model.allow, &mut model.block] {
            if random.below(4) == 0 {
                rules.push(pick(random, &PREFIXES));
            }
        }
        for _ in 0..2 + random.below(4) {
            let group = model.group(random);
            model.groups.push(group);
        }
        // One group acts on every category: which list records name of several that nobody acts on is not said.
        let acts = CATEGORIES.map(|category| {
            (category.to_owned(), if random.below(2) == 0 { Says::Block } else { Says::Alert })
        });
        model.groups.push(Group { says: acts.to_vec(), ..Group::default() });
        for _ in 0..random.below(5) {
            model.add_exception(random);
        }
        for number in 0..random.below(3) {
            model.add_list(random, format!("w{number}"), Kind::Locked, 4);
        }
        model.unlock_protected();
        model
    }

    /// The policy file, without its lists.
    pub(super) fn rules(&self) -> String {
        let mut text = "version = \"1\"\ndefault_group = \"g0\"\ntime_zone = \"UTC\"\n\
            schedule = [{ id = \"on\" }, { id = \"off\", terms = [\"2026-11-22\"] }]\n"
            .to_owned();
        for category in CATEGORIES.iter().chain(&PROTECTED) {
            let members: &[String] = if *category == "set" { &self.members } else { &[] };
            put(&mut text, "category", &format!("id = {category:?}\nincludes = {members:?}"));
            text.push_str("title = \"\"\ncovers = \"\"\n");
        }
        for (table, names) in [("allow", &self.allow), ("block", &self.block)] {
            for name in names {
                put(&mut text, table, &format!("name = {name:?}\nreason = \"x\""));
            }
        }
        for Exception { name, groups, from, until } in &self.exceptions {
            let groups: Vec<_> = groups.iter().map(|group| format!("g{group}")).collect();
            let rest = format!("groups = {groups:?}\nowner = \"x\"\nreason = \"x\"");
            put(&mut text, "exception", &format!("name = {name:?}\n{rest}"));
            let mut date = |key, day: i8| writeln!(text, "{key} = \"2026-11-{}\"", 23 + day);
            from.map_or(Ok(()), |from| date("from", from)).expect("a string takes all");
            date("until", *until).expect("a string takes all");
        }
        for (number, group) in self.groups.iter().enumerate() {
            let prefixes =
                group.prefixes.iter().map(|(network, length)| format!("{network}/{length}"));
            let prefixes: Vec<_> = prefixes.collect();
            put(&mut text, "group", &format!("name = \"g{number}\"\nprefixes = {prefixes:?}"));
            put_rules(&mut text, &group.says);
            for (is_on, rules) in &group.during {
                let schedule = if *is_on { "on" } else { "off" };
                put(&mut text, "group.during", &format!("schedule = {schedule:?}"));
                put_rules(&mut text, rules);
            }
        }
        text
    }

    /// A name to ask for: listed, above, beside or under what is, in another spelling, or any; or a port, or an address.
    pub(super) fn question(&self, random: &mut Random) -> String {
        let mut asked = match random.below(9) {
            0 => return PORTS[random.below(PORTS.len())].to_owned(),
            8 => return near(random).to_string(),
            1 | 2 => name(random),
            3 => last_labels(SPINE, 14 + random.below(6)),
            _ => {
                let list = &self.lists[random.below(self.lists.len())];
                let names: Vec<_> = list.names.iter().filter(|name| !name.contains('/')).collect();
                names
                    .get(random.below(names.len().max(1)))
                    .map_or_else(String::new, ToString::to_string)
            }
        };
        if asked.is_empty() {
            asked = name(random);
        }
        for _ in 0..random.below(3) {
            match random.below(4) {
                0 | 1 => asked = format!("{}.{asked}", pick(random, &LABELS)),
                2 => asked = format!("z{asked}"),
                _ => {
                    let above = asked.split_once('.').map(|(_, above)| above.to_owned());
                    asked = above.unwrap_or(asked);
                }
            }
        }
        if random.below(4) == 0 { asked.to_ascii_uppercase() } else { asked }
    }

    /// A device in a prefix, beside one, or anywhere.
    pub(super) fn device(&self, random: &mut Random) -> IpAddr {
        let prefixes: Vec<_> = self.groups.iter().flat_map(|group| &group.prefixes).collect();
        let number = random.below(prefixes.len() + 2);
        let Some((network, _)) = prefixes.get(number) else { return address(random) };
        match network {
            IpAddr::V4(network) => {
                Ipv4Addr::from_bits(network.to_bits() ^ 1 << random.below(20)).into()
            }
            IpAddr::V6(network) => {
                Ipv6Addr::from_bits(network.to_bits() ^ 1 << random.below(90)).into()
            }
        }
    }

    fn add_list(&mut self, random: &mut Random, id: String, kind: Kind, most: usize) {
        let mut names = names(random, most);
        if matches!(kind, Kind::Of(_)) && random.below(2) == 0 {
            names.push(pick(random, &PORTS));
        }
        if kind != Kind::Locked && random.below(2) == 0 {
            names.push(pick(random, &PREFIXES));
        }
        names.push(name(random));
        self.lists.push(List { id, kind, names });
    }

    fn group(&self, random: &mut Random) -> Group {
        let during = (0..random.below(3)).map(|_| (random.below(3) > 0, rules(random, 4)));
        let mut group =
            Group { during: during.collect(), says: rules(random, 3), prefixes: vec![] };
        group.during.retain(|(_, rules)| !rules.is_empty());
        for _ in 0..random.below(4) {
            let prefix = match address(random) {
                IpAddr::V4(address) => {
                    let length = LENGTHS4[random.below(LENGTHS4.len())];
                    let mask = u32::MAX << (32 - length);
                    (Ipv4Addr::from_bits(address.to_bits() & mask).into(), length)
                }
                IpAddr::V6(address) => {
                    let length = LENGTHS6[random.below(LENGTHS6.len())];
                    let mask = u128::MAX << (128 - length);
                    (Ipv6Addr::from_bits(address.to_bits() & mask).into(), length)
                }
            };
            let is_taken = |other: &Group| other.prefixes.contains(&prefix);
            if !self.groups.iter().any(is_taken) && !is_taken(&group) {
                group.prefixes.push(prefix);
            }
        }
        group
    }

    fn add_exception(&mut self, random: &mut Random) {
        let name = match random.below(8) {
            0 => pick(random, &PORTS),
            1 => pick(random, &PREFIXES),
            _ => name(random),
        };
        // What records say of it there depends on more than is written.
        if self.is_protected(&name) {
            return;
        }
        let groups = (0..self.groups.len()).filter(|_| random.below(2) == 0).collect::<Vec<_>>();
        let (from, until) =
            [(None, 5), (Some(-3), 0), (Some(0), 5), (Some(1), 5), (None, -1)][random.below(5)];
        if !groups.is_empty() {
            self.exceptions.push(Exception { name, groups, from, until });
        }
    }

    fn is_protected(&self, name: &str) -> bool {
        let mut lists = self.lists.iter().filter(|list| matches!(list.kind, Kind::Protected(_)));
        lists.any(|list| list.names.iter().any(|above| is_under(name, above)))
    }

    /// A policy that locks what is listed and protected would be refused.
    fn unlock_protected(&mut self) {
        let (locked, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lists).into_iter().partition(|list| list.kind == Kind::Locked);
        self.lists = others;
        let exceptions = self.exceptions.iter().map(|exception| &exception.name);
        let listed = self.lists.iter().flat_map(|list| &list.names).chain(&self.allow);
        let listed = listed.chain(&self.block).chain(exceptions);
        let protected: Vec<String> =
            listed.filter(|name| self.is_protected(name)).cloned().collect();
        for mut list in locked {
            list.names.retain(|lock| !protected.iter().any(|name| is_under(name, lock)));
            if !list.names.is_empty() {
                self.lists.push(list);
            }
        }
    }
}

fn is_under(name: &str, above: &str) -> bool {
    if let (Some((network, length)), Some((over, over_length))) = (prefix(name), prefix(above)) {
        return over_length <= length && is_in(network, over, over_length);
    }
    name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Network and length of a prefix.
pub(super) fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (network, length) = text.split_once('/')?;
    Some((network.parse().ok()?, length.parse().ok()?))
}

/// An address in a prefix, or beside one.
fn near(random: &mut Random) -> IpAddr {
    let (network, _) = prefix(PREFIXES[random.below(PREFIXES.len())]).expect("a prefix");
    match network {
        IpAddr::V4(network) => {
            Ipv4Addr::from_bits(network.to_bits() ^ 1 << random.below(17)).into()
        }
        IpAddr::V6(network) => {
            Ipv6Addr::from_bits(network.to_bits() ^ 1 << random.below(85)).into()
        }
    }
}

fn put(text: &mut String, table: &str, keys: &str) {
    writeln!(text, "[[{table}]]\n{keys}").expect("a string takes all");
}

fn put_rules(text: &mut String, rules: &Rules) {
    for says in Says::ALL {
        let ids: Vec<_> =
            rules.iter().filter(|(_, said)| *said == says).map(|(id, _)| id).collect();
        if !ids.is_empty() {
            writeln!(text, "{} = {ids:?}", says.key()).expect("a string takes all");
        }
    }
}

/// Says one of the first `kinds` things of some categories, and at times of what is in none.
fn rules(random: &mut Random, kinds: usize) -> Rules {
    let mut rules = Rules::new();
    for category in CATEGORIES {
        if random.below(2) == 0 {
            rules.push((category.to_owned(), Says::ALL[random.below(kinds)]));
        }
    }
    // Either names what is in no list: a table takes one of them.
    if let Some(names) = ["unlisted", "unlisted", "everything"].get(random.below(8)) {
        rules.push(((*names).to_owned(), Says::ALL[random.below(kinds)]));
    }
    rules
}

/// A name that others are above and below of.
fn name(random: &mut Random) -> String {
    if random.below(8) == 0 {
        return last_labels(SPINE, 12 + random.below(5));
    }
    let depth = if random.below(40) == 0 { 0 } else { 1 + random.below(4) };
    let top = pick(random, &TOPS);
    (0..depth).fold(top, |name, _| format!("{}.{name}", pick(random, &LABELS)))
}

fn names(random: &mut Random, most: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..random.below(most + 1)).map(|_| name(random)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn last_labels(name: &str, count: usize) -> String {
    let labels: Vec<&str> = name.split('.').collect();
    labels[labels.len().saturating_sub(count)..].join(".")
}

fn some(random: &mut Random, all: &[&str], least: usize) -> Vec<String> {
    let start = random.below(all.len());
    let count = least + random.below(2);
    all.iter().cycle().skip(start).take(count).map(ToString::to_string).collect()
}

fn pick(random: &mut Random, all: &[&str]) -> String {
    all[random.below(all.len())].to_owned()
}

/// One of few, so that prefixes nest.
fn address(random: &mut Random) -> IpAddr {
    let mut small = || random.below(3) as u8;
    if small() > 0 {
        Ipv4Addr::new(10, small(), small(), small()).into()
    } else {
        let [site, net, host] = [small(), small(), small()].map(u16::from);
        Ipv6Addr::new(0x2001, 0xdb8, site, net, 0, 0, 0, host).into()
    }
}
