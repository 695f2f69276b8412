//! What the kernel programs cost: [`mod@bench`] measures ns per packet, [`verify`] holds the verifier's
//! figures against their budgets, [`mod@store`] asks the day store about a [`month`], [`mod@rate`] has flows end, [`mod@spool`]
//! puts records in the spool and takes them out.
//!
//! - [`frames`] and [`payloads`] make what is sent, [`scenarios`] say which path it must take;
//! - [`stand`] is the loaded sensor, [`measure`] times a path and proves that it was the one claimed;
//! - [`peer`] does in user space what a kernel stage does, [`names`] looks names up in lists of millions,
//!   [`flows`] has a million of them in a table;
//! - [`cpu`], [`statistics`], [`glob`] and [`table`] are the tools.

mod bench;
mod cpu;
mod flows;
mod frames;
mod glob;
mod measure;
mod month;
mod names;
mod payloads;
mod peer;
mod rate;
mod scenarios;
mod spool;
mod stack;
mod stand;
mod statistics;
mod store;
mod table;
mod verify;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the kernel programs.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure ns per packet.
    Bench(bench::Options),
    /// Measure the day store: records a second, and questions over a month.
    Store(store::Options),
    /// Measure the way from the kernel to the day store: flows that end, a second.
    Rate(rate::Options),
    /// Measure the spool: what a record costs that is put in and read.
    Spool(spool::Options),
    /// Check the programs against their budgets.
    Verify(verify::Options),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Store(options) => store::run(&options),
        Command::Rate(options) => rate::run(&options),
        Command::Spool(options) => spool::run(&options),
        Command::Verify(options) => verify::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error the exit code says it alone.
            let _unsaid = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
