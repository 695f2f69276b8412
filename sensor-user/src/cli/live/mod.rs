//! `campus-sensor top` at a terminal: what passes now, as it passes.
//!
//! [`ask`] asks the daemon, [`snapshot`] is what it said, [`rates`] and [`losses`] are what two answers come to, [`app`] is
//! what is looked at, [`keys`] changes that, and [`view`] draws it. The daemon gathers sums only while it is asked: see
//! [`crate::assembly::rates`].

mod app;
mod ask;
mod keys;
mod losses;
mod rates;
mod snapshot;
mod view;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ArgMatches;
use clap::parser::ValueSource;
use jiff::Zoned;
use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, try_init, try_restore};

use self::app::App;
use self::ask::News;
use self::view::Theme;

/// Longest wait for a key before answers are looked at: nobody sees a tenth of a second.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Options that every command has, and that say nothing of what is to be shown.
const OF_EVERY_COMMAND: [&str; 1] = ["config"];

/// Whether `top` was asked for without saying what to sum up, by somebody at a terminal.
pub(super) fn is_wanted(matches: &ArgMatches) -> bool {
    let says_what = matches.ids().any(|id| {
        let is_told = matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        is_told && !OF_EVERY_COMMAND.contains(&id.as_str())
    });
    !says_what && io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Shows what passes until somebody quits. The terminal is as before afterwards, also where this panics.
pub(super) fn run(socket: &Path) -> anyhow::Result<()> {
    let news = ask::start(socket.to_owned())?;
    let mut terminal = try_init().context("use the terminal")?;
    let done = show(&mut terminal, &news);
    drop(terminal);
    // Where the terminal is gone, nobody is left to tell.
    let restored = try_restore().context("restore the terminal; `reset` does");
    done.and(restored)
}

fn show(terminal: &mut DefaultTerminal, news: &Receiver<News>) -> anyhow::Result<()> {
    let theme = Theme::of(std::env::var_os("NO_COLOR").as_deref());
    let mut app = App::default();
    let mut time = String::new();
    let mut is_old = true;
    loop {
        let now = Zoned::now().strftime("%H:%M:%S").to_string();
        is_old |= now != time;
        time = now;
        if is_old {
            terminal.draw(|frame| view::draw(frame, &mut app, theme, &time))?;
        }
        is_old = event::poll(KEY_WAIT).context("wait for a key")?;
        if is_old
            && let Event::Key(key) = event::read().context("read a key")?
            && let Some(action) = keys::action(key, app.is_typing)
            && !app.act(action)
        {
            return Ok(());
        }
        loop {
            match news.try_recv() {
                Ok(News::Heard(snapshot)) => app.heard(*snapshot),
                Ok(News::NotHeard(why)) => app.not_heard(why, &time),
                Ok(News::Ended) => return Ok(()),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("the thread that asks the daemon ended"),
            }
            is_old = true;
        }
    }
}

#[cfg(test)]
mod tests;
