//! Everything a developer or CI runs, one subcommand a file.
//!
//! `setup` finds or installs what the build needs and is part of every other command that needs it;
//! `ci` is all the checks in one go, the same on a developer's machine and elsewhere.

mod bench;
mod browsers;
mod cargo;
mod ci;
mod demo;
mod evaders;
mod http3;
mod malformed;
mod matrix;
mod python;
mod score;
mod setup;
mod test;
mod tidy;
mod ui;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows campus-sensor.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install the compiler for the kernel side and the programs of the lab.
    Setup,
    /// Watch the sensor work: real requests through a gateway of namespaces, some of them blocked.
    Demo(demo::Options),
    /// Run the tests: all suites this machine can run, or the ones named.
    Test(test::Options),
    /// Run the kernel suite and more on Debian's kernels 6.1 and 6.12, emulated, and on this one.
    Matrix(matrix::Options),
    /// Run every check there is, as CI does.
    Ci(ci::Options),
    /// Measure the programs, in ns per packet.
    Bench(bench::Options),
    /// Compare what the sensor reads from captured traffic with what is known to be in it.
    Score(score::Options),
    /// Run malformed captures through the loaded programs: nothing is lost without a reason; root.
    Malformed(malformed::Options),
    /// Check the programs against their budgets: instructions, stack, memory.
    Verify,
    /// Check what the compiler cannot: who may name what, file lengths, the ABI's version.
    Tidy(tidy::Options),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Task::Setup => setup::run(),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Matrix(options) => matrix::run(&options),
        Task::Ci(options) => ci::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Score(options) => score::run(&options),
        Task::Malformed(options) => malformed::run(&options),
        Task::Verify => verify::run(),
        Task::Tidy(options) => tidy::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<ui::AlreadySaid>() {
                ui::error(&format!("{error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// The workspace's directory: where cargo found this package, one up.
fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
