//! The cases without a sensor: what a server makes of them.

use anyhow::Result;

use super::case::Server;
use super::trial::{self, Trial};
use super::{BLOCKED, Ground, cases};

#[test]
fn servers_answer_what_the_cases_say() -> Result<()> {
    let ground = Ground::unwatched()?;
    let cases = cases();
    let outcomes = trial::run(&ground, trial::of(&cases, BLOCKED), trial::BRIEF)?;
    let wrong = outcomes.iter().filter_map(|(trial, outcome)| {
        let reached = outcome.answered() && !outcome.read.is_empty();
        let expected = trial.case.server == Server::Answers;
        let should = if expected { "should be answered" } else { "should not be answered" };
        (reached != expected).then(|| format!("  {trial}: {should}: {outcome}"))
    });
    trial::conclude(&wrong.collect::<Vec<_>>(), outcomes.len());
    Ok(())
}
