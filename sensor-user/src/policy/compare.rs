//! A policy as a whole, for whoever compares two: every name, the names of a list, what is ever blocked.

use std::collections::HashSet;
use std::net::IpAddr;

use super::ends::Ends;
use super::name::suffixes;
use super::{GroupId, Policy};

impl Policy {
    /// Every listed name, port and prefix, in order, with its categories.
    pub fn listed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.table.iter().map(|(name, entry)| (name, entry.categories))
    }

    /// Every listed name that is one of some names, or under one, with its categories.
    pub fn listed_under<'a>(
        &'a self,
        names: &HashSet<&str>,
    ) -> impl Iterator<Item = (&'a str, u64)> {
        let ends = Ends::of(names.iter().copied());
        let is_under = move |(name, _): &(&str, u64)| {
            ends.may_cover(name) && suffixes(name).any(|suffix| names.contains(suffix))
        };
        self.listed().filter(is_under)
    }

    /// Names, ports and prefixes of the list of an index, in order, each once.
    pub fn names_of(&self, list: u16) -> impl Iterator<Item = &str> {
        self.table.names_of(list)
    }

    /// Categories of what decides for a canonical name; none where nothing above it is listed.
    pub fn categories_of(&self, name: &str) -> u64 {
        self.covering_first(name).map_or(0, |listed| listed.entry.categories)
    }

    /// A group that blocks names of these categories at some time. What an exception allows for a while, or a
    /// schedule at some hours, is blocked at others.
    pub fn ever_blocked_by(&self, categories: u64) -> Option<&str> {
        let mut groups = self.groups.iter().map(|(_, group)| group);
        groups.find(|group| group.ever_blocks(categories)).map(|group| &*group.name)
    }

    /// Whether flows are judged by where they go, beside their names.
    pub fn judges_ends(&self) -> bool {
        self.ports().next().is_some() || self.prefixes().next().is_some()
    }

    /// The group of a device that a record has in one of this name: by its address, and by the name where groups are told
    /// apart by more than that.
    pub fn group_recorded(&self, device: IpAddr, recorded: Option<&str>) -> GroupId {
        let by_more = self.members().next().is_some();
        let named = recorded.filter(|_| by_more).and_then(|name| self.group_named(name));
        named.unwrap_or_else(|| self.group_of(device))
    }

    /// Whether a name may be judged otherwise at another moment: by schedules or exceptions.
    pub fn is_timed(&self) -> bool {
        !self.calendar.is_empty() || self.exceptions.mask() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::load;

    #[test]
    fn what_is_allowed_at_times_is_blocked_at_others() {
        let policy = load(&[
            (
                "policy.toml",
                r#"
                version = "1"
                default_group = "student"
                time_zone = "Europe/London"
                category = [
                    { id = "games", title = "", covers = "" },
                    { id = "news", title = "", covers = "" },
                    { id = "vpn", title = "", covers = "" },
                    { id = "help", title = "", covers = "" },
                ]
                list = [
                    { id = "games", file = "games", categories = ["games"] },
                    { id = "news", file = "news", categories = ["news"] },
                    { id = "vpn", file = "vpn", categories = ["vpn"] },
                    { id = "help", file = "help", categories = ["help"], protected = true },
                ]
                schedule = [{ id = "lessons", days = ["mon-fri"] }]
                allow = [{ name = "a.games.example", reason = "x" }]
                exception = [{ name = "b.games.example", groups = ["student"], owner = "o", reason = "x",
                    until = "2999-01-01" }]
                [[group]]
                name = "student"
                block = ["games"]
                allow = ["news", "vpn"]
                [[group.during]]
                schedule = "lessons"
                block = ["news"]
                "#,
            ),
            ("games", "games.example\ntcp/1194\nb.games.example\n"),
            ("news", "news.example\nmixed.example\n"),
            ("vpn", "vpn.example\nmixed.example\nmixed.example\n"),
            ("help", "help.games.example\n"),
        ])
        .unwrap();
        let blocked = |name: &str| policy.ever_blocked_by(policy.categories_of(name));
        let cases = [
            ("www.games.example", Some("default")),
            ("b.games.example", Some("default")),
            ("a.games.example", None),
            ("help.games.example", None),
            ("news.example", Some("default")),
            // One category it always allows is enough.
            ("mixed.example", None),
            ("vpn.example", None),
            ("unlisted.example", None),
        ];
        for (name, expected) in cases {
            assert_eq!(blocked(name), expected, "{name}");
        }
        assert!(policy.is_timed());
        let vpn = policy.lists().iter().position(|list| list.id == "vpn").unwrap() as u16;
        assert_eq!(policy.names_of(vpn).collect::<Vec<_>>(), ["mixed.example", "vpn.example"]);
        assert!(policy.listed().any(|(name, _)| name == "tcp/1194"));
    }
}
