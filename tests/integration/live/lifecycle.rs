//! Stopping, starting again and leaving.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_lab::clients::Outcome;
use sensor_lab::lab::{LAN_INTERFACE, Lab};
use sensor_lab::process;
use sensor_user::record::EndReason;
use serde_json::Value;

use super::crash::stopped;
use super::traffic::{Dial, Dialler, Scheme};
use super::{ALLOWED, BLOCKED, Site, page, say, setup, setup_with, traffic, truth};

const TRAFFIC: Duration = Duration::from_mins(1);

/// Some flows have ended and rested, some have just ended, and some are in the middle of a request: a stop
/// writes all of them down.
#[test]
fn a_stop_loses_no_record() -> Result<()> {
    let mut site = Site::build(&setup_with("linger_ms", 2_000))?;
    let plan = traffic::mixed(&site.web, 20_000, 60)?;
    Dialler::start(&site.lab, Some(&site.web), &plan, 8)?.finish(TRAFFIC)?;
    // A request that never ends, and nothing more is sent.
    let open = Dial { pieces: 1, timeout: TRAFFIC, ..Dial::new(Scheme::Http, ALLOWED) };
    let still_open = Dialler::start(&site.lab, Some(&site.web), &[open], 1)?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);

    let (records, counted) = stopped(&mut site)?;
    drop(still_open);
    assert_eq!(truth::sum(records.iter().map(truth::volume).collect::<Vec<_>>().iter()), counted);
    assert!(records.iter().any(|one| one.end_reason == EndReason::ActiveTimeout), "none was open");
    let ports = plan.iter().map(|dial| dial.port);
    let unrecorded: Vec<_> =
        ports.filter(|port| !records.iter().any(|one| one.device_port == *port)).collect();
    assert!(unrecorded.is_empty(), "no record of {unrecorded:?}");
    assert!(records.iter().any(|one| one.name.as_deref() == Some(BLOCKED)));
    say(&format!("{} records: {counted:?}", records.len()));
    Ok(())
}

/// The same links carry new programs, in one step: a blocked name is asked for all the while.
#[test]
fn starting_again_replaces_the_programs_inside_the_same_links() -> Result<()> {
    let mut site = Site::build(&setup())?;
    let links = links(site.sensor.bpffs())?;
    let filters = filters(&site.lab)?;
    let attached: Vec<_> = links.keys().chain(&filters).map(String::as_str).collect();
    let expected = match filters.as_slice() {
        [] => ["client_reset", "egress", "xdp-native"],
        _no_links_for_tc => ["xdp-native", "client_reset", "egress"],
    };
    assert_eq!(attached, expected);
    let program = xdp_program(&site.lab)?.context("no XDP program")?;

    let blocked = |number: u32| Dial {
        after: Duration::from_millis(10) * number,
        ..Dial::new(Scheme::Https, BLOCKED)
    };
    let plan: Vec<_> = (0..200).map(blocked).collect();
    let dialler = Dialler::start(&site.lab, Some(&site.web), &plan, 4)?;
    dialler.wait_for(20, TRAFFIC)?;
    site.sensor.stop()?;
    assert_eq!(xdp_program(&site.lab)?, Some(program), "a stop leaves the program at work");
    site.sensor.resume()?;
    let during = dialler.so_far()?.len();
    for dialled in dialler.finish(TRAFFIC)? {
        assert_eq!(dialled.outcome, "reset", "{dialled:?}");
    }
    assert_eq!(site.arrivals_of(BLOCKED)?, 0);

    assert_eq!(self::links(site.sensor.bpffs())?, links);
    assert_eq!(self::filters(&site.lab)?, filters);
    assert_ne!(xdp_program(&site.lab)?, Some(program), "the program is the old one");
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    say(&format!("{during} of {} blocked connections before the new daemon answered", plan.len()));
    Ok(())
}

#[test]
fn detach_leaves_nothing_behind() -> Result<()> {
    let mut site = Site::build(&setup())?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    site.sensor.stop()?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);

    let said = site.sensor.cli(&["detach"])?;
    for program in ["xdp-native", "client_reset", "egress"] {
        assert!(said.contains(&format!("{program} from {LAN_INTERFACE}")), "{said}");
    }
    assert_eq!(xdp_program(&site.lab)?, None);
    assert_eq!(filters(&site.lab)?, [""; 0]);
    assert!(!site.sensor.bpffs().exists(), "pins are left");
    assert_eq!(site.ask(BLOCKED)?, page(BLOCKED));

    assert_eq!(site.sensor.cli(&["detach"])?.trim(), "nothing was attached");
    // And it can come back.
    site.sensor.resume()?;
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    Ok(())
}

/// The pinned links of the LAN interface. A pin stands for one link as long as it is there, and
/// another pin of the same name is another inode.
fn links(bpffs: &Path) -> Result<BTreeMap<String, u64>> {
    let directory = bpffs.join("links").join(LAN_INTERFACE);
    let entries = fs::read_dir(&directory);
    let mut links = BTreeMap::new();
    for entry in entries.with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        let inode = entry.metadata()?.ino();
        links.insert(entry.file_name().to_string_lossy().into_owned(), inode);
    }
    Ok(links)
}

/// Programs of the gateway's LAN interface that are TC filters: none where the kernel has links for TC.
pub(crate) fn filters(lab: &Lab) -> Result<Vec<String>> {
    let mut programs = Vec::new();
    for hook in ["ingress", "egress"] {
        let text = lab.gateway().run("tc", &["filter", "show", "dev", LAN_INTERFACE, hook])?;
        // `filter … pref 197 bpf chain 0 handle 0x1 egress direct-action …`, and a line without a handle.
        let names = text.lines().filter_map(|line| line.split_once(" handle 0x1 "));
        programs.extend(names.filter_map(|(_, rest)| rest.split(' ').next()).map(str::to_owned));
    }
    Ok(programs)
}

/// Id of the XDP program on the gateway's LAN interface.
pub(crate) fn xdp_program(lab: &Lab) -> Result<Option<u64>> {
    let mut ip = lab.gateway().command("ip");
    let text = process::run(ip.args(["-json", "-details", "link", "show", "dev", LAN_INTERFACE]))?;
    let value: Value = serde_json::from_str(&text).context("read ip's JSON")?;
    Ok(value.pointer("/0/xdp/prog/id").and_then(Value::as_u64))
}
