//! Programs made to get past a sensor, where `cargo xtask` has put them.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Names dpibreak's program; `cargo xtask` sets it.
pub const DPIBREAK_VARIABLE: &str = "CAMPUS_SENSOR_DPIBREAK";
/// Names a Python that has dpyproxy; `cargo xtask` sets it.
pub const DPYPROXY_VARIABLE: &str = "CAMPUS_SENSOR_DPYPROXY";

/// What one of the variables names.
pub fn named_by(variable: &str) -> Result<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    named.with_context(|| format!("{variable} is not set: run `cargo xtask test evasion`"))
}
