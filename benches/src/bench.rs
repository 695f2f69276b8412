//! Rounds over the scenarios: interleaved, so that what disturbs the machine disturbs all of them.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::measure::measure;
use crate::scenarios::{self, BASELINE, Scenario};
use crate::stand::Stand;
use crate::statistics::{Compared, Row};
use crate::table::table;
use crate::{cpu, glob};

/// Matches every name.
const EVERYTHING: &str = "*";

#[derive(Args)]
pub(crate) struct Options {
    /// Only scenarios whose name matches, and the baseline; `*` and `?` stand for any text. `engine*` measures look-ups in
    /// five million names too, which takes 3 GiB and some minutes.
    #[arg(long, value_name = "GLOB", default_value = EVERYTHING)]
    only: String,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds over all scenarios.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut all = scenarios::all();
    if options.only == EVERYTHING {
        all.retain(|scenario| !scenario.is_large);
    }
    let peers: Vec<_> = chosen(&all, &options.only).filter_map(|scenario| scenario.peer).collect();
    all.retain(|scenario| {
        let is_peer = peers.iter().any(|peer| peer.name == scenario.name);
        is_peer || is_baseline(scenario) || glob::matches(&options.only, scenario.name)
    });
    let matched = all.iter().any(|scenario| glob::matches(&options.only, scenario.name));
    ensure!(matched, "no scenario matches {}; without --only all are measured", options.only);
    let mut stand = Stand::load()?;
    let cpu = cpu::stay().context("stay on one CPU")?;
    let figures = measure_rounds(&mut stand, &all, options.rounds)?;
    let baseline = figures.first().context("the baseline comes first")?;
    let rows: Vec<_> = all
        .iter()
        .zip(&figures)
        .map(|(scenario, rounds)| Row {
            peer: compared(scenario, rounds, &all, &figures),
            unit: scenario.unit(),
            ..Row::new(scenario.name, rounds, BASELINE, baseline)
        })
        .collect();
    if let Some(path) = &options.json {
        let json = serde_json::to_vec_pretty(&rows)?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    print(&all, &rows, options.rounds, cpu).context("print the figures")
}

fn chosen<'a>(all: &'a [Scenario], only: &str) -> impl Iterator<Item = &'a Scenario> {
    all.iter().filter(move |scenario| glob::matches(only, scenario.name))
}

/// What a scenario costs beside its peer.
fn compared(
    scenario: &Scenario,
    rounds: &[f64],
    all: &[Scenario],
    figures: &[Vec<f64>],
) -> Option<Compared> {
    let peer = scenario.peer?;
    let at = all.iter().position(|other| other.name == peer.name)?;
    Some(Compared::new(peer, rounds, figures.get(at)?))
}

fn is_baseline(scenario: &Scenario) -> bool {
    scenario.name == BASELINE
}

/// The ns of each scenario in each round.
fn measure_rounds(stand: &mut Stand, all: &[Scenario], rounds: u32) -> Result<Vec<Vec<f64>>> {
    let mut figures = vec![Vec::new(); all.len()];
    for round in 1..=rounds {
        tell_progress(round, rounds);
        let mut baseline_ns = f64::NAN;
        for (scenario, figures) in all.iter().zip(&mut figures) {
            let ns = measure(stand, scenario, baseline_ns)?;
            if is_baseline(scenario) {
                baseline_ns = ns;
            }
            figures.push(ns);
        }
    }
    Ok(figures)
}

/// One line that is written over, where somebody watches.
fn tell_progress(round: u32, rounds: u32) {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        let end = if round == rounds { "\n" } else { "\r" };
        // Progress that cannot be shown is no reason to stop.
        let _unshown = write!(terminal, "round {round} of {rounds}{end}");
    }
}

fn print(all: &[Scenario], rows: &[Row], rounds: u32, cpu: usize) -> io::Result<()> {
    let head = ["scenario", "median", "min", "max", "ratio", "what"].map(str::to_owned).to_vec();
    let lines = all.iter().zip(rows).map(|(scenario, row)| {
        let ns = [row.median_ns, row.min_ns, row.max_ns].map(|ns| format!("{ns:.1}"));
        let [median, min, max] = ns;
        let ratio = format!("{:.2}", row.ratio);
        let about = match row.peer {
            Some(peer) => format!("{}; {} of {}", scenario.about, peer.ratio, peer.peer),
            None => scenario.about.to_owned(),
        };
        vec![scenario.name.to_owned(), median, min, max, ratio, about]
    });
    let lines: Vec<_> = std::iter::once(head).chain(lines).collect();
    let mut out = io::stdout().lock();
    write!(out, "{}", table(&lines))?;
    writeln!(
        out,
        "\nns per packet: CPU time of one thread on CPU {cpu}, {rounds} rounds over all scenarios. \
         ratio: to `{BASELINE}` of\nthe same round. \"net\": the excess over the mutator alone, plus \
         `{BASELINE}`, as if the frames had come by themselves."
    )
}
