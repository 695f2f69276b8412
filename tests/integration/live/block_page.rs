//! What a browser gets in place of a page that is blocked, and that nothing of a blocked connection stays.

use std::env;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use sensor_lab::FULL_VARIABLE;
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::namespace::Namespace;
use sensor_lab::process;
use sensor_lab::sensor::{Mode, Setup};

use super::traffic::{Dial, Dialler, Scheme};
use super::{BLOCKED, SOON, Site, is_block_page, lan, say, setup, status};

/// Blocked connections of one run, and of a full one.
const CONNECTIONS: u32 = 100;
const CONNECTIONS_FULL: u32 = 1_000;

/// Connections a second: below what a client is told of for good, so that each is told.
const PER_SECOND: u32 = 200;

/// Of 100 clients 99 know by then, were the machine not busy with something else: what is granted is more.
const TOLD_P99: Duration = Duration::from_millis(50);
const TOLD_P99_GRANTED: Duration = Duration::from_secs(1);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn a_blocked_request_gets_a_page_with_and_without_a_daemon() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let mut site = Site::build(&Setup { mode, ..setup() })?;
        gets_a_page(&site)?;
        site.sensor.kill()?;
        gets_a_page(&site)?;
        assert_eq!(site.arrivals_of(BLOCKED)?, 0);
    }
    Ok(())
}

#[test]
fn a_head_request_gets_the_head_alone() -> Result<()> {
    let site = Site::build(&setup())?;
    let url = format!("http://{}/", Family::V4.server());
    let host = format!("Host: {BLOCKED}");
    let head = site.lab.client().run("curl", &["--silent", "--head", "--header", &host, &url])?;
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(head.ends_with("Connection: close\r\n\r\n"), "{head}");
    // And in front of what would be its body the connection ends.
    let raw = format!(
        "printf 'HEAD / HTTP/1.1\\r\\nHost: {BLOCKED}\\r\\n\\r\\n' | \
         python3 -c 'import socket, sys\n\
         connection = socket.create_connection((sys.argv[1], 80), timeout=5)\n\
         connection.sendall(sys.stdin.buffer.read())\n\
         answer = b\"\"\n\
         while chunk := connection.recv(65536): answer += chunk\n\
         sys.stdout.buffer.write(answer)' {}",
        Family::V4.server()
    );
    assert_eq!(site.lab.client().run("sh", &["-c", &raw])?, head);
    nothing_is_half_open(&site.lab)
}

#[test]
fn a_portal_is_named_with_category_and_rule() -> Result<()> {
    let mut setup = setup();
    setup.policy.push_str(
        "\n[block_page]\nanswer = \"redirect\"\nportal = \"https://portal.example/blocked\"\n",
    );
    let site = Site::build(&setup)?;
    for family in FAMILIES {
        let address = match family {
            Family::V4 => family.server().to_string(),
            Family::V6 => format!("[{}]", family.server()),
        };
        let host = format!("Host: {BLOCKED}");
        let url = format!("http://{address}/private?x=1");
        let write = "%{http_code} %{redirect_url}";
        let arguments = ["--silent", "--globoff", "--header", &host, "--write-out", write, &url];
        let said = site.lab.client().run("curl", &arguments)?;
        assert_eq!(
            said,
            "302 https://portal.example/blocked?category=gambling&rule=students%2Fgambling&policy=live.1"
        );
    }
    nothing_is_half_open(&site.lab)
}

/// A request with a body of many segments: the page comes in the middle of it.
#[test]
fn an_upload_gets_a_page_too() -> Result<()> {
    let site = Site::build(&setup())?;
    let host = format!("Host: {BLOCKED}");
    let url = format!("http://{}/", Family::V4.server());
    let upload = format!(
        "head -c 20000 /dev/zero | curl --silent --max-time 10 --header '{host}' --header 'Expect:' \
         --data-binary @- --write-out '%{{http_code}}' --output /dev/null {url}"
    );
    assert_eq!(site.lab.client().run("sh", &["-c", &upload])?, "403");
    nothing_is_half_open(&site.lab)
}

#[test]
fn nothing_of_blocked_connections_stays() -> Result<()> {
    let full = env::var_os(FULL_VARIABLE).is_some();
    let count = if full { CONNECTIONS_FULL } else { CONNECTIONS };
    for mode in [Mode::Native, Mode::Generic] {
        let site = Site::build(&Setup { mode, ..setup() })?;
        let plan: Vec<_> = (0..count).map(blocked).collect();
        let dialler = Dialler::start(&site.lab, Some(&site.web), &plan, 8)?;
        let mut told_us = Histogram::<u64>::new(3).context("make a histogram")?;
        for dialled in dialler.finish(SOON + Duration::from_secs(1) * (count / PER_SECOND))? {
            assert!(dialled.is_refused(), "{dialled:?}");
            let took = Duration::try_from_secs_f64(dialled.ended_at - dialled.sent_at)?;
            told_us.record(u64::try_from(took.as_micros())?).context("record a time")?;
        }
        let p99 = Duration::from_micros(told_us.value_at_quantile(0.99));
        say(&format!(
            "{mode:?}: {count} blocked connections, told within {:?} (half), {p99:?} (99 %, wanted {TOLD_P99:?})",
            Duration::from_micros(told_us.value_at_quantile(0.5)),
        ));
        assert!(p99 < TOLD_P99_GRANTED, "{p99:?}");
        nothing_is_half_open(&site.lab)?;
        assert_eq!(site.arrivals_of(BLOCKED)?, 0);
        let status = status(&site.sensor)?;
        let ingress = &lan(&status)?.ingress;
        let happened = |what: &str| ingress.happened.get(what).copied().unwrap_or(0);
        assert_eq!(happened("server-reset"), u64::from(count), "{ingress:?}");
        assert_eq!(happened("block-page"), u64::from(count / 2), "{ingress:?}");
        assert_eq!(happened("answer-over-budget"), 0, "{ingress:?}");
    }
    Ok(())
}

/// TLS and plain, both families in turns.
fn blocked(number: u32) -> Dial {
    let scheme = if number.is_multiple_of(2) { Scheme::Https } else { Scheme::Http };
    let family = if number % 4 < 2 { Family::V4 } else { Family::V6 };
    let after = Duration::from_secs(1) * number / PER_SECOND;
    Dial { family, after, ..Dial::new(scheme, BLOCKED) }
}

fn gets_a_page(site: &Site) -> Result<()> {
    for family in FAMILIES {
        let answer = site.client.curl(&Request::http(BLOCKED).over(family))?;
        assert!(is_block_page(&answer.outcome), "{family:?}: {answer:?}");
        assert_eq!(
            site.client.curl(&Request::https(BLOCKED).over(family))?.outcome,
            Outcome::Reset
        );
    }
    nothing_is_half_open(&site.lab)
}

/// Neither end has a connection left in any state, or gets rid of it at once. TIME-WAIT is how a closed one
/// rests.
pub(super) fn nothing_is_half_open(lab: &Lab) -> Result<()> {
    for (end, namespace) in [("client", lab.client()), ("server", lab.server())] {
        let mut left = Vec::new();
        let none = process::wait_until("the end of all connections", SOON / 4, || {
            left = open(namespace)?;
            Ok(left.is_empty().then_some(()))
        });
        if none.is_err() {
            bail!("half open at the {end}: {left:#?}");
        }
    }
    Ok(())
}

fn open(namespace: &Namespace) -> Result<Vec<String>> {
    let sockets = namespace.run("ss", &["-Htan", "state", "connected", "exclude", "time-wait"])?;
    Ok(sockets.lines().map(str::to_owned).collect())
}
