//! A machine with browsers on it: its `/etc/hosts` has the lab's names, and none of its processes outlives it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sensor_lab::clients::IMITATOR_VARIABLE;
use sensor_lab::lab::{Family, Lab};
use sensor_lab::namespace::PYTHON;
use sensor_lab::process;
use sensor_lab::servers::WebServer;
use serde_json::Value;

/// Puts files of the directory named first in the place of the machine's own, and goes on with the rest.
const WITH_NAMES: &str = r#"for file in hosts resolv.conf; do mount --bind "$0/$file" "/etc/$file" || exit; done
exec "$@""#;
/// Unless a test starts a resolver there nobody answers, and the kernel says so at once: what is not in the
/// hosts file does not exist.
const OWN_RESOLVER: &str = "nameserver 127.0.0.1\n";
const LOOPBACK: &str = "127.0.0.1 localhost\n";

/// A browser is up in seconds; this is for a machine that is busy with something else.
const START: Duration = Duration::from_mins(1);
const LOAD: Duration = Duration::from_secs(10);

/// What loads pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    /// Over TCP alone.
    Chromium,
    /// Over QUIC alone.
    ChromiumOverQuic,
    /// As people have it: over TCP, and over QUIC where a site's HTTPS record says that it has it.
    ChromiumOverBoth,
    Firefox,
    /// Over QUIC, and over TCP where nothing comes of it.
    FirefoxOverQuic,
    /// `curl_cffi`, with the hello of the browser named.
    Imitation(&'static str),
}

/// What became of a page.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// What the browser shows.
    pub(crate) text: String,
    /// Why it could not be loaded; empty if it was.
    pub(crate) error: String,
}

impl Browser {
    fn driver(self) -> Result<(PathBuf, &'static str)> {
        Ok(match self {
            Self::Chromium | Self::ChromiumOverQuic | Self::ChromiumOverBoth => {
                (PYTHON.into(), include_str!("chromium.py"))
            }
            Self::Firefox | Self::FirefoxOverQuic => (PYTHON.into(), include_str!("firefox.py")),
            Self::Imitation(_) => {
                let python = env::var_os(IMITATOR_VARIABLE).with_context(|| {
                    format!(
                        "no {IMITATOR_VARIABLE}: run `cargo xtask test browsers`, which sets it"
                    )
                })?;
                (python.into(), include_str!("imitate.py"))
            }
        })
    }

    /// Loads `https://<name>/` for each name, one after the other, in one browser that was never started
    /// before. Two names in turn are reached by IPv4 and two by IPv6. Chromium takes names with `http://` in
    /// front of them, too.
    pub(crate) fn load(self, lab: &Lab, web: &WebServer, names: &[String]) -> Result<Vec<Loaded>> {
        self.load_with(lab, web, names, &hosts_of(names)?)
    }

    /// The same with names that only the resolver at 127.0.0.1 knows. Chromium then asks it for addresses and
    /// HTTPS records by itself: names of the hosts file it asks nobody for.
    pub(crate) fn load_resolved(
        self,
        lab: &Lab,
        web: &WebServer,
        names: &[String],
    ) -> Result<Vec<Loaded>> {
        self.load_with(lab, web, names, LOOPBACK)
    }

    fn load_with(
        self,
        lab: &Lab,
        web: &WebServer,
        names: &[String],
        hosts: &str,
    ) -> Result<Vec<Loaded>> {
        let home = tempfile::tempdir_in(lab.directory()).context("make a home")?;
        for (file, text) in [("hosts", hosts), ("resolv.conf", OWN_RESOLVER)] {
            fs::write(home.path().join(file), text).with_context(|| format!("write {file}"))?;
        }
        let (python, text) = self.driver()?;
        let mut browser = machine(lab);
        browser
            .args(["sh", "-c", WITH_NAMES])
            .arg(home.path())
            .arg(python)
            .args(["-I", "-c", text]);
        match self {
            Self::Chromium | Self::Firefox => browser.arg("tcp").arg(home.path()),
            Self::ChromiumOverQuic | Self::FirefoxOverQuic => browser.arg("quic").arg(home.path()),
            Self::ChromiumOverBoth => browser.arg("both").arg(home.path()),
            Self::Imitation(whom) => browser.arg(whom),
        };
        browser.arg(web.authority()).args(names);
        let limit = START + LOAD * u32::try_from(names.len())?;
        let finished = process::finish(&mut browser, limit)?;
        let said = || format!("{self:?} said {:?}", finished.stderr.trim());
        ensure!(finished.status.success(), "{}: {}", finished.status, said());
        let loaded = finished.stdout.lines().map(parse).collect::<Result<Vec<_>>>();
        let loaded = loaded.with_context(said)?;
        ensure!(loaded.len() == names.len(), "{} pages: {}", loaded.len(), said());
        Ok(loaded)
    }
}

/// A program on the client's wire with mounts and process numbers of its own. When the first process ends,
/// however it does, the kernel ends all others: a browser is many, and some detach themselves. The first one
/// ends with us, also where nobody is left to end it.
fn machine(lab: &Lab) -> Command {
    let mut command = lab.client().command("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

fn hosts_of(names: &[String]) -> Result<String> {
    let mut hosts = LOOPBACK.to_owned();
    let families = [Family::V4, Family::V4, Family::V6, Family::V6];
    for (name, family) in names.iter().zip(families.into_iter().cycle()) {
        writeln!(hosts, "{} {}", family.server(), name.trim_start_matches("http://"))?;
    }
    Ok(hosts)
}

fn parse(line: &str) -> Result<Loaded> {
    let value: Value =
        serde_json::from_str(line).with_context(|| format!("a browser's driver said {line:?}"))?;
    let text = |key: &str| {
        let text = value.get(key).and_then(Value::as_str);
        text.map(str::to_owned).with_context(|| format!("no {key} in {line:?}"))
    };
    Ok(Loaded { name: text("name")?, text: text("text")?, error: text("error")? })
}
