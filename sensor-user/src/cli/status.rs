//! `campus-sensor status`: what the daemon says, and on demand which devices hide their names.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::flows::device;
use super::table::{self, Column};
use crate::control::status::Status;
use crate::names::{ByReason, Tally, percent};
use crate::store::{DeviceNames, Query, Reader};

/// Reasons shown of a device; JSON has all.
const REASONS_SHOWN: usize = 3;

/// What to show beside the state.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
A flow has a usable name where one was read, or was read and is protected. Flows are counted when they
end, bytes with every record.

Examples:
  campus-sensor status
  campus-sensor status --devices
  campus-sensor top --by device --sort unnamed --since 7d")]
pub struct StatusArgs {
    /// Also the N devices with most bytes without a usable name, by address; 0 for all
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    pub devices: Option<u64>,
}

/// The state and the devices, as JSON.
#[derive(Serialize)]
struct WithDevices<'a> {
    #[serde(flatten)]
    status: &'a Status,
    devices: Devices<'a>,
}

#[derive(Serialize)]
struct Devices<'a> {
    /// Devices with records in that time.
    seen: usize,
    /// Those with flows or bytes without a usable name.
    unnamed: usize,
    most_unnamed: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    device: &'a str,
    zone: u16,
    flows: u64,
    bytes: u64,
    unnamed_flows: u64,
    unnamed_bytes: u64,
    names: &'a ByReason,
}

/// Writes the state, and the devices asked for by the same hours as the state's shares.
pub fn status(
    status: &Status,
    store_dir: &Path,
    args: &StatusArgs,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(limit) = args.devices else {
        if json {
            table::write_json(status, out)?;
        } else {
            writeln!(out, "{status}")?;
        }
        return Ok(());
    };
    let since: Timestamp = status.names_since.parse().context("read the daemon's answer")?;
    let query = Query { since: Some(since), ..Query::default() };
    let reader = Reader::open(store_dir).context("open the store")?;
    let devices = reader.names_by_device(&query).context("sum up the store")?;
    let is_unnamed = |device: &&DeviceNames| device.sums.unnamed() != Tally::default();
    let unnamed = devices.iter().filter(is_unnamed).count();
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let shown = devices.iter().filter(is_unnamed).take(limit);
    if json {
        let devices =
            Devices { seen: devices.len(), unnamed, most_unnamed: shown.map(object).collect() };
        table::write_json(&WithDevices { status, devices }, out)?;
        return Ok(());
    }
    writeln!(out, "{status}")?;
    writeln!(out, "devices   {unnamed} of {} had flows or bytes without a name", devices.len())?;
    if unnamed == 0 {
        return Ok(());
    }
    let columns = [
        Column::Word("device"),
        Column::Number("flows ended"),
        Column::Number("unnamed"),
        Column::Number("bytes"),
        Column::Number("unnamed"),
        Column::Text("reasons, of its bytes", 30),
    ];
    table::write_table(&columns, shown.map(row), out)?;
    Ok(())
}

fn row(names: &DeviceNames) -> Vec<String> {
    let (total, unnamed) = (names.sums.total(), names.sums.unnamed());
    let missing = names.sums.missing();
    let reasons = missing
        .iter()
        .take(REASONS_SHOWN)
        .map(|(reason, tally)| format!("{} {}", reason.name(), percent(tally.bytes, total.bytes)));
    let mut reasons: Vec<String> = reasons.collect();
    if missing.len() > REASONS_SHOWN {
        reasons.push("and others".to_owned());
    }
    vec![
        device(&names.address, names.zone),
        total.flows.to_string(),
        percent(unnamed.flows, total.flows),
        table::bytes(total.bytes),
        percent(unnamed.bytes, total.bytes),
        reasons.join(", "),
    ]
}

fn object(names: &DeviceNames) -> Shown<'_> {
    let (total, unnamed) = (names.sums.total(), names.sums.unnamed());
    Shown {
        device: &names.address,
        zone: names.zone,
        flows: total.flows,
        bytes: total.bytes,
        unnamed_flows: unnamed.flows,
        unnamed_bytes: unnamed.bytes,
        names: &names.sums,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::control::identity::IdentityStatus;
    use crate::control::status::{PolicyStatus, RecordStatus};
    use crate::metrics::Metrics;
    use crate::record::Record;
    use crate::record::sample::{record, unnamed};
    use crate::spool::SpoolStatus;
    use crate::store::DayStore;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        status: StatusArgs,
    }

    fn run(arguments: &[&str], json: bool) -> String {
        let dir = TempDir::new().unwrap();
        let mut store = DayStore::open(dir.path(), "gw-1").unwrap();
        let much = Record { device: [10, 0, 0, 6].into(), bytes_to_lan: 5_000_000, ..unnamed(2) };
        let named = Record { device: [10, 0, 0, 7].into(), ..record(3) };
        store.append(&[record(0), unnamed(1), much, named]).unwrap();
        let state = Status {
            sensor: "gw-1".to_owned(),
            version: "1".to_owned(),
            pid: 1,
            uptime_s: 60,
            policy: PolicyStatus {
                version: "v".to_owned(),
                generation: 1,
                names: 2,
                table_bytes: 512,
                groups: 3,
                logins: 1,
                schedules_on: Vec::new(),
                lists: Vec::new(),
                tampering: None,
                refused: 0,
            },
            names_since: "2026-03-10T12:00:00Z".to_owned(),
            interfaces: Vec::new(),
            quic_unread: None,
            records: RecordStatus::from(&Metrics::default()),
            identity: IdentityStatus::default(),
            spool: SpoolStatus::default(),
            exports: Vec::new(),
            kernel_memory: BTreeMap::new(),
        };
        let args = Command::try_parse_from(["status"].iter().chain(arguments)).unwrap().status;
        let mut out = Vec::new();
        status(&state, dir.path(), &args, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn devices_are_shown_where_they_are_asked_for() {
        let plain = run(&[], false);
        assert!(!plain.contains("10.0.0."), "{plain}");
        let shown = run(&["--devices"], false);
        let (state, devices) = shown.split_at(plain.len());
        assert_eq!(state, plain);
        insta::assert_snapshot!(devices);
        assert!(!run(&["--devices", "1"], false).contains("10.0.0.5"));
    }

    #[test]
    fn json_has_the_state_and_the_devices() {
        let value: Value = serde_json::from_str(&run(&["--devices", "1"], true)).unwrap();
        assert_eq!(value["sensor"], "gw-1");
        let expected = json!({
            "seen": 3,
            "unnamed": 2,
            "most_unnamed": [{
                "device": "10.0.0.6", "zone": 3, "flows": 1, "bytes": 5_000_900,
                "unnamed_flows": 1, "unnamed_bytes": 5_000_900,
                "names": {"not-tls": {"flows": 1, "bytes": 5_000_900}},
            }],
        });
        assert_eq!(value["devices"], expected);
        assert!(serde_json::from_str::<Value>(&run(&[], true)).unwrap().get("devices").is_none());
    }
}
