//! Servers that are not nginx: one that reads whatever TLS allows, one that talks before it does TLS.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sensor_lab::lab::Lab;
use sensor_lab::process::{self, Running};
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Script, Step, cut, pieces, whole};
use sensor_lab::servers::{ReadHello, WebServer};
use serde_json::Value;

use super::case::{Case, case};
use super::draft::{Draft, Hello};

const SPEAKER: &str = include_str!("speaker.py");
/// TLS from the first byte.
pub(super) const TLS_PORT: u16 = 8443;
/// Lines, and TLS behind them.
const LINES_PORT: u16 = 2525;
const STARTTLS: &[u8] = b"STARTTLS\r\n";

pub(super) struct Speaker {
    log: PathBuf,
    _python: Running,
}

impl Speaker {
    pub(super) fn start(lab: &Lab, web: &WebServer) -> Result<Self> {
        let log = lab.directory().join("speaker");
        let mut python = lab.server().python(SPEAKER);
        python.args(web.certificate()).args([TLS_PORT, LINES_PORT].map(|port| port.to_string()));
        let running = Running::start(&mut python, &log)?;
        process::wait_until("the other servers listen", process::SHORT, || {
            let sockets = lab.server().run("ss", &["--listening", "--tcp", "--numeric"])?;
            let listens = |port: u16| sockets.contains(&format!(":{port} "));
            Ok((listens(TLS_PORT) && listens(LINES_PORT)).then_some(()))
        })?;
        Ok(Self { log, _python: running })
    }

    /// The hellos they have read.
    pub(super) fn hellos(&self) -> Result<Vec<ReadHello>> {
        let log = fs::read_to_string(&self.log).context("read what the other servers said")?;
        let parse = |line: &str| {
            let value: Value =
                serde_json::from_str(line).with_context(|| format!("read {line:?}"))?;
            let text = |key: &str| value.get(key).and_then(Value::as_str).context("a text");
            Ok(ReadHello { from: text("from")?.parse()?, name: text("name")?.to_owned() })
        };
        log.lines().map(parse).collect()
    }
}

/// Hellos behind lines.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a hello behind a line", |draft| behind(draft, STARTTLS, |bytes| whole(0, bytes))),
        case("a hello behind a line, cut in the name", |draft| {
            let at = draft.small().name.start + 5;
            behind(draft, STARTTLS, move |bytes| cut(bytes, &[at]))
        }),
        case("a hello behind a line, reversed", |draft| {
            behind(draft, STARTTLS, |bytes| pieces(bytes, 60).into_iter().rev().collect())
        }),
        case("a hello behind 6,000 bytes of lines", |draft| {
            let lines = [&b"NOOP\r\n".repeat(1_000), STARTTLS].concat();
            behind(draft, &lines, |bytes| whole(0, bytes))
        }),
        case("a hello behind twenty segments of one byte", |draft| {
            let Hello { bytes, .. } = draft.small();
            let lines = [b"NOOP NOOP\n", STARTTLS].concat();
            Script::of(&[&lines, &bytes[..]].concat())
                .to(LINES_PORT)
                .then(Step::AwaitData)
                .send(pieces(&lines, 1))
                .then(Step::AwaitData)
                .send(moved(lines.len(), whole(0, &bytes)))
        }),
        case("a hello in the same segment as the line", |draft| {
            let Hello { bytes, .. } = draft.small();
            let sent = [STARTTLS, &bytes].concat();
            Script::of(&sent).to(LINES_PORT).then(Step::AwaitData).send(whole(0, &sent))
        }),
        case("a hello to another port", |draft| {
            let Hello { bytes, .. } = draft.large();
            Script::of(&bytes).to(TLS_PORT).send(whole(0, &bytes))
        }),
    ]
}

/// The hello in these segments, when the server wants it.
fn behind(draft: &Draft, lines: &[u8], segments: impl Fn(&[u8]) -> Vec<Segment>) -> Script {
    let Hello { bytes, .. } = draft.small();
    Script::of(&[lines, &bytes].concat())
        .to(LINES_PORT)
        .then(Step::AwaitData)
        .send(whole(0, lines))
        .then(Step::AwaitData)
        .send(moved(lines.len(), segments(&bytes)))
}

fn moved(by: usize, segments: Vec<Segment>) -> impl Iterator<Item = Segment> {
    segments.into_iter().map(move |segment| segment.moved(by as i64))
}
