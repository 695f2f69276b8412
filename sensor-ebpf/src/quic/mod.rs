//! A client's QUIC Initial packets: from a datagram to the pieces of a TLS hello in it.
//!
//! In the order of use: [`Kind`] tells what could be QUIC, [`Datagram`] finds the packets of a datagram, [`Connection`] knows the keys of an
//! Initial, or [`KeySchedule`] makes them of its connection ID, [`Opening`] takes its protection off where it
//! lies, [`FrameReader`] finds the CRYPTO frames in it, and [`Piece`] says where in the stream one belongs. All
//! that loops is stepped. The hello itself is for [`HelloReader`](crate::tls::HelloReader), which begins without
//! records.
//!
//! Versions 1 (RFC 9000, RFC 9001), 2 (RFC 9369) and draft-29 are read. The tag of AES-GCM is not checked:
//! keys of Initials are known to all who see them, so a forged packet has a right one.

mod aes;
mod connection;
mod crypto;
mod frames;
mod header;
mod keys;
mod kind;
mod protection;

pub use connection::{Connection, ConnectionId};
pub use crypto::{Piece, Place};
pub use frames::{FRAME_STEPS_MAX, Frame, FrameReader};
pub use header::{DATAGRAM_STEPS_MAX, Datagram, LongHeader, Packet, Version};
pub use keys::{KEY_STEPS_MAX, KeySchedule, Keys};
pub use kind::{FIRST_BYTES, Kind, PORTS, could_have_initial, is_port};
pub use protection::{OPENING_STEPS_MAX, Opened, Opening};

/// Why no hello is read of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It does not start as a connection of QUIC does.
    NotQuic,
    /// Version negotiation (RFC 9000 section 17.2.1), which no client sends.
    Negotiation,
    /// A version of Google's QUIC.
    Gquic,
    /// A version whose packets cannot be read, or one sent to be refused (RFC 9000 section 15).
    UnknownVersion,
    /// A packet ends behind the datagram, or behind the window: no browser's is so long.
    Truncated,
    /// A packet no endpoint would take: a field is out of bounds, or a frame does not belong in an Initial.
    Malformed,
    /// What came out of it is no packet: its keys are other ones, or it is noise.
    WrongKeys,
    /// CRYPTO frames reach further than a hello does.
    Oversize,
}

#[cfg(test)]
mod tests;
