//! `[[group.during]]`: what a group's rules say of some categories while a schedule is on.

use sensor_ebpf::abi::GroupMasks;
use serde::Deserialize;
use toml::Spanned;

use super::error::{Fault, PolicyError};
use super::group::Rules;
use super::named::Named;
use super::schedule::Active;
use super::source::Source;

/// The table in a policy file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDuring {
    schedule: Spanned<String>,
    #[serde(default)]
    block: Vec<Spanned<String>>,
    #[serde(default)]
    alert: Vec<Spanned<String>>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    pass: Vec<Spanned<String>>,
}

impl RawDuring {
    pub(crate) fn blocks(&self) -> bool {
        !self.block.is_empty()
    }
}

/// What takes the place of a group's own masks while a schedule is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct During {
    schedule: usize,
    /// Categories it says something of; the others are as they are without it.
    named: u64,
    block: u64,
    alert: u64,
    allow: u64,
}

impl During {
    /// Checks a table of the group of this name.
    pub(crate) fn read(
        source: &Source,
        raw: &RawDuring,
        group: &str,
        rules: &Rules<'_>,
    ) -> Result<Self, PolicyError> {
        let schedule = rules.calendar.find(source, &raw.schedule)?;
        let mut named = Named::new(source, group, rules.categories, rules.protected);
        let block = named.mask(&raw.block)?;
        let alert = named.mask(&raw.alert)?;
        let allow = named.mask(&raw.allow)?;
        named.mask(&raw.pass)?;
        let named = named.all;
        if named == 0 {
            let (group, schedule) = (group.to_owned(), raw.schedule.get_ref().clone());
            return Err(source.fail(&raw.schedule.span(), Fault::NothingDuring { group, schedule }));
        }
        Ok(Self { schedule, named, block, alert, allow })
    }

    /// Categories it blocks while it is on.
    pub(crate) const fn block(&self) -> u64 {
        self.block
    }

    /// What is left of allowed categories where it may be on or not.
    pub(crate) const fn allowed_of(&self, allowed: u64) -> u64 {
        allowed & (self.allow | !self.named)
    }

    /// Categories it tells of while it is on.
    pub(crate) const fn alert(&self) -> u64 {
        self.alert
    }
}

/// Masks with what is on in place; of two that name a category, the one written later counts.
pub(crate) fn with(masks: GroupMasks, rules: &[During], active: Active) -> GroupMasks {
    let on = rules.iter().filter(|during| active.has(during.schedule));
    on.fold(masks, |masks, during| GroupMasks {
        block: masks.block & !during.named | during.block,
        alert: masks.alert & !during.named | during.alert,
        allow: masks.allow & !during.named | during.allow,
        ..masks
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_error, load};

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        time_zone = "Europe/London"
        category = [
            { id = "games", title = "", covers = "" },
            { id = "social", title = "", covers = "" },
            { id = "news", title = "", covers = "" },
            { id = "fun", title = "", covers = "", includes = ["games", "social"] },
        ]
        list = [
            { id = "games", file = "games", categories = ["games"] },
            { id = "social", file = "social", categories = ["social"] },
            { id = "news", file = "news", categories = ["news"] },
        ]
        schedule = [
            { id = "lessons", hours = ["09:00-16:00"] },
            { id = "lunch", hours = ["12:00-13:00"] },
            { id = "exam", terms = ["2026-11-24"] },
        ]

        [[group]]
        name = "student"
        block = ["games"]
        alert = ["news"]

        [[group.during]]
        schedule = "lessons"
        block = ["fun"]

        [[group.during]]
        schedule = "lunch"
        pass = ["social"]
        allow = ["games"]

        [[group.during]]
        schedule = "exam"
        block = ["fun", "news"]

        [[group]]
        name = "staff"
    "#;

    #[test]
    fn what_is_on_takes_the_place_of_the_groups_own_rules() {
        let lists =
            [("games", "games.example"), ("social", "social.example"), ("news", "news.example")];
        let mut policy = load(&[&[("policy.toml", POLICY)], &lists[..]].concat()).unwrap();
        let names = ["games.example", "social.example", "news.example", "other.example"];
        for (moment, expected) in [
            ("2026-11-23T08:00", ["block", "allow", "alert", "allow"]),
            ("2026-11-23T09:00", ["block", "block", "alert", "allow"]),
            ("2026-11-23T12:30", ["allow", "allow", "alert", "allow"]),
            ("2026-11-23T13:00", ["block", "block", "alert", "allow"]),
            ("2026-11-23T16:00", ["block", "allow", "alert", "allow"]),
            // Of two that name a category the later one counts.
            ("2026-11-24T12:30", ["block", "block", "block", "allow"]),
            ("2026-11-25T00:00", ["block", "allow", "alert", "allow"]),
        ] {
            policy.turn(policy.moment(moment).unwrap());
            for group in ["student", "default", "staff"] {
                let id = policy.group_named(group).unwrap();
                let found = names.map(|name| policy.decide(name, id).verdict.name());
                let expected = if group == "staff" { ["allow"; 4] } else { expected };
                assert_eq!(found, expected, "{group} at {moment}");
            }
        }
        policy.turn(policy.moment("2026-11-24T12:30").unwrap());
        let student = policy.group_named("student").unwrap();
        let why = policy.why("news.example", student, "2026-11-24".parse().unwrap()).unwrap();
        assert!(why.to_string().contains("  during     lessons, lunch, exam\n"), "{why}");
    }

    /// Pages and lists are made for whatever is blocked at some time.
    #[test]
    fn pages_are_there_before_a_schedule_is_on() {
        let lists = [("games", "x"), ("social", "y"), ("news", "z")];
        let policy = load(&[&[("policy.toml", POLICY)], &lists[..]].concat()).unwrap();
        let student = policy.group_named("student").unwrap();
        let pages = policy.block_pages();
        let of_student = pages.iter().filter(|(group, _, _)| *group == student).count();
        // Four categories, and what is blocked by hand.
        assert_eq!(of_student, 5);
    }

    #[test]
    fn faults_name_the_line_and_the_remedy() {
        let check = |during: &str, expected: &str| {
            let policy = format!(
                "time_zone = \"UTC\"\n\
                category = [{{ id = \"a\", title = \"\", covers = \"\" }}]\n\
                schedule = [{{ id = \"noon\" }}]\n\
                [[group]]\nname = \"staff\"\n[[group.during]]\n{during}"
            );
            check_error(&policy, expected);
        };
        check(
            "schedule = \"dawn\"\nblock = [\"a\"]",
            "policy.toml:9: there is no schedule `dawn`: declare it, or write one of noon",
        );
        check(
            "schedule = \"noon\"",
            "policy.toml:9: group `staff` names no category during `noon`: \
                name some in block, alert, allow or pass",
        );
        check(
            "schedule = \"noon\"\nblock = [\"a\"]\npass = [\"a\"]",
            "policy.toml:11: group `staff` names category `a` twice: keep it in one of block, alert, allow",
        );
    }
}
