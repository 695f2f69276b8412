//! The log of who asked whom a pseudonym stands for: one JSON object a line, appended and synced before there is an
//! answer. It has what was asked, and of the answer a hash under the key.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The owner alone reads it.
const MODE: u32 = 0o600;

/// A line that could not be written, so nothing was answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: cannot write who asked, so there is no answer; see that root may append to it and that there is room",
    path.display()
)]
pub struct AuditError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Who pseudonyms stand for.
    Reidentify,
    /// Records of somebody by name.
    LookUp,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line<'a> {
    /// When, UTC.
    pub at: String,
    /// The account that gave the command.
    pub who: String,
    /// Its user id.
    pub uid: u32,
    /// On whose behalf, as the command says.
    pub requester: Option<&'a str>,
    /// What for, as the command says.
    pub reason: Option<&'a str>,
    /// What was done.
    pub act: Act,
    /// What was asked: pseudonyms, or the name that was looked for.
    pub asked: &'a [String],
    /// HMAC of the answer, so that somebody with the key can tell whether an answer was this one.
    pub answer: Option<String>,
}

impl<'a> Line<'a> {
    /// A line of now, by whoever runs this program.
    pub fn new(act: Act, asked: &'a [String]) -> Self {
        Self {
            at: jiff::Timestamp::now().to_string(),
            who: crate::bundle::audit::account(),
            uid: own_uid(),
            requester: None,
            reason: None,
            act,
            asked,
            answer: None,
        }
    }

    /// Appends it.
    pub fn write(&self, path: &Path) -> Result<(), AuditError> {
        let failed = |source| AuditError { path: path.to_owned(), source };
        let mut line = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let open = OpenOptions::new().append(true).create(true).mode(MODE).open(path);
        // In one piece, which `O_APPEND` puts behind everything else.
        open.and_then(|mut file| file.write_all(&line).and_then(|()| file.sync_all()))
            .map_err(failed)
    }
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;

    std::fs::metadata("/proc/self").map_or(u32::MAX, |metadata| metadata.uid())
}
