//! A server that reads and never answers, so that whatever reaches a client is the sensor's; and ends that
//! make the sensor's work hard.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process::{self, Running};

use super::traffic::{Fields, whole_lines};

const LISTEN: &str = include_str!("listen.py");

/// What a program in the server's namespace has seen of its connections.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// `accepted`, `bytes`, `reset` or `end`.
    pub(super) event: String,
    /// The client's address as the server sees it.
    pub(super) peer: String,
    /// Bytes the program has read of the connection so far.
    pub(super) bytes: u64,
    pub(super) at: f64,
}

/// A server that reads and never answers; dropping it ends it.
pub(super) struct Listener {
    events: PathBuf,
    _running: Running,
}

impl Listener {
    pub(super) fn start(lab: &Lab, ports: &[u16]) -> Result<Self> {
        let events = lab.directory().join("listener");
        let mut python = lab.server().python(LISTEN);
        python.args(ports.iter().map(u16::to_string));
        let running = Running::start(&mut python, &events)?;
        let listener = Self { events, _running: running };
        listener.wait_for("listening", 0)?;
        Ok(listener)
    }

    /// Everything that has happened.
    pub(super) fn seen(&self) -> Result<Vec<Seen>> {
        let parse = |line: &String| {
            let value = Fields::parse(line)?;
            Ok(Seen {
                event: value.text("event")?,
                peer: value.text("peer")?,
                bytes: value.count("bytes")?,
                at: value.time("at")?,
            })
        };
        whole_lines(&self.events)?.iter().map(parse).collect()
    }

    /// The first `event` behind the first `known` events.
    pub(super) fn wait_for(&self, event: &str, known: usize) -> Result<Seen> {
        process::wait_until(&format!("{event} at the server"), process::SHORT, || {
            Ok(self.seen()?.into_iter().skip(known).find(|seen| seen.event == event))
        })
    }
}

/// Drops inbound resets before the TCP stack of a namespace sees them.
pub(super) fn deafen(nft: &mut Command) -> Result<()> {
    let rules = "add table inet deaf\n\
                 add chain inet deaf input { type filter hook input priority filter; }\n\
                 add rule inet deaf input tcp flags & rst == rst counter drop\n";
    process::run(nft.arg(rules)).map(drop)
}

/// Lets the client have so many segments in flight from the start.
pub(super) fn open_wide(lab: &Lab, segments: u32) -> Result<()> {
    let gateway = Family::V4.gateway().to_string();
    let window = segments.to_string();
    let route = ["route", "change", "default", "via", &gateway, "initcwnd", &window];
    lab.client().run("ip", &route).map(drop)
}
