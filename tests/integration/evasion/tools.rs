//! Programs made to get past sensors, as whoever downloads them runs them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::evaders::{DPIBREAK_VARIABLE, DPYPROXY_VARIABLE, named_by};
use sensor_lab::lab::Family;
use sensor_lab::process::{self, Running};
use sensor_lab::servers::page_of;

use super::{ALLOWED, BLOCKED, Ground, trial};

/// For a machine that is busy with something else.
const LIMIT: Duration = Duration::from_mins(1);
/// What curl may take for a page.
const CURL_SECONDS: &str = "15";
const PROXY: &str = "http://localhost:4433";

/// Ways to run dpibreak, which changes hellos on their way out of the machine.
const DPIBREAK: [&[&str]; 7] = [
    &[],
    &["--segment-order", "1,0"],
    &["--segment-order", "0,1,5,60,90"],
    &["--segment-order", "90,0,60"],
    &["--fake"],
    &["--fake", "--fake-ttl", "1"],
    &["--fake", "--fake-badsum", "--segment-order", "80,0"],
];

/// Ways to run dpyproxy, an HTTP proxy that cuts what it forwards.
const DPYPROXY: [&[&str]; 5] = [
    &["--no-tls_record_frag", "--tls_frag_size", "20"],
    &["--no-tls_tcp_frag", "--tls_frag_size", "20"],
    &["--tls_frag_size", "20"],
    &["--tls_frag_size", "1"],
    &["--tls_frag_size", "50", "--tls_record_version", "TLS11"],
];

#[test]
fn dpibreak_gets_no_blocked_name_through() -> Result<()> {
    past(&Ground::watched()?, dpibreak, &DPIBREAK, false)
}

#[test]
fn dpibreak_works_without_a_sensor() -> Result<()> {
    past(&Ground::unwatched()?, dpibreak, &DPIBREAK, true)
}

#[test]
fn dpyproxy_gets_no_blocked_name_through() -> Result<()> {
    past(&Ground::watched()?, dpyproxy, &DPYPROXY, false)
}

#[test]
fn dpyproxy_works_without_a_sensor() -> Result<()> {
    past(&Ground::unwatched()?, dpyproxy, &DPYPROXY, true)
}

/// What running a program one way came to: each complaint.
type Tried = fn(&Ground, &[&str], bool) -> Result<Vec<String>>;

fn past(ground: &Ground, tool: Tried, ways: &[&[&str]], blocked_loads: bool) -> Result<()> {
    let mut complaints = Vec::new();
    for options in ways {
        let heard = tool(ground, options, blocked_loads)?;
        complaints.extend(heard.iter().map(|what| format!("  {}: {what}", options.join(" "))));
    }
    trial::conclude(&complaints, ways.len());
    Ok(())
}

fn dpibreak(ground: &Ground, options: &[&str], blocked_loads: bool) -> Result<Vec<String>> {
    let client = ground.lab.client();
    // With a /run of its own, where it and iptables leave files.
    let mut command = client.command("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /run && exec \"$@\"", "sh"]);
    command.arg(named_by(DPIBREAK_VARIABLE)?);
    let running = Running::start(command.args(options), &ground.lab.directory().join("dpibreak"))?;
    // A queue's line has its number first, and eighth how many packets it was given.
    let queued = || -> Result<Option<u64>> {
        let queues = client.run("cat", &["/proc/self/net/netfilter/nfnetlink_queue"])?;
        let given = queues.split_whitespace().nth(7).map(str::parse);
        given.transpose().context("read the queue")
    };
    process::wait_until("dpibreak listens to its queue", LIMIT, queued)?;
    let known = queued()?;
    // Where nftables has no queues, it finds no hellos over IPv6.
    let mut complaints = loads(ground, Family::V4, &["--noproxy", "*"], blocked_loads)?;
    if queued()? == known {
        complaints.push("dpibreak saw no packet".to_owned());
    }
    running.stop(LIMIT)?;
    Ok(complaints)
}

fn dpyproxy(ground: &Ground, options: &[&str], blocked_loads: bool) -> Result<Vec<String>> {
    let client = ground.lab.client();
    let mut command = client.command(named_by(DPYPROXY_VARIABLE)?);
    command.args(["-I", "-m", "dpyproxy", "--disabled_modules", "DNS,HTTP"]).args(options);
    let _running = Running::start(&mut command, &ground.lab.directory().join("dpyproxy"))?;
    process::wait_until("dpyproxy listens", LIMIT, || {
        let sockets = client.run("ss", &["--listening", "--tcp", "--numeric"])?;
        Ok(sockets.contains(":4433 ").then_some(()))
    })?;
    let mut complaints = loads(ground, Family::V4, &["--proxy", PROXY], blocked_loads)?;
    complaints.extend(loads(ground, Family::V6, &["--proxy", PROXY], blocked_loads)?);
    Ok(complaints)
}

/// Complains unless the allowed name loads, and the blocked one only if it should.
fn loads(
    ground: &Ground,
    family: Family,
    options: &[&str],
    blocked_loads: bool,
) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (name, should) in [(BLOCKED, blocked_loads), (ALLOWED, true)] {
        let address = match family {
            Family::V4 => family.server().to_string(),
            Family::V6 => format!("[{}]", family.server()),
        };
        let mut curl = ground.lab.client().command("curl");
        curl.args(["--silent", "--show-error", "--max-time", CURL_SECONDS, "--cacert"]);
        curl.arg(ground.web.authority()).args(options);
        curl.arg("--connect-to").arg(format!("{name}:443:{address}:443"));
        let got = process::finish(curl.arg(format!("https://{name}/")), LIMIT)?;
        if (got.stdout == page_of(name)) != should {
            let said = got.stderr.trim();
            let fault = if should { "does not load" } else { "loads" };
            complaints.push(format!("{name} ({family:?}) {fault} {said}"));
        }
    }
    Ok(complaints)
}
