//! Everything that crosses between kernel and user space: map keys, map values and events.
//!
//! Integers are in host byte order and addresses in network byte order, unless a field says otherwise.
//! Enumerations cross as `u8` and are read back by `TryFrom`, so that a value from another version
//! is an error and never undefined behaviour. Change anything here and raise [`ABI_VERSION`]:
//! user space refuses pinned maps of another version.

/// Version of this file's layouts.
pub const ABI_VERSION: u32 = 1;

/// Bytes of the longest name kept: 255 is the DNS limit on the wire (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 255;

/// Bytes of a name's buffer: [`NAME_MAX`] rounded up to a power of two, so that an index can be masked.
pub const NAME_BUFFER: usize = 256;

/// Interfaces one sensor watches. A counter row is 1 KiB per CPU, direction and interface.
pub const INTERFACES_MAX: u32 = 64;

/// Highest interface index that can be watched: the lookup is an array, 8 bytes an index.
pub const IFINDEX_MAX: u32 = 65_535;

/// Groups in one policy: two generations of 256 groups of 24 bytes are 12 KiB.
pub const GROUPS_MAX: u32 = 256;

/// Labels of the longest name that can be listed; UT1's longest has 12.
pub const LISTED_LABELS_MAX: usize = 16;

/// Declares a `u8` enumeration whose values cross the boundary, with its checked way back and names.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $value:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_meta])* $variant = $value,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used in records, metrics and configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = UnknownValue;

            fn try_from(value: u8) -> Result<Self, UnknownValue> {
                match value { $($value => Ok(Self::$variant),)+ _ => Err(UnknownValue(value)) }
            }
        }
    };
}

/// A byte that names no value of its enumeration in this ABI version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownValue(pub u8);

impl core::fmt::Display for UnknownValue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "value {} is not known to ABI version {ABI_VERSION}", self.0)
    }
}

impl core::error::Error for UnknownValue {}

wire_enum! {
    /// What was decided for a flow.
    Verdict {
        /// Nothing was decided: no name yet, or no rule for it.
        Undecided = 0 => "undecided",
        /// The name was judged and may pass.
        Allow = 1 => "allow",
        /// The name may pass, and somebody asked to be told.
        Alert = 2 => "alert",
        /// Both ends are reset; later packets of the flow are answered or dropped.
        Block = 3 => "block",
    }
}

wire_enum! {
    /// Which protocol named the flow.
    NameSource {
        /// No name.
        None = 0 => "none",
        /// Server Name Indication of a TLS `ClientHello` (RFC 6066 section 3).
        Tls = 1 => "tls",
        /// Host header or absolute-form target of an HTTP/1 request (RFC 9112 section 3.2).
        Http = 2 => "http",
    }
}

wire_enum! {
    /// Why a flow has no name.
    NoName {
        /// It has one.
        Named = 0 => "named",
        /// No payload was seen yet.
        NoPayload = 1 => "no-payload",
        /// A `ClientHello` without a `server_name` extension.
        NoSni = 2 => "no-sni",
        /// An HTTP request without a Host.
        NoHost = 3 => "no-host",
        /// The first bytes are neither TLS nor HTTP.
        NotTls = 4 => "not-tls",
        /// The hello or head goes on in a segment that was not kept.
        Truncated = 5 => "truncated",
        /// A length contradicts the bytes around it.
        Malformed = 6 => "malformed",
        /// The transport is not examined for names.
        NotExamined = 7 => "not-examined",
        /// The stage that reads names was not loaded.
        StageMissing = 8 => "stage-missing",
        /// The first packet seen was not a SYN, and no later segment started a hello.
        MidStream = 9 => "mid-stream",
    }
}

wire_enum! {
    /// How a packet was accounted. One packet has exactly one of these.
    Accounting {
        /// Counted in a flow.
        Flow = 0 => "flow",
        /// The flow table was full; the packet was judged by its bytes all the same.
        TableFull = 1 => "table-full",
        /// A header ended after the frame did.
        Truncated = 2 => "truncated",
        /// A header contradicts itself.
        Malformed = 3 => "malformed",
        /// IPv6 extension headers beyond the bound of the walk.
        ExtensionHeaders = 4 => "extension-headers",
        /// Not IPv4 or IPv6: ARP, LLDP, spanning tree.
        NotIp = 5 => "not-ip",
        /// A fragment: only the first one has ports.
        Fragment = 6 => "fragment",
        /// Second sight of a packet that was counted where it entered.
        Transit = 7 => "transit",
        /// A reset this sensor sent.
        OwnReset = 8 => "own-reset",
    }
}

/// Number of [`Accounting`] values.
pub const ACCOUNTINGS: usize = Accounting::ALL.len();

wire_enum! {
    /// Things that happen beside the accounting of a packet, counted per interface.
    Happening {
        /// A segment turned into the server's reset.
        ServerReset = 0 => "server-reset",
        /// A reset sent to the client.
        ClientReset = 1 => "client-reset",
        /// A packet of a blocked flow, dropped.
        BlockedDropped = 2 => "blocked-dropped",
        /// The driver carries no XDP metadata: only the client was reset.
        ResetWithoutMetadata = 3 => "reset-without-metadata",
        /// A packet could not be rewritten and was dropped.
        ResetFailed = 4 => "reset-failed",
        /// The verdict ring was full: the verdict stands, its event is lost.
        VerdictEventLost = 5 => "verdict-event-lost",
        /// The flow-end ring was full: the sweep finds the flow.
        FlowEndLost = 6 => "flow-end-lost",
        /// A flow was reused before its record was taken, and the ring was full: the two share a record.
        FlowMerged = 7 => "flow-merged",
        /// A name could not be kept for records.
        NameNotStored = 8 => "name-not-stored",
        /// A tail call found no program.
        StageMissing = 9 => "stage-missing",
    }
}

/// Number of [`Happening`] values.
pub const HAPPENINGS: usize = Happening::ALL.len();

wire_enum! {
    /// What an interface is to the sensor.
    Side {
        /// Not watched.
        Unwatched = 0 => "unwatched",
        /// Devices of the campus are behind it: ingress is client to server.
        Lan = 1 => "lan",
        /// A mirror port or a replay: both directions arrive at ingress, nothing is enforced.
        Tap = 2 => "tap",
    }
}

wire_enum! {
    /// Which way a packet goes through the interface it is seen at.
    Direction {
        /// Seen by XDP: from the LAN to the rest.
        Ingress = 0 => "ingress",
        /// Seen by the TC egress program: from the rest to the LAN.
        Egress = 1 => "egress",
    }
}

/// An IPv6 address, or an IPv4-mapped one (RFC 4291 section 2.5.5.2), as two words in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Address(pub [u64; 2]);

// The word arithmetic below puts the IPv4 address into the upper half of a little-endian word.
#[cfg(target_endian = "big")]
compile_error!("campus-sensor runs on little-endian machines");

impl Address {
    /// From the four bytes of an IPv4 address as they lie in memory.
    #[inline(always)]
    pub const fn from_ipv4_word(word: u32) -> Self {
        Self([0, (word as u64) << 32 | 0xffff_0000])
    }

    /// From sixteen bytes in network order.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// Sixteen bytes in network order.
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        Self::from_octets(match address {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(v6) => v6.octets(),
        })
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        core::net::Ipv6Addr::from(address.octets()).to_canonical()
    }
}

/// One flow of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Address on the LAN side; where both ends or neither are, the sender of the first packet seen.
    pub lan_address: Address,
    /// Address of the other end.
    pub peer_address: Address,
    /// Port on the LAN side; 0 where the protocol has none.
    pub lan_port: u16,
    /// Port of the other end; 0 where the protocol has none.
    pub peer_port: u16,
    /// Configured zone of the interface; equal addresses in two zones are two flows.
    pub zone: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

/// Packets and bytes of one direction. Bytes are of the whole frame as on the wire, without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Volume {
    /// Packets on the wire: a super-packet counts as its segments.
    pub packets: u64,
    /// Bytes on the wire, from the Ethernet header on, without preamble and FCS.
    pub bytes: u64,
}

/// State of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// From the LAN side to its peer.
    pub to_peer: Volume,
    /// From the peer to the LAN side.
    pub to_lan: Volume,
    /// First packet, ns of the sensor's clock.
    pub first_ns: u64,
    /// Last packet, ns of the sensor's clock.
    pub last_ns: u64,
    /// Keyed hash of the name, the key of the name store; 0 without a name.
    pub name_hash: u64,
    /// Category mask the verdict was made with.
    pub categories: u64,
    /// Generation of the policy the verdict was made with.
    pub policy: u32,
    /// Interface index of the first packet.
    pub ifindex: u32,
    /// Group the device was in when the flow was judged.
    pub group: u16,
    /// List the deciding entry came from.
    pub list: u16,
    /// A [`Verdict`].
    pub verdict: u8,
    /// A [`NameSource`].
    pub name_source: u8,
    /// A [`NoName`].
    pub no_name: u8,
    /// A [`crate::flow::Phase`].
    pub phase: u8,
    /// TCP flags seen from the LAN side, or-ed.
    pub lan_tcp_flags: u8,
    /// TCP flags seen from the peer, or-ed.
    pub peer_tcp_flags: u8,
    /// Payload segments examined without finding the start of a hello or head.
    pub examined: u8,
    /// Resets sent in answer to packets of this blocked flow.
    pub resets: u8,
    /// Bits of [`crate::flow::mark`].
    pub marks: u8,
    /// Always 0.
    pub reserved: [u8; 11],
}

/// A name as records show it: canonical, not terminated.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct StoredName {
    /// Bytes used of `bytes`.
    pub length: u16,
    /// Always 0.
    pub reserved: u16,
    /// The name; what lies beyond `length` is left over.
    pub bytes: [u8; NAME_BUFFER],
}

/// Key of a listed name: every suffix of a name is looked up, deepest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DomainKey {
    /// Keyed hash of the canonical name.
    pub hash: u64,
    /// Generation of the policy that lists it.
    pub policy: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What is known of a listed name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DomainEntry {
    /// One bit for each category.
    pub categories: u64,
    /// List it came from.
    pub list: u16,
    /// Always 0.
    pub reserved: [u8; 6],
}

/// Masks of a group. Allow beats block at one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GroupMasks {
    /// Categories that are blocked.
    pub block: u64,
    /// Categories that pass and are told.
    pub alert: u64,
    /// Categories that pass whatever else they are.
    pub allow: u64,
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
    /// [`ABI_VERSION`] of the user space that filled the maps.
    pub abi: u32,
    /// Generation of the policy in force; storing it publishes all its tables.
    pub policy: u32,
    /// First half of the name hash's key.
    pub hash_key: u64,
    /// Second half of the name hash's key, odd.
    pub hash_multiplier: u64,
    /// Clock of a replay, ns.
    pub replay_clock_ns: u64,
    /// 1: every judged name is told, allowed ones too.
    pub report_all: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What is known of a watched interface, found by its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Row of this interface in the counters.
    pub slot: u16,
    /// Zone of its flows.
    pub zone: u16,
    /// A [`Side`].
    pub side: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

/// Counters of one interface and direction on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceCounters {
    /// Everything the program was run for.
    pub seen: Volume,
    /// The same, by [`Accounting`]; their sum is `seen`.
    pub accounted: [Volume; ACCOUNTINGS],
    /// By [`Happening`].
    pub happened: [u64; HAPPENINGS],
}

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
    /// A [`Verdict`].
    pub verdict: u8,
    /// A [`NameSource`].
    pub name_source: u8,
    /// 1 where the sender of the deciding packet is the peer, not the LAN side (tap and replay).
    pub from_peer: u8,
    /// Always 0.
    pub reserved: u8,
    /// The name.
    pub name: StoredName,
}

/// Event of the flow-end ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEndEvent {
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// A [`FlowEnd`].
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

wire_enum! {
    /// Why a flow-end event was sent.
    FlowEnd {
        /// FIN both ways or RST: the flow stays in the table for stragglers until user space takes it.
        Closed = 0 => "closed",
        /// A new connection took the key: this event holds the only copy of the old flow.
        Replaced = 1 => "replaced",
    }
}

#[cfg(all(feature = "user", not(target_arch = "bpf")))]
mod pod {
    use super::*;

    /// Marks map types as plain data for user space.
    macro_rules! pod {
        ($($name:ident),+ $(,)?) => {
            $(
                // SAFETY: `repr(C)`, integers and arrays of them only: any bytes are a valid value.
                unsafe impl aya::Pod for $name {}
            )+
        };
    }

    pod!(
        FlowKey,
        Flow,
        StoredName,
        DomainKey,
        DomainEntry,
        GroupMasks,
        GroupPrefix,
        Control,
        Interface,
        InterfaceCounters,
    );
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

impl StoredName {
    /// The bytes in use.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let length = usize::from(self.length).min(NAME_MAX);
        self.bytes.get(..length).unwrap_or_default()
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Flow>() == 96);
const _: () = assert!(size_of::<StoredName>() == 260);
const _: () = assert!(size_of::<DomainKey>() == 16);
const _: () = assert!(size_of::<DomainEntry>() == 16);
const _: () = assert!(size_of::<GroupMasks>() == 24);
const _: () = assert!(size_of::<GroupPrefix>() == 20);
const _: () = assert!(size_of::<Control>() == 40);
const _: () = assert!(size_of::<Interface>() == 8);
const _: () = assert!(size_of::<InterfaceCounters>() == 16 + ACCOUNTINGS * 16 + HAPPENINGS * 8);
const _: () = assert!(size_of::<VerdictEvent>() == 344);
const _: () = assert!(size_of::<FlowEndEvent>() == 152);
