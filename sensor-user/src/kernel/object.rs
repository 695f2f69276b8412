//! The kernel object: built into this binary, loaded with the configured sizes, its stages wired.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError, ProgramArray};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use super::KernelError;

/// The compiled programs.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor-xdp"));

/// Maps that outlive the daemon: enforcement and counting go on from them.
const PINNED: [&str; 11] = [
    "STAGES",
    "INTERFACES",
    "COUNTERS",
    "FLOWS",
    "NAMES",
    "DOMAINS",
    "GROUP_PREFIXES",
    "GROUPS",
    "CONTROL",
    "VERDICTS",
    "FLOW_ENDS",
];

/// XDP programs; the first is attached, the others are its stages in the order of the stage numbers.
const XDP_PROGRAMS: [&str; 4] = ["sensor", "handshake", "judge", "reject"];

/// TC programs.
const TC_PROGRAMS: [&str; 2] = ["client_reset", "egress"];

/// Sizes of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Live flows.
    pub flows: u32,
    /// Names kept.
    pub names: u32,
    /// Listed names, of two policies.
    pub domains: u32,
    /// Bytes of the verdict ring, a power of two.
    pub verdict_ring: u32,
    /// Bytes of the flow-end ring, a power of two.
    pub flow_end_ring: u32,
}

impl Sizes {
    /// For tests, benches and replays: small, but enough for every capture.
    pub const SMALL: Self = Self {
        flows: 65_536,
        names: 65_536,
        domains: 65_536,
        verdict_ring: 1 << 20,
        flow_end_ring: 4 << 20,
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
    /// Held, because a program array without a holder forgets its programs.
    stages: ProgramArray<MapData>,
    pub(super) pins: Option<PathBuf>,
}

impl Object {
    /// Loads programs and maps. With a pin directory, maps that are pinned there are used again.
    pub fn load(sizes: Sizes, clock: Clock, pins: Option<&Path>) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        // Nothing is relocated against the kernel's types, so their 25 ms of parsing are saved.
        loader.btf(None);
        loader.map_max_entries("FLOWS", sizes.flows);
        loader.map_max_entries("NAMES", sizes.names);
        loader.map_max_entries("DOMAINS", sizes.domains);
        loader.map_max_entries("VERDICTS", sizes.verdict_ring);
        loader.map_max_entries("FLOW_ENDS", sizes.flow_end_ring);
        let replay = u8::from(clock == Clock::Replay);
        loader.override_global("REPLAY", &replay, true);
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
        let mut ebpf = loader
            .load(OBJECT)
            .map_err(|source| KernelError::Load { what: "maps", source: source.into() })?;
        let stages = ebpf.take_map("STAGES").ok_or(KernelError::Missing("STAGES"))?;
        let stages = ProgramArray::try_from(stages).map_err(|source| KernelError::Map {
            map: "STAGES",
            operation: "open",
            source: source.into(),
        })?;
        let mut object = Self { ebpf, stages, pins: pins.map(Path::to_owned) };
        object.load_programs()?;
        object.wire_stages()?;
        Ok(object)
    }

    fn load_programs(&mut self) -> Result<(), KernelError> {
        for name in XDP_PROGRAMS {
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

    fn wire_stages(&mut self) -> Result<(), KernelError> {
        for (stage, name) in (0_u32..).zip(XDP_PROGRAMS.into_iter().skip(1)) {
            let program: &Xdp = self
                .ebpf
                .program(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(KernelError::Missing(name))?;
            let fd = program
                .fd()
                .map_err(|source| KernelError::Load { what: name, source: source.into() })?;
            self.stages.set(stage, fd, 0).map_err(|source| KernelError::Map {
                map: "STAGES",
                operation: "wire",
                source: source.into(),
            })?;
        }
        Ok(())
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

    /// A descriptor of a hash map or array, for what aya's types do not offer.
    pub(super) fn descriptor(&self, name: &'static str) -> Result<OwnedFd, KernelError> {
        let map = self.ebpf.map(name).ok_or(KernelError::Missing(name))?;
        let (Map::HashMap(data) | Map::Array(data)) = map else {
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

    /// What the verifier said of each program.
    pub fn figures(&mut self) -> Result<Vec<ProgramFigures>, KernelError> {
        let mut figures = Vec::new();
        for name in XDP_PROGRAMS.into_iter().chain(TC_PROGRAMS) {
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
