//! Policies that come as signed bundles, to a gateway at work and to one whose daemon is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::{Client, Outcome};
use sensor_lab::lab::Lab;
use sensor_lab::process::{self, Finished, Running};
use sensor_lab::sensor::{self, Sensor, Setup};
use sensor_lab::servers::WebServer;

use super::{ALLOWED, BLOCKED, HELPLINE, POLICY, SOON, Site, page, record, setup, status};

const CASINOS: &str = "lists/casinos.txt";

/// Times an apply is killed: each a little later.
const KILLS: u32 = 12;
const KILLS_FULL: u32 = 50;
/// How much later. A small bundle is in force after some five milliseconds, and the daemon has it soon after.
const LATER: Duration = Duration::from_micros(700);

/// A gateway with bundle 1 in force.
struct Gateway {
    site: Site,
    keys: PathBuf,
}

impl Gateway {
    fn start() -> Result<Self> {
        let lab = Lab::build()?;
        let web = WebServer::start(&lab, &[ALLOWED, BLOCKED, HELPLINE])?;
        let binary = sensor::binary()?;
        let keys = lab.directory().join("keys");
        fs::create_dir(&keys)?;
        process::run(Command::new(&binary).args(["lists", "keys", "--out"]).arg(&keys))?;
        let public = fs::read_to_string(keys.join("campus-sensor.pub"))?;
        let public = public.lines().nth(1).context("a public key")?.to_owned();
        let setup = Setup { signed_by: Some(public), ..setup() };
        let sensor = Sensor::prepare(&lab, &binary, &setup)?;
        let client = Client::new(&lab, &web);
        let mut gateway = Self { site: Site { sensor, client, web, lab }, keys };
        let first = gateway.make(1)?;
        let said = gateway.apply(&first, &[])?;
        assert!(said.contains("no daemon runs, its next start takes it"), "{said}");
        gateway.site.sensor.resume()?;
        Ok(gateway)
    }

    /// Makes a bundle of the files as they are, under a policy version of its number.
    fn make(&self, number: u32) -> Result<PathBuf> {
        let Self { site, keys } = self;
        let version = format!("live.{number}");
        fs::write(site.sensor.policy_path(), POLICY.replace("live.1", &version))?;
        let bundle = site.lab.directory().join(format!("{number}.bundle"));
        let [policy, key, out] =
            [site.sensor.policy_path(), keys.join("campus-sensor.key"), bundle.clone()]
                .map(|path| path.display().to_string());
        let number = number.to_string();
        let args = ["lists", "import", &policy, "--key", &key, "--out", &out];
        site.sensor.cli(&[&args[..], &["--reason", "a test", "--number", &number]].concat())?;
        Ok(bundle)
    }

    fn list(&self, names: &[&str]) -> Result<()> {
        Ok(fs::write(self.site.sensor.directory().join(CASINOS), names.join("\n"))?)
    }

    fn ask(&self, bundle: &Path, more: &[&str]) -> Result<Finished> {
        let bundle = bundle.display().to_string();
        self.site.sensor.ask(&[&["lists", "apply", &bundle], more].concat())
    }

    fn apply(&self, bundle: &Path, more: &[&str]) -> Result<String> {
        let finished = self.ask(bundle, more)?;
        assert_eq!(finished.status.code(), Some(0), "{finished:?}");
        Ok(finished.stdout)
    }

    /// Asserts that a bundle is refused, and changes nothing.
    fn check_refused(&self, bundle: &Path, expected: &str) -> Result<()> {
        let before = status(&self.site.sensor)?.policy;
        let finished = self.ask(bundle, &[])?;
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{finished:?}");
        assert_eq!(status(&self.site.sensor)?.policy, before);
        Ok(())
    }

    /// Asserts which policy is in force, and what clients get of it.
    fn check(&self, version: &str, blocked: &[&str]) -> Result<()> {
        assert_eq!(status(&self.site.sensor)?.policy.version, version);
        for name in [ALLOWED, BLOCKED] {
            let expected = if blocked.contains(&name) { Outcome::Reset } else { page(name) };
            assert_eq!(self.site.ask(name)?, expected, "{name} under {version}");
        }
        Ok(())
    }
}

#[test]
fn bundles_are_pushed_and_taken_back() -> Result<()> {
    let gateway = Gateway::start()?;
    let sensor = &gateway.site.sensor;
    gateway.check("live.1", &[BLOCKED])?;
    record(sensor, "the record of a visit", |one| one.name.as_deref() == Some(ALLOWED))?;

    let many: Vec<_> = (0..200).map(|number| format!("casino{number}.example")).collect();
    let names: Vec<_> = many.iter().map(String::as_str).chain([ALLOWED, BLOCKED]).collect();
    gateway.list(&names)?;
    let second = gateway.make(2)?;
    // The visit would have been blocked.
    let diff = sensor.cli(&["lists", "diff", &second.display().to_string(), "--names", "0"])?;
    assert!(diff.contains(ALLOWED), "{diff}");
    gateway.check_refused(&second, "--accept growth")?;
    gateway.apply(&second, &["--accept", "growth"])?;
    gateway.check("live.2", &[ALLOWED, BLOCKED])?;

    let changed = gateway.site.lab.directory().join("changed.bundle");
    let mut bytes = fs::read(&second)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&changed, &bytes)?;
    gateway.check_refused(&changed, "the signature is missing")?;
    fs::copy(second.with_extension("bundle.minisig"), changed.with_extension("bundle.minisig"))?;
    gateway.check_refused(&changed, "is not what was signed")?;
    fs::write(&changed, &fs::read(&second)?[..middle])?;
    gateway.check_refused(&changed, "is not what was signed")?;
    let first = gateway.site.lab.directory().join("1.bundle");
    gateway.check_refused(&first, "bundle 1 is not above 2")?;
    gateway.list(&["childline.org.uk"])?;
    gateway.check_refused(&gateway.make(3)?, "childline.org.uk")?;

    // Either program verifies what the other signed.
    let key = |name: &str| gateway.keys.join(name);
    let mut verify = Command::new("minisign");
    verify.args(["-V", "-q", "-p"]).arg(key("campus-sensor.pub")).arg("-m").arg(&second);
    process::run(&mut verify)?;
    let theirs = gateway.site.lab.directory().join("theirs.bundle");
    fs::copy(&second, &theirs)?;
    let mut sign = Command::new("minisign");
    sign.args(["-S", "-s"]).arg(key("campus-sensor.key")).arg("-m").arg(&theirs);
    process::run(&mut sign)?;
    gateway.check_refused(&theirs, "bundle 2 is not above 2")?;

    sensor.cli(&["lists", "rollback", "1", "--reason", "a lesson needs it"])?;
    gateway.check("live.1", &[BLOCKED])?;
    let log = sensor.cli(&["lists", "audit"])?;
    for expected in ["a lesson needs it", "growth", "in force: 1; kept: 1, 2", "is whole"] {
        assert!(log.contains(expected), "{log}");
    }
    Ok(())
}

/// By whoever may write there: what was enforced still is, and everybody sees it.
#[test]
fn files_that_are_tampered_with_are_not_taken() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let list = gateway.site.sensor.bundles().join("current/lists/casinos.txt");
    fs::write(&list, "harmless.example\n")?;
    let sensor = &gateway.site.sensor;
    let told = process::wait_until("the tampering", SOON, || Ok(status(sensor)?.policy.tampering))?;
    assert!(told.contains("lists/casinos.txt: is not what was signed in bundle 1"), "{told}");
    assert!(sensor.cli(&["status"])?.contains("\nTAMPERED  "));
    gateway.check("live.1", &[BLOCKED])?;
    assert_eq!(gateway.site.sensor.ask(&["reload"])?.status.code(), Some(1));

    // With nothing else to take, a start takes it, and says so.
    gateway.site.sensor.stop()?;
    gateway.site.sensor.resume()?;
    assert_eq!(status(&gateway.site.sensor)?.policy.tampering, Some(told));
    gateway.check("live.1", &[])?;
    gateway.site.sensor.cli(&["lists", "rollback", "1", "--reason", "tampering"])?;
    assert_eq!(status(&gateway.site.sensor)?.policy.tampering, None);
    gateway.check("live.1", &[BLOCKED])
}

/// Whenever the power fails, what is in force is one bundle or the other, and the next one can be applied.
#[test]
fn an_apply_that_is_killed_leaves_a_whole_bundle() -> Result<()> {
    let gateway = Gateway::start()?;
    let sensor = &gateway.site.sensor;
    let kills =
        if std::env::var_os(sensor_lab::FULL_VARIABLE).is_some() { KILLS_FULL } else { KILLS };
    let log = gateway.site.lab.directory().join("apply.log");
    let (mut taken, mut last) = (0, 1);
    for kill in 0..kills {
        let number = 2 + kill;
        let bundle = gateway.make(number)?;
        let args = ["lists", "apply", &bundle.display().to_string()];
        let apply = Running::start(&mut sensor.command(&args), &log)?;
        thread::sleep(LATER * kill);
        apply.kill()?;
        let policy = sensor.bundles().join("current/policy.toml");
        let text = fs::read_to_string(&policy)?;
        let is_taken = text.contains(&format!("\"live.{number}\""));
        assert!(is_taken || text.contains(&format!("\"live.{last}\"")), "{text}");
        if is_taken {
            (taken, last) = (taken + 1, number);
        }
        sensor.cli(&["reload"])?;
        gateway.check(&format!("live.{last}"), &[BLOCKED])?;
        sensor.cli(&["lists", "audit"])?;
    }
    super::say(&format!("{taken} of {kills} bundles were in force when their apply was killed"));
    gateway.apply(&gateway.make(2 + kills)?, &[])?;
    gateway.check(&format!("live.{}", 2 + kills), &[BLOCKED])
}
