//! The spool: what a record costs that is put in and read, beside a plain file that the same bytes are appended to.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use sensor_user::identity::{Confidence, Source};
use sensor_user::policy::member::Mac;
use sensor_user::record::Record;
use sensor_user::spool::{Next, Options as SpoolOptions, Reader, Spool, Start};
use serde::{Deserialize as _, Serialize as _};

use crate::month::{self, Draw};
use crate::statistics::Row;
use crate::table::table;
use crate::{cpu, store};

/// Records of a round, in each size of batch.
const RECORDS: u64 = 50_000;

/// Batches of the daemon on a busy campus, and on a quiet day: five a second in either case.
const BUSY: u64 = 5_000;
const QUIET: u64 = 25;

/// Level of zstd, as in the spool.
const LEVEL: i32 = 1;

/// When the first record ends, µs since 1970: 2026-03-30T06:00:00Z.
const START_US: i64 = 1_774_850_400_000_000;

/// Time between two records, µs.
const APART_US: i64 = 40;

/// The sink that reads.
const SINK: &str = "bench";

#[derive(Args)]
pub(crate) struct Options {
    /// Directory to make the spools in, 200 MB; they are removed afterwards. What waiting for the disk costs is that of its
    /// disk.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds over all scenarios.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// Records are packed, appended to a file, and the disk is waited for.
    FileAppend(u64),
    /// The same by the spool.
    SpoolAppend(u64),
    /// The same, encrypted.
    SpoolAppendEncrypted(u64),
    /// The file is read and unpacked.
    FileRead(u64),
    /// A sink reads and acknowledges what was appended.
    SpoolRead(u64),
    /// The same, encrypted.
    SpoolReadEncrypted(u64),
}

use Scenario::{
    FileAppend, FileRead, SpoolAppend, SpoolAppendEncrypted, SpoolRead, SpoolReadEncrypted,
};

/// Each append before what reads it, and its baseline before either.
const SCENARIOS: [Scenario; 12] = [
    FileAppend(BUSY),
    SpoolAppend(BUSY),
    SpoolAppendEncrypted(BUSY),
    FileRead(BUSY),
    SpoolRead(BUSY),
    SpoolReadEncrypted(BUSY),
    FileAppend(QUIET),
    SpoolAppend(QUIET),
    SpoolAppendEncrypted(QUIET),
    FileRead(QUIET),
    SpoolRead(QUIET),
    SpoolReadEncrypted(QUIET),
];

impl Scenario {
    const fn name(self) -> &'static str {
        match self {
            FileAppend(BUSY) => "file-append",
            SpoolAppend(BUSY) => "spool-append",
            SpoolAppendEncrypted(BUSY) => "spool-append-encrypted",
            FileRead(BUSY) => "file-read",
            SpoolRead(BUSY) => "spool-read",
            SpoolReadEncrypted(BUSY) => "spool-read-encrypted",
            FileAppend(_) => "file-append-25",
            SpoolAppend(_) => "spool-append-25",
            SpoolAppendEncrypted(_) => "spool-append-25-encrypted",
            FileRead(_) => "file-read-25",
            SpoolRead(_) => "spool-read-25",
            SpoolReadEncrypted(_) => "spool-read-25-encrypted",
        }
    }

    /// What it is compared with.
    const fn baseline(self) -> Self {
        match self {
            FileAppend(batch) | SpoolAppend(batch) | SpoolAppendEncrypted(batch) => {
                FileAppend(batch)
            }
            FileRead(batch) | SpoolRead(batch) | SpoolReadEncrypted(batch) => FileRead(batch),
        }
    }

    const fn batch(self) -> u64 {
        match self {
            FileAppend(batch)
            | SpoolAppend(batch)
            | SpoolAppendEncrypted(batch)
            | FileRead(batch)
            | SpoolRead(batch)
            | SpoolReadEncrypted(batch) => batch,
        }
    }
}

/// What one round of a scenario took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu: Duration,
    wall: Duration,
    /// What the records are in the end.
    bytes: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let dir = tempfile::tempdir_in(&options.dir)
        .with_context(|| format!("make a directory in {}", options.dir.display()))?;
    let key_file = dir.path().join("key");
    fs::write(&key_file, "5a".repeat(sensor_user::spool::KEY_BYTES))?;
    fs::set_permissions(&key_file, Permissions::from_mode(0o600))?;
    cpu::stay().context("stay on one CPU")?;
    let mut costs = vec![Vec::new(); SCENARIOS.len()];
    for round in 0..options.rounds {
        let records = draw(u64::from(round) * RECORDS);
        for (scenario, costs) in SCENARIOS.iter().zip(&mut costs) {
            let cost = measure(dir.path(), &key_file, *scenario, &records);
            costs.push(cost.with_context(|| format!("measure {}", scenario.name()))?);
        }
        fs::read_dir(dir.path())?.try_for_each(|entry| {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { Ok(()) }
        })?;
    }
    let rows = rows(&costs);
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    print(&rows, &costs, options.rounds).context("print the figures")
}

/// CPU time of a record, and, of what appends, its bytes.
fn rows(costs: &[Vec<Cost>]) -> Vec<Row> {
    let figures = |scenario: Scenario, figure: fn(&Cost) -> f64| -> Vec<f64> {
        let at = SCENARIOS.iter().position(|other| *other == scenario);
        let rounds = at.and_then(|at| costs.get(at)).map(Vec::as_slice).unwrap_or_default();
        rounds.iter().map(figure).collect()
    };
    let mut rows = Vec::new();
    for scenario in SCENARIOS {
        let baseline = scenario.baseline();
        let row = |figure, unit| Row {
            unit,
            ..Row::new(
                scenario.name(),
                &figures(scenario, figure),
                baseline.name(),
                &figures(baseline, figure),
            )
        };
        rows.push(row(|cost| per_record(cost.cpu.as_secs_f64() * 1e9), "ns/record"));
        if matches!(scenario, FileAppend(_) | SpoolAppend(_) | SpoolAppendEncrypted(_)) {
            #[expect(clippy::cast_precision_loss, reason = "some MB")]
            rows.push(row(|cost| per_record(cost.bytes as f64), "bytes/record"));
        }
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "some thousand")]
const fn per_record(sum: f64) -> f64 {
    sum / RECORDS as f64
}

fn print(rows: &[Row], costs: &[Vec<Cost>], rounds: u32) -> io::Result<()> {
    let head = ["scenario", "median", "min", "max", "unit", "ratio", "ms a batch"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let [median, min, max] = [row.median_ns, row.min_ns, row.max_ns];
        let numbers = [median, min, max].map(|figure| format!("{figure:.1}"));
        let [median, min, max] = numbers;
        let is_time = row.unit == "ns/record";
        let wall = if is_time { wall_ms(row.scenario, costs) } else { String::new() };
        let (name, unit) = (row.scenario.to_owned(), row.unit.to_owned());
        lines.push(vec![name, median, min, max, unit, format!("{:.2}", row.ratio), wall]);
    }
    let mut out = io::stdout().lock();
    write!(out, "{}", table(&lines))?;
    writeln!(
        out,
        "\nCPU time of one thread, {rounds} rounds of {RECORDS} records in batches of {BUSY} and of {QUIET}. ratio: to a file \
         that the same bytes\nare appended to. ms a batch: until it is on the disk, or read, in the middle of the rounds. \
         Bytes of the spool are those of\nits pages."
    )
}

/// Time of a batch, in the middle of the rounds.
fn wall_ms(name: &str, costs: &[Vec<Cost>]) -> String {
    let at = SCENARIOS.iter().position(|scenario| scenario.name() == name);
    let Some((scenario, costs)) = at.and_then(|at| SCENARIOS.get(at).zip(costs.get(at))) else {
        return String::new();
    };
    let mut walls: Vec<_> = costs.iter().map(|cost| cost.wall).collect();
    walls.sort_unstable();
    let middle = walls.get(walls.len() / 2).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "some thousand")]
    let batches = (RECORDS / scenario.batch()) as f64;
    format!("{:.2}", middle.as_secs_f64() * 1e3 / batches)
}

/// Records of a campus, with all that is known of who was there.
fn draw(from: u64) -> Vec<Record> {
    let mut draw = Draw(from);
    let mut end_us = START_US;
    (from..from + RECORDS)
        .map(|sequence| {
            end_us += APART_US;
            let record = store::record(sequence, end_us, &mut draw);
            let device = record.flow_id % month::DEVICES;
            let [.., high, low] = device.to_be_bytes();
            Record {
                mac: Some(Mac([0x02, 0x53, 0, 0, high, low])),
                mac_randomised: Some(true),
                host_name: Some(format!("pc-{device}")),
                user: Some(format!("u{:05}.smith", device * 7 % 100_000)),
                identity_source: Some(Source::Radius),
                identity_confidence: Some(Confidence::Confirmed),
                ..record
            }
        })
        .collect()
}

/// One round.
fn measure(dir: &Path, key_file: &Path, scenario: Scenario, records: &[Record]) -> Result<Cost> {
    let size = usize::try_from(scenario.batch())?;
    let file = dir.join(format!("plain-{size}"));
    fs::create_dir_all(&file)?;
    let file = file.join("file");
    let plain = dir.join(format!("spool-{size}"));
    let encrypted = dir.join(format!("spool-encrypted-{size}"));
    match scenario {
        FileAppend(_) => append_to_file(&file, records.chunks(size)),
        FileRead(_) => read_file(&file, records),
        SpoolAppend(_) => append_to_spool(open(&plain, None)?, records.chunks(size)),
        SpoolRead(_) => read_spool(open(&plain, None)?, records),
        SpoolAppendEncrypted(_) => {
            append_to_spool(open(&encrypted, Some(key_file))?, records.chunks(size))
        }
        SpoolReadEncrypted(_) => read_spool(open(&encrypted, Some(key_file))?, records),
    }
}

/// Times what is done.
fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let (cpu, wall) = (cpu::used(), Instant::now());
    let done = run()?;
    Ok((done, Cost { cpu: cpu::used().saturating_sub(cpu), wall: wall.elapsed(), bytes: 0 }))
}

fn append_to_file<'a>(path: &Path, batches: impl Iterator<Item = &'a [Record]>) -> Result<Cost> {
    let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
    let ((), cost) = timed(|| {
        for batch in batches {
            let mut plain = Vec::new();
            let mut to = rmp_serde::Serializer::new(&mut plain).with_human_readable();
            for record in batch {
                record.serialize(&mut to)?;
            }
            let packed = zstd::bulk::compress(&plain, LEVEL)?;
            let lengths = [packed.len(), plain.len()];
            for length in lengths {
                file.write_all(&u32::try_from(length)?.to_le_bytes())?;
            }
            file.write_all(&packed)?;
            file.sync_data()?;
        }
        Ok(())
    })?;
    Ok(Cost { bytes: fs::metadata(path)?.len(), ..cost })
}

fn read_file(path: &Path, expected: &[Record]) -> Result<Cost> {
    let mut file = File::open(path)?;
    let (records, cost) = timed(|| {
        let mut records = Vec::with_capacity(expected.len());
        let mut lengths = [[0; 4]; 2];
        while records.len() < expected.len() {
            for length in &mut lengths {
                file.read_exact(length)?;
            }
            let [packed_bytes, plain_bytes] = lengths.map(u32::from_le_bytes);
            let mut packed = vec![0; usize::try_from(packed_bytes)?];
            file.read_exact(&mut packed)?;
            let plain = zstd::bulk::decompress(&packed, usize::try_from(plain_bytes)?)?;
            let mut rest = plain.as_slice();
            while !rest.is_empty() {
                let mut from = rmp_serde::Deserializer::new(&mut rest).with_human_readable();
                records.push(Record::deserialize(&mut from)?);
            }
        }
        Ok(records)
    })?;
    ensure!(records == expected, "the file has other records");
    Ok(cost)
}

fn open(dir: &Path, key_file: Option<&Path>) -> Result<(Spool, Reader)> {
    let options = SpoolOptions { key_file: key_file.map(Path::to_owned), ..SpoolOptions::new(dir) };
    let mut spool = Spool::open(options)?;
    let reader = spool.reader(SINK, Start::Oldest)?;
    Ok((spool, reader))
}

fn append_to_spool<'a>(
    (mut spool, reader): (Spool, Reader),
    batches: impl Iterator<Item = &'a [Record]>,
) -> Result<Cost> {
    let ((), cost) = timed(|| {
        for batch in batches {
            spool.append(batch, START_US)?;
        }
        Ok(())
    })?;
    let bytes = spool.watch().status(START_US).bytes;
    drop(reader);
    spool.close()?;
    Ok(Cost { bytes, ..cost })
}

fn read_spool((spool, mut reader): (Spool, Reader), expected: &[Record]) -> Result<Cost> {
    let (records, cost) = timed(|| {
        let mut records = Vec::with_capacity(expected.len());
        while let Next::Batch(batch) = reader.next(Duration::ZERO)? {
            records.extend(batch.records);
            reader.acknowledge(batch.number);
        }
        Ok(records)
    })?;
    ensure!(records == expected, "the spool has other records");
    drop(reader);
    spool.close()?;
    Ok(cost)
}
