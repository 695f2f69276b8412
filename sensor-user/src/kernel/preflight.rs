//! What this machine lacks, said before anything is attached.

use std::path::Path;

use super::KernelError;

/// Oldest kernel supported: Debian 12's. `bpf_xdp_get_buff_len` came with 5.18.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Capabilities the loader needs (capabilities(7)), by bit.
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// Bit of `CAP_SYS_ADMIN`, which covers the others but for `CAP_NET_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// Refuses with the remedy where this machine cannot run the sensor.
pub fn check() -> Result<(), KernelError> {
    let release = read("/proc/sys/kernel/osrelease")?;
    check_kernel(&release)?;
    check_capabilities(&read("/proc/self/status")?)
}

fn read(path: &str) -> Result<String, KernelError> {
    std::fs::read_to_string(path).map_err(|source| KernelError::File {
        operation: "read",
        path: Path::new(path).to_owned(),
        source,
    })
}

fn check_kernel(release: &str) -> Result<(), KernelError> {
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>());
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => {
            return Err(KernelError::Preflight(format!(
                "kernel release {:?} has no version number",
                release.trim()
            )));
        }
    };
    if version >= KERNEL_MIN {
        return Ok(());
    }
    Err(KernelError::Preflight(format!(
        "kernel {} is too old: {}.{} or newer is needed (Debian 12 has it)",
        release.trim(),
        KERNEL_MIN.0,
        KERNEL_MIN.1
    )))
}

fn check_capabilities(status: &str) -> Result<(), KernelError> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .ok_or_else(|| KernelError::Preflight("/proc/self/status has no CapEff line".into()))?;
    let has = |bit: u32| effective & 1 << bit != 0;
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| !has(*bit) && (*bit == 12 || !has(SYS_ADMIN)))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(KernelError::Preflight(format!(
        "missing {}: start it as root, or grant AmbientCapabilities={} in the unit",
        missing.join(", "),
        missing.join(" ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        let check = |release, good| assert_eq!(check_kernel(release).is_ok(), good, "{release}");
        check("6.1.0-37-cloud-amd64", true);
        check("6.18.44-fc-v669\n", true);
        check("5.15.0-1", false);
        check("6.0.19", false);
        check("nonsense", false);
    }

    #[test]
    fn capabilities() {
        let check = |mask: &str, expected: &str| {
            let status = format!("Name:\tx\nCapEff:\t{mask}\n");
            let error = check_capabilities(&status).map_err(|error| error.to_string());
            match expected {
                "" => assert_eq!(error, Ok(())),
                name => assert!(error.unwrap_err().contains(name), "{mask}"),
            }
        };
        check("000001ffffffffff", "");
        check("000000c000001000", "");
        check("0000000000201000", "");
        check("0000000000000000", "CAP_BPF");
        check("000000c000000000", "CAP_NET_ADMIN");
        check("0000008000001000", "CAP_PERFMON");
    }
}
