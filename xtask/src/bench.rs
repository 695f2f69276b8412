//! The benches, with the options people use most.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cargo;
use crate::setup::{Need, ensure};

#[derive(Args)]
pub(crate) struct Options {
    /// Only scenarios whose name matches.
    #[arg(long, value_name = "GLOB")]
    only: Option<String>,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The day store instead: records a second, and questions over a month.
    #[arg(long, conflicts_with_all = ["only", "json"])]
    store: bool,
    /// The way from the kernel to the day store instead: flows that end, a second, and memory.
    #[arg(long, conflicts_with_all = ["only", "json", "store"])]
    rate: bool,
    /// The spool instead: what a record costs that is put in and read, beside a plain file.
    #[arg(long, conflicts_with_all = ["only", "store"])]
    spool: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = ensure(Need::Build)?;
    let mut bench = cargo::cargo(&toolchain);
    // These are user space's, as it is shipped.
    let of_user_space = [
        (options.store, &["store"][..]),
        (options.rate, &["rate", "--live", "1000000"]),
        (options.spool, &["spool"]),
    ];
    if let Some((_, arguments)) = of_user_space.into_iter().find(|(is_asked, _)| *is_asked) {
        bench.args(["run", "--quiet", "--release", "--package", "sensor-benches", "--"]);
        bench.args(arguments);
    } else {
        // The measured code is in the kernel, and always optimised: the dev profile serves.
        bench.args(["run", "--quiet", "--package", "sensor-benches", "--", "bench"]);
    }
    if let Some(only) = &options.only {
        bench.arg("--only").arg(only);
    }
    if let Some(json) = &options.json {
        // cargo runs at the workspace's root: a path means the one it means to the caller.
        bench.arg("--json").arg(std::path::absolute(json)?);
    }
    cargo::succeed(&mut bench)
}
