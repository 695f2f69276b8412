//! Who is where, as others tell it: a client of RADIUS accounting, which is FreeRADIUS's.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_lab::clients::Request;
use sensor_lab::lab::Family;
use sensor_lab::process;
use sensor_lab::sensor::Setup;
use sensor_user::identity::{Confidence, Source};
use tempfile::TempDir;

use super::{BLOCKED, POLICY, Site, is_block_page, page, record, say, setup, status};

const SECRET: &str = "a secret of the lab";
const MAC: &str = "02-53-00-00-00-07";

/// From the request of accounting to the first page of the user's group, the command's start and the look at the page
/// included.
const LOGIN_MAX: Duration = Duration::from_secs(1);

const STAFF: &str = r#"
[[group]]
name = "staff"
users = ["a.smith"]
"#;

/// A sensor that RADIUS tells who is where, and the folder with its secret.
fn site() -> Result<(Site, TempDir)> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n"))?;
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    let extra = format!(
        "[identity]\ndomains = [\"college.example\"]\n\
         [identity.radius]\nlisten = \"{}:1813\"\nclients = [\"10.77.1.0/24\"]\nsecret_file = {secret:?}\n",
        Family::V4.gateway()
    );
    let setup = Setup { policy: format!("{POLICY}\n{STAFF}"), extra, ..setup() };
    Ok((Site::build(&setup)?, folder))
}

/// Sends a request of accounting from the client's network; an error where nobody answers.
fn account(site: &Site, secret: &str, attributes: &[&str]) -> Result<String> {
    let mut radclient = site.lab.client().command("radclient");
    let to = format!("{}:1813", Family::V4.gateway());
    let file = site.lab.directory().join("request");
    std::fs::write(&file, attributes.join("\n") + "\n")?;
    radclient.arg("-f").arg(&file).args(["-r", "2", "-t", "1", &to, "acct", secret]);
    process::run(&mut radclient)
}

fn session(status: &str, address: &str) -> Vec<String> {
    [
        format!("Acct-Status-Type = {status}"),
        "Acct-Session-Id = \"lab-1\"".to_owned(),
        "NAS-Identifier = \"ap-1\"".to_owned(),
        "User-Name = \"A.Smith@college.example\"".to_owned(),
        format!("Calling-Station-Id = \"{MAC}\""),
        format!("Framed-IP-Address = {address}"),
        "Message-Authenticator = 0x00".to_owned(),
    ]
    .to_vec()
}

fn send(site: &Site, status: &str) -> Result<()> {
    let address = Family::V4.client().to_string();
    let attributes = session(status, &address);
    let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
    account(site, SECRET, &attributes).map(drop)
}

#[test]
fn a_session_of_radius_takes_the_device_to_its_users_group() -> Result<()> {
    let (mut site, _folder) = site()?;
    let ask = |site: &Site| anyhow::Ok(site.client.curl(&Request::http(BLOCKED))?.outcome);
    assert!(is_block_page(&ask(&site)?), "a student's device");
    let begun = Instant::now();
    send(&site, "Start")?;
    process::wait_until("the page of staff", LOGIN_MAX, || {
        Ok((ask(&site)? == page(BLOCKED)).then_some(()))
    })?;
    say(&format!("from the request of accounting to the page {:?}", begun.elapsed()));
    let stored = record(&site.sensor, "a record of staff", |one| {
        one.group.as_deref() == Some("staff") && one.user.as_deref() == Some("a.smith")
    })?;
    assert_eq!(stored.mac.context("the device")?.to_string(), MAC.replace('-', ":"));
    assert_eq!(stored.mac_randomised, Some(true));
    assert_eq!(stored.identity_source, Some(Source::Radius));
    assert_eq!(stored.identity_confidence, Some(Confidence::Stated));
    let before = record(&site.sensor, "the block", |one| one.group.as_deref() == Some("students"))?;
    assert_eq!((before.user, before.mac), (None, None), "nobody had told who it was");
    // Another daemon knows it too.
    site.sensor.kill()?;
    site.sensor.resume()?;
    assert_eq!(ask(&site)?, page(BLOCKED));
    assert!(site.sensor.cli(&["logins"])?.contains("a.smith, in group staff"));
    send(&site, "Stop")?;
    process::wait_until("the block page", LOGIN_MAX, || {
        Ok(is_block_page(&ask(&site)?).then_some(()))
    })?;
    let log = site.sensor.log()?;
    assert!(!log.contains("smith") && !log.contains(MAC), "nobody is named in the log");
    assert!(!log.contains(SECRET), "nor is the secret");
    Ok(())
}

#[test]
fn a_client_with_another_secret_gets_no_answer_and_is_counted() -> Result<()> {
    let (site, _folder) = site()?;
    let address = Family::V4.client().to_string();
    let attributes = session("Start", &address);
    let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
    assert!(account(&site, "another secret", &attributes).is_err(), "nobody answers");
    let refused = status(&site.sensor)?.identity.refused;
    assert!(refused.get("radius-secret").is_some_and(|count| *count >= 1), "{refused:?}");
    assert!(is_block_page(&site.client.curl(&Request::http(BLOCKED))?.outcome));
    Ok(())
}
