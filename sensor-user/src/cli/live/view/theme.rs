//! Styles. Without colours what matters is bold or reversed.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

/// With or without colours.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Theme {
    colours: bool,
}

impl Theme {
    /// Titles.
    pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

    /// Where one is.
    pub(super) const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

    /// By the environment's `NO_COLOR`: set and not empty, there are none.
    pub(in super::super) fn of(no_color: Option<&OsStr>) -> Self {
        Self { colours: no_color.is_none_or(OsStr::is_empty) }
    }

    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn warn(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) fn faint(self) -> Style {
        self.coloured(Color::DarkGray)
    }

    const fn coloured(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}
