//! `campus-sensor why`: the verdict for a name, and everything it rests on.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;

use super::table::write_json;
use crate::policy::{GroupId, Policy};
use crate::record::display_name;

/// Which name, for whom.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Name to explain
    pub name: String,
    /// Group to explain it for; the default group without it
    #[arg(long, conflicts_with = "device")]
    pub group: Option<String>,
    /// Device whose group to explain it for
    #[arg(long, value_name = "ADDRESS")]
    pub device: Option<IpAddr>,
}

/// Writes the explanation.
pub fn why(
    policy_file: &Path,
    args: &WhyArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let policy = Policy::load(policy_file)?;
    let group = group_of(&policy, args)?;
    let today = jiff::Zoned::now().date();
    let why = policy
        .why(&args.name, group, today)
        .with_context(|| display_name(&args.name).into_owned())?;
    if json {
        write_json(&why, out)?;
    } else {
        writeln!(out, "{why}")?;
    }
    Ok(())
}

fn group_of(policy: &Policy, args: &WhyArgs) -> anyhow::Result<GroupId> {
    match (&args.group, args.device) {
        (Some(name), _) => {
            let Some(group) = policy.group_named(name) else {
                let names: Vec<&str> = policy.groups().map(|(_, name, _, _)| name).collect();
                bail!("the policy has no group {name:?}; it has {}", names.join(", "))
            };
            Ok(group)
        }
        (None, Some(device)) => Ok(policy.group_of(device)),
        (None, None) => Ok(GroupId(0)),
    }
}
