//! Both directions of a connection on two CPUs at once: what the server acknowledges moves the start of
//! the examination while a segment is examined.

use std::env;

use anyhow::Result;
use sensor_lab::FULL_VARIABLE;

use super::case::case;
use super::{BLOCKED, Ground, segments, trial};

/// A race is lost once in some thousand segments; each trial sends about eighty.
const TRIALS: usize = 120;
const TRIALS_FULL: usize = 2_000;

#[test]
fn a_hello_in_pieces_is_read_while_the_server_acknowledges_it() -> Result<()> {
    let ground = Ground::watched()?;
    let trials = if env::var_os(FULL_VARIABLE).is_some() { TRIALS_FULL } else { TRIALS };
    let cases: Vec<_> = (0..trials / 2)
        .map(|number| {
            case(format!("pieces of 3, time {number}"), |draft| segments::in_pieces(draft, 3))
        })
        .collect();
    let outcomes = trial::run(&ground, trial::of(&cases, BLOCKED, trial::BRIEF))?;
    let wrong = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.answered() || !outcome.read.is_empty() || !outcome.tried());
    let complaints: Vec<_> =
        wrong.map(|(trial, outcome)| format!("  {trial}: {outcome}")).collect();
    trial::conclude(&complaints, outcomes.len());
    Ok(())
}
