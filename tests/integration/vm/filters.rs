//! Attached, replaced and removed: by links where the kernel has them for TC, else by filters.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::lab::Lab;

use super::exchange::{End, Ends, Size, exchange};
use crate::live::lifecycle::{filters, xdp_program};
use crate::live::{ALLOWED, BLOCKED, Site, page, setup};

const PATIENCE: Duration = Duration::from_secs(20);

const BOTH_RESET: Ends = Ends { client: End::Reset, server: End::Reset };

#[test]
fn both_ends_are_reset_until_the_sensor_is_detached() -> Result<()> {
    let mut site = Site::build(&setup())?;
    let before = attached(&site)?;
    assert_eq!(exchange(&site.lab, BLOCKED, Size::OneSegment, PATIENCE)?, BOTH_RESET);
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));

    site.sensor.stop()?;
    assert_eq!(attached(&site)?, before, "stopping takes nothing away");
    assert_eq!(exchange(&site.lab, BLOCKED, Size::OneSegment, PATIENCE)?, BOTH_RESET);

    let program = xdp_program(&site.lab)?.context("no XDP program")?;
    let ids = filter_ids(&site.lab)?;
    site.sensor.resume()?;
    assert_eq!(attached(&site)?, before, "one of each");
    assert_ne!(xdp_program(&site.lab)?, Some(program));
    let new_ids = filter_ids(&site.lab)?;
    assert!(ids.iter().all(|id| !new_ids.contains(id)), "old programs filter: {ids:?} {new_ids:?}");
    assert_eq!(exchange(&site.lab, BLOCKED, Size::OneSegment, PATIENCE)?, BOTH_RESET);

    site.sensor.stop()?;
    site.sensor.cli(&["detach"])?;
    assert_eq!(attached(&site)?, [""; 0]);
    assert_eq!(xdp_program(&site.lab)?, None);
    let passed = Ends { client: End::Whole, server: End::Whole };
    assert_eq!(exchange(&site.lab, BLOCKED, Size::OneSegment, PATIENCE)?, passed);
    Ok(())
}

/// The TC programs of the LAN interface: as filters, or by the links that are pinned.
fn attached(site: &Site) -> Result<Vec<String>> {
    let mut programs = filters(&site.lab)?;
    let pins = site.sensor.bpffs().join("links/lan0");
    let pinned = ["client_reset", "egress"].into_iter().filter(|name| pins.join(name).exists());
    programs.extend(pinned.map(str::to_owned));
    Ok(programs)
}

/// Ids of the programs that are filters.
fn filter_ids(lab: &Lab) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for hook in ["ingress", "egress"] {
        let text = lab.gateway().run("tc", &["filter", "show", "dev", "lan0", hook])?;
        let words: Vec<_> = text.split_whitespace().collect();
        let pairs = words.windows(2).filter(|pair| pair.first() == Some(&"id"));
        ids.extend(pairs.filter_map(|pair| pair.last()).map(|id| (*id).to_owned()));
    }
    Ok(ids)
}
