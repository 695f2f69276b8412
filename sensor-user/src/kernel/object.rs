//! The kernel object: built into this binary, loaded with the configured sizes, its stages wired.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapError, ProgramArray};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use sensor_ebpf::flow_table;

use super::{KernelError, flows};

/// The programs for frames that may lie in several buffers.
static FRAGS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor-frags"));

/// The same for linear frames.
static LINEAR: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor-linear"));

/// Maps that outlive the daemon: enforcement and counting go on from them.
const PINNED: [&str; 22] = [
    "INTERFACES",
    "COUNTERS",
    "FLOW_TAGS",
    "FLOW_ENTRIES",
    "SLOTS",
    "NAMES",
    "HELLOS",
    "SLOT_SHARES",
    "DOMAINS",
    "PREFIXES",
    "GROUP_PREFIXES",
    "MEMBERS",
    "GROUPS",
    "PORTS",
    "PAGES",
    "ORDERS",
    "BUDGETS",
    "HELD",
    "ANSWERED",
    "CONTROL",
    "VERDICTS",
    "FLOW_ENDS",
];

/// XDP programs; the first is attached, the others are its stages in the order of the stage numbers.
const XDP_PROGRAMS: [&str; 14] = [
    "sensor",
    "normalise",
    "handshake",
    "assemble",
    "judge",
    "reject",
    "unread",
    "dns_query",
    "dns_answer",
    "dns_segment",
    "requests",
    QUIC,
    "destination",
    "rejudge",
];

/// The stage that reads QUIC, the largest program: a kernel may refuse it.
const QUIC: &str = "quic";

/// What takes its place then.
const QUIC_REFUSED: &str = "quic_refused";

/// TC programs; the last is a stage of the one before it.
const TC_PROGRAMS: [&str; 3] = ["client_reset", "egress", "dns_reply"];

/// Arrays of stages: those behind XDP, those behind TC egress.
pub(super) const STAGES: [&str; 2] = ["STAGES", "EGRESS_STAGES"];

/// Sizes of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Live flows.
    pub flows: u32,
    /// Names kept.
    pub names: u32,
    /// Listed names of one policy, at most: it sizes no map.
    pub domains: u32,
    /// Handshakes in several segments.
    pub slots: u32,
    /// Bytes of the verdict ring, a power of two.
    pub verdict_ring: u32,
    /// Bytes of the flow-end ring, a power of two.
    pub flow_end_ring: u32,
    /// Whether QUIC is read, where the kernel takes the stage that does.
    pub quic: bool,
    /// Where flows lie.
    pub place: Flows,
}

/// Where flows lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flows {
    /// In the table of [`sensor_ebpf::flow_table`].
    #[default]
    Table,
    /// In the kernel's own hash map, which the table is compared with. It is never pinned.
    Stock,
}

impl Sizes {
    /// For tests, benches and replays: small, but enough for every capture.
    pub const SMALL: Self = Self {
        flows: 65_536,
        names: 65_536,
        domains: 65_536,
        slots: 1024,
        verdict_ring: 1 << 20,
        flow_end_ring: 4 << 20,
        quic: true,
        place: Flows::Table,
    };
}

/// What time the programs go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The machine's monotonic clock.
    Live,
    /// The control cell's replay clock.
    Replay,
}

/// How frames lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// In one buffer or several: any driver's native mode.
    Several,
    /// In one: generic mode. There the kernel would give a frame for `xdp.frags` programs another
    /// buffer, and lose where its link header and with it the metadata begins.
    Linear,
}

/// Verifier's figures of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFigures {
    /// Program name.
    pub name: &'static str,
    /// Instructions the verifier walked.
    pub verified: u32,
    /// Bytes after translation by the verifier.
    pub translated: u32,
}

/// The loaded object.
pub struct Object {
    pub(super) ebpf: Ebpf,
    pub(super) pins: Option<PathBuf>,
    /// The programs for generic mode, once an interface needs them.
    pub(super) linear: Option<Box<Self>>,
    quic_refusal: Option<String>,
    sizes: Sizes,
    clock: Clock,
}

impl Object {
    /// Loads programs and maps. With a pin directory, maps that are pinned there are used again.
    pub fn load(sizes: Sizes, clock: Clock, pins: Option<&Path>) -> Result<Self, KernelError> {
        Self::load_for(Frames::Several, sizes, clock, pins)
    }

    /// Sized maps that were pinned with another size than asked for now: configuration key and size.
    pub fn kept_sizes(&self) -> Vec<(&'static str, u32)> {
        let Sizes { flows, names, slots, verdict_ring, flow_end_ring, .. } = self.sizes;
        let asked = [
            ("NAMES", "kernel.names_max", names),
            ("SLOTS", "kernel.handshake_slots", slots),
            ("VERDICTS", "kernel.verdict_ring_kib", verdict_ring),
            ("FLOW_ENDS", "kernel.flow_end_ring_kib", flow_end_ring),
        ];
        let kept = asked.into_iter().filter_map(|(map, knob, size)| {
            let (Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::Array(data)
            | Map::RingBuf(data)) = self.ebpf.map(map)?
            else {
                return None;
            };
            let has = data.info().ok()?.max_entries();
            (has != size).then_some((knob, has))
        });
        let buckets = self.buckets().ok().filter(|has| *has != flow_table::buckets(flows));
        let flows = buckets.map(|has| ("kernel.flows_max", flow_table::flows(has)));
        flows.into_iter().chain(kept).collect()
    }

    /// The programs for generic mode, on the same pinned maps.
    pub(super) fn linear(&mut self) -> Result<&mut Self, KernelError> {
        let linear = if let Some(linear) = self.linear.take() {
            linear
        } else {
            let pins = self.pins.as_deref();
            Box::new(Self::load_for(Frames::Linear, self.sizes, self.clock, pins)?)
        };
        Ok(self.linear.insert(linear))
    }

    fn load_for(
        frames: Frames,
        sizes: Sizes,
        clock: Clock,
        pins: Option<&Path>,
    ) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        // Nothing is relocated against the kernel's types, so their 25 ms of parsing are saved.
        loader.btf(None);
        let (buckets, stock) = match sizes.place {
            Flows::Table => (flow_table::buckets(sizes.flows), 1),
            Flows::Stock => (1, sizes.flows),
        };
        loader.map_max_entries("FLOW_TAGS", buckets + 1);
        loader.map_max_entries("FLOW_ENTRIES", buckets * flow_table::WAYS);
        loader.map_max_entries("FLOWS", stock);
        loader.map_max_entries("RECORDED", stock);
        let is_stock = u8::from(sizes.place == Flows::Stock);
        loader.override_global("STOCK_TABLE", &is_stock, true);
        loader.map_max_entries("NAMES", sizes.names);
        loader.map_max_entries("SLOTS", sizes.slots);
        loader.map_max_entries("VERDICTS", sizes.verdict_ring);
        loader.map_max_entries("FLOW_ENDS", sizes.flow_end_ring);
        let replay = u8::from(clock == Clock::Replay);
        loader.override_global("REPLAY", &replay, true);
        loader.override_global("HANDSHAKE_SLOTS", &sizes.slots, true);
        if let Some(dir) = pins {
            std::fs::create_dir_all(dir).map_err(|source| KernelError::File {
                operation: "create",
                path: dir.to_owned(),
                source,
            })?;
            for map in PINNED {
                loader.map_pin_path(map, dir.join(map));
            }
        }
        let ebpf = loader
            .load(match frames {
                Frames::Several => FRAGS,
                Frames::Linear => LINEAR,
            })
            .map_err(|source| KernelError::Load { what: "maps", source: source.into() })?;
        let pins = pins.map(Path::to_owned);
        let mut object = Self { ebpf, pins, linear: None, quic_refusal: None, sizes, clock };
        flows::set_up(&mut object)?;
        object.load_programs()?;
        object.wire_stages()?;
        Ok(object)
    }

    /// Where flows lie.
    pub(super) const fn flows(&self) -> Flows {
        self.sizes.place
    }

    /// Buckets of the flow table, which was pinned with another number than asked for perhaps.
    pub(super) fn buckets(&self) -> Result<u32, KernelError> {
        const TAGS: &str = "FLOW_TAGS";
        let Some(Map::Array(tags)) = self.ebpf.map(TAGS) else {
            return Err(KernelError::Missing(TAGS));
        };
        let info = tags.info().map_err(|source| stages_error(TAGS, "look at", source))?;
        Ok(info.max_entries().saturating_sub(1))
    }

    /// Bytes of a ring, which was pinned with another number than asked for perhaps.
    pub(super) fn ring_size(&self, name: &'static str) -> Result<u32, KernelError> {
        let Some(Map::RingBuf(ring)) = self.ebpf.map(name) else {
            return Err(KernelError::Missing(name));
        };
        let info = ring.info().map_err(|source| stages_error(name, "look at", source))?;
        Ok(info.max_entries())
    }

    /// One of [`STAGES`].
    fn stages(&self, name: &'static str) -> Result<&Map, KernelError> {
        self.ebpf.map(name).ok_or(KernelError::Missing(name))
    }

    /// Number of a map of stages, which no other load shares.
    pub(super) fn stages_id(&self, name: &'static str) -> Result<u32, KernelError> {
        let Map::ProgramArray(stages) = self.stages(name)? else {
            return Err(KernelError::Missing(name));
        };
        stages.info().map(|info| info.id()).map_err(|source| stages_error(name, "identify", source))
    }

    /// Pins a map of stages: a program array without a holder forgets its programs.
    pub(super) fn pin_stages_at(&self, name: &'static str, pin: &Path) -> Result<(), KernelError> {
        self.stages(name)?.pin(pin).map_err(|source| stages_error(name, "pin", source))
    }

    fn load_programs(&mut self) -> Result<(), KernelError> {
        for name in XDP_PROGRAMS {
            if name == QUIC {
                self.load_quic()?;
                continue;
            }
            self.xdp(name)?
                .load()
                .map_err(|source| KernelError::Load { what: name, source: source.into() })?;
        }
        for name in TC_PROGRAMS {
            self.classifier(name)?
                .load()
                .map_err(|source| KernelError::Load { what: name, source: source.into() })?;
        }
        Ok(())
    }

    /// Loads the stage that reads QUIC, or the one that does not.
    fn load_quic(&mut self) -> Result<(), KernelError> {
        let refusal = if self.sizes.quic {
            match self.xdp(QUIC)?.load() {
                Ok(()) => return Ok(()),
                Err(source) => refusal(&source),
            }
        } else {
            "not asked for".to_owned()
        };
        self.quic_refusal = Some(refusal);
        self.xdp(QUIC_REFUSED)?
            .load()
            .map_err(|source| KernelError::Load { what: QUIC_REFUSED, source: source.into() })
    }

    /// Why QUIC is not read, where it is not.
    pub fn quic_refusal(&self) -> Option<&str> {
        self.quic_refusal.as_deref()
    }

    /// The programs for XDP that are loaded, in the order of their stages.
    fn loaded(&self) -> impl Iterator<Item = &'static str> + use<> {
        let refused = self.quic_refusal.is_some();
        XDP_PROGRAMS.into_iter().map(move |name| match name {
            QUIC if refused => QUIC_REFUSED,
            name => name,
        })
    }

    fn wire_stages(&mut self) -> Result<(), KernelError> {
        for (stage, name) in (0_u32..).zip(self.loaded().skip(1)) {
            let fd = owned_fd(name, self.xdp(name)?.fd())?;
            self.wire("STAGES", stage, &fd)?;
        }
        for (stage, name) in (0_u32..).zip(TC_PROGRAMS.into_iter().skip(2)) {
            let fd = owned_fd(name, self.classifier(name)?.fd())?;
            self.wire("EGRESS_STAGES", stage, &fd)?;
        }
        Ok(())
    }

    fn wire(
        &mut self,
        name: &'static str,
        stage: u32,
        program: &ProgramFd,
    ) -> Result<(), KernelError> {
        let map = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        ProgramArray::try_from(map)
            .and_then(|mut stages: ProgramArray<_>| stages.set(stage, program, 0))
            .map_err(|source| stages_error(name, "wire", source))
    }

    /// Takes a map out of the object, as the type its reader wants.
    pub(super) fn take<M>(&mut self, name: &'static str) -> Result<M, KernelError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let map = self.ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
        M::try_from(map).map_err(|source| KernelError::Map {
            map: name,
            operation: "open",
            source: source.into(),
        })
    }

    /// A descriptor of a hash map, array or ring, for what aya's types do not offer.
    pub(super) fn descriptor(&self, name: &'static str) -> Result<OwnedFd, KernelError> {
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let (Map::HashMap(data) | Map::Array(data) | Map::RingBuf(data)) = map else {
            return Err(KernelError::Missing(name));
        };
        data.fd().as_fd().try_clone_to_owned().map_err(|source| KernelError::Map {
            map: name,
            operation: "duplicate",
            source: source.into(),
        })
    }

    pub(super) fn xdp(&mut self, name: &'static str) -> Result<&mut Xdp, KernelError> {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(KernelError::Missing(name))
    }

    pub(super) fn classifier(
        &mut self,
        name: &'static str,
    ) -> Result<&mut SchedClassifier, KernelError> {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(KernelError::Missing(name))
    }

    /// What the verifier said of each program for generic mode.
    pub fn linear_figures(&mut self) -> Result<Vec<ProgramFigures>, KernelError> {
        self.linear()?.figures()
    }

    /// What the verifier said of each program.
    pub fn figures(&mut self) -> Result<Vec<ProgramFigures>, KernelError> {
        let mut figures = Vec::new();
        for name in self.loaded().chain(TC_PROGRAMS) {
            let info = self
                .ebpf
                .program(name)
                .ok_or(KernelError::Missing(name))?
                .info()
                .map_err(|source| KernelError::Load { what: name, source: source.into() })?;
            figures.push(ProgramFigures {
                name,
                verified: info.verified_instruction_count().unwrap_or(0),
                translated: info.size_translated().unwrap_or(0),
            });
        }
        Ok(figures)
    }
}

/// The verifier's last words: all of them would be megabytes.
fn refusal(error: &ProgramError) -> String {
    let text = if let ProgramError::LoadError { verifier_log, io_error } = error {
        let log = verifier_log.to_string();
        let mut last: Vec<_> = log.lines().rev().take(REFUSAL_LINES).collect();
        last.reverse();
        format!("{io_error}: {}", last.join("; "))
    } else {
        error.to_string()
    };
    text.chars().take(REFUSAL_MAX).collect()
}

/// Lines of a refusal that are shown: the last one is a count, the one before it says why.
const REFUSAL_LINES: usize = 3;

/// Characters of a refusal that are shown: a few lines of a terminal.
const REFUSAL_MAX: usize = 400;

pub(super) fn owned_fd(
    name: &'static str,
    fd: Result<&ProgramFd, ProgramError>,
) -> Result<ProgramFd, KernelError> {
    fd.map_err(|source| KernelError::Load { what: name, source: source.into() })?
        .try_clone()
        .map_err(|source| KernelError::Load { what: name, source: source.into() })
}

fn stages_error(
    map: &'static str,
    operation: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::Map { map, operation, source: source.into() }
}
