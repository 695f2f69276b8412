//! dnsmasq in the server's namespace: a resolver that knows the names a test wants, and its log.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lab::{Family, Lab};
use crate::process::{self, Running};

/// dnsmasq starts in tens of milliseconds; this is for a busy machine.
const START: Duration = Duration::from_secs(10);

/// An HTTPS record as [RFC 9460 section 2.2](https://www.rfc-editor.org/rfc/rfc9460#section-2.2) has it:
/// priority 1, the name itself, and `ech` with four bytes.
const HTTPS_DATA: &str = "00010000050004deadbeef";

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
        let log = lab.directory().join("dnsmasq.log");
        let mut command = lab.server().command("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]);
        command.args([
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--local=/#/",
            "--log-queries=extra",
        ]);
        command.args(["--log-facility=-", "--local-ttl=300", "--edns-packet-max=4096"]);
        for name in names {
            for family in [Family::V4, Family::V6] {
                command.arg(format!("--host-record={name},{}", family.server()));
            }
            command.arg(format!("--dns-rr={name},65,{HTTPS_DATA}"));
        }
        let mut dnsmasq = Running::start(&mut command, &log)?;
        let first = names.first().context("a resolver without a name")?;
        process::wait_until("dnsmasq answers", START, || {
            if let Some(status) = dnsmasq.ended()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("dnsmasq ended with {status}: {}", said.trim());
            }
            let mut dig = lab.server().command("dig");
            dig.args(["@127.0.0.1", "+short", "+tries=1", "+timeout=1", first, "A"]);
            let said = process::finish(&mut dig, process::SHORT)?;
            Ok(said.stdout.trim().parse::<IpAddr>().is_ok().then_some(()))
        })?;
        Ok(Self { log, _dnsmasq: dnsmasq })
    }

    /// Queries for exactly this name, whatever its case, that reached the resolver.
    pub fn asked_for(&self, name: &str) -> Result<usize> {
        let log = fs::read_to_string(&self.log).context("read dnsmasq's log")?;
        let is_it = |word: &str| word.eq_ignore_ascii_case(name);
        let queries = log.lines().filter(|line| line.contains("query["));
        Ok(queries.filter(|line| line.split_whitespace().any(is_it)).count())
    }
}
