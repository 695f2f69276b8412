//! What of a record somebody may have to act on: blocks, alerts, evasions.

use sensor_ebpf::abi::{NoName, Verdict};

use crate::record::Record;

/// What happened in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurrence {
    /// Two versions of one byte of a hello were sent, whatever was decided then.
    Evasion,
    /// It was blocked.
    Block,
    /// It passed, and somebody asked to be told.
    Alert,
}

impl Occurrence {
    /// The gravest of a record.
    pub(super) const fn of(record: &Record) -> Option<Self> {
        if matches!(record.no_name, NoName::Evasion) {
            return Some(Self::Evasion);
        }
        match record.verdict {
            Verdict::Block => Some(Self::Block),
            Verdict::Alert => Some(Self::Alert),
            Verdict::Allow | Verdict::Undecided => None,
        }
    }

    /// In one word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Evasion => "evasion",
            Self::Block => "block",
            Self::Alert => "alert",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{record, unnamed};

    #[test]
    fn the_gravest_counts() {
        assert_eq!(Occurrence::of(&record(1)), Some(Occurrence::Block));
        assert_eq!(Occurrence::of(&unnamed(1)), None);
        let alert = Record { verdict: Verdict::Alert, ..record(1) };
        assert_eq!(Occurrence::of(&alert), Some(Occurrence::Alert));
        for verdict in Verdict::ALL {
            let evasion = Record { verdict: *verdict, no_name: NoName::Evasion, ..unnamed(1) };
            assert_eq!(Occurrence::of(&evasion), Some(Occurrence::Evasion));
        }
    }
}
