//! What a bundle must not do, and what somebody has to answer for if it does.

use std::collections::HashSet;
use std::fmt;

use super::diff::{Counts, Diff};
use super::dry_run::DryRun;
use crate::config::Guard;
use crate::policy::Policy;
use crate::store::StoreError;

/// Names that no bundle may block: those that the shipped policy protects.
const HELPLINES: &str = include_str!("../../../rules/lists/protected-helplines.txt");

/// Names that may come or go without a question: what somebody adds by hand in a day.
const FEW_NAMES: u64 = 100;

/// Flows that say something of a share: of ten, one is a tenth by chance.
const FEW_FLOWS: u64 = 100;

/// Findings that are told of names; the first says enough.
const TOLD_MAX: usize = 5;

/// What can be accepted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// Many more or fewer names.
    Growth,
    /// A notable share of what passed would be blocked.
    OverBlocking,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 2] = [Self::Growth, Self::OverBlocking];

    /// What it is called on the command line and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Growth => "growth",
            Self::OverBlocking => "over-blocking",
        }
    }

    /// The check of a name.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == text)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was found: the check, none where nothing helps, and what is the matter.
pub(super) type Finding = (Option<Check>, String);

/// Names that would be blocked at some time for some group, and never may be.
pub(super) fn never_blocked(guard: &Guard, policy: &Policy) -> Vec<Finding> {
    let built_in = HELPLINES.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let built_in = built_in.filter(|name| !name.is_empty());
    let names: HashSet<&str> =
        built_in.chain(guard.never_block.iter().map(String::as_str)).collect();
    let themselves = names.iter().map(|name| (*name, policy.categories_of(name)));
    let mut found: Vec<String> = themselves
        .chain(policy.listed_under(&names))
        .filter_map(|(name, categories)| {
            let group = policy.ever_blocked_by(categories)?;
            Some(format!("{name} may never be blocked, and group {group} would block it"))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(TOLD_MAX);
    found
        .into_iter()
        .map(|text| (None, format!("{text}: protect it, or write [[allow]]")))
        .collect()
}

/// Names in all and in each category that come or go beyond the limit.
pub(super) fn growth(guard: &Guard, diff: &Diff) -> Vec<Finding> {
    let max = u64::from(guard.growth_max_percent);
    let categories = diff.categories.iter();
    let categories = categories.map(|one| (format!("names of {}", one.category), one.counts));
    let all = [("names".to_owned(), diff.names)].into_iter().chain(categories);
    all.filter_map(|(what, Counts { before, after, .. })| {
        let by = before.abs_diff(after);
        if by <= FEW_NAMES || by.saturating_mul(100) <= before.saturating_mul(max) {
            return None;
        }
        let text = format!(
            "{what} go from {before} to {after}, which is more than {max} %: see `lists diff`, then --accept {}",
            Check::Growth
        );
        Some((Some(Check::Growth), text))
    })
    .collect()
}

/// Whether a notable share of what passed of late would be blocked.
pub(super) fn over_blocking(guard: &Guard, run: &Result<DryRun, StoreError>) -> Option<Finding> {
    let max = u64::from(guard.over_block_max_percent);
    let accept = format!("--accept {}", Check::OverBlocking);
    let text = match run {
        Err(error) => {
            format!("records cannot be read to try it on ({error}): mend that, or {accept}")
        }
        Ok(DryRun { days, passed, to_block, .. }) => {
            let blocked = to_block.flows;
            if *passed < FEW_FLOWS || blocked.saturating_mul(100) <= passed.saturating_mul(max) {
                return None;
            }
            format!(
                "of {passed} flows that passed in {days} days it would block {blocked}, which is more than {max} %: \
                see `lists diff`, then {accept}"
            )
        }
    };
    Some((Some(Check::OverBlocking), text))
}
