//! `campus-sensor reidentify`: whom pseudonyms stand for. Nothing is told before it is written down who asked.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use super::table::{self, Column};
use crate::config::{Config, Privacy};
use crate::daemon::IDENTITY_FILE;
use crate::identity::Journal;
use crate::privacy::audit::{Act, Line};
use crate::privacy::reidentify::{Candidates, pseudonym};
use crate::privacy::{Pseudonyms, is_pseudonym};
use crate::store;

/// Pseudonyms of one command.
const PSEUDONYMS_MAX: usize = 100;

/// Bytes of a reason or a requester: a sentence or two.
const REASON_BYTES_MAX: usize = 1024;

/// Whom to find.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  campus-sensor reidentify p-3f1c0a6e52d94b7780e1c6d2f5a9b304 --reason 'case 2026-17'
  campus-sensor reidentify 06:1f:52:9a:70:c3 --reason 'case 2026-17' --requester 'B. Jones, safeguarding'
  campus-sensor reidentify p-3f1c0a6e52d94b7780e1c6d2f5a9b304 --reason 'case 2026-17' --candidates everybody.txt

Tried are users, host names and MAC addresses that the identity journal knows, and those of --candidates.")]
pub(super) struct ReidentifyArgs {
    /// Pseudonyms of users, host names or MAC addresses, as records have them
    #[arg(required = true, value_name = "PSEUDONYM", value_parser = one)]
    pub pseudonyms: Vec<String>,
    /// What for; it is noted
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub reason: String,
    /// On whose behalf; it is noted
    #[arg(long, value_name = "NAME", value_parser = said)]
    pub requester: Option<String>,
    /// A file of names to try too, one a line: users, host names, MAC addresses
    #[arg(long, value_name = "FILE")]
    pub candidates: Option<PathBuf>,
}

fn one(text: &str) -> Result<String, &'static str> {
    pseudonym(text).ok_or("not a pseudonym; give p- and 32 digits, or the MAC address of a record")
}

fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("say it in 1 to {REASON_BYTES_MAX} bytes on one line"));
    }
    Ok(text.to_owned())
}

/// What turns names that are asked for into what records have, where they have pseudonyms. It is noted who asks.
pub(super) fn look_up(
    privacy: &Privacy,
    asked: &[String],
    reason: Option<&str>,
) -> anyhow::Result<Option<Pseudonyms>> {
    // Who asks for a pseudonym learns nothing by it.
    if asked.iter().all(|name| is_pseudonym(name)) {
        return Ok(None);
    }
    let pseudonyms = Pseudonyms::read(privacy.pseudonyms, &privacy.key_file)
        .context("records have pseudonyms, and a name is found with their key alone")?;
    if pseudonyms.is_some() {
        Line { reason, ..Line::new(Act::LookUp, asked) }.write(&privacy.audit_file)?;
    }
    Ok(pseudonyms)
}

/// Writes whom pseudonyms stand for.
pub(super) fn show(
    config: &Config,
    args: &ReidentifyArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Privacy { pseudonyms, key_file, audit_file } = &config.privacy;
    if args.pseudonyms.len() > PSEUDONYMS_MAX {
        bail!("more than {PSEUDONYMS_MAX} pseudonyms; ask for those the case is about");
    }
    let Some(pseudonyms) = Pseudonyms::read(*pseudonyms, key_file)? else {
        bail!("privacy.pseudonyms is \"off\": set it as it was when the records were made");
    };
    let journal = config.store.dir.join(IDENTITY_FILE);
    let mut candidates = Candidates::default();
    let now_us = jiff::Timestamp::now().as_microsecond();
    for fact in Journal::facts(&journal, now_us)? {
        candidates.add_fact(&fact);
    }
    if let Some(path) = &args.candidates {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{}: read the names to try", path.display()))?;
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            if !candidates.add(line) {
                bail!("{}:{number}: neither a name nor a MAC address; correct it", path.display());
            }
        }
    }
    let days = store::days(&config.store.dir)?;
    let matches = candidates.behind(&pseudonyms, &args.pseudonyms, &days);
    let answer = serde_json::to_string(&matches)?;
    let line = Line {
        requester: args.requester.as_deref(),
        reason: Some(&args.reason),
        answer: Some(pseudonyms.digest(&answer)),
        ..Line::new(Act::Reidentify, &args.pseudonyms)
    };
    line.write(audit_file)?;
    if json {
        for one in &matches {
            table::write_json(one, out)?;
        }
    } else if !matches.is_empty() {
        let columns = [
            Column::Word("pseudonym"),
            Column::Word("of a"),
            Column::Text("stands for", 20),
            Column::Word("on"),
        ];
        let rows = matches.iter().map(|one| {
            let day = one.day.map_or_else(|| "every day".to_owned(), |day| day.to_string());
            vec![one.pseudonym.clone(), one.kind.name().to_owned(), one.name.clone(), day]
        });
        table::write_table(&columns, rows, out)?;
    }
    let found: BTreeSet<&str> = matches.iter().map(|one| one.pseudonym.as_str()).collect();
    let missing = args.pseudonyms.iter().filter(|one| !found.contains(one.as_str())).count();
    if missing > 0 {
        out.flush()?;
        bail!(
            "{missing} of {} stand for nobody of {} names tried; try all names of the campus by --candidates, and see that \
             the key is that of their time",
            args.pseudonyms.len(),
            candidates.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
