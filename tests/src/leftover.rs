//! What must be gone when the lab is: one list a process, emptied by guards, or all at once on a signal.
//!
//! The list stays locked while an entry is being removed. A signal that arrives in between therefore waits
//! for the removal, and once the signal's clean-up has begun, every other thread stops at its next
//! guard until the process ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::signal;

pub(crate) const BPFFS: &str = "/sys/fs/bpf";
pub(crate) const NETNS: &str = "/run/netns";
/// Begins every directory of a lab; the process id follows.
pub(crate) const DIRECTORY_PREFIX: &str = "campus-sensor-lab-";

static LIST: Mutex<Vec<(u64, Leftover)>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(crate) enum Leftover {
    /// A child of this process.
    Process(u32),
    /// A namespace under [`NETNS`].
    Namespace(String),
    /// A directory with everything in it, pinned objects included.
    Directory(PathBuf),
    /// A sensor that may still be attached: the command that detaches it.
    Attachment(Vec<String>),
}

impl Leftover {
    fn remove(&self) {
        match self {
            Self::Process(pid) => {
                signal::send(*pid, libc::SIGKILL);
                signal::reap(*pid);
            }
            Self::Namespace(name) => run_quietly("ip", ["netns", "delete", name]),
            Self::Directory(path) => drop(fs::remove_dir_all(path)),
            Self::Attachment(command) => {
                if let Some((program, args)) = command.split_first() {
                    run_quietly(program, args);
                }
            }
        }
    }
}

/// Removes its entry when dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    id: u64,
}

impl Guard {
    pub(crate) fn new(leftover: Leftover) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        list().push((id, leftover));
        Self { id }
    }

    /// There is nothing to remove any more: the process has ended by itself, say.
    pub(crate) fn dismiss(self) {
        list().retain(|(id, _)| *id != self.id);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut list = list();
        if let Some(at) = list.iter().position(|(id, _)| *id == self.id) {
            let (_, leftover) = list.remove(at);
            leftover.remove();
        }
    }
}

/// Removes everything, last made first, and ends by `then`, with every other guard held up.
pub(crate) fn remove_all_then(then: impl FnOnce()) {
    let mut list = list();
    while let Some((_, leftover)) = list.pop() {
        leftover.remove();
    }
    then();
}

/// Removes what labs of processes that are no more have left behind.
pub(crate) fn remove_stale() {
    for (name, path) in entries(Path::new(NETNS)) {
        if namespace_owner(&name).is_some_and(is_gone) {
            for pid in processes_in(&name) {
                signal::send(pid, libc::SIGKILL);
            }
            Leftover::Namespace(name).remove();
            // A name without a namespace behind it, as an interrupted `ip netns add` leaves it.
            drop(fs::remove_file(path));
        }
    }
    for parent in [Path::new(BPFFS), &std::env::temp_dir()] {
        for (name, path) in entries(parent) {
            if directory_owner(&name).is_some_and(is_gone) {
                Leftover::Directory(path).remove();
            }
        }
    }
}

fn list() -> MutexGuard<'static, Vec<(u64, Leftover)>> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clean-up goes on whatever one command says: the next lab removes what this one could not.
fn run_quietly(program: &str, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(command.status());
}

fn entries(parent: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries.flatten().map(|e| (e.file_name().to_string_lossy().into_owned(), e.path())).collect()
}

/// Everything in a lab's namespace was started by that lab.
fn processes_in(namespace: &str) -> Vec<u32> {
    let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|l| l.trim().parse().ok()).collect()
}

fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

/// `cs<pid>-<role>`.
fn namespace_owner(name: &str) -> Option<u32> {
    let (pid, role) = name.strip_prefix("cs")?.split_once('-')?;
    ["cl", "gw", "sv"].contains(&role).then(|| pid.parse().ok())?
}

/// `campus-sensor-lab-<pid>`, and in the temporary directory a serial number after it.
fn directory_owner(name: &str) -> Option<u32> {
    name.strip_prefix(DIRECTORY_PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{directory_owner, namespace_owner};

    #[test]
    fn only_the_labs_own_names_have_an_owner() {
        assert_eq!(namespace_owner("cs4711-gw"), Some(4711));
        assert_eq!(namespace_owner("cs4711-xx"), None);
        assert_eq!(namespace_owner("cs-gw"), None);
        assert_eq!(namespace_owner("docker0"), None);
        assert_eq!(directory_owner("campus-sensor-lab-12"), Some(12));
        assert_eq!(directory_owner("campus-sensor-lab-12-3"), Some(12));
        assert_eq!(directory_owner("campus-sensor"), None);
    }
}
