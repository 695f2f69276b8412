//! What records say of real clients' hellos, against what an independent reader makes of the same bytes, as
//! they arrived at the server.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::IMITATOR_VARIABLE;
use sensor_lab::lab::{Family, Lab, Plan, Translation};
use sensor_lab::process::{self, Running};
use sensor_lab::sensor::Mode;
use sensor_lab::servers::WebServer;
use sensor_user::record::Record;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tls_parser::{TlsExtension, TlsMessage, TlsMessageHandshake};

use super::{ALLOWED, say, serve, start_sensor, stored};

const SERVER: &str = include_str!("peek.py");
const PORT: u16 = 8443;
const NAME: &str = "open1.library.example";

const IMITATE: &str = r"import sys
from curl_cffi import CurlOpt, requests
browser, url, address, authority = sys.argv[1:]
options = {CurlOpt.RESOLVE: [address.encode()]}
with requests.Session(curl_options=options) as session:
    print(session.get(url, impersonate=browser, verify=authority, timeout=10).text)
";
const IMITATED: [&str; 4] = ["chrome", "safari", "firefox", "chrome99"];

const CURL: [&[&str]; 4] =
    [&[], &["--tls-max", "1.2"], &["--http1.1", "--curves", "X25519"], &["--no-alpn"]];
const OPENSSL: [&[&str]; 5] = [
    &[],
    &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    &["-alpn", "imap"],
    &["-noservername"],
    &["-sigalgs", "ECDSA+SHA256", "-groups", "P-256"],
];

#[test]
fn records_say_of_a_hello_what_another_reader_says_of_it() -> Result<()> {
    // Without translation, so that a port stands for a connection at both ends.
    let lab = Lab::with(Plan { translation: Translation::None, ..Plan::default() })?;
    let web = serve(&lab)?;
    let server = Server::start(&lab, &web)?;
    let sensor = start_sensor(&lab, Mode::Auto)?;

    let mut clients = clients(&lab, &web)?;
    let count = clients.len();
    for client in &mut clients {
        // What the client makes of the page is not the question here.
        process::finish(client, process::SHORT)?;
    }
    let hellos = server.hellos(count)?;
    let records = process::wait_until("a record of each hello", process::SHORT, || {
        let mut records = stored(&sensor)?;
        records.retain(|one| one.peer_port == PORT);
        Ok((records.len() == count).then_some(records))
    })?;
    let mut complaints = Vec::new();
    let mut kinds = BTreeMap::<String, usize>::new();
    for record in &records {
        let hello = hellos.get(&record.device_port).context("a record of no hello")?;
        let (read, expected) = (Facts::of_record(record), Facts::of_bytes(hello)?);
        *kinds.entry(format!("{expected:?}")).or_default() += 1;
        if read != expected {
            complaints.push(format!("recorded {read:?}, read {expected:?}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    for (facts, count) in &kinds {
        say(&format!("{count} x {facts}"));
    }
    // The clients are of several kinds, or this proves little.
    assert!(kinds.len() >= count - 2, "{kinds:?}");
    for seen in ["ech: Some(true)", "ech: Some(false)", "\"TLS 1.2\"", "\"TLS 1.3\"", "alpn: []"] {
        assert!(kinds.keys().any(|facts| facts.contains(seen)), "none with {seen}: {kinds:?}");
    }
    Ok(())
}

/// What both say.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    name: Option<String>,
    tls_version: Option<String>,
    alpn: Vec<String>,
    ech: Option<bool>,
    ja4: Option<String>,
}

impl Facts {
    fn of_record(record: &Record) -> Self {
        let Record { name, tls_version, alpn, ech, ja4, .. } = record.clone();
        Self { name, tls_version, alpn, ech, ja4 }
    }

    /// By tls-parser, and JA4's own description.
    fn of_bytes(record: &[u8]) -> Result<Self> {
        let (rest, plaintext) =
            tls_parser::parse_tls_plaintext(record).ok().context("the record cannot be read")?;
        let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello))] = &plaintext.msg[..]
        else {
            anyhow::bail!("no hello in {record:02x?}");
        };
        assert_eq!(rest, [0_u8; 0]);
        let all = hello.ext.unwrap_or_default();
        let (rest, extensions) = tls_parser::parse_tls_client_hello_extensions(all)
            .ok()
            .context("the extensions cannot be read")?;
        assert_eq!(rest, [0_u8; 0]);

        let (mut name, mut alpn, mut signatures) = (None, Vec::new(), Vec::new());
        let mut version = hello.version.0;
        for extension in &extensions {
            match extension {
                TlsExtension::SNI(names) => name = names.first().map(|(_, name)| text(name)),
                TlsExtension::ALPN(names) => alpn = names.iter().map(|name| text(name)).collect(),
                TlsExtension::SignatureAlgorithms(all) => signatures.clone_from(all),
                TlsExtension::SupportedVersions(all) => {
                    let real =
                        all.iter().map(|version| version.0).filter(|number| is_real(*number));
                    version = real.max().context("no version")?;
                }
                _ => {}
            }
        }
        let types = types(all);
        let ech = types.contains(&0xfe0d);
        let ciphers: Vec<u16> = hello.ciphers.iter().map(|cipher| cipher.0).collect();
        let tls_version = match version {
            0x0304 => "TLS 1.3",
            0x0303 => "TLS 1.2",
            other => anyhow::bail!("version {other:04x}"),
        };
        let ja4 = ja4(version, &ciphers, &types, &signatures, alpn.first());
        let (tls_version, ech, ja4) = (Some(tls_version.to_owned()), Some(ech), Some(ja4));
        Ok(Self { name, tls_version, alpn, ech, ja4 })
    }
}

/// JA4 as its makers describe it, <https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md>.
fn ja4(
    version: u16,
    ciphers: &[u16],
    types: &[u16],
    signatures: &[u16],
    alpn: Option<&String>,
) -> String {
    let sorted = |numbers: &[u16]| {
        let mut numbers: Vec<_> =
            numbers.iter().copied().filter(|number| is_real(*number)).collect();
        numbers.sort_unstable();
        numbers
    };
    let list = |numbers: &[u16]| {
        let words: Vec<_> = numbers.iter().map(|number| format!("{number:04x}")).collect();
        words.join(",")
    };
    let hash = |text: &str| {
        let digest = Sha256::digest(text.as_bytes());
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    };
    let (ciphers, mut types) = (sorted(ciphers), sorted(types));
    let (cipher_count, type_count) = (ciphers.len(), types.len());
    let name = if types.contains(&0) { 'd' } else { 'i' };
    types.retain(|kind| ![0, 16].contains(kind));
    let signatures: Vec<_> = signatures.iter().copied().filter(|number| is_real(*number)).collect();
    let ends = alpn.and_then(|name| Some((name.chars().next()?, name.chars().last()?)));
    let (first, last) = ends.unwrap_or(('0', '0'));
    let version = if version == 0x0304 { 13 } else { 12 };
    format!(
        "t{version}{name}{cipher_count:02}{type_count:02}{first}{last}_{}_{}",
        hash(&list(&ciphers)),
        hash(&format!("{}_{}", list(&types), list(&signatures)))
    )
}

/// Not one of those that mean nothing (RFC 8701).
const fn is_real(number: u16) -> bool {
    number & 0x0f0f != 0x0a0a
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The types of extensions, in their order.
fn types(mut extensions: &[u8]) -> Vec<u16> {
    let mut types = Vec::new();
    while let [high, low, length @ ..] = extensions {
        let behind = 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        types.push(u16::from_be_bytes([*high, *low]));
        extensions = &length[behind..];
    }
    types
}

/// One connection each.
fn clients(lab: &Lab, web: &WebServer) -> Result<Vec<Command>> {
    let imitator = env::var_os(IMITATOR_VARIABLE)
        .with_context(|| format!("no {IMITATOR_VARIABLE}: run `cargo xtask test browsers`"))?;
    let (url, authority) = (format!("https://{NAME}:{PORT}/"), web.authority());
    let mut clients = Vec::new();
    for (number, further) in CURL.iter().enumerate() {
        let mut curl = lab.client().command("curl");
        let resolve = match number % 2 {
            0 => format!("{NAME}:{PORT}:{}", Family::V4.server()),
            _ => format!("{NAME}:{PORT}:[{}]", Family::V6.server()),
        };
        curl.args(["--silent", "--max-time", "10", "--resolve", &resolve, "--cacert"]);
        curl.arg(&authority).args(*further).arg(&url);
        clients.push(curl);
    }
    for further in OPENSSL {
        let mut openssl = lab.client().command("openssl");
        let server = format!("{}:{PORT}", Family::V4.server());
        openssl.args(["s_client", "-connect", &server]);
        if !further.contains(&"-noservername") {
            openssl.args(["-servername", NAME]);
        }
        clients.push({
            openssl.args(further);
            openssl
        });
    }
    for browser in IMITATED {
        let mut python = lab.client().command(PathBuf::from(&imitator));
        let resolve = format!("{NAME}:{PORT}:{}", Family::V4.server());
        python.args(["-I", "-c", IMITATE, browser, &url, &resolve]).arg(&authority);
        clients.push(python);
    }
    Ok(clients)
}

struct Server {
    log: PathBuf,
    _running: Running,
}

impl Server {
    fn start(lab: &Lab, web: &WebServer) -> Result<Self> {
        let log = lab.directory().join("peek");
        let mut python = lab.server().python(SERVER);
        python.args(web.certificate()).arg(PORT.to_string());
        let running = Running::start(&mut python, &log)?;
        process::wait_until("the server listens", process::SHORT, || {
            Ok(fs::read_to_string(&log)?.contains("listening\n").then_some(()))
        })?;
        Ok(Self { log, _running: running })
    }

    /// By the client's port, once there are so many.
    fn hellos(&self, count: usize) -> Result<BTreeMap<u16, Vec<u8>>> {
        process::wait_until(&format!("{count} hellos"), Duration::from_secs(10), || {
            let log = fs::read_to_string(&self.log)?;
            let hellos: BTreeMap<_, _> = log.lines().filter_map(parse).collect();
            Ok((hellos.len() == count).then_some(hellos))
        })
    }
}

fn parse(line: &str) -> Option<(u16, Vec<u8>)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let port = u16::try_from(value.get("port")?.as_u64()?).ok()?;
    let digits = value.get("hello")?.as_str()?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    Some((port, digits.chunks(2).filter_map(byte).collect()))
}

#[test]
fn the_example_of_the_description_has_its_fingerprint() {
    let ciphers = [
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
        0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let types = [
        0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
        0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
    ];
    let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    let made = ja4(0x0304, &ciphers, &types, &signatures, Some(&"h2".to_owned()));
    assert_eq!(made, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert!(NAME.ends_with(ALLOWED));
}
