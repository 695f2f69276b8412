//! The cases past a sensor.

use anyhow::Result;

use super::case::{Allowed, Server};
use super::trial::{self, Trial};
use super::{ALLOWED, BLOCKED, Ground, cases};

#[test]
fn a_blocked_name_is_never_read_and_an_allowed_one_loads() -> Result<()> {
    let ground = Ground::watched()?;
    let cases = cases();
    let loads = |trial: &Trial<'_>| {
        trial.case.server == Server::Answers && trial.case.allowed == Allowed::Loads
    };
    let blocked = trial::of(&cases, BLOCKED, trial::BRIEF);
    let trials = blocked.chain(trial::of(&cases, ALLOWED, trial::LONG).filter(loads));
    let outcomes = trial::run(&ground, trials)?;
    let wrong = outcomes.iter().filter_map(|(trial, outcome)| {
        let fault = if trial.name == BLOCKED {
            let answered = outcome.answered() && !outcome.misled;
            let tried = outcome.tried() || trial.case.allowed == Allowed::MayFail;
            match (answered || !outcome.read.is_empty(), tried) {
                (true, _) => Some("the blocked name got through"),
                (false, false) => Some("the blocked name was not tried"),
                (false, true) => None,
            }
        } else {
            (!outcome.answered()).then_some("the allowed name was not answered")
        };
        fault.map(|fault| format!("  {trial}: {fault}: {outcome}"))
    });
    trial::conclude(&wrong.collect::<Vec<_>>(), outcomes.len());
    Ok(())
}
