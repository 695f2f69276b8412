//! Which key does what.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    NextPane,
    PreviousPane,
    /// The pane of this number, from 1.
    Pane(u32),
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Sort,
    Pause,
    Help,
    /// A filter is typed from now on.
    Filter,
    /// A letter of it.
    Letter(char),
    Erase,
    /// It holds as it is.
    Accept,
    /// It is gone.
    Cancel,
}

/// What is told of the keys: key, and what it does.
pub(super) const HELP: [(&str, &str); 9] = [
    ("q Esc Ctrl-C", "quit"),
    ("Tab, left right", "next pane, the one before; 1 to 4 take one"),
    ("up down, PgUp PgDn", "scroll; Home and End"),
    ("s", "sort by bits, packets, flows, blocked, unnamed"),
    ("/", "show only rows with these letters; Enter keeps, Esc drops"),
    ("p, space", "hold the picture; gathering goes on"),
    ("h ?", "this page"),
    ("", ""),
    ("NO_COLOR=1", "in the environment: no colours"),
];

/// What a key does; `is_typing` while a filter is typed.
pub(super) fn action(key: KeyEvent, is_typing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if is_control {
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    if is_typing { typed(key.code) } else { pressed(key.code) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
const fn typed(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char(letter) => Some(Action::Letter(letter)),
        KeyCode::Backspace => Some(Action::Erase),
        KeyCode::Enter => Some(Action::Accept),
        KeyCode::Esc => Some(Action::Cancel),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
fn pressed(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Action::Quit),
        KeyCode::Tab | KeyCode::Right => Some(Action::NextPane),
        KeyCode::BackTab | KeyCode::Left => Some(Action::PreviousPane),
        KeyCode::Up | KeyCode::Char('k') => Some(Action::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Action::Down),
        KeyCode::PageUp => Some(Action::PageUp),
        KeyCode::PageDown => Some(Action::PageDown),
        KeyCode::Home => Some(Action::First),
        KeyCode::End => Some(Action::Last),
        KeyCode::Char('s') => Some(Action::Sort),
        KeyCode::Char('p' | ' ') => Some(Action::Pause),
        KeyCode::Char('h' | '?') => Some(Action::Help),
        KeyCode::Char('/') => Some(Action::Filter),
        KeyCode::Char(digit) => digit.to_digit(10).filter(|digit| *digit > 0).map(Action::Pane),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_the_help_says() {
        let none = KeyModifiers::NONE;
        let table = [
            (KeyCode::Char('q'), none, Some(Action::Quit), Some(Action::Letter('q'))),
            (KeyCode::Esc, none, Some(Action::Quit), Some(Action::Cancel)),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Action::Quit), Some(Action::Quit)),
            (KeyCode::Char('x'), KeyModifiers::CONTROL, None, None),
            (KeyCode::Tab, none, Some(Action::NextPane), None),
            (KeyCode::Right, none, Some(Action::NextPane), None),
            (KeyCode::BackTab, KeyModifiers::SHIFT, Some(Action::PreviousPane), None),
            (KeyCode::Left, none, Some(Action::PreviousPane), None),
            (KeyCode::Char('3'), none, Some(Action::Pane(3)), Some(Action::Letter('3'))),
            (KeyCode::Char('0'), none, None, Some(Action::Letter('0'))),
            (KeyCode::Up, none, Some(Action::Up), None),
            (KeyCode::Down, none, Some(Action::Down), None),
            (KeyCode::PageUp, none, Some(Action::PageUp), None),
            (KeyCode::PageDown, none, Some(Action::PageDown), None),
            (KeyCode::Home, none, Some(Action::First), None),
            (KeyCode::End, none, Some(Action::Last), None),
            (KeyCode::Char('s'), none, Some(Action::Sort), Some(Action::Letter('s'))),
            (KeyCode::Char('p'), none, Some(Action::Pause), Some(Action::Letter('p'))),
            (KeyCode::Char(' '), none, Some(Action::Pause), Some(Action::Letter(' '))),
            (KeyCode::Char('/'), none, Some(Action::Filter), Some(Action::Letter('/'))),
            (KeyCode::Char('h'), none, Some(Action::Help), Some(Action::Letter('h'))),
            (KeyCode::Char('?'), none, Some(Action::Help), Some(Action::Letter('?'))),
            (KeyCode::Backspace, none, None, Some(Action::Erase)),
            (KeyCode::Enter, none, None, Some(Action::Accept)),
            (KeyCode::F(1), none, None, None),
        ];
        for (code, modifiers, pressed, typed) in table {
            let key = KeyEvent::new(code, modifiers);
            assert_eq!((action(key, false), action(key, true)), (pressed, typed), "{key:?}");
            let released = KeyEvent { kind: KeyEventKind::Release, ..key };
            assert_eq!(action(released, false), None, "{released:?}");
        }
    }
}
