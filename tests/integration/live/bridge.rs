//! A gateway that is a bridge without an address: nothing there routes, answers or translates but the sensor.

use anyhow::Result;
use sensor_lab::clients::{Outcome, Request};
use sensor_lab::lab::{Family, LAN_INTERFACE, Lab, WAN_INTERFACE};
use sensor_lab::sensor::{self, Mode, Sensor, Setup};
use sensor_lab::servers::WebServer;

use super::block_page::nothing_is_half_open;
use super::{ALLOWED, BLOCKED, Client, Site, is_block_page, page, setup};

#[test]
fn both_ends_are_told_through_a_bridge_without_an_address() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let site = build(mode)?;
        for family in [Family::V4, Family::V6] {
            for (request, expected) in [
                (Request::http(ALLOWED), page(ALLOWED)),
                (Request::https(ALLOWED), page(ALLOWED)),
                (Request::https(BLOCKED), Outcome::Reset),
            ] {
                let outcome = site.client.curl(&request.clone().over(family))?.outcome;
                assert_eq!(outcome, expected, "{mode:?} {family:?} {request:?}");
            }
            let told = site.client.curl(&Request::http(BLOCKED).over(family))?;
            assert!(is_block_page(&told.outcome), "{mode:?} {family:?}: {told:?}");
        }
        assert_eq!(site.arrivals_of(BLOCKED)?, 0);
        nothing_is_half_open(&site.lab)?;
    }
    Ok(())
}

fn build(mode: Mode) -> Result<Site> {
    let lab = Lab::build()?;
    let (lan, wan) = (LAN_INTERFACE, WAN_INTERFACE);
    let bridge = format!(
        "address flush dev {lan}\n\
         address flush dev {wan}\n\
         link add bridge0 type bridge\n\
         link set {lan} master bridge0\n\
         link set {wan} master bridge0\n\
         link set bridge0 up\n"
    );
    lab.gateway().ip(&bridge, lab.directory())?;
    // Each finds the other on its own wire.
    for (namespace, network) in [(lab.client(), 2), (lab.server(), 1)] {
        let routes = format!(
            "route replace 10.77.{network}.0/24 dev eth0\n\
             route replace fd77:{network}::/64 dev eth0\n"
        );
        namespace.ip(&routes, lab.directory())?;
    }
    let web = WebServer::start(&lab, &[ALLOWED, BLOCKED])?;
    let setup = Setup { mode, ..setup() };
    let sensor = Sensor::start(&lab, &sensor::binary()?, &setup)?;
    Ok(Site { sensor, client: Client::new(&lab, &web), web, lab })
}
