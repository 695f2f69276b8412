//! What the kernel says of a name, said in user space: the reference it is compared with.
//!
//! The deepest listed suffix of the name decides alone. Of its categories one the group allows
//! beats one it blocks, and that beats one it is told of. Having no listed suffix is a category too. A name with a
//! suffix that is locked does not pass, whatever else is listed.

use std::net::IpAddr;

use ipnet::IpNet;
use sensor_ebpf::abi::{DomainEntry, LOCKED, Verdict};
use sensor_ebpf::policy::{decide, told_with};

use super::name::label_count;
use super::subject::{Subject, above, is_name};
use super::{GroupId, Policy};

/// A listed name that covers another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'policy> {
    /// The name, port or prefix.
    pub name: &'policy str,
    /// Its labels, or bits of a prefix.
    pub depth: usize,
    /// What is known of it.
    pub entry: DomainEntry,
}

/// What was decided for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'policy> {
    /// What happens to the flow.
    pub verdict: Verdict,
    /// The entry that decided, if any name above is listed and none is locked.
    pub listed: Option<Listed<'policy>>,
    /// The list that locks the name.
    pub locked: Option<u16>,
}

impl Decision<'_> {
    /// Categories of the entry that decided.
    pub fn categories(&self) -> u64 {
        if self.locked.is_some() {
            return LOCKED;
        }
        let listed = self.listed.map_or(0, |listed| listed.entry.categories);
        told_with(listed, self.verdict)
    }

    /// List of the entry that decided; 0 without one.
    pub fn list(&self) -> u16 {
        let listed = || self.listed.map_or(super::NO_LIST, |listed| listed.entry.list);
        self.locked.unwrap_or_else(listed)
    }
}

impl Policy {
    /// Decides a name as a packet carries it: case and one final dot are no difference.
    pub fn decide(&self, name: &str, group: GroupId) -> Decision<'_> {
        let lower = name.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let locked = self.locked.list_of(name);
        if locked.is_some() {
            return Decision { verdict: Verdict::Block, listed: None, locked };
        }
        let listed = self.covering_first(name);
        let masks = self.masks(group);
        let categories = listed.map_or(0, |listed| listed.entry.categories);
        // A port or an address that is not listed is not judged.
        let verdict = if categories == 0 && !is_name(name) {
            Verdict::Allow
        } else {
            decide(categories, &masks)
        };
        Decision { verdict, listed, locked: None }
    }

    /// Decides by the address that a flow goes to.
    pub fn decide_address(&self, address: IpAddr, group: GroupId) -> Decision<'_> {
        self.decide(&IpNet::from(address.to_canonical()).to_string(), group)
    }

    /// The entry that decides for a canonical name, port or prefix: the deepest that covers it.
    pub(crate) fn covering_first(&self, entry: &str) -> Option<Listed<'_>> {
        above(entry, |over| self.listed_as(over))
    }

    /// The entries that cover a canonical name, port or prefix, deepest first.
    pub(crate) fn covering(&self, entry: &str) -> Vec<Listed<'_>> {
        let mut covering = Vec::new();
        above(entry, |over| {
            covering.extend(self.listed_as(over));
            None::<()>
        });
        covering
    }

    fn listed_as(&self, entry: &str) -> Option<Listed<'_>> {
        let (name, entry) = self.table.get(entry)?;
        let depth = match Subject::of(name) {
            Subject::Name => label_count(name),
            Subject::Port(_) => 1,
            Subject::Prefix(network) => network.prefix_len().into(),
        };
        Some(Listed { name, depth, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::load;
    use super::*;

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        category = [
            { id = "drugs", title = "", covers = "" },
            { id = "piracy", title = "", covers = "" },
            { id = "news", title = "", covers = "" },
            { id = "vpn", title = "", covers = "" },
            { id = "help", title = "", covers = "" },
            { id = "set", title = "", covers = "", includes = ["drugs", "piracy"] },
        ]
        list = [
            { id = "drugs", file = "drugs", categories = ["drugs"] },
            { id = "piracy", file = "piracy", categories = ["piracy"] },
            { id = "news", file = "news", categories = ["news"] },
            { id = "vpn", file = "vpn", categories = ["vpn"] },
            { id = "help", file = "help", categories = ["help"], protected = true },
        ]
        allow = [
            { name = "study.drugs.example", reason = "x" },
            { name = "local.example", reason = "x" },
            { name = "piracy.test", reason = "x" },
            { name = "both.example", reason = "x" },
        ]
        block = [
            { name = "blocked.example", reason = "x" },
            { name = "games.local.example", reason = "x" },
            { name = "both.example", reason = "x" },
            { name = "drugs-help.test", reason = "x" },
            { name = "org", reason = "x" },
        ]

        [[group]]
        name = "student"
        block = ["set", "vpn"]
        alert = ["news"]

        [[group]]
        name = "staff"
        block = ["drugs"]
        alert = ["piracy"]
        allow = ["vpn"]
    "#;

    const LISTS: &[(&str, &str)] = &[
        ("policy.toml", POLICY),
        ("drugs", "drugs.example\nmixed.example\nvery.study.drugs.example\nbad.drugs-help.test"),
        ("piracy", "piracy.example\nmixed.example\npiracy.test\nb.a.piracy.test\nxn--4ca.example"),
        ("news", "news.example\nmixed.news.example\nuk\nvpn.news.example"),
        ("vpn", "vpn.example\nvpn.news.example"),
        ("help", "drugs-help.test\nhelp.drugs.example\nhelp.uk"),
    ];

    /// Name; then verdict, deciding entry and list for students; the same for staff.
    type Row = (&'static str, [&'static str; 3], [&'static str; 3]);

    const NONE: [&str; 3] = ["allow", "", "none"];

    const ROWS: &[Row] = &[
        // Not listed.
        ("unlisted.example", NONE, NONE),
        ("example", NONE, NONE),
        ("", NONE, NONE),
        (".", NONE, NONE),
        // The name itself and everything under it.
        ("drugs.example", ["block", "drugs.example", "drugs"], ["block", "drugs.example", "drugs"]),
        (
            "a.drugs.example",
            ["block", "drugs.example", "drugs"],
            ["block", "drugs.example", "drugs"],
        ),
        (
            "a.b.c.d.drugs.example",
            ["block", "drugs.example", "drugs"],
            ["block", "drugs.example", "drugs"],
        ),
        // Labels are whole.
        ("notdrugs.example", NONE, NONE),
        ("not-drugs.example", NONE, NONE),
        ("drugs.example.test", NONE, NONE),
        ("drugs.examples", NONE, NONE),
        ("rugs.example", NONE, NONE),
        ("ample", NONE, NONE),
        // Case and one final dot are no difference.
        ("DRUGS.Example", ["block", "drugs.example", "drugs"], ["block", "drugs.example", "drugs"]),
        (
            "drugs.example.",
            ["block", "drugs.example", "drugs"],
            ["block", "drugs.example", "drugs"],
        ),
        ("drugs.example..", NONE, NONE),
        // Groups differ.
        (
            "piracy.example",
            ["block", "piracy.example", "piracy"],
            ["alert", "piracy.example", "piracy"],
        ),
        ("vpn.example", ["block", "vpn.example", "vpn"], ["allow", "vpn.example", "vpn"]),
        ("news.example", ["alert", "news.example", "news"], ["allow", "news.example", "news"]),
        ("a.news.example", ["alert", "news.example", "news"], ["allow", "news.example", "news"]),
        // Several categories at one name: allow, then block, then alert.
        ("mixed.example", ["block", "mixed.example", "drugs"], ["block", "mixed.example", "drugs"]),
        (
            "w.mixed.example",
            ["block", "mixed.example", "drugs"],
            ["block", "mixed.example", "drugs"],
        ),
        (
            "vpn.news.example",
            ["block", "vpn.news.example", "vpn"],
            ["allow", "vpn.news.example", "vpn"],
        ),
        (
            "mixed.news.example",
            ["alert", "mixed.news.example", "news"],
            ["allow", "mixed.news.example", "news"],
        ),
        // A deeper entry decides alone, whichever way.
        (
            "study.drugs.example",
            ["allow", "study.drugs.example", "local-allow"],
            ["allow", "study.drugs.example", "local-allow"],
        ),
        (
            "my.study.drugs.example",
            ["allow", "study.drugs.example", "local-allow"],
            ["allow", "study.drugs.example", "local-allow"],
        ),
        (
            "very.study.drugs.example",
            ["block", "very.study.drugs.example", "drugs"],
            ["block", "very.study.drugs.example", "drugs"],
        ),
        (
            "so.very.study.drugs.example",
            ["block", "very.study.drugs.example", "drugs"],
            ["block", "very.study.drugs.example", "drugs"],
        ),
        (
            "games.local.example",
            ["block", "games.local.example", "local-block"],
            ["block", "games.local.example", "local-block"],
        ),
        (
            "local.example",
            ["allow", "local.example", "local-allow"],
            ["allow", "local.example", "local-allow"],
        ),
        (
            "b.a.piracy.test",
            ["block", "b.a.piracy.test", "piracy"],
            ["alert", "b.a.piracy.test", "piracy"],
        ),
        (
            "a.piracy.test",
            ["allow", "piracy.test", "local-allow"],
            ["allow", "piracy.test", "local-allow"],
        ),
        // Local rules: allow beats block and lists at one name.
        (
            "piracy.test",
            ["allow", "piracy.test", "local-allow"],
            ["allow", "piracy.test", "local-allow"],
        ),
        (
            "both.example",
            ["allow", "both.example", "local-allow"],
            ["allow", "both.example", "local-allow"],
        ),
        (
            "www.blocked.example",
            ["block", "blocked.example", "local-block"],
            ["block", "blocked.example", "local-block"],
        ),
        // A whole top-level domain.
        ("any.org", ["block", "org", "local-block"], ["block", "org", "local-block"]),
        ("a.uk", ["alert", "uk", "news"], ["allow", "uk", "news"]),
        // Protected names, and what is listed at and under them.
        ("help.uk", ["allow", "help.uk", "help"], ["allow", "help.uk", "help"]),
        ("www.help.uk", ["allow", "help.uk", "help"], ["allow", "help.uk", "help"]),
        (
            "drugs-help.test",
            ["allow", "drugs-help.test", "help"],
            ["allow", "drugs-help.test", "help"],
        ),
        (
            "bad.drugs-help.test",
            ["allow", "bad.drugs-help.test", "help"],
            ["allow", "bad.drugs-help.test", "help"],
        ),
        (
            "x.bad.drugs-help.test",
            ["allow", "bad.drugs-help.test", "help"],
            ["allow", "bad.drugs-help.test", "help"],
        ),
        (
            "help.drugs.example",
            ["allow", "help.drugs.example", "help"],
            ["allow", "help.drugs.example", "help"],
        ),
        (
            "nothelp.drugs.example",
            ["block", "drugs.example", "drugs"],
            ["block", "drugs.example", "drugs"],
        ),
        // Only the last 16 labels are looked up.
        (
            "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.drugs.example",
            ["block", "drugs.example", "drugs"],
            ["block", "drugs.example", "drugs"],
        ),
        // International names are compared in their ASCII form.
        (
            "xn--4ca.example",
            ["block", "xn--4ca.example", "piracy"],
            ["alert", "xn--4ca.example", "piracy"],
        ),
    ];

    #[test]
    fn the_table_of_decisions() {
        let policy = load(LISTS).unwrap();
        let check = |name: &str, group: &str, expected: [&str; 3]| {
            let decision = policy.decide(name, policy.group_named(group).unwrap());
            let entry = decision.listed.map_or("", |listed| listed.name);
            let found = [decision.verdict.name(), entry, policy.list_name(decision.list())];
            assert_eq!(found, expected, "{name:?} for {group}");
        };
        for (name, student, staff) in ROWS {
            check(name, "student", *student);
            check(name, "staff", *staff);
            check(name, "default", *student);
        }
    }

    #[test]
    fn only_protected_names_are_unlogged() {
        let policy = load(LISTS).unwrap();
        let group = GroupId::default();
        for (name, expected) in [
            ("www.help.uk", true),
            ("bad.drugs-help.test", true),
            ("a.uk", false),
            ("local.example", false),
            ("unlisted.example", false),
        ] {
            let categories = policy.decide(name, group).categories();
            assert_eq!(policy.is_unlogged(categories), expected, "{name}");
        }
    }

    #[test]
    fn a_group_of_another_policy_is_the_default_group() {
        let policy = load(LISTS).unwrap();
        assert_eq!(policy.decide("vpn.example", GroupId(99)).verdict, Verdict::Block);
        assert_eq!(policy.group_name(GroupId(99)), "unknown");
    }
}
