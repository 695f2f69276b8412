//! A small file system of its own over a directory.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Bytes written in one go where all the room is taken.
const PIECE: [u8; 4_096] = [0; 4_096];

/// The file system, until it is dropped. Needs root.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many MiB.
    pub fn mount(at: &Path, size_mib: u32) -> Result<Self> {
        let at = at.to_owned();
        let size = format!("size={size_mib}m");
        process::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at))?;
        Ok(Self(at))
    }

    /// Takes all the room there is, with the file that is returned.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path)?;
        while file.write_all(&PIECE).is_ok() {}
        Ok(path)
    }

    /// Lets nobody write to it.
    pub fn make_read_only(&self) -> Result<()> {
        process::run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0))?;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a program that a failed test leaves may still have files open.
        if let Err(error) = process::run(Command::new("umount").arg("-l").arg(&self.0)) {
            // Without a standard error the mount itself says it.
            let _unsaid = writeln!(io::stderr(), "{error:#}");
        }
    }
}
