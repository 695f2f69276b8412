//! `campus-sensor lists inspect`: what of a list of another format can be enforced, and what is left out.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::cli::table::write_json;
use crate::lists::{self, Format, Report, Selection, Taken};
use crate::progress;

/// Which list, and how to read it.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The list; for format ut1 also a folder of categories, or a tar archive of it
    pub file: PathBuf,
    /// Its format, as in the policy; guessed from the list's beginning without it
    #[arg(long, value_parser = format)]
    pub format: Option<Format>,
    /// Category of a collection; only for format ut1
    #[arg(long)]
    pub member: Option<String>,
}

/// What JSON says: the report, and whether a policy would take the list.
#[derive(Serialize)]
struct Inspection<'a> {
    #[serde(flatten)]
    report: &'a Report,
    guessed: bool,
    /// Why a policy would refuse the list; null where it would take it.
    refused: Option<&'a str>,
}

/// A format by its name.
pub(super) fn format(text: &str) -> Result<Format, String> {
    Format::named(text).ok_or_else(|| format!("give one of {}", Format::names()))
}

/// Writes what becomes of every line of a list; fails where a policy would refuse it.
pub(super) fn inspect(args: &InspectArgs, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let InspectArgs { file, member, .. } = args;
    let format = match args.format {
        Some(format) => format,
        None => match lists::guess(file)? {
            Some(format) => format,
            None => bail!(
                "{}: looks like no format that is known: give one by --format, of {}",
                file.display(),
                Format::names(),
            ),
        },
    };
    let guessed = args.format.is_none();
    let selection = Selection { path: file, format, member: member.as_deref() };
    let report = lists::import(selection, &mut |_, _| ControlFlow::Continue(Taken::No))?;
    progress::clear();
    let check = report.check();
    if json {
        let refused = check.as_ref().err().map(ToString::to_string);
        let refused = refused.as_deref();
        write_json(&Inspection { report: &report, guessed, refused }, out)?;
    } else {
        let how = if guessed { "guessed" } else { "as given" };
        writeln!(out, "format {}, {how}\n", format.name())?;
        write!(out, "{report}")?;
    }
    out.flush()?;
    Ok(check?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::{InspectArgs, inspect};

    #[derive(Parser, Debug)]
    struct Command {
        #[command(flatten)]
        inspect: InspectArgs,
    }

    /// What is written of a list, and the error if there is one.
    fn run(text: &str, arguments: &[&str], json: bool) -> (String, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list.txt");
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let args = Command::try_parse_from(["inspect", file].iter().chain(arguments)).unwrap();
        let mut out = Vec::new();
        let error = inspect(&args.inspect, json, &mut out).err();
        let place = format!("{}/", folder.path().display());
        let shown = |text: String| text.replace(&place, "");
        (shown(String::from_utf8(out).unwrap()), error.map(|error| shown(error.to_string())))
    }

    #[test]
    fn a_report_accounts_for_every_line() {
        let list = "# hosts\n\n127.0.0.1 localhost\n0.0.0.0 a.example b.example\n\
            0.0.0.0 co.uk\n0.0.0.0 b\u{fc}cher.example\n192.0.2.7 printer.example\nnonsense\u{1b}[31m\n";
        let (said, error) = run(list, &[], false);
        assert_eq!(error, None);
        insta::assert_snapshot!(said);
        let (said, _) = run(list, &["--format", "hosts"], false);
        assert!(said.starts_with("format hosts, as given\n"), "{said}");
        let said: Value = serde_json::from_str(&run(list, &[], true).0).unwrap();
        assert_eq!(said["format"], "hosts");
        assert_eq!(said["total"]["name"], 3);
        assert_eq!(said["files"][0]["examples"][0]["reason"], "local-name");
        assert_eq!(said["refused"], Value::Null);
    }

    #[test]
    fn a_list_that_a_policy_refuses_is_told_and_fails() {
        let (said, error) =
            run("0.0.0.0 a.example\n0.0.0.0 b.example\n", &["--format", "domains"], true);
        let expected = "list.txt:1: 2 of 2 lines make no sense as domains, `0.0.0.0 a.example` is the \
            first: it looks like hosts, write format = \"hosts\"";
        assert_eq!(error.as_deref(), Some(expected));
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["refused"], expected);
        let (_, error) = run("<html>\n<p>Not found, sorry\n", &[], false);
        assert_eq!(
            error.as_deref(),
            Some(
                "list.txt: looks like no format that is known: give one by --format, of domains, \
                    hosts, dnsmasq, unbound, rpz, adblock, sha256-hex, csv, ut1"
            )
        );
    }
}
