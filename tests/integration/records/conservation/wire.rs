//! Sends every frame of every flow, and knows of each what it has sent.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sensor_lab::lab::{HOST_INTERFACE, LAN_INTERFACE, Lab};
use sensor_lab::packets::Packets;

use super::count::Tally;
use super::traffic::{Flow, STEPS_MAX, Way};

/// Where a sender has time to spare it gives it away in pieces of this.
const TURN: Duration = Duration::from_millis(2);

/// The wire's two ends.
pub(super) struct Wire {
    /// One at a time: a veth has room for 256 frames, and drops what comes on top while another CPU is at them.
    up: Mutex<Packets>,
    /// Where the gateway has routed or bridged what a server sent, and hands it to its LAN interface.
    down: Packets,
}

impl Wire {
    pub(super) fn open(lab: &Lab) -> Result<Self> {
        let up = Mutex::new(Packets::sender(lab.client(), HOST_INTERFACE)?);
        Ok(Self { up, down: Packets::sender(lab.gateway(), LAN_INTERFACE)? })
    }

    fn send(&self, flow: Flow, way: Way, frame: &[u8]) -> Result<()> {
        let sent = match way {
            Way::Up => self.up.lock().unwrap_or_else(PoisonError::into_inner).socket().send(frame),
            Way::Down => self.down.socket().send(frame),
        };
        match sent {
            // The interface's egress was shown it, and dropped it.
            Err(error) if is_refused(&error) && way == Way::Down && flow.is_blocked() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send a frame of {flow:?} {way:?}")),
            Ok(length) if length == frame.len() => Ok(()),
            Ok(length) => bail!("{length} bytes of {} were sent", frame.len()),
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// What is sent, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// How many flows.
    pub(super) flows: u32,
    /// A flow's next frame comes when so many others had theirs.
    pub(super) stride: u32,
    /// How long all of it takes, or longer.
    pub(super) lasts: Duration,
}

/// Sends the share of one of several senders, and tells what that was.
pub(super) fn send(wire: &Wire, schedule: Schedule, share: u32, shares: u32) -> Result<Tally> {
    let Schedule { flows, stride, lasts } = schedule;
    let mut sent = Tally::none(flows);
    let begin = Instant::now();
    let ticks = flows + stride * STEPS_MAX;
    for tick in 0..ticks {
        for step in 0..STEPS_MAX {
            let Some(number) = tick.checked_sub(step * stride) else { break };
            if number >= flows || number % shares != share {
                continue;
            }
            let flow = Flow(number);
            if let Some((way, frame)) = flow.frame(step) {
                wire.send(flow, way, &frame)?;
                sent.count(flow, way);
            }
        }
        let due = lasts.mul_f64(f64::from(tick) / f64::from(ticks));
        while begin.elapsed() + TURN < due {
            thread::sleep(TURN);
        }
    }
    Ok(sent)
}
