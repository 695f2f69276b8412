//! Exports as other people's programs read them: nfdump, pmacct, tshark and rsyslog from Debian, as children on the
//! loopback interface. Names are as hostile as names can be. What they decode must be what the records say.
//!
//! - [`nfdump`], [`pmacct`], [`tshark`]: IPFIX. [`rsyslog`]: syslog. [`daemon`]: the whole sensor in the lab.
//! - [`conservation`]: every packet of many flows is in one record, whatever becomes of the daemon.

mod conservation;
mod daemon;
mod nfdump;
mod pmacct;
mod rsyslog;
mod tshark;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sensor_lab::process;
use sensor_user::config::Config;
use sensor_user::export;
use sensor_user::record::{Record, name_of_bytes};
use sensor_user::spool::{Options, Spool};
use serde_json::json;

/// For a program that starts, and for what it prints now and then.
const SOON: Duration = Duration::from_secs(20);

/// Records over both families, with volumes of their own and names that mean something to every format.
fn samples() -> Result<Vec<Record>> {
    let odd: Vec<u8> = (0..=255).filter(|byte| *byte != b'.').collect();
    let names: [&[u8]; 8] = [
        b"casino.example",
        b"a\"b.example",
        b"a\\b.example",
        b"a]b=\"c\" d=\"e\".example",
        b"a\nb\r\n\t\0.example",
        b"%s%n${x}$(y)`z`'q';,|<i>.example",
        &odd,
        &[b'a'; 255],
    ];
    let record = |(number, name): (usize, &&[u8])| {
        let is_ipv6 = number % 2 == 1;
        let (device, peer) =
            if is_ipv6 { ("2001:db8:1::5", "2001:db8:2::80") } else { ("10.0.0.5", "192.0.2.80") };
        let value = json!({
            "schema_version": 2, "sensor": "gw-1", "boot": "9f0c1f8e-5d0a-4c39-9c5c-0a5a64a4a2d1",
            "sequence": number, "flow_id": format!("{:016x}", u64::MAX - number as u64),
            "start_us": 1_773_144_000_123_456_i64, "end_us": 1_773_144_007_654_321_i64,
            "device": device, "device_port": 50_000 + number, "peer": peer, "peer_port": 443,
            "protocol": 6, "zone": 3, "interface": "lan0",
            "packets_to_peer": 10 + number, "bytes_to_peer": 10_000 + number,
            "packets_to_lan": 20 + number, "bytes_to_lan": 5_000_000_000_u64 + number as u64,
            "name": name_of_bytes(name), "name_source": "http", "no_name": "named", "verdict": "block",
            "categories": ["adult", "gambling"], "list": "ut1", "policy": "2026-03-09.1",
            "group": "students", "tls_version": null, "alpn": [], "ech": null, "ja4": null,
            "application": null, "quic_version": null, "quic_datagrams": null,
            "end_reason": "forced-end", "initiator": "lan",
        });
        serde_json::from_value(value).context("a sample record")
    };
    names.iter().enumerate().map(record).collect()
}

/// What an export of this configuration sends of the records, one batch each. Returns when all of it is sent.
fn send(section: &str, records: &[Record]) -> Result<()> {
    let text = format!("[[interface]]\nname = \"lan0\"\n[[export]]\nname = \"test\"\n{section}");
    let config = Config::parse(&text, Path::new("sensor.toml"), "gw-1")?;
    let dir = tempfile::tempdir()?;
    let mut spool = Spool::open(Options::new(dir.path()))?;
    let exports = export::start(&config.export, "gw-1", &mut spool)?;
    for record in records {
        spool.append(std::slice::from_ref(record), 0)?;
    }
    spool.finish();
    let states = exports.states();
    exports.stop();
    for status in export::status(&states, &spool.watch().status(0)) {
        ensure!(status.sent == records.len() as u64, "not all was sent: {status:?}");
    }
    Ok(())
}

/// A port that is free for both UDP and TCP.
fn free_port() -> Result<u16> {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").context("find a free port")?;
        let port = socket.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}

/// Waits until somebody listens on a UDP port.
fn wait_for_listener(port: u16) -> Result<()> {
    process::wait_until("somebody listens", SOON, || Ok(queued(port)?.map(drop)))
}

/// Waits until who listens has taken all that was sent.
fn wait_until_taken(port: u16) -> Result<()> {
    process::wait_until("all is taken", SOON, || Ok(queued(port)?.filter(|bytes| *bytes == 0)))?;
    Ok(())
}

/// Bytes that wait at a UDP port; none where nobody listens.
fn queued(port: u16) -> Result<Option<u64>> {
    // "sl local_address rem_address st tx_queue:rx_queue", addresses and numbers in hexadecimal digits.
    let table = fs::read_to_string("/proc/net/udp").context("read the sockets")?;
    let end = format!(":{port:04X}");
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = row.filter(|row| row.len() > 4).find(|row| row[1].ends_with(&end));
    let waits = row.and_then(|row| row[4].split_once(':').map(|(_, waits)| waits.to_owned()));
    waits.map(|waits| u64::from_str_radix(&waits, 16).context("a queue's length")).transpose()
}
