//! The flow table and what its flows refer to by hash, from user space.

mod stock;
mod table;

use aya::maps::{HashMap, MapData};
use sensor_ebpf::abi::{
    AnsweredKey, AnsweredName, Flow, FlowKey, Recorded, StoredHello, StoredName,
};

use self::stock::Stock;
use self::table::Table;
use super::object::{Flows, Object};
use super::{KernelError, syscall};

pub(super) use table::set_up;

/// Flows, their names and their hellos, shared with the programs.
pub struct FlowTable {
    flows: Place,
    names: HashMap<MapData, u64, StoredName>,
    hellos: HashMap<MapData, u64, StoredHello>,
    answered: HashMap<MapData, AnsweredKey, AnsweredName>,
}

/// Where flows lie.
enum Place {
    Table(Table),
    Stock(Stock),
}

/// A flow that was taken out. Its packets make another one; the entry is given free by [`FlowTable::free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which flow it was.
    pub key: FlowKey,
    /// Its state at the very end.
    pub flow: Flow,
    /// What of it was recorded, where it still has an entry.
    pub recorded: Option<Recorded>,
    /// The entry that it still has.
    pub entry: Option<Entry>,
}

/// Number of an entry whose flow was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u32);

impl FlowTable {
    /// Takes the maps out of the object.
    pub fn open(object: &mut Object) -> Result<Self, KernelError> {
        let flows = match object.flows() {
            Flows::Table => Place::Table(Table::open(object)?),
            Flows::Stock => Place::Stock(Stock::open(object)?),
        };
        Ok(Self {
            flows,
            names: object.take("NAMES")?,
            hellos: object.take("HELLOS")?,
            answered: object.take("ANSWERED")?,
        })
    }

    /// Sets the table up again where its memory was emptied. No program may run meanwhile.
    #[cfg(feature = "lab")]
    pub fn begin_again(&self) {
        match &self.flows {
            Place::Table(table) => table.begin_again(),
            Place::Stock(_) => {}
        }
    }

    /// The flow as it is now.
    pub fn get(&self, key: &FlowKey) -> Option<Flow> {
        match &self.flows {
            Place::Table(table) => table.get(key).map(|entry| entry.flow),
            Place::Stock(stock) => stock.get(key),
        }
    }

    /// Takes flows out of the table, as they are when no program adds to them any more; those that are not there are
    /// left out. Takes a grace period, some milliseconds, for all of them together.
    pub fn take(&self, keys: &[FlowKey]) -> Result<Vec<Taken>, KernelError> {
        self.take_if(keys, |_, _| true)
    }

    /// The same of those flows that are wanted, as they are right before they go. A connection that takes the key in the very
    /// moment is taken too: then what is recorded is of another flow.
    pub fn take_if(
        &self,
        keys: &[FlowKey],
        is_wanted: impl Fn(&FlowKey, &Flow) -> bool,
    ) -> Result<Vec<Taken>, KernelError> {
        match &self.flows {
            Place::Table(table) => Ok(table.take_if(keys, is_wanted)),
            Place::Stock(stock) => {
                let is_wanted =
                    |key: &FlowKey| stock.get(key).is_some_and(|flow| is_wanted(key, &flow));
                let keys: Vec<_> = keys.iter().copied().filter(is_wanted).collect();
                stock.take(&keys)
            }
        }
    }

    /// Lets an entry go, once what came of its flow is where it must be.
    pub fn free(&self, entry: Option<Entry>) {
        if let (Place::Table(table), Some(Entry(number))) = (&self.flows, entry) {
            table.free(number);
        }
    }

    /// Flows that a daemon before this one took out, whose entries it did not give free.
    pub fn left_over(&self) -> Vec<Taken> {
        match &self.flows {
            Place::Table(table) => table.left_over(),
            Place::Stock(_) => Vec::new(),
        }
    }

    /// Visits every flow. Flows that come or go meanwhile may be missed.
    pub fn scan(&self, visit: impl FnMut(&FlowKey, &Flow)) -> Result<(), KernelError> {
        match &self.flows {
            Place::Table(table) => {
                table.scan(visit);
                Ok(())
            }
            Place::Stock(stock) => stock.scan(visit),
        }
    }

    /// Takes every flow out of the table, between two captures.
    pub fn clear(&self) -> Result<(), KernelError> {
        let mut keys = Vec::new();
        self.scan(|key, _| keys.push(*key))?;
        for taken in self.take(&keys)? {
            self.free(taken.entry);
        }
        Ok(())
    }

    /// What of this flow is recorded already.
    pub fn recorded(&self, key: &FlowKey, flow: &Flow) -> Option<Recorded> {
        let recorded = match &self.flows {
            Place::Table(table) => table.get(key).and_then(|entry| noted(entry.recorded)),
            Place::Stock(stock) => stock.recorded(key),
        };
        recorded.filter(|recorded| recorded.first_ns == flow.first_ns)
    }

    /// Visits what is recorded already of every flow that is in the table.
    pub fn recorded_of_live(&self, mut visit: impl FnMut(&Recorded)) -> Result<(), KernelError> {
        self.scan(|key, flow| {
            if let Some(recorded) = self.recorded(key, flow) {
                visit(&recorded);
            }
        })
    }

    /// Returns when each packet that was being counted is in its flow.
    pub fn wait_for_packets() {
        syscall::wait_for_programs();
    }

    /// Remembers what of a flow is recorded, for as long as a flow with its key is in the table.
    pub fn remember(&mut self, key: &FlowKey, recorded: &Recorded) -> Result<(), KernelError> {
        match &mut self.flows {
            Place::Table(table) => {
                table.remember(key, recorded);
                Ok(())
            }
            Place::Stock(stock) => stock.remember(key, recorded),
        }
    }

    /// Has a flow that goes on behind its last record begin where that was made: what of it is recorded stays noted. Not where
    /// another one has its place by now, nor in the kernel's hash map, which has no words of its own.
    pub fn renew(&self, key: &FlowKey, recorded: &Recorded) {
        match &self.flows {
            Place::Table(table) => table.renew(key, recorded),
            Place::Stock(_) => {}
        }
    }

    /// Forgets it, after the flow's last record.
    pub fn forget(&mut self, key: &FlowKey) {
        match &mut self.flows {
            // It goes with the entry.
            Place::Table(_) => {}
            Place::Stock(stock) => stock.forget(key),
        }
    }

    /// The name with this hash, while the store has it.
    pub fn name(&self, hash: u64) -> Option<StoredName> {
        self.names.get(&hash, 0).ok()
    }

    /// What the hello with this key offers, while the kernel has it.
    pub fn hello(&self, key: u64) -> Option<StoredHello> {
        self.hellos.get(&key, 0).ok()
    }

    /// What the device was told of the flow's peer by DNS, newest, while the kernel has it.
    pub fn answered(&self, flow: &FlowKey) -> Option<AnsweredName> {
        self.answered.get(&AnsweredKey::of(flow), 0).ok()
    }
}

/// What an entry says is recorded, if it says anything.
fn noted(recorded: Recorded) -> Option<Recorded> {
    (recorded != Recorded::default()).then_some(recorded)
}
