//! Every check, in the order in which failures are cheapest.

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sensor_lab::MALFORMED_VARIABLE;

use crate::setup::{self, Need, Toolchain};
use crate::{cargo, malformed, matrix, score, test, tidy, ui, verify};

const CORPUS_VARIABLE: &str = "CAMPUS_SENSOR_CORPUS";

#[derive(Args)]
pub(crate) struct Options {
    /// A corpus of captures to score; the environment's `CAMPUS_SENSOR_CORPUS` does as well.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Malformed captures to run; the environment's `CAMPUS_SENSOR_MALFORMED` does as well.
    #[arg(long, value_name = "DIR")]
    malformed: Option<PathBuf>,
}

type Check<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(options: &Options) -> Result<()> {
    let given = |option: &Option<PathBuf>, variable| {
        option.clone().or_else(|| env::var_os(variable).map(PathBuf::from))
    };
    let corpus = given(&options.corpus, CORPUS_VARIABLE);
    let malformed = given(&options.malformed, MALFORMED_VARIABLE);
    let start = Instant::now();
    let toolchain = setup::ensure(Need::BuildAndLab)?;
    let mut times = vec![("setup", start.elapsed())];
    let result =
        run_checks(&checks(&toolchain, corpus.as_deref(), malformed.as_deref()), &mut times);
    print_times(&times, start.elapsed());
    for (what, given, option, variable) in [
        ("score", &corpus, "--corpus", CORPUS_VARIABLE),
        ("malformed", &malformed, "--malformed", MALFORMED_VARIABLE),
    ] {
        if given.is_none() {
            ui::line(&format!("{what} was left out: give captures by {option} DIR or {variable}"));
        }
    }
    result
}

fn checks<'a>(
    toolchain: &'a Toolchain,
    corpus: Option<&'a Path>,
    malformed: Option<&'a Path>,
) -> Vec<Check<'a>> {
    let cargo = |args: &'static [&'static str]| Box::new(move || cargo::run(toolchain, args));
    let lints = &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-Dwarnings"];
    let mut checks: Vec<Check<'a>> = vec![
        ("fmt", cargo(&["fmt", "--all", "--check"])),
        ("tidy", Box::new(tidy::check)),
        ("clippy", cargo(lints)),
        ("doc", Box::new(|| document(toolchain))),
        ("test", Box::new(test)),
        ("verify", Box::new(verify::run)),
        ("matrix", Box::new(matrix::check)),
    ];
    if let Some(corpus) = corpus {
        checks.push(("score", Box::new(|| score::score(corpus, None, &[]))));
    }
    if let Some(captures) = malformed {
        checks.push(("malformed", Box::new(|| malformed::check(captures))));
    }
    checks
}

fn document(toolchain: &Toolchain) -> Result<()> {
    let mut doc = cargo::cargo(toolchain);
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    cargo::succeed(doc.env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn test() -> Result<()> {
    let faults = test::run_suites(&[], false)?;
    if !faults.is_empty() {
        bail!("{}", faults.join(", "));
    }
    Ok(())
}

/// Stops at the first failure: what comes later costs more.
fn run_checks(checks: &[Check<'_>], times: &mut Vec<(&'static str, Duration)>) -> Result<()> {
    for (name, check) in checks {
        ui::line(&ui::colour(&format!("ci: {name}"), ui::Colour::Bold));
        let start = Instant::now();
        let result = check();
        times.push((name, start.elapsed()));
        result.with_context(|| format!("ci stopped at {name}"))?;
    }
    Ok(())
}

fn print_times(times: &[(&str, Duration)], total: Duration) {
    let row = |name: &str, time| vec![name.to_owned(), ui::minutes(time)];
    let mut rows = vec![vec!["check".to_owned(), "minutes".to_owned()]];
    rows.extend(times.iter().map(|&(name, time)| row(name, time)));
    rows.push(row("all", total));
    ui::line(&ui::table(&rows));
}
