//! Requests from the client's namespace, by real clients, and what became of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::lab::{Family, Lab};
use crate::namespace::Namespace;
use crate::process;
use crate::servers::WebServer;

const TLS_CLIENT: &str = include_str!("tls_client.py");

/// Names a Python that has `curl_cffi`, which sends the hellos of browsers; `cargo xtask` sets it.
pub const IMITATOR_VARIABLE: &str = "CAMPUS_SENSOR_IMITATOR";

/// Names a Python that has `aioquic`, which speaks HTTP/3; `cargo xtask` sets it.
pub const HTTP3_VARIABLE: &str = "CAMPUS_SENSOR_HTTP3";

/// curl's exit codes that matter here.
const CURL_TIMEOUT: i64 = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub scheme: Scheme,
    pub name: String,
    pub path: String,
    pub family: Family,
    pub timeout: Duration,
}

/// What the client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Page { status: u16, body: String },
    Reset,
    Timeout,
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    /// From the first SYN to the outcome, as the client itself measured it.
    pub elapsed: Duration,
}

/// The client's machine. It looks up no name: the lab's server has them all.
#[derive(Clone, Debug)]
pub struct Client {
    namespace: Namespace,
    authority: PathBuf,
}

impl Request {
    pub fn https(name: &str) -> Self {
        Self::new(Scheme::Https, name)
    }

    pub fn http(name: &str) -> Self {
        Self::new(Scheme::Http, name)
    }

    fn new(scheme: Scheme, name: &str) -> Self {
        Self {
            scheme,
            name: name.to_owned(),
            path: "/".to_owned(),
            family: Family::V4,
            timeout: Duration::from_secs(5),
        }
    }

    #[must_use]
    pub fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    #[must_use]
    pub fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// For requests that are expected to hang.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://{}{}", self.name, self.path)
    }

    fn server(&self) -> (IpAddr, u16) {
        let port = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        (self.family.server(), port)
    }

    /// The program's own limit comes first, so that it can still say what it saw.
    fn limit(&self) -> Duration {
        self.timeout + process::SHORT
    }
}

impl Client {
    pub fn new(lab: &Lab, web: &WebServer) -> Self {
        Self { namespace: lab.client().clone(), authority: web.authority() }
    }

    pub fn curl(&self, request: &Request) -> Result<Answer> {
        let (address, port) = request.server();
        let address = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let mut curl = self.namespace.command("curl");
        curl.arg("--silent").arg("--cacert").arg(&self.authority);
        curl.arg("--resolve").arg(format!("{}:{port}:{address}", request.name));
        curl.arg("--max-time").arg(request.timeout.as_secs_f64().to_string());
        curl.args(["--noproxy", "*", "--write-out", "%{stderr}%{json}"]).arg(request.url());
        let finished = process::finish(&mut curl, request.limit())?;
        read_curl(&finished.stderr, finished.stdout)
    }

    /// A TLS client of another make: Python's `ssl`, one handshake and one request.
    pub fn python(&self, request: &Request) -> Result<Answer> {
        let (address, port) = request.server();
        let mut python = self.namespace.python(TLS_CLIENT);
        python.arg(&request.name).arg(address.to_string());
        python.arg(port.to_string()).arg(&self.authority).arg(&request.path);
        python.arg(request.timeout.as_secs_f64().to_string());
        let finished = process::finish(&mut python, request.limit())?;
        read_python(&finished.stdout)
            .with_context(|| format!("the Python client said {:?}", finished.stderr.trim()))
    }
}

/// curl's own report of a transfer, and the body it received.
fn read_curl(report: &str, body: String) -> Result<Answer> {
    let report: Value =
        serde_json::from_str(report).with_context(|| format!("read curl's report {report:?}"))?;
    let number = |key: &str| report.get(key).and_then(Value::as_i64).unwrap_or(0);
    let message = report.get("errormsg").and_then(Value::as_str).unwrap_or_default();
    let seconds = report.get("time_total").and_then(Value::as_f64).unwrap_or(0.0);
    let outcome = match number("exitcode") {
        0 => Outcome::Page { status: status(number("http_code")), body },
        CURL_TIMEOUT => Outcome::Timeout,
        _ if is_reset(message) => Outcome::Reset,
        code => Outcome::Other(format!("curl {code}: {message}")),
    };
    Ok(Answer { outcome, elapsed: Duration::try_from_secs_f64(seconds)? })
}

/// The report of one of the Python clients.
pub fn read_python(report: &str) -> Result<Answer> {
    let report: Value = serde_json::from_str(report).context("read the Python client's report")?;
    let text = |key: &str| report.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let outcome = match text("outcome").as_str() {
        "page" => {
            let code = report.get("status").and_then(Value::as_i64).unwrap_or(0);
            Outcome::Page { status: status(code), body: text("body") }
        }
        "reset" => Outcome::Reset,
        "timeout" => Outcome::Timeout,
        _ => Outcome::Other(text("detail")),
    };
    let seconds = report.get("seconds").and_then(Value::as_f64).context("no time in the report")?;
    Ok(Answer { outcome, elapsed: Duration::try_from_secs_f64(seconds)? })
}

fn status(code: i64) -> u16 {
    u16::try_from(code).unwrap_or(0)
}

/// curl has no exit code for a reset: it depends on what the connection was doing. The text, which is
/// the operating system's, does not.
fn is_reset(message: &str) -> bool {
    message.contains("Connection reset by peer")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answer, Outcome, read_curl, read_python};

    #[test]
    fn curl_reports_are_told_apart() {
        let check = |report: &str, expected: Outcome| {
            let answer = read_curl(report, "hello".to_owned()).unwrap();
            assert_eq!(answer, Answer { outcome: expected, elapsed: Duration::from_millis(2) });
        };
        check(
            r#"{"exitcode":0,"errormsg":null,"http_code":200,"time_total":0.002}"#,
            Outcome::Page { status: 200, body: "hello".into() },
        );
        check(
            r#"{"exitcode":35,"errormsg":"OpenSSL SSL_connect: Connection reset by peer in connection to a.example:443 ","http_code":0,"time_total":0.002}"#,
            Outcome::Reset,
        );
        check(
            r#"{"exitcode":56,"errormsg":"Recv failure: Connection reset by peer","http_code":0,"time_total":0.002}"#,
            Outcome::Reset,
        );
        check(
            r#"{"exitcode":28,"errormsg":"Operation timed out","http_code":0,"time_total":0.002}"#,
            Outcome::Timeout,
        );
        check(
            r#"{"exitcode":52,"errormsg":"Empty reply from server","http_code":0,"time_total":0.002}"#,
            Outcome::Other("curl 52: Empty reply from server".into()),
        );
    }

    #[test]
    fn python_reports_are_told_apart() {
        let check = |report: &str, expected: Outcome| {
            assert_eq!(read_python(report).unwrap().outcome, expected);
        };
        check(
            r#"{"outcome":"page","status":200,"body":"x","seconds":0.1}"#,
            Outcome::Page { status: 200, body: "x".into() },
        );
        check(r#"{"outcome":"reset","seconds":0.1}"#, Outcome::Reset);
        check(r#"{"outcome":"timeout","seconds":0.1}"#, Outcome::Timeout);
        check(
            r#"{"outcome":"other","detail":"SSLEOFError: eof","seconds":0.1}"#,
            Outcome::Other("SSLEOFError: eof".into()),
        );
        assert!(read_python("Traceback").is_err());
    }
}
