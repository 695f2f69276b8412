//! Chromium as people have it: a site's HTTPS record says that it has HTTP/3, and both ways are tried. Where QUIC does
//! not get through it goes on over TCP, where names are judged as well.

use std::net::Ipv4Addr;

use anyhow::Result;
use sensor_lab::resolver::{Forwarder, Resolver};
use sensor_lab::sensor::{Mode, Sensor};
use sensor_lab::servers::page_of;

use super::capture::{Capture, Captured};
use super::{ALLOWED, BLOCKED, Site, names, say};
use crate::browsers::device::{Browser, Loaded};

/// Pages of each kind.
const LOADS: usize = 3;

/// In the devices' network, so that only the longer prefix tells it from them.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 3);

/// As [RFC 9460 section 2.2](https://www.rfc-editor.org/rfc/rfc9460#section-2.2) has it: priority 1, the name
/// itself, and `alpn` with `h3` besides what HTTPS has anyway.
const HTTP3_OFFERED: &str = "00010000010003026833";

#[test]
fn chromium_goes_on_over_tcp_where_a_group_has_no_quic() -> Result<()> {
    let site = Site::build()?;
    let names = names("open", ALLOWED, LOADS);
    let (loaded, tried) = load(&site, "quic = \"drop\"\n", &names)?;
    assert_eq!(shown(&loaded), names.len(), "{loaded:?}");
    assert_eq!(site.http3.events()?.len(), 1, "more than that it listens");
    let arrivals = site.web.arrivals()?;
    for name in &names {
        let arrived = arrivals.iter().any(|one| one.host == *name && one.sni == *name);
        assert!(arrived, "{name}: {arrivals:?}");
    }
    say(&format!("{} of {} pages tried over QUIC, all shown over TCP", tried, names.len()));
    Ok(())
}

#[test]
fn a_name_blocked_over_quic_is_blocked_over_tcp_as_well() -> Result<()> {
    let site = Site::build()?;
    let names = names("shut", BLOCKED, LOADS);
    let (loaded, tried) = load(&site, "", &names)?;
    assert_eq!(shown(&loaded), 0, "{loaded:?}");
    site.has_not_heard_of(&names)?;
    say(&format!("{} of {} pages tried over QUIC, none shown", tried, names.len()));
    Ok(())
}

/// With a resolver that knows the names, in a group of its own; of how many names the client sent hellos over QUIC.
fn load(site: &Site, keys: &str, names: &[String]) -> Result<(Vec<Loaded>, usize)> {
    let known: Vec<_> = names.iter().map(String::as_str).collect();
    let _resolver = Resolver::start_with(&site.lab, &known, HTTP3_OFFERED)?;
    let _sensor = start_sensor(site, keys)?;
    let _forwarder = Forwarder::start(&site.lab, RESOLVER, &names[0])?;
    let (before, behind) = (Capture::before(&site.lab)?, Capture::behind(&site.lab)?);
    let loaded = Browser::ChromiumOverBoth.load_resolved(&site.lab, &site.web, names)?;
    let (before, behind) = (before.finish()?, behind.finish()?);
    assert!(tried(&behind, names) == 0, "{behind:?}");
    let tried = tried(&before, names);
    assert!(tried > 0, "Chromium tried QUIC with none: {before:?}");
    Ok((loaded, tried))
}

fn start_sensor(site: &Site, keys: &str) -> Result<Sensor> {
    let resolvers = format!(
        "{keys}\n[[group]]\nname = \"resolvers\"\nprefixes = [\"{RESOLVER}/32\"]\nblock = []\n\n\
         [group.dns]\nhttps_records = \"keep\"\n"
    );
    site.start_sensor(Mode::Native, &resolvers)
}

/// Names that a server could have read.
fn tried(captured: &Captured, names: &[String]) -> usize {
    let is_told = |name: &&String| captured.connections.iter().any(|one| one.tells(name));
    names.iter().filter(is_told).count()
}

/// How many pages were seen as they are.
fn shown(loaded: &[Loaded]) -> usize {
    loaded.iter().filter(|page| page.text.trim() == page_of(&page.name).trim()).count()
}
