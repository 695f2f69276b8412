//! What holds behind a block: QUIC without an Initial does not pass between the two for a while, since a connection
//! that both ends know goes on from any port; names are judged all the same. And without a daemon.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use sensor_lab::lab::Family;
use sensor_lab::sensor::{self, Mode, Sensor, Setup};

use super::capture::Capture;
use super::http3::{Hello, Load, PORT};
use super::other_udp::{payload, send};
use super::{ALLOWED, BLOCKED, Site, all_came, loads, names, none_came, setup};

/// Time to send a hello twice.
const TRIES: Duration = Duration::from_millis(500);

/// How long pairs are held here; a test that looks whether they still are takes less.
const HOLD: Duration = Duration::from_secs(8);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// First byte of a packet of a connection whose ends know each other
/// ([RFC 9000 section 17.3.1](https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1)).
const SHORT: u8 = 0x41;

#[test]
fn behind_a_block_only_initials_pass_for_a_while() -> Result<()> {
    let site = Site::build()?;
    let extra = format!("[quic]\nhold_s = {}\n", HOLD.as_secs());
    let _sensor = Sensor::start(&site.lab, &sensor::binary()?, &Setup { extra, ..setup("") })?;
    let (allowed, blocked) = (names("open", ALLOWED, 1), names("shut", BLOCKED, 1));
    for family in FAMILIES {
        let load = Load::new(Hello::Small, family);
        assert!(short_packets_pass(&site, family, 1)?, "{family:?}: before any block");
        none_came(&site.client.try_for(load, &blocked, TRIES)?);
        assert!(!short_packets_pass(&site, family, 2)?, "{family:?}: behind a block");
        all_came(&site.client.load(load, &allowed)?);
        assert!(!short_packets_pass(&site, family, 3)?, "{family:?}: behind another name");
    }
    // Nothing tells when it is over, and a packet that asks would itself be held.
    thread::sleep(HOLD);
    for family in FAMILIES {
        assert!(short_packets_pass(&site, family, 4)?, "{family:?}: after it");
    }
    site.has_not_heard_of(&blocked)
}

#[test]
fn blocked_names_are_blocked_while_no_daemon_runs() -> Result<()> {
    let site = Site::build()?;
    let mut sensor = site.start_sensor(Mode::Native, "")?;
    let (allowed, blocked) = (names("open", ALLOWED, loads()), names("shut", BLOCKED, loads()));
    sensor.kill()?;
    for hello in [Hello::Small, Hello::Late] {
        for family in FAMILIES {
            let load = Load::new(hello, family);
            none_came(&site.client.try_for(load, &blocked, TRIES)?);
            all_came(&site.client.load(load, &allowed)?);
        }
    }
    site.has_not_heard_of(&blocked)
}

/// Sends some from a port that was never used before; whether they were all behind the gateway. Some is none.
fn short_packets_pass(site: &Site, family: Family, turn: u8) -> Result<bool> {
    let packets: Vec<_> = (0..4).map(|number| payload(&[SHORT, turn, number], 60)).collect();
    let capture = Capture::behind(&site.lab)?;
    send(&site.lab, family, PORT, &packets)?;
    let captured = capture.finish()?;
    let passed = packets.iter().filter(|packet| captured.count(packet) > 0).count();
    assert!(passed == 0 || passed == packets.len(), "{family:?} {turn}: {captured:?}");
    Ok(passed > 0)
}
