//! DNS messages (RFC 1035 section 4): the names a query asks for, and an answer made out of the query.
//!
//! [`MessageReader`] walks a message once and keeps where its questions lie; [`NameReader`] follows one
//! of their names, compressed or not; [`compose`] turns the query in the window into its answer. The
//! first two are machines that are stepped. [`Stream`] puts messages together that come over TCP.
//! [`Record::address`] is what is taken from a server's answer. Offsets count from the first byte of the
//! message.

mod answer;
mod message;
mod name;
mod reply;
mod stream;

use crate::parse::{Packet, TCP, UDP};

pub use answer::{ANSWER_MAX, ANSWER_TTL_S, Content, compose};
pub use message::{
    HEADER, MESSAGE_STEPS_MAX, MessageReader, QUESTIONS_MAX, RECORDS_MAX, Record, TYPE_A,
    TYPE_AAAA, TYPE_HTTPS, TYPE_SVCB,
};
pub use name::{HOPS_MAX, NAME_STEPS_MAX, NameReader};
pub use reply::{KEPT_MAX_S, KEPT_MIN_S, PRIVATE_USE, is_service, kept_ns};
pub use stream::{FIRST_OTHER, PREFIX, Stream, Whole};

/// Port of DNS over UDP and TCP.
pub const PORT: u16 = 53;

/// Names that devices look for to learn whether they may go round the network's resolver: Firefox with
/// DNS over HTTPS, Apple's with Private Relay. Where they do not exist, the devices do not.
pub const CANARIES: [&str; 3] =
    ["use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com"];

/// True for a datagram that could be a query.
#[inline(always)]
pub const fn is_query(packet: &Packet) -> bool {
    packet.protocol == UDP && packet.destination_port == PORT
}

/// True for a datagram that could be an answer. Each query of a flow is judged by itself, so one that
/// was blocked blocks neither the queries behind it nor what they are answered with.
#[inline(always)]
pub const fn is_answer(packet: &Packet) -> bool {
    packet.protocol == UDP && packet.source_port == PORT
}

/// True for a segment of a connection to a resolver.
#[inline(always)]
pub const fn is_segment(packet: &Packet) -> bool {
    packet.protocol == TCP && packet.destination_port == PORT
}

#[cfg(test)]
mod tests;
