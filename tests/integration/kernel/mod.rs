//! The loaded programs by `BPF_PROG_TEST_RUN`: no network, root needed.

mod accounting;
mod addresses;
mod budget;
mod dns;
mod dns_parity;
mod dns_replies;
mod dns_stream;
mod groups;
mod hammer;
mod honesty;
mod killed;
mod link;
mod locked;
mod malformed;
mod pages;
mod parity;
mod ports;
mod quic;
mod records;
mod rejudge;
mod requests;
mod resets;
mod reused;
mod split;
mod swaps;
pub(super) mod verdicts;

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use anyhow::Result;
use sensor_ebpf::abi::{
    DomainEntry, Flow, FlowEndEvent, FlowKey, GroupMasks, NoName, Page, Side, VerdictEvent,
};
use sensor_ebpf::cursor::Cursor;
use sensor_ebpf::parse::Packet;
use sensor_lab::frames::Frame;
use sensor_user::kernel::attach::Mode;
use sensor_user::kernel::control::ControlCell;
use sensor_user::kernel::counters::{Counters, Totals};
use sensor_user::kernel::events::Rings;
use sensor_user::kernel::flows::FlowTable;
use sensor_user::kernel::lab::memory::Memory;
use sensor_user::kernel::object::{Clock, Object, Sizes};
use sensor_user::kernel::tables::{PolicyImage, PolicyTables};
use sensor_user::kernel::test_run::{Outcome, TEST_IFINDEX};

/// Bit of the category that [`Bench::block_with`] blocks.
const CATEGORY: u8 = 5;

/// The programs behind one interface.
pub(super) struct Bench {
    pub(super) object: Object,
    pub(super) control: ControlCell,
    tables: PolicyTables,
    counters: Counters,
    pub(super) flows: FlowTable,
    rings: Rings,
    memory: Memory,
    sizes: Sizes,
}

/// Benches no test has. Verifying the programs takes a second, and half a minute where a processor is emulated: a
/// bench serves one test behind the other, which finds its maps empty.
static IDLE: Mutex<Vec<Bench>> = Mutex::new(Vec::new());

/// A bench, until the test is over.
pub(super) struct Lent(Option<Bench>);

impl Lent {
    /// For a test that takes it apart.
    fn keep(mut self) -> Bench {
        self.0.take().expect("lent until dropped")
    }
}

impl Deref for Lent {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        self.0.as_ref().expect("lent until dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Bench {
        self.0.as_mut().expect("lent until dropped")
    }
}

impl Drop for Lent {
    /// What a failed test left is nobody's to build on.
    fn drop(&mut self) {
        if let Some(bench) = self.0.take().filter(|_| !thread::panicking()) {
            IDLE.lock().expect("no test fails with it").push(bench);
        }
    }
}

impl Bench {
    #[expect(clippy::new_ret_no_self, reason = "a bench is lent")]
    pub(super) fn new(side: Side) -> Result<Lent> {
        Self::with_sizes(side, Sizes::SMALL)
    }

    fn with_sizes(side: Side, sizes: Sizes) -> Result<Lent> {
        let mut idle = IDLE.lock().expect("no test fails with it");
        let found = idle.iter().position(|bench| bench.sizes == sizes).map(|at| idle.remove(at));
        drop(idle);
        let mut bench = match found {
            Some(bench) => bench.forget()?,
            None => Self::load(sizes, None)?,
        };
        bench.begin(side)?;
        Ok(Lent(Some(bench)))
    }

    fn begin(&mut self, side: Side) -> Result<()> {
        self.control.report_all();
        self.control.drop_anomalies(u32::MAX);
        self.control.set_replay_clock(1);
        Ok(self.counters.watch("lo", TEST_IFINDEX, 0, 0, side, Mode::Native)?)
    }

    fn load(sizes: Sizes, pins: Option<&Path>) -> Result<Self> {
        let mut object = Object::load(sizes, Clock::Replay, pins)?;
        let memory = Memory::of(&object)?;
        let control = ControlCell::open(&object)?;
        let tables = PolicyTables::open(&mut object, sizes.domains)?;
        let counters = Counters::open(&mut object)?;
        let flows = FlowTable::open(&mut object)?;
        let rings = Rings::open(&mut object)?;
        Ok(Self { object, control, tables, counters, flows, rings, memory, sizes })
    }

    /// As it was when it was loaded, but for another key of the name hash.
    fn forget(mut self) -> Result<Self> {
        self.memory.forget()?;
        self.flows.begin_again();
        self.tables.forget()?;
        while self.rings.next_verdict().is_some() || self.rings.take_flow_end().is_some() {}
        self.control = ControlCell::open(&self.object)?;
        Ok(self)
    }

    /// Blocks these names for everybody.
    pub(super) fn block(&mut self, names: &[&str]) -> Result<()> {
        self.block_both(names, &[])
    }

    /// Blocks flows without a name for these reasons, for everybody.
    pub(super) fn block_reasons(&mut self, reasons: &[NoName]) -> Result<()> {
        self.block_both(&[], reasons)
    }

    pub(super) fn block_both(&mut self, names: &[&str], reasons: &[NoName]) -> Result<()> {
        let entry = DomainEntry { categories: 1, list: 3, canary: 0, reserved: [0; 5] };
        let domains = names.iter().map(|name| ((*name).to_owned(), entry)).collect();
        let block_no_name = reasons.iter().fold(0, |mask, reason| mask | 1 << *reason as u8);
        let masks = GroupMasks { block: 1, block_no_name, ..GroupMasks::default() };
        let image =
            PolicyImage { domains, groups: vec![(0, masks, Vec::new())], ..PolicyImage::default() };
        self.tables.push(&self.control, &image, |_| Ok(()))?;
        Ok(())
    }

    /// Blocks a name for everybody, with this block page.
    fn block_with(&mut self, name: &str, page: &Page) -> Result<()> {
        let entry = DomainEntry { categories: 1 << CATEGORY, ..DomainEntry::default() };
        let masks = GroupMasks { block: 1 << CATEGORY, ..GroupMasks::default() };
        let image = PolicyImage {
            domains: vec![(name.to_owned(), entry)],
            groups: vec![(0, masks, Vec::new())],
            pages: vec![(0, CATEGORY, *page)],
            ..PolicyImage::default()
        };
        self.tables.push(&self.control, &image, |_| Ok(()))?;
        Ok(())
    }

    /// Puts a policy in force.
    pub(super) fn push(&mut self, image: &PolicyImage) -> Result<u32> {
        Ok(self.tables.push(&self.control, image, |_| Ok(()))?)
    }

    /// Somebody logs in at an address, into a group, or out.
    fn log_in(&mut self, address: IpAddr, group: Option<u16>) -> Result<()> {
        Ok(self.tables.log_in(&self.control, address, group)?)
    }

    pub(super) fn run(&mut self, frame: &Frame) -> Result<Outcome> {
        Ok(self.object.run_xdp(&frame.bytes())?)
    }

    pub(super) fn run_egress(&mut self, frame: &Frame) -> Result<Outcome> {
        Ok(self.object.run_egress(&frame.bytes())?)
    }

    pub(super) fn flow(&self, frame: &Frame) -> Option<Flow> {
        self.flows.get(&key(frame))
    }

    pub(super) fn verdict(&mut self) -> Option<VerdictEvent> {
        self.rings.next_verdict().and_then(|sample| VerdictEvent::decode(&sample))
    }

    fn flow_end(&mut self) -> Option<FlowEndEvent> {
        self.rings.take_flow_end().and_then(|sample| FlowEndEvent::decode(&sample))
    }

    pub(super) fn ingress(&self) -> Result<Totals> {
        Ok(self.counters.totals(0, sensor_ebpf::abi::Direction::Ingress)?)
    }

    fn egress(&self) -> Result<Totals> {
        Ok(self.counters.totals(0, sensor_ebpf::abi::Direction::Egress)?)
    }
}

/// The flow a frame from a device belongs to.
fn key(frame: &Frame) -> FlowKey {
    FlowKey::from_lan(&packet(&frame.bytes()), 0)
}

fn packet(frame: &[u8]) -> Packet {
    Packet::parse(Cursor::new(frame), frame.len() as u32).expect("a packet")
}

/// A small generator (xorshift64*), so that a failing case can be run again.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }
}
