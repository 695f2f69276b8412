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

/// Key of a table of prefixes, a longest-prefix match. The generation leads, so that one store publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Prefix {
    /// Generation of the policy, big endian: prefixes are matched from the first bit on.
    pub policy: u32,
    /// Address in network byte order, IPv4-mapped where it is IPv4.
    pub address: [u32; 4],
}

/// Bits of [`Prefix`] before the address.
pub const PREFIX_LEAD: u32 = 32;

/// Prefixes of one policy that can be listed, at most 192 bytes of kernel memory each: the largest public collection of
/// names has 23,000 addresses among them, lists of addresses some ten thousand prefixes.
pub const LISTED_PREFIXES_MAX: u32 = 65_536;

impl Prefix {
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

/// Key of what puts a device into a group beside its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MemberKey {
    /// Generation of the policy.
    pub policy: u32,
    /// One of [`member`].
    pub kind: u32,
    /// The address; MAC, VLAN or interface as a number in the second word.
    pub value: Address,
}

/// What is known of a device beside its prefix, in the order it counts in; the prefix counts behind the MAC address.
pub mod member {
    /// Who is logged in at the address.
    pub const LOGIN: u32 = 1;
    /// MAC address the frame comes from, its first byte the lowest of the number.
    pub const MAC: u32 = 2;
    /// VLAN identifier of the frame's first tag (IEEE 802.1Q section 9.6).
    pub const VLAN: u32 = 3;
    /// [`Interface::slot`](super::super::Interface) of the interface.
    pub const INTERFACE: u32 = 4;
}

/// What one policy's groups name beside prefixes: the devices that a site has lists of.
pub const MEMBERS_MAX: u32 = 32_768;

/// Addresses that somebody is logged in at: a large campus at its busiest hour.
pub const LOGINS_MAX: u32 = 32_768;

impl MemberKey {
    /// Of an address.
    #[inline(always)]
    pub const fn login(policy: u32, device: Address) -> Self {
        Self { policy, kind: member::LOGIN, value: device }
    }

    /// Of a number.
    #[inline(always)]
    pub const fn number(policy: u32, kind: u32, number: u64) -> Self {
        Self { policy, kind, value: Address([0, number]) }
    }
}

/// Bits of [`Control::uses`]: tables that have anything in them, so that others are not looked at.
pub mod uses {
    /// Somebody may be logged in.
    pub const LOGINS: u32 = 1;
    /// Groups have MAC addresses.
    pub const MACS: u32 = 2;
    /// Groups have VLANs.
    pub const VLANS: u32 = 4;
    /// Groups have interfaces.
    pub const INTERFACES: u32 = 8;
    /// Groups have prefixes.
    pub const PREFIXES: u32 = 16;
    /// Ports are listed.
    pub const PORTS: u32 = 32;
    /// Addresses are listed.
    pub const ADDRESSES: u32 = 64;
    /// What a group is known by that is gone when the flow's record is made.
    pub const FLEETING: u32 = LOGINS | MACS | VLANS | INTERFACES;
}

/// Counts of logins, one for the addresses that share a last byte.
pub const LOGIN_COUNTS: usize = 256;

/// Control cell: one array element user space maps and stores into.
#[derive(Clone, Copy, Debug)]
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
    /// Bits of [`uses`] for each policy: the element is the generation's lowest bit.
    pub uses: [u32; 2],
    /// How often somebody has logged in or out, by the last byte of the address: a login is as a push to the flows of
    /// these devices, and costs others nothing.
    pub logins: [u32; LOGIN_COUNTS],
}

impl Default for Control {
    fn default() -> Self {
        Self {
            abi: 0,
            policy: 0,
            hash_key: 0,
            hash_multiplier: 0,
            replay_clock_ns: 0,
            report_all: 0,
            dropped_anomalies: 0,
            quic_initial_ns: 0,
            quic_hold_ns: 0,
            uses: [0; 2],
            logins: [0; LOGIN_COUNTS],
        }
    }
}

impl Control {
    /// What a device's flows are judged under a policy by: it changes with each policy, and with each login at its
    /// address. Both counts only grow, so no earlier sum comes again.
    #[inline(always)]
    pub fn epoch(&self, policy: u32, device: Address) -> u32 {
        let logins = self.logins.get(login_count(device)).copied();
        policy.wrapping_add(logins.unwrap_or(0))
    }

    /// Which tables the policy of a generation has anything in: bits of [`uses`].
    #[inline(always)]
    pub fn uses(&self, policy: u32) -> u32 {
        self.uses.get((policy & 1) as usize).copied().unwrap_or(0)
    }
}

/// Which of [`Control::logins`] counts those at an address.
#[inline(always)]
pub const fn login_count(device: Address) -> usize {
    // The last byte in network order is the highest of a little-endian word.
    (device.0[1] >> 56) as usize
}
