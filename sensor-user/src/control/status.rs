//! What `campus-sensor status` shows.

use std::collections::BTreeMap;
use std::fmt;

use sensor_ebpf::abi::{Accounting, Direction, Happening, Volume};
use serde::{Deserialize, Serialize};

use crate::kernel::counters::Totals;
use crate::metrics::{Metrics, Quantiles};

/// State of a running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the sensor.
    pub sensor: String,
    /// Version of the daemon.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The policy in force.
    pub policy: PolicyStatus,
    /// Watched interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Records on their way.
    pub records: RecordStatus,
    /// Bytes of kernel memory by map, at most.
    pub kernel_memory: BTreeMap<String, u64>,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its version.
    pub version: String,
    /// Its number in the kernel.
    pub generation: u32,
    /// Listed names.
    pub names: usize,
    /// Groups.
    pub groups: usize,
    /// Policies refused since the start; the last good one stayed in force.
    pub refused: u64,
}

/// A watched interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// `lan` or `tap`.
    pub side: String,
    /// `native` or `generic`.
    pub mode: String,
    /// From the LAN.
    pub ingress: DirectionStatus,
    /// To the LAN.
    pub egress: DirectionStatus,
}

/// One direction of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionStatus {
    /// Packets seen.
    pub packets: u64,
    /// Wire bytes seen.
    pub bytes: u64,
    /// Packets and bytes by where they went, those that are not zero.
    pub accounted: BTreeMap<String, [u64; 2]>,
    /// Happenings that are not zero.
    pub happened: BTreeMap<String, u64>,
    /// Everything seen went somewhere.
    pub conserved: bool,
}

impl From<&Totals> for DirectionStatus {
    fn from(totals: &Totals) -> Self {
        let Volume { packets, bytes } = totals.seen();
        let accounted = Accounting::ALL
            .iter()
            .map(|accounting| (accounting.name().to_owned(), totals.accounted(*accounting)))
            .filter(|(_, volume)| volume.packets != 0)
            .map(|(name, volume)| (name, [volume.packets, volume.bytes]))
            .collect();
        let happened = Happening::ALL
            .iter()
            .map(|happening| (happening.name().to_owned(), totals.happened(*happening)))
            .filter(|(_, count)| *count != 0)
            .collect();
        Self { packets, bytes, accounted, happened, conserved: totals.is_conserved() }
    }
}

/// Records on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Flows in the table at the last sweep.
    pub live_flows: u64,
    /// Records made since the start.
    pub made: u64,
    /// Records committed since the start.
    pub stored: u64,
    /// Transactions that failed and were tried again.
    pub store_failures: u64,
    /// Records given up.
    pub lost: u64,
    /// From the deciding packet to its verdict in user space.
    pub verdict_latency: Quantiles,
    /// From a flow's last packet to its committed record, linger included.
    pub record_latency: Quantiles,
}

impl From<&Metrics> for RecordStatus {
    fn from(metrics: &Metrics) -> Self {
        Self {
            live_flows: metrics.live_flows.get(),
            made: metrics.records_made.get(),
            stored: metrics.records_stored.get(),
            store_failures: metrics.store_failures.get(),
            lost: metrics.records_lost.get(),
            verdict_latency: metrics.verdict_latency.quantiles(),
            record_latency: metrics.record_latency.quantiles(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sensor, version, pid, uptime_s, policy, records, .. } = self;
        writeln!(f, "{sensor}: campus-sensor {version}, pid {pid}, up {uptime_s} s")?;
        writeln!(
            f,
            "policy    {} (generation {}): {} names, {} groups, {} refused",
            policy.version, policy.generation, policy.names, policy.groups, policy.refused
        )?;
        for interface in &self.interfaces {
            let InterfaceStatus { name, side, mode, ingress, egress, .. } = interface;
            writeln!(f, "interface {name}: {side}, {mode} mode")?;
            write_direction(f, Direction::Ingress, ingress)?;
            write_direction(f, Direction::Egress, egress)?;
        }
        writeln!(
            f,
            "flows     {} live; records: {} made, {} stored, {} lost, {} store failures",
            records.live_flows, records.made, records.stored, records.lost, records.store_failures
        )?;
        write_latency(f, "verdict latency", &records.verdict_latency)?;
        write_latency(f, "record latency", &records.record_latency)?;
        let kib: u64 = self.kernel_memory.values().sum::<u64>() / 1024;
        write!(f, "kernel memory: at most {} MiB in {} maps", kib / 1024, self.kernel_memory.len())
    }
}

fn write_direction(
    f: &mut fmt::Formatter<'_>,
    direction: Direction,
    status: &DirectionStatus,
) -> fmt::Result {
    let conserved = if status.conserved { "all accounted for" } else { "NOT ALL ACCOUNTED FOR" };
    writeln!(
        f,
        "  {:8}{} packets, {} bytes, {conserved}",
        direction.name(),
        status.packets,
        status.bytes
    )?;
    for (name, [packets, bytes]) in &status.accounted {
        writeln!(f, "    {name:24}{packets:>12} packets {bytes:>16} bytes")?;
    }
    for (name, count) in &status.happened {
        writeln!(f, "    {name:24}{count:>12}")?;
    }
    Ok(())
}

fn write_latency(f: &mut fmt::Formatter<'_>, what: &str, quantiles: &Quantiles) -> fmt::Result {
    let Quantiles { count, p50_us, p99_us, max_us } = quantiles;
    if *count == 0 {
        return Ok(());
    }
    let ms = |us: &u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    let (p50, p99, most) = (ms(p50_us), ms(p99_us), ms(max_us));
    writeln!(f, "{what}: median {p50}, p99 {p99}, most {most} ({count})")
}
