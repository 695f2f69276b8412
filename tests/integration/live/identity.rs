//! Who is where, as others tell it: a client of RADIUS accounting, which is `FreeRADIUS`'s, an agent of User-ID, the kernel's
//! table of neighbours, and a file of leases.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_lab::clients::Request;
use sensor_lab::lab::{Family, HOST_INTERFACE};
use sensor_lab::process;
use sensor_lab::sensor::Setup;
use sensor_user::identity::{Confidence, Source};
use sensor_user::record::Record;
use tempfile::TempDir;

use super::{
    BLOCKED, POLICY, SOON, Site, is_block_page, page, record, records, say, setup, status,
};

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

/// A sensor that is told who is where by all who tell it, and the folder with its secret.
fn site(neighbours: bool) -> Result<(Site, TempDir)> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n"))?;
    let leases = folder.path().join("dnsmasq.leases");
    std::fs::write(&leases, "")?;
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    let listen = Family::V4.gateway();
    let (secret, leases) = (secret.display(), leases.display());
    let extra = format!(
        "[identity]\ndomains = [\"college.example\"]\nneighbours = {neighbours}\n\
         [identity.radius]\nlisten = \"{listen}:1813\"\nclients = [\"10.77.1.0/24\"]\n\
         secret_file = \"{secret}\"\n\
         [identity.user_id]\nlisten = \"{listen}:5006\"\nclients = [\"10.77.1.0/24\"]\n\
         key_file = \"{secret}\"\n\
         [identity.leases]\ndnsmasq = [\"{leases}\"]\n",
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
    let (mut site, _folder) = site(false)?;
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
    let (site, _folder) = site(false)?;
    let address = Family::V4.client().to_string();
    let attributes = session("Start", &address);
    let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
    assert!(account(&site, "another secret", &attributes).is_err(), "nobody answers");
    let refused = status(&site.sensor)?.identity.refused;
    assert!(refused.get("radius-secret").is_some_and(|count| *count >= 1), "{refused:?}");
    assert!(is_block_page(&site.client.curl(&Request::http(BLOCKED))?.outcome));
    Ok(())
}

/// What an agent of a firewall sends.
fn user_id(site: &Site, what: &str, address: &str) -> Result<String> {
    let message = format!(
        "<uid-message><type>update</type><payload><{what}><entry name=\"a.smith@college.example\" \
         ip=\"{address}\"/></{what}></payload></uid-message>"
    );
    let to = format!("http://{}:5006/api/?type=user-id", Family::V4.gateway());
    let key = format!("X-PAN-KEY: {SECRET}");
    let args = ["--silent", "--fail", "--header", &key, "--data-raw", &message, &to];
    let form = ["--header", "Content-Type: text/xml"];
    site.lab.client().run("curl", &[&args[..], &form].concat())
}

/// The kernel's table joins the addresses of a device: who is told to be at one is at the other.
#[test]
fn a_user_is_at_every_address_of_their_device() -> Result<()> {
    let (site, folder) = site(true)?;
    let link = site.lab.client().run("ip", &["-oneline", "link", "show", "dev", HOST_INTERFACE])?;
    let (_, mac) = link.split_once("link/ether ").context("a MAC address")?;
    let mac = mac.get(..17).context("all of it")?;
    let ask = |family: Family| {
        anyhow::Ok(site.client.curl(&Request::http(BLOCKED).over(family))?.outcome)
    };
    for family in [Family::V4, Family::V6] {
        assert!(is_block_page(&ask(family)?), "{family:?}: a student's device");
    }
    let (v4, v6) = (Family::V4.client(), Family::V6.client());
    let of_device = |one: &Record| one.mac.is_some_and(|known| known.to_string() == mac);
    let flow = |address, what: &str, is_it: &dyn Fn(&Record) -> bool| {
        record(&site.sensor, what, |one| one.device == address && of_device(one) && is_it(one))
    };
    assert!(user_id(&site, "login", &v4.to_string())?.contains("status=\"success\""));
    for (family, confidence) in
        [(Family::V4, Confidence::Stated), (Family::V6, Confidence::Inferred)]
    {
        let begun = Instant::now();
        process::wait_until("the page of staff", LOGIN_MAX, || {
            Ok((ask(family)? == page(BLOCKED)).then_some(()))
        })?;
        say(&format!("{family:?}: from the message to the page {:?}", begun.elapsed()));
        let stored = flow(family.client(), "a record of the user", &|one| one.user.is_some())?;
        assert_eq!(stored.user.as_deref(), Some("a.smith"));
        assert_eq!(stored.identity_source, Some(Source::UserId));
        assert_eq!(stored.identity_confidence, Some(confidence), "{family:?}");
    }
    // A lease gives the device a name, at either address.
    let lease = format!("0 {mac} {v4} lab-laptop *\n");
    std::fs::write(folder.path().join("dnsmasq.leases"), lease)?;
    let stored = process::wait_until("a record with the device's name", SOON, || {
        assert_eq!(ask(Family::V6)?, page(BLOCKED));
        let named = |one: &Record| one.device == v6 && of_device(one) && one.host_name.is_some();
        Ok(records(&site.sensor)?.into_iter().find(named))
    })?;
    assert_eq!(stored.host_name.as_deref(), Some("lab-laptop"));
    user_id(&site, "logout", &v4.to_string())?;
    for family in [Family::V4, Family::V6] {
        process::wait_until("the block page", LOGIN_MAX, || {
            Ok(is_block_page(&ask(family)?).then_some(()))
        })?;
    }
    assert!(user_id(&site, "login", "nowhere").is_ok(), "an entry that is none is counted");
    let refused = status(&site.sensor)?.identity.refused;
    assert_eq!(refused.get("user-id-entry"), Some(&1), "{refused:?}");
    Ok(())
}
