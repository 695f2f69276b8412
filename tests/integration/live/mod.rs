//! The sensor between real clients and servers. Needs root; every packet stays in the lab's namespaces.
//!
//! - [`blocking`], [`block_page`], [`bridge`]: what both ends of a blocked connection see, and how soon.
//! - [`records`], [`names`]: what is written down of a flow, and what share of them has a name.
//! - [`ports`], [`addresses`]: flows that end because of where they go to.
//! - [`groups`]: devices whose group is told by more than their address; [`identity`]: by whom their users are told.
//! - [`dns`]: names asked for, and what is answered in place of the resolver; [`dns_answers`]: what the
//!   resolver answers; [`dnssec`]: stubs that check signatures.
//! - [`accounting`], [`offloads`]: every packet is counted once, by counters that are not the sensor's.
//! - [`top`]: the live view at a terminal.
//! - [`crash`], [`lifecycle`]: what holds while the daemon dies, stops, is replaced, or leaves.
//! - [`bundles`]: policies that come signed.
//! - [`schedules`]: rules that begin and end by the clock.
//! - [`refusals`], [`reload`], [`corrupt`]: what it says no to, and what then stays as it was.
//! - [`pseudonyms`]: records that name nobody. [`full_disk`]: where records find no room.
//! - [`starttls`]: names behind what is said in the clear. [`malformed`]: frames that nobody should send.
//! - [`roaming`], [`asymmetric`]: devices that move, and paths of which half is seen.
//!
//! Beside the tests: [`traffic`] dials, [`patient`] stops on its way, [`listener`] only listens, [`truth`] counts with nftables.

mod accounting;
mod addresses;
mod asymmetric;
mod blind;
mod block_page;
mod blocking;
mod bridge;
mod bundles;
mod corrupt;
mod crash;
mod dns;
mod dns_answers;
mod dnssec;
mod full_disk;
mod groups;
mod identity;
mod keep_alive;
mod kept;
pub(super) mod lifecycle;
mod listener;
mod malformed;
mod names;
mod offloads;
mod patient;
mod ports;
mod pseudonyms;
mod records;
mod refusals;
mod reload;
mod roaming;
mod schedules;
mod starttls;
mod top;
mod traffic;
mod truth;

use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::{Client, Outcome, Request};
use sensor_lab::lab::{Lab, Plan};
use sensor_lab::process;
use sensor_lab::sensor::{self, Sensor, Setup};
use sensor_lab::servers::{WebServer, page_of};
use sensor_user::control::status::{InterfaceStatus, Status};
use sensor_user::record::Record;

/// On no list.
pub(super) const ALLOWED: &str = "library.example";
/// On the list of casinos.
pub(super) const BLOCKED: &str = "casino.example";
/// On a protected list: never blocked, never named.
const HELPLINE: &str = "helpline.example";

const POLICY: &str = r#"version = "live.1"
default_group = "visitors"

[[category]]
id = "gambling"
title = "Gambling"
covers = "Betting and casinos"

[[category]]
id = "helplines"
title = "Helplines"
covers = "Bodies people turn to for help"

[[group]]
name = "students"
prefixes = ["10.77.1.0/24", "fd77:1::/64"]
block = ["gambling"]

[[group]]
name = "visitors"
prefixes = []
block = []

[[list]]
id = "casinos"
file = "lists/casinos.txt"
categories = ["gambling"]

[[list]]
id = "care"
file = "lists/care.txt"
categories = ["helplines"]
protected = true
"#;

const LISTS: [(&str, &str); 2] =
    [("lists/casinos.txt", "casino.example\n"), ("lists/care.txt", "helpline.example\n")];

/// For what takes a sweep, a linger and a transaction.
const SOON: Duration = Duration::from_secs(20);

/// The policy above, and times short enough to wait for.
pub(super) fn setup() -> Setup {
    let files = LISTS.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
    Setup { files, ..Setup::with_policy(POLICY) }
}

/// The same with another `[flow]` value.
fn setup_with(key: &str, value: u64) -> Setup {
    let mut setup = setup();
    setup.flow.retain(|(known, _)| known != key);
    setup.flow.push((key.to_owned(), value));
    setup
}

/// A lab with a web server and a sensor; each goes before what it stands on.
pub(super) struct Site {
    pub(super) sensor: Sensor,
    pub(super) client: Client,
    web: WebServer,
    pub(super) lab: Lab,
}

impl Site {
    pub(super) fn build(setup: &Setup) -> Result<Self> {
        Self::with(Plan::default(), setup)
    }

    fn with(plan: Plan, setup: &Setup) -> Result<Self> {
        let lab = Lab::with(plan)?;
        let web = WebServer::start(&lab, &[ALLOWED, BLOCKED, HELPLINE])?;
        let sensor = Sensor::start(&lab, &sensor::binary()?, setup)?;
        Ok(Self { sensor, client: Client::new(&lab, &web), web, lab })
    }

    /// What the client gets for a name over TLS.
    pub(super) fn ask(&self, name: &str) -> Result<Outcome> {
        Ok(self.client.curl(&Request::https(name))?.outcome)
    }

    /// Requests for a name that reached the server.
    pub(super) fn arrivals_of(&self, name: &str) -> Result<usize> {
        let arrivals = self.web.arrivals()?;
        Ok(arrivals.iter().filter(|arrival| arrival.host == name || arrival.sni == name).count())
    }
}

pub(super) fn page(name: &str) -> Outcome {
    Outcome::Page { status: 200, body: page_of(name) }
}

/// True where the client was shown the block page of the policy above.
fn is_block_page(outcome: &Outcome) -> bool {
    let Outcome::Page { status: 403, body } = outcome else { return false };
    ["<h1>This page is blocked</h1>", "<dd>Gambling<", "<dd>students/gambling<", "<dd>live.1<"]
        .iter()
        .all(|part| body.contains(part))
}

fn status(sensor: &Sensor) -> Result<Status> {
    serde_json::from_str(&sensor.cli(&["status", "--json"])?).context("read the status")
}

/// The only interface the lab's sensor watches.
fn lan(status: &Status) -> Result<&InterfaceStatus> {
    status.interfaces.first().context("no interface in the status")
}

/// Every record of the store, oldest number first.
fn records(sensor: &Sensor) -> Result<Vec<Record>> {
    let text = sensor.cli(&["flows", "--limit", "0", "--json"])?;
    let lines = text.lines().map(serde_json::from_str);
    let mut records = lines.collect::<Result<Vec<Record>, _>>().context("read the records")?;
    records.sort_by_key(|record| record.sequence);
    Ok(records)
}

/// The first record that `is_it`, once it is stored.
fn record(sensor: &Sensor, what: &str, is_it: impl Fn(&Record) -> bool) -> Result<Record> {
    process::wait_until(what, SOON, || Ok(records(sensor)?.into_iter().find(|one| is_it(one))))
}

/// A figure for whoever runs with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the harness shows it only where it is wanted")]
fn say(text: &str) {
    eprintln!("{text}");
}
