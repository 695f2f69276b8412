//! `[[exception]]`: a name that some groups may visit for a while, somebody answers for it, and a reason is given.
//!
//! A name and all under it stay in the categories they are in, so that records go on to say what was visited; a bit
//! beside those says that it is excepted, and masks of groups allow that bit while the exception lasts. Exceptions of
//! the same groups and days share one. Those that have run out take none: they stand in the file as what was granted.

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::category::Categories;
use super::error::{Fault, PolicyError, shown};
use super::group::{GroupId, Groups};
use super::name;
use super::source::Source;

/// Id of the bit, as a category and as a list.
pub(crate) const EXCEPTION_ID: &str = "exception";

/// The table in a policy file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawException {
    name: Spanned<String>,
    groups: Spanned<Vec<Spanned<String>>>,
    owner: Spanned<String>,
    reason: String,
    from: Option<Spanned<String>>,
    until: Spanned<String>,
}

/// An exception that holds now or will.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) name: Box<str>,
    pub(crate) reason: String,
    pub(crate) line: u32,
    /// Number of its window.
    pub(crate) window: u16,
}

/// Who may visit what is excepted under one bit, and on what days.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) bit: u64,
    /// Sorted.
    groups: Vec<GroupId>,
    from: Option<Date>,
    until: Date,
}

/// All exceptions of a policy that have not run out.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    pub(crate) granted: Vec<Exception>,
    pub(crate) windows: Vec<Window>,
    /// Lines and names of those that have run out.
    pub(crate) over: Vec<(u32, String)>,
}

impl Exceptions {
    /// Checks what a policy file declares, as of `today`.
    pub(crate) fn declare(
        source: &Source,
        raw: &[RawException],
        categories: &Categories,
        groups: &Groups,
        today: Date,
    ) -> Result<Self, PolicyError> {
        let mut exceptions = Self::default();
        for one in raw {
            let text = one.name.get_ref();
            let fail = |fault| source.fail(&one.name.span(), fault);
            let name = name::listed(text)
                .map_err(|error| fail(Fault::Name { text: shown(text), error }))?;
            if one.reason.trim().is_empty() {
                return Err(fail(Fault::NoReason(name.into_owned())));
            }
            if one.owner.get_ref().trim().is_empty() {
                return Err(source.fail(&one.owner.span(), Fault::NoOwner(name.into_owned())));
            }
            let from = one.from.as_ref().map(|from| date(source, from)).transpose()?;
            let until = date(source, &one.until)?;
            if from.is_some_and(|from| from > until) {
                return Err(
                    source.fail(&one.until.span(), Fault::EndsBeforeStart(name.into_owned()))
                );
            }
            let groups = groups_of(source, one, groups)?;
            let line = source.line(&one.name.span());
            if until < today {
                exceptions.over.push((line, name.into_owned()));
                continue;
            }
            let window = exceptions.window(groups, from, until, categories).map_err(fail)?;
            let owner = shown(one.owner.get_ref());
            let reason = format!("{} ({owner}, until {until})", one.reason);
            exceptions.granted.push(Exception { name: name.as_ref().into(), reason, line, window });
        }
        Ok(exceptions)
    }

    /// Number of the window of these groups and days.
    fn window(
        &mut self,
        groups: Vec<GroupId>,
        from: Option<Date>,
        until: Date,
        categories: &Categories,
    ) -> Result<u16, Fault> {
        let same =
            |window: &Window| (&window.groups, window.from, window.until) == (&groups, from, until);
        if let Some((number, _)) = (0..).zip(&self.windows).find(|(_, window)| same(window)) {
            return Ok(number);
        }
        let free = categories.free_bits();
        let Some((number, bit)) = (0..).zip(&free).nth(self.windows.len()) else {
            let remedy = "give exceptions of one purpose the same groups and dates";
            return Err(Fault::TooMany { what: "kinds of exceptions", max: free.len(), remedy });
        };
        self.windows.push(Window { bit: *bit, groups, from, until });
        Ok(number)
    }

    /// What was said of the exception in this line.
    pub(crate) fn reason_at(&self, line: u32, name: &str) -> Option<&str> {
        let is_it = |one: &&Exception| one.line == line && &*one.name == name;
        self.granted.iter().find(is_it).map(|one| &*one.reason)
    }

    /// Bits of all windows.
    pub(crate) fn mask(&self) -> u64 {
        self.windows.iter().fold(0, |mask, window| mask | window.bit)
    }

    /// Bits that a group may visit on a date.
    pub(crate) fn open_to(&self, group: GroupId, date: Date) -> u64 {
        let open = self.windows.iter().filter(|window| {
            let begun = window.from.is_none_or(|from| from <= date);
            begun && date <= window.until && window.groups.contains(&group)
        });
        open.fold(0, |mask, window| mask | window.bit)
    }
}

fn groups_of(
    source: &Source,
    raw: &RawException,
    groups: &Groups,
) -> Result<Vec<GroupId>, PolicyError> {
    let mut ids = Vec::new();
    for name in raw.groups.get_ref() {
        let Some(id) = groups.named(name.get_ref()) else {
            let (id, known) = (shown(name.get_ref()), groups.names().join(", "));
            return Err(source.fail(&name.span(), Fault::Unknown { what: "group", id, known }));
        };
        ids.push(id);
    }
    if ids.is_empty() {
        return Err(source.fail(&raw.groups.span(), Fault::NoGroup(shown(raw.name.get_ref()))));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn date(source: &Source, raw: &Spanned<String>) -> Result<Date, PolicyError> {
    const FORM: &str = "2026-12-18";
    let text = raw.get_ref();
    text.parse().map_err(|_other| {
        source.fail(&raw.span(), Fault::NoSpan { text: shown(text), what: "date", form: FORM })
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_fault as check, load};
    use super::super::{Policy, Warning};

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        time_zone = "Europe/London"
        category = [
            { id = "drugs", title = "", covers = "" },
            { id = "news", title = "", covers = "" },
            { id = "help", title = "", covers = "" },
        ]
        list = [
            { id = "drugs", file = "drugs", categories = ["drugs"] },
            { id = "news", file = "news", categories = ["news"] },
            { id = "help", file = "help", categories = ["help"], protected = true },
        ]
        block = [{ name = "local.example", reason = "x" }]
        group = [
            { name = "student", block = ["drugs", "news"] },
            { name = "class-7b", prefixes = ["10.7.0.0/16"], block = ["drugs", "news"] },
            { name = "staff", prefixes = ["10.8.0.0/16"], block = ["drugs"] },
        ]
        exception = [
            { name = "study.drugs.example", groups = ["class-7b"], owner = "a.smith", reason = "unit 4",
              from = "2026-11-23", until = "2026-12-18" },
            { name = "local.example", groups = ["class-7b", "staff"], owner = "b", reason = "x", until = "2026-11-30" },
            { name = "forum.drugs.example", groups = ["staff", "class-7b"], owner = "b", reason = "x", until = "2026-11-30" },
            { name = "free.example", groups = ["student"], owner = "b", reason = "x", until = "2026-11-30" },
            { name = "tcp/1194", groups = ["staff"], owner = "b", reason = "x", until = "2026-11-30" },
            { name = "past.drugs.example", groups = ["staff"], owner = "b", reason = "x", until = "2026-11-21" },
        ]
    "#;

    fn policy() -> Policy {
        let mut policy = load(&[
            ("policy.toml", POLICY),
            ("drugs", "drugs.example\nforum.drugs.example\nbad.study.drugs.example\ntcp/1194\n"),
            ("news", "bad.study.drugs.example\n"),
            ("help", "help.study.drugs.example\n"),
        ])
        .unwrap();
        policy.turn(policy.moment("2026-11-22T12:00").unwrap());
        policy
    }

    /// Verdicts for student, class-7b and staff, and the categories that records give.
    type Row = (&'static str, &'static str, [&'static str; 3], &'static str);

    const ROWS: &[Row] = &[
        // Before it begins, on its first day, on its last and behind it.
        ("2026-11-22T12:00", "study.drugs.example", ["block", "block", "block"], "drugs+exception"),
        ("2026-11-23T00:00", "study.drugs.example", ["block", "allow", "block"], "drugs+exception"),
        ("2026-12-18T23:59", "study.drugs.example", ["block", "allow", "block"], "drugs+exception"),
        ("2026-12-19T00:00", "study.drugs.example", ["block", "block", "block"], "drugs+exception"),
        // What is under it, listed by itself or not, goes with it; what is beside and above it does not.
        (
            "2026-11-24T12:00",
            "www.study.drugs.example",
            ["block", "allow", "block"],
            "drugs+exception",
        ),
        (
            "2026-11-24T12:00",
            "bad.study.drugs.example",
            ["block", "allow", "block"],
            "drugs+news+exception",
        ),
        ("2026-11-24T12:00", "drugs.example", ["block", "block", "block"], "drugs"),
        ("2026-11-24T12:00", "mystudy.drugs.example", ["block", "block", "block"], "drugs"),
        // A protected name stays one.
        (
            "2026-11-24T12:00",
            "help.study.drugs.example",
            ["allow", "allow", "allow"],
            "help+exception",
        ),
        // It beats a block by hand, and a list that has the very name.
        (
            "2026-11-24T12:00",
            "www.local.example",
            ["block", "allow", "allow"],
            "local-block+exception",
        ),
        ("2026-11-24T12:00", "forum.drugs.example", ["block", "allow", "allow"], "drugs+exception"),
        ("2026-12-01T12:00", "forum.drugs.example", ["block", "block", "block"], "drugs+exception"),
        // It takes nothing from what is free, and ports can be excepted too.
        ("2026-11-24T12:00", "free.example", ["allow", "allow", "allow"], "unlisted+exception"),
        ("2026-12-24T12:00", "free.example", ["allow", "allow", "allow"], "unlisted+exception"),
        ("2026-11-24T12:00", "tcp/1194", ["block", "block", "allow"], "drugs+exception"),
        // What has run out when the policy is loaded is as if it were not there.
        ("2026-11-24T12:00", "past.drugs.example", ["block", "block", "block"], "drugs"),
    ];

    #[test]
    fn exceptions_hold_for_their_groups_and_days() {
        let mut policy = policy();
        for (moment, name, expected, categories) in ROWS {
            policy.turn(policy.moment(moment).unwrap());
            let found = ["student", "class-7b", "staff"].map(|group| {
                policy.decide(name, policy.group_named(group).unwrap()).verdict.name()
            });
            assert_eq!(found, *expected, "{name} at {moment}");
            let decision = policy.decide(name, policy.group_named("default").unwrap());
            assert_eq!(decision.verdict.name(), expected[0], "{name} by default at {moment}");
            let mut found = policy.category_names(decision.categories());
            found.dedup();
            assert_eq!(found.join("+"), *categories, "{name}");
        }
    }

    #[test]
    fn records_go_on_to_say_what_was_visited_and_why_says_who_answers_for_it() {
        let mut policy = policy();
        policy.turn(policy.moment("2026-11-24T12:00").unwrap());
        let group = policy.group_named("class-7b").unwrap();
        let decision = policy.decide("www.study.drugs.example", group);
        assert_eq!(policy.list_name(decision.list()), "drugs");
        let why = policy.why("www.study.drugs.example", group, "2026-11-24".parse().unwrap());
        let why = why.unwrap().to_string();
        assert!(why.contains("because    study.drugs.example: allow (drugs, exception)"), "{why}");
        assert!(why.contains("unit 4 (a.smith, until 2026-12-18)"), "{why}");
        let over = Warning::ExceptionOver { name: "past.drugs.example".to_owned(), line: 28 };
        assert_eq!(policy.warnings().shown, [over]);
    }

    #[test]
    fn exceptions_of_one_kind_share_a_bit() {
        let policy = policy();
        let of = |name: &str| policy.table.get(name).unwrap().1.categories;
        let (local, forum) = (of("local.example"), of("forum.drugs.example"));
        assert_eq!((local & forum).count_ones(), 1);
        assert_eq!(of("study.drugs.example") & local & forum, 0);
    }

    #[test]
    fn faults_name_the_line_and_the_remedy() {
        let exception = |rest: &str| format!("[[exception]]\nname = \"a.example\"\n{rest}");
        let rest = "groups = [\"staff\"]\nowner = \"a\"\nreason = \"x\"\n";
        for (text, expected) in [
            (
                "groups = [\"pupils\"]\nowner = \"a\"\nreason = \"x\"\nuntil = \"2099-01-01\""
                    .to_owned(),
                "policy.toml:5: there is no group `pupils`: declare it, or write one of staff",
            ),
            (
                "groups = []\nowner = \"a\"\nreason = \"x\"\nuntil = \"2099-01-01\"".to_owned(),
                "policy.toml:5: the exception for `a.example` has no group: name those that may visit it",
            ),
            (
                "groups = [\"staff\"]\nowner = \" \"\nreason = \"x\"\nuntil = \"2099-01-01\""
                    .to_owned(),
                "policy.toml:6: the exception for `a.example` has no owner: say who answers for it",
            ),
            (
                "groups = [\"staff\"]\nowner = \"a\"\nreason = \"\"\nuntil = \"2099-01-01\""
                    .to_owned(),
                "policy.toml:4: `a.example` has no reason: say why, and who asked for it",
            ),
            (
                format!("{rest}until = \"soon\""),
                "policy.toml:8: `soon` is no date: write 2026-12-18",
            ),
            (
                format!("{rest}from = \"2099-01-02\"\nuntil = \"2099-01-01\""),
                "policy.toml:9: the exception for `a.example` ends before it begins: write a later date",
            ),
        ] {
            check(&exception(&text), expected);
        }
        let many: String = (0..63)
            .map(|day| exception(&format!("{rest}until = \"{}-01-01\"\n", 2100 + day)))
            .collect();
        check(
            &many,
            "policy.toml:364: more than 60 kinds of exceptions: \
                give exceptions of one purpose the same groups and dates",
        );
    }
}
