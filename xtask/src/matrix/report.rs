//! What a kernel's run came to, read from the lines the suite prints.

use std::time::Duration;

use super::image::{END_MARK, RELEASE_MARK};
use crate::test::{Tally, parse_result};
use crate::ui;

/// Before what the suite prints of the verifier: frames, program, instructions.
const FIGURE_MARK: &str = "verified: ";

/// Last lines of a console that a run which broke off is quoted with.
const QUOTED_LINES: usize = 12;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) release: String,
    /// Program with its kind of frames, and instructions.
    figures: Vec<(String, String)>,
    pub(super) tally: Tally,
    failed: Vec<String>,
    ended: bool,
    last: Vec<String>,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn read(&mut self, line: &str) {
        if let Some((_, figure)) = line.split_once(FIGURE_MARK) {
            if let Some((program, count)) = figure.rsplit_once(' ') {
                self.figures.push((program.to_owned(), count.to_owned()));
            }
        } else if let Some(release) = line.strip_prefix(RELEASE_MARK) {
            release.clone_into(&mut self.release);
        } else if let Some(tally) = parse_result(line) {
            self.tally += tally;
        } else if line == END_MARK {
            self.ended = true;
        } else if let Some(test) = failed_test(line) {
            self.failed.push(test.to_owned());
        }
        self.last.push(line.to_owned());
        if self.last.len() > QUOTED_LINES {
            self.last.remove(0);
        }
    }

    /// Why it counts as failed, if it does.
    pub(super) fn fault(&self) -> Option<String> {
        if !self.ended {
            return Some(format!("broke off; its last lines:\n{}", self.last.join("\n")));
        }
        if self.tally.failed > 0 {
            return Some(format!("{} failed: {}", self.tally.failed, self.failed.join(", ")));
        }
        if self.tally.passed == 0 || self.figures.is_empty() {
            return Some("ran no test, or showed no figures".to_owned());
        }
        None
    }
}

/// `test vm::loss::pages_load ... FAILED`; what the test printed may stand between.
fn failed_test(line: &str) -> Option<&str> {
    let (test, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    rest.ends_with("FAILED").then_some(test)
}

/// A column a kernel; the programs first, then how the suite went.
pub(super) fn table(reports: &[Report]) -> String {
    let row = |name: &str, cell: &dyn Fn(&Report) -> String| {
        std::iter::once(name.to_owned()).chain(reports.iter().map(cell)).collect::<Vec<_>>()
    };
    let mut rows = vec![row("verified instructions", &|report| report.release.clone())];
    let mut programs: Vec<&String> = Vec::new();
    for (program, _) in reports.iter().flat_map(|report| &report.figures) {
        if !programs.contains(&program) {
            programs.push(program);
        }
    }
    for program in programs {
        rows.push(row(program, &|report| {
            let figure = report.figures.iter().find(|(name, _)| name == program);
            figure.map_or("not loaded".to_owned(), |(_, count)| count.clone())
        }));
    }
    rows.push(row("tests passed", &|report| report.tally.passed.to_string()));
    rows.push(row("tests failed", &|report| report.tally.failed.to_string()));
    rows.push(row("minutes", &|report| ui::minutes(report.took)));
    ui::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::{Report, table};

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.read(line);
        }
        report
    }

    const GOOD: [&str; 5] = [
        "matrix: kernel 6.1.0",
        "test kernel::budget::x ... verified: sensor 61000",
        "verified: sensor, linear frames 60000",
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out",
        "matrix: end",
    ];

    #[test]
    fn a_run_is_read_from_its_lines() {
        let good = report(&GOOD);
        assert_eq!(good.fault(), None);
        let rows = [
            "  verified instructions  6.1.0",
            "  sensor                 61000",
            "  sensor, linear frames  60000",
            "  tests passed           3",
            "  tests failed           0",
            "  minutes                0.0",
        ];
        assert_eq!(table(&[good]), rows.join("\n"));
    }

    #[test]
    fn what_is_not_good_is_a_fault() {
        let check = |lines: &[&str], expected: &str| {
            let fault = report(lines).fault().expect("a fault");
            assert!(fault.contains(expected), "{fault}");
        };
        check(&GOOD[..4], "broke off; its last lines:\nmatrix: kernel");
        check(&["matrix: end"], "ran no test");
        let failed = [
            "test vm::a ... note FAILED",
            "test vm::b ... ok",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored",
            "matrix: end",
        ];
        check(&failed, "1 failed: vm::a");
    }
}
