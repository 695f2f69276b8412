//! A TLS client that stops in the middle of its hello, and again before its request, until it is told to go on.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::{Outcome, read_python};
use sensor_lab::lab::Family;
use sensor_lab::process::{self, Running};

use super::Site;

const PATIENT: &str = include_str!("patient.py");
/// Of the client itself, at each of its steps.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where it stops.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// Half the name is sent.
    InHello,
    /// The handshake is done, and the request to come.
    BeforeRequest,
}

pub(super) struct Patient {
    folder: PathBuf,
    said: PathBuf,
    client: Running,
}

impl Patient {
    /// Begins a connection for `name`.
    pub(super) fn start(site: &Site, name: &str, family: Family) -> Result<Self> {
        Self::within(site, name, family, TIMEOUT)
    }

    pub(super) fn within(
        site: &Site,
        name: &str,
        family: Family,
        timeout: Duration,
    ) -> Result<Self> {
        let folder = tempfile::tempdir_in(site.lab.directory()).context("make a folder")?.keep();
        let said = folder.join("said");
        let mut python = site.lab.client().python(PATIENT);
        python.args([name, &family.server().to_string(), "443"]).arg(site.web.authority());
        python.arg(&folder).arg(timeout.as_secs_f64().to_string());
        let client = Running::start(&mut python, &said)?;
        Ok(Self { folder, said, client })
    }

    /// Until it has stopped there.
    pub(super) fn wait_at(&self, stop: Stop) -> Result<()> {
        let file = self.folder.join(stop.file());
        let is_there = || Ok(file.exists().then_some(()));
        process::wait_until(&format!("the client stops: {stop:?}"), process::SHORT, is_there)
    }

    pub(super) fn go_on(&self, stop: Stop) -> Result<()> {
        let file = self.folder.join(format!("{}-on", stop.file()));
        fs::write(file, "").context("tell the client to go on")
    }

    /// What it got in the end.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        process::wait_until("the end of the client", 3 * TIMEOUT, || self.client.ended())?;
        let said = fs::read_to_string(&self.said).context("read what the client said")?;
        let answer = read_python(&said).with_context(|| format!("the client said {said:?}"))?;
        Ok(answer.outcome)
    }
}

impl Stop {
    fn file(self) -> &'static str {
        match self {
            Self::InHello => "half",
            Self::BeforeRequest => "ready",
        }
    }
}
