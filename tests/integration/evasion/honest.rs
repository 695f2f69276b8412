//! The kernel's own TCP in modes that look unusual on the wire: it must get through, for allowed names.

use anyhow::{Context as _, Result};
use sensor_lab::lab::{Family, HOST_INTERFACE};
use sensor_lab::process;
use serde_json::Value;

use super::speaker::TLS_PORT;
use super::{ALLOWED, BLOCKED, Ground, trial};

const HONEST: &str = include_str!("honest.py");

/// How, and to which port.
const KINDS: [(&str, u16); 3] = [("plain", 443), ("mptcp", TLS_PORT), ("fastopen", 443)];
/// Of a device that fetches a cookie, and then uses it.
const HANDSHAKES: usize = 3;

#[test]
fn unusual_stacks_are_examined_and_not_hindered() -> Result<()> {
    let ground = Ground::watched()?;
    let mut complaints = handshakes(&ground, "", &KINDS)?;
    // Every frame of the client now carries half a checksum, as those of a machine that is itself the
    // gateway do; the kernel's own hosts next door take them.
    ground.lab.client().run("ethtool", &["-K", HOST_INTERFACE, "tx", "on"])?;
    complaints.extend(handshakes(&ground, " with half a checksum", &KINDS[..1])?);
    trial::conclude(&complaints, 16);
    Ok(())
}

fn handshakes(ground: &Ground, how: &str, kinds: &[(&str, u16)]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (kind, port) in kinds {
        for family in [Family::V4, Family::V6] {
            for name in [BLOCKED, ALLOWED] {
                let mut python = ground.lab.client().python(HONEST);
                python.args([kind, name, &family.server().to_string(), &port.to_string()]);
                python.arg(ground.web.authority()).arg(HANDSHAKES.to_string());
                let said = process::run(&mut python)?;
                let done: Vec<bool> = said.lines().map(is_done).collect::<Result<_>>()?;
                if done != [name == ALLOWED; HANDSHAKES] {
                    let said = said.trim_end().replace('\n', ", ");
                    complaints.push(format!("  {kind}{how}, {name} ({family:?}): {said}"));
                }
            }
        }
    }
    Ok(complaints)
}

fn is_done(line: &str) -> Result<bool> {
    let report: Value = serde_json::from_str(line).context("read the client's report")?;
    report.get("done").and_then(Value::as_bool).context("whether it is done")
}
