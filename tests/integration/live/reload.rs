//! Policies come and go while the sensor works; a bad one never takes the place of a good one.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use sensor_lab::clients::Outcome;
use sensor_lab::process;
use sensor_user::control::status::PolicyStatus;

use super::traffic::{Dial, Dialler, Scheme};
use super::{ALLOWED, BLOCKED, POLICY, SOON, Site, page, record, say, setup, status};

const CONNECTIONS: u32 = 400;

/// What is wrong, and the file it is written to.
const BAD: [(&str, &str); 3] = [
    ("policy.toml", "version = \"live.2\"\nno_such_key = 1\n"),
    ("policy.toml", "this is no TOML"),
    ("lists/casinos.txt", "casino.example\nhttps://poker.example/\n"),
];

#[test]
fn a_bad_policy_is_refused_and_the_last_good_one_stays_in_force() -> Result<()> {
    let site = Site::build(&setup())?;
    let before = status(&site.sensor)?.policy;
    for (refused, (name, text)) in (1..).step_by(2).zip(BAD) {
        let path = site.sensor.directory().join(name);
        let good = fs::read_to_string(&path)?;
        fs::write(&path, text)?;

        let finished = site.sensor.ask(&["reload"])?;
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains(&format!("{name}:")), "{finished:?}");
        is_in_force(&site, &before, refused)?;

        site.sensor.hang_up()?;
        process::wait_until("the refusal of the policy", SOON, || {
            let said = status(&site.sensor)?.policy.refused;
            Ok((said == refused + 1).then_some(()))
        })?;
        is_in_force(&site, &before, refused + 1)?;
        fs::write(&path, good)?;
    }
    assert!(site.sensor.log()?.contains("policy refused; the last good one stays"));
    Ok(())
}

/// By the command and by SIGHUP. Records say which policy decided.
#[test]
fn a_good_policy_changes_the_verdict_of_the_next_connection() -> Result<()> {
    let site = Site::build(&setup())?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));

    let list = site.sensor.directory().join("lists/casinos.txt");
    fs::write(&list, format!("{ALLOWED}\n"))?;
    fs::write(site.sensor.policy_path(), POLICY.replace("live.1", "live.2"))?;
    let said = site.sensor.cli(&["reload"])?;
    assert!(said.contains("policy live.2 in force: 2 names"), "{said}");
    assert_eq!(site.ask(BLOCKED)?, page(BLOCKED));
    assert_eq!(site.ask(ALLOWED)?, Outcome::Reset);

    fs::write(&list, format!("{BLOCKED}\n"))?;
    fs::write(site.sensor.policy_path(), POLICY.replace("live.1", "live.3"))?;
    site.sensor.hang_up()?;
    let policy = process::wait_until("the third policy", SOON, || {
        let policy = status(&site.sensor)?.policy;
        Ok((policy.version == "live.3").then_some(policy))
    })?;
    assert_eq!((policy.refused, policy.names), (0, 2));
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));

    for (name, version, verdict) in [
        (BLOCKED, "live.1", "block"),
        (BLOCKED, "live.2", "allow"),
        (BLOCKED, "live.3", "block"),
        (ALLOWED, "live.1", "allow"),
        (ALLOWED, "live.2", "block"),
        (ALLOWED, "live.3", "allow"),
    ] {
        let what = format!("a record of {name} under {version}");
        let record = record(&site.sensor, &what, |one| {
            one.name.as_deref() == Some(name) && one.policy.as_deref() == Some(version)
        })?;
        assert_eq!(record.verdict.name(), verdict, "{record:?}");
    }
    Ok(())
}

/// One store publishes a policy: between two of them there is no moment without any.
#[test]
fn no_blocked_connection_passes_while_policies_come_and_go() -> Result<()> {
    let site = Site::build(&setup())?;
    let blocked = |number: u32| Dial {
        after: Duration::from_millis(5) * number,
        ..Dial::new(if number.is_multiple_of(2) { Scheme::Https } else { Scheme::Http }, BLOCKED)
    };
    let plan: Vec<_> = (0..CONNECTIONS).map(blocked).collect();
    let dialler = Dialler::start(&site.lab, Some(&site.web), &plan, 4)?;
    let first = status(&site.sensor)?.policy.generation;
    while dialler.so_far()?.len() < plan.len() {
        site.sensor.cli(&["reload"])?;
    }
    let reloads = status(&site.sensor)?.policy.generation - first;
    for dialled in dialler.finish(SOON)? {
        assert!(dialled.is_refused(), "{dialled:?}");
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);
    say(&format!("{CONNECTIONS} blocked connections during {reloads} reloads"));
    Ok(())
}

/// Nobody has to tell: lists that something else fetches are followed.
#[test]
fn files_that_change_are_followed() -> Result<()> {
    let site = Site::build(&setup())?;
    let list = site.sensor.directory().join("lists/casinos.txt");
    let beside = list.with_extension("new");
    fs::write(&beside, format!("{ALLOWED}\n"))?;
    fs::rename(&beside, &list)?;
    let until = |what: &str, is: &dyn Fn(&PolicyStatus) -> bool| {
        process::wait_until(what, SOON, || {
            let policy = status(&site.sensor)?.policy;
            Ok(is(&policy).then_some(policy))
        })
    };
    let first = until("the changed list", &|policy| policy.generation == 2)?;
    assert_eq!(site.ask(ALLOWED)?, Outcome::Reset);
    assert_eq!(site.ask(BLOCKED)?, page(BLOCKED));

    fs::write(&list, "https://poker.example/\n")?;
    until("the refusal", &|policy| policy.refused == 1)?;
    // It is refused once, however long it lies there.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(status(&site.sensor)?.policy, PolicyStatus { refused: 1, ..first });
    assert_eq!(site.ask(ALLOWED)?, Outcome::Reset);

    fs::write(&list, format!("{BLOCKED}\n"))?;
    until("the mended list", &|policy| policy.generation == 3)?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    Ok(())
}

fn is_in_force(site: &Site, before: &PolicyStatus, refused: u64) -> Result<()> {
    let now = status(&site.sensor)?.policy;
    assert_eq!(now, PolicyStatus { refused, ..before.clone() });
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    Ok(())
}
