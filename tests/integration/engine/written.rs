//! A policy as people write it: a file of rules, and the lists beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use sensor_user::policy::Policy;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// What a list is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It fills these categories.
    Of(Vec<String>),
    /// It fills this one, whose names are protected.
    Protected(String),
    /// It is hashed, and its names are locked.
    Locked,
}

/// A list, with its names as they are written.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) names: Vec<String>,
}

impl List {
    /// `piracy: bad.example worse.example`, or with what it is for where that is not the category of its id:
    /// `watch locked: …`, `help protected helplines: …`, `mixed piracy drugs: …`.
    pub(super) fn parse(text: &str) -> Self {
        let (head, names) = text.split_once(':').expect("a list has a colon");
        let words: Vec<&str> = head.split_whitespace().collect();
        let kind = match words[1..] {
            [] => Kind::Of(vec![words[0].to_owned()]),
            ["locked"] => Kind::Locked,
            ["protected", category] => Kind::Protected(category.to_owned()),
            ref categories => Kind::Of(categories.iter().map(ToString::to_string).collect()),
        };
        let names = names.split_whitespace().map(ToOwned::to_owned).collect();
        Self { id: words[0].to_owned(), kind, names }
    }

    fn declaration(&self) -> String {
        let what = match &self.kind {
            Kind::Of(categories) => format!("categories = {categories:?}"),
            Kind::Protected(category) => format!("categories = [{category:?}]\nprotected = true"),
            Kind::Locked => "format = \"sha256-hex\"\nlocked = true".to_owned(),
        };
        format!("[[list]]\nid = {:?}\nfile = \"{}.txt\"\n{what}\n", self.id, self.id)
    }

    fn text(&self) -> String {
        let line = |name: &String| {
            let text = if self.kind == Kind::Locked { sha256(name) } else { name.clone() };
            text + "\n"
        };
        self.names.iter().map(line).collect()
    }
}

pub(super) fn sha256(name: &str) -> String {
    Sha256::digest(name).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}

/// A folder with a policy in it.
pub(super) struct Written {
    _folder: TempDir,
    path: PathBuf,
}

impl Written {
    pub(super) fn new(rules: &str, lists: &[List]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("policy.toml");
        let declared: String = lists.iter().map(List::declaration).collect();
        fs::write(&path, format!("{rules}\n{declared}"))?;
        for list in lists {
            fs::write(folder.path().join(format!("{}.txt", list.id)), list.text())?;
        }
        Ok(Self { _folder: folder, path })
    }

    pub(super) fn load_at(&self, at: Timestamp) -> Result<Policy> {
        Ok(Policy::load_at(&self.path, at)?)
    }
}
