//! What one step of a reader came to.

use crate::abi::NoName;

/// Outcome of one step. Readers are machines that are stepped, by `bpf_loop` in the kernel and by a
/// plain loop on the host, so that the verifier sees each step once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Step again.
    More,
    /// All bytes at hand are read, and there must be more.
    Pause,
    /// What was looked for was found, or the message is over.
    Found,
    /// There is none.
    Stop(NoName),
}
