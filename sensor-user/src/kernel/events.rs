//! The two rings: verdicts and flow ends, as samples.

use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;

use super::KernelError;
use super::object::Object;

/// Both rings of one sensor.
pub struct Rings {
    verdicts: RingBuf<MapData>,
    flow_ends: RingBuf<MapData>,
}

impl Rings {
    /// Takes the rings out of the object.
    pub fn open(object: &mut Object) -> Result<Self, KernelError> {
        Ok(Self { verdicts: object.take("VERDICTS")?, flow_ends: object.take("FLOW_ENDS")? })
    }

    /// The next verdict event, if there is one.
    pub fn next_verdict(&mut self) -> Option<Bytes> {
        self.verdicts.next().map(|sample| Bytes::copy_from_slice(&sample))
    }

    /// The next flow-end event, if there is one.
    pub fn next_flow_end(&mut self) -> Option<Bytes> {
        self.flow_ends.next().map(|sample| Bytes::copy_from_slice(&sample))
    }

    /// Waits until a verdict is there, or so long. Flow ends do not wake: they are not urgent.
    pub fn wait(&self, timeout: Duration) {
        wait_readable(self.verdicts.as_raw_fd(), timeout);
    }
}

fn wait_readable(fd: RawFd, timeout: Duration) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one initialised pollfd; an error or an early return only means that the rings are
    // looked at sooner.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
}
