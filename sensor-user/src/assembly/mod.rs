//! From the flow table and its events to records.
//!
//! [`due`] says when a flow is due for a record, [`build`] makes it, and the [`Assembler`] here applies
//! both to the table: on flow-end events, after their linger, and on a sweep that finds everything else.
//! A flow leaves the table in the same step that its record is made of, and what is recorded of a flow
//! that lives on is remembered beside it, so that every packet is in exactly one record.

mod build;
mod due;

pub use build::{Clocks, Names};
pub use due::{Due, Timeouts, due};

use std::collections::VecDeque;
use std::sync::Arc;

use sensor_ebpf::abi::{Flow, FlowEnd, FlowEndEvent, FlowKey, Recorded, Volume};

use crate::kernel::KernelError;
use crate::kernel::flows::FlowTable;
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

/// Makes records of flows.
pub struct Assembler {
    table: FlowTable,
    timeouts: Timeouts,
    builder: build::Builder,
    /// Closed flows and when their stragglers have had their time, in order.
    lingering: VecDeque<(u64, FlowKey)>,
    ready: Vec<Record>,
}

/// Closed flows waiting out their linger; beyond it the sweep finds them.
const LINGERING_MAX: usize = 1 << 20;

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
        Self { table, timeouts, builder, lingering: VecDeque::new(), ready: Vec::new() }
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
                self.last_record(&event.key, &event.flow, EndReason::EndOfFlow, clocks);
                Ok(())
            }
            Ok(FlowEnd::Closed) | Err(_) => Ok(()),
        }
    }

    /// Records the closed flows whose linger is over.
    pub fn lingered(&mut self, clocks: Clocks) -> Result<(), KernelError> {
        while let Some((until, key)) = self.lingering.front().copied() {
            if until > clocks.now_ns {
                break;
            }
            self.lingering.pop_front();
            if let Some(flow) = self.table.get(&key) {
                self.visit(&key, &flow, clocks)?;
            }
        }
        Ok(())
    }

    /// Looks at every flow of the table.
    pub fn sweep(&mut self, clocks: Clocks) -> Result<usize, KernelError> {
        let mut live = 0;
        let mut found = Vec::new();
        let (table, timeouts) = (&self.table, &self.timeouts);
        table.scan(|key, flow| {
            live += 1;
            // What is recorded is asked for only where it could matter.
            if timeouts.may_be_due(flow, clocks.now_ns) {
                found.push((*key, *flow));
            }
        })?;
        for (key, flow) in found {
            self.visit(&key, &flow, clocks)?;
        }
        Ok(live)
    }

    /// Records what is not recorded of every flow: nothing is lost if the machine goes down next.
    pub fn record_all(&mut self, clocks: Clocks) -> Result<(), KernelError> {
        let mut found = Vec::new();
        self.table.scan(|key, flow| found.push((*key, *flow)))?;
        for (key, flow) in found {
            if flow.is_closed() && !due::is_blocked(&flow) {
                self.take(&key, EndReason::EndOfFlow, clocks)?;
            } else {
                self.record_so_far(&key, &flow, EndReason::ActiveTimeout, clocks)?;
            }
        }
        Ok(())
    }

    /// Records made since the last call, in order of their numbers.
    pub fn take_ready(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.ready)
    }

    fn visit(&mut self, key: &FlowKey, flow: &Flow, clocks: Clocks) -> Result<(), KernelError> {
        let recorded = self.table.recorded(key, flow);
        match due(flow, recorded.as_ref(), clocks.now_ns, &self.timeouts) {
            None => Ok(()),
            Some(Due::Last(reason)) => self.take(key, reason, clocks),
            Some(Due::SoFar(reason)) => self.record_so_far(key, flow, reason, clocks),
        }
    }

    /// Takes a flow out of the table and records the rest of it.
    fn take(
        &mut self,
        key: &FlowKey,
        reason: EndReason,
        clocks: Clocks,
    ) -> Result<(), KernelError> {
        if let Some(flow) = self.table.take(key)? {
            self.last_record(key, &flow, reason, clocks);
        }
        Ok(())
    }

    fn last_record(&mut self, key: &FlowKey, flow: &Flow, reason: EndReason, clocks: Clocks) {
        let recorded = self.table.recorded(key, flow);
        self.table.forget(key);
        let delta = Delta::of(flow, recorded.as_ref());
        // A blocked flow's record says that it is over; only what came after it is told again.
        if recorded.is_some() && delta.is_empty() && due::is_blocked(flow) {
            return;
        }
        let table = &self.table;
        let name = |hash| table.name(hash);
        self.ready.push(self.builder.record(key, flow, delta, reason, clocks, name));
    }

    /// Records a flow that lives on.
    fn record_so_far(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        reason: EndReason,
        clocks: Clocks,
    ) -> Result<(), KernelError> {
        let delta = Delta::of(flow, self.table.recorded(key, flow).as_ref());
        if delta.is_empty() {
            return Ok(());
        }
        let recorded = Recorded {
            to_peer: flow.to_peer,
            to_lan: flow.to_lan,
            first_ns: flow.first_ns,
            recorded_ns: clocks.now_ns,
        };
        self.table.remember(key, &recorded)?;
        let table = &self.table;
        let name = |hash| table.name(hash);
        self.ready.push(self.builder.record(key, flow, delta, reason, clocks, name));
        Ok(())
    }
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
}

const fn minus(total: Volume, recorded: Volume) -> Volume {
    Volume {
        packets: total.packets.saturating_sub(recorded.packets),
        bytes: total.bytes.saturating_sub(recorded.bytes),
    }
}
