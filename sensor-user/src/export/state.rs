//! What became of the records of one export.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::Export;
use crate::metrics::Number;

/// Why a record was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// The system took no datagram.
    NotTaken,
}

impl Shed {
    /// Every value, in order.
    pub const ALL: &'static [Self] = &[Self::NotTaken];

    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTaken => "not-taken",
        }
    }
}

/// Counts of a running export, shared by who feeds it, who runs it and who asks.
#[derive(Debug, Default)]
pub struct State {
    name: String,
    kind: &'static str,
    target: String,
    sent: Number,
    shed: [Number; Shed::ALL.len()],
    is_open: AtomicBool,
    trouble: Mutex<Option<String>>,
    rotation: AtomicBool,
}

/// An export, as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `eve`, `ipfix` or `syslog`.
    pub kind: String,
    /// Where it goes.
    pub target: String,
    /// Whether the file or connection is open. A UDP socket is, whoever listens.
    pub open: bool,
    /// Records handed over to the system since the start. That a receiver has them, only a receiver knows.
    pub sent: u64,
    /// Records in the spool that it has not taken yet, those that the filter leaves out included.
    pub queued: u64,
    /// Records that made room for others in the spool before it had them.
    pub lost: u64,
    /// Records not sent since the start, by every reason.
    pub shed: BTreeMap<String, u64>,
    /// What went wrong last, until something goes right.
    pub trouble: Option<String>,
}

impl State {
    /// Of an export that is about to start.
    pub fn of(export: &Export) -> Self {
        Self {
            name: export.name.clone(),
            kind: export.kind.name(),
            target: export.target.to_string(),
            ..Self::default()
        }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records handed over.
    pub fn add_sent(&self, records: usize) {
        self.sent.add(records as u64);
    }

    /// Records handed over so far.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Records that are not sent.
    pub fn add_shed(&self, reason: Shed, records: usize) {
        if let Some(count) = self.shed.get(reason as usize) {
            count.add(records as u64);
        }
    }

    /// Records not sent, for whatever reason.
    pub fn shed(&self) -> u64 {
        self.shed.iter().map(Number::get).sum()
    }

    /// Notes that the output is open, and whether it was not before.
    pub fn opened(&self) -> bool {
        self.went_well();
        !self.is_open.swap(true, Ordering::Relaxed)
    }

    /// Notes that what went wrong is over.
    pub fn went_well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes what went wrong, and whether it is news.
    pub fn failed(&self, error: &std::io::Error, is_open: bool) -> bool {
        let text = error.to_string();
        self.is_open.store(is_open, Ordering::Relaxed);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = trouble.as_ref() != Some(&text);
        *trouble = Some(text);
        is_news
    }

    /// Asks for the file to be put aside.
    pub fn ask_rotation(&self) {
        self.rotation.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked since the last time.
    pub fn take_rotation(&self) -> bool {
        self.rotation.swap(false, Ordering::Relaxed)
    }

    /// For people and monitoring.
    pub fn status(&self) -> ExportStatus {
        let shed = Shed::ALL.iter().zip(&self.shed);
        ExportStatus {
            name: self.name.clone(),
            kind: self.kind.to_owned(),
            target: self.target.clone(),
            open: self.is_open.load(Ordering::Relaxed),
            sent: self.sent.get(),
            queued: 0,
            lost: 0,
            shed: shed.map(|(reason, count)| (reason.name().to_owned(), count.get())).collect(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Lines of `status`: what was sent, and what not and why.
impl fmt::Display for ExportStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, target, open, sent, queued, lost, shed, trouble } = self;
        let open = if *open { "open" } else { "NOT OPEN" };
        writeln!(f, "export    {name}: {kind} to {target}, {open}, {sent} sent, {queued} queued")?;
        if let Some(trouble) = trouble {
            writeln!(f, "  trouble {trouble}")?;
        }
        if *lost != 0 {
            writeln!(f, "  NEVER HAD {:22}{lost:>12}", "")?;
        }
        for (reason, count) in shed.iter().filter(|(_, count)| **count != 0) {
            writeln!(f, "  NOT SENT {reason:21}{count:>12}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_what_was_not_sent() {
        let well = ExportStatus {
            name: "eve".to_owned(),
            kind: "eve".to_owned(),
            target: "/var/log/eve.json".to_owned(),
            open: true,
            sent: 7,
            shed: [("not-taken".to_owned(), 0)].into(),
            ..ExportStatus::default()
        };
        let away = ExportStatus {
            name: "siem".to_owned(),
            open: false,
            queued: 60_000,
            lost: 7,
            shed: [("not-taken".to_owned(), 12)].into(),
            trouble: Some("Connection refused".to_owned()),
            ..well.clone()
        };
        insta::assert_snapshot!(format!("{well}{away}"));
    }
}
