//! What is written down of a flow over QUIC.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::{NameSource, Verdict};
use sensor_lab::lab::Family;
use sensor_lab::process;
use sensor_lab::sensor::{Mode, Sensor};
use sensor_user::record::Record;

use super::http3::{Hello, Load, PORT, Version};
use super::{ALLOWED, BLOCKED, Site, all_came, names, none_came, stored};

const UDP: u8 = 17;
/// Time to send a hello twice.
const TRIES: Duration = Duration::from_millis(500);

#[test]
fn the_record_of_a_flow_says_what_its_hello_did() -> Result<()> {
    let site = Site::build()?;
    let sensor = site.start_sensor(Mode::Native, "")?;
    let small = Load::new(Hello::Small, Family::V4);
    let loads = [
        small,
        Load { family: Family::V6, ..small },
        Load { hello: Hello::Long, ..small },
        Load { hello: Hello::Late, ..small },
        Load { version: Version::V2, ..small },
    ];
    let (allowed, blocked) =
        (names("open", ALLOWED, loads.len()), names("shut", BLOCKED, loads.len()));
    for (load, (open, shut)) in loads.iter().zip(allowed.iter().zip(&blocked)) {
        all_came(&site.client.load(*load, std::slice::from_ref(open))?);
        none_came(&site.client.try_for(*load, std::slice::from_ref(shut), TRIES)?);
    }
    for (load, (open, shut)) in loads.iter().zip(allowed.iter().zip(&blocked)) {
        let record = record_of(&sensor, open)?;
        is_as_loaded(&record, *load);
        is_told_whole(&record);
        assert_eq!((record.verdict, record.categories.len()), (Verdict::Allow, 0), "{record:?}");
        let datagrams = if load.hello == Hello::Small { 1 } else { 2 };
        assert_eq!(record.quic_datagrams, Some(datagrams), "{record:?}");
        assert!(record.packets_to_lan > 0, "{record:?}");
        let record = record_of(&sensor, shut)?;
        is_as_loaded(&record, *load);
        // With the name first, the rest of the hello is not waited for.
        if load.hello != Hello::Long {
            is_told_whole(&record);
        }
        assert_eq!((record.verdict, record.categories.len()), (Verdict::Block, 1), "{record:?}");
        assert_eq!(record.list.as_deref(), Some("casinos"), "{record:?}");
    }
    Ok(())
}

fn is_as_loaded(record: &Record, load: Load) {
    assert_eq!(record.name_source, NameSource::Quic, "{record:?}");
    assert_eq!((record.protocol, record.peer_port), (UDP, PORT), "{record:?}");
    assert_eq!((record.device, record.peer), (load.family.client(), load.family.server()));
    let version = if load.version == Version::V1 { "1" } else { "2" };
    assert_eq!(record.quic_version.as_deref(), Some(version), "{record:?}");
}

fn is_told_whole(record: &Record) {
    assert_eq!(record.alpn, ["h3"], "{record:?}");
    assert_eq!(record.tls_version.as_deref(), Some("TLS 1.3"), "{record:?}");
    let ja4 = record.ja4.as_deref().unwrap_or_default();
    assert!(ja4.starts_with("q13d"), "{record:?}");
}

/// The first record of a name, once it is stored.
fn record_of(sensor: &Sensor, name: &str) -> Result<Record> {
    process::wait_until(&format!("a record of {name}"), process::SHORT, || {
        let records = stored(sensor)?;
        Ok(records.into_iter().find(|one| one.name.as_deref() == Some(name)))
    })
    .context("ask for records")
}
