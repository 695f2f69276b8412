//! The file as it is written: optional everywhere, unchecked, with the place of every value.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{AttachMode, Directions, ExportKind, LogLevel, Pseudonymise, Side};

/// A value that may be absent, with its place in the file.
type Optional<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) sensor: RawSensor,
    pub(super) interface: Vec<Spanned<RawInterface>>,
    pub(super) kernel: RawKernel,
    pub(super) normaliser: RawNormaliser,
    pub(super) quic: RawQuic,
    pub(super) flow: RawFlow,
    pub(super) policy: RawPolicy,
    pub(super) identity: RawIdentity,
    pub(super) privacy: RawPrivacy,
    pub(super) spool: RawSpool,
    pub(super) store: RawStore,
    pub(super) export: Vec<Spanned<RawExport>>,
    pub(super) control: RawControl,
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSensor {
    pub(super) name: Optional<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawInterface {
    pub(super) name: Optional<String>,
    pub(super) side: Option<Side>,
    pub(super) mode: Option<AttachMode>,
    pub(super) zone: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawKernel {
    pub(super) bpffs: Optional<PathBuf>,
    pub(super) flows_max: Optional<i64>,
    pub(super) names_max: Optional<i64>,
    pub(super) domains_max: Optional<i64>,
    pub(super) handshake_slots: Optional<i64>,
    pub(super) verdict_ring_kib: Optional<i64>,
    pub(super) flow_end_ring_kib: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNormaliser {
    pub(super) observe: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawQuic {
    pub(super) read: Option<bool>,
    pub(super) initials_per_second: Optional<i64>,
    pub(super) hold_s: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFlow {
    pub(super) idle_timeout_s: Optional<i64>,
    pub(super) tcp_idle_timeout_s: Optional<i64>,
    pub(super) active_timeout_s: Optional<i64>,
    pub(super) linger_ms: Optional<i64>,
    pub(super) blocked_hold_s: Optional<i64>,
    pub(super) sweep_interval_ms: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPolicy {
    pub(super) file: Optional<PathBuf>,
    pub(super) dir: Optional<PathBuf>,
    pub(super) keys: Vec<Spanned<String>>,
    pub(super) guard: RawGuard,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGuard {
    pub(super) growth_max_percent: Optional<i64>,
    pub(super) over_block_max_percent: Optional<i64>,
    pub(super) never_block: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdentity {
    pub(super) domains: Vec<Spanned<String>>,
    pub(super) neighbours: Option<bool>,
    pub(super) radius: RawRadius,
    pub(super) user_id: RawUserId,
    pub(super) leases: RawLeases,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawUserId {
    pub(super) listen: Optional<String>,
    pub(super) clients: Vec<Spanned<String>>,
    pub(super) key_file: Optional<PathBuf>,
    pub(super) timeout_min: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLeases {
    pub(super) kea: Vec<Spanned<PathBuf>>,
    pub(super) dnsmasq: Vec<Spanned<PathBuf>>,
    pub(super) dhcpd: Vec<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRadius {
    pub(super) listen: Optional<String>,
    pub(super) clients: Vec<Spanned<String>>,
    pub(super) secret_file: Optional<PathBuf>,
    pub(super) session_s: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPrivacy {
    pub(super) pseudonyms: Option<Pseudonymise>,
    pub(super) key_file: Optional<PathBuf>,
    pub(super) audit_file: Optional<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSpool {
    pub(super) dir: Optional<PathBuf>,
    pub(super) size_mib: Optional<i64>,
    pub(super) days: Optional<i64>,
    pub(super) key_file: Optional<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStore {
    pub(super) dir: Optional<PathBuf>,
    pub(super) retention_days: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawExport {
    pub(super) name: Optional<String>,
    pub(super) kind: Option<ExportKind>,
    pub(super) target: Optional<String>,
    pub(super) fields: Option<Vec<Spanned<String>>>,
    pub(super) enterprise: Optional<i64>,
    pub(super) filter: RawExportFilter,
    pub(super) rotate: Optional<RawRotate>,
    pub(super) ipfix: Optional<RawIpfix>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawExportFilter {
    pub(super) verdicts: Vec<Spanned<String>>,
    pub(super) protocols: Vec<Spanned<String>>,
    pub(super) groups: Vec<String>,
    pub(super) categories: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRotate {
    pub(super) size_mib: Optional<i64>,
    pub(super) hours: Optional<i64>,
    pub(super) keep: Optional<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIpfix {
    pub(super) domain: Optional<i64>,
    pub(super) directions: Option<Directions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawControl {
    pub(super) socket: Optional<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) level: Option<LogLevel>,
}
