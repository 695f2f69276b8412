//! The flow table and what its flows refer to by hash, from user space.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{HashMap, MapData};
use sensor_ebpf::abi::{
    AnsweredKey, AnsweredName, Flow, FlowKey, Recorded, StoredHello, StoredName,
};

use super::object::Object;
use super::{KernelError, syscall};

/// Flows, their names and their hellos, shared with the programs.
pub struct FlowTable {
    flows: HashMap<MapData, FlowKey, Flow>,
    descriptor: OwnedFd,
    recorded: HashMap<MapData, FlowKey, Recorded>,
    names: HashMap<MapData, u64, StoredName>,
    hellos: HashMap<MapData, u64, StoredHello>,
    answered: HashMap<MapData, AnsweredKey, AnsweredName>,
}

impl FlowTable {
    /// Takes the maps out of the object.
    pub fn open(object: &mut Object) -> Result<Self, KernelError> {
        let descriptor = object.descriptor("FLOWS")?;
        Ok(Self {
            flows: object.take("FLOWS")?,
            descriptor,
            recorded: object.take("RECORDED")?,
            names: object.take("NAMES")?,
            hellos: object.take("HELLOS")?,
            answered: object.take("ANSWERED")?,
        })
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

    /// What of this flow is recorded already.
    pub fn recorded(&self, key: &FlowKey, flow: &Flow) -> Option<Recorded> {
        self.recorded.get(key, 0).ok().filter(|recorded| recorded.first_ns == flow.first_ns)
    }

    /// Visits what is recorded already of every flow that is in the table.
    pub fn recorded_of_live(&self, mut visit: impl FnMut(&Recorded)) -> Result<(), KernelError> {
        for entry in &self.recorded {
            let (key, recorded) = entry.map_err(|source| KernelError::Map {
                map: "RECORDED",
                operation: "scan",
                source: source.into(),
            })?;
            if self.get(&key).is_some_and(|flow| flow.first_ns == recorded.first_ns) {
                visit(&recorded);
            }
        }
        Ok(())
    }

    /// Returns when each packet that was being counted is in its flow.
    pub fn wait_for_packets() {
        syscall::wait_for_programs();
    }

    /// Remembers what of a flow that lives on is recorded.
    pub fn remember(&mut self, key: &FlowKey, recorded: &Recorded) -> Result<(), KernelError> {
        self.recorded.insert(key, recorded, 0).map_err(|source| KernelError::Map {
            map: "RECORDED",
            operation: "write",
            source: source.into(),
        })
    }

    /// Forgets it, after the flow's last record.
    pub fn forget(&mut self, key: &FlowKey) {
        // Most flows have one record and were never remembered.
        let _absent = self.recorded.remove(key);
    }

    /// The name with this hash, while the store has it.
    pub fn name(&self, hash: u64) -> Option<StoredName> {
        self.names.get(&hash, 0).ok()
    }

    /// What the hello with this key offers, while the kernel has it.
    pub fn hello(&self, key: u64) -> Option<StoredHello> {
        self.hellos.get(&key, 0).ok()
    }

    /// What the device was told of the flow's peer by DNS, newest, while the kernel has it.
    pub fn answered(&self, flow: &FlowKey) -> Option<AnsweredName> {
        self.answered.get(&AnsweredKey::of(flow), 0).ok()
    }
}

fn map_error(map: &'static str, operation: &'static str, source: io::Error) -> KernelError {
    KernelError::Map { map, operation, source: source.into() }
}
