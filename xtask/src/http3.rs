//! What the QUIC tests take beyond the lab: a Python that speaks HTTP/3.

use std::path::PathBuf;

use anyhow::Result;

use crate::python::{Environment, PACKAGES};
use crate::setup::ensure_packages;

const AIOQUIC: Environment = Environment {
    name: "aioquic",
    requirements: &[
        "aioquic==1.7.2",
        "attrs==26.1.0",
        "certifi==2026.10.18",
        "cffi==2.1.1",
        "cryptography==50.0.2",
        "pycparser==3.12",
        "pylsqpack==1.0.0",
        "pyOpenSSL==26.4.0",
        "service-identity==26.1.0",
        "typing_extensions==4.16.0",
    ],
    proof: &["-I", "-c", "import aioquic.h3.connection"],
};

/// Installs what is missing, which takes no network when nothing is. Returns the Python that has it.
pub(crate) fn ensure() -> Result<PathBuf> {
    ensure_packages(PACKAGES)?;
    AIOQUIC.ensure()
}
