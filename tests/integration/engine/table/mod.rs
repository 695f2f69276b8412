//! The table: what is decided for a device and a name, row by row, as `rules/README.md` has it.
//!
//! Each theme has a policy and its rows. A row is `device name verdict list categories`, a name may be a port or an address; `*` where
//! the documents do not say, and host and program have to agree all the same. `@` begins rows of another moment.

mod addresses;
mod categories;
mod exceptions;
mod groups;
mod local;
mod locked;
mod nameless;
mod names;
mod ports;
mod protected;
mod schedules;
mod unlisted;

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_user::policy::{Decision, GroupId, Policy, Port};

use super::gateway::{Fate, Gateway, Told, Way, in_force};
use super::written::{List, Written};

/// What every policy of the table begins with.
const HEAD: &str = r#"
    version = "table"
    default_group = "student"
    time_zone = "Europe/London"
    category = [
        { id = "piracy", title = "", covers = "" },
        { id = "drugs", title = "", covers = "" },
        { id = "news", title = "", covers = "" },
        { id = "vpn", title = "", covers = "" },
        { id = "games", title = "", covers = "" },
        { id = "social", title = "", covers = "" },
        { id = "fun", title = "", covers = "", includes = ["games", "social"] },
        { id = "helplines", title = "", covers = "" },
    ]
"#;

/// Groups of themes that are not about groups.
const GROUPS: &str = r#"
    [[group]]
    name = "student"
    prefixes = ["10.20.0.0/16", "2001:db8:20::/48"]
    block = ["piracy", "drugs", "vpn"]
    alert = ["news"]

    [[group]]
    name = "staff"
    prefixes = ["10.30.0.0/16", "2001:db8:30::/48"]
    block = ["drugs"]
    alert = ["piracy"]
    allow = ["vpn"]

    [[group]]
    name = "free"
    prefixes = ["10.40.0.0/16"]
"#;

/// A device of each group; rows may have addresses as well.
const DEVICES: [(&str, &str); 6] = [
    ("student", "10.20.0.5"),
    ("student6", "2001:db8:20::5"),
    ("staff", "10.30.0.5"),
    ("staff6", "2001:db8:30::5"),
    ("free", "10.40.0.5"),
    ("stranger", "203.0.113.5"),
];

/// When rows are decided that do not say: a Monday in term.
const MOMENT: &str = "2026-11-23T12:00";

/// Rows about one thing, and the policy they are about.
struct Theme {
    title: &'static str,
    groups: &'static str,
    /// Other rules.
    rules: &'static str,
    /// As [`List::parse`] reads them.
    lists: &'static [&'static str],
    /// Each name is sent by all of these.
    ways: &'static [Way],
    rows: &'static str,
}

impl Theme {
    /// What most themes have.
    const COMMON: Self =
        Self { title: "", groups: GROUPS, rules: "", lists: &[], ways: &Way::ALL, rows: "" };

    fn written(&self) -> Result<Written> {
        let lists: Vec<List> = self.lists.iter().map(|list| List::parse(&expand(list))).collect();
        Written::new(&[HEAD, self.rules, self.groups].concat(), &lists)
    }

    /// The words of each row, with the moment it is about.
    fn rows(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut at = MOMENT;
        let mut rows = Vec::new();
        for line in self.rows.lines().map(str::trim) {
            if let Some(moment) = line.strip_prefix('@') {
                at = moment.trim();
            } else if !line.is_empty() && !line.starts_with('#') {
                rows.push((at, expand(line).split_whitespace().map(ToOwned::to_owned).collect()));
            }
        }
        rows
    }

    /// Goes through the rows; what is wrong with each is told together.
    fn check_with(
        &self,
        mut check: impl FnMut(&mut Gateway, &Policy, &[&str]) -> Result<()>,
    ) -> Result<()> {
        let written = self.written()?;
        let rows = self.rows();
        let mut moments = Vec::new();
        for rows in rows.chunk_by(|one, other| one.0 == other.0) {
            moments.push((written.load_at(moment(rows[0].0)?).context(self.title)?, rows));
        }
        // Those with the same rules one behind the other: a push takes longer than all else.
        moments.sort_by_cached_key(|(policy, _)| in_force(policy));
        let mut gateway = Gateway::new()?;
        let mut faults = Vec::new();
        for (policy, rows) in &moments {
            gateway.load(policy)?;
            for (at, row) in *rows {
                let words: Vec<&str> = row.iter().map(String::as_str).collect();
                if let Err(fault) = check(&mut gateway, policy, &words) {
                    faults.push(format!("at {at}: {}: {fault:#}", words.join(" ")));
                }
            }
        }
        assert!(faults.is_empty(), "{}:\n{}", self.title, faults.join("\n"));
        Ok(())
    }

    /// A policy that was loaded once and is turned to each moment decides as one that is loaded then.
    fn check_turned(&self) -> Result<()> {
        let mut rows = Vec::new();
        for (at, row) in self.rows() {
            rows.push((moment(at)?, row));
        }
        rows.sort_by_key(|(at, _)| *at);
        let mut policy = self.written()?.load_at(rows[0].0).context(self.title)?;
        for (at, row) in rows {
            policy.turn(at);
            let group = policy.group_of(device(&row[0])?);
            let verdict = decide(&policy, &row[1], group).verdict;
            assert_eq!(verdict.name(), row[2], "{}: {row:?} turned to {at}", self.title);
        }
        Ok(())
    }

    /// Checks rows of names and ports.
    fn check(&self) -> Result<()> {
        self.check_turned()?;
        self.check_with(|gateway, policy, row| {
            let &[from, name, verdict, list, categories] = row else {
                anyhow::bail!("a row has five columns");
            };
            let device = device(from)?;
            let group = policy.group_of(device);
            let decision = decide(policy, name, group);
            let said = [
                decision.verdict.name(),
                policy.list_name(decision.list()),
                &categories_of(policy, decision.categories()),
            ];
            for (said, expected) in said.iter().zip([verdict, list, categories]) {
                anyhow::ensure!(expected == "*" || *said == expected, "the host says {said:?}");
            }
            let by_host = Told {
                verdict: decision.verdict,
                categories: decision.categories(),
                list: decision.list(),
                group: group.0,
                reason: NoName::Named,
            };
            if let Some(port) = Port::parse(name) {
                let fate = gateway.open(device, port?)?;
                return check_end(&fate, Told { reason: NoName::ListedPort, ..by_host });
            }
            if let Ok(address) = name.parse() {
                let fate = gateway.reach(device, address)?;
                return check_end(&fate, Told { reason: NoName::ListedAddress, ..by_host });
            }
            for way in self.ways {
                let fate = gateway.ask(device, name, *way)?;
                let told = fate.told.with_context(|| format!("nothing is told by {way:?}"))?;
                anyhow::ensure!(told == by_host, "by {way:?} the program says {told:?}");
                let passes = decision.verdict != Verdict::Block;
                anyhow::ensure!(fate.passes == passes, "by {way:?} it passes: {}", fate.passes);
            }
            Ok(())
        })
    }
}

/// What the host decides of a name, a port or an address.
fn decide<'policy>(policy: &'policy Policy, asked: &str, group: GroupId) -> Decision<'policy> {
    let by_name = || policy.decide(asked, group);
    asked.parse().map_or_else(|_| by_name(), |address| policy.decide_address(address, group))
}

/// A port or an address that passes is told of by nobody.
fn check_end(fate: &Fate, by_host: Told) -> Result<()> {
    let expected = (by_host.verdict != Verdict::Allow).then_some(by_host);
    anyhow::ensure!(fate.told == expected, "the program says {:?}", fate.told);
    anyhow::ensure!(fate.passes == (by_host.verdict != Verdict::Block), "passes: {}", fate.passes);
    Ok(())
}

/// Ids of a mask, `-` of none.
fn categories_of(policy: &Policy, mask: u64) -> String {
    let names = policy.category_names(mask);
    if names.is_empty() { "-".to_owned() } else { names.join("+") }
}

fn device(text: &str) -> Result<IpAddr> {
    let known = DEVICES.iter().find(|(name, _)| *name == text);
    known.map_or(text, |(_, address)| address).parse().with_context(|| format!("device {text}"))
}

/// A moment, local to the policies' time zone where it has no offset.
fn moment(text: &str) -> Result<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let local: DateTime = text.parse()?;
    Ok(local.to_zoned(TimeZone::get("Europe/London")?)?.timestamp())
}

/// `{63}` stands for 63 letters.
fn expand(text: &str) -> String {
    let mut parts = text.split('{');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (count, rest) = part.split_once('}').expect("a brace is closed");
        expanded.push_str(&"x".repeat(count.parse().expect("a count")));
        expanded.push_str(rest);
    }
    expanded
}

#[test]
fn the_table_has_its_rows() {
    let themes = [
        addresses::THEMES,
        categories::THEMES,
        exceptions::THEMES,
        groups::THEMES,
        local::THEMES,
        locked::THEMES,
        nameless::THEMES,
        names::THEMES,
        ports::THEMES,
        protected::THEMES,
        schedules::THEMES,
        unlisted::THEMES,
    ];
    let themes = themes.concat();
    let rows: usize = themes.iter().map(|theme| theme.rows().len()).sum();
    assert!(rows >= 400, "{rows} rows");
    assert!(themes.iter().all(|theme| theme.rows().len() >= 4), "a theme has few rows");
}
