//! A sensor's life: check everything, load, fill, attach, run, stop.
//!
//! Nothing is attached before everything that can be wrong was looked at; a start that fails on an
//! interface takes back what it attached. Stopping leaves the programs at work: leaving is `detach`.
//!
//! [`interfaces`] are attached to and counted, [`differences`] tells their counts from the programs', [`in_force`] is the policy and how it is replaced, [`watch`] tells when its
//! files are others, [`sources`] are those who tell who is where, and [`who`] is what comes of it.

mod before;
mod blind;
mod differences;
mod in_force;
mod interfaces;
mod net_dev;
mod queues;
mod sources;
mod watch;
mod who;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use sensor_ebpf::abi::Direction;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use self::before::{STORE_CURSOR, newest_records, open_spool};
use self::in_force::PolicyInForce;
use self::interfaces::Attached;
use self::sources::Sources;
use self::watch::Watch;
use self::who::{directory, here, now_us};
use crate::assembly::rates::{Meter as RateMeter, Watch as RateWatch};
use crate::assembly::{Assembler, Identity, Timeouts};
use crate::bundle::{self, Site};
use crate::clock;
use crate::config::{Config, Privacy};
use crate::control::identity::IdentityStatus;
use crate::control::logins::LoginStatus;
use crate::control::server::{self, Daemon};
use crate::control::status::{InterfaceNames, InterfaceStatus, PolicyStatus, RecordStatus, Status};
use crate::control::top::Top;
use crate::export::state::State;
use crate::export::{self, Exports};
use crate::identity::{Amendment, Directory, Login};
use crate::kernel::attach;
use crate::kernel::control::ControlCell;
use crate::kernel::counters::Counters;
use crate::kernel::events::Rings;
use crate::kernel::flows::FlowTable;
use crate::kernel::object::{Clock, Flows, Object, Sizes};
use crate::kernel::preflight;
use crate::kernel::tables::PolicyTables;
use crate::metrics::Metrics;
use crate::names::{self, Meter};
use crate::pipeline::{self, Drains, Pipeline};
use crate::policy::generations::Generations;
use crate::policy::{Policy, PolicyError};
use crate::privacy::Pseudonyms;
use crate::spool::{Spool, Start, Watch as SpoolWatch};
use crate::store::{DayStore, Reader};

/// How often the data path's threads are looked after.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// File beside the records that keeps what policy generations mean.
const GENERATIONS_FILE: &str = "policy-generations.json";

/// File beside the records that keeps who is where.
pub(crate) const IDENTITY_FILE: &str = "identity.jsonl";

/// Runs a sensor until it is told to stop.
pub fn run(config: &Config) -> anyhow::Result<()> {
    preflight::check()?;
    let before = Watch::default().before();
    let policy = Policy::load_kept(&config.policy.file, &Site::of(&config.policy.dir).compiled())?;
    let watch = Watch::of(policy.files(), &before);
    for interface in &config.interface {
        attach::ifindex(&interface.name)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the control threads")?;
    let (sources, listener) = {
        let _inside = runtime.enter();
        let socket = &config.control.socket;
        let listener = server::listen(socket)
            .with_context(|| format!("control socket {}", socket.display()))?;
        (Sources::open(&config.identity)?, listener)
    };
    let mut spool = open_spool(config)?;
    let exports = export::start(&config.export, &config.sensor.name, &mut spool)
        .context("start the exports")?;
    let (sensor, pipeline) = Sensor::start(config, policy, watch, spool, &exports)?;
    let sensor = Arc::new(sensor);
    {
        let _inside = runtime.enter();
        sources.start(&sensor.directory);
    }
    info!(sensor = %config.sensor.name, "running");
    let served = runtime.block_on(until_stopped(&sensor, &pipeline, listener));
    info!("stopping; the programs stay at work until `campus-sensor detach`");
    let spool = pipeline.stop();
    exports.stop();
    if let Some(spool) = spool
        && let Err(failure) = spool.close()
    {
        warn!(error = %failure, "the spool was not closed; what reads it gets some records again");
    }
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
    let mut rotate = signal(SignalKind::user_defined1())?;
    let mut health = tokio::time::interval(HEALTH_INTERVAL);
    let (stop, stopped) = tokio::sync::watch::channel(false);
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
            _ = rotate.recv() => sensor.exports.iter().for_each(|export| export.ask_rotation()),
            _ = health.tick() => {
                if !pipeline.is_running() {
                    break Err(anyhow::anyhow!("a thread of the data path ended; see the log"));
                }
                let sensor = Arc::clone(sensor);
                tokio::task::spawn_blocking(move || {
                    sensor.keep_time();
                    sensor.look_at_interfaces();
                    sensor.follow_files();
                });
            },
            () = sensor.directory.changed() => {
                let sensor = Arc::clone(sensor);
                tokio::task::spawn_blocking(move || sensor.follow_logins());
            }
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
    policy_config: crate::config::Policy,
    interfaces: Vec<Attached>,
    counters: Arc<Mutex<Counters>>,
    policy: Mutex<PolicyInForce>,
    directory: Arc<Directory>,
    /// Held while the policy is read again: what was read last is in force.
    watch: Mutex<Watch>,
    metrics: Arc<Metrics>,
    rates: Arc<RateWatch>,
    spool: SpoolWatch,
    exports: Vec<Arc<State>>,
    kernel_memory: Vec<(&'static str, u64)>,
    quic_unread: Option<String>,
    /// Held for its programs; they stay loaded while attached in any case.
    _object: Object,
}

impl Sensor {
    fn start(
        config: &Config,
        policy: Policy,
        watch: Watch,
        mut spool: Spool,
        exports: &Exports,
    ) -> anyhow::Result<(Self, Pipeline)> {
        let boot = boot_id()?;
        let Privacy { pseudonyms, key_file, .. } = &config.privacy;
        let pseudonyms = Pseudonyms::open(*pseudonyms, key_file)?;
        let store = DayStore::open(&config.store.dir, &config.sensor.name)?;
        let reader = spool.reader(STORE_CURSOR, Start::Oldest)?;
        let latest = store.last_sequence(&boot)?.max(spool.last_sequence(&boot));
        let sequence = latest.map_or(0, |last| last + 1);
        let newest = newest_records(config, &spool, &boot, sequence);
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
        let tampering = tampering(&config.policy);
        let directory = Arc::new(directory(config)?);
        let here = here(config, &directory);
        let generations_noted = Arc::clone(&generations);
        let in_force =
            PolicyInForce::start(policy, here, tables, control, generations_noted, tampering)?;
        let mut counters = Counters::open(&mut object)?;
        let interfaces = interfaces::attach_all(&mut object, &mut counters, config)?;
        object.retire_other_stages()?;

        let names = interfaces.iter().map(|one| (one.ifindex, one.name.clone())).collect();
        let identity = Identity { sensor: config.sensor.name.clone(), boot };
        let table = FlowTable::open(&mut object)?;
        let timeouts = Timeouts::from(&config.flow);
        let rates = Arc::<RateWatch>::default();
        let meter = RateMeter::new(Arc::clone(&rates), Arc::clone(&generations));
        let mut assembler = Assembler::new(table, timeouts, identity, names, generations, sequence);
        assembler.tell_rates(meter);
        assembler.name_devices(Arc::clone(&directory));
        assembler.reconcile(newest, clock::now())?;
        let rings = Rings::open(&mut object)?;
        let sweep = Duration::from_millis(u64::from(config.flow.sweep_interval_ms));
        let retention = config.store.retention_days;
        let counters = Arc::new(Mutex::new(counters));
        let counted = interfaces::counted(&counters, &interfaces);
        let spool_watch = spool.watch();
        let drains = Drains { spool, pseudonyms, store, reader, retention_days: retention };
        let pipeline = pipeline::start(rings, assembler, drains, sweep, counted, &metrics)?;

        let kernel_memory = config.kernel_memory();
        let bytes: u64 = kernel_memory.iter().map(|(_, bytes)| bytes).sum();
        info!(mib = bytes >> 20, "kernel memory, at most");
        for (map, bytes) in &kernel_memory {
            info!(map, kib = bytes >> 10, "kernel memory");
        }
        let sensor = Self {
            name: config.sensor.name.clone(),
            started: Instant::now(),
            policy_config: config.policy.clone(),
            interfaces,
            counters,
            policy: Mutex::new(in_force),
            directory,
            watch: Mutex::new(watch),
            metrics,
            rates,
            spool: spool_watch,
            exports: exports.states(),
            kernel_memory,
            quic_unread: object.quic_refusal().map(str::to_owned),
            _object: object,
        };
        Ok((sensor, pipeline))
    }

    /// Follows the policy's schedules. What holds stays where that fails, and is tried again.
    fn keep_time(&self) {
        if let Err(failure) = self.in_force().keep_time() {
            error!(error = format!("{failure:#}"), "a schedule was not put in force");
        }
        let clocks = clock::now();
        self.directory.keep_time(clocks.wall_us(clocks.now_ns), clocks.wall_offset_ns / 1000);
    }

    /// Looks whether the programs see what goes through their interfaces.
    fn look_at_interfaces(&self) {
        for interface in &self.interfaces {
            let looked = interface.look(&self.counters);
            if let Err(failure) = looked.and_then(|()| interface.compare(&self.counters)) {
                warn!(error = format!("{failure:#}"), "an interface was not looked at");
            }
        }
    }

    /// Reads the policy again where one of its files is another one.
    fn follow_files(&self) {
        // Somebody else is at it.
        let Ok(mut watch) = self.watch.try_lock() else { return };
        if watch.has_changed() {
            drop(watch);
            info!("the policy's files changed: reading them again");
            // Said in the log by the reload itself.
            let _logged = self.reload_policy();
        }
    }

    fn read_policy(&self, watch: &mut Watch) -> anyhow::Result<PolicyStatus> {
        let before = watch.before();
        let config = &self.policy_config;
        // Beside each other: either reads all files. What was tampered with is not taken, whatever it says.
        let (intact, loaded) = thread::scope(|scope| {
            let intact = scope.spawn(|| bundle::check_in_force(config));
            let loaded = Policy::load_kept(&config.file, &Site::of(&config.dir).compiled());
            (intact.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), loaded)
        });
        let loaded = intact
            .inspect_err(|error| self.in_force().tampered(error))
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(loaded?));
        let policy = loaded.inspect_err(|refusal| {
            let place = refusal.downcast_ref::<PolicyError>().map(PolicyError::file);
            watch.refused(place);
        })?;
        let files = policy.files();
        let mut in_force = self.in_force();
        let replaced = in_force.replace(policy);
        *watch = Watch::of(files, &before);
        replaced.map(|()| in_force.status())
    }

    fn in_force(&self) -> MutexGuard<'_, PolicyInForce> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
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
                ingress: interface.status(Direction::Ingress, &self.counters)?,
                egress: interface.status(Direction::Egress, &self.counters)?,
                names,
            });
        }
        let spool = self.spool.status(now_us);
        let mut policy = self.in_force().status();
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
            identity: IdentityStatus::from(&*self.directory),
            exports: export::status(&self.exports, &spool),
            spool,
            quic_unread: self.quic_unread.clone(),
            kernel_memory: self
                .kernel_memory
                .iter()
                .map(|(map, bytes)| ((*map).to_owned(), *bytes))
                .collect(),
        })
    }

    fn log_in(&self, address: IpAddr, login: Option<Login>) -> anyhow::Result<Option<String>> {
        self.note_login(address, login)
    }

    fn amendments(&self) -> Vec<Amendment> {
        self.directory.amendments()
    }

    fn logins(&self) -> Vec<LoginStatus> {
        let logins = self.in_force().logins().into_iter();
        let status = |(address, login, group)| LoginStatus { address, login: Some(login), group };
        logins.map(status).collect()
    }

    fn top(&self) -> Top {
        let clocks = clock::now();
        let sums = self.rates.ask(clocks.now_ns);
        Top::of(&sums, &self.directory, clocks.wall_us(clocks.now_ns))
    }

    fn reload_policy(&self) -> anyhow::Result<PolicyStatus> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let pushed = self.read_policy(&mut watch);
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

/// What of the bundle in force is not as it was signed. A start takes it all the same: with no policy at all, nothing would
/// be enforced.
fn tampering(config: &crate::config::Policy) -> Option<String> {
    let failure = bundle::check_in_force(config).err()?;
    error!(error = %failure, "the policy was tampered with; it is taken, for want of another");
    Some(failure.to_string())
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
        place: Flows::Table,
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
