//! `[[export]]`: where records go beside the store.

use std::fmt;
use std::path::PathBuf;

use sensor_ebpf::abi::Verdict;
use serde::{Deserialize, Serialize, Serializer};

use crate::export::fields::{Field, Fields};
use crate::export::protocol;

/// `[[export]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Name in `status` and metrics, 1 to 63 of a-z, 0-9 and `-`; required, and given once.
    pub name: String,
    /// The format; required.
    pub kind: ExportKind,
    /// Where it goes; required.
    pub target: Target,
    /// Fields of a record that go there; default: all.
    #[serde(serialize_with = "field_names")]
    pub fields: Fields,
    /// Private enterprise number of elements and structured data that IANA does not know; default 32473, which RFC 5612
    /// keeps for examples: no vendor has it. Give your own where you have one; number, default 32473, 1..=4294967294.
    pub enterprise: u32,
    /// Which records go there.
    pub filter: ExportFilter,
    /// When a file is put aside; of a file alone.
    pub rotate: Rotate,
    /// Of IPFIX alone.
    pub ipfix: Ipfix,
}

/// `[export.filter]`: records that fit every key. A key that is not there fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportFilter {
    /// Verdicts, one of which it has.
    #[serde(serialize_with = "verdict_names")]
    pub verdicts: Vec<Verdict>,
    /// IP protocols, one of which it has.
    #[serde(serialize_with = "protocol_names")]
    pub protocols: Vec<u8>,
    /// Groups, one of which its device was in.
    pub groups: Vec<String>,
    /// Categories, one of which its name has.
    pub categories: Vec<String>,
}

/// `[export.rotate]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rotate {
    /// Size a file is put aside at; MiB, default 100, 1..=65536.
    pub size_mib: u32,
    /// Age a file is put aside at; hours, default 24, 1..=8760.
    pub hours: u32,
    /// Files that are kept of those put aside, the newest; files, default 8, 0..=10000.
    pub keep: u32,
}

/// `[export.ipfix]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ipfix {
    /// Observation domain, which tells sensors behind one address apart; number, default 1, 1..=4294967295.
    pub domain: u32,
    /// How the two directions of a flow are told; default `uniflow`.
    pub directions: Directions,
}

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// Suricata's EVE JSON, a line an event.
    Eve,
    /// IPFIX (RFC 7011).
    Ipfix,
    /// Syslog (RFC 5424): blocks, alerts and evasions alone.
    Syslog,
}

impl ExportKind {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eve => "eve",
            Self::Ipfix => "ipfix",
            Self::Syslog => "syslog",
        }
    }

    /// Whether the format goes there.
    pub(super) const fn goes_to(self, target: &Target) -> bool {
        match target {
            Target::File(_) => matches!(self, Self::Eve),
            Target::Udp(_) => matches!(self, Self::Ipfix | Self::Syslog),
            Target::Tcp(_) => true,
        }
    }
}

/// How IPFIX tells the two directions of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directions {
    /// A record each: what every collector reads.
    Uniflow,
    /// One record with reverse elements (RFC 5103).
    Biflow,
}

impl Directions {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniflow => "uniflow",
            Self::Biflow => "biflow",
        }
    }
}

/// Where an export goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, absolute.
    File(PathBuf),
    /// A host and port, `tcp://HOST:PORT` in the file.
    Tcp(String),
    /// A host and port, `udp://HOST:PORT` in the file.
    Udp(String),
}

impl Target {
    /// Reads what the file says; none where it is neither an absolute path nor a URL of a host and port.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::File(text.into()));
        }
        let (scheme, address) = text.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let plain = |host: &str| !host.is_empty() && !host.contains([':', '/', ' ', '[', ']']);
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => plain(host),
        };
        if !is_host || port.parse::<u16>().ok().is_none_or(|port| port == 0) {
            return None;
        }
        match scheme {
            "tcp" => Some(Self::Tcp(address.to_owned())),
            "udp" => Some(Self::Udp(address.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Udp(address) => write!(f, "udp://{address}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn field_names<S: Serializer>(fields: &Fields, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(fields.iter().map(Field::name))
}

fn verdict_names<S: Serializer>(verdicts: &[Verdict], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(verdicts.iter().map(|verdict| verdict.name()))
}

fn protocol_names<S: Serializer>(protocols: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(protocols.iter().map(|number| protocol::name(*number)))
}
