//! The sensor on its test stand: loaded, watching the interface test frames come from, with a policy.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use sensor_ebpf::abi::{Direction, DomainEntry, Flow, FlowKey, GroupMasks, Side};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::Packet;
use sensor_user::kernel::attach::Mode;
use sensor_user::kernel::control::ControlCell;
use sensor_user::kernel::counters::{Counters, Totals};
use sensor_user::kernel::events::Rings;
use sensor_user::kernel::flows::FlowTable;
use sensor_user::kernel::lab::Lab;
use sensor_user::kernel::object::{Clock, Object, Sizes};
use sensor_user::kernel::tables::{PolicyImage, PolicyTables};
use sensor_user::kernel::test_run::{TEST_IFINDEX, action};

use crate::flows::Tables;
use crate::frames::{self, Path};
use crate::names::Lists;
use crate::payloads;

/// A name no list has: all its suffixes are looked up.
pub(crate) const UNLISTED: &str = "media.images.example.com";

/// A name below a listed one that is blocked for everyone.
pub(crate) const BLOCKED: &str = "media.images.blocked.example";

/// Listed names beside the blocked one.
const LISTED: u32 = 1000;

/// Where the interface of the test frames is counted.
pub(crate) const SLOT: u16 = 0;

/// The loaded programs and all that is around them.
pub(crate) struct Stand {
    pub(crate) object: Object,
    pub(crate) flows: FlowTable,
    pub(crate) rings: Rings,
    /// The baseline, and a mutator with nothing behind it.
    pub(crate) alone: Lab,
    pub(crate) lists: Lists,
    pub(crate) tables: Tables,
    pub(crate) counters: Counters,
    control: ControlCell,
    policy_tables: PolicyTables,
    policy: PolicyImage,
}

impl Stand {
    pub(crate) fn load() -> Result<Self> {
        Self::with(Sizes::SMALL)
    }

    /// One with other sizes.
    pub(crate) fn with(sizes: Sizes) -> Result<Self> {
        let mut object = Object::load(sizes, Clock::Live, None)?;
        let control = ControlCell::open(&object)?;
        let tables = PolicyTables::open(&mut object, sizes.domains)?;
        let flows = FlowTable::open(&mut object)?;
        let rings = Rings::open(&mut object)?;
        let counters = Counters::open(&mut object)?;
        let alone = Lab::load()?;
        let policy = policy();
        let mut stand = Self {
            object,
            flows,
            rings,
            alone,
            lists: Lists::default(),
            tables: Tables::default(),
            counters,
            control,
            policy_tables: tables,
            policy,
        };
        stand.watch(Side::Lan)?;
        stand.push_policy()?;
        Ok(stand)
    }

    /// What the interface of the test frames is to the sensor.
    pub(crate) fn watch(&mut self, side: Side) -> Result<()> {
        Ok(self.counters.watch("lo", TEST_IFINDEX, SLOT, 0, side, Mode::Native)?)
    }

    /// Puts the same policy in force anew, so that a flow shows whether it was judged since.
    pub(crate) fn push_policy(&mut self) -> Result<u32> {
        Ok(self.policy_tables.push(&self.control, &self.policy, |_generation| Ok(()))?)
    }

    pub(crate) fn totals(&self) -> Result<Totals> {
        Ok(self.counters.totals(SLOT, Direction::Ingress)?)
    }

    pub(crate) fn egress_totals(&self) -> Result<Totals> {
        Ok(self.counters.totals(SLOT, Direction::Egress)?)
    }

    /// Every flow there is.
    pub(crate) fn all_flows(&self) -> Result<Vec<Flow>> {
        let mut flows = Vec::new();
        self.flows.scan(|_key, flow| flows.push(*flow))?;
        Ok(flows)
    }

    /// Has the server of every flow answer by a QUIC packet with a short header; the flows behind that.
    pub(crate) fn answer_all(&mut self) -> Result<Vec<Flow>> {
        let mut keys = Vec::new();
        self.flows.scan(|key, _flow| keys.push(*key))?;
        let answer = payloads::short_header_packet();
        for key in keys {
            let path = Path {
                source: SocketAddr::new(key.peer_address.into(), key.peer_port),
                destination: SocketAddr::new(key.lan_address.into(), key.lan_port),
                vlan: None,
            };
            let outcome = self.object.run_egress(&frames::datagram(path, &answer))?;
            ensure!(outcome.action == action::CONTINUE, "an answer did not pass");
        }
        self.all_flows()
    }

    /// Takes the waiting verdicts; how many there were.
    pub(crate) fn drain_verdicts(&mut self) -> usize {
        std::iter::from_fn(|| self.rings.next_verdict()).count()
    }

    /// Takes the waiting ends of flows, so that the ring has room for more.
    pub(crate) fn drain_flow_ends(&mut self) {
        while self.rings.take_flow_end().is_some() {}
    }

    /// One frame that must have this outcome.
    pub(crate) fn play(&mut self, frame: &[u8], action: u32) -> Result<()> {
        let outcome = self.object.run_xdp(frame)?;
        ensure!(
            outcome.action == action,
            "a frame on the way to the scenario's state had action {}, not {action}",
            outcome.action
        );
        Ok(())
    }
}

/// Blocks one category; a thousand other names are listed.
fn policy() -> PolicyImage {
    const CATEGORY: u64 = 1 << 1;
    let blocked = DomainEntry { categories: CATEGORY, list: 1, canary: 0, reserved: [0; 5] };
    let other = DomainEntry { categories: CATEGORY << 1, ..blocked };
    let mut domains = vec![("blocked.example".to_owned(), blocked)];
    domains.extend((0..LISTED).map(|number| (format!("site{number}.example"), other)));
    let everyone = GroupMasks { block: CATEGORY, ..GroupMasks::default() };
    PolicyImage { domains, groups: vec![(0, everyone, Vec::new())], ..PolicyImage::default() }
}

/// The flow a LAN device's frame belongs to.
pub(crate) fn key_of(frame: &[u8]) -> Result<FlowKey> {
    let length = u32::try_from(frame.len())?;
    let packet = Packet::parse(Cursor::new(frame), length)
        .map_err(|skip| anyhow::anyhow!("the frame belongs to no flow: {skip:?}"))?;
    Ok(FlowKey::from_lan(&packet, 0))
}
