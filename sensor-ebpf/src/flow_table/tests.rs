//! Interleavings of programs and user space over small tables, by loom: each load, swap and store of the protocol's
//! own source is a place where another one may go on.

use std::collections::BTreeMap;

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, RwLock};
use loom::thread;

use super::*;
use crate::abi::FlowKey;

/// Hashes of two flows.
const F: u64 = 0xaaaa_0000_0001_0000;
const G: u64 = 0xbbbb_0000_0001_0000;

/// Ends a search that has become too long to wait for: context switches that nothing forces, in one interleaving.
const PREEMPTIONS_MAX: usize = 2;

/// A table of `BUCKETS` times `WAYS` entries.
struct Table<const BUCKETS: usize, const WAYS: usize> {
    tags: [[AtomicU64; WAYS]; BUCKETS],
    /// Which flow an entry has, and its packets.
    entries: [[(AtomicU64, AtomicU64); WAYS]; BUCKETS],
    /// Programs run within it, and a grace period takes it.
    running: RwLock<()>,
    /// Packets that user space read of flows it took out, and those that were not let in.
    taken: [AtomicU64; 2],
    refused: [AtomicU64; 2],
}

#[derive(Clone, Copy)]
struct Tagged<'table, const WAYS: usize>(&'table [AtomicU64; WAYS]);

impl<const WAYS: usize> Bucket for Tagged<'_, WAYS> {
    const WAYS: u32 = WAYS as u32;

    fn load(self, way: u32) -> u64 {
        self.0[way as usize].load(Ordering::Acquire)
    }

    fn swap(self, way: u32, from: u64, to: u64) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let swapped = self.0[way as usize].compare_exchange(from, to, order.0, order.1).is_ok();
        // For loom an exchange alone is no full barrier, whatever its order; in the kernel it is one.
        fence(Ordering::SeqCst);
        swapped
    }

    fn store(self, way: u32, tag: u64) {
        self.0[way as usize].store(tag, Ordering::Release);
    }
}

struct Lines<'table, const BUCKETS: usize, const WAYS: usize>(&'table Table<BUCKETS, WAYS>);

impl<'table, const BUCKETS: usize, const WAYS: usize> Tags for Lines<'table, BUCKETS, WAYS> {
    type Bucket = Tagged<'table, WAYS>;

    fn bucket(&self, number: u32) -> Option<Tagged<'table, WAYS>> {
        self.0.tags.get(number as usize).map(Tagged)
    }
}

/// Which of the two flows it is, as an index.
fn index(flow: u64) -> usize {
    usize::from(flow == G)
}

impl<const BUCKETS: usize, const WAYS: usize> Table<BUCKETS, WAYS> {
    const PLACES: [u32; 2] = [0, BUCKETS as u32 - 1];

    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self {
            tags: std::array::from_fn(|_| std::array::from_fn(|_| zero())),
            entries: std::array::from_fn(|_| std::array::from_fn(|_| (zero(), zero()))),
            running: RwLock::new(()),
            taken: [zero(), zero()],
            refused: [zero(), zero()],
        })
    }

    fn entry(&self, place: Place) -> &(AtomicU64, AtomicU64) {
        &self.entries[place.bucket as usize][place.way as usize]
    }

    /// A program that has a packet of this flow.
    fn packet(&self, flow: u64) {
        let _running = self.running.read().unwrap();
        if let Some(place) = find(&Lines(self), Self::PLACES, flow) {
            let (of, packets) = self.entry(place);
            assert_eq!(of.load(Ordering::Relaxed), flow, "an entry of another flow");
            packets.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(place) = claim(&Lines(self), Self::PLACES, flow) else {
            self.refused[index(flow)].fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (of, packets) = self.entry(place);
        of.store(flow, Ordering::Relaxed);
        packets.store(0, Ordering::Relaxed);
        publish(Tagged(&self.tags[place.bucket as usize]), place.way, flow);
        packets.fetch_add(1, Ordering::Relaxed);
    }

    /// User space takes a flow out, if it finds it.
    fn take(&self, flow: u64) {
        let Some(place) = find(&Lines(self), Self::PLACES, flow) else { return };
        let bucket = Tagged(&self.tags[place.bucket as usize]);
        assert!(close(bucket, place.way, flow), "nobody else takes flows out");
        drop(self.running.write().unwrap());
        let (of, packets) = self.entry(place);
        assert_eq!(of.load(Ordering::Relaxed), flow, "an entry of another flow");
        self.taken[index(flow)].fetch_add(packets.load(Ordering::Relaxed), Ordering::Relaxed);
        free(bucket, place.way);
    }

    /// The same, but the flow goes on if it has another packet by then.
    fn take_unless_it_goes_on(&self, flow: u64) {
        let Some(place) = find(&Lines(self), Self::PLACES, flow) else { return };
        let bucket = Tagged(&self.tags[place.bucket as usize]);
        let (_, packets) = self.entry(place);
        let before = packets.load(Ordering::Relaxed);
        assert!(close(bucket, place.way, flow), "nobody else takes flows out");
        drop(self.running.write().unwrap());
        let now = packets.load(Ordering::Relaxed);
        if now > before && reopen(&Lines(self), Self::PLACES, place, flow) {
            return;
        }
        self.taken[index(flow)].fetch_add(now, Ordering::Relaxed);
        free(bucket, place.way);
    }

    /// At rest each flow is there once at most, and each packet in one place.
    fn check(&self, sent: [u64; 2]) {
        let mut live = BTreeMap::new();
        for (tags, entries) in self.tags.iter().zip(&self.entries) {
            for (tag, (of, packets)) in tags.iter().zip(entries) {
                let tag = tag.load(Ordering::Relaxed);
                assert!(tag == 0 || is_live(tag), "a tag in between: {tag:#x}");
                if tag != 0 {
                    let of = of.load(Ordering::Relaxed);
                    let before = live.insert(of, packets.load(Ordering::Relaxed));
                    assert_eq!(before, None, "a flow that is there twice");
                }
            }
        }
        for flow in [F, G] {
            let [taken, refused] = [&self.taken, &self.refused]
                .map(|counts| counts[index(flow)].load(Ordering::Relaxed));
            let live = live.get(&flow).copied().unwrap_or(0);
            assert_eq!(live + taken + refused, sent[index(flow)], "{live}, {taken}, {refused}");
        }
    }
}

/// What one CPU, or user space, does.
#[derive(Clone, Copy)]
enum Act {
    Packet(u64),
    Take(u64),
    TakeUnlessItGoesOn(u64),
}

/// Goes through what may come of these things done at once, behind others done before.
fn every_way<const BUCKETS: usize, const WAYS: usize>(
    before: &'static [Act],
    at_once: &'static [&'static [Act]],
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(move || {
        let table = Table::<BUCKETS, WAYS>::new();
        let act = |table: &Table<BUCKETS, WAYS>, acts: &[Act]| {
            for act in acts {
                match act {
                    Packet(flow) => table.packet(*flow),
                    Take(flow) => table.take(*flow),
                    TakeUnlessItGoesOn(flow) => table.take_unless_it_goes_on(*flow),
                }
            }
        };
        act(&table, before);
        let threads: Vec<_> = at_once
            .iter()
            .map(|acts| {
                let table = Arc::clone(&table);
                thread::spawn(move || act(&table, acts))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let acts = || before.iter().chain(at_once.iter().copied().flatten());
        let sent = [F, G].map(|flow| {
            acts().filter(|act| matches!(act, Packet(of) if *of == flow)).count() as u64
        });
        table.check(sent);
    });
}

use Act::{Packet, Take, TakeUnlessItGoesOn};

#[test]
fn two_cpus_that_make_a_flow_make_one() {
    every_way::<1, 2>(&[], &[&[Packet(F)], &[Packet(F)]]);
    every_way::<2, 2>(&[], &[&[Packet(F)], &[Packet(F)]]);
}

#[test]
fn three_cpus_that_make_a_flow_make_one() {
    every_way::<2, 1>(&[], &[&[Packet(F)], &[Packet(F)], &[Packet(F)]]);
}

#[test]
fn two_flows_that_want_one_entry_do_not_share_it() {
    every_way::<1, 1>(&[], &[&[Packet(F)], &[Packet(G)]]);
    every_way::<2, 1>(&[], &[&[Packet(F), Packet(F)], &[Packet(G), Packet(G)]]);
}

#[test]
fn a_packet_of_a_flow_that_goes_is_in_it_or_in_the_next() {
    every_way::<1, 1>(&[Packet(F)], &[&[Packet(F)], &[Take(F)]]);
    every_way::<1, 2>(&[Packet(F)], &[&[Packet(F), Packet(F)], &[Take(F)]]);
}

#[test]
fn an_entry_that_comes_free_has_nothing_of_the_flow_before() {
    every_way::<1, 1>(&[Packet(F)], &[&[Packet(F)], &[Take(F)], &[Packet(G)]]);
}

#[test]
fn a_flow_may_go_and_come_back_meanwhile() {
    every_way::<1, 2>(&[Packet(F)], &[&[Packet(F), Packet(F)], &[Take(F), Take(F)], &[Packet(F)]]);
}

#[test]
fn a_flow_that_goes_on_is_found_again_unless_there_is_another() {
    const GOES: &[Act] = &[TakeUnlessItGoesOn(F)];
    every_way::<1, 2>(&[Packet(F)], &[&[Packet(F), Packet(F)], GOES]);
    every_way::<2, 1>(&[Packet(F)], &[&[Packet(F)], &[Packet(F)], GOES]);
    every_way::<1, 2>(&[Packet(F)], &[&[Packet(F), Packet(F)], &[Packet(G)], GOES]);
}

/// The model would see it: without its grace period the first of these rules is broken.
#[test]
#[should_panic(expected = "of another flow")]
fn without_a_grace_period_packets_fall_to_other_flows() {
    loom::model(|| {
        let table = Table::<1, 1>::new();
        table.packet(F);
        let (cpu, other) = (Arc::clone(&table), Arc::clone(&table));
        let cpu = thread::spawn(move || cpu.packet(F));
        let other = thread::spawn(move || other.packet(G));
        let place = find(&Lines(&*table), [0, 0], F).unwrap();
        let bucket = Tagged(&table.tags[0]);
        close(bucket, place.way, F);
        free(bucket, place.way);
        cpu.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn the_ways_of_a_bucket_are_told_by_their_bits() {
    for bits in 0..256_u64 {
        assert_eq!(count(bits), u64::from(bits.count_ones()));
        let expected = if bits == 0 { 0 } else { bits.trailing_zeros() };
        assert_eq!(lowest(bits), expected);
    }
}

#[test]
fn both_directions_have_one_hash_and_other_flows_another() {
    let head = Head {
        buckets: 1000,
        keys: [3, 5, 7, 11, 13, 17].map(|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    let key = |number: u16| FlowKey {
        lan_port: number,
        peer_port: 443,
        protocol: 6,
        lan_address: std::net::IpAddr::from([10, 0, 0, 1]).into(),
        peer_address: std::net::IpAddr::from([192, 0, 2, 1]).into(),
        ..FlowKey::default()
    };
    let hashes: std::collections::HashSet<u64> =
        (0..10_000).map(|number| hash(&head, &key(number))).collect();
    assert_eq!(hashes.len(), 10_000);
    for number in 0..100 {
        let key = key(number);
        assert_eq!(hash(&head, &key), hash(&head, &key.reversed()));
        assert!(key.is_reverse_of(&key.reversed()) && !key.is(&key.reversed()) && key.is(&key));
        assert_ne!(hash(&head, &key), hash(&head, &FlowKey { zone: 1, ..key }));
    }
}

/// With the room that [`buckets`] gives, hardly a flow finds no entry.
#[test]
fn the_table_has_room_for_its_flows() {
    const FLOWS: u32 = 100_000;
    let buckets = buckets(FLOWS);
    assert!(flows(buckets) >= FLOWS);
    let keys = [1, 3, 5, 7, 9, 11].map(|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let head = Head { buckets, keys };
    let mut used = vec![0_u32; buckets as usize];
    let mut refused = 0;
    for number in 0..FLOWS {
        let (lan_port, zone) = (number as u16, (number >> 16) as u16);
        let key = FlowKey { lan_port, zone, ..FlowKey::default() };
        let [first, second] = places(hash(&head, &key), buckets).map(|place| place as usize);
        let place = if used[second] < used[first] { second } else { first };
        if used[place] < WAYS {
            used[place] += 1;
        } else {
            refused += 1;
        }
    }
    assert!(refused < FLOWS / 10_000, "{refused}");
}
