//! Many unfinished hellos at once: one device's must not be the end of another's examination.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use sensor_lab::lab::Family;
use sensor_lab::script::conversation::{Patience, Seen, converse};
use sensor_lab::script::segment::Segment;
use sensor_lab::script::wire::Device;
use sensor_lab::script::{Script, Step, cut};

use super::draft::{Draft, Hello, INNOCENT};
use super::{ALLOWED, BLOCKED, Ground, trial};

/// Hellos a device leaves unfinished.
const UNFINISHED: usize = 100;
/// Longer than it takes to send them.
const MEANWHILE: Duration = Duration::from_secs(3);
const AT_ONCE: Patience = Patience { answer: Duration::ZERO, retransmissions: 0 };

#[test]
fn one_devices_unfinished_hellos_do_not_hide_anothers() -> Result<()> {
    let ground = Ground::watched()?;
    let mut complaints = Vec::new();
    for family in [Family::V4, Family::V6] {
        let (crowd, before, after) =
            (ground.wire.device(), ground.wire.device(), ground.wire.device());
        let slow = |name: &'static str| {
            let ground = &ground;
            move || -> Result<Seen> {
                let device = ground.wire.device();
                halves(&device, family, name, Step::Pause(MEANWHILE))
            }
        };
        let (blocked, allowed) = thread::scope(|scope| {
            let (blocked, allowed) = (scope.spawn(slow(BLOCKED)), scope.spawn(slow(ALLOWED)));
            thread::sleep(MEANWHILE / 6);
            let crowded = converse(&crowd, &unfinished(family), AT_ONCE);
            (crowded.and_then(|_| joined(blocked)), joined(allowed))
        });
        let mut expect = |what: &str, seen: Result<Seen>, name| {
            let answered = seen.as_ref().is_ok_and(|seen| seen.answered);
            if answered != (name == ALLOWED) || seen.is_err() {
                complaints.push(format!("  {what}, {name} ({family:?}): answered: {answered}"));
            }
        };
        expect("half before the crowd, half after it", blocked, BLOCKED);
        expect("half before the crowd, half after it", allowed, ALLOWED);
        for name in [BLOCKED, ALLOWED] {
            expect("after the crowd", halves(&before, family, name, Step::Settle), name);
        }
        let own = halves(&crowd, family, BLOCKED, Step::Settle);
        expect("the crowd's device itself", own, BLOCKED);
        expect("one more device", halves(&after, family, ALLOWED, Step::Settle), ALLOWED);
    }
    let read = ground.web.hellos()?.into_iter().filter(|hello| hello.name == BLOCKED);
    complaints
        .extend(read.map(|hello| format!("  the server read {} from {}", hello.name, hello.from)));
    trial::conclude(&complaints, 12);
    Ok(())
}

/// First halves, each on a connection of its own.
fn unfinished(family: Family) -> Script {
    let Hello { bytes, .. } = Draft { name: INNOCENT }.small();
    let script = Script::unopened(&[]).over(family);
    (0..UNFINISHED).fold(script, |script, _| {
        script.then(Step::Open(Segment::syn())).send([Segment::at(0, &bytes[..100])])
    })
}

/// A hello cut in its name, with this in between.
fn halves(device: &Device<'_>, family: Family, name: &'static str, between: Step) -> Result<Seen> {
    let blocked = name == BLOCKED;
    let Hello { bytes, name, .. } = Draft { name }.small();
    let [first, second] = cut(&bytes, &[name.start + 5]).try_into().unwrap_or_else(|_| panic!());
    let script = Script::of(&bytes).over(family).send([first]).then(between).send([second]);
    converse(device, &script, if blocked { trial::BRIEF } else { trial::LONG })
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<Seen>>) -> Result<Seen> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
