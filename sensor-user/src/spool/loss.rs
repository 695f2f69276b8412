//! What the spool itself gave up, by number: whoever finds numbers missing at the other end can be told why.

use serde::{Deserialize, Serialize};

use super::chunk::Header;
use super::class::Class;

/// Ranges that are kept. Shedding goes oldest first, so what is shed in one go is one range a class; a few hundred are
/// years of incidents, and 40 KiB.
pub(super) const LOSSES_MAX: usize = 256;

/// Why records are gone that not every sink had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There was no room for them.
    Size,
    /// They were older than records are kept for.
    Age,
    /// What the disk gave back is not what was written.
    Damage,
    /// They are in a file that could not be opened and was put aside. Where that was found at the start, nobody knows which
    /// of them sinks had already: what the file has traces of is named.
    PutAside,
}

impl Reason {
    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Age => "age",
            Self::Damage => "damage",
            Self::PutAside => "put-aside",
        }
    }
}

/// Records of one class that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Why.
    pub reason: Reason,
    /// Of which class. The numbers between have records of other classes too.
    pub class: Class,
    /// Boot id that the numbers are of.
    pub boot: String,
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
    /// Records. Where ranges had to be joined there are more of the class in between that are not lost.
    pub records: u64,
    /// How many of the class there were before the first, since the spool began.
    pub total_before: u64,
    /// How many there were with the last.
    pub total_after: u64,
}

impl Loss {
    pub(super) fn of(header: &Header, reason: Reason) -> Self {
        let (total_before, total_after) = (header.total_before(), *header.totals.of(header.class));
        Self {
            reason,
            class: header.class,
            boot: header.boot.clone(),
            first: header.first,
            last: header.last,
            records: u64::from(header.records),
            total_before,
            total_after,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.reason, self.class) == (other.reason, other.class) && self.boot == other.boot
    }

    fn join(&mut self, next: &Self) {
        self.first = self.first.min(next.first);
        self.last = self.last.max(next.last);
        self.records += next.records;
        self.total_before = self.total_before.min(next.total_before);
        self.total_after = self.total_after.max(next.total_after);
    }
}

/// The ranges, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Losses(Vec<Loss>);

impl Losses {
    /// Adds one to the range it follows on, or as a range of its own.
    pub(super) fn add(&mut self, loss: Loss) {
        let before = self.0.iter_mut().rev().find(|before| before.is_like(&loss));
        match before {
            Some(before) if before.total_after == loss.total_before => before.join(&loss),
            Some(_) | None => self.0.push(loss),
        }
        if self.0.len() > LOSSES_MAX {
            self.join_oldest();
        }
    }

    /// The ranges, oldest first.
    pub(super) fn as_slice(&self) -> &[Loss] {
        &self.0
    }

    /// Makes one of the two oldest that are alike, else forgets the oldest.
    fn join_oldest(&mut self) {
        let pair = self.0.iter().enumerate().find_map(|(at, loss)| {
            let next = self.0.iter().skip(at + 1).position(|next| next.is_like(loss))?;
            Some((at, at + 1 + next))
        });
        let Some((at, next)) = pair else {
            self.0.remove(0);
            return;
        };
        let next = self.0.remove(next);
        if let Some(loss) = self.0.get_mut(at) {
            loss.join(&next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(boot: &str, total_before: u64, records: u64) -> Loss {
        Loss {
            reason: Reason::Size,
            class: Class::Allowed,
            boot: boot.to_owned(),
            first: total_before * 2,
            last: (total_before + records) * 2 - 1,
            records,
            total_before,
            total_after: total_before + records,
        }
    }

    #[test]
    fn what_follows_on_is_one_range() {
        let mut losses = Losses::default();
        losses.add(loss("a", 0, 10));
        losses.add(loss("a", 10, 5));
        losses.add(Loss { class: Class::Alert, ..loss("a", 15, 1) });
        losses.add(loss("a", 15, 5));
        losses.add(loss("a", 30, 5));
        losses.add(loss("b", 35, 5));
        let ranges: Vec<_> = losses
            .as_slice()
            .iter()
            .map(|loss| (loss.class, loss.boot.as_str(), loss.first, loss.last, loss.records))
            .collect();
        let expected = [
            (Class::Allowed, "a", 0, 39, 20),
            (Class::Alert, "a", 30, 31, 1),
            (Class::Allowed, "a", 60, 69, 5),
            (Class::Allowed, "b", 70, 79, 5),
        ];
        assert_eq!(ranges, expected);
    }

    #[test]
    fn the_list_is_bounded_and_joins_what_is_oldest() {
        let mut losses = Losses::default();
        for at in 0..2_000 {
            losses.add(loss("a", at * 10, 3));
        }
        assert_eq!(losses.as_slice().len(), LOSSES_MAX);
        let records: u64 = losses.as_slice().iter().map(|loss| loss.records).sum();
        assert_eq!(records, 6_000, "joined, not forgotten");
        assert_eq!(losses.as_slice().last(), Some(&loss("a", 19_990, 3)), "the newest are exact");
        for boot in 0..LOSSES_MAX + 3 {
            losses.add(loss(&format!("boot {boot}"), 0, 1));
        }
        assert_eq!(losses.as_slice().len(), LOSSES_MAX);
    }
}
