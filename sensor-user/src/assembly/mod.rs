//! From the flow table and its events to records.
//!
//! [`due()`] says when a flow is due for a record, [`build`] makes it, and the [`Assembler`] here applies
//! both to the table: on flow-end events, after their linger, and on a sweep that finds everything else.
//!
//! A record is made of a flow that stays where it is until the store has the record; only then the flow
//! leaves the table, or what is recorded of it is remembered beside it. So a daemon that dies loses no
//! record, and one that starts again counts nothing twice: [`Assembler::reconcile`] asks the store for
//! what was committed but not yet remembered.

mod balance;
mod build;
mod due;
mod known;
pub mod rates;
mod reconcile;

pub use balance::Honesty;
pub use build::Clocks;
pub use due::{Due, Timeouts, due};

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use sensor_ebpf::abi::{Flow, FlowEnd, FlowEndEvent, FlowKey, Recorded, Verdict, Volume};

use self::balance::{Amount, Balance};
use self::rates::Meter;
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
    /// What waits for the store to have it; nothing where the record is all that is left of its flow.
    pub of: Option<Waiting>,
}

/// What waits for a record to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The flow with this key in the table.
    Flow(FlowKey),
    /// The entry of a flow that nobody finds any more.
    Entry(Entry),
}

/// A record the store does not have yet.
#[derive(Clone, Copy)]
struct Pending {
    recorded: Recorded,
    /// The flow leaves the table when it has.
    last: bool,
    /// The record tells of a block.
    blocked: bool,
}

/// Makes records of flows.
pub struct Assembler {
    table: FlowTable,
    timeouts: Timeouts,
    builder: build::Builder,
    /// Closed flows and when their stragglers have had their time, in order.
    lingering: VecDeque<(u64, FlowKey)>,
    /// Flows found due, which nobody has looked at yet.
    found: VecDeque<FlowKey>,
    pending: HashMap<FlowKey, Pending>,
    /// Flows that have a record, and were not blocked when the last one was made.
    unblocked: HashSet<FlowKey>,
    ready: Vec<Ready>,
    /// Flows that go without a further record.
    over: Vec<(FlowKey, Pending)>,
    balance: Balance,
    /// What passes now, for whoever looks.
    rates: Option<Meter>,
}

/// Closed flows waiting out their linger; beyond it the sweep finds them.
const LINGERING_MAX: usize = 1 << 20;

/// Flows found due: twice as many as end in a second of a busy campus. Further ones are due at the next sweep too.
const FOUND_MAX: usize = 1 << 17;

/// Flows looked at before their records are handed on, so that a million of them never are in memory at once.
const VISITS_MAX: usize = 4096;

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
            found: VecDeque::new(),
            pending: HashMap::new(),
            unblocked: HashSet::new(),
            ready: Vec::new(),
            over: Vec::new(),
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

    /// Takes a flow-end event.
    pub fn flow_end(&mut self, event: &FlowEndEvent, clocks: Clocks) -> Result<(), KernelError> {
        match FlowEnd::try_from(event.end) {
            Ok(FlowEnd::Closed) if self.lingering.len() < LINGERING_MAX => {
                let until = event.time_ns.saturating_add(self.timeouts.linger_ns);
                self.lingering.push_back((until, event.key));
                Ok(())
            }
            // The event is all that is left of the flow.
            Ok(FlowEnd::Replaced) => {
                let (key, flow) = (event.key, event.flow);
                let recorded = self.recorded(&key, &flow);
                self.balance.replaced(event);
                self.leave(&key, &flow);
                self.rest(&Taken { key, flow, recorded, entry: None }, clocks);
                Ok(())
            }
            Ok(FlowEnd::Closed) | Err(_) => Ok(()),
        }
    }

    /// Finds the closed flows whose linger is over.
    pub fn lingered(&mut self, clocks: Clocks) {
        while let Some((until, key)) = self.lingering.front().copied() {
            if until > clocks.now_ns || self.found.len() >= FOUND_MAX {
                break;
            }
            self.lingering.pop_front();
            self.found.push_back(key);
        }
    }

    /// Records some of the flows that were found due; false when none is left.
    pub fn visit_found(&mut self, clocks: Clocks) -> Result<bool, KernelError> {
        let some = self.found.len().min(VISITS_MAX);
        for key in self.found.drain(..some).collect::<Vec<_>>() {
            if let Some(flow) = self.table.get(&key) {
                self.visit(&key, &flow, clocks);
            }
        }
        self.let_go(clocks)?;
        Ok(!self.found.is_empty())
    }

    /// Looks at every flow of the table, finds those that are due, and tells how many there are in all.
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
        // Whatever was not looked at is found again.
        let mut found = std::mem::take(&mut self.found);
        found.clear();
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
            if found.len() < FOUND_MAX && self.due(key, flow, clocks).is_some() {
                found.push_back(*key);
            }
        });
        if let Some(rates) = &mut rates {
            rates.end_sweep();
        }
        (self.rates, self.found) = (rates, found);
        scanned?;
        Ok((live, sum))
    }

    /// Every flow there is.
    pub fn keys(&self) -> Result<Vec<FlowKey>, KernelError> {
        let mut keys = Vec::new();
        self.table.scan(|key, _| keys.push(*key))?;
        Ok(keys)
    }

    /// Records what is not recorded of these flows, due or not: nothing is lost if the machine goes down next.
    pub fn record_all(&mut self, keys: &[FlowKey], clocks: Clocks) {
        for key in keys {
            let Some(flow) = self.table.get(key) else { continue };
            let over = flow.is_closed() && !due::is_blocked(&flow) && !flow.is_unsettled();
            let reason = if over { EndReason::EndOfFlow } else { EndReason::ActiveTimeout };
            self.record(key, &flow, reason, over, clocks);
        }
    }

    /// The flow table it works on.
    pub const fn table(&self) -> &FlowTable {
        &self.table
    }

    /// Records made since the last call, in order of their numbers.
    pub fn take_ready(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    /// Takes back records that could not be handed on. None was made since.
    pub fn put_back(&mut self, ready: Vec<Ready>) {
        self.ready = ready;
    }

    /// How many records there are to take.
    pub const fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The store has the records that these waited for.
    pub fn committed(&mut self, waiting: &[Waiting], clocks: Clocks) -> Result<(), KernelError> {
        let mut settled = Vec::with_capacity(waiting.len());
        for one in waiting {
            match one {
                Waiting::Flow(key) => {
                    settled.extend(self.pending.remove(key).map(|pending| (*key, pending)));
                }
                Waiting::Entry(entry) => self.table.free(Some(*entry)),
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
        for (key, Pending { recorded, last, blocked }) in settled {
            if *last || *blocked {
                self.unblocked.remove(key);
            } else {
                self.unblocked.insert(*key);
            }
            self.table.remember(key, recorded)?;
            // A new connection may have taken the key meanwhile: its flow and its verdict stay, and the
            // event that tells of the old one finds here what is recorded of it.
            let is_it = |flow: Flow| flow.first_ns == recorded.first_ns;
            if *last && self.table.get(key).is_some_and(is_it) {
                over.push(*key);
            }
        }
        let recorded: HashMap<_, _> =
            settled.iter().map(|(key, pending)| (key, pending.recorded)).collect();
        for taken in self.table.take(&over)? {
            self.table.forget(&taken.key);
            self.leave(&taken.key, &taken.flow);
            let recorded = recorded.get(&taken.key).copied();
            self.rest(&Taken { recorded, ..taken }, clocks);
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

    /// What a flow is due for, with what is recorded of it.
    fn due(&self, key: &FlowKey, flow: &Flow, clocks: Clocks) -> Option<(Due, Option<Recorded>)> {
        // What is recorded is asked for only where it could matter.
        if !self.timeouts.may_be_due(flow, clocks.now_ns) || self.pending.contains_key(key) {
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
                self.over.push((*key, Pending { recorded, last: true, blocked: true }));
            }
            Some((Due::Last(reason), _)) => self.record(key, flow, reason, true, clocks),
            Some((Due::SoFar(reason), _)) => self.record(key, flow, reason, false, clocks),
        }
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
        if self.pending.contains_key(key) || !is_news {
            return;
        }
        let record = self.build(key, flow, delta, reason, clocks);
        self.balance.record(delta.amount());
        let recorded = Recorded {
            to_peer: flow.to_peer,
            to_lan: flow.to_lan,
            first_ns: flow.first_ns,
            recorded_ns: clocks.now_ns,
            sequence: record.sequence,
        };
        let blocked = record.verdict == Verdict::Block;
        self.pending.insert(*key, Pending { recorded, last, blocked });
        self.ready.push(Ready { record, of: Some(Waiting::Flow(*key)) });
    }

    /// Records what came of a flow after its record, and is in no table any more: a flow of its own,
    /// from that record on. A flow without a record is told whole.
    fn rest(&mut self, taken: &Taken, clocks: Clocks) {
        let Taken { key, flow, recorded, entry } = *taken;
        let delta = Delta::of(&flow, recorded.as_ref());
        self.balance.leave(recorded.as_ref(), delta.amount());
        if delta.is_empty() {
            self.table.free(entry);
            return;
        }
        let flow = recorded.map_or(flow, |recorded| rest_of(&flow, &recorded));
        let record = self.build(&key, &flow, delta, EndReason::EndOfFlow, clocks);
        self.ready.push(Ready { record, of: entry.map(Waiting::Entry) });
    }

    fn build(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        delta: Delta,
        reason: EndReason,
        clocks: Clocks,
    ) -> Record {
        let table = &self.table;
        let (name, hello) = (|hash| table.name(hash), |key| table.hello(key));
        let answered = |flow: &FlowKey| table.answered(flow);
        let stores = known::Stores { name: &name, hello: &hello, answered: &answered };
        self.builder.record(key, flow, delta, reason, clocks, stores)
    }

    /// What of this flow is recorded, on its way to the store included.
    fn recorded(&self, key: &FlowKey, flow: &Flow) -> Option<Recorded> {
        let on_its_way = self.pending.get(key).map(|pending| pending.recorded);
        on_its_way
            .filter(|recorded| recorded.first_ns == flow.first_ns)
            .or_else(|| self.table.recorded(key, flow))
    }
}

/// What came of a flow after its last record, as a flow of its own.
const fn rest_of(flow: &Flow, recorded: &Recorded) -> Flow {
    Flow { first_ns: recorded.recorded_ns, ..*flow }
}

/// What of a flow is in no record yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Delta {
    to_peer: Volume,
    to_lan: Volume,
}

impl Delta {
    fn of(flow: &Flow, recorded: Option<&Recorded>) -> Self {
        let recorded = recorded.copied().unwrap_or_default();
        Self {
            to_peer: minus(flow.to_peer, recorded.to_peer),
            to_lan: minus(flow.to_lan, recorded.to_lan),
        }
    }

    const fn is_empty(&self) -> bool {
        self.to_peer.packets + self.to_lan.packets == 0
    }

    fn amount(&self) -> Amount {
        Amount::from(self.to_peer) + self.to_lan.into()
    }
}

const fn minus(total: Volume, recorded: Volume) -> Volume {
    Volume {
        packets: total.packets.saturating_sub(recorded.packets),
        bytes: total.bytes.saturating_sub(recorded.bytes),
    }
}
