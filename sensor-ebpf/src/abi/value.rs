//! Enumerations: what was decided, and the reasons everything is counted under.

use super::ABI_VERSION;

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
        /// Question of a DNS query (RFC 1035 section 4.1.2): the name asked for in this very flow.
        Dns = 3 => "dns",
        /// A DNS answer that gave the device the flow's address, for a name it had asked for. Weaker: many
        /// names share an address. No verdict rests on it.
        DnsAnswer = 4 => "dns-answer",
        /// Server Name Indication of the `ClientHello` in a client's QUIC Initials (RFC 9001 section 4).
        Quic = 5 => "quic",
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
        /// The hello or head has not ended, or went on where it could not be kept.
        Truncated = 5 => "truncated",
        /// A length contradicts the bytes around it.
        Malformed = 6 => "malformed",
        /// The transport is not examined for names.
        NotExamined = 7 => "not-examined",
        /// The stage that reads names was not loaded.
        StageMissing = 8 => "stage-missing",
        /// The first packet seen was not a SYN, and no later segment started a hello.
        MidStream = 9 => "mid-stream",
        /// The name is in a class that is counted and not named.
        Unlogged = 10 => "unlogged",
        /// The flow had a name, but the store no longer has it.
        NameEvicted = 11 => "name-evicted",
        /// The hello is longer than is read (RFC 8446 section 4 allows 16 MiB, clients send 2 KiB).
        Oversize = 12 => "oversize",
        /// Two versions of one byte of the hello were sent.
        Evasion = 13 => "evasion",
        /// No slot was free to keep a split hello in.
        SlotFull = 14 => "slot-full",
        /// The device held its share of slots already.
        SlotShare = 15 => "slot-share",
        /// The slot was given to another flow: this one had been silent in the middle of a hello.
        SlotLost = 16 => "slot-lost",
        /// A fragment of an IP packet that could carry a hello.
        Fragment = 17 => "fragment",
        /// IPv6 extension headers that a receiver need not accept, or too many of them.
        ExtensionHeaders = 18 => "extension-headers",
        /// A further MPTCP subflow (RFC 8684 section 3.2): its bytes belong to another flow's stream.
        MptcpJoin = 19 => "mptcp-join",
        /// Bytes to the port of DNS that ask for no name: not DNS, an answer, or another operation.
        NoQuery = 20 => "no-query",
        /// A DNS query that ends within its questions.
        DnsTruncated = 21 => "dns-truncated",
        /// A DNS query with a name that is none, or with more questions than are read.
        DnsMalformed = 22 => "dns-malformed",
        /// A DNS name whose compression does not come to an end (RFC 1035 section 4.1.4).
        DnsCompression = 23 => "dns-compression",
        /// HTTP/2 without TLS, or a request to go on with it: its names are compressed (RFC 9113
        /// section 3.3, RFC 7540 section 3.2, RFC 7541).
        Http2 = 24 => "http2",
        /// An HTTP message whose end servers may see in different places (RFC 9112 section 6.3): two
        /// lengths, or codings that are none.
        HttpFraming = 25 => "http-framing",
        /// A QUIC version whose packets cannot be read, or one sent to be refused (RFC 9000 section 15).
        QuicVersion = 26 => "quic-version",
        /// Version negotiation (RFC 9000 section 17.2.1) from a client, which sends none.
        QuicNegotiation = 27 => "quic-negotiation",
        /// A QUIC Initial that opens with no keys that are known.
        QuicKeys = 28 => "quic-keys",
        /// The client has sent more QUIC Initials of late than are opened for one.
        QuicBudget = 29 => "quic-budget",
        /// QUIC, from a group that policy wants none from.
        QuicRefused = 30 => "quic-refused",
        /// QUIC without an Initial, between a client and a server that a connection was blocked of a moment ago.
        QuicHeld = 31 => "quic-held",
        /// QUIC, on a kernel that does not take the stage that reads it.
        QuicUnsupported = 32 => "quic-unsupported",
        /// QUIC as it was before its standard (Google's), whose packets are not read.
        Gquic = 33 => "gquic",
        /// DTLS (RFC 9147).
        Dtls = 34 => "dtls",
        /// UDP that is no QUIC.
        NotQuic = 35 => "not-quic",
        /// The port it goes to is listed, and that decided before a name could be seen.
        ListedPort = 36 => "listed-port",
        /// The address it goes to is listed, and that decided before a name could be seen.
        ListedAddress = 37 => "listed-address",
        /// The client has sent more names of late than are looked for among the locked ones.
        LockedBudget = 38 => "locked-budget",
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
        /// A reset or block page this sensor sent.
        OwnReset = 8 => "own-reset",
        /// Two CPUs were about to make the same flow: this one let the other. Judged by its bytes.
        FlowBusy = 9 => "flow-busy",
    }
}

/// Number of [`NoName`] values.
pub const NO_NAMES: usize = NoName::ALL.len();

wire_enum! {
    /// What is wrong with a segment that no correct receiver would take into its stream. Looked for
    /// while a handshake is examined, counted per interface, and dropped where that is configured.
    Anomaly {
        /// Flags that do not go together, or data without ACK (RFC 9293 section 3.10.7).
        IllegalFlags = 0 => "illegal-flags",
        /// Urgent data: the receiver takes a byte out of the stream (RFC 6093).
        Urgent = 1 => "urgent",
        /// A hop limit well below that of the connection's SYN: the segment may not arrive.
        HopLimit = 2 => "hop-limit",
        /// An MD5 signature (RFC 2385) that the SYN did not announce.
        Md5 = 3 => "md5",
        /// A timestamp older than the last one (PAWS, RFC 7323 section 5).
        OldTimestamp = 4 => "old-timestamp",
        /// Acknowledges what the other end has not sent, or long had acknowledged (RFC 5961 section 5).
        Acknowledgement = 5 => "acknowledgement",
        /// A wrong checksum, in a connection whose SYN had a right one.
        Checksum = 6 => "checksum",
        /// Payload in a SYN without a Fast Open cookie (RFC 7413 section 4.1.2).
        SynPayload = 7 => "syn-payload",
        /// Bytes of a handshake further ahead than are kept; the sender sends them again.
        OutOfWindow = 8 => "out-of-window",
        /// Another CPU was at work on the same handshake; the sender sends the segment again.
        SlotBusy = 9 => "slot-busy",
    }
}

/// Number of [`Anomaly`] values.
pub const ANOMALIES: usize = Anomaly::ALL.len();

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
        /// The driver carries no XDP metadata: the order for the client's reset went by a map.
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
        /// A packet without a flow that policy drops: a fragment, odd extension headers.
        UnreadDropped = 10 => "unread-dropped",
        /// A segment with an [`Anomaly`], dropped.
        AnomalyDropped = 11 => "anomaly-dropped",
        /// A hello was put together from several segments.
        HelloAssembled = 12 => "hello-assembled",
        /// What a hello offers could not be kept for records.
        HelloNotStored = 13 => "hello-not-stored",
        /// A DNS query answered here, in place of the server.
        DnsAnswered = 14 => "dns-answered",
        /// A DNS query that should be answered here, and was dropped because it could not be.
        DnsAnswerFailed = 15 => "dns-answer-failed",
        /// A DNS answer whose addresses were kept with the name that was asked for.
        AnswerNamed = 16 => "answer-named",
        /// A DNS answer with addresses for a name that its flow has not asked for last: not taken.
        AnswerUnasked = 17 => "answer-unasked",
        /// A DNS answer with HTTPS or SVCB records, which were renamed.
        ServiceRecordRenamed = 18 => "service-record-renamed",
        /// A client was sent a block page, or the way to one, in place of a reset.
        BlockPage = 19 => "block-page",
        /// A segment behind a block page, acknowledged so that the client can close.
        BlockedAcknowledged = 20 => "blocked-acknowledged",
        /// A client was told nothing of a block: it has been told too much of late.
        AnswerOverBudget = 21 => "answer-over-budget",
        /// A flow kept its verdict under another policy: its name was no longer known.
        NameForgotten = 22 => "name-forgotten",
    }
}

/// Number of [`Happening`] values.
pub const HAPPENINGS: usize = Happening::ALL.len();

wire_enum! {
    /// What a query for a blocked name is answered with.
    BlockedAnswer {
        /// There is no such name (RFC 2308 section 2.1).
        NxDomain = 0 => "nxdomain",
        /// The name has no record of this type (RFC 2308 section 2.2).
        NoData = 1 => "nodata",
        /// An address of the policy's; no record of any other type.
        Sinkhole = 2 => "sinkhole",
    }
}

wire_enum! {
    /// What becomes of HTTPS and SVCB records (RFC 9460), which carry keys for Encrypted Client Hello.
    HttpsRecords {
        /// They pass.
        Keep = 0 => "keep",
        /// Queries for them are answered here: there is none.
        NoData = 1 => "nodata",
        /// In answers over UDP their type becomes one for private use, which nobody looks for.
        Rename = 2 => "rename",
    }
}

wire_enum! {
    /// What becomes of QUIC.
    QuicRule {
        /// Its hellos are read and judged.
        Inspect = 0 => "inspect",
        /// It is dropped: browsers go on with TCP.
        Drop = 1 => "drop",
        /// It passes unread.
        Allow = 2 => "allow",
    }
}

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

wire_enum! {
    /// Why a flow-end event was sent.
    FlowEnd {
        /// FIN both ways or RST: the flow stays in the table for stragglers until user space takes it.
        Closed = 0 => "closed",
        /// A new connection took the key: this event holds the only copy of the old flow.
        Replaced = 1 => "replaced",
    }
}
