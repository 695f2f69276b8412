//! The information elements of a record. A further field is one row.
//!
//! IANA's elements come first, so that a collector that knows no others reads volumes, addresses and times. Our own are
//! numbered once and for all, below the configured enterprise; [`mod@super::templates`] tells collectors their names and
//! types (RFC 5610).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sensor_ebpf::abi::{NameSource, Verdict};

use crate::export::fields::{Field, Fields, Value};
use crate::record::{EndReason, Initiator, Record};

/// Bytes of an Ethernet header, which IPFIX does not count among a flow's octets.
const ETHERNET_BYTES: u64 = 14;

/// Who numbered an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// IANA.
    Iana,
    /// IANA, of the other direction: enterprise 29305 (RFC 5103 section 6.1).
    Reverse,
    /// We, below the configured enterprise.
    Own,
}

/// How a value is written (RFC 7011 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    U8,
    U16,
    U32,
    U64,
    /// `dateTimeMilliseconds`.
    Millis,
    /// 4 or 16 bytes, by the template's family; IPv6 has an element of its own.
    Address {
        id6: u16,
    },
    /// `macAddress`.
    Mac,
    /// A string of variable length (section 7).
    Text,
}

/// One column of a template.
pub(super) struct Element {
    pub(super) owner: Owner,
    pub(super) id: u16,
    /// IANA's name, or ours.
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Templates without this field have no such column. Ends of a flow are always there, as nothing where they are not to
    /// be told: collectors want them.
    pub(super) field: Option<Field>,
    pub(super) value: for<'a> fn(&Half<'a>) -> Value<'a>,
}

/// A record seen from one of its ends.
#[derive(Clone, Copy)]
pub(super) struct Half<'a> {
    pub(super) record: &'a Record,
    pub(super) fields: Fields,
    /// From the other end to the device.
    pub(super) is_back: bool,
}

/// What is told of one direction.
struct Way {
    source: IpAddr,
    source_port: u16,
    packets: u64,
    bytes: u64,
}

impl Half<'_> {
    const fn other(self) -> Self {
        Self { is_back: !self.is_back, ..self }
    }

    /// The device's MAC address, where the device is the sender or, `is_back`, the receiver; the router's is not told.
    fn mac(&self, is_back: bool) -> Value<'static> {
        Value::Mac(self.record.mac.filter(|_| self.is_back == is_back))
    }

    /// Sender and volume; zero where they are not to be told.
    fn way(&self) -> Way {
        let Record { device, device_port, peer, peer_port, .. } = self.record;
        let told = |field, value: u64| if self.fields.has(field) { value } else { 0 };
        let port = |field, port: u16| if self.fields.has(field) { port } else { 0 };
        let address = |field, address: IpAddr| match address {
            address if self.fields.has(field) => address,
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        if self.is_back {
            Way {
                source: address(Field::Peer, *peer),
                source_port: port(Field::PeerPort, *peer_port),
                packets: told(Field::PacketsToLan, self.record.packets_to_lan),
                bytes: told(Field::BytesToLan, self.record.bytes_to_lan),
            }
        } else {
            Way {
                source: address(Field::Device, *device),
                source_port: port(Field::DevicePort, *device_port),
                packets: told(Field::PacketsToPeer, self.record.packets_to_peer),
                bytes: told(Field::BytesToPeer, self.record.bytes_to_peer),
            }
        }
    }
}

impl Way {
    /// Octets from the IP header on, as far as is known: tags of VLANs and padding are among them.
    const fn octets(&self) -> u64 {
        self.bytes.saturating_sub(self.packets.saturating_mul(ETHERNET_BYTES))
    }
}

const fn element(
    owner: Owner,
    id: u16,
    name: &'static str,
    form: Form,
    field: Option<Field>,
    value: for<'a> fn(&Half<'a>) -> Value<'a>,
) -> Element {
    Element { owner, id, name, form, field, value }
}

/// Elements that tell a field as it is.
macro_rules! plain {
    ($owner:expr, $id:literal, $name:literal, $form:expr, $field:ident) => {
        element($owner, $id, $name, $form, Some(Field::$field), |half| {
            Field::$field.value(half.record)
        })
    };
}

use Form::{Address, Mac, Millis, Text, U8, U16, U32, U64};
use Owner::{Iana, Own, Reverse};

/// Of every record, in the order of the templates.
pub(super) const ELEMENTS: &[Element] = &[
    plain!(Iana, 152, "flowStartMilliseconds", Millis, Start),
    plain!(Iana, 153, "flowEndMilliseconds", Millis, End),
    element(Iana, 8, "sourceIPv4Address", Address { id6: 27 }, None, |half| {
        Value::Address(half.way().source)
    }),
    element(Iana, 12, "destinationIPv4Address", Address { id6: 28 }, None, |half| {
        Value::Address(half.other().way().source)
    }),
    element(Iana, 7, "sourceTransportPort", U16, None, |half| number(half.way().source_port)),
    element(Iana, 11, "destinationTransportPort", U16, None, |half| {
        number(half.other().way().source_port)
    }),
    plain!(Iana, 4, "protocolIdentifier", U8, Protocol),
    element(Iana, 56, "sourceMacAddress", Mac, Some(Field::Mac), |half| half.mac(false)),
    element(Iana, 80, "destinationMacAddress", Mac, Some(Field::Mac), |half| half.mac(true)),
    plain!(Iana, 371, "userName", Text, User),
    element(Iana, 2, "packetDeltaCount", U64, None, |half| number(half.way().packets)),
    element(Iana, 1, "octetDeltaCount", U64, None, |half| number(half.way().octets())),
    element(Iana, 352, "layer2OctetDeltaCount", U64, None, |half| number(half.way().bytes)),
    element(Iana, 61, "flowDirection", U8, None, |half| number(half.is_back)),
    element(Iana, 239, "biflowDirection", U8, Some(Field::Initiator), |half| {
        number(biflow_direction(half))
    }),
    element(Iana, 136, "flowEndReason", U8, Some(Field::EndReason), |half| {
        number(end_reason(half.record.end_reason))
    }),
    element(Iana, 89, "forwardingStatus", U8, Some(Field::Verdict), |half| {
        number(forwarding_status(half.record.verdict))
    }),
    plain!(Iana, 148, "flowId", U64, FlowId),
    plain!(Iana, 234, "ingressVRFID", U32, Zone),
    plain!(Iana, 82, "interfaceName", Text, Interface),
    element(Iana, 460, "httpRequestHost", Text, Some(Field::Name), http_host),
    plain!(Iana, 96, "applicationName", Text, Application),
    plain!(Own, 1, "name", Text, Name),
    plain!(Own, 2, "nameSource", Text, NameSource),
    plain!(Own, 3, "noName", Text, NoName),
    plain!(Own, 4, "verdict", Text, Verdict),
    plain!(Own, 5, "categories", Text, Categories),
    plain!(Own, 6, "list", Text, List),
    plain!(Own, 7, "policy", Text, Policy),
    plain!(Own, 8, "group", Text, Group),
    plain!(Own, 9, "tlsVersion", Text, TlsVersion),
    plain!(Own, 10, "alpn", Text, Alpn),
    plain!(Own, 11, "ech", U8, Ech),
    plain!(Own, 12, "ja4", Text, Ja4),
    plain!(Own, 13, "quicVersion", Text, QuicVersion),
    plain!(Own, 14, "quicDatagrams", U8, QuicDatagrams),
    plain!(Own, 15, "boot", Text, Boot),
    plain!(Own, 16, "sequence", U64, Sequence),
    plain!(Own, 17, "schemaVersion", U16, SchemaVersion),
    plain!(Own, 18, "hostName", Text, HostName),
    plain!(Own, 19, "macRandomised", U8, MacRandomised),
    plain!(Own, 20, "identitySource", Text, IdentitySource),
    plain!(Own, 21, "identityConfidence", Text, IdentityConfidence),
];

/// Of records that tell both directions, behind the others.
pub(super) const REVERSE: &[Element] = &[
    element(Reverse, 2, "reversePacketDeltaCount", U64, None, |half| {
        number(half.other().way().packets)
    }),
    element(Reverse, 1, "reverseOctetDeltaCount", U64, None, |half| {
        number(half.other().way().octets())
    }),
    element(Reverse, 352, "reverseLayer2OctetDeltaCount", U64, None, |half| {
        number(half.other().way().bytes)
    }),
];

/// The name, where HTTP gave it.
fn http_host<'a>(half: &Half<'a>) -> Value<'a> {
    let is_http = half.record.name_source == NameSource::Http;
    Value::Text(half.record.name.as_deref().filter(|_| is_http))
}

fn number<'a>(value: impl Into<u64>) -> Value<'a> {
    Value::Number(Some(value.into()))
}

/// `biflowDirection` (RFC 5103 section 6.3): 0 nobody knows, 1 the source opened the flow, 2 the destination did.
const fn biflow_direction(half: &Half<'_>) -> u8 {
    match (half.record.initiator, half.is_back) {
        (Initiator::Unknown, _) => 0,
        (Initiator::Lan, false) | (Initiator::Peer, true) => 1,
        (Initiator::Lan, true) | (Initiator::Peer, false) => 2,
    }
}

/// `flowEndReason`, IANA's numbers.
const fn end_reason(reason: EndReason) -> u8 {
    match reason {
        EndReason::IdleTimeout => 1,
        EndReason::ActiveTimeout => 2,
        EndReason::EndOfFlow => 3,
        EndReason::ForcedEnd => 4,
        EndReason::LackOfResources => 5,
    }
}

/// `forwardingStatus`, IANA's numbers: dropped by an ACL, else forwarded.
const fn forwarding_status(verdict: Verdict) -> u8 {
    const FORWARDED: u8 = 64;
    const ACL_DENY: u8 = 129;
    match verdict {
        Verdict::Block => ACL_DENY,
        Verdict::Undecided | Verdict::Allow | Verdict::Alert => FORWARDED,
    }
}
