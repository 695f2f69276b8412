//! Devices that try to get past the sensor, and others that only look like it.
//!
//! Each way is a [`case`]: what a scripted client does with a hello. [`trial`] tries every case with a
//! blocked name, which no server may read, and with an allowed one, which must load. [`control`] tries
//! them without a sensor: a case that no server falls for proves nothing about one.
//!
//! - [`segments`], [`records`]: the right bytes, in pieces, out of order, late.
//! - [`fakes`], [`overlaps`]: other bytes at the same place, which servers drop or keep;
//!   [`combinations`] of these and the former.
//! - [`connections`], [`packets`]: how the connection is opened and ended, how segments lie in packets.
//! - [`hellos`], [`speaker`]: what the hello says, how long it is, what comes before it.
//! - [`requests`]: names in plain requests, wherever on a connection those start.
//! - [`ordinary`], [`honest`]: what is no trick, by script and by the kernel's own stack.
//! - [`crowd`], [`siege`]: many unfinished hellos, and more of everything than the sensor has room for.
//! - [`queries`]: the same idea with queries, which a resolver must not answer.
//! - [`tools`]: programs made to get past a sensor.

mod case;
mod combinations;
mod connections;
mod control;
mod crowd;
mod draft;
mod fakes;
mod hellos;
mod honest;
mod ordinary;
mod overlaps;
mod packets;
mod queries;
mod race;
mod records;
mod requests;
mod segments;
mod siege;
mod speaker;
mod techniques;
mod tools;
mod trial;

use std::env;

use anyhow::Result;
use sensor_lab::lab::{Lab, Plan, Translation};
use sensor_lab::script::conversation::SILENT_PORT;
use sensor_lab::script::wire::Wire;
use sensor_lab::sensor::{self, Sensor, Setup};
use sensor_lab::servers::WebServer;

use case::Case;
use draft::INNOCENT;
use speaker::Speaker;

/// On no list.
const ALLOWED: &str = "museum.example";
/// On the list of casinos, and as long as the one above.
const BLOCKED: &str = "casino.example";

const POLICY: &str = r#"version = "evasion.1"
default_group = "students"

[[category]]
id = "gambling"
title = "Gambling"
covers = "Betting and casinos"

[[group]]
name = "students"
prefixes = []
block = ["gambling"]

[[list]]
id = "casinos"
file = "lists/casinos.txt"
categories = ["gambling"]
"#;

/// Without translation, so that every packet reaches the server as the device made it.
struct Ground {
    sensor: Option<Sensor>,
    wire: Wire,
    speaker: Speaker,
    web: WebServer,
    lab: Lab,
}

impl Ground {
    fn watched() -> Result<Self> {
        Self::watched_with(&[])
    }

    /// By a sensor whose maps have other sizes: `[kernel]` keys.
    fn watched_with(sizes: &[(&str, u64)]) -> Result<Self> {
        let ground = Self::unwatched()?;
        let files = vec![("lists/casinos.txt".to_owned(), format!("{BLOCKED}\n"))];
        let kernel = sizes.iter().map(|&(key, size)| (key.to_owned(), size)).collect();
        let setup = Setup { files, kernel, ..Setup::with_policy(POLICY) };
        let sensor = Sensor::start(&ground.lab, &sensor::binary()?, &setup)?;
        Ok(Self { sensor: Some(sensor), ..ground })
    }

    fn unwatched() -> Result<Self> {
        let lab = Lab::with(Plan { translation: Translation::None, ..Plan::default() })?;
        lab.server().sysctl(&["net.ipv4.tcp_fastopen=3"])?;
        lose_weak_packets(&lab)?;
        let web = WebServer::start(&lab, &[ALLOWED, BLOCKED, INNOCENT])?;
        let speaker = Speaker::start(&lab, &web)?;
        let wire = Wire::open(&lab)?;
        Ok(Self { sensor: None, wire, speaker, web, lab })
    }
}

/// The server as one that is some hops away: what left a device with less than the usual 64 hops does
/// not arrive. One hop is the gateway's. And a port that never answers; of a later fragment, nftables would
/// take whatever lies there for the port.
fn lose_weak_packets(lab: &Lab) -> Result<()> {
    let rules = format!(
        "add table inet far\n\
         add chain inet far input {{ type filter hook prerouting priority raw; }}\n\
         add rule inet far input meta l4proto tcp ip ttl < 63 drop\n\
         add rule inet far input meta l4proto tcp ip6 hoplimit < 63 drop\n\
         add rule inet far input ip frag-off & 0x1fff != 0 accept\n\
         add rule inet far input tcp dport {SILENT_PORT} drop\n"
    );
    lab.server().run("nft", &[&rules]).map(drop)
}

/// A part of the names of the cases to try, for whoever looks into some of them.
const CASE_VARIABLE: &str = "CAMPUS_SENSOR_CASE";

/// Every case there is, or those that are asked for.
fn cases() -> Vec<Case> {
    let cases = [
        segments::cases(),
        records::cases(),
        requests::cases(),
        fakes::cases(),
        overlaps::cases(),
        combinations::cases(),
        connections::cases(),
        packets::cases(),
        hellos::cases(),
        speaker::cases(),
        ordinary::cases(),
    ];
    let wanted = env::var(CASE_VARIABLE).unwrap_or_default();
    cases.into_iter().flatten().filter(|case| case.name.contains(&wanted)).collect()
}
