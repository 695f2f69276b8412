//! cargo, with the toolchain of the kernel side made known to it.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::setup::{LINKER_VARIABLE, Toolchain};
use crate::ui::Step;
use crate::workspace;

pub(crate) const SENSOR: &str = "campus-sensor";
const SUITE: &str = "integration";

/// cargo at the workspace's root.
pub(crate) fn cargo(toolchain: &Toolchain) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).env(LINKER_VARIABLE, &toolchain.linker);
    cargo
}

/// Runs cargo with its output passed through.
pub(crate) fn run(toolchain: &Toolchain, args: &[&str]) -> Result<()> {
    succeed(cargo(toolchain).args(args))
}

/// Runs a command that must succeed, with its output passed through.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let name = words.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
    let what = format!("{name} {}", words.get(1..).unwrap_or_default().join(" "));
    let status = command.status().with_context(|| format!("start `{what}`"))?;
    if !status.success() {
        bail!("`{what}` failed with {status}");
    }
    Ok(())
}

/// Builds the daemon's binary; where it is. Unoptimised: its speed is in the kernel programs, which are
/// always optimised, and in the store, whose `SQLite` is too.
pub(crate) fn build_sensor(toolchain: &Toolchain) -> Result<PathBuf> {
    build(toolchain, &["build", "--quiet", "--package", "sensor-user", "--bin", SENSOR], SENSOR)
}

/// Builds the integration tests as their suites do; where the program is.
pub(crate) fn build_suite(toolchain: &Toolchain) -> Result<PathBuf> {
    let suite = ["test", "--quiet", "--workspace", "--test", SUITE, "--no-run"];
    build(toolchain, &suite, SUITE)
}

/// Builds by a cargo command; where the program of that name is.
fn build(toolchain: &Toolchain, args: &[&str], program: &str) -> Result<PathBuf> {
    let mut build = cargo(toolchain);
    build.args(args).arg("--message-format=json-render-diagnostics");
    let mut child = build.stdout(Stdio::piped()).spawn().context("start cargo")?;
    let output = child.stdout.take().context("cargo's output")?;
    let mut step = Step::quiet();
    let (mut count, mut found) = (0, None);
    for line in BufReader::new(output).lines() {
        let line = line.context("read cargo's messages")?;
        let Some(artifact) = artifact(&line) else { continue };
        count += 1;
        step.alive(&format!("{count} crates, {} last", artifact.name));
        if artifact.name == program {
            found = artifact.executable.or(found);
        }
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        bail!("building {program} failed: cargo's messages are above");
    }
    found.with_context(|| format!("cargo built no program {program}"))
}

struct Artifact {
    name: String,
    executable: Option<PathBuf>,
}

/// One of cargo's JSON messages, if it tells of something built.
fn artifact(line: &str) -> Option<Artifact> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" {
        return None;
    }
    let executable = message.get("executable").and_then(Value::as_str);
    Some(Artifact {
        name: message.pointer("/target/name")?.as_str()?.to_owned(),
        executable: executable.map(|path| Path::new(path).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::artifact;

    #[test]
    fn the_binary_is_found_among_the_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"campus-sensor"},"executable":"/t/campus-sensor"}"#;
        let artifact_built = artifact(line).unwrap();
        assert_eq!(artifact_built.name, "campus-sensor");
        assert_eq!(artifact_built.executable.unwrap().to_str(), Some("/t/campus-sensor"));
        assert!(artifact(r#"{"reason":"build-finished","success":true}"#).is_none());
        assert!(artifact("not JSON").is_none());
    }
}
