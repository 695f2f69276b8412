//! Why a name is judged as it is, for people: the entry that decided, where it is written, and the
//! entries it overruled.

use std::fmt;

use jiff::civil::Date;
use sensor_ebpf::abi::Verdict;
use sensor_ebpf::dns::CANARIES;
use sensor_ebpf::policy::decide;
use serde::Serialize;

use super::decide::Listed;
use super::name::{self, NameError};
use super::port::Port;
use super::subject::is_name;
use super::table::Row;
use super::{ALLOW_LIST, BLOCK_LIST, GroupId, Policy, prefix};

/// The explanation of one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The name, port or prefix asked for, canonical.
    pub name: String,
    /// The name of its [`Verdict`].
    pub verdict: &'static str,
    /// Group it was judged for.
    pub group: String,
    /// Version of the policy.
    pub policy: String,
    /// Ids of the schedules that are on.
    pub schedules_on: Vec<String>,
    /// Whether records leave the name out.
    pub unlogged: bool,
    /// Whether they do so for everybody: the name is on a protected list, or below one that is.
    pub is_protected: bool,
    /// Where DNS queries for the name ask for a canary: whether it is said not to exist.
    pub canary: Option<Canary>,
    /// Id of the list that locks the name; then nothing else is looked for.
    pub locked: Option<String>,
    /// The entry that decided; none if nothing above the name is listed.
    pub because: Option<Finding>,
    /// The entries above it, deepest first, and what they would have said.
    pub overruled: Vec<Finding>,
}

/// A name that devices look for to learn whether they may go round the network's resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Canary {
    /// The canary: the name itself, or one above it.
    pub name: &'static str,
    /// True where queries are answered that there is no such name, whatever the verdict of a hello is.
    pub denied: bool,
}

/// A listed name that covers the one asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The listed name.
    pub entry: String,
    /// Its labels, or bits of a prefix.
    pub depth: usize,
    /// The name of the [`Verdict`] it gives.
    pub says: &'static str,
    /// Its categories, those of a protected name above it included.
    pub categories: Vec<String>,
    /// The protected name that decides for it, if it is under one.
    pub protected_by: Option<String>,
    /// Where it is written, the deciding place first.
    pub witnesses: Vec<Witness>,
}

/// A line that lists a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// Id of the list.
    pub list: String,
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// What the list says of its names.
    pub categories: Vec<String>,
    /// The day of the list, ISO 8601.
    pub dated: Option<String>,
    /// Days from then to the day asked.
    pub age_days: Option<i32>,
    /// Where its names are from, by the comments above the line.
    pub source: Option<String>,
    /// What the author of a local rule said.
    pub reason: Option<String>,
}

impl Policy {
    /// Explains the verdict of a name, a port, an address or a prefix for a group; `today` is what the ages of lists count to.
    pub fn why(&self, name: &str, group: GroupId, today: Date) -> Result<Why, NameError> {
        let other = Port::canonical(name).or_else(|| prefix::canonical(name));
        let name = other.unwrap_or_else(|| name::canonical(name))?;
        if let Some(list) = self.locked.list_of(&name) {
            return Ok(self.why_locked(name.into_owned(), list, group));
        }
        let mut findings = self
            .covering(&name)
            .into_iter()
            .map(|listed| (listed, self.finding(listed, group, today)));
        let because = findings.next();
        let canary = self.canary(&name, group, because.as_ref().map(|(listed, _)| listed));
        let overruled = findings.map(|(_, finding)| finding).collect();
        let categories = because.as_ref().map_or(0, |(listed, _)| listed.entry.categories);
        let unlogged = self.leaves_out(group, categories);
        let is_protected = self.is_unlogged(categories);
        let because = because.map(|(_, finding)| finding);
        // A port or an address that is not listed is not judged.
        let verdict = if is_name(&name) { decide(0, &self.masks(group)) } else { Verdict::Allow };
        let unlisted = verdict.name();
        Ok(Why {
            verdict: because.as_ref().map_or(unlisted, |finding| finding.says),
            name: name.into_owned(),
            group: self.group_name(group).to_owned(),
            policy: self.version.clone(),
            schedules_on: owned(self.schedules_on()),
            unlogged,
            is_protected,
            canary,
            locked: None,
            because,
            overruled,
        })
    }

    fn why_locked(&self, name: String, list: u16, group: GroupId) -> Why {
        Why {
            verdict: Verdict::Block.name(),
            name,
            group: self.group_name(group).to_owned(),
            policy: self.version.clone(),
            schedules_on: owned(self.schedules_on()),
            unlogged: true,
            is_protected: false,
            canary: None,
            locked: Some(self.list_name(list).to_owned()),
            because: None,
            overruled: Vec::new(),
        }
    }

    /// The canary that a query for this name asks for. What is listed below it is another matter.
    fn canary(&self, name: &str, group: GroupId, because: Option<&Listed<'_>>) -> Option<Canary> {
        let covers = |canary: &&str| {
            name.strip_suffix(*canary).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let canary = CANARIES.into_iter().find(covers)?;
        if because.is_some_and(|listed| listed.depth > canary.split('.').count()) {
            return None;
        }
        let masks = self.masks(group);
        let allowed = because.is_some_and(|listed| listed.entry.categories & masks.allow != 0);
        Some(Canary { name: canary, denied: masks.dns.canaries != 0 && !allowed })
    }

    fn finding(&self, listed: Listed<'_>, group: GroupId, today: Date) -> Finding {
        let masks = self.masks(group);
        let categories = listed.entry.categories;
        let verdict = decide(categories, &masks);
        let deciding = match verdict {
            Verdict::Allow => masks.allow,
            Verdict::Block => masks.block,
            Verdict::Alert => masks.alert,
            Verdict::Undecided => 0,
        };
        let mut rows: Vec<&Row> = self.table.rows(listed.name).iter().collect();
        rows.sort_by_key(|row| self.mask_of(row) & deciding == 0);
        Finding {
            entry: listed.name.to_owned(),
            depth: listed.depth,
            says: verdict.name(),
            categories: owned(self.category_names(categories)),
            protected_by: self.protector(listed).map(str::to_owned),
            witnesses: rows.into_iter().map(|row| self.witness(listed.name, row, today)).collect(),
        }
    }

    /// The protected name above an entry that is not on a protected list itself.
    fn protector(&self, listed: Listed<'_>) -> Option<&str> {
        let is_protected =
            |name| self.table.rows(name).iter().any(|row| self.is_unlogged(self.mask_of(row)));
        if !self.is_unlogged(listed.entry.categories) || is_protected(listed.name) {
            return None;
        }
        let above = self.covering(listed.name).into_iter().map(|above| above.name);
        above.into_iter().find(|name| is_protected(name))
    }

    fn witness(&self, name: &str, row: &Row, today: Date) -> Witness {
        let list = self.lists.get(usize::from(row.list));
        let dated = list.and_then(|list| list.dated);
        Witness {
            list: self.list_name(row.list).to_owned(),
            file: list.map(|list| list.file.display().to_string()).unwrap_or_default(),
            line: row.line,
            categories: owned(self.category_names(self.mask_of(row))),
            dated: dated.map(|date| date.to_string()),
            age_days: list.and_then(|list| list.age_days(today)),
            source: list.and_then(|list| list.sources.of(row.line)).map(str::to_owned),
            reason: self.reason(row, name).map(str::to_owned),
        }
    }

    fn mask_of(&self, row: &Row) -> u64 {
        self.lists.get(usize::from(row.list)).map_or(0, |list| list.mask)
    }

    /// What the author of a local rule or exception said.
    fn reason(&self, row: &Row, name: &str) -> Option<&str> {
        let rules = match row.list {
            ALLOW_LIST => &self.allow,
            BLOCK_LIST => &self.block,
            _ => return self.exceptions.reason_at(row.line, name),
        };
        rules.iter().find(|rule| &*rule.name == name).map(|rule| &*rule.reason)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.verdict)?;
        writeln!(f, "  group      {}", self.group)?;
        writeln!(f, "  policy     {}", self.policy)?;
        if !self.schedules_on.is_empty() {
            writeln!(f, "  during     {}", self.schedules_on.join(", "))?;
        }
        match (&self.locked, &self.because) {
            (Some(list), _) => writeln!(
                f,
                "  because    it is locked by list {list}: blocked for everybody, whatever else is listed"
            )?,
            (None, Some(finding)) => finding.write(f, "because")?,
            (None, None) => {
                let rule = match self.verdict {
                    "block" => ": unlisted names are blocked here",
                    "alert" => ": unlisted names are told of here",
                    _ => "",
                };
                writeln!(f, "  because    neither it nor anything above it is listed{rule}")?;
            }
        }
        if let Some(Canary { name, denied }) = &self.canary {
            let answer = if *denied { "does not exist" } else { "is answered as any name" };
            writeln!(f, "  dns        {answer}: {name} is a canary")?;
        }
        if self.unlogged {
            let why = match (&self.locked, self.is_protected) {
                (Some(_), _) => "it is locked".to_owned(),
                (None, true) => "it is protected".to_owned(),
                (None, false) => format!("{} keeps no log of it", self.group),
            };
            writeln!(f, "  records    leave the name out: {why}")?;
        }
        for finding in &self.overruled {
            finding.write(f, "overruled")?;
        }
        Ok(())
    }
}

impl Finding {
    fn write(&self, f: &mut fmt::Formatter<'_>, role: &str) -> fmt::Result {
        let categories = self.categories.join(", ");
        writeln!(f, "  {role:<10} {}: {} ({categories})", self.entry, self.says)?;
        if let Some(name) = &self.protected_by {
            writeln!(f, "             protected by {name}")?;
        }
        for witness in &self.witnesses {
            writeln!(f, "             {witness}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.list, self.file, self.line)?;
        match (&self.dated, self.age_days) {
            (Some(date), Some(days)) => write!(f, ", of {date}, {days} days old")?,
            (Some(date), None) => write!(f, ", of {date}")?,
            (None, _) => {}
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        match &self.source {
            Some(source) => write!(f, "\n             source: {source}"),
            None => Ok(()),
        }
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::load;
    use super::*;

    const POLICY: &str = r#"version = "2026-01-31.1"
        default_group = "all"
        category = [
            { id = "drugs", title = "", covers = "" },
            { id = "piracy", title = "", covers = "" },
            { id = "help", title = "", covers = "" },
        ]
        list = [
            { id = "piracy", file = "piracy", categories = ["piracy"] },
            { id = "drugs", file = "drugs", categories = ["drugs"] },
            { id = "help", file = "help", categories = ["help"], protected = true },
        ]
        group = [{ name = "all", block = ["drugs"] }]
        allow = [{ name = "study.drugs.example", reason = "biology, asked for by Dr A" },
            { name = "mask-h2.icloud.com", reason = "relays are welcome" }]
    "#;

    fn check(name: &str, expected: &str) {
        let policy = load(&[
            ("policy.toml", POLICY),
            ("piracy", "# date: 2025-12-01\ndrugs.example"),
            ("drugs", "# date: 2026-01-28\n\ndrugs.example\n# source: ours\nforum.help.example\n"),
            ("help", "# date: 2026-01-31\nhelp.example"),
        ])
        .unwrap();
        let today = "2026-01-31".parse().unwrap();
        let why = policy.why(name, GroupId::default(), today).unwrap().to_string();
        let folder = policy.lists()[0].file.parent().unwrap().display().to_string();
        assert_eq!(why.replace(&format!("{folder}/"), ""), expected);
    }

    #[test]
    fn explanations_name_entry_list_and_line() {
        check(
            "Unlisted.example.",
            "unlisted.example: allow\n  \
               group      default\n  \
               policy     2026-01-31.1\n  \
               because    neither it nor anything above it is listed\n",
        );
        check(
            "www.drugs.example",
            "www.drugs.example: block\n  \
               group      default\n  \
               policy     2026-01-31.1\n  \
               because    drugs.example: block (drugs, piracy)\n             \
                          drugs drugs:3, of 2026-01-28, 3 days old\n             \
                          piracy piracy:2, of 2025-12-01, 61 days old\n",
        );
        check(
            "study.drugs.example",
            "study.drugs.example: allow\n  \
               group      default\n  \
               policy     2026-01-31.1\n  \
               because    study.drugs.example: allow (local-allow)\n             \
                          local-allow policy.toml:14: biology, asked for by Dr A\n  \
               overruled  drugs.example: block (drugs, piracy)\n             \
                          drugs drugs:3, of 2026-01-28, 3 days old\n             \
                          piracy piracy:2, of 2025-12-01, 61 days old\n",
        );
        check(
            "forum.help.example",
            "forum.help.example: allow\n  \
               group      default\n  \
               policy     2026-01-31.1\n  \
               because    forum.help.example: allow (drugs, help)\n             \
                          protected by help.example\n             \
                          drugs drugs:5, of 2026-01-28, 3 days old\n             \
                          source: ours\n  \
               records    leave the name out: it is protected\n  \
               overruled  help.example: allow (help)\n             \
                          help help:2, of 2026-01-31, 0 days old\n",
        );
    }

    #[test]
    fn canaries_are_told() {
        let head = |name: &str, because: &str, dns: &str| {
            let because = if because.is_empty() {
                "neither it nor anything above it is listed\n".to_owned()
            } else {
                because.to_owned()
            };
            format!(
                "{name}: allow\n  group      default\n  policy     2026-01-31.1\n  \
                 because    {because}{dns}"
            )
        };
        let denied = |canary| format!("  dns        does not exist: {canary} is a canary\n");
        let canary = "use-application-dns.net";
        check(canary, &head(canary, "", &denied(canary)));
        check("a.mask.icloud.com", &head("a.mask.icloud.com", "", &denied("mask.icloud.com")));
        check("notmask.icloud.com", &head("notmask.icloud.com", "", ""));
        let rule = "mask-h2.icloud.com: allow (local-allow)\n             \
                    local-allow policy.toml:15: relays are welcome\n";
        let dns = "  dns        is answered as any name: mask-h2.icloud.com is a canary\n";
        check("mask-h2.icloud.com", &head("mask-h2.icloud.com", rule, dns));
    }

    #[test]
    fn what_is_no_name_is_told_so() {
        let policy =
            load(&[("policy.toml", POLICY), ("piracy", ""), ("drugs", ""), ("help", "")]).unwrap();
        let today = "2026-01-31".parse().unwrap();
        let why = policy.why("192.0.2.1.", GroupId::default(), today);
        assert_eq!(why, Err(NameError::Address));
    }
}
