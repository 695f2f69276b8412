//! A blocked name asked for in the clear: the browser shows the page that says why.

use std::collections::BTreeSet;

use anyhow::Result;
use sensor_lab::lab::Lab;
use sensor_lab::sensor::Mode;

use super::device::Browser;
use super::{ALLOWED, BLOCKED, names, say, serve, start_sensor};

/// Pages of each kind, so that both families are asked.
const LOADS: usize = 3;

#[test]
fn chromium_shows_why_a_plain_page_is_blocked() -> Result<()> {
    shows_why(Mode::Native)
}

#[test]
fn chromium_shows_why_a_plain_page_is_blocked_in_generic_mode() -> Result<()> {
    shows_why(Mode::Generic)
}

fn shows_why(mode: Mode) -> Result<()> {
    let lab = Lab::build()?;
    let web = serve(&lab)?;
    let _sensor = start_sensor(&lab, mode)?;
    let plain = |kind: &str, domain: &str| -> Vec<_> {
        names(kind, domain, LOADS).into_iter().map(|name| format!("http://{name}")).collect()
    };
    let (open, shut) = (plain("clear", ALLOWED), plain("shown", BLOCKED));
    let both = super::in_turns(&open, &shut);
    for page in Browser::Chromium.load(&lab, &web, &both)? {
        if shut.contains(&page.name) {
            for part in ["This page is blocked", "Gambling", "students/gambling", "browsers.1"] {
                assert!(page.text.contains(part), "{mode:?}: no {part} in {page:?}");
            }
            assert_eq!(page.error, "", "{mode:?}: {page:?}");
            say(&format!("{mode:?}: {:?}", page.text));
        } else {
            assert!(!page.text.is_empty() && !page.text.contains("blocked"), "{mode:?}: {page:?}");
        }
    }
    let arrivals = web.arrivals()?;
    let arrived: BTreeSet<_> =
        arrivals.iter().map(|arrival| format!("http://{}", arrival.host)).collect();
    assert!(shut.iter().all(|name| !arrived.contains(name)), "{mode:?}: {arrived:?}");
    Ok(())
}
