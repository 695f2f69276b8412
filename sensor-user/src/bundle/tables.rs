//! What else is written otherwise in another policy: its groups, rules, schedules, by table and name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::error::BundleError;
use crate::policy::{Policy, name};
use crate::record::display_name;

/// Keys of a list that say where it is and how it is written. A bundle has others, for the same names.
const OF_FILES: [&str; 3] = ["file", "format", "member"];

/// A table or key that is written otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// The table or key, such as `group`.
    pub table: String,
    /// Which of several; empty where there is one, none for a name that is protected.
    pub name: Option<String>,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
}

/// A policy and the file it was loaded from.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Its file.
    pub file: &'a Path,
}

/// A key of the file, and one of its tables.
type Key = (String, String);

/// Compares what two policy files say; without an old one everything is new.
pub fn changes(
    old: Option<Written<'_>>,
    new: Written<'_>,
) -> Result<Vec<TableChange>, BundleError> {
    let before = old.map_or_else(|| Ok(BTreeMap::new()), |old| read(old.file))?;
    let after = read(new.file)?;
    let is_protected = |name: &str| {
        let name = name::listed(name).unwrap_or(name.into());
        let unlogged = |policy: &Policy| policy.is_unlogged(policy.categories_of(&name));
        unlogged(new.policy) || old.is_some_and(|old| unlogged(old.policy))
    };
    let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
    let changes = keys.into_iter().filter_map(|key| {
        let change = match (before.get(key), after.get(key)) {
            (None, Some(_)) => "added",
            (Some(_), None) => "removed",
            (Some(was), Some(is)) if was != is => "changed",
            _ => return None,
        };
        let (table, name) = key;
        let told = (!is_protected(name)).then(|| display_name(name).into_owned());
        Some(TableChange { table: table.clone(), name: told, change })
    });
    Ok(changes.collect())
}

/// What a policy file says, by table and name; tables of one name together. Its preset's categories are its own.
fn read(file: &Path) -> Result<BTreeMap<Key, Vec<Value>>, BundleError> {
    let mut policy = table(file)?;
    let mut said: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    if let Some(preset) = policy.remove("preset") {
        let preset = preset.as_str().unwrap_or_default();
        let preset = table(&file.parent().unwrap_or(Path::new("")).join(preset))?;
        gather(preset.into_iter().filter(|(key, _)| key == "category"), &mut said);
    }
    gather(policy, &mut said);
    Ok(said)
}

fn gather(table: impl IntoIterator<Item = (String, Value)>, said: &mut BTreeMap<Key, Vec<Value>>) {
    for (key, value) in table {
        let several = match value.as_array() {
            Some(several) => several.clone(),
            None => vec![value],
        };
        for mut one in several {
            let name = ["id", "name"].iter().find_map(|key| one.get(*key)?.as_str());
            let name = name.unwrap_or_default().to_owned();
            if let (true, Some(list)) = (key == "list", one.as_table_mut()) {
                list.retain(|key, _| !OF_FILES.contains(&key));
            }
            said.entry((key.clone(), name)).or_default().push(one);
        }
    }
}

fn table(file: &Path) -> Result<Table, BundleError> {
    let read = BundleError::io(file, "read");
    let text = fs::read_to_string(file).map_err(&read)?;
    // It was loaded before; what is wrong now was changed since.
    toml::from_str(&text).map_err(|error| read(io::Error::other(error.message().to_owned())))
}
