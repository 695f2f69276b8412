//! Chromium over QUIC alone. It deals its hello out over two datagrams, in pieces that are cut otherwise each time
//! and lie in any order: the first datagram may have the name's bytes, and nothing in front of them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
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
        let found = captured.connections.iter().find(|one| one.name.as_ref() == Some(name));
        let connection = found.with_context(|| format!("no hello for {name}: {captured:?}"))?;
        assert_eq!(connection.unread, 0, "{connection:?}");
        // It sends all of it again where an answer takes a few milliseconds more than the last one did.
        hellos.push((connection.initials, connection.hello_bytes));
    }
    say(&format!("{} pages shown; datagrams of hellos, and bytes: {hellos:?}", names.len()));
    Ok(())
}

/// How many pages were seen as they are.
fn shown(loaded: &[Loaded]) -> usize {
    loaded.iter().filter(|page| page.text.trim() == page_of(&page.name).trim()).count()
}
