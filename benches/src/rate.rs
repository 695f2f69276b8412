//! Flows that end, from the kernel to the day store: how many a second all of it keeps up with, beside the programs that
//! make them, and what memory it takes.
//!
//! The daemon's own threads run here: rings, assembly, store. Each flow is a connection with both handshakes, a hello with a
//! name, an answer and both FINs, six packets through the loaded programs. What is missing of a daemon is the control socket.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{self, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use sensor_ebpf::abi::{Accounting, Direction, Happening, Volume};
use sensor_user::assembly::{Assembler, Identity, Timeouts};
use sensor_user::config::{Config, Flow};
use sensor_user::kernel::KernelError;
use sensor_user::kernel::counters::{Counters, Totals};
use sensor_user::kernel::lab::Lab;
use sensor_user::kernel::object::{Object, Sizes};
use sensor_user::metrics::Metrics;
use sensor_user::pipeline::{self, Drains, Pipeline};
use sensor_user::policy::generations::Generations;
use sensor_user::spool::{Options as SpoolOptions, Spool, Start};
use sensor_user::store::DayStore;

use crate::frames::{self, Path};
use crate::payloads::{self, NamePlace};
use crate::stand::{SLOT, Stand};
use crate::table::table;

/// Devices that have the flows, in turn.
const DEVICES: u32 = 20_000;

/// The first turn of flows that stay: behind all devices.
const STAYING: u32 = 1 << 20;

/// Names the flows are for, in turn.
const NAMES: usize = 2_000;

/// Steps a second in which flows come and go: each waits for some grace periods of the kernel's, which test runs of XDP
/// programs begin and end with.
const STEPS: u32 = 8;

/// Room for flows beside those that stay: a few seconds of them linger.
const ROOM: u32 = 1 << 19;

/// Bytes of the ring of flow ends.
const RING: u32 = 16 << 20;

/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(10);

/// Longest wait for what is left to be stored.
const PATIENCE: Duration = Duration::from_mins(2);

/// Client port of the first connections.
const FIRST_PORT: u16 = 20_000;

/// What a server answers with: the bytes say nothing.
const ANSWER: [u8; 900] = [0x17; 900];

#[derive(Args)]
pub(crate) struct Options {
    /// Directory to make the day file in, some 200 bytes a flow; it is removed afterwards.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Flows that end, a second.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    rate: u32,
    /// For how long.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Flows that stay in the table meanwhile.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4_000_000))]
    live: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut out = io::stdout().lock();
    let dir = tempfile::tempdir_in(&options.dir)
        .with_context(|| format!("make a directory in {}", options.dir.display()))?;
    let sizes = Sizes { flows: options.live + ROOM, flow_end_ring: RING, ..Sizes::SMALL };
    let metrics = Arc::<Metrics>::default();
    let (pipeline, mut traffic) = start(Stand::with(sizes)?, dir.path(), &metrics)?;
    traffic.stay(options.live)?;

    let before = Usage::now()?;
    let made = traffic.make(options.rate, options.seconds)?;
    let seconds = traffic.taken.as_secs_f64();
    let used = Usage::now()?.since(&before);
    let behind = made.saturating_sub(metrics.records_stored.get());
    let ended = Instant::now();
    // What the table had no room for has no record.
    let refused = || traffic.count(|totals| totals.accounted(Accounting::TableFull).packets);
    let is_stored = || -> Result<bool> { Ok(metrics.records_stored.get() + refused()? >= made) };
    while !is_stored()? && ended.elapsed() < PATIENCE {
        thread::sleep(POLL);
    }
    let (late, memory) = (ended.elapsed(), Memory::now()?);
    let (stored, refused) = (metrics.records_stored.get(), refused()?);
    let lost = traffic.count(|totals| totals.happened(Happening::FlowEndLost))?;

    let rate = made * 1000 / u64::try_from(traffic.taken.as_millis())?;
    writeln!(
        out,
        "{made} flows ended in {seconds:.1} s, {rate} a second, beside {} that stay",
        options.live
    )?;
    writeln!(
        out,
        "{behind} of them were not stored then, and all were {:.1} s later",
        late.as_secs_f64()
    )?;
    writeln!(
        out,
        "{lost} ends found no room in the ring, and sweeps found them; {refused} packets no room in the table"
    )?;
    let mut lines = vec![["thread", "CPU s", "of a core"].map(str::to_owned).to_vec()];
    for (name, used) in used {
        let used = used.as_secs_f64();
        lines.push(vec![name, format!("{used:.1}"), format!("{:.2}", used / seconds)]);
    }
    write!(out, "{}", table(&lines))?;
    let Memory { anonymous, mapped, peak } = memory;
    writeln!(
        out,
        "resident: {} MiB of its own, {} MiB of the kernel's maps and of files; at most {} MiB in all",
        anonymous >> 10,
        mapped >> 10,
        peak >> 10,
    )?;
    ensure!(stored <= made, "{made} flows ended, and {stored} records are stored");
    ensure!(stored + refused >= made, "{} flows have no record", made - stored);
    pipeline.stop();
    Ok(())
}

fn start(
    mut stand: Stand,
    dir: &path::Path,
    metrics: &Arc<Metrics>,
) -> Result<(Pipeline, Traffic)> {
    let mut mutator = Lab::load()?;
    mutator.mutate_into(&mut stand.object)?;
    let Stand { object, flows, rings, counters, .. } = stand;
    let identity = Identity {
        sensor: "bench".to_owned(),
        boot: "9f0c1f8e-5d0a-4c39-9c5c-0a5a64a4a2d1".to_owned(),
    };
    let generations = Generations::open(&dir.join("generations.json"), &identity.boot)?;
    let defaults =
        Config::parse("[[interface]]\nname = \"lan0\"\n", path::Path::new("defaults"), "bench")?;
    // Those that stay do so to the end.
    let flow = Flow { idle_timeout_s: 3600, ..defaults.flow };
    let interfaces = vec![(1, "lan0".to_owned())];
    let assembler = Assembler::new(
        flows,
        Timeouts::from(&flow),
        identity,
        interfaces,
        Arc::new(generations),
        0,
    );
    let mut spool = Spool::open(SpoolOptions::new(&dir.join("spool")))?;
    let reader = spool.reader("day-store", Start::Oldest)?;
    let store = DayStore::open(dir, "bench")?;
    let drains = Drains { spool, pseudonyms: None, store, reader, retention_days: 30 };
    let sweep = Duration::from_millis(u64::from(flow.sweep_interval_ms));
    let counted = Box::new(|| Ok(Volume::default()));
    let pipeline = pipeline::start(rings, assembler, drains, sweep, counted, metrics)?;
    let traffic = Traffic { mutator, counters, _object: object, taken: Duration::ZERO };
    Ok((pipeline, traffic))
}

/// What makes flows.
struct Traffic {
    mutator: Lab,
    counters: Counters,
    /// Held for its programs.
    _object: Object,
    taken: Duration,
}

impl Traffic {
    /// A count of both directions.
    fn count(&self, of: impl Fn(&Totals) -> u64) -> Result<u64> {
        let both = [Direction::Ingress, Direction::Egress]
            .map(|direction| Ok::<_, KernelError>(of(&self.counters.totals(SLOT, direction)?)));
        let [there, back] = both;
        Ok(there? + back?)
    }

    /// Makes flows that stay.
    fn stay(&mut self, count: u32) -> Result<()> {
        self.mutator.turn_to(STAYING)?;
        if count > 0 {
            self.mutator.repeat("mutate", &frames::syn(path(0)), count)?;
        }
        Ok(())
    }

    /// Makes flows that end, so many a second; how many there were.
    fn make(&mut self, rate: u32, seconds: u32) -> Result<u64> {
        let hellos: Vec<_> = (0..NAMES)
            .map(|number| {
                payloads::client_hello(&format!("www.site{number}.example"), NamePlace::First)
            })
            .collect();
        let step = rate / STEPS;
        let begin = Instant::now();
        let (mut made, mut device, mut lap) = (0, 0, 0);
        for (number, hello) in (0..STEPS * seconds).zip(hellos.iter().cycle()) {
            if device + step > DEVICES {
                (device, lap) = (0, lap + 1);
            }
            self.step(path(lap), hello, device, step)?;
            device += step;
            made += u64::from(step);
            let due = begin + Duration::from_secs(1) / STEPS * (number + 1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.taken = begin.elapsed();
        Ok(made)
    }

    /// So many connections, from the first packet to the last.
    fn step(&mut self, path: Path, hello: &[u8], first: u32, count: u32) -> Result<()> {
        let (sent, answered) = (hello.len(), ANSWER.len());
        let packets = [
            (Way::There, frames::syn(path)),
            (Way::Back, frames::syn_ack(path)),
            (Way::There, frames::segment(path, 0, hello)),
            (Way::Back, frames::reply(path, sent, &ANSWER)),
            (Way::There, frames::fin(path, sent)),
            (Way::Back, frames::fin_back(path, answered, sent + 1)),
        ];
        for (way, frame) in packets {
            self.mutator.turn_to(first)?;
            match way {
                Way::There => self.mutator.repeat("mutate", &frame, count)?,
                Way::Back => self.mutator.repeat_back(&frame, count)?,
            };
        }
        Ok(())
    }
}

/// Which hook a packet passes.
#[derive(Clone, Copy)]
enum Way {
    There,
    Back,
}

/// The connections of a lap: each has ports of its own.
fn path(lap: u16) -> Path {
    let source = SocketAddr::from(([192, 0, 2, 7], FIRST_PORT.wrapping_add(lap)));
    Path { source, destination: SocketAddr::from(([198, 51, 100, 9], 443)), vlan: None }
}

/// CPU time of this process by thread.
struct Usage(Vec<(String, Duration)>);

impl Usage {
    /// So far.
    fn now() -> Result<Self> {
        let mut threads = Vec::new();
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?.trim().to_owned();
            // ns on a CPU lead (`Documentation/scheduler/sched-stats.rst`).
            let used = fs::read_to_string(task.join("schedstat"))?;
            let used = used.split_whitespace().next().context("no time in schedstat")?.parse()?;
            threads.push((name, Duration::from_nanos(used)));
        }
        Ok(Self(threads))
    }

    /// What came since then, by thread.
    fn since(&self, before: &Self) -> Vec<(String, Duration)> {
        let earlier = |name: &str| {
            let found = before.0.iter().find(|(known, _)| known == name);
            found.map_or(Duration::ZERO, |(_, used)| *used)
        };
        self.0
            .iter()
            .map(|(name, used)| (name.clone(), used.saturating_sub(earlier(name))))
            .collect()
    }
}

/// Memory of this process, KiB (`proc_pid_status(5)`).
struct Memory {
    anonymous: u64,
    mapped: u64,
    peak: u64,
}

impl Memory {
    fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|rest| rest.split_whitespace().nth(1));
            Ok(value.with_context(|| format!("no {name} in the status"))?.parse()?)
        };
        Ok(Self {
            anonymous: field("RssAnon")?,
            mapped: field("RssFile")? + field("RssShmem")?,
            peak: field("VmHWM")?,
        })
    }
}
