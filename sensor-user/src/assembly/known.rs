//! What flows refer to: by a hash, and by the address they go to.

use std::collections::HashMap;

use sensor_ebpf::abi::{AnsweredName, FlowKey, StoredHello, StoredName};

/// What the kernel keeps beside flows.
#[derive(Clone, Copy)]
pub(super) struct Stores<'a> {
    /// The name with this hash, [`Flow::name_hash`](sensor_ebpf::abi::Flow::name_hash).
    pub(super) name: &'a dyn Fn(u64) -> Option<StoredName>,
    /// The hello with this key, [`Flow::hello`](sensor_ebpf::abi::Flow::hello).
    pub(super) hello: &'a dyn Fn(u64) -> Option<StoredHello>,
    /// What DNS told the device of the flow's peer.
    pub(super) answered: &'a dyn Fn(&FlowKey) -> Option<AnsweredName>,
}

/// What a device had asked DNS for before it called an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing that is known.
    Nothing,
    /// A name that is not recorded.
    Unlogged,
    /// This name.
    Name(String),
}

/// What was looked up by its hash, so that a system call is needed only for the first flow of each.
pub(super) struct Known<T> {
    by_hash: HashMap<u64, T>,
    max: usize,
}

/// Names remembered before the memory is given back and the kernel asked again: 64 k of 40 bytes.
pub(super) const NAMES_MAX: usize = 1 << 16;

/// Hellos remembered likewise: what the kernel's store holds, four times over; 4 k of 250 bytes. More
/// kinds of client than that is somebody making them up.
pub(super) const HELLOS_MAX: usize = 1 << 12;

impl<T: Clone> Known<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { by_hash: HashMap::new(), max }
    }

    pub(super) fn get(&mut self, hash: u64, look_up: impl FnOnce(u64) -> Option<T>) -> Option<T> {
        if let Some(known) = self.by_hash.get(&hash) {
            return Some(known.clone());
        }
        let found = look_up(hash)?;
        if self.by_hash.len() >= self.max {
            self.by_hash.clear();
        }
        self.by_hash.insert(hash, found.clone());
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::Known;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Known::new(2);
        for hash in 1..=3 {
            assert_eq!(known.get(hash, Some), Some(hash));
        }
        assert_eq!(known.by_hash.len(), 1);
        assert_eq!(known.get(3, |_| None), Some(3));
        assert_eq!(known.get(1, |_| None), None);
    }
}
