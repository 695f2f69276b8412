//! `run` refuses to start half-configured: it exits with 1, says what and where and what to do, and
//! leaves the gateway as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::Outcome;
use sensor_lab::lab::{LAN_INTERFACE, Lab};
use sensor_lab::process::{self, Finished};
use sensor_lab::sensor::{self, Mode, Sensor, Setup};

use super::lifecycle::{filters, xdp_program};
use super::{BLOCKED, Site, setup};

/// It may load all programs before it refuses.
const REFUSAL: Duration = Duration::from_mins(1);

/// The only interface, by another name.
#[test]
fn an_unknown_interface_is_refused() -> Result<()> {
    let (lab, sensor) = prepared(&setup())?;
    edit(&sensor.config_path(), r#"name = "lan0""#, r#"name = "lan7""#)?;
    refused(&lab, &sensor, &["interface lan7 does not exist", "`ip -br link` lists"])
}

#[test]
fn a_second_interface_that_is_missing_leaves_nothing_on_the_first() -> Result<()> {
    let extra = "[[interface]]\nname = \"lan7\"\nside = \"lan\"\n".to_owned();
    let (lab, sensor) = prepared(&Setup { extra, ..setup() })?;
    refused(&lab, &sensor, &["interface lan7 does not exist"])
}

/// It exists, but cannot have a program: what fails late must be taken back.
#[test]
fn a_second_interface_that_refuses_leaves_nothing_on_the_first() -> Result<()> {
    let extra = "[[interface]]\nname = \"lo\"\nside = \"lan\"\nmode = \"native\"\n".to_owned();
    let (lab, sensor) = prepared(&Setup { extra, ..setup() })?;
    refused(&lab, &sensor, &["attach sensor to lo"])
}

#[test]
fn an_unknown_key_is_refused_with_its_line() -> Result<()> {
    let mut setup = setup();
    setup.flow.push(("idle_timeout_seconds".to_owned(), 5));
    let (lab, sensor) = prepared(&setup)?;
    let path = sensor.config_path();
    let place = place_of(&path, "idle_timeout_seconds")?;
    refused(&lab, &sensor, &[&place, "idle_timeout_seconds", "idle_timeout_s"])
}

#[test]
fn a_list_line_that_is_no_name_is_refused_with_its_line() -> Result<()> {
    let mut setup = setup();
    setup.files.retain(|(name, _)| name != "lists/casinos.txt");
    let list = "casino.example\n0.0.0.0 poker.example\n";
    setup.files.push(("lists/casinos.txt".to_owned(), list.to_owned()));
    let (lab, sensor) = prepared(&setup)?;
    refused(&lab, &sensor, &["casinos.txt:2: ", "write one name a line"])
}

/// Root in name, with no capability left, as a unit with an empty bounding set would run it.
#[test]
fn missing_capabilities_are_named_with_the_remedy() -> Result<()> {
    let (lab, sensor) = prepared(&setup())?;
    let mut command = lab.gateway().command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(sensor::binary()?);
    command.arg("run").arg("--config").arg(sensor.config_path());
    let expected =
        ["CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF", "start it as root", "AmbientCapabilities"];
    refused_by(&lab, &sensor, &mut command, &expected)
}

/// Whoever came first stays and stays at work, in whichever mode.
#[test]
fn an_interface_with_another_xdp_program_is_refused() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let site = Site::build(&Setup { mode, ..setup() })?;
        let first = xdp_program(&site.lab)?.context("no XDP program")?;
        let first_filters = filters(&site.lab)?;
        let (config, bpffs) = second(&site)?;
        let mut command = site.lab.gateway().command(sensor::binary()?);
        let finished = process::finish(command.arg("run").arg("--config").arg(&config), REFUSAL)?;
        let said = exited_with_1(&finished);
        for part in [
            format!("{LAN_INTERFACE} already runs another XDP program"),
            format!("(id {first})"),
            format!("`ip link set dev {LAN_INTERFACE} xdp off`"),
        ] {
            assert!(said.contains(&part), "{mode:?}: {part:?} is not in: {said}");
        }
        assert_eq!(xdp_program(&site.lab)?, Some(first), "{mode:?}");
        assert_eq!(filters(&site.lab)?, first_filters, "{mode:?}");
        assert!(!bpffs.join("links").join(LAN_INTERFACE).exists(), "{mode:?}: links are left");
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset, "{mode:?}");
        fs::remove_dir_all(&bpffs)?;
    }
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused() -> Result<()> {
    let site = Site::build(&setup())?;
    let finished = site.sensor.ask(&["run"])?;
    let said = exited_with_1(&finished);
    assert!(said.contains("control.sock: another daemon answers on it"), "{said}");
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    super::status(&site.sensor).map(drop)
}

/// A lab and a sensor that was not started.
fn prepared(setup: &Setup) -> Result<(Lab, Sensor)> {
    let lab = Lab::build()?;
    let sensor = Sensor::prepare(&lab, &sensor::binary()?, setup)?;
    Ok((lab, sensor))
}

fn refused(lab: &Lab, sensor: &Sensor, expected: &[&str]) -> Result<()> {
    refused_by(lab, sensor, &mut sensor.command(&["run"]), expected)
}

fn refused_by(lab: &Lab, sensor: &Sensor, run: &mut Command, expected: &[&str]) -> Result<()> {
    let finished = process::finish(run, REFUSAL)?;
    let said = exited_with_1(&finished);
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert_eq!(xdp_program(lab)?, None, "a program is left: {said}");
    assert_eq!(filters(lab)?, [""; 0], "filters are left: {said}");
    let links = sensor.bpffs().join("links");
    let left: Vec<_> = fs::read_dir(&links).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "links are left: {left:?}");
    Ok(())
}

/// The last line, which names the program and then what was refused.
fn exited_with_1(finished: &Finished) -> &str {
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let said = finished.stderr.trim_end().lines().last().unwrap_or_default();
    assert!(said.starts_with("campus-sensor: "), "{finished:?}");
    said
}

/// A configuration for the same interface that shares nothing else with the site's sensor; where it pins.
fn second(site: &Site) -> Result<(PathBuf, PathBuf)> {
    let text = fs::read_to_string(site.sensor.config_path())?;
    let (first, directory) = (site.sensor.directory(), site.lab.directory().join("second"));
    let bpffs = site.sensor.bpffs().with_extension("second");
    // Names in the BPF file system have no dots.
    let bpffs = PathBuf::from(bpffs.to_string_lossy().replace('.', "-"));
    // Store and spool.
    let text = text
        .replace(&format!("{}/s", first.display()), &format!("{}/s", directory.display()))
        .replace("control.sock", "second.sock")
        .replace(&site.sensor.bpffs().display().to_string(), &bpffs.display().to_string());
    fs::create_dir_all(&directory)?;
    let config = directory.join("campus-sensor.toml");
    fs::write(&config, text)?;
    Ok((config, bpffs))
}

fn edit(path: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    assert!(text.contains(from), "no {from} in {text}");
    fs::write(path, text.replace(from, to)).context("write the configuration")
}

/// `file:line` of a key, as messages write it.
fn place_of(path: &Path, key: &str) -> Result<String> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().position(|line| line.starts_with(key)).context("no such key")?;
    Ok(format!("{}:{}", path.display(), line + 1))
}
