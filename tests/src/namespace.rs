//! One network namespace of the lab.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::leftover::NETNS;
use crate::{process, signal};

/// The system's own Python, and not one that a version manager puts in front of it.
pub const PYTHON: &str = "/usr/bin/python3";

/// The kernel reports a new link's state within a second (`linkwatch`); a busy machine takes longer.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// A handle; the namespace itself belongs to the [`crate::lab::Lab`].
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

/// An interface's own counters, as the kernel keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        Self { name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        Path::new(NETNS).join(&self.name)
    }

    /// A program inside the namespace. By `nsenter`, which touches nothing but the network:
    /// `ip netns exec` mounts another /sys, without /sys/fs/bpf.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// A Python program, given as its text, that sees nothing but the standard library.
    pub fn python(&self, text: &str) -> Command {
        let mut command = self.command(PYTHON);
        command.args(["-I", "-c", text]);
        command
    }

    /// Does `work` inside the namespace, on a thread of its own: what a thread enters, it stays in.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        let namespace = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let entered = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                signal::enter_network(&namespace)
                    .with_context(|| format!("enter {}", path.display()))?;
                work()
            });
            inside.join()
        });
        let Ok(result) = entered else { bail!("the thread inside {} panicked", self.name) };
        result
    }

    /// Runs a program inside the namespace that must succeed; its standard output.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        process::run(self.command(program).args(args))
    }

    /// Several `ip` commands at once, one a line.
    pub fn ip(&self, commands: &str, scratch: &Path) -> Result<()> {
        let batch = scratch.join(format!("{}.ip", self.name));
        fs::write(&batch, commands).context("write a batch of ip commands")?;
        let mut command = Command::new("ip");
        process::run(command.args(["-n", &self.name, "-batch"]).arg(&batch)).map(drop)
    }

    /// Kernel settings, as `key=value`.
    pub fn sysctl(&self, settings: &[&str]) -> Result<()> {
        process::run(self.command("sysctl").arg("-qw").args(settings)).map(drop)
    }

    /// Waits until every interface carries and has an address of its link. The kernel may take a second
    /// to say so, and a browser gives up its loads when the network changes under it.
    pub(crate) fn settle(&self) -> Result<()> {
        process::wait_until("interfaces are up", SETTLE_LIMIT, || {
            let text = self.run("ip", &["-json", "address", "show", "up"])?;
            let links: Vec<Link> = serde_json::from_str(&text).context("read ip's JSON")?;
            Ok(links.iter().all(Link::is_settled).then_some(()))
        })
    }

    pub fn counters(&self, interface: &str) -> Result<LinkCounters> {
        let text = self.run("ip", &["-json", "-stats", "link", "show", "dev", interface])?;
        let value: serde_json::Value = serde_json::from_str(&text).context("read ip's JSON")?;
        let count = |direction: &str, what: &str| {
            let pointer = format!("/0/stats64/{direction}/{what}");
            let number = value.pointer(&pointer).and_then(serde_json::Value::as_u64);
            number.with_context(|| format!("{interface} has no counter {direction} {what}"))
        };
        Ok(LinkCounters {
            rx_packets: count("rx", "packets")?,
            rx_bytes: count("rx", "bytes")?,
            tx_packets: count("tx", "packets")?,
            tx_bytes: count("tx", "bytes")?,
        })
    }
}

/// What `ip -json address` says of an interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Link {
    operstate: String,
    addr_info: Vec<LinkAddress>,
}

#[derive(Debug, Deserialize)]
struct LinkAddress {
    scope: String,
    #[serde(default)]
    tentative: bool,
}

impl Link {
    fn is_settled(&self) -> bool {
        let has_address = self.addr_info.iter().any(|address| address.scope == "link");
        let is_tentative = self.addr_info.iter().any(|address| address.tentative);
        match self.operstate.as_str() {
            // A loopback; an empty object, which stands for an interface that is not up.
            "UNKNOWN" | "" => true,
            state => state == "UP" && has_address && !is_tentative,
        }
    }
}
