//! Counting what was seen: every packet once as seen, once by where it went.

use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    ANOMALIES, Accounting, Anomaly, Direction, Happening, Interface, InterfaceCounters, NO_NAMES,
    NoName, Volume,
};
use sensor_ebpf::cursor::bound;

use crate::maps::{COUNTERS, INTERFACES};

/// The watched interface with this index.
#[inline(always)]
pub(crate) fn interface(ifindex: u32) -> Option<&'static Interface> {
    INTERFACES.get(ifindex).filter(|interface| interface.side != 0)
}

/// A row of the counters, this CPU's own: plain adds suffice, a hook does not nest in itself.
#[derive(Clone, Copy)]
pub(crate) struct Row(*mut InterfaceCounters);

impl Row {
    /// Number of the row in the map, of the interface with this [`Interface::slot`].
    #[inline(always)]
    pub(crate) fn number(slot: u16, direction: Direction) -> u32 {
        u32::from(slot) * 2 + direction as u32
    }

    #[inline(always)]
    pub(crate) fn find(number: u32) -> Option<Self> {
        COUNTERS.get_ptr_mut(number).map(Self)
    }

    /// Counts everything the program is run for.
    #[inline(always)]
    pub(crate) fn saw(self, packets: u64, bytes: u64) {
        // SAFETY: the pointer is a live map value, and nobody else writes this CPU's copy.
        let seen = unsafe { &mut (*self.0).seen };
        seen.packets += packets;
        seen.bytes += bytes;
    }

    /// Counts where it went.
    #[inline(always)]
    pub(crate) fn account(self, accounting: Accounting, packets: u64, bytes: u64) {
        // SAFETY: as above; the index is a variant of the enumeration the array is sized by.
        let volume = unsafe { &mut *(&raw mut (*self.0).accounted[0]).add(accounting as usize) };
        volume.packets += packets;
        volume.bytes += bytes;
    }

    /// Counts what of what was seen is because frames are joined.
    #[inline(always)]
    pub(crate) fn joined(self, packets: u64, bytes: u64) {
        // SAFETY: as above.
        let joined = unsafe { &mut (*self.0).joined };
        joined.packets = joined.packets.wrapping_add(packets);
        joined.bytes = joined.bytes.wrapping_add(bytes);
    }

    /// Counts what was seen and goes no further.
    #[inline(always)]
    pub(crate) fn dropped(self, volume: Volume) {
        // SAFETY: as above.
        let dropped = unsafe { &mut (*self.0).dropped };
        dropped.packets += volume.packets;
        dropped.bytes += volume.bytes;
    }

    /// Counts a frame that goes out where it came in, as it is now.
    #[inline(always)]
    pub(crate) fn sent_back(self, ctx: &XdpContext) {
        // SAFETY: the context is the one this program was called with.
        let bytes = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
        // SAFETY: as above.
        let sent_back = unsafe { &mut (*self.0).sent_back };
        sent_back.packets += 1;
        sent_back.bytes += bytes;
    }

    /// Counts something that happened beside the accounting.
    #[inline(always)]
    pub(crate) fn happened(self, happening: Happening) {
        // SAFETY: as above; the index is a variant of the enumeration the array is sized by.
        unsafe { *(&raw mut (*self.0).happened[0]).add(happening as usize) += 1 };
    }

    /// Counts a reason for no name.
    #[inline(always)]
    pub(crate) fn no_name(self, reason: NoName) {
        // The reason may have come through memory: the verifier wants to see the bound again.
        let index = bound::<63>(reason as u32) as usize;
        if index < NO_NAMES {
            // SAFETY: as above; the index was checked just now.
            unsafe { *(&raw mut (*self.0).no_name[0]).add(index) += 1 };
        }
    }

    /// Counts a segment that no correct receiver would take.
    #[inline(always)]
    pub(crate) fn anomaly(self, anomaly: Anomaly) {
        let index = bound::<15>(anomaly as u32) as usize;
        if index < ANOMALIES {
            // SAFETY: as above; the index was checked just now.
            unsafe { *(&raw mut (*self.0).anomalies[0]).add(index) += 1 };
        }
    }
}
