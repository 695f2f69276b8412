//! The log of who put what in force: one JSON object a line, each with the SHA-256 of the line before it.
//!
//! A line that was changed, taken out or put in breaks the chain behind it. The end of the log has nothing behind it:
//! who wants to know that no line was cut off there notes the digest that [`Log::head`] tells, elsewhere.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk;
use super::error::BundleError;

/// Bytes of a log: a hundred thousand lines.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// What the first line has for the line before it.
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A new bundle.
    #[default]
    Apply,
    /// One that was in force before.
    Rollback,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// The daemon has it.
    InForce,
    /// No daemon has it yet; the next start takes it.
    NextStart,
    /// What was in force stayed.
    #[default]
    Refused,
}

/// A line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When, UTC.
    pub at: String,
    /// The account that gave the command.
    pub who: String,
    /// Who answers for it, as the command says.
    pub author: Option<String>,
    /// What was tried.
    pub action: Action,
    /// What became of it.
    pub became: Became,
    /// Why it was refused.
    pub why: Option<String>,
    /// Number that was in force.
    pub from: Option<u64>,
    /// Its policy.
    pub from_policy: Option<String>,
    /// Number that was to be.
    pub to: Option<u64>,
    /// Its policy.
    pub to_policy: Option<String>,
    /// SHA-256 of the bundle.
    pub bundle: Option<String>,
    /// What for, as the bundle or the command says.
    pub reason: Option<String>,
    /// What the guard found, and was told to let pass.
    pub accepted: Vec<String>,
    /// SHA-256 of the line before.
    pub previous: String,
}

/// A log that was read.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Its lines that are whole, with their numbers.
    pub entries: Vec<(usize, Entry)>,
    /// Lines the power failed in.
    pub cut: Vec<usize>,
    /// The first line that is not what was written, and why.
    pub broken: Option<(usize, String)>,
    /// SHA-256 of the last line.
    pub head: String,
}

impl Log {
    /// The highest number that was ever put in force.
    pub fn highest(&self) -> Option<u64> {
        let taken = self.entries.iter().filter(|(_, entry)| entry.became != Became::Refused);
        taken.filter_map(|(_, entry)| entry.to).max()
    }
}

/// Reads a log and follows its chain. A missing log is empty.
pub fn read(path: &Path) -> Result<Log, BundleError> {
    let text = text(path)?;
    let mut log = Log { head: START.to_owned(), ..Log::default() };
    // A line that is no entry: cut by a power failure, if the line behind it knows it, or nothing is behind it.
    let mut odd: Option<(usize, String)> = None;
    let mut lines = (1..).zip(text.split_terminator('\n')).peekable();
    while let Some((number, line)) = lines.next() {
        let is_last_and_cut = lines.peek().is_none() && !text.ends_with('\n');
        match serde_json::from_str::<Entry>(line) {
            Ok(entry) if entry.previous == log.head => {
                log.cut.extend(odd.take().map(|(number, _)| number));
                log.entries.push((number, entry));
            }
            Ok(_) => {
                let (number, why) = odd.take().unwrap_or_else(|| {
                    (number, "it does not follow the line before it".to_owned())
                });
                log.broken = Some((number, why));
                return Ok(log);
            }
            Err(_) if is_last_and_cut => log.cut.push(number),
            Err(error) if odd.is_none() => odd = Some((number, format!("it is no entry: {error}"))),
            Err(_) => break,
        }
        log.head = disk::digest_of(line.as_bytes());
    }
    log.broken = odd;
    Ok(log)
}

/// Appends a line, behind a half one where the power failed.
pub(super) fn append(path: &Path, mut entry: Entry) -> Result<(), BundleError> {
    let text = text(path)?;
    let last = text.split_terminator('\n').next_back();
    entry.previous = last.map_or_else(|| START.to_owned(), |line| disk::digest_of(line.as_bytes()));
    let writing = BundleError::io(path, "append to");
    let mut line = serde_json::to_string(&entry).map_err(|error| writing(error.into()))?;
    line.push('\n');
    if !text.is_empty() && !text.ends_with('\n') {
        line.insert(0, '\n');
    }
    let mut file = File::options().append(true).create(true).open(path).map_err(&writing)?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(writing)?;
    disk::sync_folder_of(path)
}

fn text(path: &Path) -> Result<String, BundleError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file.and_then(|file| file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)),
    }
    .map_err(BundleError::io(path, "read"))?;
    if bytes.len() as u64 == LOG_BYTES_MAX {
        let reason = format!("has {LOG_BYTES_MAX} bytes or more: keep it elsewhere and begin anew");
        return Err(BundleError::Audit { path: path.to_owned(), reason });
    }
    // What is no text is no entry, and shows as that.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The account behind this process: who became root by sudo, else who logged in, else its own.
pub fn account() -> String {
    let name = |uid: &str| {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        users.find(|user| user.get(2) == Some(&uid))?.first().map(|name| (*name).to_owned())
    };
    let sudo = || std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    let login = || {
        // All ones stands for nobody: a service, or a container.
        let uid = fs::read_to_string("/proc/self/loginuid").ok()?;
        let uid = uid.trim();
        (uid != u32::MAX.to_string()).then(|| name(uid).unwrap_or_else(|| format!("uid {uid}")))
    };
    let own = || {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let uid = uid.split_whitespace().next()?;
        Some(name(uid).unwrap_or_else(|| format!("uid {uid}")))
    };
    sudo().or_else(login).or_else(own).unwrap_or_else(|| "unknown".to_owned())
}
