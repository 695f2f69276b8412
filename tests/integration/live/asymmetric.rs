//! A path of which the sensor sees one direction: what the client sends comes in at the watched interface,
//! what the server sends leaves by another.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{Family, Lab};
use sensor_user::record::Record;

use super::patient::{Patient, Stop};
use super::{ALLOWED, BLOCKED, Site, is_block_page, lan, page, records, setup, status};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn names_are_read_and_blocked_where_the_servers_packets_go_another_way() -> Result<()> {
    let mut site = Site::build(&setup())?;
    return_by_another_way(&site.lab)?;
    for family in FAMILIES {
        for (request, expected) in [
            (Request::https(ALLOWED), page(ALLOWED)),
            (Request::http(ALLOWED), page(ALLOWED)),
            (Request::https(BLOCKED), Outcome::Reset),
        ] {
            let outcome = site.client.curl(&request.clone().over(family))?.outcome;
            assert_eq!(outcome, expected, "{request:?} {family:?}");
        }
        let outcome = site.client.curl(&Request::http(BLOCKED).over(family))?.outcome;
        assert!(is_block_page(&outcome), "{family:?}: {outcome:?}");
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);
    nothing_came_back_here(&mut site)
}

#[test]
fn hellos_in_two_segments_are_put_together_without_the_servers_acknowledgements() -> Result<()> {
    let mut site = Site::build(&setup())?;
    return_by_another_way(&site.lab)?;
    for family in FAMILIES {
        for (name, expected) in [(ALLOWED, page(ALLOWED)), (BLOCKED, Outcome::Reset)] {
            let client = Patient::start(&site, name, family)?;
            client.wait_at(Stop::InHello)?;
            client.go_on(Stop::InHello)?;
            client.go_on(Stop::BeforeRequest)?;
            assert_eq!(client.finish()?, expected, "{name} {family:?}");
        }
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);
    nothing_came_back_here(&mut site)
}

/// A second wire to the client, which no sensor watches; the gateway sends all its packets there.
fn return_by_another_way(lab: &Lab) -> Result<()> {
    let client = lab.client();
    let wire = format!(
        "link add back0 type veth peer name back0 netns {}\n\
         link set back0 up\n",
        client.name()
    );
    lab.gateway().ip(&wire, lab.directory())?;
    client.ip("link set back0 up\n", lab.directory())?;
    let link = client.run("ip", &["-json", "link", "show", "dev", "back0"])?;
    let link: serde_json::Value = serde_json::from_str(&link).context("read ip's JSON")?;
    let address = link.pointer("/0/address").and_then(serde_json::Value::as_str);
    let address = address.context("the wire's address")?;
    let mut routes = String::new();
    for client in FAMILIES.map(Family::client) {
        // Nobody answers for an IPv6 address of another interface.
        writeln!(routes, "neighbour replace {client} lladdr {address} dev back0")?;
        writeln!(routes, "route add {client} dev back0")?;
    }
    lab.gateway().ip(&routes, lab.directory())
}

/// The records have packets of one direction only, and so has the interface but for what the sensor itself
/// sends. Nobody sees these flows end: the sensor tells what it knows of them when it stops.
fn nothing_came_back_here(site: &mut Site) -> Result<()> {
    let status = status(&site.sensor)?;
    let interface = lan(&status)?;
    assert!(interface.ingress.conserved && interface.egress.conserved, "{interface:?}");
    site.sensor.stop()?;
    let records = records(&site.sensor)?;
    for name in [ALLOWED, BLOCKED] {
        for family in FAMILIES {
            let is_it =
                |one: &&Record| one.name.as_deref() == Some(name) && one.device == family.client();
            assert!(records.iter().any(|one| is_it(&one)), "{name} {family:?}");
        }
    }
    for record in records.iter().filter(|one| one.name.is_some()) {
        assert_eq!(record.packets_to_lan, 0, "{record:?}");
        assert!(record.packets_to_peer > 2, "{record:?}");
    }
    Ok(())
}
