//! An initial file system in the format the kernel unpacks: cpio's "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's sources).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// Files to be, in memory; parents are made as needed.
#[derive(Clone, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    there: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    pub(super) fn directory(&mut self, path: impl AsRef<Path>) {
        self.add(path.as_ref(), DIRECTORY, b"");
    }

    pub(super) fn link(&mut self, path: impl AsRef<Path>, target: &str) {
        self.add(path.as_ref(), LINK, target.as_bytes());
    }

    pub(super) fn script(&mut self, path: impl AsRef<Path>, text: &str) {
        self.add(path.as_ref(), FILE | 0o755, text.as_bytes());
    }

    /// A file of this machine; what a link leads to is what counts.
    pub(super) fn copy(&mut self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        if self.there.contains(to.as_ref()) {
            return Ok(());
        }
        let read = || Ok::<_, std::io::Error>((fs::metadata(from)?, fs::read(from)?));
        let (metadata, content) = read().with_context(|| format!("read {}", from.display()))?;
        let mode = metadata.permissions().mode() & 0o777;
        self.add(to.as_ref(), FILE | mode, &content);
        Ok(())
    }

    /// A directory with all files that are `wanted`, by their path from it.
    pub(super) fn copy_tree(
        &mut self,
        from: &Path,
        to: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<()> {
        for file in super::files_below(from)? {
            let relative = file.strip_prefix(from).context("a path below its root")?;
            if wanted(relative) {
                self.copy(&file, to.join(relative))?;
            }
        }
        Ok(())
    }

    /// The whole, with its end mark.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.append("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn add(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if self.there.contains(path) {
            return;
        }
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("/")) {
            self.directory(parent);
        }
        self.there.insert(path.to_owned());
        let name = path.to_string_lossy();
        self.append(name.trim_start_matches('/'), mode, content);
    }

    /// Header, name and content, each padded to four bytes.
    fn append(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let (size, name_size) = (content.len() as u64, name.len() as u64 + 1);
        // In this order: inode, mode, owner, group, links, time, size, four device numbers, name, checksum.
        let head = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}{}{name_size:08x}{:08x}",
            self.entries,
            0,
            0,
            0,
            "0".repeat(32),
            0
        );
        self.bytes.extend(head.bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn parents_come_first_and_once() {
        let mut archive = Archive::default();
        archive.script("/a/b", "one");
        archive.link("/a/c", "b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let headers: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        let names = headers.iter().map(|at| text[at + 110..].split('\0').next().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["a", "a/b", "a/c", "TRAILER!!!"]);
        let file = &text[headers[1]..];
        assert_eq!(&file[14..22], "000081ed", "a file anyone may run");
        assert_eq!(&file[54..62], "00000003", "its size");
    }
}
