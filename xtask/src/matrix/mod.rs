//! The same programs on the kernels a gateway may have: Debian 12's and Debian 13's in emulated machines, and
//! this machine's own.
//!
//! [`kernels`] fetches them once, [`image`] packs what they start with by [`archive`], [`machine`] runs
//! them, [`report`] judges by what they print.

mod archive;
mod image;
mod kernels;
mod machine;
mod report;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sensor_lab::lab::is_root;
use sensor_lab::sensor::BINARY_VARIABLE;

use self::image::{Binaries, END_MARK, RELEASE_MARK};
use self::kernels::SERIES;
use self::report::Report;
use crate::setup::{self, Need};
use crate::{cargo, ui};

/// Package, and the program wanted from it.
const PACKAGES: [(&str, &str); 2] =
    [("qemu-system-x86", "qemu-system-x86_64"), ("busybox-static", "busybox")];

/// Over five times what an idle machine takes.
const LIMIT: Duration = Duration::from_mins(40);

/// What an emulated machine runs: what does not depend on how fast it is.
const EMULATED: [&str; 5] = [
    "kernel::",
    "vm::",
    "live::lifecycle::starting_again_replaces_the_programs_inside_the_same_links",
    "live::refusals::a_second_interface_that_refuses_leaves_nothing_on_the_first",
    "live::refusals::an_interface_with_another_xdp_program_is_refused",
];

/// The test that prints what the verifier says.
const BUDGET: &str = "kernel::budget::every_program_loads_within_its_budget";

#[derive(Args)]
pub(crate) struct Options {
    /// Look for newer kernels of the same series first.
    #[arg(long)]
    renew: bool,
    /// In the emulated machines only tests whose name contains this, beside the figures.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let tests = options.only.as_deref().map_or(EMULATED.to_vec(), |only| vec![only]);
    let faults = faults(options.renew, &tests, &["kernel::"])?;
    if faults.is_empty() { Ok(()) } else { Err(ui::AlreadySaid.into()) }
}

/// For CI, which has run the suites on this kernel: an error that says what was wrong.
pub(crate) fn check() -> Result<()> {
    let faults = faults(false, &EMULATED, &[])?;
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join(", ")) }
}

fn faults(renew: bool, emulated: &[&str], on_host: &[&str]) -> Result<Vec<String>> {
    if !is_root() {
        bail!("the matrix loads programs into this kernel, too: run it as root");
    }
    let toolchain = setup::ensure(Need::BuildAndLab)?;
    setup::ensure_packages(&PACKAGES)?;
    let kernels: Vec<_> =
        SERIES.iter().map(|series| kernels::ensure(series, renew)).collect::<Result<_>>()?;
    let binaries = Binaries {
        sensor: cargo::build_sensor(&toolchain)?,
        suite: cargo::build_suite(&toolchain)?,
    };
    let directory = binaries.sensor.parent().context("the target directory")?.join("matrix");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;

    let start = Instant::now();
    let base = image::base(&binaries, &runs(emulated))?;
    let initials: Vec<_> = SERIES
        .iter()
        .zip(&kernels)
        .map(|(series, kernel)| {
            let path = directory.join(format!("{}.initial", series.version));
            let content = image::whole(&base, kernel)?;
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        })
        .collect::<Result<_>>()?;
    ui::line(&format!("matrix: packed in {}", ui::seconds(start.elapsed())));

    let reports = thread::scope(|scope| {
        let machines =
            SERIES.iter().zip(&kernels).zip(&initials).map(|((series, kernel), initial)| {
                let log = directory.join(format!("{}.log", series.version));
                scope.spawn(move || {
                    let machine = machine::start(&kernel.image, initial, LIMIT)?;
                    observe(series.version, machine, &log)
                })
            });
        let machines: Vec<_> = machines.collect();
        let mut reports: Vec<_> = machines
            .into_iter()
            .map(|machine| machine.join().unwrap_or_else(|_| bail!("a machine's thread panicked")))
            .collect::<Result<_>>()?;
        // Alone: the others would make it slow, and its tests have limits of time.
        let host = observe("host", start_here(&binaries, on_host)?, &directory.join("host.log"))?;
        reports.push(host);
        Ok::<_, anyhow::Error>(reports)
    })?;
    for path in &initials {
        fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(conclude(&reports, &directory))
}

/// The suite's arguments, run by run: what the verifier says first.
fn runs(tests: &[&str]) -> Vec<Vec<String>> {
    let figures = vec![BUDGET, "--exact", "--nocapture"];
    let mut runs = vec![figures];
    if !tests.is_empty() {
        runs.push([&["--test-threads=1", "--skip", BUDGET], tests].concat());
    }
    runs.into_iter().map(|args| args.into_iter().map(str::to_owned).collect()).collect()
}

/// The suite on this machine's kernel, with the same marks around it.
fn start_here(binaries: &Binaries, tests: &[&str]) -> Result<Child> {
    let suite = binaries.suite.display();
    let mut script = vec![format!("echo \"{RELEASE_MARK}$(cat /proc/sys/kernel/osrelease)\"")];
    script.extend(runs(tests).iter().map(|args| format!("'{suite}' {}", args.join(" "))));
    script.push(format!("echo \"{END_MARK}\""));
    let script = script.join("\n");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env(BINARY_VARIABLE, &binaries.sensor);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start the suite")
}

/// Follows a run to its end; every line goes to its log, the tests' also to the terminal.
fn observe(name: &str, child: Child, log: &Path) -> Result<Report> {
    let start = Instant::now();
    let mut report = Report::default();
    let mut file = fs::File::create(log).with_context(|| format!("make {}", log.display()))?;
    let mut written = Ok(());
    machine::follow(child, |line| {
        if line.starts_with("test ") {
            ui::pass_on(&format!("{name:<5} {line}"));
        }
        report.read(line);
        if written.is_ok() {
            written = writeln!(file, "{line}");
        }
    })?;
    written.with_context(|| format!("write {}", log.display()))?;
    report.took = start.elapsed();
    if report.release.is_empty() {
        name.clone_into(&mut report.release);
    }
    Ok(report)
}

/// Prints the table and what was wrong, which it also returns.
fn conclude(reports: &[Report], logs: &Path) -> Vec<String> {
    ui::line(&report::table(reports));
    let faults: Vec<_> = reports
        .iter()
        .filter_map(|report| Some(format!("kernel {}: {}", report.release, report.fault()?)))
        .collect();
    for fault in &faults {
        ui::error(fault);
    }
    if !faults.is_empty() {
        ui::line(&format!("the whole consoles: {}", logs.display()));
    }
    faults
}

/// Every file below a directory, in order; links to directories are not followed.
fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("read {}", directory.display()))? {
            let entry = entry.context("read a directory entry")?;
            if entry.file_type().context("read a file's type")?.is_dir() {
                directories.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
