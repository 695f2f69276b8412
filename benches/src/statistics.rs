//! From the rounds' figures to a row.

use serde::Serialize;

/// A scenario's row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) median_ns: f64,
    pub(crate) min_ns: f64,
    pub(crate) max_ns: f64,
    /// Median of the ratios to the baseline of the same round.
    pub(crate) ratio: f64,
    pub(crate) baseline: &'static str,
    pub(crate) unit: &'static str,
}

impl Row {
    /// `rounds` are the scenario's ns, `baseline_rounds` those of the baseline in the same rounds.
    pub(crate) fn new(
        scenario: &'static str,
        rounds: &[f64],
        baseline: &'static str,
        baseline_rounds: &[f64],
    ) -> Self {
        let ratios: Vec<_> =
            rounds.iter().zip(baseline_rounds).map(|(ns, baseline)| ns / baseline).collect();
        Self {
            scenario,
            median_ns: hundredths(median(rounds)),
            min_ns: hundredths(rounds.iter().copied().fold(f64::INFINITY, f64::min)),
            max_ns: hundredths(rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ratio: hundredths(median(&ratios)),
            baseline,
            unit: "ns/packet",
        }
    }
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    }
}

/// More digits than that are noise.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::{Row, median};

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = Row::new("syn", &[20.0, 60.0, 30.0], "pass", &[5.0, 10.0, 5.0]);
        assert_eq!((row.median_ns, row.min_ns, row.max_ns), (30.0, 20.0, 60.0));
        assert_eq!(row.ratio, 6.0);
    }
}
