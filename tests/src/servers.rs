//! nginx in the server's namespace: HTTP and HTTPS for any number of names, each with a page of its own.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::lab::{Family, Lab};
use crate::namespace::Namespace;
use crate::process::{self, Running};

/// nginx starts in tens of milliseconds; this is for a machine that is busy with something else.
const START: Duration = Duration::from_secs(10);

/// A web server; dropping it stops it.
#[derive(Debug)]
pub struct WebServer {
    directory: PathBuf,
    _nginx: Running,
}

/// What the server speaks over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http2,
    /// A browser then asks for each name over a connection of its own. With HTTP/2 it puts names that one
    /// address and one certificate serve on a connection it already has.
    Http1,
}

/// One request that reached the server, from its access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub scheme: String,
    pub host: String,
    pub path: String,
    pub from: String,
    /// The name in the TLS handshake; empty for plain HTTP.
    pub sni: String,
}

/// A hello that the server's TLS library read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadHello {
    pub from: IpAddr,
    pub name: String,
}

/// The page that `name` serves under every path but `/files/`.
pub fn page_of(name: &str) -> String {
    format!("This is the page of {name}.\n")
}

impl WebServer {
    /// Serves `names` on ports 80 and 443 of the server, over both families; returns when it answers.
    pub fn start(lab: &Lab, names: &[&str]) -> Result<Self> {
        Self::start_speaking(lab, names, Protocol::Http2)
    }

    /// The same with a choice.
    pub fn start_speaking(lab: &Lab, names: &[&str], protocol: Protocol) -> Result<Self> {
        let directory = lab.directory().join("web");
        fs::create_dir_all(directory.join("files")).context("make the web server's directory")?;
        make_certificates(&directory, names)?;
        let config = directory.join("nginx.conf");
        fs::write(&config, configuration(&directory, protocol)).context("write nginx.conf")?;

        let log = directory.join("nginx.log");
        let mut command = lab.server().command("nginx");
        command.arg("-p").arg(&directory).arg("-c").arg(&config);
        let mut nginx = Running::start(&mut command, &log)?;
        process::wait_until("nginx answers", START, || {
            if let Some(status) = nginx.ended()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("nginx ended with {status}: {}", said.trim());
            }
            Ok((answers(lab.server(), Family::V4)? && answers(lab.server(), Family::V6)?)
                .then_some(()))
        })?;
        fs::write(directory.join("access.log"), "").context("clear the access log")?;
        Ok(Self { directory, _nginx: nginx })
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The server's certificate and its key, for other servers of the same names.
    pub fn certificate(&self) -> [PathBuf; 2] {
        ["server.pem", "server.key"].map(|file| self.directory.join(file))
    }

    /// Serves `content` as `/files/<file>` under every name.
    pub fn put(&self, file: &str, content: &[u8]) -> Result<()> {
        let path = self.directory.join("files").join(file);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }

    /// What has reached the server so far. A request is logged when its answer has been sent, so the
    /// last one may lag behind its client: see [`Self::wait_for`].
    pub fn arrivals(&self) -> Result<Vec<Arrival>> {
        let log = fs::read_to_string(self.directory.join("access.log")).context("read the log")?;
        log.lines().map(parse_arrival).collect()
    }

    /// The hellos with a name that the server has read from scripted devices.
    pub fn hellos(&self) -> Result<Vec<ReadHello>> {
        let log = fs::read(self.directory.join("error.log")).context("read the error log")?;
        Ok(parse_hellos(&String::from_utf8_lossy(&log)))
    }

    /// The first request for `host` to arrive within `limit`.
    pub fn wait_for(&self, host: &str, limit: Duration) -> Result<Arrival> {
        process::wait_until(&format!("a request for {host}"), limit, || {
            Ok(self.arrivals()?.into_iter().find(|arrival| arrival.host == host))
        })
    }
}

fn answers(server: &Namespace, family: Family) -> Result<bool> {
    let url = match family {
        Family::V4 => format!("http://{}/", family.server()),
        Family::V6 => format!("http://[{}]/", family.server()),
    };
    let mut curl = server.command("curl");
    curl.args(["--silent", "--max-time", "2", "--output", "/dev/null", &url]);
    Ok(process::finish(&mut curl, process::SHORT)?.status.success())
}

/// One process, so that ending it ends all of it; every file in the lab's directory.
fn configuration(directory: &Path, protocol: Protocol) -> String {
    let directory = directory.display();
    let tls = match protocol {
        Protocol::Http2 => "ssl http2",
        Protocol::Http1 => "ssl",
    };
    let page = page_of("$host").replace('\n', "\\n");
    let [devices_v4, devices_v6] = [Family::V4, Family::V6].map(Family::devices);
    format!(
        r#"daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{
    debug_connection {devices_v4};
    debug_connection {devices_v6};
}}
http {{
    log_format lab escape=json
        '{{"scheme":"$scheme","host":"$host","path":"$request_uri","from":"$remote_addr","sni":"$ssl_server_name"}}';
    access_log {directory}/access.log lab;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    default_type text/plain;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 80;
        listen [::]:80;
        listen 443 {tls} fastopen=64;
        listen [::]:443 {tls} fastopen=64;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.key;
        location / {{ return 200 "{page}"; }}
        location /files/ {{ alias {directory}/files/; }}
    }}
}}
"#
    )
}

/// An authority of the lab's own, and one certificate from it for all names.
fn make_certificates(directory: &Path, names: &[&str]) -> Result<()> {
    let in_directory = |file: &str| directory.join(file).display().to_string();
    let (ca_key, ca) = (in_directory("ca.key"), in_directory("ca.pem"));
    let (key, request, certificate) =
        (in_directory("server.key"), in_directory("server.csr"), in_directory("server.pem"));
    let extensions = in_directory("server.ext");
    let alternatives: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let text = format!(
        "subjectAltName={}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n\
         basicConstraints=CA:FALSE\n",
        alternatives.join(",")
    );
    fs::write(&extensions, text).context("write the certificate's extensions")?;

    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(&[
        &["req", "-x509", "-days", "2", "-subj", "/CN=campus-sensor lab authority"],
        &curve[..],
        &["-addext", "keyUsage=critical,keyCertSign", "-keyout", &ca_key, "-out", &ca],
    ])?;
    openssl(&[
        &["req", "-subj", "/CN=campus-sensor lab server"],
        &curve[..],
        &["-keyout", &key, "-out", &request],
    ])?;
    openssl(&[
        &["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca, "-CAkey", &ca_key],
        &["-CAcreateserial", "-extfile", &extensions, "-out", &certificate],
    ])
}

fn openssl(args: &[&[&str]]) -> Result<()> {
    process::run(std::process::Command::new("openssl").args(args.concat())).map(drop)
}

/// From nginx's debug log, which follows the connections of scripted devices:
/// `… *7 accept: 10.78.0.1:20000 fd:9` and `… *7 SSL server name: "a.example"`.
fn parse_hellos(log: &str) -> Vec<ReadHello> {
    let mut from = HashMap::new();
    let mut hellos = Vec::new();
    for line in log.lines() {
        let Some((_, event)) = line.split_once(" *") else { continue };
        let Some((connection, event)) = event.split_once(' ') else { continue };
        if let Some(end) = event.strip_prefix("accept: ") {
            let end = end.split(' ').next().and_then(|end| end.parse::<SocketAddr>().ok());
            from.extend(end.map(|end| (connection, end.ip())));
        } else if let Some(name) = event.strip_prefix("SSL server name: ")
            && let Some(&from) = from.get(connection)
        {
            hellos.push(ReadHello { from, name: name.trim_matches('"').to_owned() });
        }
    }
    hellos
}

fn parse_arrival(line: &str) -> Result<Arrival> {
    let value: Value =
        serde_json::from_str(line).with_context(|| format!("read the log line {line:?}"))?;
    let text = |key: &str| {
        let text = value.get(key).and_then(Value::as_str);
        text.map(str::to_owned).with_context(|| format!("no {key} in the log line {line:?}"))
    };
    Ok(Arrival {
        scheme: text("scheme")?,
        host: text("host")?,
        path: text("path")?,
        from: text("from")?,
        sni: text("sni")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Arrival, ReadHello, parse_arrival, parse_hellos};

    #[test]
    fn a_hello_belongs_to_the_connection_it_came_on() {
        let log = "1970/01/01 00:00:00 [debug] 7#7: *3 accept: 10.78.0.6:20004 fd:12\n\
                   1970/01/01 00:00:00 [debug] 7#7: *4 accept: [fd78::1]:20000 fd:13\n\
                   1970/01/01 00:00:00 [debug] 7#7: *4 SSL server name: \"a.example\"\n\
                   1970/01/01 00:00:00 [debug] 7#7: *9 SSL server name: \"b.example\"\n";
        let expected = ReadHello { from: "fd78::1".parse().unwrap(), name: "a.example".into() };
        assert_eq!(parse_hellos(log), [expected]);
    }

    #[test]
    fn a_log_line_is_a_request() {
        let line = r#"{"scheme":"https","host":"a.example","path":"/x","from":"10.77.2.1","sni":"a.example"}"#;
        let expected = Arrival {
            scheme: "https".into(),
            host: "a.example".into(),
            path: "/x".into(),
            from: "10.77.2.1".into(),
            sni: "a.example".into(),
        };
        assert_eq!(parse_arrival(line).unwrap(), expected);
        let error = parse_arrival(r#"{"scheme":"http"}"#).unwrap_err().to_string();
        assert!(error.starts_with("no host in the log line"), "{error}");
    }
}
