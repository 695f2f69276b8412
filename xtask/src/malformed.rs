//! Runs malformed captures through the loaded programs, by the test of the kernel suite that does so
//! where it is given some.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use sensor_lab::MALFORMED_VARIABLE;

use crate::cargo;
use crate::setup::{Need, ensure};

/// The test's path in the integration tests.
const TEST: &str = "kernel::malformed::";

#[derive(Args)]
pub(crate) struct Options {
    /// The captures: .pcap files.
    #[arg(value_name = "DIR")]
    captures: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    check(&options.captures)
}

pub(crate) fn check(captures: &Path) -> Result<()> {
    // The test runs in a directory of its own.
    let captures =
        captures.canonicalize().with_context(|| format!("find {}", captures.display()))?;
    let toolchain = ensure(Need::Build)?;
    let mut test = cargo::cargo(&toolchain);
    test.args(["test", "--quiet", "--workspace", "--test", "integration", "--", TEST]);
    // What the captures came to is worth a line when nothing fails, too.
    test.args(["--test-threads=1", "--nocapture"]);
    cargo::succeed(test.env(MALFORMED_VARIABLE, captures))
}
