//! The kernel half, seen from user space: load, attach, read and write maps, take events. The only
//! module that names `aya`, and the only one with `unsafe` code (system calls and mapped memory).
//!
//! In the order of a start: [`preflight`] says what is missing, [`object`] loads the programs and maps,
//! [`tables`] fills the policy, [`attach`] puts the programs on interfaces, [`events`] and [`flows`]
//! take what they saw, [`counters`] add it up. [`test_run`] runs the same programs without a network.

pub mod attach;
pub mod control;
pub mod counters;
pub mod events;
pub mod flows;
#[cfg(feature = "lab")]
pub mod lab;
pub mod object;
pub mod preflight;
mod ring;
pub mod tables;
pub mod test_run;
#[cfg(feature = "trace")]
pub mod trace;

mod listed;
mod syscall;

use std::io;
use std::path::PathBuf;

/// What can go wrong between here and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A load-time refusal; the verifier's last words are in the source.
    #[error("load {what}")]
    Load {
        /// Program or object.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object lacks a map or program: another build.
    #[error("the kernel object has no {0}; rebuild the package")]
    Missing(&'static str),
    /// A map refused an operation.
    #[error("{operation} map {map}")]
    Map {
        /// Map name.
        map: &'static str,
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map is as full as it was configured to be.
    #[error("map {map} is full at {limit} entries; raise {knob} and start again")]
    Full {
        /// Map name.
        map: &'static str,
        /// Configured size.
        limit: u32,
        /// Configuration key.
        knob: &'static str,
    },
    /// Interface index beyond the lookup array.
    #[error("interface {name} has index {index}, beyond {max}; re-create it after a reboot")]
    IfindexTooHigh {
        /// Interface name.
        name: String,
        /// Its index.
        index: u32,
        /// Highest that can be watched.
        max: u32,
    },
    /// No such interface.
    #[error("interface {name} does not exist; `ip -br link` lists those that do")]
    NoInterface {
        /// Interface name.
        name: String,
    },
    /// Another XDP program holds the interface.
    #[error(
        "interface {name} already runs another XDP program (id {program}); `ip link set dev {name} xdp off` removes it"
    )]
    OtherXdp {
        /// Interface name.
        name: String,
        /// Its program id.
        program: u32,
    },
    /// An attachment was refused.
    #[error("attach {program} to {name}")]
    Attach {
        /// Program name.
        program: &'static str,
        /// Interface name.
        name: String,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Pinned maps of another version.
    #[error(
        "{} holds maps of ABI version {found}, this build has {expected}; run `campus-sensor detach`, then start again",
        dir.display()
    )]
    OtherAbi {
        /// Pin directory.
        dir: PathBuf,
        /// Version in the pinned control cell.
        found: u32,
        /// Version of this build.
        expected: u32,
    },
    /// A file or directory refused.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// This machine cannot run the sensor.
    #[error("{0}")]
    Preflight(String),
    /// A program run by hand was refused.
    #[error("run program {program} on a frame of {length} bytes")]
    TestRun {
        /// Program name.
        program: &'static str,
        /// Frame length.
        length: usize,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// `CLOCK_MONOTONIC` in ns, the clock the programs' coarse one is taken from.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; this clock cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
