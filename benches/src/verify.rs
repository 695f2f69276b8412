//! The verifier's figures against their budgets: growth shows here before a kernel refuses.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sensor_user::config::Config;
use sensor_user::kernel::object::{Clock, Object, Sizes};
use serde::Serialize;

use crate::stack;
use crate::table::table;

/// The kernel walks a million; a third of that leaves room for kernels that walk otherwise.
const VERIFIED_BUDGET: u32 = 300_000;

/// What the verifier allows a program and what it calls.
const STACK_BUDGET: u32 = 512;

/// Kernel memory of the default configuration, at most: a quarter of the 1 GiB of the smallest gateway. Some 40 MiB of it
/// are taken only as policies list addresses and as people log in.
const MEMORY_BUDGET: u64 = 240 << 20;

/// The shortest configuration: all sizes are the default ones.
const CONFIG: &str = "[[interface]]\nname = \"lan0\"\n";

#[derive(Args)]
pub(crate) struct Options {
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Figures {
    programs: Vec<Program>,
    kernel_memory_bytes: u64,
    kernel_memory_budget: u64,
}

#[derive(Serialize)]
struct Program {
    name: &'static str,
    verified_instructions: u32,
    verified_budget: u32,
    translated_bytes: u32,
    stack_bytes: Option<u32>,
    stack_budget: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let figures = figures()?;
    if let Some(path) = &options.json {
        let json = serde_json::to_vec_pretty(&figures)?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    print(&figures).context("print the figures")?;
    let over = over_budget(&figures);
    if !over.is_empty() {
        bail!("over budget: {}", over.join(", "));
    }
    Ok(())
}

fn figures() -> Result<Figures> {
    let mut object = Object::load(Sizes::SMALL, Clock::Live, None)?;
    let verified = object.figures()?;
    let stacks = stack::depths().unwrap_or_default();
    let programs = verified.into_iter().map(|figures| Program {
        name: figures.name,
        verified_instructions: figures.verified,
        verified_budget: VERIFIED_BUDGET,
        translated_bytes: figures.translated,
        stack_bytes: stacks.get(figures.name).copied(),
        stack_budget: STACK_BUDGET,
    });
    let config = Config::parse(CONFIG, Path::new("default"), "gateway")?;
    Ok(Figures {
        programs: programs.collect(),
        kernel_memory_bytes: config.kernel_memory().iter().map(|(_, bytes)| bytes).sum(),
        kernel_memory_budget: MEMORY_BUDGET,
    })
}

fn over_budget(figures: &Figures) -> Vec<String> {
    let mut over = Vec::new();
    for program in &figures.programs {
        let name = program.name;
        // A kernel before 5.16 does not say: then there is nothing to check, and that is a failure.
        if program.verified_instructions == 0 {
            over.push(format!("{name} (the kernel does not tell what it verified)"));
        }
        if program.verified_instructions > program.verified_budget {
            over.push(format!("{name} by its verified instructions"));
        }
        if program.stack_bytes.is_some_and(|bytes| bytes > program.stack_budget) {
            over.push(format!("{name} by its stack"));
        }
    }
    if figures.kernel_memory_bytes > figures.kernel_memory_budget {
        over.push("kernel memory of the default configuration".to_owned());
    }
    over
}

fn print(figures: &Figures) -> io::Result<()> {
    let head = ["program", "verified", "budget", "translated bytes", "stack", "budget"];
    let lines = figures.programs.iter().map(|program| {
        let stack = program.stack_bytes.map_or("not measured".to_owned(), |it| it.to_string());
        vec![
            program.name.to_owned(),
            program.verified_instructions.to_string(),
            program.verified_budget.to_string(),
            program.translated_bytes.to_string(),
            stack,
            program.stack_budget.to_string(),
        ]
    });
    let lines: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec()).chain(lines).collect();
    let mut out = io::stdout().lock();
    write!(out, "{}", table(&lines))?;
    if figures.programs.iter().any(|program| program.stack_bytes.is_none()) {
        writeln!(out, "stack: bpftool is needed to see it; the verifier refuses over 512 anyway")?;
    }
    writeln!(
        out,
        "kernel memory of the default configuration: {} of {} MiB",
        figures.kernel_memory_bytes.div_ceil(1 << 20),
        figures.kernel_memory_budget >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::{Figures, Program, STACK_BUDGET, VERIFIED_BUDGET, over_budget};

    fn check(verified: u32, stack: Option<u32>, memory: u64, expected: &[&str]) {
        let program = Program {
            name: "judge",
            verified_instructions: verified,
            verified_budget: VERIFIED_BUDGET,
            translated_bytes: 1,
            stack_bytes: stack,
            stack_budget: STACK_BUDGET,
        };
        let figures = Figures {
            programs: vec![program],
            kernel_memory_bytes: memory,
            kernel_memory_budget: 100,
        };
        assert_eq!(over_budget(&figures), expected);
    }

    #[test]
    fn each_budget_is_held() {
        check(VERIFIED_BUDGET, Some(STACK_BUDGET), 100, &[]);
        check(1, None, 0, &[]);
        check(VERIFIED_BUDGET + 1, None, 0, &["judge by its verified instructions"]);
        check(1, Some(STACK_BUDGET + 1), 0, &["judge by its stack"]);
        check(1, None, 101, &["kernel memory of the default configuration"]);
        check(0, None, 0, &["judge (the kernel does not tell what it verified)"]);
    }
}
