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
    bench.args(run_by(options));
    if let Some(only) = &options.only {
        bench.arg("--only").arg(only);
    }
    if let Some(json) = &options.json {
        // cargo runs at the workspace's root: a path means the one it means to the caller.
        bench.arg("--json").arg(std::path::absolute(json)?);
    }
    cargo::succeed(&mut bench)
}

/// What cargo runs, and which bench.
fn run_by(options: &Options) -> Vec<&'static str> {
    // These are user space's, as it is shipped.
    let of_user_space = [
        (options.store, &["store"][..]),
        (options.rate, &["rate", "--live", "1000000"]),
        (options.spool, &["spool"]),
    ];
    let asked = of_user_space.into_iter().find(|(is_asked, _)| *is_asked);
    // The programs' code is in the kernel, and always optimised: the dev profile serves.
    let (profile, which) =
        asked.map_or((&[][..], &["bench"][..]), |(_, which)| (&["--release"], which));
    let package = &["--package", "sensor-benches", "--"];
    [&["run", "--quiet"], profile, package, which].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bench_is_run_by_its_name() {
        let none = Options { only: None, json: None, store: false, rate: false, spool: false };
        let programs = ["run", "--quiet", "--package", "sensor-benches", "--", "bench"];
        assert_eq!(run_by(&none), programs);
        let spool = ["run", "--quiet", "--release", "--package", "sensor-benches", "--", "spool"];
        assert_eq!(run_by(&Options { spool: true, ..none }), spool);
    }
}
