//! BIND in the server's namespace: the authority of a signed zone, as a stub that validates wants it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lab::{Family, Lab};
use crate::process::{self, Running};

/// named starts in tens of milliseconds; this is for a busy machine.
const START: Duration = Duration::from_secs(20);

/// The zone, which is its own trust anchor.
pub const ZONE: &str = "example";

/// The authority; dropping it stops it.
#[derive(Debug)]
pub struct SignedZone {
    anchor: PathBuf,
    _named: Running,
}

impl SignedZone {
    /// Signs a zone in which these names of `example` have the server's own addresses, and answers for it
    /// on port 53 of the server, over both families and both transports.
    pub fn start(lab: &Lab, names: &[&str]) -> Result<Self> {
        let directory = lab.directory().join("signed");
        fs::create_dir(&directory).context("make the zone's directory")?;
        let key = make_key(lab, &directory)?;
        sign(lab, &directory, names)?;
        let anchor = directory.join("anchor");
        let text = format!("trust-anchors {{ \"{ZONE}\" static-key {key}; }};\n");
        fs::write(&anchor, text).context("write the trust anchor")?;
        let named = serve(lab, &directory, names)?;
        Ok(Self { anchor, _named: named })
    }

    /// What `delv -a` takes.
    pub fn anchor(&self) -> &Path {
        &self.anchor
    }
}

/// One key for keys and records alike; as trust anchors have it.
fn make_key(lab: &Lab, directory: &Path) -> Result<String> {
    let mut keygen = lab.server().command("dnssec-keygen");
    keygen.arg("-q").arg("-K").arg(directory);
    keygen.args(["-a", "ECDSAP256SHA256", "-f", "KSK", "-n", "ZONE", ZONE]);
    let name = process::run(&mut keygen)?;
    let file = directory.join(format!("{}.key", name.trim()));
    let text = fs::read_to_string(&file).context("read the public key")?;
    let record = text.lines().find_map(|line| line.split_once(" DNSKEY "));
    let (_, data) = record.with_context(|| format!("no key in {text:?}"))?;
    let words: Vec<_> = data.split_whitespace().collect();
    let [flags, protocol, algorithm, key @ ..] = words.as_slice() else { bail!("key {data:?}") };
    Ok(format!("{flags} {protocol} {algorithm} \"{}\"", key.concat()))
}

fn sign(lab: &Lab, directory: &Path, names: &[&str]) -> Result<()> {
    let (v4, v6) = (Family::V4.server(), Family::V6.server());
    let head = format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns root 1 3600 900 604800 300\n@ NS ns\nns A {v4}\n"
    );
    let records = names.iter().map(|name| format!("{name}. A {v4}\n{name}. AAAA {v6}\n"));
    let zone: String = std::iter::once(head).chain(records).collect();
    fs::write(directory.join("zone"), zone).context("write the zone")?;
    let mut signzone = lab.server().command("dnssec-signzone");
    signzone.current_dir(directory).args([
        "-q",
        "-S",
        "-z",
        "-o",
        ZONE,
        "-f",
        "zone.signed",
        "zone",
    ]);
    process::run(&mut signzone).map(drop)
}

fn serve(lab: &Lab, directory: &Path, names: &[&str]) -> Result<Running> {
    let configuration = directory.join("named.conf");
    let text = format!(
        "options {{\n  directory \"{}\";\n  listen-on {{ any; }};\n  listen-on-v6 {{ any; }};\n\
         \x20 recursion no;\n  pid-file none;\n  session-keyfile none;\n}};\ncontrols {{ }};\n\
         zone \"{ZONE}\" {{ type primary; file \"zone.signed\"; }};\n",
        directory.display()
    );
    fs::write(&configuration, text).context("write named's configuration")?;
    let log = directory.join("named.log");
    let mut command = lab.server().command("named");
    command.args(["-g", "-n", "1", "-c"]).arg(&configuration);
    let mut named = Running::start(&mut command, &log)?;
    let first = names.first().context("a zone without a name")?;
    process::wait_until("named answers", START, || {
        if let Some(status) = named.ended()? {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("named ended with {status}: {}", said.trim());
        }
        let mut dig = lab.server().command("dig");
        dig.args(["@127.0.0.1", "+short", "+tries=1", "+timeout=1", first, "A"]);
        let said = process::finish(&mut dig, process::SHORT)?;
        Ok(said.stdout.trim().parse::<std::net::IpAddr>().is_ok().then_some(()))
    })?;
    Ok(named)
}
