//! What both ends of a blocked connection see, and how soon.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sensor_lab::lab::{Family, LAN_INTERFACE, Lab, Offloads, Plan, WAN_INTERFACE};
use sensor_lab::process;
use sensor_lab::sensor::{self, Mode, Sensor, Setup};
use sensor_lab::servers::WebServer;
use sensor_user::kernel::lab::deny_metadata_at;

use super::listener::{Listener, deafen, open_wide};
use super::traffic::{self, Dial, Dialled, Scheme};
use super::truth::{self, Upwards};
use super::{BLOCKED, lan, say, setup, status};

/// From the first byte of the request to either end's reset. It takes a millisecond or two; this is what
/// a busy machine is granted.
const RESET_MAX: Duration = Duration::from_millis(50);
/// Of so many tries the best counts.
const TRIES: usize = 3;

/// Stubborn ends are watched for four retransmissions: 200, 400, 800 and 1600 ms.
const STUBBORN: Duration = Duration::from_millis(3_200);

/// Where only the listener listens.
const LISTENER_PORT: u16 = 8443;

const CASES: [(Scheme, Family); 4] = [
    (Scheme::Https, Family::V4),
    (Scheme::Https, Family::V6),
    (Scheme::Http, Family::V4),
    (Scheme::Http, Family::V6),
];

#[test]
fn both_ends_see_a_reset_through_nat() -> Result<()> {
    let (lab, sensor, listener) = listening(&setup())?;
    assert_eq!(lan(&status(&sensor)?)?.mode, "native");
    both_ends_see_a_reset(&lab, &listener, "native")
}

#[test]
fn both_ends_see_a_reset_while_no_daemon_runs() -> Result<()> {
    let (lab, mut sensor, listener) = listening(&setup())?;
    sensor.kill()?;
    both_ends_see_a_reset(&lab, &listener, "native, no daemon")
}

/// Drivers of virtual machines all carry metadata: the programs are told that this one does not.
#[test]
fn both_ends_see_a_reset_where_a_driver_carries_no_metadata() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let (lab, sensor, listener) = listening(&Setup { mode, ..setup() })?;
        let link = lab.gateway().run("ip", &["-oneline", "link", "show", LAN_INTERFACE])?;
        let (index, _) = link.split_once(':').context("no index of the interface")?;
        deny_metadata_at(&pins(&sensor)?, index.parse()?)?;
        both_ends_see_a_reset(&lab, &listener, &format!("{mode:?}, no metadata"))?;
        let status = status(&sensor)?;
        let ingress = &lan(&status)?.ingress;
        let happened = |what: &str| ingress.happened.get(what).copied().unwrap_or(0);
        let blocked = (CASES.len() * TRIES) as u64;
        // What acknowledges a page is ordered too.
        assert!(happened("reset-without-metadata") >= blocked, "{ingress:?}");
        assert_eq!(happened("server-reset"), blocked, "{ingress:?}");
        assert_eq!(happened("client-reset") + happened("block-page"), blocked, "{ingress:?}");
    }
    Ok(())
}

/// The directory of the sensor's pinned maps.
fn pins(sensor: &Sensor) -> Result<PathBuf> {
    let below = sensor.bpffs();
    let mut directories = vec![below.to_owned()];
    while let Some(directory) = directories.pop() {
        if directory.join("INTERFACES").exists() {
            return Ok(directory);
        }
        let entries = directory.read_dir().context("read a directory of pins")?.flatten();
        directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    bail!("no pinned map below {}", below.display())
}

#[test]
fn both_ends_see_a_reset_in_generic_mode() -> Result<()> {
    let (lab, mut sensor, listener) = listening(&Setup { mode: Mode::Generic, ..setup() })?;
    assert_eq!(lan(&status(&sensor)?)?.mode, "generic");
    both_ends_see_a_reset(&lab, &listener, "generic")?;
    sensor.kill()?;
    both_ends_see_a_reset(&lab, &listener, "generic, no daemon")
}

/// The second daemon put programs of its own into the links of the first.
#[test]
fn both_ends_see_a_reset_after_a_second_daemon_is_gone() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let (lab, mut sensor, listener) = listening(&Setup { mode, ..setup() })?;
        sensor.kill()?;
        sensor.resume()?;
        both_ends_see_a_reset(&lab, &listener, &format!("{mode:?}, second daemon"))?;
        sensor.kill()?;
        both_ends_see_a_reset(&lab, &listener, &format!("{mode:?}, no second daemon"))?;
    }
    Ok(())
}

/// The client's stack never learns of the reset, so it sends its hello again and again.
#[test]
fn a_client_that_ignores_resets_gets_nothing_through() -> Result<()> {
    let (lab, sensor, listener) = listening(&setup())?;
    truth::count(&lab)?;
    let web = WebServer::start(&lab, &[BLOCKED])?;
    deafen(&mut lab.client().command("nft"))?;
    let hello = Dial { timeout: STUBBORN, ..Dial::new(Scheme::Https, BLOCKED) };
    let to_listener = Dial { to: LISTENER_PORT, ..hello.clone() };
    assert_eq!(traffic::dial(&lab, None, hello)?.outcome, "timeout");
    assert_eq!(traffic::dial(&lab, None, to_listener)?.outcome, "timeout");

    let seen = listener.wait_for("reset", 0)?;
    assert_eq!(seen.bytes, 0, "{seen:?}");
    assert_eq!(web.arrivals()?, []);
    every_later_packet_was_refused(&lab, &sensor, 2)
}

/// Neither end's stack learns of the reset; only the sensor keeps them apart. The client's first flight
/// has more segments than the sensor answers.
#[test]
fn two_ends_that_ignore_resets_exchange_nothing() -> Result<()> {
    const PIECES: usize = 30;
    let mut setup = setup();
    setup.policy.push_str("\n[block_page]\nanswer = \"reset\"\n");
    let (lab, sensor, listener) = listening(&setup)?;
    truth::count(&lab)?;
    open_wide(&lab, 40)?;
    for namespace in [lab.client(), lab.server()] {
        deafen(&mut namespace.command("nft"))?;
    }
    let request = Dial {
        to: LISTENER_PORT,
        pieces: PIECES,
        timeout: STUBBORN,
        ..Dial::new(Scheme::Http, BLOCKED)
    };
    assert_eq!(traffic::dial(&lab, None, request)?.outcome, "timeout");

    let events: Vec<_> = listener.seen()?.into_iter().map(|seen| seen.event).collect();
    assert_eq!(events, ["listening", "accepted"]);
    let answers = u64::from(sensor_ebpf::flow::RESETS_MAX);
    let interface = status(&sensor)?;
    let ingress = &lan(&interface)?.ingress;
    // One for the request itself, and no more than the budget for what follows.
    assert_eq!(ingress.happened.get("client-reset"), Some(&(1 + answers)), "{ingress:?}");
    let dropped = ingress.happened.get("blocked-dropped").copied().unwrap_or(0);
    assert!(dropped >= PIECES as u64 - answers, "{ingress:?}");
    every_later_packet_was_refused(&lab, &sensor, 1)
}

/// A lab with a server that never answers, so that whatever reaches a client is the sensor's.
fn listening(setup: &Setup) -> Result<(Lab, Sensor, Listener)> {
    let lab = Lab::with(Plan { offloads: Offloads::Off, ..Plan::default() })?;
    let listener = Listener::start(&lab, &[LISTENER_PORT])?;
    let sensor = Sensor::start(&lab, &sensor::binary()?, setup)?;
    Ok((lab, sensor, listener))
}

fn both_ends_see_a_reset(lab: &Lab, listener: &Listener, what: &str) -> Result<()> {
    for (scheme, family) in CASES {
        let mut best: Option<(Duration, Duration)> = None;
        for _ in 0..TRIES {
            let took = reset_once(lab, listener, scheme, family)?;
            best =
                best.into_iter().chain([took]).min_by_key(|(client, server)| *client.max(server));
        }
        let Some((client, server)) = best else { bail!("no try") };
        say(&format!("{what} {scheme:?} {family:?}: client {client:?}, server {server:?}"));
        assert!(
            client.max(server) < RESET_MAX,
            "{what} {scheme:?} {family:?}: {client:?} {server:?}"
        );
    }
    Ok(())
}

/// One connection: after what time the client has seen its reset or its page, and the server's program its
/// reset.
fn reset_once(
    lab: &Lab,
    listener: &Listener,
    scheme: Scheme,
    family: Family,
) -> Result<(Duration, Duration)> {
    let known = listener.seen()?.len();
    let to_listener = Dial { to: LISTENER_PORT, family, ..Dial::new(scheme, BLOCKED) };
    let Dialled { outcome, detail, sent_at, ended_at, .. } = traffic::dial(lab, None, to_listener)?;
    let expected = if scheme == Scheme::Http { "page" } else { "reset" };
    assert_eq!(outcome, expected, "{scheme:?} {family:?}: {detail}");
    let seen = listener.wait_for("reset", known)?;
    assert_eq!(seen.bytes, 0, "{scheme:?} {family:?}: the server has read of the request");
    assert_ne!(seen.peer, family.client().to_string(), "no NAT on {WAN_INTERFACE}");
    let since = |at: f64| Duration::try_from_secs_f64(at - sent_at);
    Ok((since(ended_at)?, since(seen.at)?))
}

/// Of every blocked flow SYN and ACK passed, and the deciding segment became the server's reset and was
/// answered. All else the client sent was answered or dropped: nothing was forgotten in between.
fn every_later_packet_was_refused(lab: &Lab, sensor: &Sensor, flows: u64) -> Result<()> {
    // The client goes on to retransmit while this looks.
    process::wait_until("an end of each packet of the blocked flows", super::SOON, || {
        let sent = truth::sum(truth::counted(lab, Upwards::AtTheClient)?.values()).to_peer.packets;
        let status = status(sensor)?;
        let ingress = &lan(&status)?.ingress;
        let happened = |what: &str| ingress.happened.get(what).copied().unwrap_or(0);
        assert_eq!(happened("server-reset"), flows, "{ingress:?}");
        assert!(sent > 3 * flows, "the client did not try again: {sent} packets");
        let refused = happened("client-reset") + happened("blocked-dropped");
        Ok((refused == sent - 2 * flows).then_some(()))
    })
}
