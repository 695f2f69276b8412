//! Replays a corpus of captures and scores the names found in it, by the corpus's own judge.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cargo;
use crate::setup::{Need, ensure};
use crate::ui::Steps;

#[derive(Args)]
pub(crate) struct Options {
    /// The corpus: pcaps/, truth.jsonl, split.json and score.py.
    #[arg(value_name = "DIR")]
    corpus: PathBuf,
    /// Which part of the corpus counts.
    #[arg(long, value_name = "S")]
    split: Option<String>,
    /// Passed on to score.py, such as `-- --need tls=0.99`.
    #[arg(last = true)]
    further: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let split = options.split.as_deref();
    score(&options.corpus, split, &options.further)
}

pub(crate) fn score(corpus: &Path, split: Option<&str>, further: &[String]) -> Result<()> {
    let toolchain = ensure(Need::Build)?;
    let captures = captures(&corpus.join("pcaps"))?;
    let mut steps = Steps::new(3);
    let step = steps.next("build campus-sensor");
    let sensor = cargo::build_sensor(&toolchain)?;
    step.done("built");

    let step = steps.next(&format!("replay {} captures", captures.len()));
    let rows = RowFile::new();
    let file = File::create(&rows.0).with_context(|| format!("make {}", rows.0.display()))?;
    cargo::succeed(Command::new(sensor).args(["replay", "--json"]).args(&captures).stdout(file))?;
    step.done("replayed");

    let step = steps.next("score the names found");
    let mut judge = Command::new("python3");
    judge.arg(corpus.join("score.py")).arg(&rows.0);
    judge.arg("--truth").arg(corpus.join("truth.jsonl"));
    judge.arg("--splitfile").arg(corpus.join("split.json"));
    if let Some(split) = split {
        judge.args(["--split", split]);
    }
    cargo::succeed(judge.args(further))?;
    step.done("scored");
    Ok(())
}

fn captures(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let mut captures: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    captures.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    captures.sort();
    if captures.is_empty() {
        bail!("{} holds no .pcap file", directory.display());
    }
    Ok(captures)
}

/// Removed when dropped.
struct RowFile(PathBuf);

impl RowFile {
    fn new() -> Self {
        let name = format!("campus-sensor-score-{}.jsonl", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for RowFile {
    fn drop(&mut self) {
        // It may never have been made.
        drop(fs::remove_file(&self.0));
    }
}
