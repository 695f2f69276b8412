//! What the browser tests take beyond the lab: browsers, and a Python that sends the hellos of others.

use std::path::PathBuf;

use anyhow::Result;

use crate::python::{self, Environment};
use crate::setup::ensure_packages;

/// Package, and the program wanted from it.
const BROWSERS: &[(&str, &str)] =
    &[("chromium", "chromium"), ("firefox-esr", "firefox-esr"), ("libnss3-tools", "certutil")];

const IMITATOR: Environment = Environment {
    name: "curl_cffi",
    requirements: &["curl_cffi==0.16.3"],
    proof: &["-I", "-c", "import curl_cffi"],
};

/// Installs what is missing, which takes no network when nothing is. Returns the Python that has the imitator.
pub(crate) fn ensure() -> Result<PathBuf> {
    ensure_packages(&[BROWSERS, python::PACKAGES].concat())?;
    IMITATOR.ensure()
}

/// The browsers alone, and what tells them whom to trust.
pub(crate) fn ensure_browsers() -> Result<()> {
    ensure_packages(BROWSERS)
}
