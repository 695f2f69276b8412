//! From the flow table and its events to records.
//!
//! [`due()`] says when a flow is due for a record, [`build`] makes it, and the [`Assembler`] here applies
//! both to the table: on flow-end events, after their linger, and on a sweep that finds everything else.
//!
//! A record is made of a flow that stays where it is until the store has the record; only then the flow
//! leaves the table, or what is recorded of it is remembered beside it. So a daemon that dies loses no
//! record, and one that starts again counts nothing twice: [`Assembler::reconcile`] is given what the store
//! has and is not yet remembered. An event that is all that is left of a flow stays in its ring as long.

mod balance;
mod build;
mod due;
mod ends;
mod held;
mod known;
mod part;
pub mod rates;
mod reconcile;

pub use balance::Honesty;
pub use build::Clocks;
pub use due::{Due, Timeouts, due};

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use sensor_ebpf::abi::{Flow, FlowKey, Recorded, Verdict, Volume};

use self::balance::{Amount, Balance, TICK_NS};
use self::due::Stand;
use self::held::Held;
use self::part::{Delta, Part};
use self::rates::Meter;
use self::reconcile::Earlier;
use crate::identity::Directory;
use crate::kernel::KernelError;
use crate::kernel::flows::{Entry, FlowTable, Taken};
use crate::policy::generations::Generations;
use crate::record::{EndReason, Record};

/// Who this is, in every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Configured name of the sensor.
    pub sensor: String,
    /// Boot id of the machine.
    pub boot: String,
}

/// A record on its way to the store, and the flow it is of.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The record.
    pub record: Record,
    /// What waits for the store to have it.
    pub of: Waiting,
}

/// What waits for a record to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The flow with this key in the table.
    Flow(FlowKey),
    /// The entry of a flow that nobody finds any more.
    Entry(Entry),
    /// No flow: an event is all that is left of it, or the kernel's hash map has let it go.
    Nothing,
}

/// A record the store does not have yet.
#[derive(Clone, Copy)]
struct Pending {
    recorded: Recorded,
    /// The flow leaves the table when it has.
    last: bool,
    /// The record tells of a block.
    blocked: bool,
    /// How the flow stood: one that stands otherwise goes on.
    stand: Stand,
}

/// Makes records of flows.
pub struct Assembler {
    table: FlowTable,
    timeouts: Timeouts,
    builder: build::Builder,
    /// Closed flows and when their stragglers have had their time, in order.
    lingering: VecDeque<(u64, FlowKey)>,
    pending: HashMap<FlowKey, Pending>,
    /// Flows that have a record, and were not blocked when the last one was made.
    unblocked: HashSet<FlowKey>,
    ready: Vec<Ready>,
    /// Records that were made since the start.
    made: u64,
    /// Flows that go without a further record.
    over: Vec<(FlowKey, Pending)>,
    /// What is recorded of flows whose entry went with another one, by key and beginning, until their event comes.
    displaced: HashMap<(FlowKey, u64), Recorded>,
    /// Events that are in their ring until the store has what they tell.
    held: Held,
    /// What a daemon before this one may have told of events that are still in the ring.
    earlier: Earlier,
    /// Events that were sent until then are heard.
    heard_ns: u64,
    balance: Balance,
    /// What passes now, for whoever looks.
    rates: Option<Meter>,
}

/// Closed flows waiting out their linger; beyond it the sweep finds them.
const LINGERING_MAX: usize = 1 << 20;

/// Records on their way before no further ones are made: flows wait in their table. Some tenths of a second of the store's
/// work, so that it begins soon with what a sweep finds. What a daemon that starts has to look at is bounded by it.
pub const UNSETTLED_MAX: usize = 1 << 14;

impl Assembler {
    /// An assembler whose next record has number `sequence`.
    pub fn new(
        table: FlowTable,
        timeouts: Timeouts,
        identity: Identity,
        interfaces: Vec<(u32, String)>,
        generations: Arc<Generations>,
        sequence: u64,
    ) -> Self {
        let builder = build::Builder::new(identity, interfaces, generations, sequence);
        Self {
            table,
            timeouts,
            builder,
            lingering: VecDeque::new(),
            pending: HashMap::new(),
            unblocked: HashSet::new(),
            ready: Vec::new(),
            made: 0,
            over: Vec::new(),
            displaced: HashMap::new(),
            held: Held::default(),
            earlier: Earlier::default(),
            heard_ns: u64::MAX,
            balance: Balance::default(),
            rates: None,
        }
    }

    /// Tells what passes now, as sweeps see it.
    pub fn tell_rates(&mut self, rates: Meter) {
        self.rates = Some(rates);
    }

    /// Says in records who was at the device's address when the flow began, as the directory knows it.
    pub fn name_devices(&mut self, directory: Arc<Directory>) {
        self.builder.name_devices(directory);
    }

    /// False while so many records are on their way that no more are made.
    pub const fn has_room(&self) -> bool {
        self.held.unsettled(self.made) < UNSETTLED_MAX as u64
    }

    /// Whether every record that was made is where it must be.
    pub const fn is_settled(&self) -> bool {
        self.held.unsettled(self.made) == 0
    }

    /// Records the closed flows whose linger is over.
    pub fn lingered(&mut self, clocks: Clocks) -> Result<(), KernelError> {
        while let Some((until, key)) = self.lingering.front().copied() {
            if until > clocks.now_ns {
                break;
            }
            self.lingering.pop_front();
            if let Some(flow) = self.table.get(&key) {
                self.visit(&key, &flow, clocks);
            }
        }
        self.let_go(clocks)
    }

    /// Looks at every flow of the table.
    pub fn sweep(&mut self, clocks: Clocks) -> Result<usize, KernelError> {
        let (live, _) = self.sweep_and_sum(clocks)?;
        Ok(live)
    }

    /// The same, and holds what records and table have against what the interfaces counted. Takes some milliseconds more,
    /// in which `counted` is asked twice, each time when every packet that was counted is in its flow.
    pub fn sweep_and_look(
        &mut self,
        counted: impl Fn() -> Result<Volume, KernelError>,
        now: impl Fn() -> Clocks,
    ) -> Result<usize, KernelError> {
        let clocks = now();
        let before = counted()?;
        FlowTable::wait_for_packets();
        let books = self.balance.books();
        let (live, sum) = self.sweep_and_sum(clocks)?;
        FlowTable::wait_for_packets();
        let after = counted()?;
        self.balance.look(books + sum, (before, after), (clocks.now_ns, now().now_ns));
        Ok(live)
    }

    /// Every event is known by now that was sent before the last look's end.
    pub fn conclude_look(&mut self) -> Honesty {
        self.balance.conclude()
    }

    /// How many flows there are, and what they have.
    fn sweep_and_sum(&mut self, clocks: Clocks) -> Result<(usize, Amount), KernelError> {
        let (mut live, mut sum) = (0, Amount::default());
        let mut found = Vec::new();
        let mut rates = self.rates.take();
        if let Some(rates) = &mut rates {
            rates.begin_sweep(clocks.now_ns);
        }
        let scanned = self.table.scan(|key, flow| {
            live += 1;
            sum += flow.into();
            if let Some(rates) = &mut rates {
                rates.see(key, flow, |hash| self.table.name(hash));
            }
            // For more there is no room now: they are due at the next sweep too.
            if found.len() < UNSETTLED_MAX && self.due(key, flow, clocks).is_some() {
                found.push((*key, *flow));
            }
        });
        if let Some(rates) = &mut rates {
            rates.end_sweep();
        }
        self.rates = rates;
        scanned?;
        for (key, flow) in found {
            self.visit(&key, &flow, clocks);
        }
        self.let_go(clocks)?;
        Ok((live, sum))
    }

    /// The flows there are.
    pub fn all(&self) -> Result<Vec<FlowKey>, KernelError> {
        let mut found = Vec::new();
        self.table.scan(|key, _| found.push(*key))?;
        Ok(found)
    }

    /// Records what is not recorded of these flows: nothing is lost if the machine goes down next. Those that must wait
    /// for the store stay in `left`; those that have only just begun are the next daemon's.
    pub fn record_all(&mut self, left: &mut Vec<FlowKey>, clocks: Clocks) {
        left.retain(|key| {
            let Some(flow) = self.table.get(key).filter(|flow| self.is_heard_of(flow)) else {
                return false;
            };
            if !self.may_record(key, &flow) {
                return true;
            }
            let over = flow.is_closed() && !due::is_blocked(&flow) && !flow.is_unsettled();
            let reason = if over { EndReason::EndOfFlow } else { EndReason::ActiveTimeout };
            self.record(key, &flow, reason, over, clocks);
            false
        });
    }

    /// Dies, and leaves the flow table as it is.
    #[cfg(feature = "lab")]
    pub fn into_table(self) -> FlowTable {
        self.table
    }

    /// The flow table it works on.
    pub const fn table(&self) -> &FlowTable {
        &self.table
    }

    /// Records made since the last call, in order of their numbers.
    pub fn take_ready(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    /// The store has the records that these waited for.
    pub fn committed(&mut self, waiting: &[Waiting], clocks: Clocks) -> Result<(), KernelError> {
        let mut settled = Vec::with_capacity(waiting.len());
        self.held.stored(waiting.len() as u64);
        for one in waiting {
            match one {
                Waiting::Flow(key) => {
                    settled.extend(self.pending.remove(key).map(|pending| (*key, pending)));
                }
                Waiting::Entry(entry) => self.table.free(Some(*entry)),
                Waiting::Nothing => {}
            }
        }
        self.settle(&settled, clocks)
    }

    /// Lets recorded flows go, or remembers what is recorded of them.
    fn settle(
        &mut self,
        settled: &[(FlowKey, Pending)],
        clocks: Clocks,
    ) -> Result<(), KernelError> {
        let mut over = Vec::new();
        for (key, Pending { recorded, last, blocked, .. }) in settled {
            if *last || *blocked {
                self.unblocked.remove(key);
            } else {
                self.unblocked.insert(*key);
            }
            self.table.remember(key, recorded)?;
            if *last {
                over.push(*key);
            }
        }
        let settled: HashMap<_, _> = settled.iter().map(|(key, pending)| (key, pending)).collect();
        // A new connection may have taken the key meanwhile: its flow and its verdict stay, and the
        // event that tells of the old one finds here what is recorded of it. Without room for an
        // event the two are one.
        let is_it = |key: &FlowKey, flow: &Flow| {
            settled.get(key).is_some_and(|Pending { recorded, stand, .. }| {
                recorded.first_ns == flow.first_ns && *stand == Stand::of(flow)
            })
        };
        let all_taken = self.table.take_if(&over, is_it)?;
        let gone: HashSet<FlowKey> = all_taken.iter().map(|taken| taken.key).collect();
        for key in over.iter().filter(|key| !gone.contains(*key)) {
            // What began without an event in a flow that was told to its end is a flow of its own.
            if let Some(Pending { recorded, .. }) = settled.get(key) {
                self.table.renew(key, recorded);
            }
        }
        for taken in all_taken {
            self.table.forget(&taken.key);
            self.leave(&taken.key, &taken.flow);
            let recorded = settled.get(&taken.key).map(|pending| pending.recorded);
            self.left(&Taken { recorded, ..taken }, clocks);
        }
        Ok(())
    }

    /// A flow has left the table.
    fn leave(&mut self, key: &FlowKey, flow: &Flow) {
        let Self { table, rates, .. } = self;
        if let Some(rates) = rates {
            rates.leave(key, flow, |hash| table.name(hash));
        }
    }

    /// Lets flows go that have their last record.
    fn let_go(&mut self, clocks: Clocks) -> Result<(), KernelError> {
        let over = std::mem::take(&mut self.over);
        self.settle(&over, clocks)
    }

    /// What a flow is due for and can have now, with what is recorded of it.
    fn due(&self, key: &FlowKey, flow: &Flow, clocks: Clocks) -> Option<(Due, Option<Recorded>)> {
        // What is recorded is asked for only where it could matter.
        if !self.timeouts.may_be_due(flow, clocks.now_ns) || !self.may_record(key, flow) {
            return None;
        }
        // Of a flow that was blocked since its record, the block is not told yet.
        let is_told = !(due::is_blocked(flow) && self.unblocked.contains(key));
        let recorded = self.table.recorded(key, flow).filter(|_| is_told);
        let due = due(flow, recorded.as_ref(), clocks.now_ns, &self.timeouts)?;
        Some((due, recorded))
    }

    fn visit(&mut self, key: &FlowKey, flow: &Flow, clocks: Clocks) {
        match self.due(key, flow, clocks) {
            None => {}
            // A blocked flow's record said that it was over: the rest, if any, is told apart.
            Some((Due::Last(_), Some(recorded))) if due::is_blocked(flow) => {
                let stand = Stand::of(flow);
                self.over.push((*key, Pending { recorded, last: true, blocked: true, stand }));
            }
            Some((Due::Last(reason), _)) => self.record(key, flow, reason, true, clocks),
            Some((Due::SoFar(reason), _)) => self.record(key, flow, reason, false, clocks),
        }
    }

    /// Whether a record of this flow can be made now. While one is on its way, or an event of a flow that had the key before is
    /// not told, what is noted beside the flow must stay.
    fn may_record(&self, key: &FlowKey, flow: &Flow) -> bool {
        self.has_room()
            && self.is_heard_of(flow)
            && !self.pending.contains_key(key)
            && !self.held.has(key)
    }

    /// Whether the event is heard by now of the flow whose place this one took, if it did.
    const fn is_heard_of(&self, flow: &Flow) -> bool {
        flow.first_ns.saturating_add(TICK_NS) <= self.heard_ns
    }

    /// Records what is new of a flow in the table.
    fn record(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        reason: EndReason,
        last: bool,
        clocks: Clocks,
    ) {
        let delta = Delta::of(flow, self.recorded(key, flow).as_ref());
        let is_news = last || reason == EndReason::ForcedEnd || !delta.is_empty();
        if !is_news {
            return;
        }
        let part = Part { flow_id: part::flow_id(key, flow), delta, reason };
        let record = self.build(key, flow, &part, clocks);
        self.balance.record(delta.amount());
        let recorded = Recorded {
            to_peer: flow.to_peer,
            to_lan: flow.to_lan,
            first_ns: flow.first_ns,
            recorded_ns: clocks.now_ns,
            sequence: record.sequence,
        };
        let blocked = record.verdict == Verdict::Block;
        let stand = Stand::of(flow);
        self.pending.insert(*key, Pending { recorded, last, blocked, stand });
        self.make_ready(record, Waiting::Flow(*key));
    }

    /// Lets the entry of a flow go that was taken out, once what came after its last record is told.
    fn left(&mut self, taken: &Taken, clocks: Clocks) {
        let Taken { key, flow, recorded, entry } = taken;
        // A connection took the key in the very moment: an event tells of the flow before.
        let is_other = |recorded: &Recorded| recorded.first_ns != flow.first_ns;
        if let Some(recorded) = recorded.filter(is_other) {
            self.displaced.insert((*key, recorded.first_ns), recorded);
        }
        let recorded = recorded.filter(|recorded| !is_other(recorded));
        let left = Delta::of(flow, recorded.as_ref());
        self.balance.leave(recorded.as_ref(), left.amount());
        if left.is_empty() {
            self.table.free(*entry);
        }
        let waiting = entry.map_or(Waiting::Nothing, Waiting::Entry);
        self.rest(key, flow, recorded.as_ref(), left, waiting, clocks);
    }

    /// Records what is left of a flow after its record, if anything, and is in no table any more: a flow of its own, from that
    /// record on. A flow without a record is told whole.
    fn rest(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        recorded: Option<&Recorded>,
        left: Delta,
        waiting: Waiting,
        clocks: Clocks,
    ) {
        if left.is_empty() {
            return;
        }
        let flow_id = part::rest_id(key, flow, recorded);
        let part = Part { flow_id, delta: left, reason: EndReason::EndOfFlow };
        let rest = recorded.map_or(*flow, |recorded| part::rest_of(flow, recorded));
        let record = self.build(key, &rest, &part, clocks);
        self.make_ready(record, waiting);
    }

    fn make_ready(&mut self, record: Record, of: Waiting) {
        self.made += 1;
        self.ready.push(Ready { record, of });
    }

    fn build(&mut self, key: &FlowKey, flow: &Flow, part: &Part, clocks: Clocks) -> Record {
        let table = &self.table;
        let (name, hello) = (|hash| table.name(hash), |key| table.hello(key));
        let answered = |flow: &FlowKey| table.answered(flow);
        let stores = known::Stores { name: &name, hello: &hello, answered: &answered };
        self.builder.record(key, flow, part, clocks, stores)
    }

    /// What of this flow is recorded, on its way to the store included.
    fn recorded(&self, key: &FlowKey, flow: &Flow) -> Option<Recorded> {
        let on_its_way = self.pending.get(key).map(|pending| pending.recorded);
        on_its_way
            .filter(|recorded| recorded.first_ns == flow.first_ns)
            .or_else(|| self.table.recorded(key, flow))
            .or_else(|| self.displaced.get(&(*key, flow.first_ns)).copied())
    }
}
