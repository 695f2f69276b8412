//! The policy's tables, and the cell that publishes them.

use super::flow::Address;

/// Key of a listed port: looked up by the packet that opens a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortKey {
    /// Generation of the policy that lists it.
    pub policy: u32,
    /// Port that devices connect to.
    pub port: u16,
    /// IP protocol number: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

/// Ports of one policy that can be listed: ways round a filter that keep to a port are some dozen, and the
/// packet that opens a flow looks for its own among them in a table that stays in the cache.
pub const PORTS_MAX: u32 = 512;

/// What is known of a listed name or port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DomainEntry {
    /// One bit for each category.
    pub categories: u64,
    /// List it came from.
    pub list: u16,
    /// 1 for a canary: devices ask DNS for it to learn whether they may go round the network's own
    /// resolver.
    pub canary: u8,
    /// Always 0.
    pub reserved: [u8; 5],
}

/// The category of what is blocked for everybody, whatever else is said of it.
pub const LOCKED: u64 = 1 << 61;

/// The category of names that are in no list. Entries never have it: it stands for having none.
pub const UNLISTED: u64 = 1 << 60;

/// Masks of a group. Allow beats block at one name; [`LOCKED`] beats both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GroupMasks {
    /// Categories that are blocked.
    pub block: u64,
    /// Categories that pass and are told.
    pub alert: u64,
    /// Categories that pass whatever else they are.
    pub allow: u64,
    /// One bit for each [`NoName`](crate::abi::NoName) that is blocked.
    pub block_no_name: u64,
    /// One bit for each [`NoName`](crate::abi::NoName) that passes and is told.
    pub alert_no_name: u64,
    /// How DNS queries are answered here.
    pub dns: DnsRules,
    /// A [`QuicRule`](crate::abi::QuicRule).
    pub quic: u64,
}

/// How queries of a group's devices are answered at the gateway. All zero: blocked names do not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DnsRules {
    /// A [`BlockedAnswer`](crate::abi::BlockedAnswer).
    pub answer: u8,
    /// A [`HttpsRecords`](crate::abi::HttpsRecords).
    pub https_records: u8,
    /// 1: canaries do not exist.
    pub canaries: u8,
    /// Always 0.
    pub reserved: u8,
    /// Sinkhole for queries of type A as it lies on the wire; all zero where there is none.
    pub sinkhole4: [u8; 4],
    /// Sinkhole for queries of type AAAA; all zero where there is none.
    pub sinkhole6: [u8; 16],
}

/// Key of the group table, a longest-prefix match. The generation leads, so that one store publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GroupPrefix {
    /// Generation of the policy, big endian: prefixes are matched from the first bit on.
    pub policy: u32,
    /// Address in network byte order, IPv4-mapped where it is IPv4.
    pub address: [u32; 4],
}

/// Bits of [`GroupPrefix`] before the address.
pub const GROUP_PREFIX_LEAD: u32 = 32;

impl GroupPrefix {
    /// The key that looks `address` up in the policy of generation `policy`.
    #[inline(always)]
    pub const fn new(policy: u32, address: Address) -> Self {
        let [first, second] = address.0;
        Self {
            policy: policy.to_be(),
            address: [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32],
        }
    }
}

/// Control cell: one array element user space maps and stores into.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Control {
    /// [`ABI_VERSION`](crate::abi::ABI_VERSION) of the user space that filled the maps.
    pub abi: u32,
    /// Generation of the policy in force; storing it publishes all its tables.
    pub policy: u32,
    /// First half of a hash key: of names while no table of them is there, which has its own, of what hellos offer,
    /// and of handshakes' slots.
    pub hash_key: u64,
    /// Second half of it, odd.
    pub hash_multiplier: u64,
    /// Clock of a replay, ns.
    pub replay_clock_ns: u64,
    /// 1: every judged name is told, allowed ones too.
    pub report_all: u32,
    /// One bit for each [`Anomaly`](crate::abi::Anomaly) whose segments are dropped.
    pub dropped_anomalies: u32,
    /// Time that a client's QUIC Initial takes out of its budget, ns; 0: there is no budget.
    pub quic_initial_ns: u64,
    /// For how long QUIC without an Initial is dropped between a client and a server behind a block of the two, ns.
    pub quic_hold_ns: u64,
}
