//! Browsers over TCP, and what has their hellos: what is allowed loads, what is blocked never does. A
//! hello of theirs takes two segments, in which the extensions lie in an order that is drawn each time.
//!
//! [`block_page`]: what is shown for a page in the clear. [`loss`]: the same where packets get lost. [`fingerprints`]: what records say of their hellos.
//! [`ech`]: names that a hello hides, and what makes a browser show them.
//!
//! [`device`] runs a browser and says what it shows, [`hellos`] what its hellos looked like on the wire.

mod block_page;
pub(super) mod device;
mod ech;
mod fingerprints;
mod hellos;
mod loss;

use std::collections::BTreeSet;
use std::env;

use anyhow::{Context as _, Result};
use sensor_lab::FULL_VARIABLE;
use sensor_lab::lab::Lab;
use sensor_lab::process;
use sensor_lab::sensor::{self, Mode, Sensor, Setup};
use sensor_lab::servers::{Protocol, WebServer, page_of};
use sensor_user::record::Record;

use device::{Browser, Loaded};
use hellos::{Capture, Hello, Summary};

/// Loads of each kind in one run, and in a full one.
const LOADS: usize = 5;
const LOADS_FULL: usize = 50;

const ALLOWED: &str = "library.example";
const BLOCKED: &str = "casino.example";

const POLICY: &str = r#"version = "browsers.1"
default_group = "students"

[[category]]
id = "gambling"
title = "Gambling"
covers = "Betting and casinos"

[[group]]
name = "students"
prefixes = ["10.77.1.0/24", "fd77:1::/64"]
block = ["gambling"]

[[list]]
id = "casinos"
file = "lists/casinos.txt"
categories = ["gambling"]
"#;

#[test]
fn chromium_loads_what_is_allowed_and_nothing_else() -> Result<()> {
    two_segments_each(&check(Browser::Chromium, Mode::Native)?);
    Ok(())
}

#[test]
fn chromium_loads_what_is_allowed_and_nothing_else_in_generic_mode() -> Result<()> {
    two_segments_each(&check(Browser::Chromium, Mode::Generic)?);
    Ok(())
}

#[test]
fn firefox_loads_what_is_allowed_and_nothing_else() -> Result<()> {
    check(Browser::Firefox, Mode::Native).map(drop)
}

#[test]
fn an_imitated_chrome_loads_what_is_allowed_and_nothing_else() -> Result<()> {
    two_segments_each(&check(Browser::Imitation("chrome"), Mode::Native)?);
    Ok(())
}

#[test]
fn an_imitated_safari_loads_what_is_allowed_and_nothing_else() -> Result<()> {
    two_segments_each(&check(Browser::Imitation("safari"), Mode::Native)?);
    Ok(())
}

/// Without a sensor every name loads; with it, in turns, an allowed one and a blocked one.
fn check(browser: Browser, mode: Mode) -> Result<Vec<Hello>> {
    let loads = if is_full() { LOADS_FULL } else { LOADS };
    let lab = Lab::build()?;
    let web = serve(&lab)?;
    let control = names("control", BLOCKED, loads);
    let loaded = browser.load(&lab, &web, &control)?;
    assert_eq!(shown(&loaded), loads, "without a sensor: {loaded:?}");

    let sensor = start_sensor(&lab, mode)?;
    let (allowed, blocked) = (names("open", ALLOWED, loads), names("shut", BLOCKED, loads));
    let both = in_turns(&allowed, &blocked);
    let capture = Capture::start(&lab)?;
    let loaded = browser.load(&lab, &web, &both)?;
    let hellos = capture.finish(&both)?;
    for name in &both {
        assert!(hellos.iter().any(|hello| hello.is_for(name)), "no hello for {name}: {hellos:?}");
    }
    say(&format!("{browser:?}, {mode:?}: {}", Summary(&hellos)));
    only_the_allowed_were_shown(&web, loaded, &allowed, &blocked)?;
    are_recorded(&sensor, &both)?;
    Ok(hellos)
}

fn is_full() -> bool {
    env::var_os(FULL_VARIABLE).is_some()
}

/// Every host of both domains, each over connections of its own.
fn serve(lab: &Lab) -> Result<WebServer> {
    let hosts = [ALLOWED, BLOCKED].map(|domain| format!("*.{domain}"));
    WebServer::start_speaking(lab, &hosts.each_ref().map(String::as_str), Protocol::Http1)
}

fn start_sensor(lab: &Lab, mode: Mode) -> Result<Sensor> {
    let list = ("lists/casinos.txt".to_owned(), format!("{BLOCKED}\n"));
    let setup = Setup { mode, files: vec![list], ..Setup::with_policy(POLICY) };
    Sensor::start(lab, &sensor::binary()?, &setup)
}

fn only_the_allowed_were_shown(
    web: &WebServer,
    loaded: Vec<Loaded>,
    allowed: &[String],
    blocked: &[String],
) -> Result<()> {
    let (open, shut): (Vec<_>, Vec<_>) =
        loaded.into_iter().partition(|page| allowed.contains(&page.name));
    let arrivals = web.arrivals()?;
    let arrived: BTreeSet<_> = arrivals.iter().flat_map(|one| [&one.host, &one.sni]).collect();
    let through = blocked.iter().filter(|name| arrived.contains(name)).count();
    let errors: BTreeSet<_> = shut.iter().map(|page| page.error.as_str()).collect();
    say(&format!(
        "{} of {} allowed names shown; {} of {} blocked ones shown, {through} at the server: {errors:?}",
        shown(&open),
        allowed.len(),
        shown(&shut),
        blocked.len(),
    ));
    assert_eq!(shown(&open), allowed.len(), "{open:?}");
    assert_eq!((shown(&shut), through), (0, 0), "{shut:?}");
    Ok(())
}

/// Hosts below a domain, none of which any browser has asked for yet.
fn names(kind: &str, domain: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{kind}{number}.{domain}")).collect()
}

fn in_turns(allowed: &[String], blocked: &[String]) -> Vec<String> {
    allowed.iter().zip(blocked).flat_map(<[&String; 2]>::from).cloned().collect()
}

/// How many pages were seen as they are.
fn shown(loaded: &[Loaded]) -> usize {
    loaded.iter().filter(|page| page.text.trim() == page_of(&page.name).trim()).count()
}

fn two_segments_each(hellos: &[Hello]) {
    assert!(hellos.iter().all(|hello| hello.segments == 2), "{hellos:?}");
}

/// The names were read: those of the blocked flows and those of the others.
fn are_recorded(sensor: &Sensor, names: &[String]) -> Result<()> {
    process::wait_until("a record of every name", process::SHORT, || {
        let records = stored(sensor)?;
        let recorded: BTreeSet<_> = records.iter().filter_map(|one| one.name.as_deref()).collect();
        Ok(names.iter().all(|name| recorded.contains(name.as_str())).then_some(()))
    })
}

fn stored(sensor: &Sensor) -> Result<Vec<Record>> {
    let text = sensor.cli(&["flows", "--limit", "0", "--json"])?;
    let records = text.lines().map(serde_json::from_str);
    records.collect::<Result<_, _>>().context("read the records")
}

/// A figure for whoever runs with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the harness shows it only where it is wanted")]
fn say(text: &str) {
    eprintln!("{text}");
}
