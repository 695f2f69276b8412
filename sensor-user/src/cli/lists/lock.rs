//! `campus-sensor lists lock`: a list of names to the list of hashes that a locked list is.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::inspect::format;
use crate::cli::table::write_json;
use crate::hex::hex;
use crate::lists::{self, Entry, Format, Selection, Taken};
use crate::progress;

/// What to lock.
#[derive(Debug, Args)]
#[command(after_help = "\
A policy takes the result as

  [[list]]
  id = \"watch\"
  file = \"watch.sha256\"
  format = \"sha256-hex\"
  locked = true

Remove the list of names afterwards, and keep it nowhere near a gateway.")]
pub struct LockArgs {
    /// The list of names
    pub file: PathBuf,
    /// Its format, as in the policy; guessed from the list's beginning without it
    #[arg(long, value_parser = format)]
    pub format: Option<Format>,
    /// File to write the hashes to; nothing is written over
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Writes the hash of every name, in the order of hashes: it says nothing of the order of names.
pub(super) fn lock(args: &LockArgs, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let LockArgs { file, format, out: to } = args;
    let format = match *format {
        Some(format) => Some(format),
        None => lists::guess(file)?,
    };
    let format = format.with_context(|| {
        format!("{}: looks like no format that is known: give one by --format", file.display())
    })?;
    let mut hashes = BTreeSet::new();
    let mut is_locked = false;
    let selection = Selection { path: file, format, member: None };
    let report = lists::import(selection, &mut |entry, _| {
        match entry {
            Entry::Name(name) => {
                hashes.insert(hex(Sha256::digest(name)));
            }
            Entry::Hash(_) => is_locked = true,
            Entry::Prefix(_) => {}
        }
        ControlFlow::Continue(Taken::No)
    })?;
    progress::clear();
    report.check()?;
    if is_locked {
        bail!("{}: is a list of hashes already", file.display());
    }
    let text: String = hashes.iter().flat_map(|hash| [hash.as_str(), "\n"]).collect();
    let mut locked =
        fs::File::create_new(to).with_context(|| format!("create {}", to.display()))?;
    locked.write_all(text.as_bytes()).with_context(|| format!("write {}", to.display()))?;
    if json {
        return Ok(write_json(&json!({ "names": hashes.len(), "report": report }), out)?);
    }
    write!(out, "{report}")?;
    writeln!(out, "{} hashes in {}", hashes.len(), to.display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::GroupId;
    use crate::policy::Policy;

    #[test]
    fn a_policy_takes_what_was_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(
            path("names"),
            "0.0.0.0 Bad.example worse.example\n0.0.0.0 bad.example\n0.0.0.0 co.uk\n",
        )
        .unwrap();
        let args = LockArgs { file: path("names"), format: None, out: path("watch.sha256") };
        let mut said = Vec::new();
        lock(&args, false, &mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("\n2 hashes in "), "{said}");
        let hashes = fs::read_to_string(path("watch.sha256")).unwrap();
        assert_eq!(hashes.lines().count(), 2);
        assert!(hashes.lines().is_sorted() && !hashes.contains("example"), "{hashes}");
        fs::write(
            path("policy.toml"),
            "version = \"1\"\ndefault_group = \"all\"\n[[group]]\nname = \"all\"\n[[list]]\nid = \"watch\"\n\
             file = \"watch.sha256\"\nformat = \"sha256-hex\"\nlocked = true\n",
        )
        .unwrap();
        let policy = Policy::load(&path("policy.toml")).unwrap();
        let today = "2026-03-10".parse().unwrap();
        for (name, expected) in [("www.bad.example", "block"), ("good.example", "allow")] {
            let why = policy.why(name, GroupId::default(), today).unwrap();
            assert_eq!(why.verdict, expected, "{name}");
        }

        let refusal = lock(&args, false, &mut Vec::new()).unwrap_err();
        assert!(refusal.to_string().starts_with("create "), "{refusal}");
        let again = LockArgs { file: path("watch.sha256"), format: None, out: path("twice") };
        let refusal = lock(&again, false, &mut Vec::new()).unwrap_err();
        assert!(refusal.to_string().ends_with("is a list of hashes already"), "{refusal}");
        assert!(!path("twice").exists());
    }
}
