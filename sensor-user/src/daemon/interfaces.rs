//! The interfaces that are watched: attached to, and counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sensor_ebpf::abi::{Direction, Side};
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use super::blind::Sight;
use super::differences::{Beside, Look, Seen};
use super::queues::{self, Queue};
use crate::config::{AttachMode, Config};
use crate::control::status::DirectionStatus;
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
    /// What the interface itself has counted, by direction.
    beside: Mutex<Vec<(Direction, Beside)>>,
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

    /// Holds what its programs have seen against what the interface has counted. Within the runtime.
    pub(super) fn compare(&self, counters: &Mutex<Counters>) -> anyhow::Result<()> {
        let queue = Handle::current().block_on(queues::read(self.ifindex))?;
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        for (direction, beside) in beside.iter_mut() {
            let seen = || {
                let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
                let ingress = counters.totals(self.slot, Direction::Ingress)?;
                let egress = counters.totals(self.slot, Direction::Egress)?;
                Ok(Seen::of(*direction, &ingress, &egress))
            };
            let is_egress = *direction == Direction::Egress;
            let queue = if is_egress { queue } else { Queue::default() };
            if let Some(look) = Look::take(&self.name, *direction, queue, seen)? {
                beside.add(look);
            }
        }
        Ok(())
    }

    /// How one direction is doing.
    pub(super) fn status(
        &self,
        direction: Direction,
        counters: &Mutex<Counters>,
    ) -> anyhow::Result<DirectionStatus> {
        // One lock at a time.
        let unseen = self.unseen(direction);
        let on_interface = {
            let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            let of = beside.iter().find(|(way, _)| *way == direction);
            of.map(|(_, beside)| beside.found()).unwrap_or_default()
        };
        let counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = &counters.totals(self.slot, direction)?;
        Ok(DirectionStatus { unseen, on_interface, ..totals.into() })
    }

    /// Packets of the last seconds in one direction, of which the program saw none.
    fn unseen(&self, direction: Direction) -> u64 {
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
    let sights = Mutex::new(directions.iter().map(|way| (*way, Sight::of(name, *way))).collect());
    let beside = Mutex::new(directions.iter().map(|way| (*way, Beside::default())).collect());
    Ok(Attached { name: name.clone(), ifindex, side, mode, sights, beside, slot })
}
