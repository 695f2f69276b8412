//! The state of a sensor for a monitoring system, in the text format of `OpenMetrics` 1.0.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::status::{DirectionStatus, ListStatus, Status};
use crate::export::state::ExportStatus;
use crate::names::{Tally, USABLE};
use crate::spool::CursorStatus;

/// Media type of that text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Before every name.
const PREFIX: &str = "campus_sensor";

/// Everything `status` counts. Counters of the programs live as long as their maps, those of records as
/// long as the daemon.
pub fn text(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Snapshot(status.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Snapshot(Status);

/// Labels and value of one sample.
type Sample<const N: usize> = ([(&'static str, String); N], u64);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(status) = self;
        self.encode_interfaces(&mut encoder)?;
        let built = [([("sensor", status.sensor.clone()), ("version", status.version.clone())], 1)];
        gauge(&mut encoder, "build", "Name of the sensor and version of the daemon", built)?;
        gauge(&mut encoder, "uptime_seconds", "Since the daemon started", plain(status.uptime_s))?;
        let policy = &status.policy;
        let generation = u64::from(policy.generation);
        gauge(
            &mut encoder,
            "policy_generation",
            "Number of the policy in force",
            plain(generation),
        )?;
        let names = policy.names as u64;
        gauge(&mut encoder, "policy_names", "Names the policy lists", plain(names))?;
        let bytes = policy.table_bytes;
        gauge(&mut encoder, "policy_table_bytes", "Kernel memory of their table", plain(bytes))?;
        let refused = "Policies that did not load; the last good one stayed";
        counter(&mut encoder, "policies_refused", refused, plain(policy.refused))?;
        let tampered = u64::from(policy.tampering.is_some());
        let help = "1 where its files are not as they were signed";
        gauge(&mut encoder, "policy_tampered", help, plain(tampered))?;
        let of_list = |list: &ListStatus| [("list", list.id.clone())];
        let names = policy.lists.iter().map(|list| (of_list(list), u64::from(list.names)));
        gauge(&mut encoder, "list_names", "Names of a list", names)?;
        let ages = policy.lists.iter().map(|list| (of_list(list), seconds_of(list.age_days)));
        gauge(&mut encoder, "list_age_seconds", "Whole days since the day a list is of", ages)?;
        let quic = u64::from(status.quic_unread.is_none());
        gauge(&mut encoder, "quic_read", "1 where names are read of QUIC", plain(quic))?;
        let records = &status.records;
        gauge(&mut encoder, "flows", "Flows in the table", plain(records.live_flows))?;
        counter(&mut encoder, "records_made", "Records made", plain(records.made))?;
        counter(&mut encoder, "records_stored", "Records committed", plain(records.stored))?;
        counter(&mut encoder, "records_lost", "Records given up", plain(records.lost))?;
        let honesty = &records.honesty;
        let off = [("packets", honesty.packets_off), ("bytes", honesty.bytes_off)];
        for (what, off) in off {
            let name = format!("{what}_off");
            let help =
                format!("{what} counted in a flow that are in no record and no flow, or in two");
            counter(&mut encoder, &name, &help, plain(off))?;
        }
        let failures = "Transactions that failed and were tried again";
        counter(&mut encoder, "store_failures", failures, plain(records.store_failures))?;
        let failures = "Attempts of the spool that failed and were tried again";
        counter(&mut encoder, "spool_failures", failures, plain(records.spool_failures))?;
        self.encode_spool(&mut encoder)?;
        self.encode_identity(&mut encoder)?;
        self.encode_exports(&mut encoder)?;
        let memory =
            status.kernel_memory.iter().map(|(map, bytes)| ([("map", map.clone())], *bytes));
        gauge(&mut encoder, "kernel_memory_bytes", "Kernel memory of a map, at most", memory)
    }
}

fn seconds_of(days: u32) -> u64 {
    u64::from(days) * 24 * 60 * 60
}

impl Snapshot {
    fn encode_identity(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let identity = &self.0.identity;
        let facts = identity.facts as u64;
        gauge(encoder, "identity_facts", "Facts of devices that are kept", plain(facts))?;
        let help = "Facts of devices that were told";
        counter(encoder, "identity_learnt", help, plain(identity.learnt))?;
        let help = "Stretches of the past that are known otherwise now";
        counter(encoder, "identity_amendments", help, plain(identity.amendments))?;
        let lost = [
            ("unsound", identity.unsound),
            ("no-room", identity.no_room),
            ("forgotten", identity.forgotten),
        ];
        let lost = lost.map(|(why, count)| ([("why", why.to_owned())], count));
        counter(encoder, "identity_lost", "Facts that are not kept", lost)?;
        let refused = identity.refused.iter();
        let refused = refused.map(|(reason, count)| ([("reason", reason.clone())], *count));
        counter(encoder, "identity_refused", "What sources sent and was not taken", refused)
    }

    fn encode_interfaces(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.directions().map(|(labels, status)| (labels, status.packets));
        counter(encoder, "packets", "Packets seen", seen)?;
        let seen = self.directions().map(|(labels, status)| (labels, status.bytes));
        counter(encoder, "bytes", "Bytes seen, as on the wire without FCS", seen)?;
        let conserved =
            self.directions().map(|(labels, status)| (labels, u64::from(status.conserved)));
        gauge(encoder, "conserved", "1 where everything seen went somewhere", conserved)?;
        let unseen = self.directions().map(|(labels, status)| (labels, status.unseen));
        let help = "Packets the interface had in ten seconds where the program saw none, else 0";
        gauge(encoder, "unseen_packets", help, unseen)?;
        let packets = self.each(|status| {
            let to = |(name, volume): (&String, &[u64; 2])| (name.clone(), volume[0]);
            status.accounted.iter().map(to).collect()
        });
        counter(encoder, "accounted_packets", "Packets by where they went", by("to", packets))?;
        let bytes = self.each(|status| {
            let to = |(name, volume): (&String, &[u64; 2])| (name.clone(), volume[1]);
            status.accounted.iter().map(to).collect()
        });
        counter(encoder, "accounted_bytes", "Bytes by where they went", by("to", bytes))?;
        let happened = self.each(|status| owned(&status.happened));
        counter(encoder, "happenings", "What else happened", by("what", happened))?;
        let no_name = self.each(|status| owned(&status.no_name));
        let help = "Hellos, flows and packets that gave no name";
        counter(encoder, "no_name", help, by("reason", no_name))?;
        let anomalies = self.each(|status| owned(&status.anomalies));
        let help = "Segments no correct receiver would take";
        counter(encoder, "anomalies", help, by("anomaly", anomalies))?;
        let flows = self.names(|tally| tally.flows);
        let help = "Flows that ended, by committed records, and why those without a name have none";
        counter(encoder, "recorded_flows", help, flows)?;
        let bytes = self.names(|tally| tally.bytes);
        counter(encoder, "recorded_bytes", "The same of bytes, both ways", bytes)
    }

    fn encode_spool(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let spool = &self.0.spool;
        let by_class = |counts: &BTreeMap<String, u64>| {
            let counts = counts.iter().map(|(class, count)| ([("class", class.clone())], *count));
            counts.collect::<Vec<_>>()
        };
        gauge(encoder, "spool_records", "Records in the spool", by_class(&spool.records))?;
        gauge(encoder, "spool_bytes", "What they take of its file", plain(spool.bytes))?;
        gauge(encoder, "spool_bytes_max", "What they may take", plain(spool.bytes_max))?;
        let shed = "Records that made room for others before everyone had them";
        counter(encoder, "spool_shed", shed, by_class(&spool.shed))?;
        counter(encoder, "spool_damaged", "Records that cannot be read", plain(spool.damaged))?;
        let of = |cursor: &CursorStatus| [("sink", cursor.name.clone())];
        let behind = spool.cursors.iter().map(|cursor| (of(cursor), cursor.behind_records));
        gauge(encoder, "spool_behind", "Records that a sink has not taken yet", behind)?;
        let late = spool.cursors.iter().map(|cursor| (of(cursor), cursor.behind_s));
        gauge(encoder, "spool_behind_seconds", "Age of the oldest of them", late)?;
        let lost = spool.cursors.iter().flat_map(|cursor| {
            let [name] = of(cursor);
            let of_class = move |(class, count): (&String, &u64)| {
                ([name.clone(), ("class", class.clone())], *count)
            };
            cursor.lost.iter().map(of_class)
        });
        counter(encoder, "spool_lost", "Records that a sink never had", lost)
    }

    fn encode_exports(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let exports = &self.0.exports;
        let of = |export: &ExportStatus| [("export", export.name.clone())];
        let sent = exports.iter().map(|export| (of(export), export.sent));
        counter(encoder, "export_records", "Records an export handed over", sent)?;
        let shed = exports.iter().flat_map(|export| {
            let [name] = of(export);
            let of_reason = move |(reason, count): (&String, &u64)| {
                ([name.clone(), ("reason", reason.clone())], *count)
            };
            export.shed.iter().map(of_reason)
        });
        counter(encoder, "export_shed", "Records an export did not send, and why", shed)?;
        let queued = exports.iter().map(|export| (of(export), export.queued));
        gauge(encoder, "export_queued", "Records that wait for it in the spool", queued)?;
        let open = exports.iter().map(|export| (of(export), u64::from(export.open)));
        gauge(encoder, "export_open", "1 where its file or connection is open", open)
    }

    /// A number of every reason of every interface, those that did not occur too.
    fn names(&self, number: impl Fn(Tally) -> u64) -> impl Iterator<Item = Sample<3>> {
        self.0.interfaces.iter().flat_map(move |interface| {
            let sums = interface.names.since_start;
            let samples = sums.reasons().map(|(reason, tally)| {
                let name = if USABLE.contains(&reason) { "named" } else { "unnamed" };
                let labels = [
                    ("interface", interface.name.clone()),
                    ("name", name.to_owned()),
                    ("reason", reason.name().to_owned()),
                ];
                (labels, number(tally))
            });
            samples.collect::<Vec<_>>()
        })
    }

    fn directions(&self) -> impl Iterator<Item = ([(&'static str, String); 2], &DirectionStatus)> {
        self.0.interfaces.iter().flat_map(|interface| {
            [("ingress", &interface.ingress), ("egress", &interface.egress)].map(
                |(direction, status)| {
                    let labels = [
                        ("interface", interface.name.clone()),
                        ("direction", direction.to_owned()),
                    ];
                    (labels, status)
                },
            )
        })
    }

    /// Named counts of every direction of every interface.
    fn each(
        &self,
        counts: impl Fn(&DirectionStatus) -> Vec<(String, u64)>,
    ) -> impl Iterator<Item = ([(&'static str, String); 2], String, u64)> {
        self.directions().flat_map(move |(labels, status)| {
            counts(status).into_iter().map(move |(name, count)| (labels.clone(), name, count))
        })
    }
}

fn owned(counts: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    counts.iter().map(|(name, count)| (name.clone(), *count)).collect()
}

/// Names the third label.
fn by(
    label: &'static str,
    counts: impl Iterator<Item = ([(&'static str, String); 2], String, u64)>,
) -> impl Iterator<Item = Sample<3>> {
    counts.map(move |([interface, direction], name, count)| {
        ([interface, direction, (label, name)], count)
    })
}

/// A label's value as the format wants it, which the encoder leaves to its caller.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn plain(value: u64) -> [Sample<0>; 1] {
    [([], value)]
}

fn counter<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<N>>,
) -> fmt::Result
where
    [(&'static str, String); N]: EncodeLabelSet,
{
    encode(encoder, name, help, ConstCounter::new, samples)
}

fn gauge<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<N>>,
) -> fmt::Result
where
    [(&'static str, String); N]: EncodeLabelSet,
{
    encode(encoder, name, help, ConstGauge::new, samples)
}

fn encode<const N: usize, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    of: impl Fn(u64) -> M,
    samples: impl IntoIterator<Item = Sample<N>>,
) -> fmt::Result
where
    [(&'static str, String); N]: EncodeLabelSet,
{
    let mut metric = encoder.encode_descriptor(name, help, None, of(0).metric_type())?;
    for (labels, value) in samples {
        if N == 0 {
            return of(value).encode(metric);
        }
        let labels = labels.map(|(label, value)| (label, escaped(&value)));
        of(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_ebpf::abi::NoName;

    use crate::control::identity::IdentityStatus;
    use crate::control::status::{InterfaceNames, InterfaceStatus, PolicyStatus, RecordStatus};
    use crate::identity::Directory;
    use crate::metrics::Metrics;
    use crate::names::ByReason;
    use crate::spool::SpoolStatus;

    #[test]
    fn counts_have_their_labels_and_what_is_odd_is_escaped() {
        let ingress = DirectionStatus {
            packets: 7,
            bytes: 700,
            accounted: [("flow".to_owned(), [6, 650])].into(),
            no_name: [("no-sni".to_owned(), 3)].into(),
            conserved: true,
            ..DirectionStatus::default()
        };
        let mut since_start = ByReason::default();
        since_start.add(NoName::Unlogged, Tally { flows: 8, bytes: 800 });
        since_start.add(NoName::NoSni, Tally { flows: 2, bytes: 200 });
        let status = Status {
            sensor: "the \"gate\"\\\n".to_owned(),
            version: "1.2.3".to_owned(),
            pid: 1,
            uptime_s: 60,
            policy: PolicyStatus {
                version: "v".to_owned(),
                generation: 4,
                names: 5,
                table_bytes: 512,
                groups: 6,
                logins: 2,
                schedules_on: Vec::new(),
                lists: vec![ListStatus {
                    id: "games".to_owned(),
                    names: 9,
                    dated: "2026-03-08".to_owned(),
                    age_days: 2,
                }],
                tampering: Some("a list is another one".to_owned()),
                refused: 2,
            },
            names_since: "2026-03-10T12:00:00Z".to_owned(),
            interfaces: vec![InterfaceStatus {
                name: "lan0".to_owned(),
                ifindex: 3,
                side: "lan".to_owned(),
                mode: "native".to_owned(),
                ingress,
                egress: DirectionStatus::default(),
                names: InterfaceNames { since_start, ..InterfaceNames::default() },
            }],
            records: RecordStatus::from(&Metrics::default()),
            identity: IdentityStatus::from(&Directory::default()),
            spool: SpoolStatus {
                records: [("allowed".to_owned(), 5)].into(),
                shed: [("alert".to_owned(), 6)].into(),
                cursors: vec![CursorStatus {
                    name: "day-store".to_owned(),
                    behind_records: 4,
                    lost: [("blocked".to_owned(), 9)].into(),
                    ..CursorStatus::default()
                }],
                ..SpoolStatus::default()
            },
            exports: vec![ExportStatus {
                name: "siem".to_owned(),
                open: true,
                sent: 11,
                shed: [("not-taken".to_owned(), 12)].into(),
                ..ExportStatus::default()
            }],
            quic_unread: None,
            kernel_memory: [("FLOWS".to_owned(), 4096)].into(),
        };
        let text = text(&status).unwrap();
        let told: Vec<_> = text.lines().collect();
        for line in [
            "# TYPE campus_sensor_packets counter",
            r#"campus_sensor_packets_total{interface="lan0",direction="ingress"} 7"#,
            r#"campus_sensor_packets_total{interface="lan0",direction="egress"} 0"#,
            r#"campus_sensor_accounted_bytes_total{interface="lan0",direction="ingress",to="flow"} 650"#,
            r#"campus_sensor_no_name_total{interface="lan0",direction="ingress",reason="no-sni"} 3"#,
            r#"campus_sensor_recorded_flows_total{interface="lan0",name="named",reason="unlogged"} 8"#,
            r#"campus_sensor_recorded_bytes_total{interface="lan0",name="unnamed",reason="no-sni"} 200"#,
            r#"campus_sensor_recorded_flows_total{interface="lan0",name="unnamed",reason="oversize"} 0"#,
            r#"campus_sensor_conserved{interface="lan0",direction="ingress"} 1"#,
            r#"campus_sensor_build{sensor="the \"gate\"\\\n",version="1.2.3"} 1"#,
            r#"campus_sensor_kernel_memory_bytes{map="FLOWS"} 4096"#,
            r#"campus_sensor_spool_records{class="allowed"} 5"#,
            r#"campus_sensor_spool_shed_total{class="alert"} 6"#,
            r#"campus_sensor_spool_behind{sink="day-store"} 4"#,
            r#"campus_sensor_spool_lost_total{sink="day-store",class="blocked"} 9"#,
            r#"campus_sensor_export_records_total{export="siem"} 11"#,
            r#"campus_sensor_export_shed_total{export="siem",reason="not-taken"} 12"#,
            r#"campus_sensor_export_open{export="siem"} 1"#,
            r#"campus_sensor_export_queued{export="siem"} 0"#,
            "campus_sensor_policies_refused_total 2",
            "campus_sensor_policy_table_bytes 512",
            "campus_sensor_policy_tampered 1",
            r#"campus_sensor_list_names{list="games"} 9"#,
            r#"campus_sensor_list_age_seconds{list="games"} 172800"#,
            "campus_sensor_uptime_seconds 60",
        ] {
            assert!(told.contains(&line), "no {line} in\n{text}");
        }
        assert_eq!(told.last(), Some(&"# EOF"));
    }
}
