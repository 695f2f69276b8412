//! The configuration: one TOML file, every key optional but the interfaces.
//!
//! What is read is checked once, here; whoever holds a [`Config`] holds one that is within bounds.
//! Nothing is guessed: an unknown key or a value out of bounds is an error that names file, line
//! and remedy.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use sensor_ebpf::abi::{ANOMALIES, Anomaly};
use serde::{Deserialize, Serialize, Serializer};

mod check;
mod check_export;
mod effective;
mod error;
mod export;
mod identity;
mod knobs;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_export;

pub use crate::privacy::Pseudonymise;
pub use error::{ConfigError, Problem};
pub use export::{Directions, Export, ExportFilter, ExportKind, Ipfix, Rotate, Target};

/// Bytes read of a configuration file: 64 interfaces and every key are under 10 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

// Each anomaly is a bit of a mask.
const _: () = assert!(ANOMALIES <= u32::BITS as usize);

/// A configuration within its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Who this sensor is.
    pub sensor: Sensor,
    /// What it watches: 1 to 64 interfaces.
    pub interface: Vec<Interface>,
    /// What it keeps in the kernel.
    pub kernel: Kernel,
    /// What is let through while a handshake is read.
    pub normaliser: Normaliser,
    /// QUIC.
    pub quic: Quic,
    /// When flows end.
    pub flow: Flow,
    /// What may pass.
    pub policy: Policy,
    /// Who tells who is where.
    pub identity: Identity,
    /// What of identity records say plainly.
    pub privacy: Privacy,
    /// Where records wait for everyone they go to.
    pub spool: Spool,
    /// Where records are kept.
    pub store: Store,
    /// Where they go beside it: up to 16 places, none by default.
    pub export: Vec<Export>,
    /// Where the command line finds the daemon.
    pub control: Control,
    /// What is logged.
    pub log: Log,
}

/// `[sensor]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sensor {
    /// Name in every record, 1 to 63 of a-z, 0-9 and `-`; default: the first label of the host's name.
    pub name: String,
}

/// `[[interface]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Name as `ip link` shows it, at most 15 bytes; required, and named once.
    pub name: String,
    /// What is behind it; default `lan`.
    pub side: Side,
    /// How XDP is attached; default `auto`.
    pub mode: AttachMode,
    /// Zone of its flows: equal addresses in two zones are two devices; zone number, default 0, 0..=65535.
    pub zone: u16,
}

/// `[kernel]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Directory of the BPF file system where links and maps are pinned, absolute and without dots;
    /// default `/sys/fs/bpf/campus-sensor`.
    pub bpffs: PathBuf,
    /// Flows known at one time, about 200 bytes of kernel memory each; flows, default 262144,
    /// 1024..=16777216.
    pub flows_max: u32,
    /// Distinct names kept for records, about 340 bytes each; names, default 65536, 1024..=4194304.
    pub names_max: u32,
    /// Listed names of a policy, 9 bytes each, and as much again while one policy replaces the other; names,
    /// default 1048576, 1024..=16777216.
    pub domains_max: u32,
    /// Handshakes kept at one time whose hello comes in several segments, about 5.5 KiB each; handshakes,
    /// default 6144, 64..=262144.
    pub handshake_slots: u32,
    /// Ring of verdict events, a power of two; KiB, default 1024, 64..=65536.
    pub verdict_ring_kib: u32,
    /// Ring of flow-end events, a power of two; KiB, default 4096, 64..=65536.
    pub flow_end_ring_kib: u32,
}

/// `[normaliser]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Normaliser {
    /// Anomalies that are counted and let through. Segments with any other are dropped while a handshake
    /// is read: no correct receiver takes them, or their sender sends them again. Default: none.
    #[serde(serialize_with = "names")]
    pub observe: Vec<Anomaly>,
}

impl Normaliser {
    /// One bit for each anomaly whose segments are dropped.
    pub fn dropped(&self) -> u32 {
        let dropped = Anomaly::ALL.iter().filter(|anomaly| !self.observe.contains(anomaly));
        dropped.fold(0, |mask, anomaly| mask | 1 << *anomaly as u8)
    }
}

fn names<S: Serializer>(anomalies: &[Anomaly], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(anomalies.iter().map(|anomaly| anomaly.name()))
}

/// `[quic]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quic {
    /// Whether names are read of QUIC. Where not, or where the kernel does not take the stage that does, policy
    /// decides by the reason `quic-unsupported`; default `true`. Effective with the next start.
    pub read: bool,
    /// QUIC Initials that are opened for one device, beyond 320 at once; Initials per second, default 200,
    /// 20..=10000.
    pub initials_per_second: u32,
    /// For how long QUIC without an Initial does not pass between a client and a server behind a block of the two;
    /// s, default 60, 0..=3600.
    pub hold_s: u32,
}

/// `[flow]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Silence that ends a flow which is not an established TCP connection; s, default 60, 5..=3600.
    pub idle_timeout_s: u32,
    /// Silence that ends an established TCP connection, never shorter than the other; s,
    /// default 600, 5..=86400.
    pub tcp_idle_timeout_s: u32,
    /// How often a long flow gets a record; s, default 300, 10..=86400.
    pub active_timeout_s: u32,
    /// How long after FIN or RST stragglers still belong to the flow; ms, default 2000, 0..=60000.
    pub linger_ms: u32,
    /// How long a blocked flow is remembered after its last packet; s, default 180, 30..=3600.
    pub blocked_hold_s: u32,
    /// How often the flow table is swept; ms, default 1000, 100..=60000.
    pub sweep_interval_ms: u32,
}

/// `[policy]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Policy file, absolute; default `/etc/campus-sensor/policy.toml`. Where policies come as bundles,
    /// `current/policy.toml` below `dir`.
    pub file: PathBuf,
    /// Directory that `lists apply` keeps bundles in, absolute; default `/var/lib/campus-sensor/policy`.
    pub dir: PathBuf,
    /// Public keys of minisign that bundles may be signed by: each a key, or the absolute path of a file with one.
    /// Default: none, and no bundle is applied.
    pub keys: Vec<String>,
    /// What a bundle must not do.
    pub guard: Guard,
}

/// `[policy.guard]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// How much more or fewer names a bundle may have, in all and in each category, without `--accept growth`;
    /// percent, default 25, 1..=1000.
    pub growth_max_percent: u32,
    /// What share of the flows that passed of late it may block without `--accept over-blocking`; percent, default 2,
    /// 0..=100.
    pub over_block_max_percent: u32,
    /// Names that no bundle may block, nor any name below them, beside the helplines that are built in. Default: none.
    pub never_block: Vec<String>,
}

/// `[identity]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Domains of this campus, as in `smith@college.example` and `COLLEGE\smith`: users of them are named without. Default:
    /// none, and users keep what they come with.
    pub domains: Vec<String>,
    /// Whether the kernel's table of neighbours tells which device is at an address: for a gateway with an address in the
    /// networks of its devices; default `false`.
    pub neighbours: bool,
    /// RADIUS accounting.
    pub radius: Radius,
    /// The User-ID XML API.
    pub user_id: UserId,
    /// Leases of DHCP servers.
    pub leases: Leases,
}

/// `[identity.user_id]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserId {
    /// Address and port that requests come to, over HTTP; default: none, and nothing is listened to.
    pub listen: Option<SocketAddr>,
    /// Prefixes of those who may tell; required where something is listened to.
    pub clients: Vec<IpNet>,
    /// File with the key that they have, absolute, and not for others to read;
    /// default `/etc/campus-sensor/user-id.key`.
    pub key_file: PathBuf,
    /// For how long a login holds that names no timeout; minutes, default 45, 1..=1440.
    pub timeout_min: u32,
}

/// `[identity.leases]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leases {
    /// Files of Kea's memfile backend, of either family, absolute; default: none.
    pub kea: Vec<PathBuf>,
    /// Files of dnsmasq, absolute; default: none.
    pub dnsmasq: Vec<PathBuf>,
    /// Files of ISC dhcpd, absolute; default: none.
    pub dhcpd: Vec<PathBuf>,
}

/// `[identity.radius]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Radius {
    /// Address and port that requests come to, port 1813 by RFC 2866; default: none, and nothing is listened to.
    pub listen: Option<SocketAddr>,
    /// Prefixes of those who may account; required where something is listened to.
    pub clients: Vec<IpNet>,
    /// File with the secret that they share, absolute, and not for others to read;
    /// default `/etc/campus-sensor/radius.secret`.
    pub secret_file: PathBuf,
    /// For how long a session holds that nothing is told of: twice what clients send interim updates in, or the longest
    /// session where they send none; s, default 86400, 60..=604800.
    pub session_s: u32,
}

/// `[privacy]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Privacy {
    /// What records have in place of users, host names and MAC addresses: `off`, these themselves; `keyed`, a pseudonym
    /// that stays; `daily`, another one each day; default `off`.
    pub pseudonyms: Pseudonymise,
    /// File with the key of pseudonyms, absolute, and for its owner alone; made by the daemon where there is none.
    /// Default `/etc/campus-sensor/pseudonym.key`.
    pub key_file: PathBuf,
    /// File that is written to before anybody learns whom a pseudonym stands for, absolute;
    /// default `/var/lib/campus-sensor/reidentified.jsonl`.
    pub audit_file: PathBuf,
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spool {
    /// Directory of the spool's file, absolute; default `spool` below `store.dir`.
    pub dir: PathBuf,
    /// Bytes of the file that records may take before the oldest go, allowed ones first; MiB, default 1024, 4..=1048576.
    pub size_mib: u32,
    /// Full days before today that records may wait; days, default 7, 1..=365.
    pub days: u32,
    /// File with the key that records are encrypted with there, 64 hexadecimal digits, absolute, and for its owner alone;
    /// default: none, and they are not.
    pub key_file: Option<PathBuf>,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Store {
    /// Directory of the day files, absolute; default `/var/lib/campus-sensor`.
    pub dir: PathBuf,
    /// Full days kept before today; days, default 30, 1..=3650.
    pub retention_days: u32,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Socket the command line talks to, absolute, at most 107 bytes;
    /// default `/run/campus-sensor/control.sock`.
    pub socket: PathBuf,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Least serious level that is logged; default `info`.
    pub level: LogLevel,
}

/// What is behind an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Devices of the campus.
    Lan,
    /// A mirror port: both directions arrive, nothing is enforced.
    Tap,
}

impl Side {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Tap => "tap",
        }
    }
}

impl From<Side> for sensor_ebpf::abi::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Lan => Self::Lan,
            Side::Tap => Self::Tap,
        }
    }
}

/// How XDP is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// In the driver where it can, else in the stack.
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the stack.
    Generic,
}

impl AttachMode {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something needs attention.
    Warn,
    /// Something changed.
    Info,
    /// For whoever looks into a problem; the first level that may show addresses and names.
    Debug,
    /// For whoever develops.
    Trace,
}

impl LogLevel {
    /// The name in the file, which is the filter `tracing` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Config {
    /// Reads and checks a file. The host's name stands in for a sensor without one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let bytes = File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if bytes as u64 > FILE_BYTES_MAX {
            return Err(unreadable(std::io::Error::other("it is larger than 1 MiB")));
        }
        // A sandbox may hide it; the stand-in for an empty name is good enough there.
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::parse(&text, path, &host_name)
    }

    /// Checks the text of a file. `path` is for messages only.
    pub fn parse(text: &str, path: &Path, host_name: &str) -> Result<Self, ConfigError> {
        let mut problems = error::Problems::of(text);
        let raw: raw::RawConfig = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => return Err(problems.syntax(&error, path)),
        };
        let config = check::check(raw, host_name, &mut problems);
        problems.finish(path, config)
    }
}
