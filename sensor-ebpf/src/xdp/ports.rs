//! The port that a packet opens a flow to. Where it is listed and policy is against it, the flow ends before a
//! name could be seen; else the packet goes on as any other.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{DomainEntry, Happening, PortKey, Verdict};
use sensor_ebpf::flow::mark;
use sensor_ebpf::parse::UDP;

use crate::account::Row;
use crate::flows;
use crate::judge;
use crate::maps::{self, Examination, PORTS, STAGES, stage};

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    // The port first: few are listed, and the table of them is small.
    if let Some(entry) = maps::control().and_then(|control| listed(examination, control.policy))
        && !is_settled(examination)
        && judge::judge_port(examination, entry, row)
            .is_some_and(|decision| decision.is_enforced(examination))
    {
        return judge::reset(ctx, examination, row);
    }
    // SAFETY: same context; on failure control comes back.
    unsafe {
        if examination.packet.protocol == UDP {
            STAGES.tail_call(ctx, stage::QUIC);
        } else {
            STAGES.tail_call(ctx, stage::NORMALISE);
        }
    }
    row.happened(Happening::StageMissing);
    XDP_PASS
}

/// True of a flow whose port was judged, as its first packet came again or its hello is not whole; and of one that
/// the peer began: its port is the client's end.
#[inline(always)]
fn is_settled(examination: &Examination) -> bool {
    let Some(flow) = flows::find(&examination.event.key) else { return false };
    // SAFETY: the pointer is a live map value.
    let flow = unsafe { &*flow };
    flow.verdict != Verdict::Undecided as u8 || flow.marks & mark::PEER_INITIATED != 0
}

/// What the policy of this generation lists of the port.
#[inline(always)]
pub(crate) fn listed(examination: &Examination, policy: u32) -> Option<DomainEntry> {
    let key = PortKey {
        policy,
        port: examination.event.key.peer_port,
        protocol: examination.packet.protocol,
        reserved: 0,
    };
    // SAFETY: the value is copied out at once; a push writes other keys.
    unsafe { PORTS.get(key) }.copied()
}
