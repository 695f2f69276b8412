//! User space's half of the flow table, see [`sensor_ebpf::flow_table`]: it reads the arrays as memory, and is the only one
//! that takes flows out.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::{Array, MapData};
use sensor_ebpf::abi::table::Line;
use sensor_ebpf::abi::{Flow, FlowEntry, FlowKey, Recorded};
use sensor_ebpf::flow_table::{self, Bucket as _, Head, Place, Tags, WAYS};

use super::{Entry, Taken, noted};
use crate::kernel::object::Object;
use crate::kernel::syscall::Mapping;
use crate::kernel::{KernelError, syscall};

/// Words of a bucket and of an entry.
const LINE: usize = size_of::<Line>() / 8;
const ENTRY: usize = size_of::<FlowEntry>() / 8;

/// Where in an entry it says what is recorded, in words.
const RECORDED: usize = std::mem::offset_of!(FlowEntry, recorded) / 8;

/// How far ahead of the one that is read entries are asked for.
const AHEAD: u32 = 16;

/// How often a claim is found, a grace period apart, before it is a dead daemon's: a program's is over in a microsecond.
const CLAIM_LOOKS: usize = 3;

/// Where it says when its flow began, likewise.
const FIRST_NS: usize =
    (std::mem::offset_of!(FlowEntry, flow) + std::mem::offset_of!(Flow, first_ns)) / 8;

/// How often an entry is read whose flow gives way to another one: a program takes its place once in many packets.
const READS: usize = 8;

/// Names of the maps.
const TAGS: &str = "FLOW_TAGS";
const ENTRIES: &str = "FLOW_ENTRIES";

/// Gives a table that is new its number of buckets and a key of its own. Before any program runs.
pub(crate) fn set_up(object: &mut Object) -> Result<(), KernelError> {
    let failed = |operation, source| KernelError::Map { map: TAGS, operation, source };
    let (buckets, descriptor) = (object.buckets()?, object.descriptor(TAGS)?);
    let data = MapData::from_fd(descriptor).map_err(|error| failed("open", error.into()))?;
    let mut tags = Array::<MapData, Line>::try_from(aya::maps::Map::Array(data))
        .map_err(|error| failed("open", error.into()))?;
    let line = tags.get(&0, 0).map_err(|error| failed("read", error.into()))?;
    if Head::of(&line).buckets != 0 {
        return Ok(());
    }
    let mut keys = [0; 6];
    for key in &mut keys {
        *key = getrandom::u64().map_err(|error| KernelError::Preflight(error.to_string()))?;
    }
    let head = Head { buckets, keys };
    tags.set(0, head.line(), 0).map_err(|error| failed("write", error.into()))
}

/// The mapped arrays.
pub(super) struct Table {
    head: Head,
    tags: Mapping,
    entries: Mapping,
}

/// Eight tags.
#[derive(Clone, Copy)]
struct Bucket<'table>(&'table [AtomicU64]);

impl Bucket<'_> {
    fn tag(&self, way: u32) -> Option<&AtomicU64> {
        self.0.get(way as usize)
    }
}

impl flow_table::Bucket for Bucket<'_> {
    fn load(self, way: u32) -> u64 {
        self.tag(way).map_or(0, |tag| tag.load(Ordering::Acquire))
    }

    fn swap(self, way: u32, from: u64, to: u64) -> bool {
        let order = (Ordering::SeqCst, Ordering::Relaxed);
        self.tag(way).is_some_and(|tag| tag.compare_exchange(from, to, order.0, order.1).is_ok())
    }

    fn store(self, way: u32, value: u64) {
        if let Some(tag) = self.tag(way) {
            tag.store(value, Ordering::Release);
        }
    }
}

/// [`Tags`] as user space sees them.
struct Lines<'table>(&'table Table);

impl<'table> Tags for Lines<'table> {
    type Bucket = Bucket<'table>;

    fn bucket(&self, number: u32) -> Option<Bucket<'table>> {
        let start = (number as usize + 1) * LINE;
        self.0.tags.words().get(start..start + LINE).map(Bucket)
    }
}

impl Table {
    pub(super) fn open(object: &Object) -> Result<Self, KernelError> {
        let map = |name: &'static str, bytes: usize| {
            Mapping::of(object.descriptor(name)?, bytes).map_err(|source| KernelError::Map {
                map: name,
                operation: "map",
                source: source.into(),
            })
        };
        let buckets = object.buckets()? as usize;
        let tags = map(TAGS, (buckets + 1) * size_of::<Line>())?;
        let entries = map(ENTRIES, buckets * WAYS as usize * size_of::<FlowEntry>())?;
        let mut words = tags.words().iter().map(|word| word.load(Ordering::Relaxed));
        let head = Head::of(&Line { words: std::array::from_fn(|_| words.next().unwrap_or(0)) });
        drop(words);
        Ok(Self { head, tags, entries })
    }

    /// Sets the table up again, for tests that have emptied it.
    #[cfg(feature = "lab")]
    pub(super) fn begin_again(&self) {
        for (shared, word) in self.tags.words().iter().zip(self.head.line().words) {
            shared.store(word, Ordering::Relaxed);
        }
    }

    /// The live entry of a key.
    pub(super) fn get(&self, key: &FlowKey) -> Option<FlowEntry> {
        self.find(key).map(|(_, entry)| entry)
    }

    pub(super) fn scan(&self, mut visit: impl FnMut(&FlowKey, &Flow)) {
        self.each(|bucket, way, tag| {
            let entry = Place { bucket, way }.entry();
            self.ask_for(entry + AHEAD);
            if flow_table::is_live(tag) {
                let FlowEntry { key, flow, recorded: _ } = self.read(entry);
                visit(&key, &flow);
            }
        });
    }

    pub(super) fn take_if(
        &self,
        keys: &[FlowKey],
        is_wanted: impl Fn(&FlowKey, &Flow) -> bool,
    ) -> Vec<Taken> {
        let mut closed = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((place, entry)) = self.find(key)
                && is_wanted(key, &entry.flow)
                && let Some(bucket) = Lines(self).bucket(place.bucket)
                && flow_table::close(bucket, place.way, self.hash(key))
            {
                closed.push(place);
            }
        }
        if !closed.is_empty() {
            syscall::wait_for_programs();
        }
        let taken = closed.into_iter().map(|place| (place, self.taken(place.entry())));
        let goes = |(place, taken): &(_, Taken)| {
            is_wanted(&taken.key, &taken.flow) || !self.reopen(*place, &taken.key)
        };
        taken.filter(goes).map(|(_, taken)| taken).collect()
    }

    /// Has a flow found again that goes on, where no other has its key by now.
    fn reopen(&self, place: Place, key: &FlowKey) -> bool {
        let hash = self.hash(key);
        flow_table::reopen(&Lines(self), flow_table::places(hash, self.head.buckets), place, hash)
    }

    pub(super) fn left_over(&self) -> Vec<Taken> {
        self.abandon_claims();
        let entries: Vec<_> = self
            .in_state(flow_table::is_closing)
            .into_iter()
            .map(|(place, _)| place.entry())
            .collect();
        // Whoever began to take them has not waited, perhaps.
        if !entries.is_empty() {
            syscall::wait_for_programs();
        }
        entries.into_iter().map(|entry| self.taken(entry)).collect()
    }

    /// Has those flows be left over that a daemon was having found again as it died.
    fn abandon_claims(&self) {
        let mut claims = self.in_state(flow_table::is_claimed);
        for _ in 0..CLAIM_LOOKS {
            if claims.is_empty() {
                return;
            }
            syscall::wait_for_programs();
            let now = self.in_state(flow_table::is_claimed);
            claims.retain(|claim| now.contains(claim));
        }
        for (place, tag) in claims {
            if let Some(bucket) = Lines(self).bucket(place.bucket) {
                flow_table::abandon(bucket, place.way, tag);
            }
        }
    }

    /// The tags of a state, and where they are.
    fn in_state(&self, is_it: fn(u64) -> bool) -> Vec<(Place, u64)> {
        let mut found = Vec::new();
        self.each(|bucket, way, tag| {
            if is_it(tag) {
                found.push((Place { bucket, way }, tag));
            }
        });
        found
    }

    pub(super) fn free(&self, entry: u32) {
        let place = Place { bucket: entry / WAYS, way: entry % WAYS };
        if let Some(bucket) = Lines(self).bucket(place.bucket) {
            flow_table::free(bucket, place.way);
        }
        // Behind it: whoever finds an entry that is not free must find what of it is recorded.
        self.note(entry, &Recorded::default());
    }

    pub(super) fn remember(&self, key: &FlowKey, recorded: &Recorded) {
        if let Some((place, _)) = self.find(key) {
            self.note(place.entry(), recorded);
        }
    }

    pub(super) fn renew(&self, key: &FlowKey, recorded: &Recorded) {
        let Some((place, entry)) = self.find(key) else { return };
        let number = place.entry();
        let began = self.entries.words().get(number as usize * ENTRY + FIRST_NS);
        let Some(began) = began.filter(|_| entry.flow.first_ns == recorded.first_ns) else {
            return;
        };
        let first_ns = recorded.recorded_ns;
        // First what is recorded: who dies in between leaves a flow whose records the store still tells.
        self.note(number, &Recorded { first_ns, ..*recorded });
        let order = (Ordering::SeqCst, Ordering::Relaxed);
        if began.compare_exchange(recorded.first_ns, first_ns, order.0, order.1).is_err() {
            // A program has put another flow there, whose event asks for this.
            self.note(number, recorded);
        }
    }

    fn taken(&self, number: u32) -> Taken {
        let FlowEntry { key, flow, recorded } = self.read(number);
        Taken { key, flow, recorded: noted(recorded), entry: Some(Entry(number)) }
    }

    fn hash(&self, key: &FlowKey) -> u64 {
        flow_table::hash(&self.head, key)
    }

    /// The live entry of a key, and where it is.
    fn find(&self, key: &FlowKey) -> Option<(Place, FlowEntry)> {
        let hash = self.hash(key);
        let places = flow_table::places(hash, self.head.buckets);
        let place = flow_table::find(&Lines(self), places, hash)?;
        let entry = self.read(place.entry());
        (entry.key == *key).then_some((place, entry))
    }

    /// Visits every tag in use: its bucket, which of it it is, and what it says.
    fn each(&self, mut visit: impl FnMut(u32, u32, u64)) {
        for number in 0..self.head.buckets {
            let Some(bucket) = Lines(self).bucket(number) else { return };
            for way in 0..WAYS {
                let tag = bucket.load(way);
                if tag != 0 {
                    visit(number, way, tag);
                }
            }
        }
    }

    /// Has the processor fetch an entry meanwhile, which it need not have.
    #[inline(always)]
    fn ask_for(&self, number: u32) {
        #[cfg(target_arch = "x86_64")]
        if let Some(shared) = self.entries.words().get(number as usize * ENTRY..)
            && shared.len() >= ENTRY
        {
            for line in 0..ENTRY / LINE {
                // SAFETY: fetching reads nothing; the address is within the mapping.
                unsafe {
                    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                    _mm_prefetch::<_MM_HINT_T0>(shared.as_ptr().add(line * LINE).cast());
                }
            }
        }
    }

    /// An entry as it is now. Programs may add to it meanwhile, each of its words by itself; but all is of one flow.
    fn read(&self, number: u32) -> FlowEntry {
        let began = || {
            let first_ns = self.entries.words().get(number as usize * ENTRY + FIRST_NS);
            first_ns.map(|word| word.load(Ordering::Acquire))
        };
        for _ in 0..READS {
            let before = began();
            let entry = self.read_once(number);
            fence(Ordering::Acquire);
            if before == began() {
                return entry;
            }
        }
        self.read_once(number)
    }

    fn read_once(&self, number: u32) -> FlowEntry {
        let start = number as usize * ENTRY;
        let mut words = [0; ENTRY];
        if let Some(shared) = self.entries.words().get(start..start + ENTRY) {
            for (word, shared) in words.iter_mut().zip(shared) {
                *word = shared.load(Ordering::Relaxed);
            }
        }
        // SAFETY: of the same size, and any words are a valid entry: it is integers only.
        unsafe { std::mem::transmute::<[u64; ENTRY], FlowEntry>(words) }
    }

    /// Writes what of an entry's flow is recorded, which only user space does.
    fn note(&self, number: u32, recorded: &Recorded) {
        const WORDS: usize = size_of::<Recorded>() / 8;
        // SAFETY: of the same size, and without padding.
        let words = unsafe { std::mem::transmute::<Recorded, [u64; WORDS]>(*recorded) };
        let start = number as usize * ENTRY + RECORDED;
        if let Some(shared) = self.entries.words().get(start..start + WORDS) {
            for (shared, word) in shared.iter().zip(words) {
                shared.store(word, Ordering::Relaxed);
            }
        }
    }
}
