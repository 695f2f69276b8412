//! Gathers the sums as flows are swept.

use std::net::IpAddr;
use std::sync::Arc;

use sensor_ebpf::abi::{Flow, FlowKey, NoName, StoredName, Verdict};

use super::super::known::{Known, NAMES_MAX as TEXTS_MAX};
use super::WINDOW_NS;
use super::seen::{Look, Seen};
use super::sums::{Sums, Window};
use super::watch::Watch;
use crate::names::USABLE;
use crate::policy::generations::Generations;
use crate::record::name_of_bytes;

/// Sums of what sweeps see, while somebody looks.
pub struct Meter {
    watch: Arc<Watch>,
    generations: Arc<Generations>,
    state: Option<Box<State>>,
}

/// What there is only while somebody looks.
struct State {
    seen: Seen,
    texts: Known<Arc<str>>,
    window: Window,
    window_from_ns: u64,
    swept_ns: u64,
    /// The first sweep tells what flows have, and not what they gain.
    is_first: bool,
}

/// What is told of a flow's name.
enum Told {
    Name(Arc<str>),
    Nothing(NoName),
}

impl Meter {
    /// A meter that does nothing until `watch` is asked. What a group keeps no log of is left out by `generations`.
    pub const fn new(watch: Arc<Watch>, generations: Arc<Generations>) -> Self {
        Self { watch, generations, state: None }
    }

    /// A sweep begins.
    pub fn begin_sweep(&mut self, now_ns: u64) {
        if !self.watch.is_on(now_ns) {
            if self.state.take().is_some() {
                self.watch.clear();
            }
            return;
        }
        let new = || {
            Box::new(State {
                seen: Seen::begin(now_ns),
                texts: Known::new(TEXTS_MAX),
                window: Window::default(),
                window_from_ns: now_ns,
                swept_ns: now_ns,
                is_first: true,
            })
        };
        let state = self.state.get_or_insert_with(new);
        state.swept_ns = now_ns;
        state.seen.sweep_from(now_ns);
    }

    /// A sweep sees a flow. `name` asks the kernel for a name by its hash.
    pub fn see(&mut self, key: &FlowKey, flow: &Flow, name: impl Fn(u64) -> Option<StoredName>) {
        if let Some(state) = &mut self.state {
            let look = state.seen.look(key, flow);
            state.add(key, flow, look, &self.generations, name);
        }
    }

    /// A flow has left the table with these numbers.
    pub fn leave(&mut self, key: &FlowKey, flow: &Flow, name: impl Fn(u64) -> Option<StoredName>) {
        if let Some(state) = &mut self.state {
            let look = state.seen.leave(key, flow);
            state.add(key, flow, look, &self.generations, name);
        }
    }

    /// A sweep has ended.
    pub fn end_sweep(&mut self) {
        let Some(state) = &mut self.state else { return };
        state.seen.next_sweep();
        let over_ns = state.swept_ns.saturating_sub(state.window_from_ns);
        if !state.is_first && over_ns < WINDOW_NS {
            return;
        }
        let mut window = std::mem::take(&mut state.window);
        window.over_ns = over_ns;
        state.window_from_ns = state.swept_ns;
        if !std::mem::take(&mut state.is_first) {
            self.watch.push(window);
        }
    }
}

impl State {
    fn add(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        look: Look,
        generations: &Generations,
        name: impl Fn(u64) -> Option<StoredName>,
    ) {
        let gain = match look {
            Look::Gained(gain) => gain,
            Look::Nothing => return,
            Look::Beyond => {
                self.window.flows_beyond += 1;
                return;
            }
        };
        let device = IpAddr::from(key.lan_address);
        let told = self.told(flow, generations.withholds(flow, device), name);
        let verdict = Verdict::try_from(flow.verdict).unwrap_or(Verdict::Undecided);
        let reason = match &told {
            Told::Name(_) => NoName::Named,
            Told::Nothing(reason) => *reason,
        };
        let bytes = gain.to_peer.bytes.saturating_add(gain.to_lan.bytes);
        let sums = Sums {
            flows: 0,
            blocked: u64::from(gain.verdict && verdict == Verdict::Block),
            packets_to_peer: gain.to_peer.packets,
            bytes_to_peer: gain.to_peer.bytes,
            packets_to_lan: gain.to_lan.packets,
            bytes_to_lan: gain.to_lan.bytes,
            bytes_unnamed: if USABLE.contains(&reason) { 0 } else { bytes },
        };
        let with_flows = |counts: bool| Sums { flows: u64::from(counts), ..sums };
        let Self { window, .. } = self;
        window.devices.add(&(key.lan_address, key.zone), with_flows(gain.began));
        if let Told::Name(name) = &told {
            window.names.add(name, with_flows(gain.told));
        }
        window.add_verdict(verdict, with_flows(gain.verdict));
        window.add_reason(reason, with_flows(gain.told));
    }

    /// The same that its record would tell, but for what DNS told the device of the address.
    fn told(
        &mut self,
        flow: &Flow,
        withheld: bool,
        name: impl Fn(u64) -> Option<StoredName>,
    ) -> Told {
        if flow.name_hash == 0 {
            let reason = NoName::try_from(flow.no_name).ok();
            let reason = reason.filter(|reason| *reason != NoName::Named);
            return Told::Nothing(reason.unwrap_or(NoName::NotExamined));
        }
        if withheld {
            return Told::Nothing(NoName::Unlogged);
        }
        let text = |hash| Some(Arc::from(name_of_bytes(name(hash)?.as_bytes())));
        self.texts.get(flow.name_hash, text).map_or(Told::Nothing(NoName::NameEvicted), Told::Name)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
