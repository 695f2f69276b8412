//! The record: what leaves the data path, one for each flow at its end and one for each active timeout
//! of a long flow.
//!
//! Fields carry the name of the IPFIX information element they correspond to, where IANA has one.
//! There is no payload and no free text of a packet beyond the name and the application protocols a
//! hello offers: the type has no place for it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use sensor_ebpf::abi::{NameSource, NoName, Verdict};
use serde::{Deserialize, Serialize};

use crate::identity::{Confidence, Source};
use crate::policy::member::Mac;

#[cfg(test)]
pub(crate) mod sample;

/// Version of [`Record`]'s fields and of what they mean. A store or a sink keeps it beside them.
pub const RECORD_VERSION: u32 = 2;

/// An enumeration that is written by name: numbers are the kernel's own and may change with its ABI.
pub trait Named: Copy + PartialEq + 'static {
    /// What the enumeration is, for error messages.
    const WHAT: &'static str;

    /// Every value.
    fn all() -> &'static [Self];

    /// The name in records, in the store, in metrics and on the command line.
    fn text(self) -> &'static str;

    /// The value of that name.
    fn of(text: &str) -> Option<Self> {
        Self::all().iter().copied().find(|value| value.text() == text)
    }
}

/// Gives enumerations that already have `ALL` and `name()` their place in records.
macro_rules! named {
    ($($name:ty, $what:literal;)+) => {
        $(impl Named for $name {
            const WHAT: &'static str = $what;

            fn all() -> &'static [Self] {
                Self::ALL
            }

            fn text(self) -> &'static str {
                self.name()
            }
        })+
    };
}

named! {
    Verdict, "verdict";
    NameSource, "source of a name";
    NoName, "reason for no name";
    EndReason, "reason for a flow's end";
    Initiator, "initiator";
    Source, "source of an identity";
    Confidence, "confidence of an identity";
}

/// Why a record was written: the values of IPFIX `flowEndReason` (136).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// No packet for the idle timeout.
    IdleTimeout,
    /// The flow goes on: it was due for a record.
    ActiveTimeout,
    /// FIN from both sides, or a reset.
    EndOfFlow,
    /// The sensor was told to let go of the flow.
    ForcedEnd,
    /// The flow had to make room.
    LackOfResources,
}

impl EndReason {
    /// Every value, in IANA's order.
    pub const ALL: &'static [Self] = &[
        Self::IdleTimeout,
        Self::ActiveTimeout,
        Self::EndOfFlow,
        Self::ForcedEnd,
        Self::LackOfResources,
    ];

    /// The name in records, after IANA's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle-timeout",
            Self::ActiveTimeout => "active-timeout",
            Self::EndOfFlow => "end-of-flow",
            Self::ForcedEnd => "forced-end",
            Self::LackOfResources => "lack-of-resources",
        }
    }

    /// Whether the flow is over. Exactly one record of a flow says so.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::ActiveTimeout)
    }
}

/// Who opened the flow: the sender of the SYN, or of the first packet seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// The device on the LAN side.
    Lan,
    /// The other end.
    Peer,
    /// The opening was not seen.
    Unknown,
}

impl Initiator {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Lan, Self::Peer, Self::Unknown];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Peer => "peer",
            Self::Unknown => "unknown",
        }
    }
}

/// One flow, or one stretch of a long one.
///
/// `(sensor, boot, sequence)` identifies a record everywhere: whoever delivers twice is stored once,
/// and a missing number is a missing record.
///
/// ```
/// use sensor_user::record::{Record, display_name};
///
/// let line = r#"{"schema_version":1,"sensor":"gw-1","boot":"b","sequence":7,
///     "flow_id":"00000000000000ff","start_us":1,"end_us":2,"device":"10.0.0.5","device_port":50000,
///     "mac":"00:53:00:00:00:07","mac_randomised":false,"host_name":"pc-17","user":"a.smith",
///     "identity_source":"radius","identity_confidence":"confirmed",
///     "peer":"192.0.2.1","peer_port":443,"protocol":6,"zone":0,"interface":"lan0",
///     "packets_to_peer":3,"bytes_to_peer":900,"packets_to_lan":2,"bytes_to_lan":120,
///     "name":"example.org","name_source":"tls","no_name":"named","verdict":"block",
///     "categories":["adult"],"list":"ut1","policy":"3","group":"students",
///     "tls_version":"TLS 1.3","alpn":["h2","http/1.1"],"ech":false,
///     "ja4":"t13d1516h2_8daaf6152771_e5627efa2ab1","application":null,"end_reason":"end-of-flow","initiator":"lan"}"#;
/// let record: Record = serde_json::from_str(line)?;
/// assert_eq!(record.flow_id, 255);
/// assert_eq!(display_name(record.name.as_deref().unwrap_or("")), "example.org");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`RECORD_VERSION`] of the sensor that wrote it.
    pub schema_version: u32,
    /// Configured name of the sensor (`sensor.name`), at most 63 bytes.
    pub sensor: String,
    /// Boot id of the machine, from `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Number of the record, from 0, without gaps for one sensor and boot.
    pub sequence: u64,
    /// The flow, the same in all its records; `flowId` (148). Written as 16 hexadecimal digits,
    /// since readers of JSON round integers above 2^53.
    #[serde(with = "hexadecimal")]
    pub flow_id: u64,
    /// First packet of the flow, the same in all its records, µs since 1970 UTC;
    /// `flowStartMicroseconds` (154). From [`sensor_ebpf::abi::Flow::first_ns`].
    pub start_us: i64,
    /// Last packet before this record, µs since 1970 UTC; `flowEndMicroseconds` (155).
    /// From [`sensor_ebpf::abi::Flow::last_ns`]. Its UTC day is the day the record is kept under.
    pub end_us: i64,
    /// Address on the LAN side; `sourceIPv4Address` (8) or `sourceIPv6Address` (27) of the forward
    /// direction. IPv4 is never mapped into IPv6 here.
    pub device: IpAddr,
    /// Port on the LAN side; `sourceTransportPort` (7), 0 where the protocol has none.
    pub device_port: u16,
    /// The device, where it is known; `sourceMacAddress` (56). This and what follows of identity is as it was known at
    /// the flow's start, when the record was made; see [`crate::identity`].
    pub mac: Option<Mac>,
    /// The MAC address is made up (locally administered): the device will have another one elsewhere, or tomorrow.
    pub mac_randomised: Option<bool>,
    /// What the device calls itself, escaped as names are.
    pub host_name: Option<String>,
    /// Who used the device; `userName` (371). None: nobody knows, or sources contradict each other.
    pub user: Option<String>,
    /// Who told of the user; of the device, where no user is known.
    pub identity_source: Option<Source>,
    /// How well founded that is.
    pub identity_confidence: Option<Confidence>,
    /// Address of the other end; `destinationIPv4Address` (12) or `destinationIPv6Address` (28).
    pub peer: IpAddr,
    /// Port of the other end; `destinationTransportPort` (11), 0 where the protocol has none.
    pub peer_port: u16,
    /// IP protocol number; `protocolIdentifier` (4).
    pub protocol: u8,
    /// Configured zone of the interface: equal addresses in two zones are two devices.
    pub zone: u16,
    /// Interface of the first packet; `interfaceName` (82).
    pub interface: String,
    /// Packets from the device since the flow's last record; `packetDeltaCount` (2).
    pub packets_to_peer: u64,
    /// Wire bytes from the device since the flow's last record, from the Ethernet header on, without
    /// FCS; `layer2OctetDeltaCount` (352).
    pub bytes_to_peer: u64,
    /// Packets to the device since the flow's last record; `packetDeltaCount` (2), reverse
    /// (RFC 5103).
    pub packets_to_lan: u64,
    /// Wire bytes to the device since the flow's last record; `layer2OctetDeltaCount` (352), reverse.
    pub bytes_to_lan: u64,
    /// Canonical name the device asked for; `httpRequestHost` (460) where it came from HTTP. Where the
    /// source is `dns-answer`, the flow itself gave none: it is the name that the device had asked DNS for
    /// when it was given this address.
    pub name: Option<String>,
    /// What named the flow.
    #[serde(with = "by_name")]
    pub name_source: NameSource,
    /// Why the flow gave no name; `named` where it gave one.
    #[serde(with = "by_name")]
    pub no_name: NoName,
    /// What was decided; `forwardingStatus` (89) is the nearest element.
    #[serde(with = "by_name")]
    pub verdict: Verdict,
    /// Categories of the name under the policy the verdict was made with, sorted.
    pub categories: Vec<String>,
    /// List the deciding entry came from.
    pub list: Option<String>,
    /// Version of the policy the verdict was made with.
    pub policy: Option<String>,
    /// Group the device was in when the flow was judged.
    pub group: Option<String>,
    /// Highest version the device's TLS hello offers, in the words of Suricata's `tls.version`, which
    /// is the one agreed on. None in all four fields of the hello: no whole hello was read, the kernel
    /// no longer had it, or the name is one that is not recorded.
    pub tls_version: Option<String>,
    /// Application protocols the hello offers, in its order, escaped as names are; Suricata's
    /// `tls.client_alpns`. Empty where it offers none. See [`crate::hello::Offer::alpn`] for its limit.
    pub alpn: Vec<String>,
    /// The hello has an extension for an encrypted one: the name may not be the one meant. Browsers
    /// also send it with nothing inside, see [`crate::hello::Offer::ech`].
    pub ech: Option<bool>,
    /// JA4 fingerprint of the client, 36 characters; Suricata's `tls.ja4`. It tells programs apart, not
    /// people.
    pub ja4: Option<String>,
    /// Encrypted DNS: `dot` over TLS, `doq` over QUIC, by the protocol the hello offers (RFC 7858, RFC 9250)
    /// or by port 853, which says what was meant and proves nothing; `applicationName` (96).
    pub application: Option<String>,
    /// Version of QUIC of the last hello: `1`, `2` or `draft-29`; Suricata's `quic.version` tells the number.
    pub quic_version: Option<String>,
    /// Datagrams that the last whole hello came in, 255 at most.
    pub quic_datagrams: Option<u8>,
    /// Why the record was written; `flowEndReason` (136).
    #[serde(with = "by_name")]
    pub end_reason: EndReason,
    /// Who opened the flow; `biflowDirection` (239) tells the same of a biflow.
    #[serde(with = "by_name")]
    pub initiator: Initiator,
}

impl Record {
    /// Packets both ways.
    pub const fn packets(&self) -> u64 {
        self.packets_to_peer.saturating_add(self.packets_to_lan)
    }

    /// Wire bytes both ways.
    pub const fn bytes(&self) -> u64 {
        self.bytes_to_peer.saturating_add(self.bytes_to_lan)
    }
}

/// An address as the kernel keys flows by it: 16 bytes, IPv4 mapped into IPv6.
pub fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// A text that is safe to show: printable ASCII stays, every other byte becomes `\xNN`.
///
/// A terminal must not obey what a stranger chose. Names of records are such text already, see
/// [`name_of_bytes`], and are shown as they are.
pub fn display_name(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, 0x20..=0x7e);
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut shown = String::with_capacity(name.len() + 16);
    for byte in name.bytes() {
        if plain(byte) {
            shown.push(char::from(byte));
        } else {
            write!(shown, "\\x{byte:02x}").expect("a String takes all that is written");
        }
    }
    Cow::Owned(shown)
}

/// A name off the wire as records keep it: visible ASCII stays, every other byte and the backslash
/// become `\xNN`, so that a record holds text only and two names never become one. Spaces go too: a
/// table breaks lines at them, and what follows could pass for another row.
pub fn name_of_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            shown.push(char::from(*byte));
        } else {
            write!(shown, "\\x{byte:02x}").expect("a String takes all that is written");
        }
    }
    shown
}

/// Enumerations in JSON: their names.
mod by_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Named;

    pub(super) fn serialize<T: Named, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.text())
    }

    pub(super) fn deserialize<'de, T: Named, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        T::of(&text)
            .ok_or_else(|| D::Error::custom(format_args!("{text:?} is no {} here", T::WHAT)))
    }
}

/// Flow ids in JSON: 16 hexadecimal digits.
mod hexadecimal {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Named, address, display_name, sample};

    #[test]
    fn json_and_back_is_the_same_record() {
        for record in [sample::record(1), sample::unnamed(u64::MAX)] {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<super::Record>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn json_is_written_by_name() {
        let text = serde_json::to_string(&sample::record(1)).unwrap();
        for part in [
            r#""flow_id":"fffffffffffffffe""#,
            r#""verdict":"block""#,
            r#""end_reason":"end-of-flow""#,
            r#""initiator":"lan""#,
            r#""device":"10.0.0.5""#,
            r#""alpn":["h2","http/1.1"],"ech":true,"ja4":"t13d"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_value_of_another_version_is_an_error() {
        let text = serde_json::to_string(&sample::record(1)).unwrap();
        let newer = text.replace("end-of-flow", "heat-death");
        let error = serde_json::from_str::<super::Record>(&newer).unwrap_err().to_string();
        assert!(error.contains(r#""heat-death" is no reason for a flow's end here"#), "{error}");
    }

    #[test]
    fn hostile_names_are_escaped() {
        let check = |name: &str, shown: &str| assert_eq!(display_name(name), shown);
        check("www.example.org", "www.example.org");
        check("", "");
        check("a b", "a b");
        check("\u{1b}[2J", "\\x1b[2J");
        check("a\nb\tc\0", "a\\x0ab\\x09c\\x00");
        check("b\u{fc}cher", "b\\xc3\\xbccher");
        check("\u{202e}gro", "\\xe2\\x80\\xaegro");
        check("\\x1b[2J", "\\x1b[2J");
        check("\u{7f}", "\\x7f");
    }

    #[test]
    fn names_off_the_wire_are_visible_ascii() {
        let check = |name: &[u8], kept: &str| assert_eq!(super::name_of_bytes(name), kept);
        check(b"www.example.org", "www.example.org");
        check(b"a b", "a\\x20b");
        check(b"\xfc\\\n=", "\\xfc\\x5c\\x0a=");
        check(&[0xff; 255], &"\\xff".repeat(255));
    }

    #[test]
    fn addresses_of_the_kernel_are_unmapped() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 5]);
        assert_eq!(address(mapped).to_string(), "10.0.0.5");
        mapped[0] = 0x20;
        assert!(address(mapped).is_ipv6());
    }

    #[test]
    fn names_of_enumerations_are_unique() {
        fn check<T: Named + std::fmt::Debug>() {
            for value in T::all() {
                assert_eq!(T::of(value.text()), Some(*value), "{}", T::WHAT);
            }
        }
        check::<super::Verdict>();
        check::<super::NameSource>();
        check::<super::NoName>();
        check::<super::EndReason>();
        check::<super::Initiator>();
        check::<super::Source>();
        check::<super::Confidence>();
    }
}
