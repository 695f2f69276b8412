//! The programs' budgets. The numbers and the check are the benches' own: this makes them reachable.

use anyhow::Result;

use crate::cargo;
use crate::setup::{Need, ensure};

pub(crate) fn run() -> Result<()> {
    let toolchain = ensure(Need::Build)?;
    cargo::run(&toolchain, &["run", "--quiet", "--package", "sensor-benches", "--", "verify"])
}
