//! rsyslog receives blocks over UDP and TCP, and reads every value of the structured data.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use sensor_lab::process::{self, Running};
use sensor_user::record::Record;
use serde_json::Value;
use tempfile::TempDir;

use super::{SOON, free_port, samples, send, wait_for_listener};

#[test]
fn blocks_are_read_field_by_field() -> Result<()> {
    let mut records = samples()?;
    for carrier in ["udp", "tcp"] {
        let dir = TempDir::new()?;
        let port = free_port()?;
        let out = dir.path().join("out");
        let rsyslogd = start(dir.path(), &out, port)?;
        wait_for_listener(port)?;
        send(&format!("kind = \"syslog\"\ntarget = \"{carrier}://127.0.0.1:{port}\"\n"), &records)?;
        let lines = process::wait_until("all messages are there", SOON, || {
            let text = fs::read_to_string(&out).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            Ok((lines.len() == records.len()).then_some(lines))
        })?;
        rsyslogd.stop(SOON)?;
        let mut read = lines.iter().map(|line| parsed(line)).collect::<Result<Vec<_>>>()?;
        let sequence =
            |value: &Value| value["sequence"].as_str().and_then(|text| text.parse::<u64>().ok());
        read.sort_by_key(sequence);
        records.sort_by_key(|record| record.sequence);
        for (record, values) in records.iter().zip(&read) {
            check(record, values);
        }
    }
    Ok(())
}

fn check(record: &Record, values: &Value) {
    assert_eq!(values["name"].as_str(), record.name.as_deref());
    for (key, expected) in [
        ("device", record.device.to_string()),
        ("peer", record.peer.to_string()),
        ("device_port", record.device_port.to_string()),
        ("bytes_to_lan", record.bytes_to_lan.to_string()),
        ("verdict", "block".to_owned()),
        ("categories", "adult gambling".to_owned()),
        ("policy", "2026-03-09.1".to_owned()),
    ] {
        assert_eq!(values[key], expected.as_str(), "{key}");
    }
}

fn start(dir: &Path, out: &Path, port: u16) -> Result<Running> {
    let config = dir.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{0}\")\n\
         module(load=\"imudp\")\nmodule(load=\"imtcp\")\nmodule(load=\"mmpstrucdata\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         template(name=\"values\" type=\"string\" \
         string=\"%pri%|%hostname%|%app-name%|%msgid%|%timereported:::date-rfc3339%|%$!rfc5424-sd%\\n\")\n\
         action(type=\"mmpstrucdata\")\n\
         action(type=\"omfile\" file=\"{1}\" template=\"values\")\n",
        dir.display(),
        out.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(&config).arg("-i").arg(dir.join("pid"));
    Running::start(&mut command, &dir.join("rsyslogd.log"))
}

/// The values of the structured data of a line, whose header is as it must be.
fn parsed(line: &str) -> Result<Value> {
    let mut parts = line.splitn(6, '|');
    let header: Vec<&str> = parts.by_ref().take(5).collect();
    let expected = ["133", "gw-1", "campus-sensor", "BLOCK", "2026-03-10T12:00:07.654321+00:00"];
    // Some versions write UTC as Z.
    let header: Vec<String> = header.iter().map(|part| part.replace('Z', "+00:00")).collect();
    assert_eq!(header, expected, "{line}");
    let values: Value = serde_json::from_str(parts.next().context("no structured data")?)?;
    Ok(values["flow@32473"].clone())
}
