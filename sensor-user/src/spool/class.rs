//! Shedding classes: which records go first where there is no room for all.

use sensor_ebpf::abi::{NoName, Verdict};
use serde::{Deserialize, Serialize};

use crate::record::Record;

/// How much a record would be missed. In the order they are shed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The flow passed, and nobody asked to be told.
    Allowed,
    /// Somebody asked to be told.
    Alert,
    /// The flow was blocked, or tried to get past the sensor: what people are answered with who ask why.
    Blocked,
}

impl Class {
    /// Every class, in the order they are shed in.
    pub const ALL: &'static [Self] = &[Self::Allowed, Self::Alert, Self::Blocked];

    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Alert => "alert",
            Self::Blocked => "blocked",
        }
    }

    /// The number in the file.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::Alert => 1,
            Self::Blocked => 2,
        }
    }

    /// The class of that number.
    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.number() == number)
    }

    /// The class of a record.
    pub fn of(record: &Record) -> Self {
        match record.verdict {
            Verdict::Block => Self::Blocked,
            // Whatever policy made of it.
            Verdict::Undecided | Verdict::Allow | Verdict::Alert
                if record.no_name == NoName::Evasion =>
            {
                Self::Blocked
            }
            Verdict::Alert => Self::Alert,
            Verdict::Undecided | Verdict::Allow => Self::Allowed,
        }
    }
}

/// One of something for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByClass<T> {
    /// Of [`Class::Allowed`].
    pub allowed: T,
    /// Of [`Class::Alert`].
    pub alert: T,
    /// Of [`Class::Blocked`].
    pub blocked: T,
}

impl<T> ByClass<T> {
    /// What a class has.
    pub const fn of(&self, class: Class) -> &T {
        match class {
            Class::Allowed => &self.allowed,
            Class::Alert => &self.alert,
            Class::Blocked => &self.blocked,
        }
    }

    /// The same, to change it.
    pub const fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Allowed => &mut self.allowed,
            Class::Alert => &mut self.alert,
            Class::Blocked => &mut self.blocked,
        }
    }

    /// Each class with what it has, in the order they are shed in.
    pub fn iter(&self) -> impl Iterator<Item = (Class, &T)> {
        Class::ALL.iter().map(|class| (*class, self.of(*class)))
    }
}

impl ByClass<u64> {
    /// All classes together.
    pub fn sum(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }
}
