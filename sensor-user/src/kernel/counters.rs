//! Counters of every watched interface, added up over the CPUs.

use aya::maps::{Array, MapData, PerCpuArray};
use sensor_ebpf::abi::{
    ACCOUNTINGS, ANOMALIES, Accounting, Anomaly, Direction, HAPPENINGS, Happening, IFINDEX_MAX,
    INTERFACES_MAX, Interface, InterfaceCounters, NO_NAMES, NoName, Side, Volume,
};

use super::KernelError;
use super::attach::Mode;
use super::object::Object;

/// Which interfaces are watched, and what was counted on them.
pub struct Counters {
    pub(super) interfaces: Array<MapData, Interface>,
    counters: PerCpuArray<MapData, InterfaceCounters>,
}

/// Totals of one interface and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals(pub(crate) InterfaceCounters);

impl Default for Totals {
    fn default() -> Self {
        Self(InterfaceCounters {
            seen: Volume::default(),
            accounted: [Volume::default(); ACCOUNTINGS],
            joined: Volume::default(),
            dropped: Volume::default(),
            sent_back: Volume::default(),
            happened: [0; HAPPENINGS],
            no_name: [0; NO_NAMES],
            anomalies: [0; ANOMALIES],
        })
    }
}

impl Totals {
    /// Everything the program was run for.
    pub const fn seen(&self) -> Volume {
        self.0.seen
    }

    /// What went this way.
    pub fn accounted(&self, accounting: Accounting) -> Volume {
        self.0.accounted.get(accounting as usize).copied().unwrap_or_default()
    }

    /// What joined frames count for beyond one frame each.
    pub const fn joined(&self) -> Volume {
        self.0.joined
    }

    /// What the egress program itself has dropped.
    pub const fn dropped(&self) -> Volume {
        self.0.dropped
    }

    /// What the ingress program has sent back out of the interface.
    pub const fn sent_back(&self) -> Volume {
        self.0.sent_back
    }

    /// How often this happened.
    pub fn happened(&self, happening: Happening) -> u64 {
        self.0.happened.get(happening as usize).copied().unwrap_or_default()
    }

    /// How often a name was looked for and missed for this reason.
    pub fn no_name(&self, reason: NoName) -> u64 {
        self.0.no_name.get(reason as usize).copied().unwrap_or_default()
    }

    /// Segments with this anomaly, dropped or not.
    pub fn anomaly(&self, anomaly: Anomaly) -> u64 {
        self.0.anomalies.get(anomaly as usize).copied().unwrap_or_default()
    }

    /// True where everything seen went somewhere: the first part of conservation.
    pub fn is_conserved(&self) -> bool {
        let mut sum = Volume::default();
        for accounted in &self.0.accounted {
            add(&mut sum, *accounted);
        }
        sum == self.0.seen
    }

    fn add(&mut self, other: &InterfaceCounters) {
        add(&mut self.0.seen, other.seen);
        for (sum, other) in self.0.accounted.iter_mut().zip(&other.accounted) {
            add(sum, *other);
        }
        // A test run tells no length on the wire, which is then less than the frame's.
        let Volume { packets, bytes } = &mut self.0.joined;
        *packets = packets.wrapping_add(other.joined.packets);
        *bytes = bytes.wrapping_add(other.joined.bytes);
        add(&mut self.0.dropped, other.dropped);
        add(&mut self.0.sent_back, other.sent_back);
        add_each(&mut self.0.happened, &other.happened);
        add_each(&mut self.0.no_name, &other.no_name);
        add_each(&mut self.0.anomalies, &other.anomalies);
    }
}

fn add_each(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

fn add(sum: &mut Volume, other: Volume) {
    sum.packets += other.packets;
    sum.bytes += other.bytes;
}

impl Counters {
    /// Takes the maps out of the object.
    pub fn open(object: &mut Object) -> Result<Self, KernelError> {
        Ok(Self { interfaces: object.take("INTERFACES")?, counters: object.take("COUNTERS")? })
    }

    /// Watches an interface whose XDP program runs in this mode, or stops watching it with
    /// [`Side::Unwatched`].
    pub fn watch(
        &mut self,
        name: &str,
        ifindex: u32,
        slot: u16,
        zone: u16,
        side: Side,
        mode: Mode,
    ) -> Result<(), KernelError> {
        if ifindex > IFINDEX_MAX {
            return Err(KernelError::IfindexTooHigh {
                name: name.to_owned(),
                index: ifindex,
                max: IFINDEX_MAX,
            });
        }
        debug_assert!(u32::from(slot) < INTERFACES_MAX);
        // Generic programs run behind GRO, native ones before it.
        let merged = u8::from(mode == Mode::Generic);
        let interface = Interface { slot, zone, side: side as u8, merged, ..Interface::default() };
        self.interfaces
            .set(ifindex, interface, 0)
            .map_err(|source| map_error("INTERFACES", "write", source))
    }

    /// What was counted in one row.
    pub fn totals(&self, slot: u16, direction: Direction) -> Result<Totals, KernelError> {
        let row = u32::from(slot) * 2 + direction as u32;
        let values =
            self.counters.get(&row, 0).map_err(|source| map_error("COUNTERS", "read", source))?;
        let mut totals = Totals::default();
        for value in values.iter() {
            totals.add(value);
        }
        Ok(totals)
    }
}

impl Counters {
    /// What all rows have counted in flows, both ways.
    pub fn in_flows(&self, slots: &[u16]) -> Result<Volume, KernelError> {
        let mut sum = Volume::default();
        for slot in slots {
            for direction in [Direction::Ingress, Direction::Egress] {
                add(&mut sum, self.totals(*slot, direction)?.accounted(Accounting::Flow));
            }
        }
        Ok(sum)
    }
}

fn map_error(
    map: &'static str,
    operation: &'static str,
    source: aya::maps::MapError,
) -> KernelError {
    KernelError::Map { map, operation, source: source.into() }
}
