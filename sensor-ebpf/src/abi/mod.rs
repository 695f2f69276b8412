//! Everything that crosses between kernel and user space: map keys, map values and events.
//!
//! Integers are in host byte order and addresses in network byte order, unless a field says otherwise.
//! Enumerations cross as `u8` and are read back by `TryFrom`, so that a value from another version
//! is an error and never undefined behaviour. Change anything here and raise [`ABI_VERSION`]:
//! user space refuses pinned maps of another version.

/// Version of this file's layouts.
pub const ABI_VERSION: u32 = 6;

/// Bytes of the longest name kept: 255 is the DNS limit on the wire (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 255;

/// Bytes of a name's buffer: [`NAME_MAX`] rounded up to a power of two, so that an index can be masked.
pub const NAME_BUFFER: usize = 256;

/// Interfaces one sensor watches. A counter row is 1 KiB per CPU, direction and interface.
pub const INTERFACES_MAX: u32 = 64;

/// Highest interface index that can be watched: the lookup is an array, 8 bytes an index.
pub const IFINDEX_MAX: u32 = 65_535;

/// Groups in one policy: two generations of 256 groups of 72 bytes are 36 KiB.
pub const GROUPS_MAX: u32 = 256;

/// Addresses that are kept with the name a device was given them for. A device has some dozens in use, so
/// this is for a thousand devices; the least recently used goes first.
pub const ANSWERED_MAX: u32 = 65_536;

/// Labels of the longest name that can be listed; UT1's longest has 12.
pub const LISTED_LABELS_MAX: usize = 16;

mod answered;
mod event;
mod flow;
mod hello;
mod interface;
mod page;
#[cfg(all(feature = "user", not(target_arch = "bpf")))]
mod pod;
mod policy;
pub mod table;
mod value;

pub use self::answered::{AnsweredKey, AnsweredName};
pub use self::event::{FlowEndEvent, VerdictEvent};
pub use self::flow::{Address, Flow, FlowEntry, FlowKey, Recorded, StoredName, Volume};
pub use self::hello::{
    ALPN_BYTES, CIPHER_SUITES_BYTES, COPY_ROOM, EXTENSION_TYPES, SIGNATURE_ALGORITHMS_BYTES,
    SUPPORTED_VERSIONS_BYTES, StoredHello,
};
pub use self::interface::{Interface, InterfaceCounters};
pub use self::page::{PAGE_MAX, Page, PageKey};
pub use self::policy::{
    Control, DnsRules, DomainEntry, GroupMasks, LISTED_PREFIXES_MAX, LOCKED, LOGIN_COUNTS,
    LOGINS_MAX, MEMBERS_MAX, MemberKey, PORTS_MAX, PREFIX_LEAD, PortKey, Prefix, UNLISTED,
    login_count, member, uses,
};
pub use self::value::{
    ACCOUNTINGS, ANOMALIES, Accounting, Anomaly, BlockedAnswer, Direction, FlowEnd, HAPPENINGS,
    Happening, HttpsRecords, NO_NAMES, NameSource, NoName, QuicRule, Side, UnknownValue, Verdict,
};

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Flow>() == 160);
const _: () = assert!(size_of::<Recorded>() == 56);
const _: () = assert!(size_of::<FlowEntry>() == 256);
const _: () = assert!(size_of::<StoredName>() == 260);
const _: () = assert!(size_of::<DomainEntry>() == 16);
const _: () = assert!(size_of::<table::Line>() == 64);
const _: () = assert!(size_of::<GroupMasks>() == 72);
const _: () = assert!(size_of::<Prefix>() == 20);
const _: () = assert!(size_of::<MemberKey>() == 24);
const _: () = assert!(size_of::<PageKey>() == 8);
const _: () = assert!(size_of::<PortKey>() == 8);
const _: () = assert!(size_of::<Page>() == PAGE_MAX + 12);
const _: () = assert!(size_of::<Control>() == 64 + LOGIN_COUNTS * 4);
const _: () = assert!(size_of::<Interface>() == 8);
const _: () = assert!(
    size_of::<InterfaceCounters>()
        == 64 + ACCOUNTINGS * 16 + (HAPPENINGS + NO_NAMES + ANOMALIES) * 8
);
const _: () = assert!(size_of::<StoredHello>() == 560);
const _: () = assert!(size_of::<AnsweredKey>() == 40);
const _: () = assert!(size_of::<AnsweredName>() == 40);
const _: () = assert!(size_of::<VerdictEvent>() == 344);
const _: () = assert!(size_of::<FlowEndEvent>() == 216);
