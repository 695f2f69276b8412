//! The interfaces that are watched: attached to, and counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sensor_ebpf::abi::{Direction, Side};
use tracing::{error, info, warn};

use super::blind::Sight;
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
    /// Whether its programs see what is there, by direction.
    pub(super) sights: Mutex<Vec<(Direction, Sight)>>,
    /// Its row of counters.
    pub(super) slot: u16,
}

impl Attached {
    /// Looks whether its programs see what is there.
    pub(super) fn look(&self, counters: &Mutex<Counters>) -> anyhow::Result<()> {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        for (direction, sight) in sights.iter_mut() {
            let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = counters.totals(self.slot, *direction)?.seen().packets;
            drop(counters);
            if !sight.look(seen, Instant::now()) {
                continue;
            }
            let (interface, direction) = (&self.name, direction.name());
            match sight.unseen() {
                0 => info!(interface, direction, "packets are seen again"),
                unseen => {
                    error!(interface, direction, unseen, "packets pass, and the program sees none");
                }
            }
        }
        Ok(())
    }

    /// Packets of the last seconds in one direction, of which the program saw none.
    pub(super) fn unseen(&self, direction: Direction) -> u64 {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let of = sights.iter().find(|(way, _)| *way == direction);
        of.map_or(0, |(_, sight)| sight.unseen())
    }
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
    // What leaves by a mirror port is nobody's.
    let directions = match side {
        Side::Lan => &[Direction::Ingress, Direction::Egress][..],
        Side::Tap | Side::Unwatched => &[Direction::Ingress],
    };
    let sights = directions.iter().map(|way| (*way, Sight::of(name, *way))).collect();
    Ok(Attached { name: name.clone(), ifindex, side, mode, sights: Mutex::new(sights), slot })
}
