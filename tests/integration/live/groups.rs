//! Groups by more than an address: who is logged in, the machine, the interface.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sensor_lab::clients::Request;
use sensor_lab::lab::{Family, HOST_INTERFACE};
use sensor_lab::process;
use sensor_lab::sensor::Setup;

use super::{ALLOWED, BLOCKED, POLICY, Site, is_block_page, page, record, say, setup};

/// From a login to the first page of its group (the issue of identity asks for a second); the command's start is in it.
const LOGIN_MAX: Duration = Duration::from_secs(1);

/// Teachers and a machine are staff, who may see what students may not; what comes in by the LAN's interface is nobody's.
const STAFF: &str = r#"
[[group]]
name = "staff"
roles = ["teacher"]
"#;

fn with_group(more: &str) -> Setup {
    Setup { policy: format!("{POLICY}\n{more}"), ..setup() }
}

fn ask(site: &Site, family: Family) -> Result<sensor_lab::clients::Outcome> {
    Ok(site.client.curl(&Request::http(BLOCKED).over(family))?.outcome)
}

#[test]
fn a_login_takes_the_device_to_its_group_at_once() -> Result<()> {
    let mut site = Site::build(&with_group(STAFF))?;
    for family in [Family::V4, Family::V6] {
        let device = family.client().to_string();
        assert!(is_block_page(&ask(&site, family)?), "{family:?}: a student's device");
        let begun = Instant::now();
        let said =
            site.sensor.cli(&["login", &device, "--user", "A.Smith", "--role", "Teacher"])?;
        assert_eq!(said, format!("{device}: a.smith (teacher), in group staff\n"));
        assert_eq!(ask(&site, family)?, page(BLOCKED), "{family:?}");
        let took = begun.elapsed();
        say(&format!("{family:?}: from the login to the page {took:?}"));
        assert!(took < LOGIN_MAX, "{took:?}");
        let stored = record(&site.sensor, "a record of staff", |one| {
            one.device == family.client() && one.group.as_deref() == Some("staff")
        })?;
        assert_eq!(stored.name.as_deref(), Some(BLOCKED));
    }
    let shown = site.sensor.cli(&["logins"])?;
    assert_eq!(shown.lines().count(), 2, "{shown}");
    // Without the daemon, with another one, and behind another policy.
    site.sensor.kill()?;
    assert_eq!(ask(&site, Family::V4)?, page(BLOCKED));
    site.sensor.resume()?;
    assert_eq!(ask(&site, Family::V4)?, page(BLOCKED));
    site.sensor.cli(&["reload"])?;
    assert_eq!(ask(&site, Family::V6)?, page(BLOCKED));
    for family in [Family::V4, Family::V6] {
        let device = family.client().to_string();
        let said = site.sensor.cli(&["logout", &device])?;
        assert_eq!(said, format!("{device}: nobody is logged in any more\n"));
        assert!(is_block_page(&ask(&site, family)?), "{family:?}");
    }
    // Whom no group names stays where the device is.
    let said = site.sensor.cli(&["login", "10.77.1.2", "--user", "b.jones"])?;
    assert_eq!(said, "10.77.1.2: b.jones, whom no group names\n");
    assert!(is_block_page(&ask(&site, Family::V4)?));
    let log = site.sensor.log()?;
    assert!(!log.contains("smith") && !log.contains("jones"), "nobody is named in the log");
    Ok(())
}

/// Asks for pages on one connection, with a pause between them.
const PAUSED: &str = r#"
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=5)
connection.connect()
connection.auto_open = 0
for name in sys.argv[2:]:
    try:
        connection.request("GET", "/", headers={"Host": name})
        answer = connection.getresponse()
        answer.read()
        print(answer.status, flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
        break
    time.sleep(2)
"#;

/// A connection of before the login is judged anew.
#[test]
fn a_login_reaches_connections_that_live() -> Result<()> {
    let strict = "[[group]]\nname = \"exam\"\nusers = [\"c.brown\"]\nblock = [\"unlisted\"]\n";
    let site = Site::build(&with_group(strict))?;
    let family = Family::V4;
    let said = site.lab.directory().join("said");
    let mut python = site.lab.client().python(PAUSED);
    python.args([&family.server().to_string(), ALLOWED, ALLOWED, ALLOWED]);
    let mut running = process::Running::start(&mut python, &said)?;
    process::wait_until("the first page", process::SHORT, || {
        Ok(std::fs::read_to_string(&said)?.contains("200").then_some(()))
    })?;
    site.sensor.cli(&["login", &family.client().to_string(), "--user", "c.brown"])?;
    process::wait_until("the client's end", process::SHORT, || running.ended())?;
    let said = std::fs::read_to_string(&said)?;
    assert!(said.starts_with("200\n") && !said[4..].contains("200"), "{said}");
    Ok(())
}

#[test]
fn a_machine_and_an_interface_are_in_groups() -> Result<()> {
    let by_mac = |mac: &str| format!("[[group]]\nname = \"machines\"\nmacs = [{mac:?}]\n");
    let mut site = Site::build(&with_group(&by_mac("00:53:00:00:00:01")))?;
    assert!(is_block_page(&ask(&site, Family::V4)?), "another machine is in the group");
    let link = site.lab.client().run("ip", &["-oneline", "link", "show", "dev", HOST_INTERFACE])?;
    let (_, mac) = link.split_once("link/ether ").context("a MAC address")?;
    let policy = site.sensor.policy_path();
    std::fs::write(&policy, format!("{POLICY}\n{}", by_mac(mac.get(..17).context("all of it")?)))?;
    site.sensor.cli(&["reload"])?;
    for family in [Family::V4, Family::V6] {
        assert_eq!(ask(&site, family)?, page(BLOCKED), "{family:?}");
    }
    // By the interface, where nothing else is known.
    let nobody =
        POLICY.replace("prefixes = [\"10.77.1.0/24\", \"fd77:1::/64\"]", "interfaces = [\"lan0\"]");
    assert_ne!(nobody, POLICY);
    std::fs::write(&policy, &nobody)?;
    site.sensor.cli(&["reload"])?;
    assert!(is_block_page(&ask(&site, Family::V6)?), "visitors would see it");
    std::fs::write(&policy, nobody.replace("lan0", "lan1"))?;
    site.sensor.cli(&["reload"])?;
    assert_eq!(ask(&site, Family::V4)?, page(BLOCKED), "nobody is behind that one");
    site.sensor.stop()
}
