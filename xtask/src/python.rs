//! Environments for Python packages that only tests take, in the cache of whoever runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{cache, output, run_logged};
use crate::ui::Steps;

/// What an environment is made with: package, and the program wanted from it.
pub(crate) const PACKAGES: &[(&str, &str)] = &[
    ("python3", "python3"),
    // Its programs have Python's version in their names.
    ("python3-venv", "python3"),
];

/// The system's own, and not one that a version manager puts in front of it.
const PYTHON: &str = "/usr/bin/python3";

/// Some Python packages, each in one version.
pub(crate) struct Environment {
    /// What it is for, as a step is called.
    pub(crate) name: &'static str,
    /// `package==version`; the first one's also name its directory.
    pub(crate) requirements: &'static [&'static str],
    /// Arguments with which its Python succeeds if all is there.
    pub(crate) proof: &'static [&'static str],
}

impl Environment {
    /// Makes it if it is not there, which takes no network when it is. Returns its Python.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let first = self.requirements.first().context("an environment without a package")?;
        let root = cache()?.join(first.replace("==", "-"));
        let python = root.join("bin/python3");
        if self.is_in(&python) {
            return Ok(python);
        }
        let mut steps = Steps::new(2);
        let mut make = Command::new(PYTHON);
        make.args(["-m", "venv", "--clear"]).arg(&root);
        run_logged(&mut make, "make an environment for Python packages", &mut steps)?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--disable-pip-version-check"]);
        install.args(self.requirements);
        run_logged(&mut install, &format!("install {} in it", self.name), &mut steps)?;
        let name = self.name;
        self.is_in(&python)
            .then_some(python)
            .with_context(|| format!("{name} was installed but does not run"))
    }

    fn is_in(&self, python: &Path) -> bool {
        let python = python.to_str().filter(|_| python.is_file());
        python.is_some_and(|python| output(python, self.proof).is_some())
    }
}
