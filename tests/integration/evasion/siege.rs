//! What the sensor knows of a connection outlives a reset of the client's that never arrives, and floods that
//! fill its tables. The server here hears no reset at all, the sensor's neither: nothing but the sensor's memory
//! is between a blocked name and its answer.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_ebpf::abi::{Accounting, NoName};
use sensor_ebpf::slot::SLOT_IDLE_NS;
use sensor_lab::frames::flag;
use sensor_lab::lab::Family;
use sensor_lab::process;
use sensor_lab::script::conversation::{Patience, Seen, converse};
use sensor_lab::script::segment::Segment;
use sensor_lab::script::{Gate, Script, Step, cut, pieces, whole};
use sensor_user::control::status::{DirectionStatus, Status};

use super::draft::{Draft, Hello, INNOCENT};
use super::{ALLOWED, BLOCKED, Ground, trial};

/// The smallest tables that can be configured: a flood of what fills larger ones would take long.
const SIZES: [(&str, u64); 2] = [("flows_max", 1_024), ("handshake_slots", 64)];
/// Devices that flood, and what each begins.
const FLOODERS: usize = 4;
const UNFINISHED: usize = 60;
const SYNS: u16 = 1_000;
/// A sweep and a linger are over, whatever a daemon would do for a reset is done.
const AFTER_RESETS: Duration = Duration::from_secs(1);
/// What is silent for so long may lose its place.
const SILENCE: Duration = Duration::from_nanos(SLOT_IDLE_NS + 1_000_000_000);
const AT_ONCE: Patience = Patience { answer: Duration::ZERO, retransmissions: 0 };

/// What a device does before the flood and after it.
struct Besieged {
    what: &'static str,
    before: fn(&Hello) -> Vec<Segment>,
    after: fn(&Hello) -> Vec<Segment>,
    /// The allowed name loads.
    honest: bool,
}

static BESIEGED: [Besieged; 4] = [
    Besieged {
        what: "half a hello",
        before: |hello| halves(hello)[..1].to_vec(),
        after: |hello| halves(hello)[1..].to_vec(),
        honest: true,
    },
    Besieged {
        what: "the second half first",
        before: |hello| halves(hello)[1..].to_vec(),
        after: |hello| halves(hello)[..1].to_vec(),
        honest: true,
    },
    Besieged {
        what: "a hello, and again in pieces",
        before: |hello| whole(0, &hello.bytes),
        after: |hello| pieces(&hello.bytes, 40),
        honest: true,
    },
    Besieged {
        what: "a hello, and again in pieces, reversed",
        before: |hello| whole(0, &hello.bytes),
        after: |hello| pieces(&hello.bytes, 40).into_iter().rev().collect(),
        honest: true,
    },
];

/// Silent until its place is taken: that is reason enough to block it.
static SILENT: [Besieged; 1] = [Besieged {
    what: "half a hello, and silence",
    before: |hello| halves(hello)[..1].to_vec(),
    after: |hello| halves(hello)[1..].to_vec(),
    honest: false,
}];

#[test]
fn what_is_examined_or_blocked_outlives_resets_and_floods() -> Result<()> {
    besiege(&BESIEGED, AFTER_RESETS).map(drop)
}

#[test]
fn who_is_silent_until_the_flood_has_his_place_gets_nothing_through() -> Result<()> {
    let ingress = besiege(&SILENT, SILENCE)?;
    let lost = ingress.no_name.get(NoName::SlotLost.name());
    assert!(lost > Some(&0), "nobody lost a place: {ingress:?}");
    Ok(())
}

fn besiege(besieged: &'static [Besieged], pause: Duration) -> Result<DirectionStatus> {
    let ground = Ground::watched_with(&SIZES)?;
    let deaf = "add rule inet far input tcp flags & rst == rst drop\n";
    ground.lab.server().run("nft", &[deaf])?;
    let trials = || {
        let families = [Family::V4, Family::V6].into_iter();
        families.flat_map(move |family| {
            let names = [BLOCKED, ALLOWED].into_iter();
            names.flat_map(move |name| besieged.iter().map(move |one| (one, name, family)))
        })
    };
    let go_on = Gate::default();
    let outcomes = thread::scope(|scope| -> Result<Vec<Result<Seen>>> {
        let devices: Vec<_> = trials()
            .map(|(one, name, family)| {
                let (there, ground) = (Gate::default(), &ground);
                let script = one.script(name, family, pause, &there, &go_on);
                let loads = name == ALLOWED && one.honest;
                let patience = if loads { trial::LONG } else { trial::BRIEF };
                let device = move || converse(&ground.wire.device(), &script, patience);
                (there, scope.spawn(device))
            })
            .collect();
        let gates: Vec<_> = devices.iter().map(|(there, _)| there).collect();
        let flooded = all_are_there(&gates).and_then(|()| flood(&ground));
        go_on.open();
        flooded?;
        Ok(devices.into_iter().map(|(_, device)| joined(device)).collect())
    })?;
    let mut complaints = Vec::new();
    for ((one, name, family), seen) in trials().zip(outcomes) {
        let answered = seen.as_ref().is_ok_and(|seen| seen.answered);
        let expected = name == ALLOWED && (one.honest || answered);
        if seen.is_err() || answered != expected {
            let what = one.what;
            complaints.push(format!("  {what}, {name} ({family:?}): answered: {answered}"));
        }
    }
    let read = ground.web.hellos()?.into_iter().filter(|hello| hello.name == BLOCKED);
    complaints
        .extend(read.map(|hello| format!("  the server read {} from {}", hello.name, hello.from)));
    trial::conclude(&complaints, trials().count());
    ingress(&ground)
}

impl Besieged {
    fn script(
        &self,
        name: &'static str,
        family: Family,
        pause: Duration,
        there: &Gate,
        go_on: &Gate,
    ) -> Script {
        let hello = Draft { name }.small();
        let before = (self.before)(&hello);
        // Right behind what was sent.
        let reset = before.iter().max_by_key(|segment| segment.offset).map_or_else(
            || Segment::at(0, &[]),
            |last| Segment::at(last.payload.len(), &[]).moved(last.offset),
        );
        let reset = reset.flags(flag::RST);
        let resets = [
            reset.clone(),
            reset.clone().flags(flag::RST | flag::ACK),
            Segment::at(0, &[]).flags(flag::RST),
            reset.clone().hop_limit(1),
            reset.moved(-10_000),
        ];
        Script::of(&hello.bytes)
            .over(family)
            .send(before)
            .send(resets)
            .then(Step::Pause(pause))
            .then(Step::Tell(there.clone()))
            .then(Step::Await(go_on.clone()))
            .send((self.after)(&hello))
    }
}

fn halves(hello: &Hello) -> Vec<Segment> {
    cut(&hello.bytes, &[hello.name.start + 5])
}

fn all_are_there(gates: &[&Gate]) -> Result<()> {
    process::wait_until("every device's first half", process::SHORT, || {
        Ok(gates.iter().all(|gate| gate.is_open()).then_some(()))
    })
}

/// More unfinished hellos than there are places, and more flows than the table holds.
fn flood(ground: &Ground) -> Result<()> {
    let before = ingress(ground)?;
    let Hello { bytes, .. } = Draft { name: INNOCENT }.small();
    let unfinished = (0..UNFINISHED).fold(Script::unopened(&[]), |script, _| {
        script.then(Step::Open(Segment::syn())).send([Segment::at(0, &bytes[..100])])
    });
    for script in [unfinished, Script::of(&[]).then(Step::Flood(SYNS))] {
        thread::scope(|scope| {
            let flooder = |family| {
                let script = script.clone().over(family);
                scope.spawn(move || converse(&ground.wire.device(), &script, AT_ONCE))
            };
            let families = [Family::V4, Family::V6].into_iter().cycle().take(FLOODERS);
            let flooders: Vec<_> = families.map(flooder).collect();
            flooders.into_iter().try_for_each(|flooder| joined(flooder).map(drop))
        })?;
    }
    // The tables are full, or this proves nothing.
    let after = ingress(ground)?;
    let full = Accounting::TableFull.name();
    let [before_full, after_full] = [&before, &after].map(|one| one.accounted.get(full));
    assert!(after_full > before_full, "the flow table has room: {after:?}");
    let full = NoName::SlotFull.name();
    assert!(after.no_name.get(full) > before.no_name.get(full), "there are places: {after:?}");
    Ok(())
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<Seen>>) -> Result<Seen> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ingress(ground: &Ground) -> Result<DirectionStatus> {
    let sensor = ground.sensor.as_ref().context("nobody watches")?;
    let status: Status = serde_json::from_str(&sensor.cli(&["status", "--json"])?)?;
    let interface = status.interfaces.into_iter().next();
    Ok(interface.context("no interface in the status")?.ingress)
}
