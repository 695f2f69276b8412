//! Names that addresses came with in DNS answers.

use super::flow::{Address, FlowKey};

/// A device and an address it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AnsweredKey {
    /// The device that asked.
    pub lan_address: Address,
    /// The address in the answer.
    pub peer_address: Address,
    /// Configured zone of the interface.
    pub zone: u16,
    /// Always 0.
    pub reserved: [u16; 3],
}

impl AnsweredKey {
    /// The key under which the peer of a flow would be.
    #[must_use]
    pub const fn of(flow: &FlowKey) -> Self {
        let FlowKey { lan_address, peer_address, zone, .. } = *flow;
        Self { lan_address, peer_address, zone, reserved: [0; 3] }
    }
}

/// The name the device asked for, and how long the address is taken for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AnsweredName {
    /// Keyed hash of the name, the key of the name store.
    pub name_hash: u64,
    /// Category mask of the name when it was asked for.
    pub categories: u64,
    /// First of the answers that gave this name without a gap, ns of the sensor's clock.
    pub since_ns: u64,
    /// End of the last one's lifetime, ns of the sensor's clock.
    pub until_ns: u64,
    /// Generation of the policy that the categories are of.
    pub policy: u32,
    /// Always 0.
    pub reserved: u32,
}

impl AnsweredName {
    /// Whether it was the address's name at this moment, ns of the sensor's clock.
    #[must_use]
    pub const fn held_at(&self, time_ns: u64) -> bool {
        self.since_ns <= time_ns && time_ns <= self.until_ns
    }
}
