//! Rules of this tree that neither the compiler nor clippy knows.
//!
//! Each rule is a function from the tree's files to complaints; a complaint says what to do.

mod abi;
mod code;
mod rules;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{ui, workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// Record the present ABI under its present version, after raising `ABI_VERSION`.
    #[arg(long)]
    record_abi: bool,
}

/// A file of the tree, by its path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceFile {
    path: String,
    text: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.record_abi {
        return record_abi(&workspace());
    }
    check()
}

pub(crate) fn check() -> Result<()> {
    let files = read_tree(&workspace())?;
    let complaints = complaints(&files);
    if !complaints.is_empty() {
        bail!("the tree is not tidy:\n  {}", complaints.join("\n  "));
    }
    ui::line(&format!("tidy: {} files keep the rules", files.len()));
    Ok(())
}

fn complaints(files: &[SourceFile]) -> Vec<String> {
    let rules = [
        rules::members_inherit_lints,
        rules::files_are_short,
        rules::nothing_is_left_open,
        rules::aya_is_named_in_its_place,
        abi::changes_raise_the_version,
    ];
    rules.iter().flat_map(|rule| rule(files)).collect()
}

fn record_abi(root: &Path) -> Result<()> {
    let files = read_tree(root)?;
    let record = abi::new_record(&files)?;
    fs::write(root.join(abi::RECORD), &record).with_context(|| format!("write {}", abi::RECORD))?;
    ui::line(&format!("recorded in {}: {}", abi::RECORD, record.trim().replace('\n', ", ")));
    Ok(())
}

/// Rust sources, manifests and the ABI's record; neither hidden nor built files.
fn read_tree(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("read {}", directory.display()))? {
            let entry = entry.context("read a directory entry")?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().context("read a file's type")?;
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && is_of_interest(&name) {
                files.push(SourceFile { path: relative(&path, root), text: read(&path)? });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn is_of_interest(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending == "rs" || name == "Cargo.toml" || abi::RECORD.ends_with(&format!("/{name}"))
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{complaints, read_tree};
    use crate::workspace;

    #[test]
    fn this_tree_keeps_the_rules() {
        let complaints = complaints(&read_tree(&workspace()).unwrap());
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}
