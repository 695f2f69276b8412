use sensor_ebpf::abi::Volume;

use super::*;
use crate::assembly::rates::IDLE_NS;
use crate::policy::fixture::load;

/// ns of a second.
const S: u64 = 1_000_000_000;

const POLICY: &str = r#"
version = "1"
default_group = "all"

[[category]]
id = "health"
title = "Health"
covers = "Doctors"

[[group]]
name = "all"

[[group]]
name = "staff"
prefixes = ["10.0.9.0/24"]
no_log = ["everything"]
"#;

fn meter(watch: &Arc<Watch>) -> Meter {
    let generations = Generations::default();
    generations.note(1, &load(&[("policy.toml", POLICY)]).unwrap()).unwrap();
    Meter::new(Arc::clone(watch), Arc::new(generations))
}

fn key(device: [u8; 4], port: u16) -> FlowKey {
    let lan_address = IpAddr::from(device).into();
    FlowKey { lan_address, lan_port: port, ..FlowKey::default() }
}

fn flow(first_ns: u64, bytes: u64) -> Flow {
    let volume = Volume { packets: 1, bytes };
    Flow {
        first_ns,
        last_ns: first_ns + 60 * S,
        to_lan: volume,
        verdict: Verdict::Allow as u8,
        policy: 1,
        ..Flow::default()
    }
}

fn stored(hash: u64) -> Option<StoredName> {
    let mut name = StoredName { length: 3, reserved: 0, bytes: [0; 256] };
    name.bytes[..3].copy_from_slice(if hash == 7 { b"a\x1b." } else { b"b.c" });
    (hash < 9).then_some(name)
}

/// A sweep over these flows.
fn sweep(meter: &mut Meter, now_ns: u64, flows: &[(FlowKey, Flow)]) {
    meter.begin_sweep(now_ns);
    for (key, flow) in flows {
        meter.see(key, flow, stored);
    }
    meter.end_sweep();
}

#[test]
fn nothing_is_kept_unless_somebody_looks() {
    let watch = Arc::new(Watch::default());
    let mut meter = meter(&watch);
    let flows = [(key([10, 0, 0, 1], 1), flow(0, 100))];
    sweep(&mut meter, S, &flows);
    assert!(meter.state.is_none());
    assert_eq!(watch.ask(2 * S).over_ns, 0);
    sweep(&mut meter, 3 * S, &flows);
    assert!(meter.state.is_some());
    sweep(&mut meter, 6 * S, &flows);
    assert_eq!(watch.ask(6 * S).over_ns, 3 * S);
    sweep(&mut meter, 6 * S + IDLE_NS, &flows);
    assert!(meter.state.is_none());
    assert_eq!(watch.ask(7 * S + IDLE_NS).over_ns, 0);
}

#[test]
fn flows_are_summed_by_device_name_verdict_and_reason() {
    let watch = Arc::new(Watch::default());
    let mut meter = meter(&watch);
    watch.ask(S);
    let policy = load(&[("policy.toml", POLICY)]).unwrap();
    let staff = policy.groups().find(|(_, name, ..)| *name == "staff").unwrap().0.0;
    let old = (key([10, 0, 0, 1], 1), flow(0, 1000));
    sweep(&mut meter, 2 * S, &[old]);
    let blocked = Flow { name_hash: 8, verdict: Verdict::Block as u8, ..flow(3 * S, 60) };
    let flows = [
        (old.0, flow(0, 1500)),
        (key([10, 0, 0, 1], 2), Flow { name_hash: 7, ..flow(3 * S, 200) }),
        (key([10, 0, 0, 2], 3), blocked),
        // The kernel no longer has the name; and a group of which no name is kept.
        (key([10, 0, 0, 2], 4), Flow { name_hash: 9, ..flow(3 * S, 30) }),
        (key([10, 0, 9, 1], 5), Flow { name_hash: 8, group: staff, ..flow(3 * S, 40) }),
    ];
    sweep(&mut meter, 4 * S, &flows);
    meter.leave(&flows[2].0, &Flow { to_lan: Volume { packets: 2, bytes: 90 }, ..blocked }, stored);
    sweep(&mut meter, 6 * S, &[flows[0]]);
    let window = watch.ask(6 * S);
    assert_eq!(window.over_ns, 4 * S);
    let devices: Vec<_> = sorted(window.devices.iter().map(|((address, _), sums)| {
        let sums = (sums.flows, sums.blocked, sums.bytes(), sums.bytes_unnamed);
        (IpAddr::from(*address).to_string(), sums)
    }));
    let expected = [
        ("10.0.0.1".to_owned(), (1, 0, 700, 500)),
        ("10.0.0.2".to_owned(), (2, 1, 120, 30)),
        ("10.0.9.1".to_owned(), (1, 0, 40, 0)),
    ];
    assert_eq!(devices, expected);
    let names: Vec<_> =
        sorted(window.names.iter().map(|(name, sums)| (name.to_string(), sums.bytes())));
    assert_eq!(names, [("a\\x1b.".to_owned(), 200), ("b.c".to_owned(), 90)]);
    let reason = |reason| (window.reason(reason).flows, window.reason(reason).bytes());
    assert_eq!(reason(NoName::Named), (2, 290));
    assert_eq!(reason(NoName::NotExamined), (0, 500));
    assert_eq!(reason(NoName::NameEvicted), (1, 30));
    assert_eq!(reason(NoName::Unlogged), (1, 40));
    let block = window.verdict(Verdict::Block);
    assert_eq!((block.flows, block.blocked, block.packets()), (1, 1, 2));
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items
}
