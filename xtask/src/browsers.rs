//! What the browser tests take beyond the lab: browsers, and a Python that sends the hellos of others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{cache, ensure_packages, output, run_logged};
use crate::ui::Steps;

/// Package, and the program wanted from it.
const PACKAGES: &[(&str, &str)] = &[
    ("chromium", "chromium"),
    ("firefox-esr", "firefox-esr"),
    ("libnss3-tools", "certutil"),
    ("python3", "python3"),
    // Its programs have Python's version in their names.
    ("python3-venv", "python3"),
];

/// The system's own, and not one that a version manager puts in front of it.
const PYTHON: &str = "/usr/bin/python3";
const IMITATOR: &str = "curl_cffi";
const IMITATOR_VERSION: &str = "0.16.3";

/// Installs what is missing, which takes no network when nothing is. Returns the Python that has the imitator.
pub(crate) fn ensure() -> Result<PathBuf> {
    ensure_packages(PACKAGES)?;
    let root = cache()?.join(format!("{IMITATOR}-{IMITATOR_VERSION}"));
    let python = root.join("bin/python3");
    if has_imitator(&python) {
        return Ok(python);
    }
    let mut steps = Steps::new(2);
    let mut make = Command::new(PYTHON);
    make.args(["-m", "venv", "--clear"]).arg(&root);
    run_logged(&mut make, "make an environment for Python packages", &mut steps)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--disable-pip-version-check"]);
    install.arg(format!("{IMITATOR}=={IMITATOR_VERSION}"));
    run_logged(&mut install, &format!("install {IMITATOR} in it"), &mut steps)?;
    has_imitator(&python).then_some(python).context("it was installed but cannot be loaded")
}

fn has_imitator(python: &Path) -> bool {
    let python = python.to_str().filter(|_| python.is_file());
    python.is_some_and(|python| output(python, &["-I", "-c", "import curl_cffi"]).is_some())
}
