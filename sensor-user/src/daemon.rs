//! A sensor's life: check everything, load, fill, attach, run, stop.
//!
//! Nothing is attached before everything that can be wrong was looked at; a start that fails on an
//! interface takes back what it attached. Stopping leaves the programs at work: leaving is `detach`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use sensor_ebpf::abi::{Direction, Side};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::assembly::{Assembler, Identity, Timeouts};
use crate::clock;
use crate::config::{AttachMode, Config};
use crate::control::server::{self, Daemon};
use crate::control::status::{InterfaceNames, InterfaceStatus, PolicyStatus, RecordStatus, Status};
use crate::kernel::attach::{self, Mode, Wanted};
use crate::kernel::control::ControlCell;
use crate::kernel::counters::Counters;
use crate::kernel::events::Rings;
use crate::kernel::flows::FlowTable;
use crate::kernel::object::{Clock, Object, Sizes};
use crate::kernel::preflight;
use crate::kernel::tables::{PolicyImage, PolicyTables, table_of};
use crate::metrics::Metrics;
use crate::names::{self, Meter};
use crate::pipeline::{self, Pipeline};
use crate::policy::Policy;
use crate::policy::generations::Generations;
use crate::record::Record;
use crate::store::{DayStore, Query, Reader};

/// How often the data path's threads are looked after.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Newest records looked at for flows an earlier daemon recorded last: more than it had on its way.
const RECONCILED_MAX: u64 = 50_000;

/// File beside the records that keeps what policy generations mean.
const GENERATIONS_FILE: &str = "policy-generations.json";

/// Runs a sensor until it is told to stop.
pub fn run(config: &Config) -> anyhow::Result<()> {
    preflight::check()?;
    let policy = Policy::load(&config.policy.file)?;
    for interface in &config.interface {
        attach::ifindex(&interface.name)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the control threads")?;
    let listener = {
        let _inside = runtime.enter();
        let socket = &config.control.socket;
        server::listen(socket).with_context(|| format!("control socket {}", socket.display()))?
    };
    let (sensor, pipeline) = Sensor::start(config, policy)?;
    let sensor = Arc::new(sensor);
    info!(sensor = %config.sensor.name, "running");
    let served = runtime.block_on(until_stopped(&sensor, &pipeline, listener));
    info!("stopping; the programs stay at work until `campus-sensor detach`");
    pipeline.stop();
    // An error here is a socket somebody removed already.
    let _gone = std::fs::remove_file(&config.control.socket);
    served
}

/// Takes every program of this configuration off its interfaces.
pub fn detach(config: &Config) -> anyhow::Result<Vec<String>> {
    let interfaces: Vec<String> =
        config.interface.iter().map(|interface| interface.name.clone()).collect();
    Ok(attach::detach(&config.kernel.bpffs, &interfaces)?)
}

async fn until_stopped(
    sensor: &Arc<Sensor>,
    pipeline: &Pipeline,
    listener: tokio::net::UnixListener,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut health = tokio::time::interval(HEALTH_INTERVAL);
    let (stop, stopped) = watch::channel(false);
    let mut served = tokio::spawn(server::serve(listener, Arc::clone(sensor), async move {
        let mut stopped = stopped;
        // The sender outlives this; an error would mean the same.
        let _told = stopped.wait_for(|stop| *stop).await;
    }));
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv() => {
                let sensor = Arc::clone(sensor);
                tokio::task::spawn_blocking(move || {
                    // Said in the log by the reload itself.
                    let _logged = sensor.reload_policy();
                });
            }
            _ = health.tick() => {
                if !pipeline.is_running() {
                    break Err(anyhow::anyhow!("a thread of the data path ended; see the log"));
                }
                let sensor = Arc::clone(sensor);
                tokio::task::spawn_blocking(move || sensor.keep_time());
            },
            ended = &mut served => {
                break ended.context("control socket")?.context("control socket");
            }
        }
    };
    // Nobody listens where the server has ended.
    let _nobody = stop.send(true);
    outcome
}

/// A running sensor, as the control socket sees it.
struct Sensor {
    name: String,
    started: Instant,
    policy_file: PathBuf,
    interfaces: Vec<Attached>,
    counters: Mutex<Counters>,
    policy: Mutex<PolicyInForce>,
    metrics: Arc<Metrics>,
    kernel_memory: Vec<(&'static str, u64)>,
    quic_unread: Option<String>,
    /// Held for its programs; they stay loaded while attached in any case.
    _object: Object,
}

/// The policy in force and what it takes to replace it.
struct PolicyInForce {
    policy: Policy,
    /// What the policy says now is not in the kernel yet.
    is_behind: bool,
    tables: PolicyTables,
    control: ControlCell,
    generations: Arc<Generations>,
    status: PolicyStatus,
}

struct Attached {
    name: String,
    ifindex: u32,
    side: Side,
    mode: Mode,
    slot: u16,
}

impl Sensor {
    fn start(config: &Config, policy: Policy) -> anyhow::Result<(Self, Pipeline)> {
        let boot = boot_id()?;
        let store = DayStore::open(&config.store.dir, &config.sensor.name)?;
        let sequence = store.last_sequence(&boot)?.map_or(0, |last| last + 1);
        let file = config.store.dir.join(GENERATIONS_FILE);
        let generations = Generations::open(&file, &boot).with_context(|| {
            format!("{}: remove it to go on; older flows lose their categories", file.display())
        })?;
        let generations = Arc::new(generations);
        let names = Mutex::new(recent_names(&config.store.dir));
        let metrics = Arc::new(Metrics { names, ..Metrics::default() });

        let sizes = sizes(config);
        let mut object = Object::load(sizes, Clock::Live, Some(&config.kernel.bpffs))?;
        #[cfg(feature = "trace")]
        object.follow_log()?;
        for (knob, size) in object.kept_sizes() {
            warn!(knob, size, "the pinned map keeps its size; `detach` first to change it");
        }
        if let Some(reason) = object.quic_refusal() {
            warn!(reason, "QUIC is not read: policy decides by quic-unsupported");
        }
        let control = ControlCell::open(&object)?;
        control.drop_anomalies(config.normaliser.dropped());
        control.limit_quic(config.quic.initials_per_second, config.quic.hold_s);
        let tables = PolicyTables::open(&mut object, sizes.domains)?;
        let status = PolicyStatus {
            version: String::new(),
            generation: control.policy(),
            names: 0,
            table_bytes: 0,
            groups: 0,
            schedules_on: Vec::new(),
            refused: 0,
        };
        warn_of(&policy);
        let meanings = Arc::clone(&generations);
        let mut in_force = PolicyInForce {
            policy,
            is_behind: true,
            tables,
            control,
            generations: meanings,
            status,
        };
        in_force.push()?;
        let mut counters = Counters::open(&mut object)?;
        let interfaces = attach_all(&mut object, &mut counters, config)?;
        object.retire_other_stages()?;

        let names = interfaces.iter().map(|one| (one.ifindex, one.name.clone())).collect();
        let identity = Identity { sensor: config.sensor.name.clone(), boot };
        let table = FlowTable::open(&mut object)?;
        let timeouts = Timeouts::from(&config.flow);
        let mut assembler = Assembler::new(table, timeouts, identity, names, generations, sequence);
        assembler.reconcile(&newest_records(&config.store.dir), clock::now())?;
        let rings = Rings::open(&mut object)?;
        let sweep = Duration::from_millis(u64::from(config.flow.sweep_interval_ms));
        let retention = config.store.retention_days;
        let pipeline = pipeline::start(rings, assembler, store, retention, sweep, &metrics)?;

        let kernel_memory = config.kernel_memory();
        let bytes: u64 = kernel_memory.iter().map(|(_, bytes)| bytes).sum();
        info!(mib = bytes >> 20, "kernel memory, at most");
        for (map, bytes) in &kernel_memory {
            info!(map, kib = bytes >> 10, "kernel memory");
        }
        let sensor = Self {
            name: config.sensor.name.clone(),
            started: Instant::now(),
            policy_file: config.policy.file.clone(),
            interfaces,
            counters: Mutex::new(counters),
            policy: Mutex::new(in_force),
            metrics,
            kernel_memory,
            quic_unread: object.quic_refusal().map(str::to_owned),
            _object: object,
        };
        Ok((sensor, pipeline))
    }

    /// Follows the policy's schedules. What holds stays where that fails, and is tried again.
    fn keep_time(&self) {
        let mut in_force = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(failure) = in_force.keep_time() {
            error!(error = format!("{failure:#}"), "a schedule was not put in force");
        }
    }

    fn direction(
        &self,
        interface: &Attached,
        direction: Direction,
    ) -> anyhow::Result<crate::control::status::DirectionStatus> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((&counters.totals(interface.slot, direction)?).into())
    }
}

impl Daemon for Sensor {
    fn status(&self) -> anyhow::Result<Status> {
        let clocks = clock::now();
        let now_us = clocks.wall_us(clocks.now_ns);
        let mut interfaces = Vec::new();
        for interface in &self.interfaces {
            let names = {
                let meter = self.metrics.names.lock().unwrap_or_else(PoisonError::into_inner);
                let name = &interface.name;
                let (recent, since_start) = (meter.recent(name, now_us), meter.since_start(name));
                InterfaceNames { recent, since_start }
            };
            interfaces.push(InterfaceStatus {
                name: interface.name.clone(),
                ifindex: interface.ifindex,
                side: interface.side.name().to_owned(),
                mode: interface.mode.to_string(),
                ingress: self.direction(interface, Direction::Ingress)?,
                egress: self.direction(interface, Direction::Egress)?,
                names,
            });
        }
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).status.clone();
        policy.refused = self.metrics.policies_refused.get();
        Ok(Status {
            sensor: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            policy,
            names_since: Timestamp::from_microsecond(names::recent_since(now_us))?.to_string(),
            interfaces,
            records: RecordStatus::from(&*self.metrics),
            quic_unread: self.quic_unread.clone(),
            kernel_memory: self
                .kernel_memory
                .iter()
                .map(|(map, bytes)| ((*map).to_owned(), *bytes))
                .collect(),
        })
    }

    fn reload_policy(&self) -> anyhow::Result<PolicyStatus> {
        let pushed =
            Policy::load(&self.policy_file).map_err(anyhow::Error::from).and_then(|policy| {
                let mut in_force = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
                in_force.replace(policy)?;
                Ok(in_force.status.clone())
            });
        match &pushed {
            Ok(status) => {
                info!(version = status.version, generation = status.generation, "policy in force");
            }
            Err(refusal) => {
                self.metrics.policies_refused.add(1);
                error!(error = format!("{refusal:#}"), "policy refused; the last good one stays");
            }
        }
        pushed
    }
}

impl PolicyInForce {
    /// Puts another policy in force; on an error the one before stays.
    fn replace(&mut self, policy: Policy) -> anyhow::Result<()> {
        warn_of(&policy);
        let before = std::mem::replace(&mut self.policy, policy);
        let pushed = self.push();
        if pushed.is_err() {
            self.policy = before;
        }
        pushed
    }

    /// Puts the rules in force that hold now, where a schedule has begun or ended since.
    fn keep_time(&mut self) -> anyhow::Result<()> {
        self.is_behind |= self.policy.turn(Timestamp::now());
        if self.is_behind {
            let Self { policy, tables, control, generations, .. } = self;
            let image = PolicyImage::without_names(policy);
            let note = |generation| generations.note(generation, policy);
            let generation = tables.push_rules(control, &image, note)?;
            self.note(generation);
            let on = self.status.schedules_on.join(", ");
            info!(generation = self.status.generation, on, "schedules");
        }
        Ok(())
    }

    fn push(&mut self) -> anyhow::Result<()> {
        let Self { policy, tables, control, generations, .. } = self;
        let image = PolicyImage::without_names(policy);
        let table = table_of(policy, control.hash_key())?;
        let note = |generation| generations.note(generation, policy);
        let generation = tables.push_with(control, &image, &table, note)?;
        self.status.table_bytes = table.bytes();
        self.note(generation);
        Ok(())
    }

    /// Notes that the policy is in force as this generation.
    fn note(&mut self, generation: u32) {
        let policy = &self.policy;
        self.status = PolicyStatus {
            version: policy.version().to_owned(),
            generation,
            names: policy.entry_count(),
            table_bytes: self.status.table_bytes,
            groups: policy.groups().count(),
            schedules_on: policy.schedules_on().into_iter().map(str::to_owned).collect(),
            refused: 0,
        };
        self.is_behind = false;
    }
}

fn warn_of(policy: &Policy) {
    for warning in &policy.warnings().shown {
        warn!("{warning}");
    }
}

/// Attaches to every interface, or to none that was not attached before.
fn attach_all(
    object: &mut Object,
    counters: &mut Counters,
    config: &Config,
) -> anyhow::Result<Vec<Attached>> {
    let mut attached = Vec::new();
    let mut fresh = Vec::new();
    for (slot, interface) in (0_u16..).zip(&config.interface) {
        let name = &interface.name;
        let was_attached = attach::is_attached(&config.kernel.bpffs, name);
        match attach_one(object, counters, slot, interface) {
            Ok(one) => attached.push(one),
            Err(refusal) => {
                fresh.extend((!was_attached).then_some(name.as_str()));
                for name in fresh {
                    attach::detach_interface(&config.kernel.bpffs, name)?;
                }
                return Err(refusal);
            }
        }
        fresh.extend((!was_attached).then_some(name.as_str()));
    }
    Ok(attached)
}

fn attach_one(
    object: &mut Object,
    counters: &mut Counters,
    slot: u16,
    interface: &crate::config::Interface,
) -> anyhow::Result<Attached> {
    let crate::config::Interface { name, side, mode, zone } = interface;
    let ifindex = attach::ifindex(name)?;
    let side = Side::from(*side);
    // Until the mode is known, no checksum is relied on that may not be there.
    counters.watch(name, ifindex, slot, *zone, side, Mode::Generic)?;
    let wanted = match mode {
        AttachMode::Auto => Wanted::Auto,
        AttachMode::Native => Wanted::Only(Mode::Native),
        AttachMode::Generic => Wanted::Only(Mode::Generic),
    };
    let mode = object.attach(name, wanted)?;
    counters.watch(name, ifindex, slot, *zone, side, mode)?;
    if mode == Mode::Generic && wanted == Wanted::Auto {
        warn!(interface = name, "the driver has no native XDP: generic mode, slower");
    }
    info!(interface = name, %mode, side = side.name(), "attached");
    Ok(Attached { name: name.clone(), ifindex, side, mode, slot })
}

/// The newest records of the store. Without them a flow that was recorded right before an earlier
/// daemon died is recorded again: worth a warning, no reason not to start.
fn newest_records(store: &Path) -> Vec<Record> {
    let query = Query { limit: Some(RECONCILED_MAX), ..Query::default() };
    Reader::open(store).and_then(|reader| reader.flows(&query)).unwrap_or_else(|error| {
        warn!(%error, "older records cannot be read: flows of before may be counted twice");
        Vec::new()
    })
}

/// What had a name in the recent hours, before this daemon. Without it the meter starts at nothing.
fn recent_names(store: &Path) -> Meter {
    let clocks = clock::now();
    let since = Timestamp::from_microsecond(names::recent_since(clocks.wall_us(clocks.now_ns)));
    let kept = since.map_err(anyhow::Error::from).and_then(|since| {
        let reader = Reader::open(store)?;
        Ok(reader.names_by_hour(since)?)
    });
    Meter::resume(kept.unwrap_or_else(|error| {
        warn!(error = format!("{error:#}"), "what had a name before the start is not counted");
        Vec::new()
    }))
}

fn sizes(config: &Config) -> Sizes {
    let kernel = &config.kernel;
    Sizes {
        flows: kernel.flows_max,
        names: kernel.names_max,
        domains: kernel.domains_max,
        slots: kernel.handshake_slots,
        quic: config.quic.read,
        verdict_ring: kernel.verdict_ring_kib * 1024,
        flow_end_ring: kernel.flow_end_ring_kib * 1024,
    }
}

/// The machine's boot id: with sensor and number it identifies a record everywhere.
fn boot_id() -> anyhow::Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let id = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let id = id.trim();
    if id.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(id.to_owned())
}
