//! What `campus-sensor status` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

use jiff::civil::Date;
use sensor_ebpf::abi::{Accounting, Anomaly, Direction, Happening, NoName, Volume};
use serde::{Deserialize, Serialize};

use super::identity::IdentityStatus;
use crate::assembly::Honesty;
use crate::export::state::ExportStatus;
use crate::kernel::counters::Totals;
use crate::metrics::{Metrics, Quantiles};
use crate::names::{ByReason, Tally, percent};
use crate::policy::List;

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
    /// Hellos, flows and packets that gave no name, by every reason.
    pub no_name: BTreeMap<String, u64>,
    /// Segments no correct receiver would take, dropped or not, by every anomaly.
    pub anomalies: BTreeMap<String, u64>,
    /// Everything seen went somewhere.
    pub conserved: bool,
    /// Packets the interface had in the last seconds, and the program saw none; 0 where it sees.
    pub unseen: u64,
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
        let no_name = NoName::ALL
            .iter()
            .filter(|reason| **reason != NoName::Named)
            .map(|reason| (reason.name().to_owned(), totals.no_name(*reason)))
            .collect();
        let anomalies = Anomaly::ALL
            .iter()
            .map(|anomaly| (anomaly.name().to_owned(), totals.anomaly(*anomaly)))
            .collect();
        let conserved = totals.is_conserved();
        Self { packets, bytes, accounted, happened, no_name, anomalies, conserved, unseen: 0 }
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
            write_direction(f, Direction::Ingress, ingress)?;
            write_direction(f, Direction::Egress, egress)?;
            write_names(f, &names.recent, &self.names_since)?;
        }
        writeln!(
            f,
            "flows     {} live; records: {} made, {} stored, {} lost, {} store failures",
            records.live_flows, records.made, records.stored, records.lost, records.store_failures
        )?;
        write_honesty(f, &records.honesty)?;
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
    if status.unseen > 0 {
        writeln!(
            f,
            "    BLIND   {} packets passed in ten seconds, and none was seen",
            status.unseen
        )?;
    }
    for (name, [packets, bytes]) in &status.accounted {
        writeln!(f, "    {name:24}{packets:>12} packets {bytes:>16} bytes")?;
    }
    for (name, count) in &status.happened {
        writeln!(f, "    {name:24}{count:>12}")?;
    }
    write_counts(f, "no name", &status.no_name)?;
    write_counts(f, "anomalies", &status.anomalies)
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

/// The counts that are not zero, below a heading.
fn write_counts(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    counts: &BTreeMap<String, u64>,
) -> fmt::Result {
    let mut counts = counts.iter().filter(|(_, count)| **count != 0).peekable();
    if counts.peek().is_some() {
        writeln!(f, "    {heading}")?;
    }
    for (name, count) in counts {
        writeln!(f, "      {name:22}{count:>12}")?;
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
    use super::*;

    /// Shows a direction as `status` does.
    struct Shown(DirectionStatus);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_direction(f, Direction::Ingress, &self.0)
        }
    }

    fn totals(no_name: &[(NoName, u64)], anomalies: &[(Anomaly, u64)]) -> Totals {
        let mut totals = Totals::default();
        for (reason, count) in no_name {
            totals.0.no_name[*reason as usize] = *count;
        }
        for (anomaly, count) in anomalies {
            totals.0.anomalies[*anomaly as usize] = *count;
        }
        totals
    }

    #[test]
    fn people_are_shown_the_reasons_that_occurred() {
        let head = "  ingress 0 packets, 0 bytes, all accounted for\n";
        for (no_name, anomalies, expected) in [
            (&[][..], &[][..], ""),
            (
                &[(NoName::ExtensionHeaders, 7), (NoName::NoSni, 12)],
                &[],
                "    no name\n      \
                       extension-headers                7\n      \
                       no-sni                          12\n",
            ),
            (
                &[(NoName::Oversize, 1)],
                &[(Anomaly::Md5, 1_000_000)],
                "    no name\n      \
                       oversize                         1\n    \
                     anomalies\n      \
                       md5                        1000000\n",
            ),
        ] {
            let shown = Shown((&totals(no_name, anomalies)).into()).to_string();
            assert_eq!(shown, format!("{head}{expected}"));
        }
    }

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

    #[test]
    fn json_has_every_reason_and_anomaly() {
        let totals = totals(&[(NoName::Evasion, 3)], &[(Anomaly::Urgent, 4)]);
        let json = serde_json::to_value(DirectionStatus::from(&totals)).unwrap();
        for reason in NoName::ALL.iter().filter(|reason| **reason != NoName::Named) {
            let expected = if *reason == NoName::Evasion { 3 } else { 0 };
            assert_eq!(json["no_name"][reason.name()], expected, "{}", reason.name());
        }
        assert!(json["no_name"].get("named").is_none());
        for anomaly in Anomaly::ALL {
            let expected = if *anomaly == Anomaly::Urgent { 4 } else { 0 };
            assert_eq!(json["anomalies"][anomaly.name()], expected, "{}", anomaly.name());
        }
    }
}
