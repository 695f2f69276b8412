//! `campus-sensor lists import`: a policy and all its lists to a signed bundle.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::bundle::{Made, Order, Site, Unpacked, audit, key, make};
use crate::cli::table::{bytes, write_json};
use crate::config::Config;
use crate::progress;

/// The environment variable that has the password of a secret key, for programs.
pub(super) const PASSWORD_VARIABLE: &str = "CAMPUS_SENSOR_KEY_PASSWORD";

/// What to make a bundle of.
#[derive(Debug, Args)]
#[command(after_help = "\
CAMPUS_SENSOR_KEY_PASSWORD in the environment is the password of the secret key.

Examples:
  campus-sensor lists import rules/policy.toml --key campus.key --out 7.bundle --reason \"new term\" --number 7
  campus-sensor lists import rules/policy.toml --key campus.key --out 8.bundle --reason \"ticket 4711\" --after 7.bundle")]
pub struct ImportArgs {
    /// Policy file
    pub policy: PathBuf,
    /// Secret key, as `minisign -G` makes it; its password is asked for, or taken from the environment
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Bundle to write; its signature goes beside it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What for: the gateway's log has it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who answers for it; this account without it
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Its number, above all that were applied
    #[arg(long, value_name = "N", conflicts_with = "after")]
    pub number: Option<u64>,
    /// The bundle before it, whose number it has one more than
    #[arg(long, value_name = "BUNDLE")]
    pub after: Option<PathBuf>,
}

/// Makes the bundle and gives account of every list in it.
pub(super) fn import(
    config: &Path,
    args: &ImportArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (number, is_guessed) = number(config, args)?;
    let key = key::secret(&args.key, || match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) => Ok(password),
        Err(_) => rpassword::prompt_password("password of the secret key: "),
    })?;
    let author = args.author.clone().unwrap_or_else(audit::account);
    let order = Order { number, author: &author, reason: &args.reason, now: Timestamp::now() };
    let made = make(&args.policy, &args.out, &key, &order)?;
    progress::clear();
    if json {
        let lists = made
            .policy
            .lists()
            .iter()
            .map(|list| json!({ "list": list.id, "names": list.names, "report": list.report }));
        let lists: Vec<_> = lists.collect();
        let Made { manifest, sha256, bytes, .. } = &made;
        let said = json!({
            "manifest": manifest, "bytes": bytes, "sha256": sha256, "lists": lists,
            "warnings": made.policy.warnings().count,
        });
        return Ok(write_json(&said, out)?);
    }
    write(&made, &args.out, out)?;
    if is_guessed {
        writeln!(
            out,
            "no earlier bundle is known here: where there is one, give --number or --after"
        )?;
    }
    Ok(())
}

/// The number to give, and whether nothing was known to take it from.
fn number(config: &Path, args: &ImportArgs) -> anyhow::Result<(u64, bool)> {
    let before = match (args.number, &args.after) {
        (Some(number), _) => return Ok((number, false)),
        (None, Some(after)) => Some(Unpacked::open(after, None)?.manifest.number),
        // Where bundles are made, a sensor need not be.
        (None, None) => match Config::load(config) {
            Ok(config) => Site::of(&config.policy.dir).highest()?,
            Err(_) => None,
        },
    };
    let number = before.unwrap_or(0).checked_add(1).context("there is no number above that")?;
    Ok((number, before.is_none()))
}

fn write(made: &Made, path: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let Made { manifest, policy, bytes: size, sha256 } = made;
    for list in policy.lists() {
        match list.summary() {
            Some(summary) => writeln!(out, "list {}: {summary}", list.id)?,
            None if list.names > 0 => writeln!(out, "list {}: {} names", list.id, list.names)?,
            None => {}
        }
    }
    for warning in &policy.warnings().shown {
        writeln!(out, "warning: {warning}")?;
    }
    let (number, version) = (manifest.number, &manifest.policy);
    let (names, warnings) = (policy.entry_count(), policy.warnings().count);
    writeln!(out, "bundle {number}: policy {version}, {names} names, {warnings} warnings")?;
    writeln!(out, "{}: {}, sha256 {sha256}, signed", path.display(), bytes(*size))?;
    Ok(())
}
