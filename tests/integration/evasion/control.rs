//! The cases without a sensor: what a server makes of them.

use anyhow::Result;

use super::case::Server;
use super::trial::{self, Outcome, Trial};
use super::{BLOCKED, Ground, cases};

#[test]
fn servers_answer_what_the_cases_say() -> Result<()> {
    let ground = Ground::unwatched()?;
    let cases = cases();
    let trials: Vec<_> = trial::of(&cases, BLOCKED, trial::ONCE).collect();
    let count = trials.len();
    // Nothing is sent a second time here, and a busy machine loses a frame now and then.
    let again = wrong(&ground, trials)?.into_iter().map(|(trial, _)| trial).collect();
    let complaints = wrong(&ground, again)?.into_iter().map(|(trial, outcome)| {
        let expected = match trial.case.server {
            Server::Answers => "should be answered",
            Server::Refuses => "should not be answered",
        };
        format!("  {trial}: {expected}: {outcome}")
    });
    trial::conclude(&complaints.collect::<Vec<_>>(), count);
    Ok(())
}

/// The trials whose outcome is not what the case says.
fn wrong<'a>(ground: &Ground, trials: Vec<Trial<'a>>) -> Result<Vec<(Trial<'a>, Outcome)>> {
    let mut outcomes = trial::run(ground, trials)?;
    outcomes.retain(|(trial, outcome)| {
        let reached = outcome.answered() && !outcome.read.is_empty();
        reached != (trial.case.server == Server::Answers)
    });
    Ok(outcomes)
}
