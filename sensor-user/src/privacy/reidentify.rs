//! Whom pseudonyms stand for: everybody who is known is given a pseudonym, and compared.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::{Kind, Pseudonyms, is_pseudonym};
use crate::identity::Fact;
use crate::policy::member::{self, Mac};

/// Whom a pseudonym may stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    texts: BTreeSet<(Kind, String)>,
    macs: BTreeSet<Mac>,
}

/// Whom a pseudonym stands for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Match {
    /// The pseudonym.
    pub pseudonym: String,
    /// What it is a pseudonym of.
    pub kind: Kind,
    /// What it stands for.
    pub name: String,
    /// The only day it does; none where it always does.
    pub day: Option<Date>,
}

impl Candidates {
    /// Adds all that a fact names.
    pub fn add_fact(&mut self, fact: &Fact) {
        self.texts.extend(fact.user.clone().map(|user| (Kind::User, user)));
        self.texts.extend(fact.host_name.clone().map(|name| (Kind::HostName, name)));
        self.macs.extend(fact.mac);
    }

    /// Adds what somebody wrote: a MAC address, else a user or a host name. False: it is neither.
    pub fn add(&mut self, text: &str) -> bool {
        if let Ok(mac) = text.trim().parse::<Mac>() {
            self.macs.insert(mac);
            return true;
        }
        let Some(user) = member::user(text) else { return false };
        self.texts.insert((Kind::HostName, text.trim().to_owned()));
        self.texts.insert((Kind::User, user));
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len() + self.macs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that stand behind pseudonyms, always or on one of some days. Each is tried on every day.
    pub fn behind(&self, pseudonyms: &Pseudonyms, asked: &[String], days: &[Date]) -> Vec<Match> {
        let asked_texts: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
        let asked_macs: BTreeSet<Mac> = asked.iter().filter_map(|text| text.parse().ok()).collect();
        let mut matches = Vec::new();
        for day in std::iter::once(None).chain(days.iter().copied().map(Some)) {
            let namer = pseudonyms.namer(day);
            for (kind, name) in &self.texts {
                let pseudonym = namer.text(*kind, name);
                if asked_texts.contains(pseudonym.as_str()) {
                    matches.push(Match { pseudonym, kind: *kind, name: name.clone(), day });
                }
            }
            for mac in self.macs.iter().filter(|_| !asked_macs.is_empty()).copied() {
                let pseudonym = namer.mac(mac);
                if asked_macs.contains(&pseudonym) {
                    let (pseudonym, name) = (pseudonym.to_string(), mac.to_string());
                    matches.push(Match { pseudonym, kind: Kind::Mac, name, day });
                }
            }
        }
        matches
    }
}

/// A pseudonym as records have it; none where the text is none.
pub fn pseudonym(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    if is_pseudonym(&text) {
        return Some(text);
    }
    let mac = text.parse::<Mac>().ok().filter(|mac| mac.is_local());
    mac.map(|mac| mac.to_string())
}
