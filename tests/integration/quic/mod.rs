//! HTTP/3 through the gateway: what is allowed loads as without a sensor, of what is blocked the datagram that
//! would complete the name never leaves. And UDP that is no QUIC, which passes.
//!
//! - [`loads`]: a client and a server by aioquic; hellos of one datagram and of two. [`held`]: what holds behind
//!   a block, and while no daemon runs. [`records`]: what is written down.
//! - [`chromium`], [`firefox`]: the same with browsers, [`orders`]: their hellos the other way round; [`fallback`]: when it goes on over TCP.
//! - [`flood`]: more Initials than a device may send. [`rules`]: QUIC as such in a group's policy. [`other_udp`]: calls, games and the like.
//!
//! Beside the tests: [`http3`] serves and asks, [`capture`] says what clients' Initials told on a wire.

mod capture;
mod chromium;
mod fallback;
mod firefox;
mod flood;
mod held;
mod http3;
mod loads;
mod orders;
mod other_udp;
mod records;
mod rules;

use std::env;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use sensor_lab::FULL_VARIABLE;
use sensor_lab::clients::Outcome;
use sensor_lab::lab::Lab;
use sensor_lab::sensor::{self, Mode, Sensor, Setup};
use sensor_lab::servers::{Protocol, WebServer, page_of};
use sensor_user::record::Record;

use http3::{Answer, Client, Event, Http3Server, Validation};

/// Loads of each kind in one run, and in a full one.
const LOADS: usize = 5;
const LOADS_FULL: usize = 50;

const ALLOWED: &str = "library.example";
const BLOCKED: &str = "casino.example";

const POLICY: &str = r#"version = "quic.1"
default_group = "students"

[[category]]
id = "gambling"
title = "Gambling"
covers = "Betting and casinos"

[[list]]
id = "casinos"
file = "lists/casinos.txt"
categories = ["gambling"]

[[group]]
name = "students"
prefixes = ["10.77.1.0/24", "fd77:1::/64"]
block = ["gambling"]
"#;

/// The policy above with more of it: keys of its last group first.
fn setup(more: &str) -> Setup {
    let list = ("lists/casinos.txt".to_owned(), format!("{BLOCKED}\n"));
    Setup { files: vec![list], ..Setup::with_policy(&format!("{POLICY}{more}")) }
}

/// A lab with a server that has every host of both domains over TCP and QUIC. Each goes before what it stands on.
struct Site {
    client: Client,
    http3: Http3Server,
    web: WebServer,
    lab: Lab,
}

impl Site {
    fn build() -> Result<Self> {
        Self::with(Validation::None)
    }

    fn with(validation: Validation) -> Result<Self> {
        let lab = Lab::build()?;
        let hosts = [ALLOWED, BLOCKED].map(|domain| format!("*.{domain}"));
        let hosts = hosts.each_ref().map(String::as_str);
        let web = WebServer::start_speaking(&lab, &hosts, Protocol::Http1)?;
        let http3 = Http3Server::start(&lab, &web, validation)?;
        Ok(Self { client: Client::new(&lab, &web)?, http3, web, lab })
    }

    fn start_sensor(&self, mode: Mode, more: &str) -> Result<Sensor> {
        Sensor::start(&self.lab, &sensor::binary()?, &Setup { mode, ..setup(more) })
    }

    /// That each of the names was asked for over HTTP/3.
    fn served(&self, names: &[String]) -> Result<()> {
        let requests = self.http3.of("request")?;
        for name in names {
            let request = requests.iter().find(|request| request.name == *name);
            let request = request.with_context(|| format!("no request for {name}"))?;
            assert_eq!(request.protocol.as_deref(), Some("h3"), "{request:?}");
        }
        Ok(())
    }

    /// That of none of the names the server has heard, over TCP or QUIC.
    fn has_not_heard_of(&self, names: &[String]) -> Result<()> {
        let is_one = |event: &Event| names.contains(&event.name);
        let heard: Vec<_> = self.http3.events()?.into_iter().filter(is_one).collect();
        assert!(heard.is_empty(), "over QUIC: {heard:?}");
        let arrivals = self.web.arrivals()?;
        let of_one = |host: &String| names.contains(host);
        assert!(!arrivals.iter().any(|one| of_one(&one.host) || of_one(&one.sni)), "{arrivals:?}");
        Ok(())
    }
}

fn loads() -> usize {
    if is_full() { LOADS_FULL } else { LOADS }
}

fn is_full() -> bool {
    env::var_os(FULL_VARIABLE).is_some()
}

/// Hosts below a domain.
fn names(kind: &str, domain: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{kind}{number}.{domain}")).collect()
}

/// That each page came as it is.
fn all_came(answers: &[Answer]) {
    for answer in answers {
        let page = Outcome::Page { status: 200, body: page_of(&answer.name) };
        assert_eq!(answer.outcome, page, "{answer:?}");
    }
}

fn none_came(answers: &[Answer]) {
    for answer in answers {
        assert_eq!(answer.outcome, Outcome::Timeout, "{answer:?}");
    }
}

fn stored(sensor: &Sensor) -> Result<Vec<Record>> {
    let text = sensor.cli(&["flows", "--limit", "0", "--json"])?;
    let records = text.lines().map(serde_json::from_str);
    records.collect::<Result<_, _>>().context("read the records")
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("a String takes all that is written");
    }
    digits
}

/// A figure for whoever runs with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the harness shows it only where it is wanted")]
fn say(text: &str) {
    eprintln!("{text}");
}
