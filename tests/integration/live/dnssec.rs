//! A stub that checks signatures, and a zone that has them.

use std::time::Duration;

use anyhow::Result;
use sensor_lab::lab::{Family, HOST_INTERFACE, Lab};
use sensor_lab::process;
use sensor_lab::sensor::{self, Sensor};
use sensor_lab::signed::{SignedZone, ZONE};
use sensor_user::kernel::lab::Lab as ClientEnd;

use super::dns::with_dns;
use super::{ALLOWED, BLOCKED};

/// Less than any stub waits before it asks again.
const AT_ONCE: Duration = Duration::from_secs(2);

const ANSWERS: [&str; 3] = [
    "",
    "[dns]\nanswer = \"nodata\"\n",
    "[dns]\nanswer = \"sinkhole\"\nsinkhole4 = \"10.77.2.99\"\nsinkhole6 = \"fd77:2::99\"\n",
];

/// Whatever is answered for a blocked name has no signature: the stub refuses it at once and asks no more.
#[test]
fn a_validating_stub_takes_signed_names_and_refuses_blocked_ones_at_once() -> Result<()> {
    for answer in ANSWERS {
        let lab = Lab::build()?;
        let zone = SignedZone::start(&lab, &[ALLOWED, BLOCKED])?;
        let ask = |name: &str, family: Family, kind: &str| -> Result<String> {
            let mut delv = lab.client().command("delv");
            delv.arg(format!("@{}", family.server())).arg("-a").arg(zone.anchor());
            delv.arg(format!("+root={ZONE}")).args([name, kind]);
            let said = process::finish(&mut delv, AT_ONCE)?;
            Ok(format!("{}{}", said.stdout, said.stderr))
        };
        let validated = "; fully validated";
        let said = ask(BLOCKED, Family::V4, "A")?;
        assert!(said.contains(validated), "without a sensor: {said}");

        let _sensor = Sensor::start(&lab, &sensor::binary()?, &with_dns(answer))?;
        let _client_end = lab.client().inside(|| {
            let mut end = ClientEnd::load()?;
            end.receive_at(HOST_INTERFACE)?;
            Ok(end)
        })?;
        for family in [Family::V4, Family::V6] {
            for kind in ["A", "AAAA"] {
                let said = ask(ALLOWED, family, kind)?;
                assert!(said.contains(validated), "{answer:?} {family:?} {kind}: {said}");
                let said = ask(BLOCKED, family, kind)?;
                let failed = said.contains("resolution failed") && !said.contains("timed out");
                assert!(failed, "{answer:?} {family:?} {kind}: {said}");
            }
        }
    }
    Ok(())
}
