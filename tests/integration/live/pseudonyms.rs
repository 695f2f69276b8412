//! Records that name nobody, and the way back.

use std::fs;

use anyhow::{Context as _, Result};
use sensor_lab::lab::Family;

use super::{ALLOWED, BLOCKED, Site, page, record, setup};

const USER: &str = "a.smith";

#[test]
fn records_have_a_pseudonym_and_root_finds_who_it_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut setup = setup();
    setup.extra = format!(
        "[privacy]\npseudonyms = \"daily\"\nkey_file = {:?}\naudit_file = {:?}\n",
        at("pseudonym.key"),
        at("reidentified.jsonl")
    );
    let mut site = Site::build(&setup)?;
    for family in [Family::V4, Family::V6] {
        site.sensor.cli(&["login", &family.client().to_string(), "--user", USER])?;
    }
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    let is_named = |name: &'static str| {
        move |one: &sensor_user::record::Record| {
            one.name.as_deref() == Some(name) && one.user.is_some()
        }
    };
    let before = record(&site.sensor, "a record of somebody", is_named(ALLOWED))?.user;
    let pseudonym = before.clone().context("no user")?;
    assert!(pseudonym.starts_with("p-"), "{pseudonym}");

    // The next daemon has the same key, and makes the same of a name.
    site.sensor.stop()?;
    site.sensor.resume()?;
    site.ask(BLOCKED)?;
    assert_eq!(record(&site.sensor, "a record of the same", is_named(BLOCKED))?.user, before);
    let found = site.sensor.cli(&["reidentify", &pseudonym, "--reason", "a test"])?;
    assert!(found.contains(USER), "{found}");
    let seen = site.sensor.cli(&["device", USER, "--reason", "a test"])?;
    assert!(seen.contains(BLOCKED) && !seen.contains("not seen"), "{seen}");
    assert_eq!(fs::read_to_string(at("reidentified.jsonl"))?.lines().count(), 2);
    for entry in fs::read_dir(site.sensor.store_directory())? {
        let path = entry?.path();
        let is_of_a_day = path.to_string_lossy().contains("flows-");
        let bytes = if is_of_a_day { fs::read(&path)? } else { Vec::new() };
        let is_there = bytes.windows(USER.len()).any(|part| part == USER.as_bytes());
        assert!(!is_there, "{}", path.display());
    }
    Ok(())
}
