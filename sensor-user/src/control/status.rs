//! What `campus-sensor status` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

use jiff::civil::Date;
use sensor_ebpf::abi::Direction;
use serde::{Deserialize, Serialize};

pub use super::direction::{DirectionStatus, OnInterface};
use super::identity::IdentityStatus;
use crate::assembly::Honesty;
use crate::export::state::ExportStatus;
use crate::metrics::{Metrics, Quantiles};
use crate::names::{ByReason, Tally, percent};
use crate::policy::List;
use crate::spool::SpoolStatus;

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
    /// Start of the hours that [`InterfaceNames::recent`] sums up, RFC 3339.
    pub names_since: String,
    /// Watched interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Records on their way.
    pub records: RecordStatus,
    /// Where they wait for everyone they go to.
    pub spool: SpoolStatus,
    /// Who is where.
    pub identity: IdentityStatus,
    /// Where they go beside the store.
    pub exports: Vec<ExportStatus>,
    /// Why QUIC is not read, where it is not.
    pub quic_unread: Option<String>,
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
    /// Kernel memory of their table, bytes; as much again while another policy takes its place.
    pub table_bytes: u64,
    /// Groups.
    pub groups: usize,
    /// Addresses that somebody is logged in at.
    pub logins: usize,
    /// Ids of the schedules that are on.
    pub schedules_on: Vec<String>,
    /// Its lists.
    pub lists: Vec<ListStatus>,
    /// What of its files is not as it was signed, where they came in a bundle.
    pub tampering: Option<String>,
    /// Policies refused since the start; the last good one stayed in force.
    pub refused: u64,
}

/// A list of the policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStatus {
    /// Its id.
    pub id: String,
    /// Names it has, doubles included.
    pub names: u32,
    /// The day it is of: the one it says itself, else the one its file was written.
    pub dated: String,
    /// Days since then; none of a list of tomorrow.
    pub age_days: u32,
}

impl ListStatus {
    /// Of a list with a day, which those in the policy file itself have none of.
    pub fn of(list: &List, today: Date) -> Option<Self> {
        let (dated, age) = (list.dated?, list.age_days(today)?);
        let (id, names) = (list.id.clone(), list.names);
        Some(Self { id, names, dated: dated.to_string(), age_days: age.try_into().unwrap_or(0) })
    }
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
    /// Flows and bytes with and without a usable name.
    pub names: InterfaceNames,
}

/// Flows and bytes of an interface by the reason for no name, from committed records; see
/// [`crate::names`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceNames {
    /// Of records that end at [`Status::names_since`] or later, those of an earlier daemon included.
    pub recent: ByReason,
    /// Of records this daemon committed.
    pub since_start: ByReason,
}

/// Records on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Flows in the table at the last sweep.
    pub live_flows: u64,
    /// Records made since the start.
    pub made: u64,
    /// Records that the spool has, since the start.
    pub spooled: u64,
    /// Attempts of the spool that failed and were tried again.
    pub spool_failures: u64,
    /// Records committed to the store since the start.
    pub stored: u64,
    /// Transactions that failed and were tried again.
    pub store_failures: u64,
    /// Records given up.
    pub lost: u64,
    /// Whether records and flows have every packet that was counted in a flow.
    pub honesty: Honesty,
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
            spooled: metrics.records_spooled.get(),
            spool_failures: metrics.spool_failures.get(),
            stored: metrics.records_stored.get(),
            store_failures: metrics.store_failures.get(),
            lost: metrics.records_lost.get(),
            honesty: *metrics.honesty.lock().unwrap_or_else(PoisonError::into_inner),
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
            "policy    {} (generation {}): {} names, {} groups, {} logins, {} refused",
            policy.version,
            policy.generation,
            policy.names,
            policy.groups,
            policy.logins,
            policy.refused
        )?;
        if let Some(how) = &policy.tampering {
            writeln!(f, "TAMPERED  {how}")?;
        }
        write_lists(f, &policy.lists)?;
        if !policy.schedules_on.is_empty() {
            writeln!(f, "during    {}", policy.schedules_on.join(", "))?;
        }
        if let Some(reason) = &self.quic_unread {
            writeln!(f, "QUIC      NOT READ ({reason}): policy decides by `quic-unsupported`")?;
        }
        for interface in &self.interfaces {
            let InterfaceStatus { name, side, mode, ingress, egress, names, .. } = interface;
            writeln!(f, "interface {name}: {side}, {mode} mode")?;
            ingress.write(f, Direction::Ingress)?;
            egress.write(f, Direction::Egress)?;
            write_names(f, &names.recent, &self.names_since)?;
        }
        writeln!(
            f,
            "flows     {} live; records: {} made, {} stored, {} lost, {} store failures",
            records.live_flows, records.made, records.stored, records.lost, records.store_failures
        )?;
        write_honesty(f, &records.honesty)?;
        self.spool.fmt(f)?;
        writeln!(f, "identity  {}", self.identity)?;
        self.exports.iter().try_for_each(|export| export.fmt(f))?;
        write_latency(f, "verdict latency", &records.verdict_latency)?;
        write_latency(f, "record latency", &records.record_latency)?;
        let kib: u64 = self.kernel_memory.values().sum::<u64>() / 1024;
        write!(
            f,
            "kernel memory: at most {} MiB in {} maps; the policy's names take {} KiB",
            kib / 1024,
            self.kernel_memory.len(),
            policy.table_bytes.div_ceil(1024)
        )
    }
}

/// The oldest first: they are the ones to ask after.
fn write_lists(f: &mut fmt::Formatter<'_>, lists: &[ListStatus]) -> fmt::Result {
    let mut lists: Vec<_> = lists.iter().collect();
    lists.sort_by_key(|list| std::cmp::Reverse(list.age_days));
    for ListStatus { id, names, dated, age_days } in lists {
        writeln!(f, "  list    {id:24}{names:>12} names, of {dated}, {age_days} days old")?;
    }
    Ok(())
}

/// What has no usable name, and why: most bytes first.
fn write_names(f: &mut fmt::Formatter<'_>, names: &ByReason, since: &str) -> fmt::Result {
    let (total, unnamed) = (names.total(), names.unnamed());
    if total == Tally::default() {
        return writeln!(f, "  unnamed  no records since {since}");
    }
    writeln!(
        f,
        "  unnamed  {} of {} flows, {} of {} bytes, since {since}",
        percent(unnamed.flows, total.flows),
        total.flows,
        percent(unnamed.bytes, total.bytes),
        total.bytes
    )?;
    for (reason, tally) in names.missing() {
        let flows = percent(tally.flows, total.flows);
        let bytes = percent(tally.bytes, total.bytes);
        writeln!(f, "    {:24}{flows:>12} of flows {bytes:>16} of bytes", reason.name())?;
    }
    Ok(())
}

/// Whether every packet is in one record or flow, as far as packets that come meanwhile let it be told.
fn write_honesty(f: &mut fmt::Formatter<'_>, honesty: &Honesty) -> fmt::Result {
    let Honesty { looks, packets_off, bytes_off, packets_unsure } = *honesty;
    if looks == 0 {
        return writeln!(f, "honesty   not looked at yet");
    }
    if packets_off > 0 || bytes_off > 0 {
        return writeln!(
            f,
            "HONESTY   {packets_off} packets, {bytes_off} bytes are in no record and no flow, or in two"
        );
    }
    match packets_unsure {
        0 => writeln!(f, "honesty   every packet is in one record or flow, {looks} looks"),
        unsure => writeln!(
            f,
            "honesty   every packet is in one record or flow but for {unsure} at most that came meanwhile, {looks} looks"
        ),
    }
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

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::NoName;

    use super::*;

    #[test]
    fn the_share_without_a_name_is_shown_by_reason() {
        struct Names(ByReason);
        impl fmt::Display for Names {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_names(f, &self.0, "2026-03-10T12:00:00Z")
            }
        }
        let check = |reasons: &[(NoName, u64, u64)], expected: &str| {
            let mut sums = ByReason::default();
            for (reason, flows, bytes) in reasons.iter().copied() {
                sums.add(reason, Tally { flows, bytes });
            }
            assert_eq!(Names(sums).to_string(), expected);
        };
        check(&[], "  unnamed  no records since 2026-03-10T12:00:00Z\n");
        check(
            &[(NoName::Named, 9, 700)],
            "  unnamed  0.0 % of 9 flows, 0.0 % of 700 bytes, since 2026-03-10T12:00:00Z\n",
        );
        check(
            &[
                (NoName::Named, 960, 9_990_000),
                (NoName::Unlogged, 9, 6_000),
                (NoName::NoSni, 11, 3_000),
                (NoName::NotTls, 20, 1_000),
            ],
            "  unnamed  3.1 % of 1000 flows, <0.1 % of 10000000 bytes, since 2026-03-10T12:00:00Z\n    \
               no-sni                         1.1 % of flows           <0.1 % of bytes\n    \
               not-tls                        2.0 % of flows           <0.1 % of bytes\n",
        );
    }

    #[test]
    fn old_lists_come_first() {
        struct Lists(Vec<ListStatus>);
        impl fmt::Display for Lists {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_lists(f, &self.0)
            }
        }
        let list = |id: &str, dated: Option<&str>| {
            let mut list = List::default();
            id.clone_into(&mut list.id);
            list.dated = dated.map(|dated| dated.parse().unwrap());
            list.names = 12_345;
            list
        };
        let today = "2026-03-10".parse().unwrap();
        let lists = [
            list("own", None),
            list("new", Some("2026-03-10")),
            list("old", Some("2025-12-31")),
            list("of-tomorrow", Some("2026-03-11")),
        ];
        let lists = lists.iter().filter_map(|list| ListStatus::of(list, today)).collect();
        insta::assert_snapshot!(Lists(lists));
    }
}
