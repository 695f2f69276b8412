//! The test suites: which there are, what they need, and what came of them.

use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use sensor_lab::clients::{HTTP3_VARIABLE, IMITATOR_VARIABLE};
use sensor_lab::lab::is_root;
use sensor_lab::sensor::BINARY_VARIABLE;

use crate::setup::{Need, Toolchain, ensure};
use crate::{browsers, cargo, evaders, http3, ui};

/// Tells the tests to leave nothing out.
use sensor_lab::FULL_VARIABLE;

#[derive(Args)]
pub(crate) struct Options {
    /// Which suites; all of them if none is named.
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Also what takes long: more sizes, more seeds, more repetitions.
    #[arg(long)]
    full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Unit and documentation tests of every crate; no privileges.
    Host,
    /// The programs in this kernel, packet by packet; root.
    Kernel,
    /// What policies mean: a table, and random ones, by the host and by the programs in this kernel; root.
    Engine,
    /// Real clients and servers with the sensor between them; root.
    Live,
    /// Chromium, Firefox and what imitates them through the gateway; root.
    Browsers,
    /// Clients that try to get past the sensor, packet by packet; root.
    Evasion,
    /// HTTP/3, by browsers too, and other UDP through the gateway; root.
    Quic,
    /// Records as the programs they are exported to read them; root.
    Records,
    /// The spool where processes are killed and disks are full; root.
    Store,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Kernel => "kernel",
            Self::Engine => "engine",
            Self::Live => "live",
            Self::Browsers => "browsers",
            Self::Evasion => "evasion",
            Self::Quic => "quic",
            Self::Records => "records",
            Self::Store => "store",
        }
    }

    fn needs_root(self) -> bool {
        match self {
            Self::Host => false,
            Self::Kernel
            | Self::Engine
            | Self::Live
            | Self::Browsers
            | Self::Evasion
            | Self::Quic
            | Self::Records
            | Self::Store => true,
        }
    }

    /// The arguments of each `cargo test` it consists of. Always the whole workspace: cargo would build the
    /// dependencies once more for another choice of packages.
    fn commands(self) -> Vec<Vec<&'static str>> {
        let integration = |filter| {
            vec![vec!["--workspace", "--test", "integration", "--", filter, "--test-threads=1"]]
        };
        match self {
            Self::Host => vec![
                vec!["--workspace", "--lib", "--bins", "--", "--quiet"],
                vec!["--workspace", "--doc", "--", "--quiet"],
            ],
            // QUIC's are a suite of their own, with those of the lab.
            Self::Kernel => {
                let mut commands = integration("kernel::");
                for command in &mut commands {
                    command.extend(["--skip", "quic::"]);
                }
                commands
            }
            Self::Engine => integration("engine::"),
            Self::Live => integration("live::"),
            Self::Store => integration("store::"),
            // What the browsers' hellos looked like is worth a line when nothing fails, too.
            Self::Browsers | Self::Quic => {
                let is_quic = self == Self::Quic;
                let mut commands = integration(if is_quic { "quic::" } else { "browsers::" });
                for command in &mut commands {
                    command.push("--nocapture");
                }
                commands
            }
            Self::Evasion => integration("evasion::"),
            // Live tests have a file of that name too.
            Self::Records => {
                let mut commands = integration("records::");
                for command in &mut commands {
                    command.extend([
                        "--skip",
                        "live::",
                        "--skip",
                        "kernel::",
                        "--skip",
                        "evasion::",
                        "--skip",
                        "quic::",
                    ]);
                }
                commands
            }
        }
    }
}

/// What test programs reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// One suite, after it ran.
struct Report {
    suite: Suite,
    tally: Tally,
    took: Duration,
    /// Why it counts as failed, if it does.
    fault: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let faults = run_suites(&options.suites, options.full)?;
    if faults.is_empty() { Ok(()) } else { Err(ui::AlreadySaid.into()) }
}

/// Runs the suites named, or all; the last line printed is the sum of what they reported. Returns what
/// was wrong, one line a suite, as printed.
pub(crate) fn run_suites(named: &[Suite], full: bool) -> Result<Vec<String>> {
    let suites = if named.is_empty() { Suite::value_variants() } else { named };
    if let Some(suite) = suites.iter().find(|suite| suite.needs_root() && !is_root()) {
        let name = suite.name();
        bail!(
            "suite {name} loads programs into the kernel: run it as root, or only what needs none: \
             cargo xtask test host"
        );
    }
    let in_lab = [Suite::Live, Suite::Browsers, Suite::Evasion, Suite::Quic, Suite::Records];
    let in_lab = in_lab.iter().any(|suite| suites.contains(suite));
    let need = if in_lab { Need::BuildAndLab } else { Need::Build };
    let toolchain = ensure(need)?;
    let mut variables = Vec::new();
    if suites.iter().any(|suite| suite.needs_root()) {
        variables.push((BINARY_VARIABLE, cargo::build_sensor(&toolchain)?));
    }
    if suites.contains(&Suite::Browsers) {
        variables.push((IMITATOR_VARIABLE, browsers::ensure()?));
    }
    if suites.contains(&Suite::Evasion) {
        variables.extend(evaders::ensure()?);
    }
    if suites.contains(&Suite::Quic) {
        browsers::ensure_browsers()?;
        variables.push((HTTP3_VARIABLE, http3::ensure()?));
    }
    let run = |&suite| run_suite(suite, &toolchain, &variables, full);
    let reports = suites.iter().map(run).collect::<Result<Vec<_>>>()?;
    Ok(conclude(&reports))
}

fn run_suite(
    suite: Suite,
    toolchain: &Toolchain,
    variables: &[(&str, PathBuf)],
    full: bool,
) -> Result<Report> {
    ui::line(&ui::colour(&format!("suite {}", suite.name()), ui::Colour::Bold));
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut fault = None;
    for args in suite.commands() {
        let mut test = cargo::cargo(toolchain);
        test.arg("test").arg("--no-fail-fast").args(args);
        test.envs(variables.iter().map(|(name, value)| (name, value)));
        if full {
            test.env(FULL_VARIABLE, "1");
        }
        let (counted, succeeded) = count_while_running(&mut test)?;
        tally += counted;
        if !succeeded && counted.failed == 0 {
            fault = Some("did not build or run to its end".to_owned());
        }
    }
    if tally.failed > 0 {
        fault = Some(format!("{} failed", tally.failed));
    } else if fault.is_none() && tally.passed == 0 {
        fault = Some("ran no test".to_owned());
    }
    Ok(Report { suite, tally, took: start.elapsed(), fault })
}

/// Passes the output on as it comes.
fn count_while_running(command: &mut Command) -> Result<(Tally, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let output = child.stdout.take().context("cargo's output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("read cargo's output")?;
        tally += parse_result(&line).unwrap_or_default();
        ui::pass_on(&line);
    }
    Ok((tally, child.wait().context("wait for cargo test")?.success()))
}

fn conclude(reports: &[Report]) -> Vec<String> {
    let mut total = Tally::default();
    let mut faults = Vec::new();
    let mut rows = vec![["suite", "passed", "failed", "minutes"].map(str::to_owned).to_vec()];
    for Report { suite, tally, took, fault } in reports {
        total += *tally;
        faults.extend(fault.iter().map(|fault| format!("suite {}: {fault}", suite.name())));
        let [passed, failed] = [tally.passed, tally.failed].map(|count| count.to_string());
        rows.push(vec![suite.name().to_owned(), passed, failed, ui::minutes(*took)]);
    }
    ui::line(&ui::table(&rows));
    for fault in &faults {
        ui::error(fault);
    }
    let verdict = if faults.is_empty() { "ok" } else { "FAILED" };
    let Tally { passed, failed } = total;
    ui::line(&format!("\ntest result: {verdict}. {passed} passed; {failed} failed"));
    ui::line(&format!("{passed} passed, {failed} failed"));
    faults
}

/// `test result: ok. 3 passed; 0 failed; …`
pub(crate) fn parse_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let found = counts.split("; ").find_map(|part| part.strip_suffix(what));
        found?.trim().parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::{Tally, parse_result};

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let check = |line: &str, expected: Option<(u64, u64)>| {
            let expected = expected.map(|(passed, failed)| Tally { passed, failed });
            assert_eq!(parse_result(line), expected, "{line}");
        };
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.05s",
            Some((12, 0)),
        );
        check(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            Some((3, 2)),
        );
        check("test live::resets ... ok", None);
        check("running 3 tests", None);
        check("test result: unreadable", None);
    }
}
