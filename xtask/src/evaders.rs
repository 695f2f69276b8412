//! What the evasion tests take beyond the lab: programs made to get past a sensor.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sensor_lab::evaders::{DPIBREAK_VARIABLE, DPYPROXY_VARIABLE};

use crate::python::{self, Environment};
use crate::setup::{cache, ensure_packages, output, run_logged};
use crate::ui::Steps;

/// dpibreak takes it where nftables has no queues.
const IPTABLES: (&str, &str) = ("iptables", "iptables");

const DPIBREAK: &str = "dpibreak";
const DPIBREAK_VERSION: &str = "0.6.2";
const DPYPROXY: Environment = Environment {
    name: "dpyproxy",
    requirements: &["dpyproxy==3.0.2"],
    proof: &["-I", "-m", "dpyproxy", "--version"],
};

/// Installs what is missing, which takes no network when nothing is. Returns what the tests' environment
/// must say.
pub(crate) fn ensure() -> Result<[(&'static str, PathBuf); 2]> {
    ensure_packages(&[python::PACKAGES, &[IPTABLES]].concat())?;
    Ok([(DPIBREAK_VARIABLE, ensure_dpibreak()?), (DPYPROXY_VARIABLE, DPYPROXY.ensure()?)])
}

fn ensure_dpibreak() -> Result<PathBuf> {
    let root = cache()?.join(format!("{DPIBREAK}-{DPIBREAK_VERSION}"));
    let program = root.join("bin").join(DPIBREAK);
    if succeeds(&program, &["--help"]) {
        return Ok(program);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut install = Command::new(cargo);
    install.args(["install", DPIBREAK, "--version", DPIBREAK_VERSION, "--locked"]);
    // What it leaves in the target directory is of no use to anything else.
    let target = root.join("target");
    install.arg("--root").arg(&root).env("CARGO_TARGET_DIR", &target);
    let what = format!("build {DPIBREAK}, once (a minute or two)");
    run_logged(&mut install, &what, &mut Steps::new(1))?;
    fs::remove_dir_all(&target).with_context(|| format!("remove {}", target.display()))?;
    succeeds(&program, &["--help"])
        .then_some(program)
        .context("dpibreak was built but does not run")
}

fn succeeds(program: &Path, args: &[&str]) -> bool {
    let program = program.to_str().filter(|_| program.is_file());
    program.is_some_and(|program| output(program, args).is_some())
}
