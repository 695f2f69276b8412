//! Between whoever gathers sums and whoever asks for them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{IDLE_NS, WINDOWS, Window};

/// The sums of the last seconds, if somebody looks.
#[derive(Debug, Default)]
pub struct Watch {
    /// When somebody asked last, ns of the machine's clock; 0 where nobody has.
    asked_ns: AtomicU64,
    /// The newest last, [`WINDOWS`] at most.
    windows: Mutex<VecDeque<Arc<Window>>>,
}

impl Watch {
    /// The sums of the last seconds; of no time at all where gathering begins with this question.
    pub fn ask(&self, now_ns: u64) -> Window {
        self.asked_ns.store(now_ns.max(1), Ordering::Relaxed);
        let windows: Vec<_> = self.windows().iter().cloned().collect();
        windows.iter().fold(Window::default(), |mut sum, window| {
            sum.merge(window);
            sum
        })
    }

    /// Whether somebody has asked of late.
    pub(super) fn is_on(&self, now_ns: u64) -> bool {
        let asked_ns = self.asked_ns.load(Ordering::Relaxed);
        asked_ns != 0 && now_ns.saturating_sub(asked_ns) < IDLE_NS
    }

    /// Takes the newest sums.
    pub(super) fn push(&self, window: Window) {
        let mut windows = self.windows();
        windows.push_back(Arc::new(window));
        while windows.len() > WINDOWS {
            windows.pop_front();
        }
    }

    /// Lets go of all.
    pub(super) fn clear(&self) {
        *self.windows() = VecDeque::new();
    }

    fn windows(&self) -> MutexGuard<'_, VecDeque<Arc<Window>>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
