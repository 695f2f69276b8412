//! A device that moves: from one port of a bridge to another, with the same addresses, in the middle of what it
//! is doing. Both ports are watched.

use std::time::Duration;

use anyhow::Result;
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{Family, HOST_INTERFACE, LAN_INTERFACE, Lab};
use sensor_lab::sensor::{self, Sensor, Setup};
use sensor_lab::servers::WebServer;
use sensor_user::control::status::InterfaceStatus;

use super::listener::deafen;
use super::patient::{Patient, Stop};
use super::{ALLOWED, BLOCKED, Client, Site, page, record, records, setup, status};

const SECOND_PORT: &str = "lan1";
const SECOND_HOST_INTERFACE: &str = "eth1";
/// Both stacks' bridge.
const BRIDGE: &str = "bridge0";
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Four retransmissions, some of them after the device has moved.
const STUBBORN: Duration = Duration::from_millis(3_200);

#[test]
fn a_device_that_moves_in_mid_hello_is_judged_by_the_whole_of_it() -> Result<()> {
    let mut place = Place::build()?;
    for family in FAMILIES {
        for (name, expected) in [(ALLOWED, page(ALLOWED)), (BLOCKED, Outcome::Reset)] {
            let client = Patient::start(&place.site, name, family)?;
            client.wait_at(Stop::InHello)?;
            let before = place.move_device()?;
            client.go_on(Stop::InHello)?;
            client.go_on(Stop::BeforeRequest)?;
            assert_eq!(client.finish()?, expected, "{name} {family:?}");
            place.was_seen_since(&before)?;
        }
    }
    assert_eq!(place.site.arrivals_of(BLOCKED)?, 0);
    one_record_each(&place.site)
}

#[test]
fn a_connection_goes_on_where_its_device_has_moved_to() -> Result<()> {
    let mut place = Place::build()?;
    for family in FAMILIES {
        let client = Patient::start(&place.site, ALLOWED, family)?;
        client.wait_at(Stop::InHello)?;
        client.go_on(Stop::InHello)?;
        client.wait_at(Stop::BeforeRequest)?;
        let before = place.move_device()?;
        client.go_on(Stop::BeforeRequest)?;
        assert_eq!(client.finish()?, page(ALLOWED), "{family:?}");
        place.was_seen_since(&before)?;
        for (request, expected) in
            [(Request::https(BLOCKED), Outcome::Reset), (Request::http(ALLOWED), page(ALLOWED))]
        {
            let outcome = place.site.client.curl(&request.clone().over(family))?.outcome;
            assert_eq!(outcome, expected, "{request:?} {family:?}");
        }
    }
    assert_eq!(place.site.arrivals_of(BLOCKED)?, 0);
    Ok(())
}

/// Its stack never learns of the reset, and sends the hello again and again, also from where it is now.
#[test]
fn a_blocked_connection_stays_so_where_its_device_has_moved_to() -> Result<()> {
    let mut place = Place::build()?;
    deafen(&mut place.site.lab.client().command("nft"))?;
    for family in FAMILIES {
        let client = Patient::within(&place.site, BLOCKED, family, STUBBORN)?;
        client.wait_at(Stop::InHello)?;
        client.go_on(Stop::InHello)?;
        record(&place.site.sensor, "the block", |one| {
            one.name.as_deref() == Some(BLOCKED) && one.device == family.client()
        })?;
        let before = place.move_device()?;
        assert_eq!(client.finish()?, Outcome::Timeout, "{family:?}");
        let now = place.was_seen_since(&before)?;
        let refused = |interface: &InterfaceStatus| {
            let happened = &interface.ingress.happened;
            let count = |what: &str| happened.get(what).copied().unwrap_or(0);
            count("client-reset") + count("blocked-dropped")
        };
        assert!(refused(&now) > refused(&before), "{family:?}: {now:?}");
    }
    assert_eq!(place.site.arrivals_of(BLOCKED)?, 0);
    Ok(())
}

/// A gateway whose LAN is a bridge, and a device with a socket in each of two walls.
struct Place {
    site: Site,
    /// Which port the device is at.
    at: usize,
}

impl Place {
    fn build() -> Result<Self> {
        let lab = Lab::build()?;
        lay_second_wire(&lab)?;
        let web = WebServer::start(&lab, &[ALLOWED, BLOCKED])?;
        let second = format!("[[interface]]\nname = \"{SECOND_PORT}\"\n");
        let setup = Setup { extra: second, ..setup() };
        let sensor = Sensor::start(&lab, &sensor::binary()?, &setup)?;
        let site = Site { sensor, client: Client::new(&lab, &web), web, lab };
        Ok(Self { site, at: 0 })
    }

    /// Pulls the device's plug here and puts it in there; what the other port has counted until then.
    fn move_device(&mut self) -> Result<InterfaceStatus> {
        let wires = [HOST_INTERFACE, SECOND_HOST_INTERFACE];
        let (from, to) = (wires[self.at], wires[1 - self.at]);
        self.at = 1 - self.at;
        let before = self.port()?;
        let commands = format!("link set {from} down\nlink set {to} up\n");
        self.site.lab.client().ip(&commands, self.site.lab.directory())?;
        Ok(before)
    }

    /// The port the device is at.
    fn port(&self) -> Result<InterfaceStatus> {
        let name = [LAN_INTERFACE, SECOND_PORT][self.at];
        let status = status(&self.site.sensor)?;
        let is_it = |interface: &&InterfaceStatus| interface.name == name;
        Ok(status.interfaces.iter().find(is_it).expect("a watched port").clone())
    }

    /// Flows were carried on here.
    fn was_seen_since(&self, before: &InterfaceStatus) -> Result<InterfaceStatus> {
        let now = self.port()?;
        let flow = |interface: &InterfaceStatus| {
            interface.ingress.accounted.get("flow").copied().unwrap_or_default()[0]
        };
        assert!(flow(&now) > flow(before), "{before:?} {now:?}");
        assert!(now.ingress.conserved && now.egress.conserved, "{now:?}");
        Ok(now)
    }
}

/// The gateway's addresses go to a bridge of both its ports, the client's to one of both its ends.
fn lay_second_wire(lab: &Lab) -> Result<()> {
    let bridge = |ports: [&str; 2], network: &str| {
        let joined = ports
            .map(|port| format!("address flush dev {port}\nlink set {port} master {BRIDGE}\n"));
        let joined = joined.concat();
        format!(
            "link add {BRIDGE} type bridge forward_delay 0 stp_state 0\n\
             {joined}\
             address add 10.77.1.{network}/24 dev {BRIDGE}\n\
             address add fd77:1::{network}/64 dev {BRIDGE} nodad\n\
             link set {BRIDGE} up\n"
        )
    };
    let (gateway, client) = (lab.gateway(), lab.client());
    let wire = format!(
        "link add {SECOND_PORT} type veth peer name {SECOND_HOST_INTERFACE} netns {}\n\
         link set {SECOND_PORT} up\n",
        client.name()
    );
    gateway.ip(&(wire + &bridge([LAN_INTERFACE, SECOND_PORT], "1")), lab.directory())?;
    let routes = format!(
        "route replace default via 10.77.1.1 dev {BRIDGE}\n\
         route replace default via fd77:1::1 dev {BRIDGE}\n"
    );
    let commands = bridge([HOST_INTERFACE, SECOND_HOST_INTERFACE], "2") + &routes;
    client.ip(&commands, lab.directory())?;
    client.run("ethtool", &["-K", SECOND_HOST_INTERFACE, "tx", "off", "gro", "on"])?;
    client.run("ethtool", &["-K", BRIDGE, "tx", "off"]).map(drop)
}

fn one_record_each(site: &Site) -> Result<()> {
    for name in [ALLOWED, BLOCKED] {
        for family in FAMILIES {
            let is_it = |one: &&_| -> bool {
                let one: &sensor_user::record::Record = one;
                one.name.as_deref() == Some(name) && one.device == family.client()
            };
            record(&site.sensor, "a record", |one| is_it(&one))?;
            assert_eq!(records(&site.sensor)?.iter().filter(is_it).count(), 1, "{name} {family:?}");
        }
    }
    Ok(())
}
