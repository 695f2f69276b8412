//! The flow table and the name store, from user space.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{HashMap, MapData};
use sensor_ebpf::abi::{Flow, FlowKey, StoredName};

use super::object::Object;
use super::{KernelError, syscall};

/// Flows and their names, shared with the programs.
pub struct FlowTable {
    flows: HashMap<MapData, FlowKey, Flow>,
    descriptor: OwnedFd,
    names: HashMap<MapData, u64, StoredName>,
}

impl FlowTable {
    /// Takes the maps out of the object.
    pub fn open(object: &mut Object) -> Result<Self, KernelError> {
        let descriptor = object.descriptor("FLOWS")?;
        Ok(Self { flows: object.take("FLOWS")?, descriptor, names: object.take("NAMES")? })
    }

    /// The flow as it is now.
    pub fn get(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key, 0).ok()
    }

    /// Takes a flow out of the table; its next packet makes another one.
    pub fn take(&self, key: &FlowKey) -> Result<Option<Flow>, KernelError> {
        syscall::take(self.descriptor.as_fd(), key)
            .map_err(|source| map_error("FLOWS", "take from", source))
    }

    /// Visits every flow.
    pub fn scan(&self, visit: impl FnMut(&FlowKey, &Flow)) -> Result<(), KernelError> {
        syscall::scan(self.descriptor.as_fd(), visit)
            .map_err(|source| map_error("FLOWS", "scan", source))
    }

    /// Takes every flow out of the table, between two captures.
    pub fn clear(&self) -> Result<(), KernelError> {
        let mut keys = Vec::new();
        self.scan(|key, _| keys.push(*key))?;
        for key in keys {
            self.take(&key)?;
        }
        Ok(())
    }

    /// The name with this hash, while the store has it.
    pub fn name(&self, hash: u64) -> Option<StoredName> {
        self.names.get(&hash, 0).ok()
    }
}

fn map_error(map: &'static str, operation: &'static str, source: io::Error) -> KernelError {
    KernelError::Map { map, operation, source: source.into() }
}
