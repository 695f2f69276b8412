//! The kernel's own hash map as flow table: what ours is compared with.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{HashMap, MapData};
use sensor_ebpf::abi::{Flow, FlowKey, Recorded};

use super::Taken;
use crate::kernel::object::Object;
use crate::kernel::{KernelError, syscall};

pub(super) struct Stock {
    flows: HashMap<MapData, FlowKey, Flow>,
    descriptor: OwnedFd,
    recorded: HashMap<MapData, FlowKey, Recorded>,
}

impl Stock {
    pub(super) fn open(object: &mut Object) -> Result<Self, KernelError> {
        let descriptor = object.descriptor("FLOWS")?;
        Ok(Self { flows: object.take("FLOWS")?, descriptor, recorded: object.take("RECORDED")? })
    }

    pub(super) fn get(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key, 0).ok()
    }

    /// A packet that was being counted may be missing.
    pub(super) fn take(&self, keys: &[FlowKey]) -> Result<Vec<Taken>, KernelError> {
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let found = syscall::take(self.descriptor.as_fd(), key)
                .map_err(|source| map_error("take from", source))?;
            taken.extend(found.map(|flow| Taken { key: *key, flow, recorded: None, entry: None }));
        }
        Ok(taken)
    }

    pub(super) fn scan(&self, visit: impl FnMut(&FlowKey, &Flow)) -> Result<(), KernelError> {
        syscall::scan(self.descriptor.as_fd(), visit).map_err(|source| map_error("scan", source))
    }

    pub(super) fn recorded(&self, key: &FlowKey) -> Option<Recorded> {
        self.recorded.get(key, 0).ok()
    }

    pub(super) fn remember(
        &mut self,
        key: &FlowKey,
        recorded: &Recorded,
    ) -> Result<(), KernelError> {
        self.recorded.insert(key, recorded, 0).map_err(|source| KernelError::Map {
            map: "RECORDED",
            operation: "write",
            source: source.into(),
        })
    }

    pub(super) fn forget(&mut self, key: &FlowKey) {
        // Most flows have one record and were never remembered.
        let _absent = self.recorded.remove(key);
    }
}

fn map_error(operation: &'static str, source: io::Error) -> KernelError {
    KernelError::Map { map: "FLOWS", operation, source: source.into() }
}
