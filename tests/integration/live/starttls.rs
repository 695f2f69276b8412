//! Protocols that begin in the clear and go on in TLS: the hello behind the dialogue is read, on any port.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, Verdict};
use sensor_lab::lab::Family;
use sensor_lab::process::{self, Running};

use super::traffic::{Fields, whole_lines};
use super::{ALLOWED, BLOCKED, SOON, Site, records, setup};

const SERVERS: &str = include_str!("starttls.py");

/// As OpenSSL names the protocol, the port it is used on, and one on which nobody expects it.
const PROTOCOLS: [(&str, u16, u16); 10] = [
    ("smtp", 25, 2526),
    ("imap", 143, 14_300),
    ("pop3", 110, 11_000),
    ("xmpp", 5222, 8443),
    ("postgres", 5432, 8080),
    ("ldap", 389, 38_900),
    ("ftp", 21, 2121),
    ("nntp", 119, 11_900),
    ("sieve", 4190, 41_900),
    ("mysql", 3306, 33_060),
];

/// A handshake takes milliseconds; this is for a client that waits for what never comes.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Protocol, port and name.
type Connection = (String, u16, String);

#[test]
fn a_name_behind_a_dialogue_in_the_clear_is_judged_on_any_port() -> Result<()> {
    let site = Site::build(&setup())?;
    let talkers = Talkers::start(&site)?;
    let connections = || {
        let ports = PROTOCOLS.into_iter().flat_map(|(protocol, usual, other)| {
            [(protocol, usual, Family::V4), (protocol, other, Family::V6)]
        });
        ports.flat_map(|connection| [ALLOWED, BLOCKED].map(|name| (connection, name)))
    };
    let mut complaints = Vec::new();
    for ((protocol, port, family), name) in connections() {
        let secured = secure(&site, protocol, port, family, name)?;
        if secured != (name == ALLOWED) {
            complaints.push(format!("{protocol} on {port}, {name}: secured: {secured}"));
        }
    }
    let all = |name: &str| -> BTreeSet<Connection> {
        let of_name = connections().filter(|(_, one)| *one == name);
        let whole = |((protocol, port, _), name): ((&str, u16, Family), &str)| {
            (protocol.to_owned(), port, name.to_owned())
        };
        of_name.map(whole).collect()
    };
    // No server has as much as read a blocked name.
    for event in ["hello", "done"] {
        let seen = talkers.seen(event)?;
        if seen != all(ALLOWED) {
            complaints.push(format!("{event} at the servers: {seen:?}"));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");

    for (name, verdict) in [(ALLOWED, Verdict::Allow), (BLOCKED, Verdict::Block)] {
        let expected: BTreeSet<_> = all(name).into_iter().map(|(_, port, _)| port).collect();
        process::wait_until(&format!("a record of each {name}"), SOON, || {
            let records = records(&site.sensor)?;
            let of_name = records.iter().filter(|one| {
                one.name.as_deref() == Some(name)
                    && (one.name_source, one.verdict) == (NameSource::Tls, verdict)
            });
            let ports: BTreeSet<_> = of_name.map(|one| one.peer_port).collect();
            Ok((ports == expected).then_some(()))
        })?;
    }
    Ok(())
}

/// A server for each protocol on each of its ports; dropping it ends them.
struct Talkers {
    events: PathBuf,
    _running: Running,
}

impl Talkers {
    fn start(site: &Site) -> Result<Self> {
        let events = site.lab.directory().join("starttls");
        let mut python = site.lab.server().python(SERVERS);
        python.args(site.web.certificate());
        for (protocol, usual, other) in PROTOCOLS {
            python.args([usual, other].map(|port| format!("{protocol}={port}")));
        }
        let running = Running::start(&mut python, &events)?;
        let talkers = Self { events, _running: running };
        process::wait_until("the servers listen", process::SHORT, || {
            Ok((!talkers.seen("listening")?.is_empty()).then_some(()))
        })?;
        Ok(talkers)
    }

    /// Every connection of which this is known.
    fn seen(&self, event: &str) -> Result<BTreeSet<Connection>> {
        let mut seen = BTreeSet::new();
        for line in whole_lines(&self.events)? {
            let line = Fields::parse(&line)?;
            if line.text("event")? == event {
                let port = u16::try_from(line.count("port")?)?;
                seen.insert((line.text("protocol")?, port, line.text("name")?));
            }
        }
        Ok(seen)
    }
}

/// Whether a client that asks for TLS by this protocol comes to an end of the handshake, with the right
/// server.
fn secure(site: &Site, protocol: &str, port: u16, family: Family, name: &str) -> Result<bool> {
    let mut openssl = site.lab.client().command("openssl");
    openssl.args(["s_client", "-starttls", protocol, "-servername", name]);
    openssl.args(["-verify_hostname", name, "-verify_return_error", "-quiet", "-CAfile"]);
    openssl.arg(site.web.authority());
    let server = match family {
        Family::V4 => format!("{}:{port}", family.server()),
        Family::V6 => format!("[{}]:{port}", family.server()),
    };
    openssl.args(["-connect", &server]);
    let finished = process::finish(&mut openssl, HANDSHAKE)?;
    Ok(finished.stdout.contains("secured"))
}
