//! Programs the lab starts: short ones with a limit, long ones with an orderly end.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::leftover::{Guard, Leftover};
use crate::signal;

/// For commands that answer at once on any machine.
pub const SHORT: Duration = Duration::from_secs(20);

/// Between two looks at something that gives no notice: a tenth of the time waited so far, within these.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(200);

/// What a program that ended said.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end, whatever its exit status, and kills it at the limit.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Finished> {
    let what = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{what}`"))?;
    let guard = Guard::new(Leftover::Process(child.id()));
    let stdout = read_in_background(child.stdout.take());
    let stderr = read_in_background(child.stderr.take());
    let Some(status) = wait(&mut child, limit)? else {
        drop(guard);
        bail!("`{what}` did not end within {limit:?}");
    };
    guard.dismiss();
    Ok(Finished { status, stdout: collect(stdout)?, stderr: collect(stderr)? })
}

/// Runs a program that must succeed; its standard output.
pub fn run(command: &mut Command) -> Result<String> {
    let finished = finish(command, SHORT)?;
    if !finished.status.success() {
        let said = if finished.stderr.is_empty() { &finished.stdout } else { &finished.stderr };
        bail!("`{}` failed with {}: {}", describe(command), finished.status, said.trim());
    }
    Ok(finished.stdout)
}

/// Asks again and again until there is an answer.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep((start.elapsed() / 10).clamp(POLL_MIN, POLL_MAX));
    }
}

/// A program in the background; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    guard: Option<Guard>,
}

impl Running {
    /// Starts a program in a process group of its own, so that Ctrl-C reaches only us. Both its
    /// outputs are appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let what = describe(command);
        let out = File::options().create(true).append(true).open(log).context("open the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("open the log twice")?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{what}`"))?;
        let guard = Some(Guard::new(Leftover::Process(child.id())));
        Ok(Self { child, guard })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("look at a child")
    }

    /// SIGTERM, and an error if the program then takes longer than `limit`.
    pub fn stop(mut self, limit: Duration) -> Result<ExitStatus> {
        signal::send(self.child.id(), libc::SIGTERM);
        match wait(&mut self.child, limit)? {
            Some(status) => {
                self.forget();
                Ok(status)
            }
            None => bail!("process {} is still there {limit:?} after SIGTERM", self.pid()),
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill a child")?;
        self.child.wait().context("wait for a killed child")?;
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

/// A command as one could type it.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for a child")? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep((start.elapsed() / 10).clamp(POLL_MIN, POLL_MAX));
    }
}

fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn collect(reader: JoinHandle<io::Result<Vec<u8>>>) -> Result<String> {
    let Ok(bytes) = reader.join() else { bail!("the thread that reads a program's output ended") };
    Ok(String::from_utf8_lossy(&bytes.context("read a program's output")?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{finish, run};
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_failure_says_which_command_and_what_it_said() {
        let error = run(Command::new("ls").arg("/nowhere-at-all")).unwrap_err().to_string();
        assert!(error.contains("`ls /nowhere-at-all` failed"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_program_over_its_limit_is_killed() {
        let limit = Duration::from_millis(50);
        let error = finish(Command::new("sleep").arg("60"), limit).unwrap_err().to_string();
        assert!(error.contains("did not end within 50ms"), "{error}");
    }
}
