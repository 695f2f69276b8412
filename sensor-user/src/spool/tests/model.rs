//! Random histories, against a list in memory.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::file::FILE_NAME;
use super::*;

/// Room for some dozens of records.
const BYTES: u64 = 12 << 10;

/// Cursors that take part.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many records, of classes drawn by a number.
    Append(u64, u64),
    Read(usize),
    Acknowledge(usize),
    Rewind(usize),
    /// The sink stops, and its cursor is removed.
    Leave(usize),
    Tend,
    Reopen,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        6 => (1..40_u64, any::<u64>()).prop_map(|(count, draw)| Step::Append(count, draw)),
        6 => (0..3_usize).prop_map(Step::Read),
        3 => (0..3_usize).prop_map(Step::Acknowledge),
        1 => (0..3_usize).prop_map(Step::Rewind),
        1 => (0..3_usize).prop_map(Step::Leave),
        2 => Just(Step::Tend),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(one, 1..60)
}

/// A cursor, as it should be.
#[derive(Clone, Copy, Debug, Default)]
struct Sink {
    acknowledged: u64,
    /// That much is surely on the disk.
    durable: u64,
    position: u64,
    lost: u64,
}

/// A spool, as it should be.
#[derive(Debug, Default)]
struct Model {
    /// What there is of a batch, by number and class.
    chunks: BTreeMap<(u64, Class), Vec<u64>>,
    latest: u64,
    next_sequence: u64,
    sinks: BTreeMap<usize, Sink>,
    shed: BTreeMap<&'static str, u64>,
}

impl Model {
    fn count(&self, class: Class) -> u64 {
        let of_class = self.chunks.iter().filter(|((_, of), _)| *of == class);
        of_class.map(|(_, sequences)| sequences.len() as u64).sum()
    }

    /// Removes what all have, then the oldest of the lowest class until there is as much as the spool says. That it is as
    /// little as may go, the bound tells.
    fn settle(&mut self, status: &SpoolStatus) {
        if let Some(floor) = self.sinks.values().map(|sink| sink.acknowledged).min() {
            self.chunks.retain(|(batch, _), _| *batch > floor);
        }
        let mut all_lower_are_gone = true;
        for class in Class::ALL {
            let kept = status.records[class.name()];
            while self.count(*class) > kept {
                assert!(all_lower_are_gone, "{} before a lower class", class.name());
                let oldest = *self.chunks.keys().find(|(_, of)| of == class).unwrap();
                let gone = self.chunks.remove(&oldest).unwrap().len() as u64;
                *self.shed.entry(class.name()).or_default() += gone;
                for sink in self.sinks.values_mut().filter(|sink| sink.acknowledged < oldest.0) {
                    sink.lost += gone;
                }
            }
            assert_eq!(self.count(*class), kept, "whole chunks go");
            all_lower_are_gone &= kept == 0;
        }
        for sink in self.sinks.values_mut() {
            sink.durable = sink.acknowledged;
        }
    }

    /// What a sink reads next.
    fn next(&self, position: u64) -> Option<(u64, Vec<u64>)> {
        let batch = self.chunks.keys().map(|(batch, _)| *batch).find(|batch| *batch > position)?;
        let parts = Class::ALL.iter().filter_map(|class| self.chunks.get(&(batch, *class)));
        let mut sequences: Vec<_> = parts.flatten().copied().collect();
        sequences.sort_unstable();
        Some((batch, sequences))
    }
}

struct Run {
    dir: TempDir,
    spool: Spool,
    readers: BTreeMap<usize, Reader>,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = open_small(dir.path());
        Self { dir, spool, readers: BTreeMap::new(), model: Model::default() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(count, draw) => self.append(count, draw),
            Step::Read(sink) => self.read(sink),
            Step::Acknowledge(sink) => {
                if let Some(reader) = self.readers.get_mut(&sink) {
                    let known = self.model.sinks.get_mut(&sink).unwrap();
                    reader.acknowledge(known.position);
                    known.acknowledged = known.position;
                }
            }
            Step::Rewind(sink) => {
                if let Some(reader) = self.readers.get_mut(&sink) {
                    reader.rewind();
                    let known = self.model.sinks.get_mut(&sink).unwrap();
                    known.position = known.acknowledged;
                }
            }
            Step::Leave(sink) => {
                drop(self.readers.remove(&sink));
                let stay: Vec<_> = self.readers.keys().map(|sink| NAMES[*sink]).collect();
                let is_known = self.model.sinks.remove(&sink).is_some();
                let expected: Vec<_> =
                    is_known.then(|| NAMES[sink].to_owned()).into_iter().collect();
                assert_eq!(self.spool.retain(&stay).unwrap(), expected);
            }
            Step::Tend => {
                self.spool.tend(NOON_US).unwrap();
                // What is due after a cursor left alone waits for the next batch.
                let moved = status(&self.spool);
                self.model.settle_if(&moved);
            }
            Step::Reopen => {
                self.readers.clear();
                let spool = std::mem::replace(
                    &mut self.spool,
                    open_small(tempfile::tempdir().unwrap().path()),
                );
                spool.close().unwrap();
                self.spool = open_small(self.dir.path());
                self.read_again(|sink| sink.acknowledged);
            }
            Step::Crash => {
                self.readers.clear();
                let after = tempfile::tempdir().unwrap();
                fs::copy(self.dir.path().join(FILE_NAME), after.path().join(FILE_NAME)).unwrap();
                self.spool = open_small(after.path());
                self.dir = after;
                self.read_again(|sink| sink.durable);
            }
        }
    }

    /// Readers begin where their cursors are: not before `least`, and not behind what was acknowledged.
    fn read_again(&mut self, least: impl Fn(&Sink) -> u64) {
        let status = status(&self.spool);
        for (number, sink) in &mut self.model.sinks {
            let is_it = |cursor: &&CursorStatus| cursor.name == NAMES[*number];
            let at = status.cursors.iter().find(is_it).unwrap().acknowledged;
            assert!((least(sink)..=sink.acknowledged).contains(&at), "{sink:?} at {at}");
            (sink.acknowledged, sink.position) = (at, at);
            let reader = self.spool.reader(NAMES[*number], Start::Newest).unwrap();
            self.readers.insert(*number, reader);
        }
    }

    fn append(&mut self, count: u64, draw: u64) {
        let Model { next_sequence, chunks, latest, .. } = &mut self.model;
        *latest += 1;
        let mut records = Vec::new();
        for offset in 0..count {
            let class = Class::ALL[((draw >> (offset % 21 * 3)) % 3) as usize];
            records.push(of_class(class, *next_sequence));
            chunks.entry((*latest, class)).or_default().push(*next_sequence);
            *next_sequence += 1;
        }
        assert_eq!(append(&mut self.spool, &records), *latest);
        let after = status(&self.spool);
        assert!(after.bytes <= BYTES, "{after:?}");
        self.model.settle(&after);
    }

    fn read(&mut self, sink: usize) {
        let Self { spool, readers, model, .. } = self;
        let reader = readers.entry(sink).or_insert_with(|| {
            model.sinks.insert(sink, Sink::default());
            spool.reader(NAMES[sink], Start::Oldest).unwrap()
        });
        let known = model.sinks[&sink];
        match (reader.next(NOW).unwrap(), model.next(known.position)) {
            (Next::Batch(batch), Some((number, expected))) => {
                assert_eq!(batch.number, number);
                assert_eq!(sequences(&[batch]), expected);
                model.sinks.get_mut(&sink).unwrap().position = number;
            }
            (Next::Nothing, None) => {}
            other => panic!("{other:?}"),
        }
    }

    fn check(&self) {
        let status = status(&self.spool);
        let model = &self.model;
        assert_eq!(status.latest, model.latest);
        for class in Class::ALL {
            let (name, shed) = (class.name(), model.shed.get(class.name()).copied().unwrap_or(0));
            assert_eq!(status.shed[name], shed, "{name}");
        }
        let told: u64 = self.spool.watch().losses().iter().map(|loss| loss.records).sum();
        assert_eq!(told, model.shed.values().sum::<u64>(), "every loss is named");
        for (number, sink) in &model.sinks {
            let cursor = status.cursors.iter().find(|one| one.name == NAMES[*number]).unwrap();
            assert_eq!(cursor.acknowledged, sink.acknowledged);
            assert_eq!(cursor.lost.values().sum::<u64>(), sink.lost, "{}", NAMES[*number]);
            let before_it =
                model.chunks.iter().filter(|((batch, _), _)| *batch > sink.acknowledged);
            let before_it: usize = before_it.map(|(_, sequences)| sequences.len()).sum();
            assert_eq!(cursor.behind_records, before_it as u64, "{}", NAMES[*number]);
        }
        assert_eq!((status.damaged, status.put_aside), (0, 0));
    }
}

impl Model {
    /// After a call that may have had nothing to do: then nothing changed.
    fn settle_if(&mut self, status: &SpoolStatus) {
        let kept: u64 = status.records.values().sum();
        if kept < self.chunks.values().map(|sequences| sequences.len() as u64).sum() {
            self.settle(status);
        }
    }
}

fn open_small(dir: &Path) -> Spool {
    Spool::open(Options { bytes_max: BYTES, ..Options::new(dir) }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_are_as_the_model_says(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
            run.check();
        }
    }
}
