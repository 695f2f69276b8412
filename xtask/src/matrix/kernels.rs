//! Debian's kernels: found by their meta packages, unpacked once into the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::setup;
use crate::ui::Steps;

/// A series of kernels, and the package that always depends on its newest one. The kernels themselves
/// leave the archive when the next one comes.
pub(super) struct Series {
    pub(super) version: &'static str,
    meta: &'static str,
}

/// What Debian 12 has: its own kernel, and the one of Debian 13.
pub(super) const SERIES: [Series; 2] = [
    Series { version: "6.1", meta: "linux-image-cloud-amd64" },
    Series { version: "6.12", meta: "linux-image-6.12-cloud-amd64" },
];

/// Of a kernel's modules, those with what the suites need; they are loaded on demand, as on a gateway.
const MODULES: [&str; 6] = [
    "modules.",
    "kernel/arch/",
    "kernel/crypto/",
    "kernel/drivers/net/veth.ko",
    "kernel/lib/",
    "kernel/net/",
];

/// A kernel in the cache.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// Holds `lib/modules/`.
    pub(super) root: PathBuf,
}

/// The cached kernel of a series; fetched first where there is none, or where a newer one is asked for.
pub(super) fn ensure(series: &Series, renew: bool) -> Result<Kernel> {
    let root = setup::cache()?.join("kernels").join(series.version);
    if renew || !root.is_dir() {
        fetch(series, &root)
            .with_context(|| format!("fetch Debian's kernel {}", series.version))?;
    }
    let images = super::files_below(&root.join("boot"))?;
    let image = images.into_iter().next().context("the cached kernel has no image")?;
    Ok(Kernel { image, root })
}

fn fetch(series: &Series, root: &Path) -> Result<()> {
    let mut steps = Steps::new(3);
    // Beside the real one until it is whole: an interrupted fetch leaves nothing that looks like a kernel.
    let new = root.with_extension("new");
    remove(&new)?;
    fs::create_dir_all(&new).with_context(|| format!("make {}", new.display()))?;

    let mut update = Command::new("apt-get");
    setup::run_logged(update.args(["-q", "update"]), "fetch the package lists", &mut steps)?;
    let package = newest(series)?;
    let mut download = Command::new("apt-get");
    download.args(["-q", "download", &package]).current_dir(&new);
    setup::run_logged(&mut download, &format!("download {package}"), &mut steps)?;
    let archives = super::files_below(&new)?;
    let archive = archives.first().context("apt-get downloaded nothing")?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(archive).arg(&new);
    setup::run_logged(&mut unpack, "unpack it", &mut steps)?;
    fs::remove_file(archive).context("remove the package")?;

    prune(&new)?;
    remove(root)?;
    fs::rename(&new, root).with_context(|| format!("make {}", root.display()))
}

/// The newest kernel of a series, without the signature, which no emulated machine looks at.
fn newest(series: &Series) -> Result<String> {
    let asked = Command::new("apt-cache")
        .args(["depends", "--important", series.meta])
        .stdin(Stdio::null())
        .output()
        .context("start apt-cache")?;
    let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
    match dependency(&answer, series.version) {
        Some(package) => Ok(format!("{package}-unsigned")),
        None => bail!(
            "{} leads to no kernel {}: Debian 12's archive with its security updates must be among \
             apt's sources",
            series.meta,
            series.version
        ),
    }
}

/// `linux-image-6.1.0-56-cloud-amd64`, say, in the answer of `apt-cache depends`.
fn dependency(answer: &str, version: &str) -> Option<String> {
    let prefix = format!("linux-image-{version}.");
    let mut packages = answer.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    packages.find(|package| package.starts_with(&prefix)).map(str::to_owned)
}

/// Keeps the image and the modules that are wanted, unpacks them and writes their index.
fn prune(root: &Path) -> Result<()> {
    let mut packed = Vec::new();
    for file in super::files_below(root)? {
        if !is_wanted(file.strip_prefix(root).context("a path below its root")?) {
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        } else if file.extension().is_some_and(|extension| extension == "xz") {
            packed.push(file);
        }
    }
    if !packed.is_empty() {
        busybox(Command::new("busybox").arg("unxz").args(&packed))?;
    }
    let releases = fs::read_dir(root.join("lib/modules")).context("look for modules")?;
    for release in releases {
        let release = release.context("read a directory entry")?.file_name();
        busybox(Command::new("busybox").args(["depmod", "-b"]).arg(root).arg(release))?;
    }
    Ok(())
}

/// Of a kernel's package, by the path in it.
fn is_wanted(path: &Path) -> bool {
    if path.starts_with("boot") {
        return path.to_string_lossy().starts_with("boot/vmlinuz");
    }
    let Ok(module) = path.strip_prefix("lib/modules") else { return false };
    let module: PathBuf = module.components().skip(1).collect();
    let module = module.to_string_lossy();
    MODULES.iter().any(|wanted| module.starts_with(wanted))
}

fn busybox(command: &mut Command) -> Result<()> {
    let applet = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start busybox {applet}"))?;
    if !status.success() {
        bail!("busybox {applet} failed with {status}");
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{dependency, is_wanted};

    #[test]
    fn the_kernel_is_read_from_the_meta_package() {
        let answer = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        let expected = Some("linux-image-6.1.0-56-cloud-amd64".to_owned());
        assert_eq!(dependency(answer, "6.1"), expected);
        assert_eq!(dependency(answer, "6.12"), None);
        let answer =
            "linux-image-6.12-cloud-amd64\n  Depends: linux-image-6.12.117+deb12-cloud-amd64\n";
        assert_eq!(dependency(answer, "6.1"), None);
        assert!(dependency(answer, "6.12").is_some());
    }

    #[test]
    fn of_a_package_the_image_and_some_modules_are_kept() {
        let check = |path: &str, wanted| assert_eq!(is_wanted(Path::new(path)), wanted, "{path}");
        check("boot/vmlinuz-6.1.0-56-cloud-amd64", true);
        check("boot/System.map-6.1.0-56-cloud-amd64", false);
        check("lib/modules/6.1.0-56-cloud-amd64/kernel/drivers/net/veth.ko", true);
        check("lib/modules/6.1.0-56-cloud-amd64/kernel/drivers/net/bonding/bonding.ko", false);
        check("lib/modules/6.1.0-56-cloud-amd64/modules.builtin", true);
        check("usr/share/doc/linux/copyright", false);
    }
}
