//! The two rings: verdicts and flow ends, as samples.

use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;

use super::KernelError;
use super::object::Object;
use super::ring::Ring;
pub use super::ring::{Keeper, Place, Sample};

const FLOW_ENDS: &str = "FLOW_ENDS";

/// Both rings of one sensor.
pub struct Rings {
    verdicts: RingBuf<MapData>,
    flow_ends: Ring,
}

impl Rings {
    /// Takes the rings out of the object.
    pub fn open(object: &mut Object) -> Result<Self, KernelError> {
        let flow_ends = Ring::open(object.descriptor(FLOW_ENDS)?, object.ring_size(FLOW_ENDS)?)
            .map_err(|source| KernelError::Map {
                map: FLOW_ENDS,
                operation: "map",
                source: source.into(),
            })?;
        Ok(Self { verdicts: object.take("VERDICTS")?, flow_ends })
    }

    /// The next verdict event, if there is one.
    pub fn next_verdict(&mut self) -> Option<Bytes> {
        self.verdicts.next().map(|sample| Bytes::copy_from_slice(&sample))
    }

    /// The next flow-end event, if there is one. It stays in the ring until the [`Self::keeper`] lets it go: whoever opens
    /// the ring next begins with what is still there.
    pub fn next_flow_end(&mut self) -> Option<Sample> {
        self.flow_ends.next()
    }

    /// The same, for whom nothing depends on it: it leaves the ring at once.
    pub fn take_flow_end(&mut self) -> Option<Bytes> {
        let Sample { bytes, place } = self.flow_ends.next()?;
        self.keeper().release(place.to);
        Some(bytes)
    }

    /// Begins again with the flow-end events that are still there, as whoever opens the ring next.
    #[cfg(feature = "lab")]
    pub fn read_again(&mut self) {
        self.flow_ends.read_again();
    }

    /// Who lets flow-end events go.
    pub fn keeper(&self) -> Keeper {
        self.flow_ends.keeper()
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
