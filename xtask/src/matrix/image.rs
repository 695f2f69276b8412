//! What an emulated machine finds in its memory when it starts: this machine's own programs with the
//! libraries they ask for, a kernel's modules, the suite, and a script that runs it.
//!
//! The suite is the very binary that runs on the host. A statically linked one would do without the
//! libraries, but it would be built once more, and the lab would have no programs to work with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sensor_lab::sensor::BINARY_VARIABLE;

use super::archive::Archive;
use super::kernels::Kernel;
use crate::{setup, workspace};

/// What the lab calls.
const PROGRAMS: [&str; 10] =
    ["curl", "ethtool", "ip", "nft", "nginx", "nsenter", "openssl", "python3", "sysctl", "tc"];

/// What the script calls, and the kernel for its modules.
const APPLETS: [&str; 5] =
    ["/usr/bin/cat", "/usr/bin/mount", "/usr/bin/sh", "/usr/sbin/modprobe", "/usr/sbin/poweroff"];
const BUSYBOX: &str = "/usr/bin/busybox";

/// What those programs read: users and groups by name, OpenSSL's settings.
const SETTINGS: [&str; 4] =
    ["/etc/group", "/etc/nsswitch.conf", "/etc/passwd", "/usr/lib/ssl/openssl.cnf"];

/// Parts of Python's library that no program of the lab's imports.
const PYTHON_UNUSED: [&str; 6] =
    ["config-3.", "distutils/", "ensurepip/", "idlelib/", "lib2to3/", "pydoc_data/"];

/// Directories that are one with those below /usr.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

const SUITE: &str = "/suite/integration";
const SENSOR: &str = "/suite/campus-sensor";

/// The script's lines that are read from the console: the release it runs, and that it has come to its end.
pub(super) const RELEASE_MARK: &str = "matrix: kernel ";
pub(super) const END_MARK: &str = "matrix: end";

/// What is under test.
pub(super) struct Binaries {
    pub(super) suite: PathBuf,
    pub(super) sensor: PathBuf,
}

/// Everything but a kernel's modules; `runs` are the suite's arguments, run by run.
pub(super) fn base(binaries: &Binaries, runs: &[Vec<String>]) -> Result<Archive> {
    let mut archive = Archive::default();
    for directory in ["/dev", "/proc", "/root", "/run", "/sys", "/tmp", "/var/log/nginx"] {
        archive.directory(directory);
    }
    for directory in MERGED {
        archive.directory(Path::new("/usr").join(directory));
        archive.link(Path::new("/").join(directory), &format!("usr/{directory}"));
    }
    archive.copy(&find("busybox")?, BUSYBOX)?;
    for applet in APPLETS {
        archive.link(applet, BUSYBOX);
    }
    for file in SETTINGS.map(Path::new) {
        archive.copy(file, file)?;
    }

    let mut dynamic = vec![binaries.suite.clone(), binaries.sensor.clone()];
    for name in PROGRAMS {
        let program = if name == "python3" { "/usr/bin/python3".into() } else { find(name)? };
        archive.copy(&program, Path::new("/usr/bin").join(name))?;
        dynamic.push(program);
    }
    let python = python_library()?;
    archive.copy_tree(&python, &python, &|path| {
        !PYTHON_UNUSED.iter().any(|part| path.to_string_lossy().starts_with(part))
    })?;
    dynamic.extend(super::files_below(&python.join("lib-dynload"))?);
    for library in libraries(&dynamic)? {
        archive.copy(&library, in_usr(&library))?;
    }

    archive.copy(&binaries.suite, SUITE)?;
    archive.copy(&binaries.sensor, SENSOR)?;
    // Where the suite was told at compile time that they are.
    let rules = workspace().join("rules");
    archive.directory(workspace().join("tests"));
    archive.copy_tree(&rules, &rules, &|_| true)?;
    archive.script("/init", &script(runs));
    Ok(archive)
}

/// With a kernel's modules, ready to start.
pub(super) fn whole(base: &Archive, kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = base.clone();
    archive.copy_tree(&kernel.root.join("lib"), Path::new("/usr/lib"), &|_| true)?;
    Ok(archive.finish())
}

/// The first process. It ends the machine, whatever comes of the suite.
fn script(runs: &[Vec<String>]) -> String {
    let runs: Vec<_> = runs.iter().map(|args| format!("{SUITE} {}", args.join(" "))).collect();
    let runs = runs.join("\n");
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/sbin:/usr/bin HOME=/root {BINARY_VARIABLE}={SENSOR}\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t devtmpfs devtmpfs /dev\n\
         mount -t tmpfs tmpfs /run\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         ip link set lo up\n\
         echo \"{RELEASE_MARK}$(cat /proc/sys/kernel/osrelease)\"\n\
         {runs}\n\
         echo \"{END_MARK}\"\n\
         poweroff -f\n"
    )
}

fn find(program: &str) -> Result<PathBuf> {
    setup::find_program(program).with_context(|| format!("{program} is not installed"))
}

/// Where the system's Python keeps the standard library.
fn python_library() -> Result<PathBuf> {
    let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let asked = Command::new("/usr/bin/python3")
        .args(["-I", "-c", ask])
        .stdin(Stdio::null())
        .output()
        .context("start python3")?;
    if !asked.status.success() {
        bail!("python3 does not say where its library is");
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim()))
}

/// What the dynamic linker would load for these programs and modules, itself included.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    // It exits 1 where one of them is linked statically, and still lists the others.
    let asked = Command::new("ldd").args(programs).stdin(Stdio::null()).output();
    let answer = String::from_utf8_lossy(&asked.context("start ldd")?.stdout).into_owned();
    if let Some(missing) = answer.lines().find(|line| line.contains("not found")) {
        bail!("a library is missing: {}", missing.trim());
    }
    Ok(answer.lines().filter_map(library).collect())
}

/// `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, or the linker's own line, without a name.
fn library(line: &str) -> Option<PathBuf> {
    let words = line.strip_prefix('\t')?.split_whitespace();
    words.filter(|word| word.starts_with('/')).map(PathBuf::from).next()
}

/// The place below /usr that a library of a merged directory really has.
fn in_usr(library: &Path) -> PathBuf {
    if library.starts_with("/usr") {
        return library.to_owned();
    }
    Path::new("/usr").join(library.strip_prefix("/").unwrap_or(library))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{in_usr, library};

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(library(line).as_deref(), expected.map(Path::new), "{line}");
        };
        check("\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)", Some("/lib/x/libm.so.6"));
        check("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2"));
        check("\tlinux-vdso.so.1 (0x00007ffd)", None);
        check("/usr/bin/curl:", None);
    }

    #[test]
    fn merged_directories_are_one_with_those_below_usr() {
        assert_eq!(in_usr(Path::new("/lib64/ld.so")), Path::new("/usr/lib64/ld.so"));
        assert_eq!(in_usr(Path::new("/usr/lib/a.so")), Path::new("/usr/lib/a.so"));
    }
}
