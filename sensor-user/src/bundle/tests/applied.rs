//! Into force and back: what is looked at, what the guard says, and what a daemon that refuses leaves.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sensor_ebpf::name::HashKey;

use super::super::site::KEPT;
use super::super::{Taken, check_in_force, rollback};
use super::{Bed, Check, Config, Policy, Reload, apply, ask};
use crate::engine::{Image, of_policy};
use crate::record::Record;
use crate::record::sample::record;
use crate::store::DayStore;

/// `count` names as a hosts file.
fn hosts(count: u32) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "0.0.0.0 game{number}.example").unwrap();
        text
    })
}

#[test]
fn a_bundle_comes_into_force_and_is_kept() {
    let bed = Bed::new();
    let outcome = bed.apply(&bed.make(7)).unwrap();
    assert_eq!((outcome.manifest.number, outcome.from), (7, None));
    assert_eq!(outcome.taken, Taken::InForce);
    let site = bed.site();
    assert_eq!(site.in_force().unwrap(), Some(7));
    assert_eq!(fs::read_link(bed.path("site/current")).unwrap(), Path::new("bundles/7"));
    let policy = Policy::load(&site.policy_file()).unwrap();
    assert_eq!(policy.version(), "1");
    assert_eq!(policy.decide("www.b.example", policy.group_named("student").unwrap()).list(), 3);
    assert!(!site.staged().exists());

    bed.policy("2", "");
    let absent = apply(&bed.config(), &bed.make(8), &ask(&[]), &mut || Reload::Absent).unwrap();
    assert_eq!((absent.from, absent.taken), (Some(7), Taken::NextStart));
    bed.policy("3", "");
    let mut elsewhere = || Reload::Has { version: "0".to_owned(), names: 3 };
    let taken = apply(&bed.config(), &bed.make(9), &ask(&[]), &mut elsewhere).unwrap().taken;
    assert_eq!(taken, Taken::Elsewhere("0".to_owned()));
    assert_eq!(site.kept().unwrap(), [7, 8, 9]);
}

#[test]
fn names_of_long_lists_are_compiled_once() {
    const OTHER: HashKey = HashKey { start: 1, multiplier: 1 };
    let bed = Bed::new();
    let keep = bed.site().compiled();
    // Long for its comments: what is kept is told by bytes.
    let mut list = format!("# {}\n", "x".repeat(1000)).repeat(5000);
    let mut before: Option<Image> = None;
    for number in [7, 8] {
        writeln!(list, "added{number}.example").unwrap();
        bed.write("own.txt", &list);
        bed.policy(&number.to_string(), "");
        bed.apply(&bed.make(number)).unwrap();
        let policy = Policy::load_kept(&bed.site().policy_file(), &keep).unwrap();
        let image = of_policy::of(&policy, None, &keep, OTHER).unwrap();
        // Made when the bundle was applied, with the first one's key: it was changed and not made anew.
        assert_ne!(image.key(), OTHER);
        if let Some(before) = before.replace(image.clone()) {
            assert_eq!(image.key(), before.key());
            assert_eq!(image.names(), before.names() + 1);
        }
        let anew = of_policy::make(&policy, image.key()).unwrap();
        for (name, _) in policy.entries() {
            assert_eq!(image.look_up(name), anew.look_up(name), "{name}");
        }
    }
    let files = fs::read_dir(bed.path("site/kept")).unwrap().count();
    assert_eq!(files, 4, "names and a table of each");
}

#[test]
fn numbers_only_grow() {
    let bed = Bed::new();
    bed.apply(&bed.make(7)).unwrap();
    let above = |number| {
        format!(
            "bundle {number} is not above 7, the highest that was applied: \
                `campus-sensor lists rollback` is the way back, a higher number the way on"
        )
    };
    assert_eq!(bed.refusal(&bed.make(7)), above(7));
    assert_eq!(bed.refusal(&bed.make(6)), above(6));
    bed.apply(&bed.make(8)).unwrap();
    rollback(&bed.config(), 7, &ask(&[]), &mut bed.daemon()).unwrap();
    assert_eq!(bed.refusal(&bed.make(8)), above(8).replace("above 7", "above 8"));
    assert_eq!(bed.site().highest().unwrap(), Some(8));
    // Without the log, what is in force still says so.
    fs::remove_file(bed.site().audit_file()).unwrap();
    assert_eq!(bed.refusal(&bed.make(7)), above(7));
}

#[test]
fn a_daemon_that_refuses_keeps_what_it_has() {
    let bed = Bed::new();
    let mut refuse = || Reload::Refused("no room in the kernel".to_owned());
    let first = apply(&bed.config(), &bed.make(1), &ask(&[]), &mut refuse).unwrap_err();
    assert_eq!(
        first.to_string(),
        "the daemon refused bundle 1 (no room in the kernel); \
            nothing was in force before, and nothing is now"
    );
    assert_eq!(bed.site().in_force().unwrap(), None);
    assert!(bed.site().kept().unwrap().is_empty());

    bed.apply(&bed.make(1)).unwrap();
    bed.policy("2", "");
    let mut daemon = bed.daemon();
    let mut asked = Vec::new();
    let mut once = || {
        asked.push(fs::read_link(bed.path("site/current")).unwrap());
        if asked.len() == 1 { Reload::Refused("no".to_owned()) } else { daemon() }
    };
    let second = apply(&bed.config(), &bed.make(2), &ask(&[]), &mut once).unwrap_err();
    assert_eq!(second.to_string(), "the daemon refused bundle 2 (no); bundle 1 is in force again");
    assert_eq!(asked, [Path::new("bundles/2"), Path::new("bundles/1")]);
    assert_eq!(bed.site().kept().unwrap(), [1]);
    let third = apply(&bed.config(), &bed.make(2), &ask(&[]), &mut refuse).unwrap_err();
    assert_eq!(
        third.to_string(),
        "the daemon refused bundle 2 (no room in the kernel); \
            bundle 1 is to be read again, and was refused too (no room in the kernel)"
    );
    // A number that was refused is free.
    bed.apply(&bed.make(2)).unwrap();

    // A kept bundle that is refused is kept.
    let back = rollback(&bed.config(), 1, &ask(&[]), &mut refuse).unwrap_err();
    assert!(back.to_string().starts_with("the daemon refused bundle 1"), "{back}");
    assert_eq!((bed.site().in_force().unwrap(), bed.site().kept().unwrap()), (Some(2), vec![1, 2]));
}

#[test]
fn the_way_back_is_verified() {
    let bed = Bed::new();
    let config = bed.config();
    let back = |number| rollback(&config, number, &ask(&[]), &mut bed.daemon());
    let refused = |number| bed.told(&back(number).unwrap_err());
    assert_eq!(refused(1), "bundle 1 is not kept here: there is none");
    for number in 1..=3 {
        bed.policy(&number.to_string(), "");
        bed.apply(&bed.make(number)).unwrap();
    }
    assert_eq!(refused(3), "bundle 3 is in force already");
    assert_eq!(refused(9), "bundle 9 is not kept here: there are 1, 2, 3");
    let outcome = back(1).unwrap();
    assert_eq!((outcome.from, &*outcome.manifest.policy), (Some(3), "1"));
    assert_eq!(Policy::load(&bed.site().policy_file()).unwrap().version(), "1");

    // What lies unpacked is not trusted: it is unpacked anew from what was signed.
    let list = bed.path("site/bundles/2/lists/own.txt");
    fs::write(&list, "changed.example\n").unwrap();
    back(2).unwrap();
    assert!(fs::read_to_string(&list).unwrap().contains("own.example"));
    let signed = bed.path("site/bundles/3/bundle");
    fs::write(&signed, fs::read(bed.path("site/bundles/1/bundle")).unwrap()).unwrap();
    assert_eq!(
        refused(3),
        "site/bundles/3/bundle: is not what was signed, but changed or cut since: copy it again"
    );
    fs::copy(bed.path("site/bundles/1/bundle.minisig"), bed.path("site/bundles/3/bundle.minisig"))
        .unwrap();
    assert_eq!(
        refused(3),
        "site/bundles/3/bundle: is no whole bundle (it is bundle 1): make it again with `lists import`"
    );
    assert_eq!(bed.site().in_force().unwrap(), Some(2));
}

#[test]
fn what_was_tampered_with_is_found_and_unpacked_anew() {
    let bed = Bed::new();
    let config = bed.config();
    let found = || check_in_force(&config.policy).map_err(|error| bed.told(&error));
    assert_eq!(found(), Ok(()), "nothing is in force yet");
    bed.apply(&bed.make(1)).unwrap();
    assert_eq!(found(), Ok(()));
    let own = "site/bundles/1/lists/own.txt";
    let text = fs::read_to_string(bed.path(own)).unwrap();
    let mend = || fs::write(bed.path(own), &text).unwrap();
    let changed = format!(
        "{own}: is not what was signed in bundle 1: find out who changed it, then \
            `campus-sensor lists rollback 1` unpacks it anew"
    );
    for other in
        [text.replace("own.example", "own.exampla"), text.clone() + "b.example\n", String::new()]
    {
        fs::write(bed.path(own), other).unwrap();
        assert_eq!(found(), Err(changed.clone()));
    }
    mend();
    assert_eq!(found(), Ok(()));
    fs::remove_file(bed.path(own)).unwrap();
    assert_eq!(found(), Err(format!("{own}: cannot read")));
    rollback(&config, 1, &ask(&[]), &mut bed.daemon()).unwrap();
    assert_eq!((found(), fs::read_to_string(bed.path(own)).unwrap()), (Ok(()), text.clone()));

    // The manifest that counts is the one that was signed.
    fs::write(bed.path("site/bundles/1/manifest.json"), "{}").unwrap();
    assert_eq!(found(), Ok(()));
    fs::remove_file(bed.path("site/bundles/1/bundle.minisig")).unwrap();
    let unsigned = found().unwrap_err();
    assert!(unsigned.contains("the signature is missing"), "{unsigned}");
    let elsewhere = bed.config_at("policy/policy.toml");
    assert!(check_in_force(&elsewhere.policy).is_ok(), "a policy that is no bundle's");
}

#[test]
fn the_newest_are_kept_and_the_one_in_force() {
    let bed = Bed::new();
    let count = KEPT as u64;
    for number in 1..=count {
        bed.apply(&bed.make(number)).unwrap();
    }
    rollback(&bed.config(), 1, &ask(&[]), &mut bed.daemon()).unwrap();
    // 1 is in force and would go: it stays until the next.
    let outcome = bed.apply(&bed.make(count + 1)).unwrap();
    assert_eq!(outcome.removed, [1]);
    assert_eq!(bed.site().kept().unwrap(), (2..=count + 1).collect::<Vec<_>>());
}

#[test]
fn two_at_once_are_one_too_many() {
    let bed = Bed::new();
    let bundle = bed.make(1);
    let held = bed.site().lock().unwrap();
    let said = "site/lock: another apply or rollback is under way: wait until it is done";
    assert_eq!(bed.refusal(&bundle), said);
    let back = rollback(&bed.config(), 1, &ask(&[]), &mut bed.daemon()).unwrap_err();
    assert_eq!(bed.told(&back), said);
    drop(held);
    bed.apply(&bundle).unwrap();
}

#[test]
fn leftovers_of_a_power_failure_are_no_hindrance() {
    let bed = Bed::new();
    bed.apply(&bed.make(1)).unwrap();
    // Unpacking, moving and switching of bundle 2 were cut short.
    fs::create_dir_all(bed.path("site/bundles/new/lists")).unwrap();
    fs::write(bed.path("site/bundles/new/policy.toml"), "version").unwrap();
    fs::create_dir_all(bed.path("site/bundles/2")).unwrap();
    std::os::unix::fs::symlink("bundles/2", bed.path("site/current.new")).unwrap();
    assert_eq!(bed.site().in_force().unwrap(), Some(1));
    bed.policy("2", "");
    assert_eq!(bed.apply(&bed.make(2)).unwrap().from, Some(1));
    assert_eq!(Policy::load(&bed.site().policy_file()).unwrap().version(), "2");
}

#[test]
fn a_daemon_that_reads_another_file_is_told_of_before() {
    let bed = Bed::new();
    let mut config = bed.config();
    config.policy.file = "/etc/campus-sensor/policy.toml".into();
    assert_eq!(
        bed.told(&bed.apply_with(&config, &bed.make(1)).unwrap_err()),
        "policy.file is /etc/campus-sensor/policy.toml, which bundles do not change: \
            write file = \"site/current/policy.toml\" under [policy]"
    );
}

#[test]
fn what_may_never_be_blocked_is_not() {
    let bed = Bed::new();
    // In a list that is not the protected one.
    bed.policy("1", "[[block]]\nname = \"childline.org.uk\"\nreason = \"x\"\n");
    assert_eq!(
        bed.refusal(&bed.make(1)),
        "bundle 1 is refused: childline.org.uk may never be blocked, and group default would block it: \
            protect it, or write [[allow]]; reportremove.childline.org.uk may never be blocked, and group \
            default would block it: protect it, or write [[allow]]"
    );
    bed.policy("1", "");
    let guard = "never_block = [\"Erasmus.a.example\", \"games.example\"]";
    let refused = |config: &Config, accept: &[Check]| {
        apply(config, &bed.make(1), &ask(accept), &mut bed.daemon()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&bed.config_with(guard), &Check::ALL),
        "bundle 1 is refused: erasmus.a.example may never be blocked, and group default would block it: \
            protect it, or write [[allow]]; games.example may never be blocked, and group default would block it: \
            protect it, or write [[allow]]"
    );
    // Nor what is listed below such a name.
    bed.policy("1", "[[block]]\nname = \"www.portal.example\"\nreason = \"x\"\n");
    let said = refused(&bed.config_with("never_block = [\"portal.example\"]"), &[]);
    assert!(said.contains("www.portal.example may never be blocked"), "{said}");
    // And not on the way back.
    bed.apply(&bed.make(1)).unwrap();
    bed.policy("2", "");
    bed.apply(&bed.make(2)).unwrap();
    let config = bed.config_with("never_block = [\"portal.example\"]");
    let said = rollback(&config, 1, &ask(&[]), &mut bed.daemon()).unwrap_err().to_string();
    assert!(said.starts_with("bundle 1 is refused: www.portal.example may never be"), "{said}");
}

#[test]
fn names_come_and_go_within_limits() {
    let bed = Bed::new();
    bed.write("hosts.txt", &hosts(1_000));
    bed.apply(&bed.make(1)).unwrap();
    bed.write("hosts.txt", &hosts(1_240));
    bed.apply(&bed.make(2)).unwrap();
    bed.write("hosts.txt", &hosts(900));
    let bundle = bed.make(3);
    assert_eq!(
        bed.refusal(&bundle),
        "bundle 3 is refused: names go from 1246 to 906, which is more than 25 %: see `lists diff`, then \
            --accept growth; names of games go from 1240 to 900, which is more than 25 %: see `lists diff`, then \
            --accept growth"
    );
    let config = bed.config_with("growth_max_percent = 28");
    bed.apply_with(&config, &bundle).unwrap();
    let outcome = apply(&bed.config(), &bed.make(4), &ask(&[Check::Growth]), &mut bed.daemon());
    assert!(outcome.unwrap().accepted.is_empty(), "nothing was found");
    bed.write("hosts.txt", &hosts(100));
    let bundle = bed.make(5);
    let wrong = apply(&bed.config(), &bundle, &ask(&[Check::OverBlocking]), &mut bed.daemon());
    assert!(wrong.is_err());
    let outcome = apply(&bed.config(), &bundle, &ask(&[Check::Growth]), &mut bed.daemon()).unwrap();
    assert_eq!(outcome.accepted, ["growth"]);
}

#[test]
fn few_names_may_always_come() {
    let bed = Bed::new();
    bed.apply(&bed.make(1)).unwrap();
    bed.write("hosts.txt", &hosts(102));
    bed.apply(&bed.make(2)).unwrap();
    bed.write("hosts.txt", &hosts(203));
    assert!(bed.refusal(&bed.make(3)).starts_with("bundle 3 is refused: names go from"));
}

#[test]
fn what_passed_of_late_goes_on_passing() {
    let bed = Bed::new();
    bed.apply(&bed.make(1)).unwrap();
    let mut store = DayStore::open(&bed.path("store"), "gw-1").unwrap();
    let records: Vec<Record> = (0..100)
        .map(|number| {
            let name = if number < 3 { "library.example" } else { "news.example" };
            Record { name: Some(name.to_owned()), ..record(number) }
        })
        .collect();
    store.append(&records).unwrap();
    bed.policy("2", "[[block]]\nname = \"library.example\"\nreason = \"x\"\n");
    let bundle = bed.make(2);
    assert_eq!(
        bed.refusal(&bundle),
        "bundle 2 is refused: of 100 flows that passed in 7 days it would block 3, which is more than 2 %: \
            see `lists diff`, then --accept over-blocking"
    );
    bed.apply_with(&bed.config_with("over_block_max_percent = 3"), &bundle).unwrap();
    rollback(&bed.config(), 1, &ask(&[]), &mut bed.daemon()).unwrap();
    let bundle = bed.make(3);
    let accept = [Check::OverBlocking];
    let outcome = apply(&bed.config(), &bundle, &ask(&accept), &mut bed.daemon()).unwrap();
    assert_eq!(outcome.accepted, ["over-blocking"]);

    drop(store);
    fs::write(bed.path("store/flows-2026-03-09.db"), "no day file").unwrap();
    bed.policy("4", "");
    let said = bed.refusal(&bed.make(4));
    assert!(
        said.starts_with("bundle 4 is refused: records cannot be read to try it on ("),
        "{said}"
    );
    assert!(said.ends_with("): mend that, or --accept over-blocking"), "{said}");
}
