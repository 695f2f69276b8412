//! Finds or installs what the build and the lab need.
//!
//! Two ways lead to a kernel-side build. A rustup nightly with `rust-src` and a bpf-linker is the usual
//! one; where that is missing, Debian has a compiler with the BPF target's library prebuilt, and the
//! linker is built once against the same LLVM. The linker is kept in the user's cache, outside of
//! any target directory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sensor_lab::lab::is_root;

use crate::ui::{self, Steps};

const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
/// The first linker that reads what the compilers in use write.
const LINKER_OLDEST: [u32; 2] = [0, 13];
/// Where the build script of the kernel side looks first.
pub(crate) const LINKER_VARIABLE: &str = "CAMPUS_SENSOR_BPF_LINKER";

const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const BUILD_PACKAGES: &[&str] =
    &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];

/// Package, and the program wanted from it.
const LAB_PACKAGES: &[(&str, &str)] = &[
    ("nginx-light", "nginx"),
    ("nftables", "nft"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("iproute2", "ip"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("procps", "sysctl"),
    ("dnsmasq-base", "dnsmasq"),
    ("bind9-dnsutils", "dig"),
    ("bind9", "named"),
    ("bind9-utils", "dnssec-signzone"),
    ("minisign", "minisign"),
    // A client of RADIUS accounting that is not ours.
    ("freeradius-utils", "radclient"),
    // A terminal for the live view.
    ("bsdutils", "script"),
];

/// Programs that records are exported to, of the suite `records`.
const RECEIVER_PACKAGES: &[(&str, &str)] = &[
    // Volumes and addresses of IPFIX, both directions.
    ("nfdump", "nfcapd"),
    // Names and verdicts of IPFIX: elements that IANA does not know.
    ("pmacct", "nfacctd"),
    // Every element of IPFIX by name, and whether anything is malformed.
    ("tshark", "tshark"),
    // Structured data of syslog, over UDP and TCP.
    ("rsyslog", "rsyslogd"),
];

/// What a command is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Build,
    BuildAndLab,
}

/// A compiler for the kernel side that is there, and its linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    Nightly,
    Debian,
}

impl Compiler {
    fn name(self) -> &'static str {
        match self {
            Self::Nightly => "rustup's nightly with rust-src",
            Self::Debian => "Debian's rustc-web",
        }
    }
}

pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let toolchain = ensure(Need::BuildAndLab)?;
    let linker = toolchain.linker.display();
    let took = ui::seconds(start.elapsed());
    ui::line(&format!(
        "ready: {}, {linker}, and the lab's programs ({took})",
        toolchain.compiler.name()
    ));
    Ok(())
}

/// Installs what is missing; silent, quick and off-line when nothing is.
pub(crate) fn ensure(need: Need) -> Result<Toolchain> {
    let nightly = nightly();
    let mut packages: Vec<_> = match need {
        Need::Build => Vec::new(),
        Need::BuildAndLab => [LAB_PACKAGES, RECEIVER_PACKAGES].concat(),
    };
    if nightly.is_none() {
        packages.extend(BUILD_PACKAGES.iter().map(|&package| (package, "")));
    }
    let missing = missing(&packages)?;
    let linker = nightly.clone().map(|toolchain| toolchain.linker).or_else(cached_linker);

    let mut steps =
        Steps::new(if missing.is_empty() { 0 } else { 2 } + usize::from(linker.is_none()));
    if !missing.is_empty() {
        install_packages(&missing, &mut steps)?;
    }
    if let Some(toolchain) = nightly {
        return Ok(toolchain);
    }
    let linker = match linker {
        Some(linker) => linker,
        None => build_linker(&mut steps)?,
    };
    Ok(Toolchain { compiler: Compiler::Debian, linker })
}

/// What the lab alone takes: no compiler.
pub(crate) fn ensure_lab() -> Result<()> {
    ensure_packages(LAB_PACKAGES)
}

/// Debian packages, each with the program wanted from it.
pub(crate) fn ensure_packages(packages: &[(&'static str, &'static str)]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    install_packages(&missing, &mut Steps::new(2))
}

/// The ordinary way, if all of it is there.
fn nightly() -> Option<Toolchain> {
    let sysroot = output("rustup", &["run", "nightly", "rustc", "--print", "sysroot"])?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !library.is_file() {
        return None;
    }
    let linker = find_program(LINKER).filter(|path| is_usable(path)).or_else(cached_linker)?;
    Some(Toolchain { compiler: Compiler::Nightly, linker })
}

fn cached_linker() -> Option<PathBuf> {
    let path = linker_root().ok()?.join("bin").join(LINKER);
    is_usable(&path).then_some(path)
}

fn is_usable(linker: &Path) -> bool {
    let said = linker.to_str().and_then(|path| output(path, &["--version"]));
    said.is_some_and(|text| is_recent(&text))
}

/// `bpf-linker 0.13.0`, or newer.
fn is_recent(version: &str) -> bool {
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    let parts: Option<Vec<u32>> = number.split('.').take(2).map(|part| part.parse().ok()).collect();
    parts.is_some_and(|parts| parts.as_slice() >= LINKER_OLDEST.as_slice())
}

fn linker_root() -> Result<PathBuf> {
    Ok(cache()?.join(format!("{LINKER}-{LINKER_VERSION}")))
}

/// Where what is built or fetched once is kept.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("campus-sensor"))
}

/// Of the packages, those that are not installed; without a package database, those whose program is not there.
fn missing(packages: &[(&'static str, &'static str)]) -> Result<Vec<&'static str>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let names = packages.iter().map(|(package, _)| *package);
    if find_program("dpkg-query").is_none() {
        let absent = packages.iter().filter(|(_, program)| find_program(program).is_none());
        return Ok(absent.map(|(package, _)| *package).collect());
    }
    // It exits 1 as soon as one of them is unknown, and still lists the others.
    let answer = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(names.clone())
        .output()
        .context("ask dpkg-query what is installed")?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    Ok(names.filter(|package| !is_installed(&answer, package)).collect())
}

fn is_installed(answer: &str, package: &str) -> bool {
    answer.lines().any(|line| line.split_once(' ') == Some((package, "installed")))
}

fn install_packages(missing: &[&str], steps: &mut Steps) -> Result<()> {
    let command = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if find_program("apt-get").is_none() {
        bail!(
            "these Debian packages, or what your distribution calls them, are missing: {}. For the \
             compiler, `rustup toolchain install nightly --component rust-src` and `cargo install \
             {LINKER}` do as well",
            missing.join(" ")
        );
    }
    if !is_root() {
        bail!("packages are missing, and installing them takes root: sudo {command}");
    }
    let apt = |what: &str, args: &[&str], steps: &mut Steps| {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run_logged(&mut apt, what, steps).with_context(|| format!("try by hand: {command}"))
    };
    apt("fetch the package lists", &["-q", "update"], steps)?;
    let install = ["-q", "install", "-y", "--no-install-recommends"];
    let what = format!("install {}", missing.join(" "));
    apt(&what, &[&install, missing].concat(), steps)
}

fn build_linker(steps: &mut Steps) -> Result<PathBuf> {
    let root = linker_root()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut install = Command::new(cargo);
    install.args(["install", LINKER, "--version", LINKER_VERSION, "--locked"]);
    install.args(["--no-default-features", "--features", "llvm-22", "--root"]).arg(&root);
    // What it leaves in the target directory is of no use to anything else.
    let target = root.join("target");
    install.env("LLVM_PREFIX", LLVM_PREFIX).env("CARGO_TARGET_DIR", &target);
    run_logged(&mut install, "build the BPF linker, once (one to four minutes)", steps)?;
    fs::remove_dir_all(&target).context("remove the linker's target directory")?;
    cached_linker().context("the linker was built but does not run")
}

/// Runs a long command as one step; what it says is shown only if it fails.
pub(crate) fn run_logged(command: &mut Command, what: &str, steps: &mut Steps) -> Result<()> {
    let mut step = steps.next(what);
    let path = env::temp_dir().join(format!("campus-sensor-setup-{}.log", std::process::id()));
    let log = fs::File::create(&path).with_context(|| format!("make {}", path.display()))?;
    let errors = log.try_clone().context("open the log twice")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let status = loop {
        match child.try_wait().context("wait for it")? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
        let said = fs::read_to_string(&path).unwrap_or_default();
        step.alive(said.lines().last().unwrap_or("starting").trim());
    };
    let said = fs::read_to_string(&path).unwrap_or_default();
    fs::remove_file(&path).context("remove the log")?;
    if !status.success() {
        bail!("{what}: {status}\n{}", said.trim_end());
    }
    step.done("done");
    Ok(())
}

pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// What a program prints, if it is there and succeeds.
pub(crate) fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{is_installed, is_recent};

    #[test]
    fn a_removed_package_is_not_installed() {
        let answer = "curl installed\nnginx-light config-files\npython3 installed\n";
        assert!(is_installed(answer, "curl"));
        assert!(!is_installed(answer, "nginx-light"));
        assert!(!is_installed(answer, "python"));
    }

    #[test]
    fn an_old_linker_is_not_used() {
        assert!(is_recent("bpf-linker 0.13.0\n"));
        assert!(is_recent("bpf-linker 1.0.2"));
        assert!(!is_recent("bpf-linker 0.9.15"));
        assert!(!is_recent("error"));
    }
}
