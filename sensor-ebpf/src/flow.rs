//! The life of a flow: keys, phases and the end of a TCP connection.

use crate::abi::{Flow, FlowKey};
use crate::parse::Packet;

/// Payload segments without the start of a hello or head after which a flow is `not-tls`.
/// STARTTLS dialogues (SMTP: greeting, EHLO, STARTTLS) need fewer than ten.
pub const EXAMINED_SEGMENTS_MAX: u8 = 16;

/// Resets sent in answer to one blocked flow: a client that ignores them is not worth more packets.
pub const RESETS_MAX: u8 = 16;
