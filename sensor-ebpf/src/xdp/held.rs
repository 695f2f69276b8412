//! Pairs of a client and a server that a connection was blocked of a moment ago: QUIC goes on from other ports,
//! and between known ends without an Initial.

use sensor_ebpf::abi::{AnsweredKey, FlowKey};

use crate::maps::{self, HELD};

/// Holds the pair of a flow.
#[inline(always)]
pub(crate) fn hold(key: &FlowKey, now_ns: u64) {
    let until = now_ns + maps::control().map_or(0, |control| control.quic_hold_ns);
    // A map that takes no more forgets the oldest.
    let _held = HELD.insert(&AnsweredKey::of(key), &until, 0);
}

/// True while a pair is held.
#[inline(always)]
pub(crate) fn is_held(key: &FlowKey, now_ns: u64) -> bool {
    // SAFETY: the value is copied out at once.
    unsafe { HELD.get(&AnsweredKey::of(key)) }.is_some_and(|until| *until > now_ns)
}
