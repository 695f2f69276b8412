//! Programs that are attached and see nothing: the daemon finds out, and says so.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use sensor_lab::lab::LAN_INTERFACE;
use sensor_lab::process;

use super::{ALLOWED, Site, lan, page, setup, status};

/// Two windows, and a moment.
const FOUND: Duration = Duration::from_secs(30);

/// Takes a pinned link off its interface, as hardware that forwards by itself would: the link stays, and sees nothing.
/// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of bpf(2), by their numbers on x86-64 and in the kernel's `bpf.h`.
const DETACH: &str = "
import ctypes, struct, sys
bpf = lambda command, attributes: ctypes.CDLL(None, use_errno=True).syscall(321, command, attributes, len(attributes))
path = ctypes.create_string_buffer(sys.argv[1].encode())
link = bpf(7, struct.pack('QII', ctypes.addressof(path), 0, 0))
assert link >= 0 and bpf(34, struct.pack('I', link)) == 0, ctypes.get_errno()
";

#[test]
fn a_program_that_sees_nothing_is_told_of() -> Result<()> {
    let site = Site::build(&setup())?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    assert_eq!(lan(&status(&site.sensor)?)?.ingress.unseen, 0);
    let link = site.sensor.bpffs().join("links").join(LAN_INTERFACE).join("xdp-native");
    process::run(Command::new("python3").args(["-c", DETACH]).arg(link))?;

    let unseen = process::wait_until("packets that nobody sees", FOUND, || {
        for _ in 0..3 {
            assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
        }
        let unseen = lan(&status(&site.sensor)?)?.ingress.unseen;
        Ok((unseen > 0).then_some(unseen))
    })?;
    assert!(unseen >= 20, "{unseen}");
    assert!(site.sensor.log()?.contains("packets pass, and the program sees none"));
    assert!(site.sensor.cli(&["status"])?.contains("BLIND"), "people are told");
    assert!(site.sensor.cli(&["metrics"])?.contains("campus_sensor_unseen_packets"));
    Ok(())
}
