//! Compiles the kernel programs with whichever BPF toolchain this machine has.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Release of bpf-linker that `cargo xtask setup` caches.
const BPF_LINKER: &str = "bpf-linker-0.13.0";
const TARGET: &str = "bpfel-unknown-none";
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
    let mut cargo = compiler().ok_or_else(|| format!("no compiler for {TARGET}: {REMEDY}"))?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|error| error.to_string())?);
    let target_dir = out.join("bpf");
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
    ];
    let feature = if env::var_os("CARGO_FEATURE_TRACE").is_some() { "trace" } else { "xdp" };
    let objects: &[&str] = match env::var_os("CARGO_FEATURE_LAB") {
        Some(_) => &["sensor-xdp", "lab-xdp"],
        None => &["sensor-xdp"],
    };
    cargo
        .args(["build", "--release", "--locked", "--package=sensor-ebpf"])
        .args(objects.iter().map(|object| format!("--bin={object}")))
        .args(["--target", TARGET, "--features", feature, "--target-dir"])
        .arg(&target_dir)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // For `core_intrinsics` and, in aya-ebpf, `asm_experimental_arch`.
        .env("RUSTC_BOOTSTRAP", "1");
    for inherited in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
    ] {
        cargo.env_remove(inherited);
    }
    let output = cargo.output().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the kernel programs do not build\n{text}"));
    }
    for name in objects {
        let object = target_dir.join(TARGET).join("release").join(name);
        std::fs::copy(&object, out.join(name))
            .map_err(|error| format!("{}: {error}", object.display()))?;
    }
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
