//! Where a packet opens a flow to. Where the port or the address is listed and policy is against it, the flow ends
//! before a name could be seen; else the packet goes on as any other.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::{
    DomainEntry, Flow, GroupMasks, Happening, NoName, PREFIX_LEAD, PortKey, Prefix, Verdict, uses,
};
use sensor_ebpf::dns::is_query;
use sensor_ebpf::flow::{Phase, mark};
use sensor_ebpf::parse::{TCP, UDP};
use sensor_ebpf::policy::decide;

use crate::account::Row;
use crate::judge::{self, Decision};
use crate::maps::{self, Examination, PORTS, PREFIXES, STAGES, sight, stage};
use crate::{dns, flows, group};

#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    let Some(examination) = maps::examination() else { return XDP_PASS };
    let Some(row) = Row::find(examination.counters) else { return XDP_PASS };
    if decide_opening(ctx, examination, row)
        .is_some_and(|decision| decision.is_enforced(examination))
    {
        return judge::reset(ctx, examination, row);
    }
    // SAFETY: same context; on failure control comes back.
    unsafe {
        match examination.packet.protocol {
            TCP => STAGES.tail_call(ctx, stage::NORMALISE),
            UDP if is_query(&examination.packet) => {
                examination.sight &= !sight::FOLLOWED;
                examination.dns.judged = 0;
                examination.dns.stream = dns::DATAGRAM;
                STAGES.tail_call(ctx, stage::DNS);
            }
            UDP => STAGES.tail_call(ctx, stage::QUIC),
            // It carries no name.
            _ => return XDP_PASS,
        }
    }
    row.happened(Happening::StageMissing);
    XDP_PASS
}

/// Decides by where the flow goes, once. `None`: it goes on.
#[inline(always)]
fn decide_opening(ctx: &XdpContext, examination: &mut Examination, row: Row) -> Option<Decision> {
    let control = maps::control()?;
    let policy = control.policy;
    let uses = group::uses_of(policy);
    examination.epoch = control.epoch(policy, examination.event.key.lan_address);
    let is_fresh = match flows::of(examination) {
        // SAFETY: the pointer is a live map value.
        Some(flow) => open(ctx, examination, unsafe { &mut *flow }, policy, uses),
        // The table is full.
        None => true,
    };
    if !is_fresh {
        return None;
    }
    let listed = Listed::find(examination, policy, uses)?;
    let group = judge::group_now(ctx, examination, policy);
    listed.decide(examination, policy, group, row)
}

/// Notes what is to be known of a flow from its first packet on. False where it is decided already, as a first packet may
/// come again, and where the peer began: its port is the client's end.
#[inline(always)]
fn open(
    ctx: &XdpContext,
    examination: &mut Examination,
    flow: &mut Flow,
    policy: u32,
    uses: u32,
) -> bool {
    let packet = &examination.packet;
    let carries_names = packet.protocol == TCP || packet.protocol == UDP && !is_query(packet);
    if !carries_names {
        // The next packet comes here no more.
        flow.phase = Phase::Done as u8;
    }
    if flow.judged == 0 {
        // What is listed later ends it, though it may never have a name.
        flow.judged = examination.epoch;
    }
    if uses & uses::FLEETING != 0 && flow.policy == 0 {
        flow.group = judge::group_now(ctx, examination, policy) as u16;
        flow.policy = policy;
    }
    flow.verdict == Verdict::Undecided as u8 && flow.marks & mark::PEER_INITIATED == 0
}

/// What is listed of a port or an address; no category where nothing is. Of an entry that may be missing the compiler
/// would hand on registers that nothing was written to, which the verifier refuses.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) categories: u64,
    pub(crate) list: u16,
}

impl Entry {
    const NONE: Self = Self { categories: 0, list: 0 };

    #[inline(always)]
    const fn of(entry: &DomainEntry) -> Self {
        Self { categories: entry.categories, list: entry.list }
    }

    #[inline(always)]
    const fn verdict(self, masks: &GroupMasks) -> Verdict {
        if self.categories == 0 { Verdict::Allow } else { decide(self.categories, masks) }
    }
}

/// What is listed of where a flow goes.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    port: Entry,
    address: Entry,
}

impl Listed {
    /// `None`: nothing is.
    #[inline(always)]
    pub(crate) fn find(examination: &Examination, policy: u32, uses: u32) -> Option<Self> {
        let key = &examination.event.key;
        let port = if uses & uses::PORTS != 0 {
            let (port, protocol) = (key.peer_port, examination.packet.protocol);
            // SAFETY: the value is copied out at once; a push writes other keys.
            unsafe { PORTS.get(PortKey { policy, port, protocol, reserved: 0 }) }
                .map_or(Entry::NONE, Entry::of)
        } else {
            Entry::NONE
        };
        let address = if uses & uses::ADDRESSES != 0 {
            let prefix = Prefix::new(policy, key.peer_address);
            PREFIXES.get(Key::new(PREFIX_LEAD + 128, prefix)).map_or(Entry::NONE, Entry::of)
        } else {
            Entry::NONE
        };
        (port.categories | address.categories != 0).then_some(Self { port, address })
    }

    /// The strongest of what it says, the port first.
    #[inline(always)]
    fn strongest(self, masks: &GroupMasks) -> (Verdict, NoName, Entry) {
        let (by_port, by_address) = (self.port.verdict(masks), self.address.verdict(masks));
        if by_address == Verdict::Block && by_port != Verdict::Block || by_port == Verdict::Allow {
            (by_address, NoName::ListedAddress, self.address)
        } else {
            (by_port, NoName::ListedPort, self.port)
        }
    }

    #[inline(always)]
    fn decide(
        self,
        examination: &mut Examination,
        policy: u32,
        group: u32,
        row: Row,
    ) -> Option<Decision> {
        let (verdict, reason, entry) = self.strongest(&group::masks_of(group, policy));
        if verdict == Verdict::Allow {
            return None;
        }
        Some(judge::by_destination(examination, (policy, group), (verdict, reason, entry), row))
    }

    /// Decides once more about a flow that was judged before, where it says more against it than was decided then.
    #[inline(always)]
    pub(crate) fn decide_again(
        self,
        examination: &mut Examination,
        flow: &Flow,
        (policy, group): (u32, u32),
        row: Row,
    ) -> Option<Decision> {
        let (verdict, _, _) = self.strongest(&group::masks_of(group, policy));
        if verdict != Verdict::Block && flow.verdict == Verdict::Alert as u8 {
            return None;
        }
        self.decide(examination, policy, group, row)
    }
}
