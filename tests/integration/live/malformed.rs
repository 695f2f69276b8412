//! Malformed captures on the wire of a living gateway with the shipped policy: it goes on as if nothing had been,
//! every frame is counted, and none is lost but for a reason that policy or a counter names.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::{Direction, NoName, Verdict};
use sensor_lab::clients::{Client, Outcome, Request};
use sensor_lab::lab::{Family, HOST_INTERFACE, LAN_INTERFACE, Lab, Offloads, Plan, Translation};
use sensor_lab::process;
use sensor_lab::script::wire::Wire;
use sensor_lab::sensor::{self, Sensor, Setup};
use sensor_lab::servers::WebServer;
use sensor_user::control::status::{DirectionStatus, Status};
use sensor_user::kernel::lab::Lab as Meter;
use sensor_user::policy::Policy;
use sensor_user::record::Record;

use super::{ALLOWED, SOON, Site, lan, page, records, say, status};
use crate::captures::captures;

/// Below a name that a shipped list has.
const LISTED: &str = "www.pornography.example";
/// Longer frames, which no wire carries, are left out; so are those without a whole Ethernet header.
const JUMBO: u16 = 9_000;
const ETHERNET_HEADER: usize = 14;
/// After so many frames the wire gets a moment: a virtual one holds 256.
const BURST: usize = 64;
const BREATH: Duration = Duration::from_millis(1);
/// Reasons that come with a counter of their own, beside those that policy names.
const UNREAD: [NoName; 2] = [NoName::Fragment, NoName::ExtensionHeaders];

#[test]
fn a_gateway_outlives_malformed_captures_and_loses_nothing_without_a_reason() -> Result<()> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let policy = Policy::load(&rules.join("policy.toml"))?;
    let mut site = build(&rules)?;
    is_well(&site)?;
    let wire = Wire::open(&site.lab)?;
    let meter = site.lab.gateway().inside(|| {
        let mut meter = Meter::load()?;
        meter.meter(LAN_INTERFACE)?;
        Ok(meter)
    })?;
    silence_client(&site.lab)?;

    let before = Moment::at_rest(&site, &meter)?;
    let sent = replay(&wire)?;
    let after = Moment::at_rest(&site, &meter)?;
    wake_client(&site.lab)?;
    is_well(&site)?;

    // Every frame reached the interface, and was counted once.
    let arrived = after.arrived - before.arrived;
    ensure!(arrived == sent.packets, "{sent:?} were sent, {arrived} arrived");
    let (then, now) = (lan(&before.status)?, lan(&after.status)?);
    assert!(now.ingress.conserved && now.egress.conserved, "{now:?}");
    assert_eq!(now.ingress.packets - then.ingress.packets, sent.packets);
    assert_eq!(now.ingress.bytes - then.ingress.bytes, sent.bytes);
    // Each of them went on, or a counter tells why not.
    let lost = Lost::between(&then.ingress, &now.ingress);
    let passed = after.passed - before.passed;
    let told = passed + lost.all() + sent.half_tagged;
    assert_eq!(told, sent.packets, "{sent:?}: {passed} passed, {lost:?}");
    say(&format!("{sent:?}: {passed} passed, {lost:?}"));
    lost.is_explained(&then.ingress, &now.ingress, &policy);

    assert_eq!(Some(after.status.pid), site.sensor.pid());
    site.sensor.stop()?;
    let records = records(&site.sensor)?;
    for record in records.iter().filter(|one| one.verdict == Verdict::Block) {
        assert!(is_named_by(&policy, record), "{record:?}");
    }
    let log = site.sensor.log()?;
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    Ok(())
}

fn build(rules: &Path) -> Result<Site> {
    let plan = Plan { offloads: Offloads::Off, translation: Translation::None, mtu: JUMBO };
    let lab = Lab::with(plan)?;
    let web = WebServer::start(&lab, &[ALLOWED, LISTED])?;
    let sensor = Sensor::start(&lab, &sensor::binary()?, &Setup::with_rules(rules)?)?;
    Ok(Site { sensor, client: Client::new(&lab, &web), web, lab })
}

/// What is allowed loads, what is listed does not, and records are kept.
fn is_well(site: &Site) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        for (name, expected) in [(ALLOWED, page(ALLOWED)), (LISTED, Outcome::Reset)] {
            let request = Request::https(name).over(family);
            assert_eq!(site.client.curl(&request)?.outcome, expected, "{request:?}");
        }
    }
    assert_eq!(site.arrivals_of(LISTED)?, 0);
    let records = status(&site.sensor)?.records;
    assert_eq!((records.lost, records.store_failures), (0, 0));
    Ok(())
}

/// Without addresses and neighbours the client's own kernel sends nothing, whatever the gateway asks it.
fn silence_client(lab: &Lab) -> Result<()> {
    lab.client().sysctl(&[&format!("net.ipv6.conf.{HOST_INTERFACE}.disable_ipv6=1")])?;
    let commands =
        format!("link set {HOST_INTERFACE} arp off\naddress flush dev {HOST_INTERFACE}\n");
    lab.client().ip(&commands, lab.directory())
}

fn wake_client(lab: &Lab) -> Result<()> {
    lab.client().sysctl(&[&format!("net.ipv6.conf.{HOST_INTERFACE}.disable_ipv6=0")])?;
    let commands = format!(
        "link set {HOST_INTERFACE} arp on\n\
         address add 10.77.1.2/24 dev {HOST_INTERFACE}\n\
         address add fd77:1::2/64 dev {HOST_INTERFACE} nodad\n\
         route replace default via 10.77.1.1\n\
         route replace default via fd77:1::1\n"
    );
    lab.client().ip(&commands, lab.directory())
}

/// Sends all frames of all captures.
fn replay(wire: &Wire) -> Result<Sent> {
    let mut sent = Sent::default();
    let longest = ETHERNET_HEADER + usize::from(JUMBO);
    for capture in captures()? {
        for (_, frame) in capture.frames {
            if (ETHERNET_HEADER..=longest).contains(&frame.len()) {
                wire.send(&frame)?;
                sent.packets += 1;
                sent.bytes += frame.len() as u64;
                sent.half_tagged += u64::from(is_half_tagged(&frame));
                if sent.packets.is_multiple_of(BURST as u64) {
                    thread::sleep(BREATH);
                }
            }
        }
    }
    Ok(sent)
}

#[derive(Debug, Default)]
struct Sent {
    packets: u64,
    bytes: u64,
    /// Those that end in a VLAN tag: the gateway's kernel drops them before anybody sees them.
    half_tagged: u64,
}

/// `skb_vlan_untag` wants the tag and what follows its type.
fn is_half_tagged(frame: &[u8]) -> bool {
    let is_tagged = matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    is_tagged && frame.len() < ETHERNET_HEADER + 6
}

/// What each observer has counted.
#[derive(Debug)]
struct Moment {
    status: Status,
    /// By the client's interface: what the gateway's has taken from it.
    arrived: u64,
    /// By the meter behind XDP.
    passed: u64,
}

impl Moment {
    /// They are read one after the other: all that counts is a moment in which nothing comes by.
    fn at_rest(site: &Site, meter: &Meter) -> Result<Self> {
        let counts = |moment: &Self| -> Result<_> {
            let interface = lan(&moment.status)?;
            let (ingress, egress) = (interface.ingress.packets, interface.egress.packets);
            Ok((ingress, egress, moment.arrived, moment.passed))
        };
        process::wait_until("a moment without traffic", SOON, || {
            let first = Self::take(site, meter)?;
            let second = Self::take(site, meter)?;
            Ok((counts(&first)? == counts(&second)?).then_some(second))
        })
    }

    fn take(site: &Site, meter: &Meter) -> Result<Self> {
        Ok(Self {
            status: status(&site.sensor)?,
            arrived: site.lab.client().counters(HOST_INTERFACE)?.tx_packets,
            passed: meter.metered(Direction::Ingress)?.packets,
        })
    }
}

/// Frames that did not go on behind XDP, by what became of them.
#[derive(Debug)]
struct Lost {
    blocked: u64,
    /// Sent back as a reset; another client's reset, or a page, goes out beside each of the server's.
    answered: u64,
    unread: u64,
    anomalies: u64,
}

impl Lost {
    fn between(before: &DirectionStatus, after: &DirectionStatus) -> Self {
        let happened = |what| of(&after.happened, what) - of(&before.happened, what);
        let unlike = ["reset-failed", "answer-over-budget", "blocked-acknowledged"];
        assert_eq!(unlike.map(happened), [0; 3], "{unlike:?}");
        Self {
            blocked: happened("blocked-dropped"),
            answered: happened("client-reset") + happened("block-page") - happened("server-reset"),
            unread: happened("unread-dropped"),
            anomalies: happened("anomaly-dropped"),
        }
    }

    const fn all(&self) -> u64 {
        self.blocked + self.answered + self.unread + self.anomalies
    }

    fn is_explained(&self, before: &DirectionStatus, after: &DirectionStatus, policy: &Policy) {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let anomalies = sum(&after.anomalies) - sum(&before.anomalies);
        assert!(self.anomalies <= anomalies, "{self:?} of {anomalies} anomalies");
        let named = UNREAD.into_iter().filter(|reason| {
            policy.groups().any(|(_, _, masks, _)| masks.block_no_name >> *reason as u8 & 1 == 1)
        });
        let count =
            |reason: NoName| of(&after.no_name, reason.name()) - of(&before.no_name, reason.name());
        let unread: u64 = named.map(count).sum();
        assert!(self.unread <= unread, "{self:?} of {unread}");
    }
}

fn of(counts: &BTreeMap<String, u64>, what: &str) -> u64 {
    counts.get(what).copied().unwrap_or(0)
}

/// Policy blocks the record's name, or the reason why it has none, for its device.
fn is_named_by(policy: &Policy, record: &Record) -> bool {
    let group = policy.group_of(record.device);
    match (&record.name, record.no_name) {
        (Some(name), _) => policy.decide(name, group).verdict == Verdict::Block,
        // The name is no longer kept; its categories are.
        (None, NoName::NameEvicted) => !record.categories.is_empty(),
        (None, reason) => policy.masks(group).block_no_name >> reason as u8 & 1 == 1,
    }
}
