//! Why a bundle is not made, not read or not put in force, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::archive::{BUNDLE_BYTES_MAX, MANIFEST_BYTES_MAX};
use super::manifest::FORMAT;
use crate::policy::PolicyError;
use crate::store::StoreError;

/// What went wrong. Texts quoted from a bundle are shortened and escaped.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The system would not.
    #[error("{}: cannot {doing}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The policy in it, or to be put in it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The records a bundle is tried on.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody may sign.
    #[error(
        "no key is configured that bundles are signed by: write keys = [\"RW…\"] under [policy]"
    )]
    NoKeys,
    /// A public key that is none.
    #[error("{key}: is no public key of minisign ({reason}): see policy.keys")]
    PublicKey {
        /// The key, or its file.
        key: String,
        /// What gave it away.
        reason: String,
    },
    /// A secret key that is none, or that does not open.
    #[error("{}: cannot be used as a secret key of minisign ({reason})", path.display())]
    SecretKey {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing to verify.
    #[error("{}: the signature is missing: it belongs beside the bundle", .0.display())]
    Unsigned(PathBuf),
    /// Something that is no signature.
    #[error("{}: is no signature of minisign ({reason}): copy it again", path.display())]
    SignatureForm {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// Signed by a stranger.
    #[error("{}: is signed by a key that is not in policy.keys: ask who made it", .0.display())]
    UnknownKey(PathBuf),
    /// Not what was signed.
    #[error("{}: is not what was signed, but changed or cut since: copy it again", .0.display())]
    Changed(PathBuf),
    /// A file of the bundle in force is another one.
    #[error(
        "{}: is not what was signed in bundle {number}: \
        find out who changed it, then `campus-sensor lists rollback {number}` unpacks it anew",
        path.display()
    )]
    Tampered {
        /// The file.
        path: PathBuf,
        /// The bundle.
        number: u64,
    },
    /// Signed, and no bundle.
    #[error("{}: is no whole bundle ({reason}): make it again with `lists import`", path.display())]
    Broken {
        /// The bundle.
        path: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// Of another time.
    #[error(
        "{}: is of format {found} and this version reads {FORMAT}: install the version that made it",
        path.display()
    )]
    Format {
        /// The bundle.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A member that would be written elsewhere.
    #[error("{}: member `{member}` leads out of the bundle: nothing was unpacked of it", path.display())]
    MemberPath {
        /// The bundle.
        path: PathBuf,
        /// The member.
        member: String,
    },
    /// A link, a device or the like.
    #[error("{}: member `{member}` is no file: nothing was unpacked of it", path.display())]
    MemberKind {
        /// The bundle.
        path: PathBuf,
        /// The member.
        member: String,
    },
    /// Not what the manifest promises.
    #[error("{}: member `{member}` {fault}", path.display())]
    Member {
        /// The bundle.
        path: PathBuf,
        /// The member.
        member: String,
        /// What is wrong with it.
        fault: MemberFault,
    },
    /// Names the kernel cannot have.
    #[error("bundle {number}: cannot make the table of its names: {reason}")]
    NoTable {
        /// The bundle.
        number: u64,
        /// What is in the way.
        reason: String,
    },
    /// More than is unpacked.
    #[error("{}: unpacks to more than {BUNDLE_BYTES_MAX} bytes: leave out what no group blocks", .0.display())]
    TooLarge(PathBuf),
    /// Files changed while they were read.
    #[error("{}: changed while it was read: import it again", .0.display())]
    Moved(PathBuf),
    /// Older than what was applied.
    #[error(
        "bundle {number} is not above {highest}, the highest that was applied: \
        `campus-sensor lists rollback` is the way back, a higher number the way on"
    )]
    Downgrade {
        /// Its number.
        number: u64,
        /// The number to be above of.
        highest: u64,
    },
    /// The daemon would not read what is applied.
    #[error(
        "policy.file is {}, which bundles do not change: write file = \"{}\" under [policy]",
        file.display(), current.display()
    )]
    PolicyFile {
        /// As configured.
        file: PathBuf,
        /// As it has to be.
        current: PathBuf,
    },
    /// What the guard found.
    #[error("bundle {number} is refused: {}", .findings.join("; "))]
    Guarded {
        /// Its number.
        number: u64,
        /// What was found, each with its remedy.
        findings: Vec<String>,
    },
    /// What the daemon said.
    #[error("the daemon refused bundle {number} ({reason}); {back}")]
    Daemon {
        /// Its number.
        number: u64,
        /// Its words.
        reason: String,
        /// What is in force now.
        back: String,
    },
    /// Somebody else is at it.
    #[error("{}: another apply or rollback is under way: wait until it is done", .0.display())]
    Locked(PathBuf),
    /// No such bundle.
    #[error("bundle {number} is not kept here: there {known}")]
    NotKept {
        /// As asked for.
        number: u64,
        /// What there is.
        known: String,
    },
    /// Nothing to do.
    #[error("bundle {0} is in force already")]
    InForce(u64),
    /// A log that cannot be read.
    #[error("{}: {reason}", path.display())]
    Audit {
        /// The log.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberFault {
    /// No such member.
    #[error("is not the one that the manifest has here")]
    Unexpected,
    /// More or less than promised.
    #[error("has not the size that the manifest says")]
    Size,
    /// Other bytes than promised.
    #[error("is not what the manifest says: its digest differs")]
    Digest,
    /// Nothing where something was promised.
    #[error("is missing")]
    Missing,
    /// A manifest that is no manifest.
    #[error("is larger than {MANIFEST_BYTES_MAX} bytes")]
    Manifest,
}

impl BundleError {
    /// An error of the system, to be mapped with.
    pub(super) fn io(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }

    pub(super) fn broken(path: &Path, reason: impl Into<String>) -> Self {
        Self::Broken { path: path.to_owned(), reason: reason.into() }
    }

    pub(super) fn member(path: &Path, member: &str, fault: MemberFault) -> Self {
        let member = crate::policy::shown(member);
        Self::Member { path: path.to_owned(), member, fault }
    }
}
