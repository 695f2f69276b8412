//! Packets get lost before the sensor and behind it, there and back. TCP sends them again, in other pieces
//! and in another order than at first: what is allowed still loads, and what is blocked still does not.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::{Client, Outcome, Request};
use sensor_lab::lab::{HOST_INTERFACE, LAN_INTERFACE, Lab, Offloads, Plan, WAN_INTERFACE};
use sensor_lab::namespace::Namespace;
use sensor_lab::sensor::Mode;
use sensor_lab::servers::WebServer;
use serde_json::Value;

use super::device::{Browser, Loaded};
use super::{
    ALLOWED, BLOCKED, in_turns, is_full, names, only_the_allowed_were_shown, say, serve,
    start_sensor,
};

/// Of so many packets one is lost, at each of the two places on the way.
const ONE_IN: u32 = 20;
const LOADS: usize = 15;
const LOADS_FULL: usize = 50;
/// Time for TCP to send again what got lost several times over. A client whose reset got lost waits as
/// long: XDP answers what it sends again, but a veth holds such answers back until something else comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hellos of two segments, each of which may be the one that gets lost.
#[test]
fn split_hellos_are_read_where_packets_get_lost() -> Result<()> {
    check(|lab, web, names| Browser::Imitation("chrome").load(lab, web, names))
}

#[test]
fn small_hellos_are_read_where_packets_get_lost() -> Result<()> {
    check(|lab, web, names| {
        let client = Client::new(lab, web);
        let load = |name: &String| {
            let answer = client.curl(&Request::https(name).within(PATIENCE))?;
            let (text, error) = match answer.outcome {
                Outcome::Page { body, .. } => (body, String::new()),
                outcome => (String::new(), format!("{outcome:?}")),
            };
            Ok(Loaded { name: name.clone(), text, error })
        };
        names.iter().map(load).collect()
    })
}

fn check(load: impl Fn(&Lab, &WebServer, &[String]) -> Result<Vec<Loaded>>) -> Result<()> {
    let loads = if is_full() { LOADS_FULL } else { LOADS };
    // Each segment is then lost by itself, and not the whole of what a program wrote.
    let lab = Lab::with(Plan { offloads: Offloads::Off, ..Plan::default() })?;
    let web = serve(&lab)?;
    let _sensor = start_sensor(&lab, Mode::Native)?;
    let (allowed, blocked) = (names("open", ALLOWED, loads), names("shut", BLOCKED, loads));
    lose(&lab)?;
    let loaded = load(&lab, &web, &in_turns(&allowed, &blocked))?;
    let lost = lost(lab.client())? + lost(lab.gateway())?;
    say(&format!("{lost} packets lost"));
    assert!(lost > 0, "nothing was lost");
    only_the_allowed_were_shown(&web, loaded, &allowed, &blocked)
}

/// Begins to lose packets: between the client's stack and the sensor, and between the sensor and the server.
/// SYNs stay: each lost one costs a second, and asks nothing of the sensor.
fn lose(lab: &Lab) -> Result<()> {
    let table = |namespace: &Namespace, chains: &[(&str, &str)]| {
        let mut rules = "add table inet loss\nadd counter inet loss lost\n".to_owned();
        for (hook, of) in chains {
            write!(
                rules,
                "add chain inet loss {hook} {{ type filter hook {hook} priority raw; }}\n\
                 add rule inet loss {hook} {of} tcp flags & syn == 0 \
                 numgen random mod {ONE_IN} 0 counter name lost drop\n"
            )?;
        }
        namespace.run("nft", &[&rules]).map(drop)
    };
    let of_client = [format!("oifname {HOST_INTERFACE}"), format!("iifname {HOST_INTERFACE}")];
    table(lab.client(), &[("output", &of_client[0]), ("prerouting", &of_client[1])])?;
    let of_gateway = format!("iifname {{ {LAN_INTERFACE}, {WAN_INTERFACE} }}");
    table(lab.gateway(), &[("prerouting", &of_gateway)])
}

fn lost(namespace: &Namespace) -> Result<u64> {
    let text = namespace.run("nft", &["-j", "list", "counter", "inet", "loss", "lost"])?;
    let value: Value = serde_json::from_str(&text).context("read nft's JSON")?;
    let packets = value.pointer("/nftables/1/counter/packets").and_then(Value::as_u64);
    packets.with_context(|| format!("no counter in {value}"))
}
