//! What a resolver answers: it names flows that have no name of their own, and its service records go under
//! another type where policy says so.

use std::fs;

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use sensor_lab::lab::Family;
use sensor_user::record::Record;

use super::dns::Site;
use super::{ALLOWED, HELPLINE, lan, record, records, setup, status};

/// Nobody listens there.
const CLOSED: u16 = 9;
const ENCRYPTED_DNS: u16 = 853;

/// A packet to a port that names nothing.
fn call(site: &Site, transport: &str, family: Family, port: u16) -> Result<()> {
    let address = format!("/dev/{transport}/{}/{port}", family.server());
    // A refusal is an answer too.
    let command = format!("echo hello > {address} || true");
    site.lab.client().run("bash", &["-c", &command]).map(drop)
}

fn flow_to(site: &Site, protocol: u8, family: Family, port: u16) -> Result<Record> {
    record(&site.sensor, "the record of a flow without a name", |one| {
        (one.protocol, one.peer, one.peer_port) == (protocol, family.server(), port)
    })
}

#[test]
fn a_flow_without_a_name_has_the_one_that_was_asked_for() -> Result<()> {
    let site = Site::build(&setup())?;
    let (tcp, udp) = (6, 17);
    call(&site, "udp", Family::V4, CLOSED)?;
    let before = flow_to(&site, udp, Family::V4, CLOSED)?;
    assert_eq!((before.name, before.name_source), (None, NameSource::None));
    for (family, kind) in [(Family::V4, "A"), (Family::V6, "AAAA")] {
        site.dig(family, ALLOWED, kind, &[])?;
        for (transport, protocol, port, application, reason) in [
            ("udp", udp, CLOSED + 1, None, NoName::NotQuic),
            ("tcp", tcp, CLOSED, None, NoName::NoPayload),
            ("tcp", tcp, ENCRYPTED_DNS, Some("dot"), NoName::NoPayload),
            ("udp", udp, ENCRYPTED_DNS, Some("doq"), NoName::NotQuic),
        ] {
            call(&site, transport, family, port)?;
            let record = flow_to(&site, protocol, family, port)?;
            assert_eq!(record.name.as_deref(), Some(ALLOWED), "{record:?}");
            assert_eq!((record.name_source, record.no_name), (NameSource::DnsAnswer, reason));
            assert_eq!(record.verdict, Verdict::Undecided, "{record:?}");
            assert_eq!(record.application.as_deref(), application, "{record:?}");
        }
    }
    let egress = lan(&status(&site.sensor)?)?.egress.clone();
    assert_eq!(egress.happened.get("answer-named"), Some(&2), "{egress:?}");
    assert!(egress.conserved, "{egress:?}");
    Ok(())
}

#[test]
fn a_protected_name_is_not_told_by_its_address() -> Result<()> {
    let site = Site::build(&setup())?;
    site.dig(Family::V4, HELPLINE, "A", &[])?;
    call(&site, "udp", Family::V4, CLOSED)?;
    let record = record(&site.sensor, "the flow to the helpline", |one| one.peer_port == CLOSED)?;
    assert_eq!((&record.name, record.no_name), (&None, NoName::NotQuic));
    assert!(record.peer.is_unspecified(), "{record:?}");
    assert!(records(&site.sensor)?.iter().all(|one| one.name.as_deref() != Some(HELPLINE)));
    let log = fs::read_to_string(site.sensor.directory().join("sensor.log"))?;
    assert!(!log.contains(HELPLINE));
    Ok(())
}

#[test]
fn service_records_go_under_another_type() -> Result<()> {
    let mut site = Site::with_dns("[dns]\nhttps_records = \"rename\"\n")?;
    let data = r"\# 11 00010000050004DEADBEEF";
    for family in [Family::V4, Family::V6] {
        for options in [&["+noedns"][..], &["+dnssec", "+cookie"], &["+padding=128"]] {
            let said = site.dig(family, ALLOWED, "HTTPS", options)?;
            let line = said.lines().find(|line| line.contains("TYPE65345")).unwrap_or_default();
            assert!(line.replace(' ', "").ends_with(&data.replace(' ', "")), "{family:?}: {said}");
            assert!(said.contains("status: NOERROR,") && !said.contains("ech="), "{said}");
        }
        let said = site.dig(family, ALLOWED, "A", &["+short"])?;
        assert_eq!(said.trim(), Family::V4.server().to_string());
        // Connections are not rewritten.
        let said = site.dig(family, ALLOWED, "HTTPS", &["+tcp", "+short"])?;
        assert_eq!(said.trim(), "1 . ech=3q2+7w==");
    }
    let egress = lan(&status(&site.sensor)?)?.egress.clone();
    assert_eq!(egress.happened.get("service-record-renamed"), Some(&6), "{egress:?}");
    site.sensor.kill()?;
    let said = site.dig(Family::V6, ALLOWED, "HTTPS", &[])?;
    assert!(said.contains("TYPE65345"), "without the daemon: {said}");
    Ok(())
}
