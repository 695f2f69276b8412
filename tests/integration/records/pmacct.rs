//! pmacct's nfacctd decodes names, verdicts and categories by a few lines of primitives, as README.md gives them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use sensor_lab::process::{self, Running};
use serde_json::Value;
use tempfile::TempDir;

use super::{SOON, free_port, samples, send};

const LOG: &str = "nfacctd.log";

const README: &str = include_str!("../../../README.md");

/// The lines of the README that name our elements.
fn primitives() -> String {
    let lines = README.lines().filter(|line| line.starts_with("name=campus_"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn names_verdicts_and_categories_are_decoded() -> Result<()> {
    let records = samples()?;
    let dir = TempDir::new()?;
    let port = free_port()?;
    let out = dir.path().join("out.json");
    let nfacctd = start(dir.path(), &out, port)?;
    // What comes before its printer is ready is lost.
    process::wait_until("nfacctd is ready", SOON, || {
        let log = fs::read_to_string(dir.path().join(LOG)).unwrap_or_default();
        Ok(log.contains("JSON: setting object handlers").then_some(()))
    })?;
    send(&format!("kind = \"ipfix\"\ntarget = \"udp://127.0.0.1:{port}\"\n"), &records)?;
    let flows = process::wait_until("all flows are printed", SOON, || {
        let flows = read(&out);
        Ok((flows.len() == 2 * records.len()).then_some(flows))
    })?;
    stop(nfacctd)?;
    let mut by_ports = BTreeMap::new();
    for flow in &flows {
        let ports = (flow["port_src"].as_u64(), flow["port_dst"].as_u64());
        by_ports.insert(ports, flow);
    }
    for record in &records {
        let (device, peer) = (u64::from(record.device_port), u64::from(record.peer_port));
        for (ports, from, packets) in [
            ((Some(device), Some(peer)), record.device, record.packets_to_peer),
            ((Some(peer), Some(device)), record.peer, record.packets_to_lan),
        ] {
            let flow = by_ports.get(&ports).with_context(|| format!("no flow {ports:?}"))?;
            assert_eq!(flow["ip_src"], from.to_string());
            assert_eq!(flow["packets"], packets);
            let name = record.name.as_deref().unwrap_or_default();
            let read = flow["campus_name"].as_str().unwrap_or_default();
            // A datagram holds no longer one twice: as the host of a request, and as ours.
            let is_cut = read.len() == 255 && name.starts_with(read);
            assert!(read == name || is_cut, "{name}: {flow}");
            assert_eq!(flow["campus_verdict"], "block");
            assert_eq!(flow["campus_categories"], "adult gambling");
            assert_eq!(flow["campus_group"], "students");
        }
    }
    Ok(())
}

fn start(dir: &Path, out: &Path, port: u16) -> Result<Running> {
    let (config, list) = (dir.join("nfacctd.conf"), dir.join("primitives.lst"));
    fs::write(&list, primitives())?;
    let text = format!(
        "daemonize: false\nnfacctd_ip: 127.0.0.1\nnfacctd_port: {port}\nplugins: print\n\
         aggregate_primitives: {}\nprint_output: json\nprint_output_file: {}\n\
         print_refresh_time: 2\nprint_output_file_append: true\n\
         aggregate: src_host, dst_host, src_port, dst_port, proto, campus_name, campus_verdict, \
         campus_categories, campus_group\n",
        list.display(),
        out.display()
    );
    fs::write(&config, text)?;
    Running::start(Command::new("nfacctd").arg("-f").arg(&config), &dir.join(LOG))
}

/// nfacctd ends by SIGINT alone.
fn stop(mut nfacctd: Running) -> Result<()> {
    process::run(Command::new("kill").args(["-INT", &nfacctd.pid().to_string()]))?;
    process::wait_until("nfacctd has ended", SOON, || Ok(nfacctd.ended()?.map(drop)))
}

fn read(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out).unwrap_or_default();
    // The last line may be on its way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
