//! The interfaces that are watched: attached to, and counted.

use std::sync::{Arc, Mutex, PoisonError};

use sensor_ebpf::abi::Side;
use tracing::{info, warn};

use crate::config::{AttachMode, Config};
use crate::kernel::attach::{self, Mode, Wanted};
use crate::kernel::counters::Counters;
use crate::kernel::object::Object;
use crate::pipeline::Counted;

/// One that is watched.
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) ifindex: u32,
    pub(super) side: Side,
    pub(super) mode: Mode,
    /// Its row of counters.
    pub(super) slot: u16,
}

/// What these interfaces count in flows.
pub(super) fn counted(counters: &Arc<Mutex<Counters>>, interfaces: &[Attached]) -> Counted {
    let slots: Vec<u16> = interfaces.iter().map(|interface| interface.slot).collect();
    let counters = Arc::clone(counters);
    Box::new(move || counters.lock().unwrap_or_else(PoisonError::into_inner).in_flows(&slots))
}

/// Attaches to every interface, or to none that was not attached before.
pub(super) fn attach_all(
    object: &mut Object,
    counters: &mut Counters,
    config: &Config,
) -> anyhow::Result<Vec<Attached>> {
    let mut attached = Vec::new();
    let mut fresh = Vec::new();
    for (slot, interface) in (0_u16..).zip(&config.interface) {
        let name = &interface.name;
        let was_attached = attach::is_attached(&config.kernel.bpffs, name);
        match attach_one(object, counters, slot, interface) {
            Ok(one) => attached.push(one),
            Err(refusal) => {
                fresh.extend((!was_attached).then_some(name.as_str()));
                for name in fresh {
                    attach::detach_interface(&config.kernel.bpffs, name)?;
                }
                return Err(refusal);
            }
        }
        fresh.extend((!was_attached).then_some(name.as_str()));
    }
    Ok(attached)
}

fn attach_one(
    object: &mut Object,
    counters: &mut Counters,
    slot: u16,
    interface: &crate::config::Interface,
) -> anyhow::Result<Attached> {
    let crate::config::Interface { name, side, mode, zone } = interface;
    let ifindex = attach::ifindex(name)?;
    let side = Side::from(*side);
    // Until the mode is known, no checksum is relied on that may not be there.
    counters.watch(name, ifindex, slot, *zone, side, Mode::Generic)?;
    let wanted = match mode {
        AttachMode::Auto => Wanted::Auto,
        AttachMode::Native => Wanted::Only(Mode::Native),
        AttachMode::Generic => Wanted::Only(Mode::Generic),
    };
    let mode = object.attach(name, wanted)?;
    counters.watch(name, ifindex, slot, *zone, side, mode)?;
    if mode == Mode::Generic && wanted == Wanted::Auto {
        warn!(interface = name, "the driver has no native XDP: generic mode, slower");
    }
    info!(interface = name, %mode, side = side.name(), "attached");
    Ok(Attached { name: name.clone(), ifindex, side, mode, slot })
}
