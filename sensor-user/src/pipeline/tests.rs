//! The last threads: what becomes of records on their way to the spool, the store and exports.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::export;
use crate::privacy::{Pseudonymise, is_pseudonym};
use crate::record::Record;
use crate::record::sample::record;
use crate::spool::{Options, Start};
use crate::store::{Query, Reader};

/// Carries records through the last threads, with exports of every kind; their receivers' bytes.
fn kept(dir: &TempDir, pseudonyms: Option<Pseudonyms>, records: Vec<Record>) -> Vec<Vec<u8>> {
    let receiver = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let target = format!("udp://{}", socket.local_addr().unwrap());
        (socket, target)
    };
    let ((ipfix, to_ipfix), (syslog, to_syslog)) = (receiver(), receiver());
    let eve = dir.path().join("eve.json");
    let mut text = "[[interface]]\nname = \"lan0\"\n".to_owned();
    let targets = [("eve", eve.to_str().unwrap()), ("ipfix", &to_ipfix), ("syslog", &to_syslog)];
    for (kind, target) in targets {
        text.push_str(&["[[export]]\nname = \"", kind, "\"\nkind = \"", kind, "\"\n"].concat());
        text.push_str(&["target = \"", target, "\"\n"].concat());
    }
    let exports = Config::parse(&text, Path::new("sensor.toml"), "gw").unwrap().export;
    let mut spool = Spool::open(Options::new(&dir.path().join("spool"))).unwrap();
    let exports = export::start(&exports, "gw", &mut spool).unwrap();
    let reader = spool.reader("day-store", Start::Oldest).unwrap();
    let (records_in, records_out) = bounded(1);
    let (settled, _committed) = bounded(1);
    let outlets = Outlets { settled, pseudonyms };
    let store = DayStore::open(&dir.path().join("store"), "gw").unwrap();
    let ready = records.into_iter().map(|record| Ready { record, of: Waiting::Nothing });
    records_in.send(ready.collect()).unwrap();
    drop(records_in);
    let (metrics, stop) = (Metrics::default(), AtomicBool::new(false));
    let spool = keep(spool, &records_out, &outlets, &stop, &metrics);
    deliver(store, reader, 100_000, &stop, &metrics);
    exports.stop();
    spool.close().unwrap();
    let datagrams = |socket: UdpSocket| {
        let mut bytes = Vec::new();
        let mut datagram = vec![0; 65_536];
        while let Ok(length) = socket.recv(&mut datagram) {
            bytes.extend_from_slice(&datagram[..length]);
        }
        bytes
    };
    vec![fs::read(eve).unwrap(), datagrams(ipfix), datagrams(syslog)]
}

#[test]
fn exports_carry_what_the_store_has() {
    let dir = TempDir::new().unwrap();
    let key = dir.path().join("pseudonym.key");
    let pseudonyms = Pseudonyms::open(Pseudonymise::Daily, &key).unwrap();
    let sent = kept(&dir, pseudonyms, vec![record(0)]);
    let reader = Reader::open(&dir.path().join("store")).unwrap();
    let stored = reader.flows(&Query::default()).unwrap().remove(0);
    let user = stored.user.unwrap();
    assert!(is_pseudonym(&user) && is_pseudonym(&stored.host_name.unwrap()));
    let mac = stored.mac.unwrap();
    for bytes in &sent {
        let has = |part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
        assert!(has(user.as_bytes()));
        assert!(has(mac.to_string().as_bytes()) || has(&mac.0));
        assert!(!has(b"a.smith") && !has(b"pc-17") && !has(b"02:53:00:00:00:07"));
        assert!(!has(&record(0).mac.unwrap().0));
    }
}

#[test]
fn without_pseudonyms_names_are_as_they_are() {
    let dir = TempDir::new().unwrap();
    let sent = kept(&dir, None, vec![record(0)]);
    let reader = Reader::open(&dir.path().join("store")).unwrap();
    assert_eq!(reader.flows(&Query::default()).unwrap(), [record(0)]);
    for bytes in sent {
        assert!(bytes.windows(7).any(|found| found == b"a.smith"));
    }
}
