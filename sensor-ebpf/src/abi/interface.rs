//! Interfaces and their counters.

use super::flow::Volume;
use super::value::{ACCOUNTINGS, ANOMALIES, HAPPENINGS, NO_NAMES};

/// What is known of a watched interface, found by its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Row of this interface in the counters.
    pub slot: u16,
    /// Zone of its flows.
    pub zone: u16,
    /// A [`Side`](crate::abi::Side).
    pub side: u8,
    /// 1 where XDP runs behind GRO (generic mode): merged frames carry partial checksums.
    pub merged: u8,
    /// Always 0.
    pub reserved: [u8; 1],
    /// 1 where the driver carries no metadata from XDP to TC, which the first order shows: orders then
    /// wait in a map.
    pub without_metadata: u8,
}

/// Counters of one interface and direction on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceCounters {
    /// Everything the program was run for.
    pub seen: Volume,
    /// The same, by [`Accounting`](crate::abi::Accounting); their sum is `seen`.
    pub accounted: [Volume; ACCOUNTINGS],
    /// What joined frames count for beyond one frame of their length each: they are seen as the wire will have them.
    pub joined: Volume,
    /// What the egress program itself has dropped.
    pub dropped: Volume,
    /// What the ingress program has sent back out of the interface, which no egress program sees.
    pub sent_back: Volume,
    /// By [`Happening`](crate::abi::Happening).
    pub happened: [u64; HAPPENINGS],
    /// Hellos, flows and packets that gave no name, by [`NoName`](crate::abi::NoName).
    pub no_name: [u64; NO_NAMES],
    /// Segments by [`Anomaly`](crate::abi::Anomaly), dropped or not.
    pub anomalies: [u64; ANOMALIES],
}
