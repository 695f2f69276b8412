//! Records for the tests of this crate.

use super::{
    Confidence, EndReason, Initiator, Mac, NameSource, NoName, RECORD_VERSION, Record, Source,
    Verdict,
};

/// 2026-03-10T12:00:00Z.
pub(crate) const NOON_US: i64 = 1_773_144_000_000_000;

/// A blocked flow with everything filled in, ended at [`NOON_US`].
pub(crate) fn record(sequence: u64) -> Record {
    Record {
        schema_version: RECORD_VERSION,
        sensor: "gw-1".to_owned(),
        boot: "9f0c1f8e-5d0a-4c39-9c5c-0a5a64a4a2d1".to_owned(),
        sequence,
        flow_id: u64::MAX - sequence,
        start_us: NOON_US - 1_500_000,
        end_us: NOON_US,
        device: [10, 0, 0, 5].into(),
        device_port: 50_123,
        mac: Some(Mac([0x02, 0x53, 0, 0, 0, 7])),
        mac_randomised: Some(true),
        host_name: Some("pc-17".to_owned()),
        user: Some("a.smith".to_owned()),
        identity_source: Some(Source::Radius),
        identity_confidence: Some(Confidence::Confirmed),
        peer: [192, 0, 2, 80].into(),
        peer_port: 443,
        protocol: 6,
        zone: 3,
        interface: "lan0".to_owned(),
        packets_to_peer: 4,
        bytes_to_peer: 900,
        packets_to_lan: 2,
        bytes_to_lan: 120,
        name: Some("casino.example.org".to_owned()),
        name_source: NameSource::Tls,
        no_name: NoName::Named,
        verdict: Verdict::Block,
        categories: vec!["adult".to_owned(), "gambling".to_owned()],
        list: Some("ut1".to_owned()),
        policy: Some("2026-03-09.1".to_owned()),
        group: Some("students".to_owned()),
        tls_version: Some("TLS 1.3".to_owned()),
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        ech: Some(true),
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
        application: Some("dot".to_owned()),
        quic_version: Some("1".to_owned()),
        quic_datagrams: Some(2),
        end_reason: EndReason::EndOfFlow,
        initiator: Initiator::Lan,
    }
}

/// A flow nothing is known of but its packets.
pub(crate) fn unnamed(sequence: u64) -> Record {
    Record {
        mac: None,
        mac_randomised: None,
        host_name: None,
        user: None,
        identity_source: None,
        identity_confidence: None,
        name: None,
        name_source: NameSource::None,
        no_name: NoName::NotTls,
        verdict: Verdict::Undecided,
        categories: Vec::new(),
        list: None,
        policy: None,
        group: None,
        tls_version: None,
        alpn: Vec::new(),
        ech: None,
        ja4: None,
        application: None,
        quic_version: None,
        quic_datagrams: None,
        end_reason: EndReason::IdleTimeout,
        initiator: Initiator::Unknown,
        ..record(sequence)
    }
}
