//! `campus-sensor top` at a terminal: a pseudoterminal of `script`, and an emulator that says what is on its screen.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use sensor_lab::clients::Outcome;
use sensor_lab::lab::Family;
use sensor_lab::process;
use sensor_lab::sensor::Sensor;
use serde_json::Value;

use super::{ALLOWED, BLOCKED, HELPLINE, SOON, Site, page, say, setup};

/// Rows and columns of the terminal.
const SIZE: (NonZero<u16>, NonZero<u16>) =
    (NonZero::new(24).expect("some rows"), NonZero::new(100).expect("some columns"));

/// A terminal with the live view on it.
struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keys: ChildStdin,
    script: Child,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its terminal goes with it, and the view with that. An error means that both have ended.
        let _ended = self.script.kill();
        let _reaped = self.script.wait();
    }
}

impl Terminal {
    /// Runs `top`, with the terminal's settings told before it and after it, and how it ended.
    fn start(sensor: &Sensor) -> Result<Self> {
        let (rows, columns) = SIZE;
        let top = process::describe(&sensor.command(&["top"]));
        let line = format!(
            "stty rows {rows} cols {columns}; echo before $(stty -g); {top}; echo ended $?; \
             echo after $(stty -g)"
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--command", &line, "/dev/null"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = command.spawn().context("start script")?;
        let keys = script.stdin.take().context("its input")?;
        let mut output = script.stdout.take().context("its output")?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let emulated = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut screen = emulated.lock().unwrap_or_else(PoisonError::into_inner);
                screen.process(bytes.get(..count).unwrap_or_default());
            }
        });
        Ok(Self { screen, keys, script })
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("press a key")?;
        self.keys.flush().context("press a key")
    }

    fn shown(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Whether the program has the screen to itself, and hides the cursor.
    fn is_taken(&self) -> (bool, bool) {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        (screen.screen().alternate_screen(), screen.screen().hide_cursor())
    }

    /// The screen, once all of it is there.
    fn wait_for(&self, texts: &[&str]) -> Result<String> {
        let found = process::wait_until("the screen", SOON, || {
            let shown = self.shown();
            Ok(texts.iter().all(|text| shown.contains(text)).then_some(shown))
        });
        found.with_context(|| format!("no {texts:?} in\n{}", self.shown()))
    }

    /// The program has ended well, and the terminal is as it was.
    fn is_restored(&mut self) -> Result<()> {
        let shown = self.wait_for(&["after "])?;
        let settings = |what: &str| shown.lines().find_map(|line| line.strip_prefix(what));
        assert_eq!(settings("ended "), Some("0"), "{shown}");
        assert_eq!(
            settings("before ").context("no settings")?,
            settings("after ").context("none")?
        );
        assert_eq!(self.is_taken(), (false, false), "{shown}");
        let ended = process::wait_until("script ends", SOON, || Ok(self.script.try_wait()?))?;
        assert!(ended.success(), "{ended}");
        Ok(())
    }
}

#[test]
fn the_live_view_shows_who_visits_what_and_leaves_the_terminal_as_it_was() -> Result<()> {
    let mut site = Site::build(&setup())?;
    let device = Family::V4.client().to_string();
    let mut terminal = Terminal::start(&site.sensor)?;
    terminal.wait_for(&["1 Devices", "policy live.1", "honesty"])?;
    assert_eq!(terminal.is_taken(), (true, true));
    let visit = |site: &Site| -> Result<()> {
        assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
        assert_eq!(site.ask(HELPLINE)?, page(HELPLINE));
        Ok(())
    };
    // What was there before somebody looked does not count: visits go on until they are seen.
    process::wait_until("the device", SOON, || {
        visit(&site)?;
        Ok(terminal.shown().contains(&device).then_some(()))
    })?;
    let shown = terminal.wait_for(&[&device, "by bits, last"])?;
    say(&shown);
    terminal.press("\t")?;
    let shown = terminal.wait_for(&[ALLOWED, BLOCKED, "(not logged)"])?;
    say(&shown);
    assert!(!shown.contains(HELPLINE), "{shown}");
    let row = shown.lines().find(|line| line.starts_with(BLOCKED)).context("no row")?;
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_ne!(cells.last(), Some(&"0"), "nothing blocked in {row}");
    terminal.press("3")?;
    let shown = terminal.wait_for(&["verdict", "block", "allow", "unlogged"])?;
    say(&shown);
    terminal.press("4")?;
    say(&terminal.wait_for(&["where", "in all"])?);
    // A filter, and back.
    terminal.press("2/casi")?;
    terminal.wait_for(&["/casi_", BLOCKED])?;
    assert!(!terminal.shown().contains(ALLOWED), "{}", terminal.shown());
    terminal.press("\x1b")?;
    // The daemon goes, and comes back.
    site.sensor.kill()?;
    let shown = terminal.wait_for(&["daemon does not answer since", "goes on in the kernel"])?;
    say(&shown);
    assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
    site.sensor.resume()?;
    process::wait_until("the daemon is back", SOON, || {
        Ok((!terminal.shown().contains("does not answer")).then_some(()))
    })?;
    terminal.press("q")?;
    terminal.is_restored()
}

#[test]
fn a_signal_and_a_key_end_it_alike() -> Result<()> {
    let site = Site::build(&setup())?;
    let mut terminal = Terminal::start(&site.sensor)?;
    terminal.wait_for(&["1 Devices", "policy live.1"])?;
    terminal.press("\x03")?;
    terminal.is_restored()?;
    let mut terminal = Terminal::start(&site.sensor)?;
    terminal.wait_for(&["1 Devices", "policy live.1"])?;
    // The shell of `script` has the view as its child.
    let below = |parent: u32| -> Result<u32> {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(&path).with_context(|| path)?;
        children.trim().parse().context("one child")
    };
    let view = below(below(terminal.script.id())?)?;
    process::run(Command::new("kill").arg(view.to_string()))?;
    terminal.is_restored()
}

#[test]
fn elsewhere_than_at_a_terminal_and_with_options_it_sums_up_the_store() -> Result<()> {
    let site = Site::build(&setup())?;
    assert_eq!(site.ask(ALLOWED)?, page(ALLOWED));
    process::wait_until("the sum", SOON, || {
        Ok(site.sensor.cli(&["top"])?.contains(ALLOWED).then_some(()))
    })?;
    // Two questions, some sweeps apart, as anybody may ask them.
    let ask = || -> Result<Value> {
        let socket = site.sensor.socket();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "http://sensor/v1/top", "--unix-socket"]).arg(socket);
        serde_json::from_str(&process::run(&mut curl)?).context("read the answer")
    };
    let first = ask()?;
    assert_eq!(first.pointer("/over_ms"), Some(&Value::from(0)), "{first}");
    process::wait_until("sums", SOON, || {
        assert_eq!(site.ask(BLOCKED)?, Outcome::Reset);
        let answer = ask()?;
        let blocked = answer.pointer("/verdicts/block/blocked").and_then(Value::as_u64);
        Ok((blocked > Some(0)).then_some(()))
    })
}
