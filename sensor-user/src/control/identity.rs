//! What the daemon knows of devices, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::{Counts, Directory, Refusal};

/// What is known of who is where, since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityStatus {
    /// Facts that are kept.
    pub facts: usize,
    /// Facts that were told.
    pub learnt: u64,
    /// Stretches of the past that are known otherwise than they were answered.
    pub amendments: u64,
    /// Facts that said nothing, or ended before they began.
    pub unsound: u64,
    /// Facts that there was no room for.
    pub no_room: u64,
    /// Facts that ended long ago and made room.
    pub forgotten: u64,
    /// Steps of the clock that were followed.
    pub clock_steps: u64,
    /// What sources sent and was not taken, by every reason.
    pub refused: BTreeMap<String, u64>,
}

impl From<&Directory> for IdentityStatus {
    fn from(directory: &Directory) -> Self {
        let (counts, facts) = directory.counts();
        let Counts { learnt, unsound, no_room, forgotten, amendments, clock_steps } = counts;
        let refused = Refusal::ALL
            .iter()
            .map(|reason| (reason.name().to_owned(), directory.refused(*reason)));
        let refused = refused.collect();
        Self { facts, learnt, amendments, unsound, no_room, forgotten, clock_steps, refused }
    }
}

impl fmt::Display for IdentityStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { facts, amendments, refused, .. } = self;
        write!(f, "{facts} facts of devices, {amendments} amendments")?;
        for (reason, count) in refused.iter().filter(|(_, count)| **count > 0) {
            write!(f, ", {count} {reason}")?;
        }
        Ok(())
    }
}
