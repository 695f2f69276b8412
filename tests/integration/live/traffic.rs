//! Connections by plan. Times are of the machine's monotonic clock, which all namespaces share, so that
//! what one end does and the other sees can be compared.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process::{self, Running};
use sensor_lab::servers::WebServer;
use serde_json::{Value, json};

use super::ALLOWED;

const DIAL: &str = include_str!("dial.py");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Udp,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Udp => "udp",
        }
    }
}

/// One connection to make.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    /// The client's port; 0 for any.
    pub(super) port: u16,
    pub(super) family: Family,
    pub(super) to: u16,
    pub(super) scheme: Scheme,
    pub(super) name: String,
    pub(super) path: String,
    /// Bytes of the request beyond need; of the datagrams, the longest.
    pub(super) padding: usize,
    /// Small segments behind the request's start, which then never ends.
    pub(super) pieces: usize,
    /// Reset by the client after the answer's first bytes.
    pub(super) abort: bool,
    /// From the start of the plan.
    pub(super) after: Duration,
    pub(super) timeout: Duration,
}

impl Dial {
    pub(super) fn new(scheme: Scheme, name: &str) -> Self {
        let to = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
            // Nobody listens: the answer is an ICMP error, which is another flow.
            Scheme::Udp => 4433,
        };
        Self {
            port: 0,
            family: Family::V4,
            to,
            scheme,
            name: name.to_owned(),
            path: "/".to_owned(),
            padding: 0,
            pieces: 0,
            abort: false,
            after: Duration::ZERO,
            timeout: Duration::from_secs(10),
        }
    }

    fn line(&self) -> Value {
        json!({
            "port": self.port, "address": self.family.server().to_string(), "to": self.to,
            "scheme": self.scheme.name(), "name": self.name, "path": self.path,
            "padding": self.padding, "pieces": self.pieces, "abort": self.abort,
            "after": self.after.as_secs_f64(), "timeout": self.timeout.as_secs_f64(),
        })
    }
}

/// What came of a connection.
#[derive(Clone, Debug)]
pub(super) struct Dialled {
    pub(super) port: u16,
    pub(super) name: String,
    /// `done`, `page` for a block page, `reset`, `timeout`, or `other` with a detail.
    pub(super) outcome: String,
    pub(super) detail: String,
    /// Read by the client.
    pub(super) bytes: u64,
    /// When the connection stood and the first byte was about to go.
    pub(super) sent_at: f64,
    pub(super) ended_at: f64,
}

impl Dialled {
    /// The client was told that it may not: over TLS by a reset, else by a page.
    pub(super) fn is_refused(&self) -> bool {
        self.outcome == "reset" || self.outcome == "page"
    }

    fn parse(line: &str) -> Result<Self> {
        let value = Fields::parse(line)?;
        Ok(Self {
            port: value.port()?,
            name: value.text("name")?,
            outcome: value.text("outcome")?,
            detail: value.text("detail")?,
            bytes: value.count("bytes")?,
            sent_at: value.time("sent_at")?,
            ended_at: value.time("ended_at")?,
        })
    }
}

/// A client at work on a plan; dropping it ends it.
pub(super) struct Dialler {
    running: Running,
    results: PathBuf,
    wanted: usize,
}

impl Dialler {
    /// Starts on a plan, so many connections at a time. Without a web server no certificate is checked.
    pub(super) fn start(
        lab: &Lab,
        web: Option<&WebServer>,
        plan: &[Dial],
        at_once: usize,
    ) -> Result<Self> {
        let in_lab = |name: &str| lab.directory().join(name);
        let (file, results) = (in_lab("plan"), in_lab("dialled"));
        let mut lines = String::new();
        for dial in plan {
            writeln!(lines, "{}", dial.line())?;
        }
        fs::write(&file, lines).context("write the plan")?;
        fs::write(&results, "").context("clear the results")?;
        let authority = web.map(WebServer::authority).unwrap_or_default();
        let mut python = lab.client().python(DIAL);
        python.arg(&file).arg(authority).arg(at_once.to_string());
        let running = Running::start(&mut python, &results)?;
        Ok(Self { running, results, wanted: plan.len() })
    }

    /// What has ended so far.
    pub(super) fn so_far(&self) -> Result<Vec<Dialled>> {
        whole_lines(&self.results)?.iter().map(|line| Dialled::parse(line)).collect()
    }

    pub(super) fn wait_for(&self, count: usize, limit: Duration) -> Result<()> {
        let enough = || Ok((self.so_far()?.len() >= count).then_some(()));
        process::wait_until(&format!("{count} connections"), limit, enough)
    }

    /// All results, once the last connection has ended.
    pub(super) fn finish(mut self, limit: Duration) -> Result<Vec<Dialled>> {
        process::wait_until("the end of the traffic", limit, || self.running.ended())?;
        let results = self.so_far()?;
        if results.len() != self.wanted {
            bail!("{} connections of {} have a result", results.len(), self.wanted);
        }
        Ok(results)
    }
}

/// One connection, from the first byte to its end. Without a web server no certificate is checked.
pub(super) fn dial(lab: &Lab, web: Option<&WebServer>, dial: Dial) -> Result<Dialled> {
    let limit = dial.timeout + process::SHORT;
    let mut results = Dialler::start(lab, web, &[dial], 1)?.finish(limit)?;
    results.pop().context("no result")
}

/// A 20 MB file, say, as a path of the web server.
pub(super) fn put(web: &WebServer, size: usize) -> Result<String> {
    let file = format!("{size}.bin");
    web.put(&file, &vec![b'.'; size])?;
    Ok(format!("/files/{file}"))
}

/// A mixed plan of allowed connections: TLS and plain, both families, datagrams, several sizes and ends.
/// Each has a port of its own, from `first_port` on, so that a port stands for a flow.
pub(super) fn mixed(web: &WebServer, first_port: u16, count: u16) -> Result<Vec<Dial>> {
    /// Around one, two and many segments of 1448 bytes.
    const ANSWERS: [usize; 7] = [0, 1, 1_000, 1_447, 1_449, 20_000, 90_000];
    const REQUESTS: [usize; 5] = [0, 100, 1_300, 3_000, 7_000];
    let paths = ANSWERS.iter().map(|size| put(web, *size)).collect::<Result<Vec<_>>>()?;
    let plan = (0..count).zip(paths.iter().cycle()).zip(REQUESTS.iter().cycle());
    let dial = |((number, path), padding): ((u16, &String), &usize)| {
        let scheme = match number % 9 {
            0..4 => Scheme::Https,
            4..8 => Scheme::Http,
            _ => Scheme::Udp,
        };
        Dial {
            port: first_port + number,
            family: if number % 4 < 2 { Family::V4 } else { Family::V6 },
            path: path.clone(),
            padding: if scheme == Scheme::Udp { padding % 1_400 } else { *padding },
            abort: number % 11 == 10,
            ..Dial::new(scheme, ALLOWED)
        }
    };
    Ok(plan.map(dial).collect())
}

/// The lines that are written to their end.
pub(super) fn whole_lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole.lines().map(str::to_owned).collect())
}

/// A line of JSON.
pub(super) struct Fields(Value);

impl Fields {
    pub(super) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).map(Self).with_context(|| format!("a program said {line:?}"))
    }

    fn get<'a, T>(&'a self, key: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T> {
        self.0.get(key).and_then(read).with_context(|| format!("no {key} in {}", self.0))
    }

    pub(super) fn text(&self, key: &str) -> Result<String> {
        self.get(key, Value::as_str).map(str::to_owned)
    }

    pub(super) fn count(&self, key: &str) -> Result<u64> {
        self.get(key, Value::as_u64)
    }

    pub(super) fn time(&self, key: &str) -> Result<f64> {
        self.get(key, Value::as_f64)
    }

    fn port(&self) -> Result<u16> {
        Ok(u16::try_from(self.count("port")?)?)
    }
}
