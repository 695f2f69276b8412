//! The control cell: one mapped array element the programs read on every decision.

use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sensor_ebpf::abi::{ABI_VERSION, Address, Control, login_count};
use sensor_ebpf::name::HashKey;

use super::KernelError;
use super::object::Object;
use crate::engine;

/// The mapped cell.
pub struct ControlCell {
    cell: *mut Control,
}

// SAFETY: the cell is shared with the kernel anyway; user space writes it through atomics.
unsafe impl Send for ControlCell {}
// SAFETY: as above.
unsafe impl Sync for ControlCell {}

/// One page holds the cell.
const MAPPED: usize = 4096;

impl ControlCell {
    /// Maps the cell. A fresh one gets a random hash key; a pinned one keeps its own, since the
    /// tables were filled with it.
    pub fn open(object: &Object) -> Result<Self, KernelError> {
        let pins = object.pins.clone();
        // The mapping outlives its descriptor.
        let fd = object.descriptor("CONTROL")?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new shared mapping of the array's single page.
        let cell = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                MAPPED,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if cell == libc::MAP_FAILED {
            return Err(KernelError::Map {
                map: "CONTROL",
                operation: "map",
                source: std::io::Error::last_os_error().into(),
            });
        }
        let control = Self { cell: cell.cast() };
        let found = control.read().abi;
        match (found, pins) {
            (ABI_VERSION, _) => {}
            (0, _) => control.initialise()?,
            (_, pins) => {
                return Err(KernelError::OtherAbi {
                    dir: pins.unwrap_or_default(),
                    found,
                    expected: ABI_VERSION,
                });
            }
        }
        Ok(control)
    }

    fn initialise(&self) -> Result<(), KernelError> {
        let key = engine::new_key().map_err(|error| KernelError::Preflight(error.to_string()))?;
        let control = Control {
            abi: ABI_VERSION,
            hash_key: key.start,
            hash_multiplier: key.multiplier,
            ..Control::default()
        };
        // SAFETY: the mapping is a page, and no program is attached yet.
        unsafe { self.cell.write_volatile(control) };
        Ok(())
    }

    fn read(&self) -> Control {
        // SAFETY: the mapping is a page and any bytes are a valid cell.
        unsafe { self.cell.read_volatile() }
    }

    /// Key of the name hash.
    pub fn hash_key(&self) -> HashKey {
        let control = self.read();
        HashKey { start: control.hash_key, multiplier: control.hash_multiplier }
    }

    /// Generation of the policy in force; 0 before the first.
    pub fn policy(&self) -> u32 {
        self.read().policy
    }

    /// Puts a policy in force: one store that publishes all its tables.
    pub fn publish(&self, policy: u32) {
        // SAFETY: the field is aligned and lives as long as the mapping.
        let cell = unsafe { AtomicU32::from_ptr(&raw mut (*self.cell).policy) };
        cell.store(policy, Ordering::Release);
    }

    /// Says which tables the policy of a generation has anything in, before it is in force.
    pub fn set_uses(&self, generation: u32, uses: u32) {
        self.uses(generation).store(uses, Ordering::Release);
    }

    /// Says that the policy of a generation has something in one more table.
    pub fn add_use(&self, generation: u32, one: u32) {
        self.uses(generation).fetch_or(one, Ordering::Release);
    }

    fn uses(&self, generation: u32) -> &AtomicU32 {
        let element = (generation & 1) as usize;
        // SAFETY: the field is aligned and lives as long as the mapping, and the element is one of two.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.cell).uses).cast::<u32>().add(element)) }
    }

    /// Has the flows of the device at an address judged again, and of those that share its count.
    pub fn count_login(&self, device: Address) {
        let count = login_count(device);
        // SAFETY: the field is aligned and lives as long as the mapping, and no count is beyond its last.
        let count =
            unsafe { AtomicU32::from_ptr((&raw mut (*self.cell).logins).cast::<u32>().add(count)) };
        count.fetch_add(1, Ordering::Release);
    }

    /// Says which anomalies' segments are dropped, one bit each.
    pub fn drop_anomalies(&self, anomalies: u32) {
        // SAFETY: the field is aligned and lives as long as the mapping.
        let cell = unsafe { AtomicU32::from_ptr(&raw mut (*self.cell).dropped_anomalies) };
        cell.store(anomalies, Ordering::Release);
    }

    /// Says how much of QUIC is opened for one client, and for how long a pair is held behind a block: Initials a
    /// second, 0 for any number, and seconds.
    pub fn limit_quic(&self, initials_per_second: u32, hold_s: u32) {
        let cost = 1_000_000_000_u64.checked_div(initials_per_second.into()).unwrap_or(0);
        let hold = u64::from(hold_s) * 1_000_000_000;
        // SAFETY: the fields are aligned and live as long as the mapping.
        unsafe {
            AtomicU64::from_ptr(&raw mut (*self.cell).quic_initial_ns)
                .store(cost, Ordering::Release);
            AtomicU64::from_ptr(&raw mut (*self.cell).quic_hold_ns).store(hold, Ordering::Release);
        }
    }

    /// Has every judged name told, not only blocked and alerted ones.
    pub fn report_all(&self) {
        // SAFETY: the field is aligned and lives as long as the mapping.
        let cell = unsafe { AtomicU32::from_ptr(&raw mut (*self.cell).report_all) };
        cell.store(1, Ordering::Release);
    }

    /// Sets the clock of a replay.
    pub fn set_replay_clock(&self, now_ns: u64) {
        // SAFETY: the field is aligned and lives as long as the mapping.
        let cell = unsafe { AtomicU64::from_ptr(&raw mut (*self.cell).replay_clock_ns) };
        cell.store(now_ns, Ordering::Release);
    }
}

impl Drop for ControlCell {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and nobody holds a reference into it.
        unsafe { libc::munmap(self.cell.cast(), MAPPED) };
    }
}
