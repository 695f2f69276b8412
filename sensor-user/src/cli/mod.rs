//! The command line: arguments to calls, errors to exit codes (0 done, 1 failed, 2 wrong usage).

pub mod device;
pub mod flows;
#[cfg(test)]
mod hostile;
pub mod lists;
mod live;
mod logins;
pub mod period;
mod preflight;
mod reidentify;
pub mod status;
pub mod table;
pub mod time;
pub mod top;
pub mod why;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use hyper::Method;

use crate::config::Config;
use crate::control::status::{PolicyStatus, Status};
use crate::control::{client, openmetrics};
use crate::{daemon, replay};

/// Where the package puts the configuration.
const CONFIG_DEFAULT: &str = "/etc/campus-sensor/campus-sensor.toml";

/// eBPF sensor for a campus gateway: names of every flow, blocked by category, recorded.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// Configuration file
    #[arg(long, global = true, env = "CAMPUS_SENSOR_CONFIG", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  campus-sensor check-config                   print the configuration in force
  campus-sensor preflight                      whether this kernel takes every program
  campus-sensor run                            attach and keep records until told to stop
  campus-sensor status                         what is attached, seen and counted
  campus-sensor flows --since 1h --verdict block
  campus-sensor top                            what passes now, at a terminal
  campus-sensor top --by group,category --verdict block --since 30d
  campus-sensor device a.smith --on tuesday    where somebody was seen, and which sites were visited
  campus-sensor why video.piracy.example --group student
  campus-sensor why --reason oversize --group student
  campus-sensor why --record 4711              what a record's verdict rested on
  campus-sensor login 10.20.0.17 --user a.smith --role teacher
  campus-sensor lists inspect hosts.txt        what of a list can be enforced
  campus-sensor lists diff 8.bundle            what a policy bundle would change
  campus-sensor replay capture.pcap            names in a capture, nothing attached
  campus-sensor detach                         take the programs off every interface";

#[derive(Debug, Subcommand)]
enum Command {
    /// Attach to the configured interfaces and keep records until SIGTERM; SIGHUP reads the policy again
    Run,
    /// Check the configuration and its policy, and print every value in force
    CheckConfig,
    /// Check that this machine's kernel takes every program; nothing is attached
    Preflight,
    /// Show what the running sensor sees, counts and keeps
    Status(status::StatusArgs),
    /// Print the same counts as text for a monitoring system
    Metrics,
    /// Read the policy file again; on an error the policy in force stays
    Reload,
    /// Show recorded flows, newest first
    Flows(flows::FlowsArgs),
    /// Show where a user or a device was seen, and with which addresses
    Device(device::DeviceArgs),
    /// Show whom pseudonyms in records stand for; who asks, and why, is written down first
    Reidentify(reidentify::ReidentifyArgs),
    /// Show what passes now, at a terminal; with options, or elsewhere, what was visited most
    Top(top::TopArgs),
    /// Explain the verdict for a name, a port, an address, flows without a name, or of a record
    Why(why::WhyArgs),
    /// Show who is logged in where, and which group that puts the device into
    Logins,
    /// Say that somebody has logged in at an address: its device is in a group that names them, or a role of theirs
    Login(logins::LoginArgs),
    /// Say that nobody is logged in at an address any more
    Logout {
        /// Address of the device
        address: IpAddr,
    },
    /// Look into lists of other formats, and push policies in signed bundles
    #[command(subcommand)]
    Lists(lists::ListsCommand),
    /// Read the names in captures through the same programs, without a network
    Replay {
        /// Captures in pcap format
        #[arg(required = true)]
        pcaps: Vec<PathBuf>,
    },
    /// Take the programs off every interface: nothing is enforced or counted any more
    Detach,
}

/// Parses, runs, and says in one line what failed.
pub fn run() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let done = match matches.subcommand_matches("top") {
        Some(top) if live::is_wanted(top) => show_live(&arguments.config),
        Some(_) | None => dispatch(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough of it.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell it to when this fails.
            let _unseen = writeln!(io::stderr(), "campus-sensor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { config, json, command } = arguments;
    let json = *json;
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        Command::Run => {
            let config = load(config)?;
            log_to_stderr(&config)?;
            drop(out);
            return daemon::run(&config);
        }
        Command::CheckConfig => check_config(config, json, &mut out)?,
        Command::Preflight => preflight::preflight(&load(config)?, json, &mut out)?,
        Command::Status(args) => {
            let config = load(config)?;
            let status: Status = ask(&config, Method::GET, "/v1/status")?;
            status::status(&status, &config.store.dir, args, json, &mut out)?;
        }
        Command::Metrics => {
            let status: Status = ask(&load(config)?, Method::GET, "/v1/status")?;
            write!(out, "{}", openmetrics::text(&status)?)?;
        }
        Command::Reload => {
            let policy: PolicyStatus = ask(&load(config)?, Method::POST, "/v1/policy/reload")?;
            if json {
                write_json(&policy, &mut out)?;
            } else {
                writeln!(out, "policy {} in force: {} names", policy.version, policy.names)?;
            }
        }
        Command::Flows(args) => {
            let config = load(config)?;
            let pseudonyms =
                reidentify::look_up(&config.privacy, &args.named(), args.reason.as_deref())?;
            let dir = &config.store.dir;
            flows::flows(dir, args, pseudonyms, json, &mut out, &mut io::stderr())?;
        }
        Command::Device(args) => {
            let config = load(config)?;
            let pseudonyms =
                reidentify::look_up(&config.privacy, &args.named(), args.reason.as_deref())?;
            device::show(&config.store.dir, args, pseudonyms, json, &mut out)?;
        }
        Command::Reidentify(args) => reidentify::show(&load(config)?, args, json, &mut out)?,
        Command::Top(args) => {
            top::top(&load(config)?.store.dir, args, json, &mut out, &mut io::stderr())?;
        }
        Command::Why(args) => {
            let config = load(config)?;
            why::why(&config.policy.file, &config.store.dir, args, json, &mut out)?;
        }
        Command::Logins => logins::show(&load(config)?, json, &mut out)?,
        Command::Login(args) => logins::log_in(&load(config)?, args, json, &mut out)?,
        Command::Logout { address } => logins::log_out(&load(config)?, *address, json, &mut out)?,
        Command::Lists(command) => lists::lists(command, config, json, &mut out)?,
        Command::Replay { pcaps } => {
            let failures = replay::replay(pcaps, json, &mut out)?;
            out.flush()?;
            if !failures.is_empty() {
                bail!("{}", failures.join("\ncampus-sensor: "));
            }
        }
        Command::Detach => {
            let config = load(config)?;
            let detached = daemon::detach(&config)?;
            if ask::<Status>(&config, Method::GET, "/v1/status").is_ok() {
                let note = "a daemon still runs and sees nothing any more; stop it";
                writeln!(io::stderr(), "campus-sensor: {note}")?;
            }
            if json {
                write_json(&detached, &mut out)?;
            } else if detached.is_empty() {
                writeln!(out, "nothing was attached")?;
            } else {
                writeln!(out, "detached {}", detached.join(", "))?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn show_live(config: &Path) -> anyhow::Result<()> {
    live::run(&load(config)?.control.socket)
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(path)?)
}

fn check_config(path: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let config = load(path)?;
    let policy = crate::policy::Policy::load(&config.policy.file)?;
    if json {
        write_json(&config, out)?;
        return Ok(());
    }
    write!(out, "{}", config.effective_toml())?;
    writeln!(out, "\n# kernel memory, at most:")?;
    for (map, bytes) in config.kernel_memory() {
        writeln!(out, "#   {map:<12} {:>8} KiB", bytes / 1024)?;
    }
    let (version, names) = (policy.version(), policy.entry_count());
    writeln!(out, "# policy {version}: {names} names, {} warnings", policy.warnings().count)?;
    for list in policy.lists() {
        if let Some(summary) = list.summary() {
            writeln!(out, "#   list {}: {summary}", list.id)?;
        }
    }
    for warning in &policy.warnings().shown {
        writeln!(out, "#   {warning}")?;
    }
    Ok(())
}

fn ask<T: serde::de::DeserializeOwned>(
    config: &Config,
    method: Method,
    path: &str,
) -> anyhow::Result<T> {
    tell(config, method, path, Bytes::new())
}

/// The same with something to say.
fn tell<T: serde::de::DeserializeOwned>(
    config: &Config,
    method: Method,
    path: &str,
    told: Bytes,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(client::ask(&config.control.socket, method, path, told))
}

fn write_json(value: &impl serde::Serialize, out: &mut impl Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(config.log.level.name())
        .context("set the log level")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_target(false)
        .init();
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
