//! Compiles the kernel programs with whichever BPF toolchain this machine has.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Release of bpf-linker that `cargo xtask setup` caches.
const BPF_LINKER: &str = "bpf-linker-0.13.0";
const TARGET: &str = "bpfel-unknown-none";
/// What the outer cargo set for its own compiler.
const INHERITED: [&str; 7] = [
    "CARGO",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTUP_TOOLCHAIN",
];
const REMEDY: &str = "run `cargo xtask setup`";

fn main() {
    for variable in ["PATH", "CAMPUS_SENSOR_BPF_LINKER"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=../sensor-ebpf");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    if let Err(error) = build() {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), String> {
    let linker = linker().ok_or_else(|| format!("bpf-linker was not found: {REMEDY}"))?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    // In one target directory, one after the other: only our own crate differs between them.
    compile(&linker, &out, "sensor-xdp", &["frags"], "sensor-frags")?;
    compile(&linker, &out, "sensor-xdp", &["xdp"], "sensor-linear")?;
    if env::var_os("CARGO_FEATURE_LAB").is_some() {
        compile(&linker, &out, "lab-xdp", &["xdp"], "lab")?;
    }
    Ok(())
}

/// Compiles a binary of the kernel crate and puts it into `out` under a name of its own.
fn compile(
    linker: &Path,
    out: &Path,
    binary: &str,
    features: &[&str],
    name: &str,
) -> Result<(), String> {
    let mut cargo = compiler().ok_or_else(|| format!("no compiler for {TARGET}: {REMEDY}"))?;
    // Asked for at run time: a build script outlives the tree it was compiled in.
    let manifest = env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let target_dir = out.join("bpf");
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
    ];
    let mut features = features.join(",");
    if env::var_os("CARGO_FEATURE_TRACE").is_some() {
        features.push_str(",trace");
    }
    cargo
        .args(["build", "--release", "--locked", "--package=sensor-ebpf", "--bin", binary])
        .args(["--target", TARGET, "--features", &features, "--target-dir"])
        .arg(&target_dir)
        .current_dir(Path::new(&manifest).join(".."))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // For `core_intrinsics` and, in aya-ebpf, `asm_experimental_arch`.
        .env("RUSTC_BOOTSTRAP", "1");
    for inherited in INHERITED {
        cargo.env_remove(inherited);
    }
    let output = cargo.output().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the kernel programs do not build\n{text}"));
    }
    let object = target_dir.join(TARGET).join("release").join(binary);
    std::fs::copy(&object, out.join(name))
        .map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(())
}

/// A cargo that can compile for BPF: Debian's with its prebuilt core library, or rustup's nightly
/// with rust-src.
fn compiler() -> Option<Command> {
    if Path::new("/usr/lib/rustlib").join(TARGET).exists() {
        let mut cargo = Command::new("/usr/bin/cargo");
        cargo.env("PATH", format!("/usr/bin:/bin:{}", env::var("PATH").unwrap_or_default()));
        return Some(cargo);
    }
    let mut sysroot = Command::new("rustup");
    sysroot.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let sysroot = sysroot.output().ok().filter(|output| output.status.success())?;
    let sysroot = String::from_utf8(sysroot.stdout).ok()?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !source.exists() {
        return None;
    }
    let mut cargo = Command::new("rustup");
    cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
    Some(cargo)
}

fn linker() -> Option<PathBuf> {
    let named = env::var_os("CAMPUS_SENSOR_BPF_LINKER").map(PathBuf::from);
    let on_path = env::var_os("PATH")
        .map(|path| env::split_paths(&path).map(|dir| dir.join("bpf-linker")).collect::<Vec<_>>())
        .unwrap_or_default();
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cached =
        cache.map(|cache| cache.join("campus-sensor").join(BPF_LINKER).join("bin/bpf-linker"));
    named.into_iter().chain(on_path).chain(cached).find(|path| path.is_file())
}
