//! dnsmasq: in the server's namespace a resolver that knows the names a test wants, and its log; in the
//! client's, one that asks it for others.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lab::{Family, HOST_INTERFACE, Lab};
use crate::namespace::Namespace;
use crate::process::{self, Running};

/// dnsmasq starts in tens of milliseconds; this is for a busy machine.
const START: Duration = Duration::from_secs(10);

/// An HTTPS record as [RFC 9460 section 2.2](https://www.rfc-editor.org/rfc/rfc9460#section-2.2) has it:
/// priority 1, the name itself, and `ech` with four bytes.
const HTTPS_DATA: &str = "00010000050004deadbeef";

/// How the log has a query for one.
const HTTPS_QUERY: &str = "query[HTTPS]";

/// A resolver; dropping it stops it.
#[derive(Debug)]
pub struct Resolver {
    log: PathBuf,
    _dnsmasq: Running,
}

impl Resolver {
    /// Answers for `names`, with the server's own addresses and an HTTPS record, on port 53 of the
    /// server, over both families and both transports. All else does not exist.
    pub fn start(lab: &Lab, names: &[&str]) -> Result<Self> {
        Self::start_with(lab, names, HTTPS_DATA)
    }

    /// The same with an HTTPS record of a test's own, in hexadecimal digits.
    pub fn start_with(lab: &Lab, names: &[&str], https_data: &str) -> Result<Self> {
        let log = lab.directory().join("dnsmasq.log");
        let mut command = dnsmasq(lab.server());
        command.args(["--local=/#/", "--local-ttl=300", "--edns-packet-max=4096"]);
        for name in names {
            for family in [Family::V4, Family::V6] {
                command.arg(format!("--host-record={name},{}", family.server()));
            }
            command.arg(format!("--dns-rr={name},65,{https_data}"));
        }
        let first = names.first().context("a resolver without a name")?;
        let dnsmasq = wait_for_answers(&mut command, lab.server(), &log, first)?;
        Ok(Self { log, _dnsmasq: dnsmasq })
    }

    /// Queries for exactly this name, whatever its case, that reached the resolver.
    pub fn asked_for(&self, name: &str) -> Result<usize> {
        queries(&self.log, "query[", name)
    }

    /// Those for its HTTPS record.
    pub fn asked_for_https(&self, name: &str) -> Result<usize> {
        queries(&self.log, HTTPS_QUERY, name)
    }
}

/// A campus's own resolver, on its side of the gateway; dropping it stops it.
#[derive(Debug)]
pub struct Forwarder {
    log: PathBuf,
    _dnsmasq: Running,
}

impl Forwarder {
    /// Answers on port 53 of the client's loopback with what the resolver beyond the gateway says, and
    /// keeps nothing. It asks from an address of its own, which no program takes by itself.
    pub fn start(lab: &Lab, address: Ipv4Addr, first: &str) -> Result<Self> {
        let network = format!("{address}/24");
        lab.client().run("ip", &["address", "add", &network, "dev", HOST_INTERFACE])?;
        let mut command = dnsmasq(lab.client());
        command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--cache-size=0"]);
        command.arg(format!("--server={}@{address}", Family::V4.server()));
        let log = lab.directory().join("forwarder.log");
        let dnsmasq = wait_for_answers(&mut command, lab.client(), &log, first)?;
        Ok(Self { log, _dnsmasq: dnsmasq })
    }

    /// Queries for the HTTPS record of exactly this name, whatever its case.
    pub fn asked_for_https(&self, name: &str) -> Result<usize> {
        queries(&self.log, HTTPS_QUERY, name)
    }
}

fn queries(log: &Path, kind: &str, name: &str) -> Result<usize> {
    let log = fs::read_to_string(log).context("read dnsmasq's log")?;
    let is_it = |word: &str| word.eq_ignore_ascii_case(name);
    let queries = log.lines().filter(|line| line.contains(kind));
    Ok(queries.filter(|line| line.split_whitespace().any(is_it)).count())
}

/// With nothing of the machine's own.
fn dnsmasq(namespace: &Namespace) -> Command {
    let mut command = namespace.command("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]);
    command.args(["--no-resolv", "--no-hosts", "--user=root"]);
    command.args(["--log-queries=extra", "--log-facility=-"]);
    command
}

/// Starts it; returns when its namespace gets the address of a name from it.
fn wait_for_answers(
    command: &mut Command,
    namespace: &Namespace,
    log: &Path,
    name: &str,
) -> Result<Running> {
    let mut dnsmasq = Running::start(command, log)?;
    process::wait_until("dnsmasq answers", START, || {
        if let Some(status) = dnsmasq.ended()? {
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!("dnsmasq ended with {status}: {}", said.trim());
        }
        let mut dig = namespace.command("dig");
        dig.args(["@127.0.0.1", "+short", "+tries=1", "+timeout=1", name, "A"]);
        let said = process::finish(&mut dig, process::SHORT)?;
        Ok(said.stdout.trim().parse::<IpAddr>().is_ok().then_some(()))
    })?;
    Ok(dnsmasq)
}
