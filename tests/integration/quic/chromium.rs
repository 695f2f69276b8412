//! Chromium over QUIC alone. It deals its hello out over two datagrams, in pieces of which no two runs are
//! alike.

use std::collections::BTreeSet;

use anyhow::Result;
use sensor_lab::sensor::Mode;
use sensor_lab::servers::page_of;

use super::capture::Capture;
use super::{ALLOWED, BLOCKED, Site, loads, names, say};
use crate::browsers::device::{Browser, Loaded};

#[test]
fn chromium_loads_what_is_allowed() -> Result<()> {
    let site = Site::build()?;
    let (control, allowed) = (names("control", BLOCKED, loads()), names("open", ALLOWED, loads()));
    all_shown(&site, &control)?;
    let _sensor = site.start_sensor(Mode::Native, "")?;
    all_shown(&site, &allowed)
}

#[test]
fn chromium_never_loads_what_is_blocked() -> Result<()> {
    let site = Site::build()?;
    let _sensor = site.start_sensor(Mode::Native, "")?;
    let blocked = names("shut", BLOCKED, loads());
    let capture = Capture::behind(&site.lab)?;
    let loaded = Browser::ChromiumOverQuic.load(&site.lab, &site.web, &blocked)?;
    let captured = capture.finish()?;
    assert_eq!(shown(&loaded), 0, "{loaded:?}");
    site.has_not_heard_of(&blocked)?;
    let mut parts = Vec::new();
    for connection in &captured.connections {
        assert!(!connection.is_whole, "{connection:?}");
        assert!(!blocked.iter().any(|name| connection.tells(name)), "{connection:?}");
        parts.push((connection.initials, connection.hello_bytes));
    }
    let errors: BTreeSet<_> = loaded.iter().map(|page| page.error.as_str()).collect();
    say(&format!(
        "none of {} shown: {errors:?}; datagrams of hellos behind the gateway, and bytes: {parts:?}",
        loaded.len()
    ));
    all_shown(&site, &names("open", ALLOWED, 1))
}

/// All over HTTP/3, each over a connection of its own whose hello arrived as it was sent.
fn all_shown(site: &Site, names: &[String]) -> Result<()> {
    let capture = Capture::behind(&site.lab)?;
    let loaded = Browser::ChromiumOverQuic.load(&site.lab, &site.web, names)?;
    let captured = capture.finish()?;
    assert_eq!(shown(&loaded), names.len(), "{loaded:?}");
    site.served(names)?;
    assert_eq!(site.web.arrivals()?, [], "over TCP");
    let mut hellos = Vec::new();
    for name in names {
        let is_its = |one: &&_| -> bool { is_for(one, name) };
        let found = captured.connections.iter().find(is_its);
        let Some(connection) = found else { panic!("no hello for {name}: {captured:?}") };
        assert_eq!((connection.unread, connection.repeated), (0, 0), "{connection:?}");
        hellos.push((connection.initials, connection.hello_bytes));
    }
    say(&format!("{} pages shown; datagrams of hellos, and bytes: {hellos:?}", names.len()));
    Ok(())
}

fn is_for(connection: &super::capture::Connection, name: &str) -> bool {
    connection.name.as_deref() == Some(name)
}

/// How many pages were seen as they are.
fn shown(loaded: &[Loaded]) -> usize {
    loaded.iter().filter(|page| page.text.trim() == page_of(&page.name).trim()).count()
}
