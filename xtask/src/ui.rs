//! What a person at a terminal reads: steps with their times, tables, colour where it is wanted.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use std::env;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A long step says every so often that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Green,
    Red,
    Yellow,
    Bold,
    Dim,
}

pub(crate) fn line(text: &str) {
    println!("{text}");
}

pub(crate) fn error(text: &str) {
    eprintln!(
        "{} {text}",
        if io::stderr().is_terminal() { paint("error:", Colour::Red) } else { "error:".into() }
    );
}

/// Colours `text` on a terminal, unless the environment's `NO_COLOR` asks not to.
pub(crate) fn colour(text: &str, colour: Colour) -> String {
    let wanted = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    if wanted { paint(text, colour) } else { text.to_owned() }
}

fn paint(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Bold => 1,
        Colour::Dim => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A failure that was printed where it happened, because something else must come last.
#[derive(Debug)]
pub(crate) struct AlreadySaid;

impl fmt::Display for AlreadySaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed, as said above")
    }
}

impl std::error::Error for AlreadySaid {}

/// A numbered sequence of steps.
pub(crate) struct Steps {
    now: usize,
    all: usize,
}

impl Steps {
    pub(crate) fn new(all: usize) -> Self {
        Self { now: 0, all }
    }

    /// Announces the next step, before it begins.
    pub(crate) fn next(&mut self, what: &str) -> Step {
        self.announce(what);
        Step::quiet()
    }

    /// For a step whose own lines show how it goes.
    pub(crate) fn announce(&mut self, what: &str) {
        self.now += 1;
        let count = colour(&format!("[{}/{}]", self.now, self.all), Colour::Bold);
        line(&format!("{count} {what}"));
    }
}

/// A step under way.
pub(crate) struct Step {
    start: Instant,
    last_sign: Instant,
}

impl Step {
    /// A step that was announced some other way.
    pub(crate) fn quiet() -> Self {
        let start = Instant::now();
        Self { start, last_sign: start }
    }

    /// Call as often as you like: prints `doing` if there has been silence for a while.
    pub(crate) fn alive(&mut self, doing: &str) {
        if self.last_sign.elapsed() >= HEARTBEAT {
            self.last_sign = Instant::now();
            let text = format!("      {doing}, {} so far", seconds(self.start.elapsed()));
            line(&colour(&text, Colour::Dim));
        }
    }

    pub(crate) fn done(self, how: &str) -> Duration {
        let took = self.start.elapsed();
        line(&colour(&format!("      {how} in {}", seconds(took)), Colour::Dim));
        took
    }
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

pub(crate) fn minutes(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() / 60.0)
}

/// Columns as wide as their widest cell. Pad before colouring: escape sequences have no width.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Passes a child's output on while it is being read.
pub(crate) fn pass_on(text: &str) {
    println!("{text}");
    // A closed pipe shows at the next line.
    drop(io::stdout().flush());
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), "  a    bb\n  ccc  d");
    }
}
