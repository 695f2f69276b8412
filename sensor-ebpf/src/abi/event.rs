//! Events of the two rings.

use super::ABI_VERSION;
use super::flow::{Flow, FlowKey, StoredName};

/// Event of the verdict ring.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct VerdictEvent {
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// Interface index the deciding packet came in at.
    pub ifindex: u32,
    /// When, ns of the sensor's clock.
    pub time_ns: u64,
    /// The flow.
    pub key: FlowKey,
    /// Category mask of the deciding entry.
    pub categories: u64,
    /// Keyed hash of the name.
    pub name_hash: u64,
    /// Generation of the policy.
    pub policy: u32,
    /// Group of the device.
    pub group: u16,
    /// List of the deciding entry.
    pub list: u16,
    /// A [`Verdict`](crate::abi::Verdict).
    pub verdict: u8,
    /// A [`NameSource`](crate::abi::NameSource).
    pub name_source: u8,
    /// 1 where the sender of the deciding packet is the peer, not the LAN side (tap and replay).
    pub from_peer: u8,
    /// A [`NoName`](crate::abi::NoName): why there is no name, where the reason was judged.
    pub no_name: u8,
    /// The name; empty where there is none.
    pub name: StoredName,
}

/// Event of the flow-end ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEndEvent {
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// A [`FlowEnd`](crate::abi::FlowEnd).
    pub end: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// When, ns of the sensor's clock.
    pub time_ns: u64,
    /// The flow.
    pub key: FlowKey,
    /// Its state at that moment.
    pub flow: Flow,
}

impl VerdictEvent {
    /// Reads an event off the ring; `None` where its size or version is another.
    #[must_use]
    pub fn decode(sample: &[u8]) -> Option<Self> {
        decode(sample).filter(|event: &Self| event.abi == ABI_VERSION)
    }
}

impl FlowEndEvent {
    /// Reads an event off the ring; `None` where its size or version is another.
    #[must_use]
    pub fn decode(sample: &[u8]) -> Option<Self> {
        decode(sample).filter(|event: &Self| event.abi == ABI_VERSION)
    }
}

/// Types of which any bytes are a valid value.
trait Plain: Copy {}
impl Plain for VerdictEvent {}
impl Plain for FlowEndEvent {}

fn decode<T: Plain>(sample: &[u8]) -> Option<T> {
    if sample.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked, and `Plain` types are valid for any bytes.
    Some(unsafe { sample.as_ptr().cast::<T>().read_unaligned() })
}
