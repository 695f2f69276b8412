//! Long lists are compiled once: a daemon that starts or reads its policy again takes what was kept, and nothing that is not
//! what the lists say.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use sensor_lab::clients::Outcome;

use super::{ALLOWED, BLOCKED, POLICY, Site, page, setup, status};

/// Comments that make a list long enough to be kept.
const LONG: usize = 5000;

fn write_list(site: &Site, names: &[&str]) -> Result<()> {
    let comments = format!("# {}\n", "x".repeat(1000)).repeat(LONG);
    let list = site.sensor.directory().join("lists/casinos.txt");
    Ok(fs::write(list, format!("{comments}{}\n", names.join("\n")))?)
}

/// The kept files, oldest first.
fn kept(site: &Site) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(site.sensor.bundles().join("kept"))?;
    let dated = files.map(|file| {
        let path = file?.path();
        Ok((path.metadata()?.modified()?, path))
    });
    let mut files = dated.collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn check(site: &Site, blocked: &str, allowed: &str) -> Result<()> {
    assert_eq!(site.ask(blocked)?, Outcome::Reset);
    assert_eq!(site.ask(allowed)?, page(allowed));
    Ok(())
}

#[test]
fn kept_names_decide_as_the_lists_do() -> Result<()> {
    let mut site = Site::build(&setup())?;
    let names = status(&site.sensor)?.policy.names;
    write_list(&site, &[BLOCKED])?;
    site.sensor.cli(&["reload"])?;
    assert_eq!(kept(&site)?.len(), 2, "names and their table");
    check(&site, BLOCKED, ALLOWED)?;

    // A start finds them.
    site.sensor.kill()?;
    site.sensor.resume()?;
    assert_eq!(status(&site.sensor)?.policy.names, names);
    assert_eq!(kept(&site)?.len(), 2);
    check(&site, BLOCKED, ALLOWED)?;

    // Other names are found under another id, and their table is changed into.
    write_list(&site, &[ALLOWED])?;
    site.sensor.cli(&["reload"])?;
    assert_eq!(kept(&site)?.len(), 4);
    check(&site, ALLOWED, BLOCKED)?;

    // What a disk or a power cut makes of them is made again.
    for path in kept(&site)? {
        let mut bytes = fs::read(&path)?;
        let last = bytes.len() - 9;
        bytes[last] ^= 1;
        fs::write(&path, bytes)?;
    }
    site.sensor.kill()?;
    site.sensor.resume()?;
    check(&site, ALLOWED, BLOCKED)?;
    let log = site.sensor.log()?;
    assert!(log.contains("it is made again"), "{log}");
    write_list(&site, &[BLOCKED])?;
    fs::write(site.sensor.policy_path(), POLICY.replace("live.1", "live.2"))?;
    site.sensor.cli(&["reload"])?;
    check(&site, BLOCKED, ALLOWED)
}
