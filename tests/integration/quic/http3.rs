//! A server and a client of HTTP/3, both aioquic's.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sensor_lab::clients::{HTTP3_VARIABLE, Outcome};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::namespace::Namespace;
use sensor_lab::process::{self, Running};
use sensor_lab::servers::{WebServer, page_of};
use serde::Deserialize;
use serde_json::json;

pub(super) const PORT: u16 = 443;

const SERVER: &str = include_str!("server.py");
const CLIENT: &str = include_str!("client.py");

/// So many clients are at it at once where none is expected to get an answer.
const AT_ONCE: usize = 10;

/// A client that is not told otherwise takes a round trip for this long.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Whether clients have to show first that they are where they say they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validation {
    None,
    /// By Retry ([RFC 9000 section 8.1.2](https://www.rfc-editor.org/rfc/rfc9000#section-8.1.2)).
    Retry,
}

/// The server; dropping it ends it.
pub(super) struct Http3Server {
    log: PathBuf,
    _running: Running,
}

/// What has reached the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    /// `hello`, `data` or `request`.
    #[serde(rename = "event")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
    /// Of a request: what was agreed on.
    pub(super) protocol: Option<String>,
    pub(super) version: Option<u32>,
}

/// A hello, and where its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Of one datagram.
    Small,
    /// Of two, with the name in the first.
    Long,
    /// Of two, with the name in the second.
    Late,
}

/// How pages are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) hello: Hello,
    pub(super) family: Family,
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Version {
    V1 = 1,
    V2 = 0x6b33_43cf,
}

/// What a client got.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// From the first datagram to the first byte of the answer.
    pub(super) took: Duration,
    /// When that byte came, in seconds since 1970.
    pub(super) answered_at: f64,
    /// The first destination identifier, which tells the connection in a capture.
    pub(super) connection: String,
}

#[derive(Deserialize)]
struct Report {
    name: String,
    outcome: String,
    detail: String,
    status: u16,
    body: String,
    seconds: f64,
    answered_at: f64,
    connection: String,
}

/// The client's machine.
pub(super) struct Client {
    namespace: Namespace,
    authority: PathBuf,
    python: PathBuf,
    /// The port of the next connection. Ports that come again have tests of their own, and a connection here is to be
    /// judged by nothing but its hello.
    port: AtomicU16,
}

/// The first port of clients: below those that the kernel gives to whoever names none.
const PORTS: u16 = 10_000;

/// The Python that has aioquic.
pub(super) fn python() -> Result<PathBuf> {
    let python = env::var_os(HTTP3_VARIABLE);
    let python = python.with_context(|| {
        format!("no {HTTP3_VARIABLE}: run `cargo xtask test quic`, which sets it")
    })?;
    Ok(python.into())
}

/// A program of its, given as its text.
fn program(namespace: &Namespace, python: &PathBuf, text: &str) -> Command {
    let mut command = namespace.command(python);
    command.args(["-I", "-c", text]);
    command
}

impl Http3Server {
    /// Serves every name on UDP port 443 of the server, over both families; returns when it listens.
    pub(super) fn start(lab: &Lab, web: &WebServer, validation: Validation) -> Result<Self> {
        let log = lab.directory().join("http3.log");
        let authority = web.authority();
        let mut command = program(lab.server(), &python()?, SERVER);
        command.arg(&authority).arg(authority.with_extension("key")).arg(page_of("$host"));
        command.arg(PORT.to_string());
        if validation == Validation::Retry {
            command.arg("retry");
        }
        let mut running = Running::start(&mut command, &log)?;
        process::wait_until("the HTTP/3 server listens", process::SHORT, || {
            let said = fs::read_to_string(&log).context("read its log")?;
            if let Some(status) = running.ended()? {
                bail!("it ended with {status}: {said}");
            }
            Ok(said.contains("listening").then_some(()))
        })?;
        Ok(Self { log, _running: running })
    }

    /// All that has reached it.
    pub(super) fn events(&self) -> Result<Vec<Event>> {
        let said = fs::read_to_string(&self.log).context("read the HTTP/3 server's log")?;
        let parse = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("the HTTP/3 server said {line:?}"))
        };
        said.lines().map(parse).collect()
    }

    /// Those of one kind.
    pub(super) fn of(&self, kind: &str) -> Result<Vec<Event>> {
        Ok(self.events()?.into_iter().filter(|event| event.kind == kind).collect())
    }
}

impl Load {
    pub(super) fn new(hello: Hello, family: Family) -> Self {
        Self { hello, family, version: Version::V1 }
    }
}

impl Client {
    pub(super) fn new(lab: &Lab, web: &WebServer) -> Result<Self> {
        Ok(Self {
            namespace: lab.client().clone(),
            authority: web.authority(),
            port: AtomicU16::new(PORTS),
            python: python()?,
        })
    }

    /// Asks for one name after the other, and sends nothing a second time: what does not pass is not answered.
    pub(super) fn load(&self, load: Load, names: &[String]) -> Result<Vec<Answer>> {
        let limit = process::SHORT;
        self.ask(load, names, limit, limit, false)
    }

    /// Asks for names that are expected to get no answer, several at once, and goes on with each for `limit`.
    pub(super) fn try_for(
        &self,
        load: Load,
        names: &[String],
        limit: Duration,
    ) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for some in names.chunks(AT_ONCE) {
            answers.extend(self.ask(load, some, limit, ROUND_TRIP, true)?);
        }
        Ok(answers)
    }

    fn ask(
        &self,
        load: Load,
        names: &[String],
        limit: Duration,
        round_trip: Duration,
        together: bool,
    ) -> Result<Vec<Answer>> {
        let hello = match load.hello {
            Hello::Small => "small",
            Hello::Long => "long",
            Hello::Late => "late",
        };
        let options = json!({
            "address": load.family.server(), "port": PORT, "authority": self.authority,
            "version": load.version as u32, "hello": hello, "timeout": limit.as_secs_f64(),
            "patience": round_trip.as_secs_f64(), "together": together,
            "from": self.port.fetch_add(u16::try_from(names.len())?, Ordering::Relaxed),
        });
        let mut client = program(&self.namespace, &self.python, CLIENT);
        client.arg(options.to_string()).args(names);
        let whole = limit * u32::try_from(names.len())? + process::SHORT;
        let finished = process::finish(&mut client, whole)?;
        let said = || format!("the HTTP/3 client said {:?}", finished.stderr.trim());
        let answers = finished.stdout.lines().map(parse).collect::<Result<Vec<_>>>();
        let answers = answers.with_context(said)?;
        ensure!(answers.len() == names.len(), "{} answers: {}", answers.len(), said());
        Ok(answers)
    }
}

fn parse(line: &str) -> Result<Answer> {
    let report: Report =
        serde_json::from_str(line).with_context(|| format!("read the report {line:?}"))?;
    let outcome = match report.outcome.as_str() {
        "page" => Outcome::Page { status: report.status, body: report.body },
        "timeout" => Outcome::Timeout,
        _ => Outcome::Other(report.detail),
    };
    Ok(Answer {
        name: report.name,
        outcome,
        took: Duration::try_from_secs_f64(report.seconds)?,
        answered_at: report.answered_at,
        connection: report.connection,
    })
}
