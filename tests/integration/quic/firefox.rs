//! Firefox over QUIC, which it is told of; where nothing comes of it, it goes on over TCP by itself.

use anyhow::Result;
use sensor_lab::sensor::Mode;
use sensor_lab::servers::page_of;

use super::capture::Capture;
use super::{ALLOWED, BLOCKED, Site, is_full, loads, names, say};
use crate::browsers::device::{Browser, Loaded};

#[test]
fn firefox_loads_what_is_allowed() -> Result<()> {
    let site = Site::build()?;
    let (control, allowed) = (names("control", BLOCKED, 2), names("open", ALLOWED, loads()));
    all_shown(&site, &control)?;
    let _sensor = site.start_sensor(Mode::Native, "")?;
    all_shown(&site, &allowed)
}

#[test]
fn firefox_never_loads_what_is_blocked() -> Result<()> {
    let site = Site::build()?;
    let _sensor = site.start_sensor(Mode::Native, "")?;
    // It is patient, and five pages take a minute.
    let blocked = names("shut", BLOCKED, if is_full() { loads() } else { 2 });
    let capture = Capture::behind(&site.lab)?;
    let loaded = Browser::FirefoxOverQuic.load(&site.lab, &site.web, &blocked)?;
    let captured = capture.finish()?;
    assert_eq!(shown(&loaded), 0, "{loaded:?}");
    site.has_not_heard_of(&blocked)?;
    for connection in &captured.connections {
        assert!(!connection.is_whole, "{connection:?}");
        assert!(!blocked.iter().any(|name| connection.tells(name)), "{connection:?}");
    }
    say(&format!("none of {} shown", loaded.len()));
    Ok(())
}

/// All over HTTP/3.
fn all_shown(site: &Site, names: &[String]) -> Result<()> {
    let capture = Capture::before(&site.lab)?;
    let loaded = Browser::FirefoxOverQuic.load(&site.lab, &site.web, names)?;
    let captured = capture.finish()?;
    assert_eq!(shown(&loaded), names.len(), "{loaded:?}");
    site.served(names)?;
    let of_names = captured
        .connections
        .iter()
        .filter(|one| one.name.as_ref().is_some_and(|name| names.contains(name)));
    let hellos: Vec<_> = of_names.map(|one| (one.initials, one.hello_bytes)).collect();
    say(&format!("{} pages shown; datagrams of hellos, and bytes: {hellos:?}", names.len()));
    Ok(())
}

/// How many pages were seen as they are.
fn shown(loaded: &[Loaded]) -> usize {
    loaded.iter().filter(|page| page.text.trim() == page_of(&page.name).trim()).count()
}
