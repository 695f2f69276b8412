//! How far lists are read, for who waits at a terminal: millions of names take seconds.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressBarIter, ProgressStyle};

/// The bar of this command; none where nobody watches.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

const TEMPLATE: &str = "reading lists {bar:40} {bytes} of {total_bytes}";

/// Shows from now on what is read, if somebody watches.
pub(crate) fn show() {
    if !io::stderr().is_terminal() {
        return;
    }
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or(ProgressStyle::default_bar());
    BAR.get_or_init(|| ProgressBar::new(0).with_style(style));
}

/// Takes the bar away: what is read is read, or what follows is an answer.
pub(crate) fn clear() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}

/// A file whose bytes are counted as they are read.
pub(crate) fn reading(file: File) -> ProgressBarIter<File> {
    let bar = BAR.get().cloned().unwrap_or_else(ProgressBar::hidden);
    bar.inc_length(file.metadata().map_or(0, |metadata| metadata.len()));
    bar.wrap_read(file)
}
