//! `campus-sensor lists`: lists of other formats, and the bundles that policies are pushed in.

mod apply;
mod audit;
mod diff;
mod import;
mod inspect;
mod keys;
mod lock;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;

use clap::Subcommand;

use crate::config::Config;
use crate::progress;

/// What to do with lists.
#[derive(Debug, Subcommand)]
pub enum ListsCommand {
    /// Read a list as a policy would, and account for every line; no policy is needed
    Inspect(inspect::InspectArgs),
    /// Make a locked list of a list of names: its hashes
    Lock(lock::LockArgs),
    /// Make a signed bundle of a policy and all its lists
    Import(import::ImportArgs),
    /// Show what a bundle would change, and what it would have decided otherwise of late
    Diff(diff::DiffArgs),
    /// Put a bundle in force
    Apply(apply::ApplyArgs),
    /// Put a bundle in force again that was before
    Rollback(apply::RollbackArgs),
    /// Show who put what in force, and whether the log is whole
    Audit,
    /// Make a pair of keys to sign bundles with, as minisign does
    Keys(keys::KeysArgs),
}

/// Runs one of them. Only those that need the configuration fail without one.
pub fn lists(
    command: &ListsCommand,
    config: &Path,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if !json {
        progress::show();
    }
    let done = match command {
        ListsCommand::Inspect(args) => inspect::inspect(args, json, out),
        ListsCommand::Lock(args) => lock::lock(args, json, out),
        ListsCommand::Import(args) => import::import(config, args, json, out),
        ListsCommand::Diff(args) => diff::diff(&Config::load(config)?, args, json, out),
        ListsCommand::Apply(args) => apply::apply(&Config::load(config)?, args, json, out),
        ListsCommand::Rollback(args) => apply::rollback(&Config::load(config)?, args, json, out),
        ListsCommand::Audit => audit::audit(&Config::load(config)?, json, out),
        ListsCommand::Keys(args) => keys::keys(args, json, out),
    };
    progress::clear();
    done
}
