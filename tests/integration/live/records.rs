//! What is written down of a flow: all that was decided, and of a protected name nothing that tells it.

use std::fs;

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{Family, LAN_INTERFACE};
use sensor_user::record::{EndReason, Initiator, Record};

use super::{
    ALLOWED, BLOCKED, HELPLINE, Site, is_block_page, page, record, records, setup, status,
};

const TCP: u8 = 6;

#[test]
fn the_record_of_a_blocked_flow_says_what_was_decided_and_why() -> Result<()> {
    let site = Site::build(&setup())?;
    for (request, family, source, port) in [
        (Request::https(BLOCKED), Family::V4, NameSource::Tls, 443),
        (Request::http(BLOCKED), Family::V6, NameSource::Http, 80),
    ] {
        let outcome = site.client.curl(&request.over(family))?.outcome;
        assert!(outcome == Outcome::Reset || is_block_page(&outcome), "{outcome:?}");
        let record = record(&site.sensor, "the blocked flow's record", |one| {
            one.name_source == source && one.peer == family.server()
        })?;
        assert_eq!(decision(&record), ("block", vec!["gambling"], Some("casinos")));
        assert_eq!(record.name.as_deref(), Some(BLOCKED));
        assert_eq!(record.end_reason, EndReason::ForcedEnd);
        is_the_clients(&record, family, port);
        // SYN, ACK and the request came from the client, a SYN-ACK from the server. Resets and pages are
        // the sensor's own; a page is acknowledged, and the connection closed.
        let came = if source == NameSource::Http { 4..=5 } else { 3..=3 };
        assert!(came.contains(&record.packets_to_peer), "{record:?}");
        assert_eq!(record.packets_to_lan, 1, "{record:?}");
        assert!(record.bytes_to_peer > record.bytes_to_lan, "{record:?}");
    }
    Ok(())
}

#[test]
fn the_record_of_an_allowed_flow_has_its_name_and_no_category() -> Result<()> {
    let site = Site::build(&setup())?;
    for (request, family, source, port) in [
        (Request::https(ALLOWED), Family::V6, NameSource::Tls, 443),
        (Request::http(ALLOWED), Family::V4, NameSource::Http, 80),
    ] {
        assert_eq!(site.client.curl(&request.over(family))?.outcome, page(ALLOWED));
        let record = record(&site.sensor, "the allowed flow's record", |one| {
            one.name_source == source && one.peer == family.server()
        })?;
        assert_eq!(decision(&record), ("allow", vec![], None));
        assert_eq!(record.name.as_deref(), Some(ALLOWED));
        assert_eq!((record.no_name, record.end_reason), (NoName::Named, EndReason::EndOfFlow));
        is_the_clients(&record, family, port);
        assert!(record.packets_to_peer >= 5 && record.packets_to_lan >= 4, "{record:?}");
    }
    Ok(())
}

#[test]
fn a_protected_name_is_counted_and_never_written_down() -> Result<()> {
    let site = Site::build(&setup())?;
    for (request, family) in
        [(Request::https(HELPLINE), Family::V4), (Request::http(HELPLINE), Family::V6)]
    {
        assert_eq!(site.client.curl(&request.over(family))?.outcome, page(HELPLINE));
        let record = record(&site.sensor, "the protected flow's record", |one| {
            one.no_name == NoName::Unlogged && one.device == family.client()
        })?;
        assert_eq!((&record.name, record.name_source), (&None, NameSource::None));
        assert!(record.peer.is_unspecified(), "{record:?}");
        assert_eq!((record.verdict, record.protocol), (Verdict::Allow, TCP));
        assert!(record.packets_to_peer > 0 && record.packets_to_lan > 0, "{record:?}");
    }
    // Nor is it anywhere else: the log is at its most talkative here.
    let shown = site.sensor.cli(&["flows", "--limit", "0", "--csv"])?;
    assert!(!shown.contains(HELPLINE), "{shown}");
    let mut files = fs::read_dir(site.sensor.store_directory())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    assert!(!files.is_empty());
    files.push(site.sensor.directory().join("sensor.log"));
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let mut places = bytes.windows(HELPLINE.len());
        assert!(!places.any(|part| part == HELPLINE.as_bytes()), "in {}", file.display());
    }
    Ok(())
}

/// Names are as records have them on the command line and in the day file, which anyone can open.
#[test]
fn a_day_file_holds_what_the_command_line_shows() -> Result<()> {
    let mut site = Site::build(&setup())?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    site.sensor.stop()?;
    let records = records(&site.sensor)?;

    let mut rows = 0;
    for entry in fs::read_dir(site.sensor.store_directory())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        let file = rusqlite::Connection::open(&path)?;
        let mut select = file.prepare("SELECT sequence, name, verdict, device FROM records")?;
        let read = select.query_map([], |row| {
            let sequence: i64 = row.get(0)?;
            let name: Option<String> = row.get(1)?;
            let (verdict, device): (String, String) = (row.get(2)?, row.get(3)?);
            Ok((sequence, name, verdict, device))
        })?;
        for row in read {
            let (sequence, name, verdict, device) = row?;
            let record = records.iter().find(|one| i64::try_from(one.sequence) == Ok(sequence));
            let record = record.with_context(|| format!("record {sequence} is not shown"))?;
            assert_eq!((name, verdict.as_str()), (record.name.clone(), record.verdict.name()));
            assert_eq!(device, record.device.to_string());
            rows += 1;
        }
    }
    assert_eq!(rows, records.len());
    Ok(())
}

#[test]
fn status_says_what_policy_is_in_force_and_that_nothing_was_lost() -> Result<()> {
    let site = Site::build(&setup())?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    record(&site.sensor, "a record", |one| one.name.as_deref() == Some(ALLOWED))?;
    let status = status(&site.sensor)?;
    assert_eq!((status.sensor.as_str(), status.policy.version.as_str()), ("lab", "live.1"));
    assert_eq!((status.policy.names, status.policy.refused), (2, 0));
    assert!(status.records.stored > 0);
    assert_eq!((status.records.lost, status.records.store_failures), (0, 0));
    let interface = super::lan(&status)?;
    assert_eq!((interface.name.as_str(), interface.side.as_str()), (LAN_INTERFACE, "lan"));
    assert!(interface.ingress.conserved && interface.egress.conserved, "{interface:?}");
    assert!(interface.ingress.packets > 0 && interface.egress.packets > 0, "{interface:?}");
    Ok(())
}

fn decision(record: &Record) -> (&str, Vec<&str>, Option<&str>) {
    let categories = record.categories.iter().map(String::as_str).collect();
    (record.verdict.name(), categories, record.list.as_deref())
}

/// What every record of the lab's client has, before NAT.
fn is_the_clients(record: &Record, family: Family, port: u16) {
    assert_eq!((record.device, record.peer), (family.client(), family.server()), "{record:?}");
    assert_eq!((record.peer_port, record.protocol), (port, TCP), "{record:?}");
    assert_ne!(record.device_port, 0, "{record:?}");
    assert_eq!(record.policy.as_deref(), Some("live.1"), "{record:?}");
    assert_eq!(record.group.as_deref(), Some("students"), "{record:?}");
    assert_eq!((record.interface.as_str(), record.zone), (LAN_INTERFACE, 0), "{record:?}");
    assert_eq!(record.initiator, Initiator::Lan, "{record:?}");
    assert_eq!(record.sensor, "lab", "{record:?}");
    assert!(record.start_us <= record.end_us, "{record:?}");
}
