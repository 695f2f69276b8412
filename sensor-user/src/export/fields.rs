//! The fields of a record, each told once: its name, and its value for whatever format.

use std::net::IpAddr;

use crate::identity::{Confidence, Source};
use crate::policy::member::Mac;
use crate::record::Record;

/// A field's value, before a format writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A count or a number; none where it is not known.
    Number(Option<u64>),
    /// µs since 1970 UTC.
    Time(i64),
    /// An address.
    Address(IpAddr),
    /// An identifier, written as 16 hexadecimal digits where text is.
    Id(u64),
    /// Visible ASCII; none where it is not known.
    Text(Option<&'a str>),
    /// Texts without spaces.
    List(&'a [String]),
    /// Yes, no, or not known.
    Flag(Option<bool>),
    /// A MAC address; none where it is not known.
    Mac(Option<Mac>),
}

/// Declares [`Field`] with each field's name and value.
macro_rules! fields {
    ($($field:ident $name:literal = |$record:ident| $value:expr;)+) => {
        /// A field of [`Record`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "they are documented at the record")]
        pub enum Field { $($field,)+ }

        impl Field {
            /// Every field, in the record's order.
            pub const ALL: &'static [Self] = &[$(Self::$field,)+];

            /// The name in records.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)+ }
            }

            /// What a record has there.
            pub fn value(self, record: &Record) -> Value<'_> {
                match self { $(Self::$field => { let $record = record; $value })+ }
            }
        }
    };
}

fields! {
    SchemaVersion "schema_version" = |record| number(record.schema_version);
    Sensor "sensor" = |record| Value::Text(Some(&record.sensor));
    Boot "boot" = |record| Value::Text(Some(&record.boot));
    Sequence "sequence" = |record| number(record.sequence);
    FlowId "flow_id" = |record| Value::Id(record.flow_id);
    Start "start_us" = |record| Value::Time(record.start_us);
    End "end_us" = |record| Value::Time(record.end_us);
    Device "device" = |record| Value::Address(record.device);
    DevicePort "device_port" = |record| number(record.device_port);
    Mac "mac" = |record| Value::Mac(record.mac);
    MacRandomised "mac_randomised" = |record| Value::Flag(record.mac_randomised);
    HostName "host_name" = |record| Value::Text(record.host_name.as_deref());
    User "user" = |record| Value::Text(record.user.as_deref());
    IdentitySource "identity_source" = |record| Value::Text(record.identity_source.map(Source::name));
    IdentityConfidence "identity_confidence" = |record| {
        Value::Text(record.identity_confidence.map(Confidence::name))
    };
    Peer "peer" = |record| Value::Address(record.peer);
    PeerPort "peer_port" = |record| number(record.peer_port);
    Protocol "protocol" = |record| number(record.protocol);
    Zone "zone" = |record| number(record.zone);
    Interface "interface" = |record| Value::Text(Some(&record.interface));
    PacketsToPeer "packets_to_peer" = |record| number(record.packets_to_peer);
    BytesToPeer "bytes_to_peer" = |record| number(record.bytes_to_peer);
    PacketsToLan "packets_to_lan" = |record| number(record.packets_to_lan);
    BytesToLan "bytes_to_lan" = |record| number(record.bytes_to_lan);
    Name "name" = |record| Value::Text(record.name.as_deref());
    NameSource "name_source" = |record| Value::Text(Some(record.name_source.name()));
    NoName "no_name" = |record| Value::Text(Some(record.no_name.name()));
    Verdict "verdict" = |record| Value::Text(Some(record.verdict.name()));
    Categories "categories" = |record| Value::List(&record.categories);
    List "list" = |record| Value::Text(record.list.as_deref());
    Policy "policy" = |record| Value::Text(record.policy.as_deref());
    Group "group" = |record| Value::Text(record.group.as_deref());
    TlsVersion "tls_version" = |record| Value::Text(record.tls_version.as_deref());
    Alpn "alpn" = |record| Value::List(&record.alpn);
    Ech "ech" = |record| Value::Flag(record.ech);
    Ja4 "ja4" = |record| Value::Text(record.ja4.as_deref());
    Application "application" = |record| Value::Text(record.application.as_deref());
    QuicVersion "quic_version" = |record| Value::Text(record.quic_version.as_deref());
    QuicDatagrams "quic_datagrams" = |record| Value::Number(record.quic_datagrams.map(u64::from));
    EndReason "end_reason" = |record| Value::Text(Some(record.end_reason.name()));
    Initiator "initiator" = |record| Value::Text(Some(record.initiator.name()));
}

fn number<'a>(value: impl Into<u64>) -> Value<'a> {
    Value::Number(Some(value.into()))
}

impl Field {
    /// The field of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }

    const fn bit(self) -> u64 {
        1 << self as u64
    }
}

impl Value<'_> {
    /// As JSON in records; null where it is not known.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Number(number) => serde_json::json!(number),
            Self::Time(time_us) => serde_json::json!(time_us),
            Self::Address(address) => serde_json::json!(address),
            Self::Id(id) => serde_json::json!(format!("{id:016x}")),
            Self::Text(text) => serde_json::json!(text),
            Self::List(texts) => serde_json::json!(texts),
            Self::Flag(flag) => serde_json::json!(flag),
            Self::Mac(mac) => serde_json::json!(mac.map(|mac| mac.to_string())),
        }
    }

    /// As text; empty where it is not known. Texts of a list are separated by spaces, which none of them has.
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number.map(|number| number.to_string()).unwrap_or_default(),
            Self::Time(time_us) => time_us.to_string(),
            Self::Address(address) => address.to_string(),
            Self::Id(id) => format!("{id:016x}"),
            Self::Text(text) => text.unwrap_or_default().to_owned(),
            Self::List(texts) => texts.join(" "),
            Self::Flag(flag) => flag.map(|flag| flag.to_string()).unwrap_or_default(),
            Self::Mac(mac) => mac.map(|mac| mac.to_string()).unwrap_or_default(),
        }
    }
}

/// Some of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u64);

// Each field is a bit of a mask.
const _: () = assert!(Field::ALL.len() <= u64::BITS as usize);

impl Fields {
    /// Every field.
    pub const ALL: Self = Self(u64::MAX >> (u64::BITS as usize - Field::ALL.len()));

    /// No field.
    pub const NONE: Self = Self(0);

    /// These, and one more.
    #[must_use]
    pub const fn with(self, field: Field) -> Self {
        Self(self.0 | field.bit())
    }

    /// These without others.
    #[must_use]
    pub fn without(self, others: &[Field]) -> Self {
        Self(others.iter().fold(self.0, |mask, field| mask & !field.bit()))
    }

    /// Whether the field is among them.
    pub const fn has(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// Whether all of these fields are.
    pub fn have(self, fields: &[Field]) -> bool {
        fields.iter().all(|field| self.has(*field))
    }

    /// They, in the record's order.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.iter().copied().filter(move |field| self.has(*field))
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Fields};
    use crate::record::sample::{record, unnamed};
    use crate::schema::random::Random;

    #[test]
    fn they_are_the_records_fields_and_values() {
        let mut random = Random::new(2);
        let records = (0..200).map(|_| random.record()).chain([record(1), unnamed(2)]);
        for record in records {
            let written = serde_json::to_value(&record).unwrap();
            let written = written.as_object().unwrap();
            assert_eq!(written.len(), Field::ALL.len());
            for field in Field::ALL {
                assert_eq!(field.value(&record).json(), written[field.name()], "{}", field.name());
            }
        }
    }

    #[test]
    fn lists_as_text_can_be_told_apart() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let record = random.record();
            let text = Field::Alpn.value(&record).text();
            assert_eq!(text.split(' ').filter(|one| !one.is_empty()).count(), record.alpn.len());
        }
    }

    #[test]
    fn masks_hold_what_was_put_in() {
        assert_eq!(Fields::ALL.iter().count(), Field::ALL.len());
        assert_eq!(Fields::NONE.iter().count(), 0);
        for field in Field::ALL.iter().copied() {
            let one = Fields::NONE.with(field);
            assert_eq!(one.iter().collect::<Vec<_>>(), [field]);
            assert!(!Fields::ALL.without(&[field]).has(field));
            assert_eq!(Field::of(field.name()), Some(field));
        }
        assert_eq!(Field::of("payload"), None);
    }
}
