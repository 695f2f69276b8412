//! From the rounds' figures to a row.

use serde::Serialize;

use crate::scenarios::Peer;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Compared>,
}

/// What a scenario costs beside another one that does the same work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub(crate) peer: &'static str,
    /// Median of the ratios to the peer of the same round.
    pub(crate) ratio: f64,
    /// What it should be at most.
    pub(crate) target: f64,
}

impl Compared {
    pub(crate) fn new(peer: Peer, rounds: &[f64], peer_rounds: &[f64]) -> Self {
        Self { peer: peer.name, ratio: ratio(rounds, peer_rounds), target: peer.target }
    }
}

impl Row {
    /// `rounds` are the scenario's ns, `baseline_rounds` those of the baseline in the same rounds.
    pub(crate) fn new(
        scenario: &'static str,
        rounds: &[f64],
        baseline: &'static str,
        baseline_rounds: &[f64],
    ) -> Self {
        Self {
            scenario,
            median_ns: hundredths(median(rounds)),
            min_ns: hundredths(rounds.iter().copied().fold(f64::INFINITY, f64::min)),
            max_ns: hundredths(rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ratio: ratio(rounds, baseline_rounds),
            baseline,
            unit: "ns/packet",
            peer: None,
        }
    }
}

/// Median of the ratios round by round.
fn ratio(rounds: &[f64], others: &[f64]) -> f64 {
    let ratios: Vec<_> = rounds.iter().zip(others).map(|(ns, other)| ns / other).collect();
    hundredths(median(&ratios))
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
    use super::{Compared, Row, median};
    use crate::scenarios::Peer;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_peer_is_compared_round_by_round() {
        let peer = Peer { name: "user-space", target: 2.5 };
        let compared = Compared::new(peer, &[9.0, 4.0, 50.0], &[3.0, 2.0, 20.0]);
        assert_eq!((compared.ratio, compared.target), (2.5, 2.5));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let row = Row::new("syn", &[20.0, 60.0, 30.0], "pass", &[5.0, 10.0, 5.0]);
        assert_eq!((row.median_ns, row.min_ns, row.max_ns), (30.0, 20.0, 60.0));
        assert_eq!(row.ratio, 6.0);
    }
}
