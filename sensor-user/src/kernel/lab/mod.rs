//! Programs and switches of tests and benches: a baseline, mutators in front of the sensor, a meter behind
//! it; drivers without metadata. [`names`] looks names up, [`memory`] has one load serve many tests.

pub mod memory;
pub mod names;

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, ProgramArray};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{
    LinkOrder, ProgramFd, SchedClassifier, TcAttachType, TestRun as _, TestRunOptions, Xdp, XdpMode,
};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use sensor_ebpf::abi::{Direction, Interface, Volume};

use super::KernelError;
use super::counters::Counters;
use super::object::Object;

pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lab"));

/// Has the programs take a watched interface for one whose driver carries no metadata from XDP to TC: all
/// that can be had on virtual machines carry it.
pub fn deny_metadata(counters: &mut Counters, ifindex: u32) -> Result<(), KernelError> {
    deny(&mut counters.interfaces, ifindex).map_err(interfaces_error)
}

/// The same for a sensor that runs elsewhere, by the directory of its pins.
pub fn deny_metadata_at(pins: &Path, ifindex: u32) -> Result<(), KernelError> {
    let pinned = MapData::from_pin(pins.join("INTERFACES")).map_err(interfaces_error)?;
    let mut interfaces = Array::try_from(Map::Array(pinned)).map_err(interfaces_error)?;
    deny(&mut interfaces, ifindex).map_err(interfaces_error)
}

fn deny(interfaces: &mut Array<MapData, Interface>, ifindex: u32) -> Result<(), MapError> {
    let known = interfaces.get(&ifindex, 0)?;
    interfaces.set(ifindex, Interface { without_metadata: 1, ..known }, 0)
}

fn interfaces_error(source: MapError) -> KernelError {
    KernelError::Map { map: "INTERFACES", operation: "write", source: source.into() }
}

/// The loaded lab object.
pub struct Lab {
    ebpf: Ebpf,
}

impl Lab {
    /// Loads the programs.
    pub fn load() -> Result<Self, KernelError> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .load(OBJECT)
            .map_err(|source| load_error("lab-xdp", source))?;
        for name in ["pass", "mutate"] {
            let program: &mut Xdp = program(&mut ebpf, name)?;
            program.load().map_err(|source| load_error(name, source))?;
        }
        for name in ["mutate_back", "meter_ingress", "meter_egress"] {
            let program: &mut SchedClassifier = program(&mut ebpf, name)?;
            program.load().map_err(|source| load_error(name, source))?;
        }
        Ok(Self { ebpf })
    }

    /// Puts the sensor behind the mutators.
    pub fn mutate_into(&mut self, object: &mut Object) -> Result<(), KernelError> {
        let fd = object.xdp("sensor")?.fd().map_err(|source| load_error("sensor", source))?;
        self.go_on_with("NEXT", fd)?;
        let fd =
            object.classifier("egress")?.fd().map_err(|source| load_error("egress", source))?;
        self.go_on_with("NEXT_BACK", fd)
    }

    fn go_on_with(&mut self, next: &'static str, program: &ProgramFd) -> Result<(), KernelError> {
        let map = self.ebpf.map_mut(next).ok_or(KernelError::Missing(next))?;
        ProgramArray::try_from(map)
            .and_then(|mut next: ProgramArray<_>| next.set(0, program, 0))
            .map_err(|source| load_error(next, source))
    }

    /// Has the mutator go on from this turn: the same turns give the same flows.
    pub fn turn_to(&mut self, turn: u32) -> Result<(), KernelError> {
        let map = self.ebpf.map_mut("TURN").ok_or(KernelError::Missing("TURN"))?;
        Array::<_, u32>::try_from(map).and_then(|mut turns| turns.set(0, turn, 0)).map_err(
            |source| KernelError::Map { map: "TURN", operation: "write", source: source.into() },
        )
    }

    /// Runs `pass` or `mutate` on a frame, so many times.
    pub fn repeat(
        &mut self,
        name: &'static str,
        frame: &[u8],
        repeat: u32,
    ) -> Result<u32, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let program: &mut Xdp = program(&mut self.ebpf, name)?;
        let result =
            program.test_run(options).map_err(|source| test_run_error(name, frame, source))?;
        Ok(result.return_value)
    }

    /// Runs `mutate_back` on a frame, so many times.
    pub fn repeat_back(&mut self, frame: &[u8], repeat: u32) -> Result<u32, KernelError> {
        let name = "mutate_back";
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let program: &mut SchedClassifier = program(&mut self.ebpf, name)?;
        let result =
            program.test_run(options).map_err(|source| test_run_error(name, frame, source))?;
        Ok(result.return_value)
    }

    /// Attaches the baseline to an interface, for as long as this lives: a veth hands what XDP sends
    /// back only to an end that runs a program too.
    pub fn receive_at(&mut self, interface: &str) -> Result<(), KernelError> {
        let program: &mut Xdp = program(&mut self.ebpf, "pass")?;
        let attached = program.attach(interface, XdpMode::default());
        attached.map(drop).map_err(|source| KernelError::Attach {
            program: "pass",
            name: interface.to_owned(),
            source: source.into(),
        })
    }

    /// Attaches the meter to an interface: first at ingress, last at egress, for as long as this lives.
    pub fn meter(&mut self, interface: &str) -> Result<(), KernelError> {
        let hooks = [
            ("meter_ingress", TcAttachType::Ingress, LinkOrder::first()),
            ("meter_egress", TcAttachType::Egress, LinkOrder::last()),
        ];
        for (name, hook, order) in hooks {
            let program: &mut SchedClassifier = program(&mut self.ebpf, name)?;
            program
                .attach_with_options(interface, hook, TcAttachOptions::TcxOrder(order))
                .map_err(|source| KernelError::Attach {
                    program: name,
                    name: interface.to_owned(),
                    source: source.into(),
                })?;
        }
        Ok(())
    }

    /// What the meter summed.
    pub fn metered(&self, direction: Direction) -> Result<Volume, KernelError> {
        let map: &Map = self.ebpf.map("METER").ok_or(KernelError::Missing("METER"))?;
        let sums = PerCpuArray::<_, [u64; 2]>::try_from(map)
            .and_then(|meter| meter.get(&(direction as u32), 0))
            .map_err(|source| KernelError::Map {
                map: "METER",
                operation: "read",
                source: source.into(),
            })?;
        Ok(sums.iter().fold(Volume::default(), |sum, [packets, bytes]| Volume {
            packets: sum.packets + packets,
            bytes: sum.bytes + bytes,
        }))
    }
}

pub(super) fn program<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(KernelError::Missing(name))
}

pub(super) fn load_error(
    what: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::Load { what, source: source.into() }
}

fn test_run_error(
    program: &'static str,
    frame: &[u8],
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::TestRun { program, length: frame.len(), source: source.into() }
}
