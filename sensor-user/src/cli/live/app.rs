//! What is on the screen: which pane, in which order, what is held, and what the daemon said last.

use std::sync::Arc;

use super::keys::Action;
use super::snapshot::Snapshot;

/// Letters of a filter: more than any name has in a line of the screen.
const FILTER_MAX: usize = 64;

/// Rows a page is scrolled by where the height is not known.
const PAGE: usize = 10;

/// One of the four tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Devices,
    Names,
    Verdicts,
    Losses,
}

impl Pane {
    /// In the order of the tabs.
    pub(super) const ALL: [Self; 4] = [Self::Devices, Self::Names, Self::Verdicts, Self::Losses];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Devices => "Devices",
            Self::Names => "Names",
            Self::Verdicts => "Verdicts",
            Self::Losses => "Losses",
        }
    }

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        Self::ALL.iter().cycle().nth(at + by).copied().unwrap_or(self)
    }
}

/// What comes first in devices and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Bits,
    Packets,
    Flows,
    Blocked,
    Unnamed,
}

impl Sort {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Packets => "packets",
            Self::Flows => "flows",
            Self::Blocked => "blocked",
            Self::Unnamed => "unnamed",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Bits => Self::Packets,
            Self::Packets => Self::Flows,
            Self::Flows => Self::Blocked,
            Self::Blocked => Self::Unnamed,
            Self::Unnamed => Self::Bits,
        }
    }
}

/// The daemon has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// Time of day of the first question without an answer.
    pub(super) since: String,
    /// What went wrong last.
    pub(super) why: String,
}

/// Two snapshots, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) now: Arc<Snapshot>,
    pub(super) before: Option<Arc<Snapshot>>,
}

/// The state of the view.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) pane: Pane,
    pub(super) sort: Sort,
    /// Only rows with these letters are shown.
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) has_help: bool,
    /// Rows of the pane that are above the screen.
    pub(super) scrolled: usize,
    pub(super) silence: Option<Silence>,
    /// Nothing was heard yet.
    pub(super) picture: Option<Picture>,
    newest: Option<Arc<Snapshot>>,
}

impl Default for App {
    fn default() -> Self {
        Self {
            pane: Pane::Devices,
            sort: Sort::Bits,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            has_help: false,
            scrolled: 0,
            silence: None,
            picture: None,
            newest: None,
        }
    }
}

impl App {
    /// The daemon has answered.
    pub(super) fn heard(&mut self, snapshot: Snapshot) {
        let now = Arc::new(snapshot);
        // A rate over a silence would be one of its end alone.
        let before = self.newest.replace(Arc::clone(&now)).filter(|_| self.silence.is_none());
        self.silence = None;
        if !self.is_paused || self.picture.is_none() {
            self.picture = Some(Picture { now, before });
        }
    }

    /// It has not.
    pub(super) fn not_heard(&mut self, why: String, time: &str) {
        let since = self.silence.take().map_or_else(|| time.to_owned(), |silence| silence.since);
        self.silence = Some(Silence { since, why });
    }

    /// Does what a key asks for; false to quit.
    pub(super) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Quit if self.has_help => self.has_help = false,
            Action::Quit => return false,
            Action::NextPane => self.show(self.pane.step(1)),
            Action::PreviousPane => self.show(self.pane.step(Pane::ALL.len() - 1)),
            Action::Pane(number) => {
                if let Some(pane) = Pane::ALL.get(number as usize - 1) {
                    self.show(*pane);
                }
            }
            Action::Up => self.scrolled = self.scrolled.saturating_sub(1),
            Action::Down => self.scrolled = self.scrolled.saturating_add(1),
            Action::PageUp => self.scrolled = self.scrolled.saturating_sub(PAGE),
            Action::PageDown => self.scrolled = self.scrolled.saturating_add(PAGE),
            Action::First => self.scrolled = 0,
            Action::Last => self.scrolled = usize::MAX,
            Action::Sort => {
                self.sort = self.sort.next();
                self.scrolled = 0;
            }
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Help => self.has_help = !self.has_help,
            Action::Filter => self.is_typing = true,
            Action::Letter(letter) => {
                if self.filter.len() < FILTER_MAX && matches!(letter, ' '..='~') {
                    self.filter.push(letter.to_ascii_lowercase());
                }
                self.scrolled = 0;
            }
            Action::Erase => {
                self.filter.pop();
            }
            Action::Accept => self.is_typing = false,
            Action::Cancel => {
                self.is_typing = false;
                self.filter.clear();
            }
        }
        true
    }

    fn show(&mut self, pane: Pane) {
        self.pane = pane;
        self.scrolled = 0;
        self.has_help = false;
    }

    /// Whether a row with these texts is shown.
    pub(super) fn lets_through(&self, texts: &[&str]) -> bool {
        self.filter.is_empty()
            || texts.iter().any(|text| text.to_ascii_lowercase().contains(&self.filter))
    }
}
