//! What a group's policy says of QUIC as such, and what becomes of it where it cannot be read.

use std::time::Duration;

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_lab::lab::{Family, Lab};
use sensor_lab::process;
use sensor_lab::sensor::{self, Mode, Sensor, Setup};
use sensor_user::record::Record;

use super::capture::Capture;
use super::http3::{Hello, Load, PORT};
use super::other_udp::{Echo, payload, send};
use super::{ALLOWED, BLOCKED, Site, all_came, names, none_came, setup, stored};

const UDP: u8 = 17;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Time to send a hello twice.
const TRIES: Duration = Duration::from_millis(500);

#[test]
fn a_group_without_quic_gets_none() -> Result<()> {
    let site = Site::build()?;
    let sensor = site.start_sensor(Mode::Native, "quic = \"drop\"\n")?;
    nothing_loads(&site, &sensor, NoName::QuicRefused)
}

#[test]
fn where_quic_is_not_read_policy_decides() -> Result<()> {
    let site = Site::build()?;
    let extra = "[quic]\nread = false\n".to_owned();
    let sensor = Sensor::start(&site.lab, &sensor::binary()?, &Setup { extra, ..setup("") })?;
    nothing_loads(&site, &sensor, NoName::QuicUnsupported)
}

fn nothing_loads(site: &Site, sensor: &Sensor, reason: NoName) -> Result<()> {
    let both = [names("open", ALLOWED, 1), names("shut", BLOCKED, 1)].concat();
    for family in FAMILIES {
        let load = Load::new(Hello::Small, family);
        let capture = Capture::behind(&site.lab)?;
        none_came(&site.client.try_for(load, &both, TRIES)?);
        let captured = capture.finish()?;
        assert!(captured.connections.is_empty(), "{family:?}: {captured:?}");
        assert_eq!(verdict_of(sensor, reason, family)?, Verdict::Block);
    }
    site.has_not_heard_of(&both)
}

#[test]
fn a_group_with_all_of_quic_gets_what_is_blocked_elsewhere() -> Result<()> {
    let site = Site::build()?;
    let sensor = site.start_sensor(Mode::Native, "quic = \"allow\"\n")?;
    let both = [names("open", ALLOWED, 1), names("shut", BLOCKED, 1)].concat();
    for family in FAMILIES {
        all_came(&site.client.load(Load::new(Hello::Late, family), &both)?);
        assert_ne!(verdict_of(&sensor, NoName::NotExamined, family)?, Verdict::Block);
    }
    site.served(&both)
}

/// Each in a flow of its own, and in the record of that flow the reason.
#[test]
fn each_kind_of_datagram_has_its_reason() -> Result<()> {
    let lab = Lab::build()?;
    let _echo = Echo::start(&lab)?;
    let sensor = Sensor::start(&lab, &sensor::binary()?, &setup(""))?;
    // Version 1, identifiers of eight bytes each, no token, and so many bytes to come as there are.
    let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 8], &[8], &[9; 8], &[0, 0x44, 0x96]].concat();
    let cases: [(&[u8], NoName, bool); 8] = [
        (&[0xc3, 0x1a, 0x2a, 0x3a, 0x4a, 8], NoName::QuicVersion, false),
        (&[0xc3, 0, 0, 0, 0, 8], NoName::QuicNegotiation, false),
        (&initial, NoName::QuicKeys, false),
        (b"\x0d12345678Q043\x01", NoName::Gquic, false),
        (b"\xc312345678", NoName::QuicVersion, false),
        (&[22, 0xfe, 0xfd, 0, 0, 0], NoName::Dtls, true),
        (&[0, 1, 0, 0x58], NoName::NotQuic, true),
        (&[0x41, 1, 2, 3], NoName::MidStream, true),
    ];
    for family in FAMILIES {
        for (start, reason, passes) in &cases {
            let came = send(&lab, family, PORT, &[payload(start, 1200)])?;
            assert_eq!(came.len(), usize::from(*passes), "{family:?} {reason:?}");
        }
        for (_, reason, passes) in &cases {
            let verdict = verdict_of(&sensor, *reason, family)?;
            assert_eq!(verdict != Verdict::Block, *passes, "{family:?} {reason:?}");
        }
    }
    Ok(())
}

/// Of the first record that has the reason.
fn verdict_of(sensor: &Sensor, reason: NoName, family: Family) -> Result<Verdict> {
    let what = format!("a record with {}", reason.name());
    let record = process::wait_until(&what, process::SHORT, || {
        let is_it = |one: &Record| {
            (one.device, one.peer_port, one.no_name) == (family.client(), PORT, reason)
        };
        Ok(stored(sensor)?.into_iter().find(is_it))
    })?;
    assert_eq!((record.protocol, &record.name), (UDP, &None), "{record:?}");
    Ok(record.verdict)
}
