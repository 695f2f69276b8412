//! `campus-sensor lists apply` and `rollback`: a bundle into force, and the one before it again.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde_json::json;

use crate::bundle::{self, Ask, Check, KEPT, Outcome, Reload, Taken, audit};
use crate::cli::ask;
use crate::cli::table::write_json;
use crate::config::Config;
use crate::control::status::PolicyStatus;
use crate::progress;

/// What to put in force.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campus-sensor lists apply 7.bundle
  campus-sensor lists apply 8.bundle --accept growth --reason \"first list of games\"")]
pub struct ApplyArgs {
    /// The bundle; its signature lies beside it
    pub bundle: PathBuf,
    /// What the guard may find and let pass: growth, over-blocking; the log keeps it
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = check)]
    pub accept: Vec<Check>,
    /// Why it is put in force; the bundle's own reason without it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
}

/// What to put in force again.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Number of a bundle that is kept: the newest eight are, and `lists audit` shows them
    pub number: u64,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
}

// The help of `rollback` says eight.
const _: () = assert!(KEPT == 8);

/// A check by its name.
fn check(text: &str) -> Result<Check, String> {
    Check::named(text)
        .ok_or_else(|| format!("give one of {}", Check::ALL.map(Check::name).join(", ")))
}

/// Puts a bundle in force, and says who has it.
pub(super) fn apply(
    config: &Config,
    args: &ApplyArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let ApplyArgs { bundle, accept, reason, author } = args;
    let who = audit::account();
    let (reason, author) = (reason.as_deref(), author.as_deref());
    let asked = Ask { who: &who, author, reason, accept, now: Timestamp::now() };
    let outcome = bundle::apply(config, bundle, &asked, &mut || reload(config))?;
    write(&outcome, json, out)
}

/// Puts a kept bundle in force again.
pub(super) fn rollback(
    config: &Config,
    args: &RollbackArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let who = audit::account();
    let (reason, author) = (args.reason.as_deref(), args.author.as_deref());
    let asked = Ask { who: &who, author, reason, accept: &[], now: Timestamp::now() };
    let outcome = bundle::rollback(config, args.number, &asked, &mut || reload(config))?;
    write(&outcome, json, out)
}

/// Asks the daemon to read its policy again.
fn reload(config: &Config) -> Reload {
    match UnixStream::connect(&config.control.socket) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Reload::Absent;
        }
        // Why else it does not answer is told below.
        Ok(_) | Err(_) => {}
    }
    match ask::<PolicyStatus>(config, Method::POST, "/v1/policy/reload") {
        Ok(PolicyStatus { version, names, .. }) => Reload::Has { version, names },
        Err(error) => Reload::Refused(format!("{error:#}")),
    }
}

fn write(outcome: &Outcome, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    progress::clear();
    let Outcome { manifest, from, taken, accepted, removed } = outcome;
    let (taken, note) = match taken {
        Taken::InForce => ("in-force", String::new()),
        Taken::NextStart => ("next-start", "; no daemon runs, its next start takes it".to_owned()),
        Taken::Elsewhere(version) => (
            "next-start",
            format!("; the daemon reads another file, of policy {version}: start it anew"),
        ),
    };
    if json {
        let said = json!({
            "number": manifest.number, "policy": manifest.policy, "from": from, "taken": taken,
            "accepted": accepted, "removed": removed,
        });
        return Ok(write_json(&said, out)?);
    }
    let before = from.map(|from| format!(" after {from}")).unwrap_or_default();
    let (number, policy) = (manifest.number, &manifest.policy);
    writeln!(out, "bundle {number}{before}, policy {policy}, is current{note}")?;
    if !accepted.is_empty() {
        writeln!(out, "accepted: {}", accepted.join(", "))?;
    }
    Ok(())
}
