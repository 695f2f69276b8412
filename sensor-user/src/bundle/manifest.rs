//! What a bundle says of itself: its first member, in JSON.

use serde::{Deserialize, Serialize};

use crate::policy::LISTS_MAX;

/// The only format there is.
pub(super) const FORMAT: u32 = 1;

/// Members beside the manifest: the policy, a preset and its lists.
pub(super) const MEMBERS_MAX: usize = LISTS_MAX + 2;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const POLICY: &str = "policy.toml";
pub(super) const PRESET: &str = "preset.toml";

/// Folder of the lists.
pub(super) const LISTS: &str = "lists";

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Grows from bundle to bundle: one is never applied behind a higher one.
    pub number: u64,
    /// Version of the policy.
    pub policy: String,
    /// When it was made, UTC.
    pub created: String,
    /// Who made it.
    pub author: String,
    /// What for.
    pub reason: String,
    /// What made it.
    pub tool: String,
    /// All other members, in their order.
    pub members: Vec<Member>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Where it is unpacked to.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The format alone, which later ones will have too.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) format: u32,
}

/// Where the list of an id is.
pub(super) fn list_path(id: &str) -> String {
    format!("{LISTS}/{id}.txt")
}

/// Whether a bundle may have a member of this path. Nothing that passes leads anywhere.
pub(super) fn is_member_path(path: &str) -> bool {
    let is_id = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let is_list = |path: &str| {
        let id = path.strip_prefix(LISTS)?.strip_prefix('/')?.strip_suffix(".txt")?;
        Some(!id.is_empty() && id.bytes().all(is_id))
    };
    [MANIFEST, POLICY, PRESET].contains(&path) || is_list(path) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_where_they_are() {
        for path in ["manifest.json", "policy.toml", "preset.toml", "lists/ut1-games.txt"] {
            assert!(is_member_path(path), "{path}");
        }
        for path in [
            "",
            "/policy.toml",
            "../policy.toml",
            "lists/../policy.toml",
            "lists/.txt",
            "lists/a/b.txt",
            "lists/A.txt",
            "lists/..txt",
            "lists",
            "./policy.toml",
            "policy.toml/",
        ] {
            assert!(!is_member_path(path), "{path}");
        }
    }
}
