//! One device that floods the gateway with Initials costs itself its budget, and others nothing.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::NoName;
use sensor_lab::frames::Hello as Offer;
use sensor_lab::lab::{Family, HOST_INTERFACE};
use sensor_lab::quic::{Content, Initial, message};
use sensor_lab::sensor::Mode;
use sensor_user::control::status::Status;

use super::http3::{Hello, Load, PORT};
use super::{ALLOWED, BLOCKED, Site, all_came, is_full, names, none_came, say};

/// The device that floods, beside the one that loads pages.
const FLOODER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 66);

/// Its Initials a second, and for how long it sends so many.
const RATE: u32 = 200_000;
const SECONDS: u32 = 1;
const SECONDS_FULL: u32 = 10;

/// Ports it sends from, and connection IDs of its Initials: no two in a row are of one flow or connection.
const PORTS: usize = 512;
const CONNECTIONS: usize = 1021;

/// Initials sent before the clock is looked at again.
const BURST: u32 = 200;

/// Nothing of the flood reaches the server, which would suffer more from it than the gateway.
const SINK: &str = "add table inet flood; \
    add chain inet flood forward { type filter hook forward priority -200; }; \
    add rule inet flood forward ip saddr 10.77.1.66 drop";

/// Over budget they pass here, so that each one is looked at: a flow that was blocked costs next to nothing.
const RULES: &str = "no_name = { block = [\"evasion\"], alert = [] }\n";

#[test]
fn who_floods_costs_others_nothing() -> Result<()> {
    let site = Site::build()?;
    let sensor = site.start_sensor(Mode::Native, RULES)?;
    site.lab.gateway().run("nft", &[SINK])?;
    let client = site.lab.client();
    client.run("ip", &["address", "add", &format!("{FLOODER}/24"), "dev", HOST_INTERFACE])?;
    let (allowed, blocked) = (names("open", ALLOWED, 5), names("shut", BLOCKED, 2));
    let load = Load::new(Hello::Late, Family::V4);
    let flood = thread::scope(|scope| -> Result<Flood> {
        let flood = scope.spawn(|| client.inside(Flood::send));
        all_came(&site.client.load(load, &allowed)?);
        none_came(&site.client.try_for(load, &blocked, Duration::from_millis(500))?);
        flood.join().expect("the flood does not panic")
    })?;
    site.served(&allowed)?;
    site.has_not_heard_of(&blocked)?;
    let status: Status = serde_json::from_value(sensor.cli_json(&["status"])?)?;
    let ingress = &status.interfaces.first().context("an interface")?.ingress;
    let over = ingress.no_name.get(NoName::QuicBudget.name()).copied().unwrap_or_default();
    let Flood { sent, took } = flood;
    say(&format!("{sent} Initials in {took:?}, {over} over budget; 5 of 5 pages of others loaded"));
    // What one device may have, 320 at once and 200 a second; and datagrams of the others.
    let others = 500;
    let granted = 320 + 200 * (took.as_secs() + 2) + others;
    // The wire may have lost some of them before the gateway.
    let opened = ingress.packets.checked_sub(over).context("more over budget than came")?;
    assert!(opened <= granted, "{opened} of {sent} were opened");
    assert!(over > sent / 2, "{over} of {sent} over budget");
    assert!(ingress.conserved, "{ingress:?}");
    Ok(())
}

struct Flood {
    sent: u64,
    took: Duration,
}

impl Flood {
    fn send() -> Result<Self> {
        let initials: Vec<_> = (0..CONNECTIONS as u64).map(initial).collect();
        let sockets = (0..PORTS).map(|_| socket()).collect::<Result<Vec<_>>>()?;
        let most = u64::from(RATE * if is_full() { SECONDS_FULL } else { SECONDS });
        let start = Instant::now();
        let mut sent = 0;
        let turns = sockets.iter().cycle().zip(initials.iter().cycle());
        for (socket, initial) in turns {
            if sent == most {
                break;
            }
            socket.send(initial).context("send an Initial")?;
            sent += 1;
            if sent.is_multiple_of(u64::from(BURST)) {
                let due = start + Duration::from_micros(sent * 1_000_000 / u64::from(RATE));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(Self { sent, took: start.elapsed() })
    }
}

fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((IpAddr::from(FLOODER), 0))?;
    socket.connect((Family::V4.server(), PORT))?;
    Ok(socket)
}

/// A whole hello, for a connection of its own.
fn initial(number: u64) -> Vec<u8> {
    let hello = message(&Offer::of(ALLOWED));
    let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Initial::of(vec![Content::whole(&hello)]).to_connection(&id).datagram()
}
