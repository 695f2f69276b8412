//! What a policy may say, but hardly means: told when it is loaded, and no reason to refuse it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Place;

/// Warnings that are kept; the rest is counted. A person reads the first screen.
pub const WARNINGS_MAX: usize = 100;

/// Something a policy may say, but hardly means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Warning {
    /// A name at or under a protected one is listed; it stays protected.
    Protected {
        /// The listed name.
        name: String,
        /// The protected name.
        by: String,
    },
    /// A local allow rule and a local block rule have one name; it is allowed.
    AllowedAndBlocked(String),
    /// An entry covers a whole top-level domain.
    TopLevelDomain(String),
    /// An entry covers names that strangers register: `co.uk`.
    Registry {
        /// The name.
        name: String,
        /// Where.
        place: Place,
    },
    /// A list that has nothing in it.
    EmptyList {
        /// Its id.
        list: String,
        /// Its file.
        file: PathBuf,
    },
    /// An entry covers addresses that are nobody's in particular: those of this site may be among them.
    OwnAddresses(String),
    /// An exception that has run out.
    ExceptionOver {
        /// Its name.
        name: String,
        /// Its line in the policy file.
        line: u32,
    },
    /// A list of another format has a name that everybody's names are under; it is left out.
    PublicSuffix {
        /// The name, as it is written.
        name: String,
        /// Where.
        place: Place,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { name, by } => {
                write!(f, "`{name}` is listed, but protected by `{by}`: it stays allowed")
            }
            Self::AllowedAndBlocked(name) => {
                write!(f, "`{name}` has an allow rule and a block rule: it is allowed")
            }
            Self::TopLevelDomain(name) => {
                write!(f, "`{name}` is a top-level domain: everything under it is covered")
            }
            Self::Registry { name, place } => {
                write!(f, "`{name}` of {place} is a registry's: all names under it are covered")
            }
            Self::EmptyList { list, file } => {
                write!(f, "list `{list}` is empty: {}", file.display())
            }
            Self::OwnAddresses(prefix) => write!(
                f,
                "`{prefix}` has addresses of sites of their own: flows within this one may be covered"
            ),
            Self::ExceptionOver { name, line } => {
                write!(f, "the exception for `{name}` in line {line} has run out: remove it")
            }
            Self::PublicSuffix { name, place } => {
                write!(f, "`{name}` of {place} is left out: everybody's names are under it")
            }
        }
    }
}

/// The first [`WARNINGS_MAX`] warnings and the count of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Warnings {
    /// The first ones: those of entries in order of names, then those of lists of other formats.
    pub shown: Vec<Warning>,
    /// All of them.
    pub count: usize,
}

impl Warnings {
    pub(crate) fn push(&mut self, warning: Warning) {
        self.count += 1;
        if self.shown.len() < WARNINGS_MAX {
            self.shown.push(warning);
        }
    }

    /// Those that follow these.
    pub(crate) fn append(&mut self, more: Self) {
        let shown = more.shown.len();
        for warning in more.shown {
            self.push(warning);
        }
        self.count += more.count - shown;
    }

    /// Counts warnings that nothing more is known of.
    pub(crate) fn count_more(&mut self, count: u64) {
        self.count += usize::try_from(count).unwrap_or(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_bounded() {
        let mut warnings = Warnings::default();
        for _ in 0..=WARNINGS_MAX {
            warnings.push(Warning::TopLevelDomain("a".to_owned()));
        }
        assert_eq!((warnings.shown.len(), warnings.count), (WARNINGS_MAX, WARNINGS_MAX + 1));
    }
}
