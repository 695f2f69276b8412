//! A kernel in an emulated machine, from its start until it turns itself off.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Emulated without the processor's help: where that is to be had, it is often another machine's.
///
/// The processor has few features, which cost the emulator time, and random numbers, which cost the
/// guest time. It lacks `cmpxchg16b`: after it, QEMU 7.2 can push flags that no processor has, and the
/// guest dies of a double fault when an interrupt comes right then.
const MACHINE: &str = "-M q35 -accel tcg -cpu Nehalem,+rdrand,-cx16 -smp 1 -m 1536 \
     -display none -nodefaults -no-reboot -serial stdio";

/// A panic ends the machine. Mitigations guard against nothing in an emulator and take half its time.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off";

/// Starts a machine that is ended after `limit` if it has not ended by then.
pub(super) fn start(kernel: &Path, initial: &Path, limit: Duration) -> Result<Child> {
    let mut timeout = Command::new("timeout");
    // In our process group, so that Ctrl-C reaches it.
    timeout.arg("--foreground").arg(limit.as_secs().to_string()).arg("qemu-system-x86_64");
    timeout.args(MACHINE.split_whitespace());
    timeout.arg("-kernel").arg(kernel).arg("-initrd").arg(initial);
    timeout.args(["-append", COMMAND_LINE]).stdin(Stdio::null()).stdout(Stdio::piped());
    timeout.spawn().context("start QEMU")
}

/// Passes every line the child says to `tell`, to its end. Its status is of no interest: the lines are.
pub(super) fn follow(mut child: Child, mut tell: impl FnMut(&str)) -> Result<()> {
    let output = child.stdout.take().context("the child's output")?;
    // A console may carry any byte.
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read the child's output")?;
        tell(String::from_utf8_lossy(&line).trim_end());
    }
    child.wait().context("wait for the child").map(drop)
}
