//! A slot: what is kept of one handshake whose hello came in more than one segment.

/// Bytes kept: those that came ahead of others, and the last ones read, to compare with what is sent
/// again. Two segments of a post-quantum hello take half of it.
pub const SLOT_BYTES: usize = 4096;

/// One handshake under examination.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Slot {
    /// Bytes of the stream, at their offset modulo [`SLOT_BYTES`].
    pub bytes: [u8; SLOT_BYTES],
    /// One bit for each byte that came ahead of others.
    pub covered: [u64; SLOT_BYTES / 64],
}
