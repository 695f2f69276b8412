//! What of a flow a record tells, and the number it goes by.

use sensor_ebpf::abi::{Flow, FlowKey, Recorded, Volume};

use super::balance::Amount;
use crate::record::EndReason;

/// What one record tells of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) flow_id: u64,
    pub(super) delta: Delta,
    pub(super) reason: EndReason,
}

/// What of a flow is in no record yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) to_peer: Volume,
    pub(super) to_lan: Volume,
}

impl Delta {
    pub(super) fn of(flow: &Flow, recorded: Option<&Recorded>) -> Self {
        let recorded = recorded.copied().unwrap_or_default();
        Self {
            to_peer: minus(flow.to_peer, recorded.to_peer),
            to_lan: minus(flow.to_lan, recorded.to_lan),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.to_peer.packets + self.to_lan.packets == 0
    }

    pub(super) fn amount(&self) -> Amount {
        Amount::from(self.to_peer) + self.to_lan.into()
    }
}

const fn minus(total: Volume, recorded: Volume) -> Volume {
    Volume {
        packets: total.packets.saturating_sub(recorded.packets),
        bytes: total.bytes.saturating_sub(recorded.bytes),
    }
}

/// What came of a flow after its last record, as a flow of its own. Of a record that is known from the store only it is not known
/// when it was made.
pub(super) fn rest_of(flow: &Flow, recorded: &Recorded) -> Flow {
    Flow { first_ns: recorded.recorded_ns.min(flow.last_ns), ..*flow }
}

/// The same for all records of a flow; another flow of the same key starts at another time.
pub(super) fn flow_id(key: &FlowKey, flow: &Flow) -> u64 {
    hash(&bytes(key, flow))
}

/// The same for what came of a flow after its last record. It is made of what records have, which the store tells as well as
/// the table: whichever daemon asks finds out whether there is a record of the rest.
pub(super) fn rest_id(key: &FlowKey, flow: &Flow, recorded: Option<&Recorded>) -> u64 {
    let Some(Recorded { to_peer, to_lan, .. }) = recorded else { return flow_id(key, flow) };
    let mut bytes = bytes(key, flow);
    for number in [to_peer.packets, to_peer.bytes, to_lan.packets, to_lan.bytes] {
        bytes.extend(number.to_be_bytes());
    }
    hash(&bytes)
}

fn bytes(key: &FlowKey, flow: &Flow) -> Vec<u8> {
    let FlowKey { lan_address, peer_address, lan_port, peer_port, zone, protocol, .. } = key;
    let mut bytes = Vec::with_capacity(96);
    bytes.extend(lan_address.octets());
    bytes.extend(peer_address.octets());
    for number in [lan_port, peer_port, zone] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.push(*protocol);
    bytes.extend(flow.first_ns.to_be_bytes());
    bytes
}

/// FNV-1a, so that a daemon of another build finds the same flow under the same id.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
