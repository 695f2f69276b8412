//! A directory for pinned maps and links, which goes when its holder does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::leftover::{BPFFS, DIRECTORY_PREFIX, Guard, Leftover};
use crate::process;

/// The directory of one sensor, which it makes itself; one a process.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    _guard: Guard,
}

impl Pins {
    /// Names it, on the BPF file system.
    pub fn new() -> Result<Self> {
        mount_bpffs()?;
        let path = Path::new(BPFFS).join(format!("{DIRECTORY_PREFIX}{}", std::process::id()));
        let guard = Guard::new(Leftover::Directory(path.clone()));
        Ok(Self { path, _guard: guard })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Distributions mount it at boot; containers often do not.
fn mount_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let is_bpffs = |line: &str| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    };
    if !mounts.lines().any(is_bpffs) {
        process::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))?;
    }
    Ok(())
}
