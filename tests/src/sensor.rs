//! The daemon under test, on the gateway, with a configuration and directories of its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::lab::{LAN_INTERFACE, Lab};
use crate::leftover::{Guard, Leftover};
use crate::namespace::Namespace;
use crate::pins::Pins;
use crate::process::{self, Finished, Running};
use crate::signal;

/// Names the binary under test; `cargo xtask` sets it.
pub const BINARY_VARIABLE: &str = "CAMPUS_SENSOR_BIN";

const CONFIG: &str = "campus-sensor.toml";
const POLICY: &str = "policy.toml";
const SOCKET: &str = "control.sock";
const BUNDLES: &str = "bundles";

/// The verifier reads every program: seconds, and a minute where a busy machine emulates the processor.
const START: Duration = Duration::from_mins(3);
/// A daemon that takes longer to stop than this is stuck.
const STOP: Duration = Duration::from_secs(10);
/// Lines of its log a daemon that failed is quoted with.
const QUOTED_LINES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Auto,
    Native,
    Generic,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// What a test wants of the sensor.
#[derive(Clone, Debug)]
pub struct Setup {
    pub mode: Mode,
    /// The policy file's text.
    pub policy: String,
    /// Further files beside the policy, such as lists it names: relative path and text.
    pub files: Vec<(String, String)>,
    /// `[flow]` keys, so that records appear while a test waits.
    pub flow: Vec<(String, u64)>,
    /// `[kernel]` keys: sizes of maps.
    pub kernel: Vec<(String, u64)>,
    /// Further TOML at the configuration's end: whole sections.
    pub extra: String,
    /// Policies come as bundles that are signed by this key, to [`Sensor::bundles`]; the policy file and its lists are what
    /// bundles are made of.
    pub signed_by: Option<String>,
}

impl Setup {
    pub fn with_policy(policy: &str) -> Self {
        let flow = [("idle_timeout_s", 5), ("linger_ms", 200), ("sweep_interval_ms", 100)];
        Self {
            mode: Mode::Auto,
            policy: policy.to_owned(),
            files: Vec::new(),
            flow: flow.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            kernel: Vec::new(),
            extra: String::new(),
            signed_by: None,
        }
    }

    /// The policy of a directory such as `rules/`: its `policy.toml`, and a copy of what lies beside it.
    pub fn with_rules(directory: &Path) -> Result<Self> {
        let mut files = read_texts(directory)?;
        let policy = files.iter().position(|(name, _)| name == POLICY);
        let policy = policy.with_context(|| format!("no {POLICY} in {}", directory.display()))?;
        let (_, policy) = files.swap_remove(policy);
        Ok(Self { files, ..Self::with_policy(&policy) })
    }
}

/// A sensor on the gateway's LAN interface. Dropping it kills the daemon, detaches what it attached
/// and removes what it pinned; drop it before its lab.
#[derive(Debug)]
pub struct Sensor {
    daemon: Option<Running>,
    /// Dropped in this order: detach, then the pins' directory.
    _attachment: Guard,
    pins: Pins,
    gateway: Namespace,
    binary: PathBuf,
    directory: PathBuf,
}

impl Sensor {
    /// Starts the daemon; returns when it answers `status`.
    pub fn start(lab: &Lab, binary: &Path, setup: &Setup) -> Result<Self> {
        let mut sensor = Self::prepare(lab, binary, setup)?;
        sensor.resume()?;
        Ok(sensor)
    }

    /// Writes its configuration and policy, and starts nothing.
    pub fn prepare(lab: &Lab, binary: &Path, setup: &Setup) -> Result<Self> {
        let directory = lab.directory().join("sensor");
        let pins = Pins::new()?;
        write_files(&directory, pins.path(), setup)?;

        let gateway = lab.gateway().clone();
        let mut detach = gateway.command(binary);
        detach.arg("detach").arg("--config").arg(config_in(&directory));
        let attachment = Guard::new(Leftover::Attachment(words(&detach)));
        Ok(Self {
            daemon: None,
            _attachment: attachment,
            gateway,
            binary: binary.to_owned(),
            directory,
            pins,
        })
    }

    /// Starts the daemon again after [`Self::stop`] or [`Self::kill`], with what was left pinned.
    pub fn resume(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            bail!("the sensor is running already");
        }
        let mut command = self.command(&["run"]);
        let mut daemon = Running::start(&mut command, &self.log_path())?;
        process::wait_until("the sensor answers", START, || {
            if let Some(status) = daemon.ended()? {
                bail!("the sensor ended with {status}:\n{}", self.last_words());
            }
            // A daemon that is still loading leaves the question open until it is ready.
            let asked = process::finish(&mut self.command(&["status", "--json"]), START)?;
            Ok(asked.status.success().then_some(()))
        })
        .with_context(|| format!("its log ends:\n{}", self.last_words()))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// SIGTERM, and an error unless it ends soon and well.
    pub fn stop(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("the sensor is not running")?;
        let status = daemon.stop(STOP)?;
        if !status.success() {
            bail!("the sensor ended with {status}:\n{}", self.last_words());
        }
        Ok(())
    }

    /// SIGKILL: what is attached stays so.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the sensor is not running")?.kill()
    }

    /// SIGSTOP: the daemon stands still, with all it has under way. [`Self::go_on`] ends that; so does [`Self::kill`].
    pub fn pause(&self) -> Result<()> {
        signal::send(self.pid().context("the sensor is not running")?, libc::SIGSTOP);
        Ok(())
    }

    /// SIGCONT.
    pub fn go_on(&self) -> Result<()> {
        signal::send(self.pid().context("the sensor is not running")?, libc::SIGCONT);
        Ok(())
    }

    /// SIGHUP: the daemon reads its policy again.
    pub fn hang_up(&self) -> Result<()> {
        signal::send(self.pid().context("the sensor is not running")?, libc::SIGHUP);
        Ok(())
    }

    /// A subcommand against this sensor, as the gateway runs it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.gateway.command(&self.binary);
        command.args(args).arg("--config").arg(self.config_path());
        command
    }

    /// Runs a subcommand against this sensor, whatever its exit status.
    pub fn ask(&self, args: &[&str]) -> Result<Finished> {
        process::finish(&mut self.command(args), process::SHORT)
    }

    /// Runs a subcommand that must succeed; its standard output.
    pub fn cli(&self, args: &[&str]) -> Result<String> {
        process::run(&mut self.command(args))
    }

    /// The same with `--json`: one value a line, as an array if there is not exactly one.
    pub fn cli_json(&self, args: &[&str]) -> Result<Value> {
        let text = process::run(self.command(args).arg("--json"))?;
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let mut values = values.collect::<Result<Vec<_>, _>>().context("read its JSON")?;
        Ok(if values.len() == 1 { values.remove(0) } else { Value::Array(values) })
    }

    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Running::pid)
    }

    /// Everything the daemon has logged, over all its lives.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.log_path()).context("read the sensor's log")
    }

    /// Holds the configuration, the policy, the store and the log.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn config_path(&self) -> PathBuf {
        config_in(&self.directory)
    }

    /// Where the daemon answers.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }

    pub fn policy_path(&self) -> PathBuf {
        self.directory.join(POLICY)
    }

    /// Where `lists apply` keeps bundles, and what was compiled of long lists is kept.
    pub fn bundles(&self) -> PathBuf {
        self.directory.join(BUNDLES)
    }

    /// Where records wait.
    pub fn spool_directory(&self) -> PathBuf {
        self.directory.join("spool")
    }

    pub fn store_directory(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Where its programs and maps are pinned.
    pub fn bpffs(&self) -> &Path {
        self.pins.path()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("sensor.log")
    }

    fn last_words(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // Before the fields below it: a living daemon would attach again what is being detached.
        self.daemon = None;
    }
}

/// The binary under test: the one named by [`BINARY_VARIABLE`], else the one built beside this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = env::var_os(BINARY_VARIABLE) {
        return Ok(named.into());
    }
    let this = env::current_exe().context("find the running program")?;
    let beside = this.ancestors().skip(1).take(2).map(|parent| parent.join("campus-sensor"));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .context("no campus-sensor was built beside this program: cargo build -p sensor-user")
}

/// Every file of a directory tree, by its path from there.
fn read_texts(root: &Path) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("read {}", directory.display()))? {
            let path = entry.context("read a directory entry")?.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("read {}", path.display()))?;
            let name = path.strip_prefix(root).context("a path below the root")?;
            texts.push((name.to_string_lossy().into_owned(), text));
        }
    }
    Ok(texts)
}

fn write_files(directory: &Path, bpffs: &Path, setup: &Setup) -> Result<()> {
    let texts = [
        (CONFIG.to_owned(), configuration(directory, bpffs, setup)),
        (POLICY.to_owned(), setup.policy.clone()),
    ];
    for (name, text) in texts.iter().chain(&setup.files) {
        let path = directory.join(name);
        let parent = path.parent().context("a file's parent")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn configuration(directory: &Path, bpffs: &Path, setup: &Setup) -> String {
    let (directory, bpffs, mode) = (directory.display(), bpffs.display(), setup.mode.name());
    let keys = |list: &[(String, u64)]| {
        let lines: Vec<_> = list.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        lines.join("\n")
    };
    let (kernel, flow) = (keys(&setup.kernel), keys(&setup.flow));
    let policy = match &setup.signed_by {
        None => format!("file = \"{directory}/{POLICY}\""),
        Some(key) => {
            format!("file = \"{directory}/{BUNDLES}/current/policy.toml\"\nkeys = [\"{key}\"]")
        }
    };
    format!(
        r#"[sensor]
name = "lab"

[[interface]]
name = "{LAN_INTERFACE}"
side = "lan"
mode = "{mode}"

[kernel]
bpffs = "{bpffs}"
{kernel}

[flow]
{flow}

[policy]
dir = "{directory}/{BUNDLES}"
{policy}

[spool]
dir = "{directory}/spool"

[store]
dir = "{directory}/store"

[control]
socket = "{directory}/{SOCKET}"

[log]
level = "debug"

{}"#,
        setup.extra
    )
}

fn config_in(directory: &Path) -> PathBuf {
    directory.join(CONFIG)
}

fn words(command: &Command) -> Vec<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Mode, Setup, configuration};

    #[test]
    fn the_configuration_names_only_the_labs_own_places() {
        let setup = Setup { mode: Mode::Generic, ..Setup::with_policy("") };
        let text = configuration(Path::new("/d"), Path::new("/b"), &setup);
        let paths = text.lines().filter_map(|line| line.split_once(" = \"/"));
        assert!(paths.clone().count() >= 4, "{text}");
        for (key, path) in paths {
            assert!(path.starts_with("d/") || path == "b\"", "{key} = {path}");
        }
        assert!(text.contains("mode = \"generic\""), "{text}");
        assert!(text.contains("linger_ms = 200"), "{text}");
        let config = sensor_user::config::Config::parse(&text, Path::new("lab"), "host");
        assert!(config.is_ok(), "the daemon refuses it: {:?}", config.err());
    }
}
