//! Every number that can be configured: its unit, its default and its bounds.
//!
//! `mod.rs` says the same in the doc of each field, for people; a test holds the two together.

/// A number of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knob {
    /// Table of the file it is in.
    pub(super) table: &'static str,
    /// Key within the table.
    pub(super) key: &'static str,
    /// What it counts.
    pub(super) unit: &'static str,
    /// Value where the file has none.
    pub(super) default: u32,
    /// Smallest value.
    pub(super) min: u32,
    /// Largest value.
    pub(super) max: u32,
}

/// A row of the tables below.
const fn knob(
    table: &'static str,
    key: &'static str,
    unit: &'static str,
    default: u32,
    (min, max): (u32, u32),
) -> Knob {
    Knob { table, key, unit, default, min, max }
}

// The zone is 16 bits of the flow key.
pub(super) const ZONE: Knob = knob("interface", "zone", "zone number", 0, (0, 65_535));

// 16 Mi flows are 3.2 GiB: more than any gateway this is for has to give.
pub(super) const FLOWS: Knob = knob("kernel", "flows_max", "flows", 262_144, (1_024, 16_777_216));
// A campus sees some tens of thousands of names an hour; 4 Mi are 1.3 GiB.
pub(super) const NAMES: Knob = knob("kernel", "names_max", "names", 65_536, (1_024, 4_194_304));
// The largest public collection has about 5 M names, 45 MiB and twice that during a push. A million is what the smallest
// gateway has room for beside all else.
pub(super) const DOMAINS: Knob =
    knob("kernel", "domains_max", "names", 1_048_576, (1_024, 16_777_216));
// 64 are what a test fills; 262144 are 1.4 GiB, more half-sent hellos than a campus has devices.
pub(super) const HANDSHAKE_SLOTS: Knob =
    knob("kernel", "handshake_slots", "handshakes", 6_144, (64, 262_144));
// Below a page of 64 KiB machines; above, a backlog no reader catches up with.
pub(super) const VERDICT_RING: Knob =
    knob("kernel", "verdict_ring_kib", "KiB", 1_024, (64, 65_536));
pub(super) const FLOW_END_RING: Knob =
    knob("kernel", "flow_end_ring_kib", "KiB", 4_096, (64, 65_536));

// Shorter than 5 s splits the pauses of ordinary DNS and QUIC traffic into flows.
pub(super) const IDLE_TIMEOUT: Knob = knob("flow", "idle_timeout_s", "s", 60, (5, 3_600));
// TCP may be silent for hours; the kernel's own keep-alive starts after two.
pub(super) const TCP_IDLE_TIMEOUT: Knob = knob("flow", "tcp_idle_timeout_s", "s", 600, (5, 86_400));
// A day's file closes at midnight: a flow must not owe it a record for longer than a day.
pub(super) const ACTIVE_TIMEOUT: Knob = knob("flow", "active_timeout_s", "s", 300, (10, 86_400));
// Stragglers are a round trip or a retransmission away.
pub(super) const LINGER: Knob = knob("flow", "linger_ms", "ms", 2_000, (0, 60_000));
// Below 30 s a retransmission may outlive the memory of its flow.
pub(super) const BLOCKED_HOLD: Knob = knob("flow", "blocked_hold_s", "s", 180, (30, 3_600));
// A sweep reads the whole table.
pub(super) const SWEEP_INTERVAL: Knob =
    knob("flow", "sweep_interval_ms", "ms", 1_000, (100, 60_000));

// Below 20 a page of ten servers waits for its budget; 10000 are 300 ms of each second of a CPU for one device.
pub(super) const QUIC_INITIALS: Knob =
    knob("quic", "initials_per_second", "Initials per second", 200, (20, 10_000));
// A browser that was refused comes back within some minutes.
pub(super) const QUIC_HOLD: Knob = knob("quic", "hold_s", "s", 60, (0, 3_600));

// An hour's session with an update each minute, and a week for who stays logged in and tells nothing.
pub(super) const RADIUS_SESSION: Knob =
    knob("identity.radius", "session_s", "s", 86_400, (60, 604_800));
// PAN-OS has the same default and bounds.
pub(super) const USER_ID_TIMEOUT: Knob =
    knob("identity.user_id", "timeout_min", "minutes", 45, (1, 1_440));

// Sixteen million records, more than a campus makes in a day; 1 TiB is all a gateway's disk has.
pub(super) const SPOOL_SIZE: Knob = knob("spool", "size_mib", "MiB", 1_024, (4, 1_048_576));
// A receiver that is away for a week is not coming back.
pub(super) const SPOOL_DAYS: Knob = knob("spool", "days", "days", 7, (1, 365));
pub(super) const RETENTION: Knob = knob("store", "retention_days", "days", 30, (1, 3_650));

// A list that was renewed grows by some percent; one that was cut, or swapped for another, does not.
pub(super) const GROWTH: Knob =
    knob("policy.guard", "growth_max_percent", "percent", 25, (1, 1_000));
// Of a hundred flows that pass today, two that would not are what people notice.
pub(super) const OVER_BLOCK: Knob =
    knob("policy.guard", "over_block_max_percent", "percent", 2, (0, 100));

// 32473 is for examples (RFC 5612); 0 and the last number are reserved.
pub(super) const ENTERPRISE: Knob =
    knob("export", "enterprise", "number", 32_473, (1, u32::MAX - 1));
// A file that takes a minute to copy; 64 GiB fit any disk that has a sensor's records.
pub(super) const ROTATE_SIZE: Knob = knob("export.rotate", "size_mib", "MiB", 100, (1, 65_536));
// A file a day, as logs are kept; at most one a year.
pub(super) const ROTATE_HOURS: Knob = knob("export.rotate", "hours", "hours", 24, (1, 8_760));
// With the size above it bounds what the directory takes.
pub(super) const ROTATE_KEEP: Knob = knob("export.rotate", "keep", "files", 8, (0, 10_000));
// 0 is for what is of no one domain (RFC 7011 section 3.1).
pub(super) const DOMAIN: Knob = knob("export.ipfix", "domain", "number", 1, (1, u32::MAX));

/// All of them, in the order of the file.
pub(super) const KNOBS: [Knob; 27] = [
    ZONE,
    FLOWS,
    NAMES,
    DOMAINS,
    HANDSHAKE_SLOTS,
    VERDICT_RING,
    FLOW_END_RING,
    IDLE_TIMEOUT,
    TCP_IDLE_TIMEOUT,
    ACTIVE_TIMEOUT,
    LINGER,
    BLOCKED_HOLD,
    SWEEP_INTERVAL,
    QUIC_INITIALS,
    QUIC_HOLD,
    GROWTH,
    OVER_BLOCK,
    RADIUS_SESSION,
    USER_ID_TIMEOUT,
    SPOOL_SIZE,
    SPOOL_DAYS,
    RETENTION,
    ENTERPRISE,
    ROTATE_SIZE,
    ROTATE_HOURS,
    ROTATE_KEEP,
    DOMAIN,
];
