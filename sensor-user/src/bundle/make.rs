//! A policy and its lists to a bundle: what the daemon would load, and nothing else.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use minisign::SecretKey;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::error::BundleError;
use super::manifest::{FORMAT, LISTS, MANIFEST, Manifest, Member, POLICY, PRESET, list_path};
use super::{archive, disk, key};
use crate::policy::{List, Policy};
use crate::record::display_name;

/// Characters of a file's name that a list says it is from: a comment has a line to fit in.
const FILE_NAME_MAX: usize = 200;

/// What a bundle is made with.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Its number.
    pub number: u64,
    /// Who makes it.
    pub author: &'a str,
    /// What for.
    pub reason: &'a str,
    /// When.
    pub now: Timestamp,
}

/// A bundle that was made.
#[derive(Debug)]
pub struct Made {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The policy as the daemon will load it, and the files it was made from.
    pub policy: Policy,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Makes a bundle of a policy file and signs it. The same files give the same bytes, but for the time in the manifest.
pub fn make(
    policy_file: &Path,
    out: &Path,
    key: &SecretKey,
    order: &Order<'_>,
) -> Result<Made, BundleError> {
    let policy = Policy::load_at(policy_file, order.now)?;
    let beside = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    let work = tempfile::tempdir_in(beside).map_err(BundleError::io(beside, "write in"))?;
    let stage = Stage { folder: &work.path().join("bundle.d"), now: order.now };
    fs::create_dir_all(stage.folder.join(LISTS))
        .map_err(BundleError::io(stage.folder, "create"))?;
    let paths = stage.fill(policy_file, &policy)?;
    // What was loaded is what is in it: a list that changed meanwhile shows here.
    let staged = Policy::load_at(&stage.folder.join(POLICY), order.now)?;
    if !is_same(&policy, &staged) {
        return Err(BundleError::Moved(policy_file.to_owned()));
    }
    let members = paths.into_iter().map(|path| {
        let (bytes, sha256) = disk::digest(&stage.folder.join(&path))?;
        Ok(Member { path, bytes, sha256 })
    });
    let manifest = Manifest {
        format: FORMAT,
        number: order.number,
        policy: policy.version().to_owned(),
        created: order.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        author: order.author.to_owned(),
        reason: order.reason.to_owned(),
        tool: format!("campus-sensor {}", env!("CARGO_PKG_VERSION")),
        members: members.collect::<Result<_, BundleError>>()?,
    };
    let mut text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| BundleError::broken(out, error.to_string()))?;
    text.push(b'\n');
    stage.write(MANIFEST, &text, SystemTime::from(order.now))?;

    let packed = work.path().join("bundle");
    archive::pack(stage.folder, &manifest, &packed)?;
    let (bytes, sha256) = disk::digest(&packed)?;
    let comment = format!("bundle {}, policy {}", manifest.number, manifest.policy);
    let signature = key::sign(&packed, key, &comment)?;
    // The signature first: until the bundle is there too, what is there is refused.
    disk::write_whole(&key::signature_path(out), signature.as_bytes())?;
    fs::rename(&packed, out).map_err(BundleError::io(out, "write"))?;
    disk::sync_folder_of(out)?;
    Ok(Made { manifest, policy, bytes, sha256 })
}

/// Whether two policies decide alike and say the same of their lists.
fn is_same(one: &Policy, other: &Policy) -> bool {
    fn lists(policy: &Policy) -> impl Iterator<Item = (&str, Option<Date>, bool)> {
        policy.lists().iter().map(|list| (&*list.id, list.dated, list.protected))
    }
    one.version() == other.version()
        && one.groups().eq(other.groups())
        && lists(one).eq(lists(other))
        && one.listed().eq(other.listed())
}

/// The folder a bundle is packed from.
struct Stage<'a> {
    folder: &'a Path,
    now: Timestamp,
}

impl Stage<'_> {
    /// Puts the members in, and returns their paths in the order of the archive.
    fn fill(&self, policy_file: &Path, policy: &Policy) -> Result<Vec<String>, BundleError> {
        let text = fs::read_to_string(policy_file).map_err(BundleError::io(policy_file, "read"))?;
        let moved = || BundleError::Moved(policy_file.to_owned());
        let mut document: DocumentMut = text.parse().map_err(|_loaded_before| moved())?;
        let mut paths = vec![POLICY.to_owned()];
        if let Some(preset) = document.get_mut("preset") {
            let file = preset.as_str().ok_or_else(moved)?;
            let file = policy_file.parent().unwrap_or(Path::new("")).join(file);
            let bytes = fs::read(&file).map_err(BundleError::io(&file, "read"))?;
            self.write(PRESET, &bytes, SystemTime::from(self.now))?;
            set(preset, PRESET);
            paths.push(PRESET.to_owned());
        }
        for table in document.get_mut("list").map(tables).unwrap_or_default() {
            let id = table.get("id").and_then(Item::as_str).ok_or_else(moved)?.to_owned();
            let mut found = (0..).zip(policy.lists()).filter(|(_, list)| list.id == id);
            let (index, list) = found.next().ok_or_else(moved)?;
            let path = list_path(&id);
            if list.report.is_some() {
                self.write_names(&path, list, policy.names_of(index))?;
            } else {
                self.copy(&path, &list.file)?;
            }
            if let Some(file) = table.get_mut("file") {
                set(file, &path);
            }
            // Said and not left out, so that lines keep their numbers.
            if let Some(format) = table.get_mut("format") {
                set(format, "names");
            }
            table.remove("member");
            paths.push(path);
        }
        self.write(POLICY, document.to_string().as_bytes(), SystemTime::from(self.now))?;
        Ok(paths)
    }

    /// A list of another format, as the names that were read of it. It says where they are from, and is as old.
    fn write_names<'a>(
        &self,
        path: &str,
        list: &List,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), BundleError> {
        let to = self.folder.join(path);
        let writing = BundleError::io(&to, "write");
        let from = list.file.file_name().unwrap_or_default().to_string_lossy();
        let from: String = display_name(&from).chars().take(FILE_NAME_MAX).collect();
        let format = list.report.as_ref().map_or("", |report| report.format.name());
        let mut text = BufWriter::new(File::create(&to).map_err(&writing)?);
        writeln!(text, "# source: {from}, format {format}").map_err(&writing)?;
        if let Some(date) = list.dated {
            writeln!(text, "# date: {date}").map_err(&writing)?;
        }
        for name in names {
            writeln!(text, "{name}").map_err(&writing)?;
        }
        let file = text.into_inner().map_err(|error| writing(error.into_error()))?;
        let day = list.dated.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        let day = day.map_or(SystemTime::UNIX_EPOCH, |day| day.timestamp().into());
        file.set_modified(day).map_err(writing)
    }

    /// A list of the project's own: its comments say where its names are from, else its time how old it is.
    fn copy(&self, path: &str, from: &Path) -> Result<(), BundleError> {
        let reading = BundleError::io(from, "read");
        let mut file = File::open(from).map_err(&reading)?;
        let written = file.metadata().and_then(|metadata| metadata.modified()).map_err(reading)?;
        let to = self.folder.join(path);
        let copying = BundleError::io(&to, "write");
        let mut copy = File::create(&to).map_err(&copying)?;
        disk::copy(&mut file, &mut copy).map_err(&copying)?;
        copy.set_modified(written).map_err(copying)
    }

    fn write(&self, path: &str, bytes: &[u8], written: SystemTime) -> Result<(), BundleError> {
        let to: PathBuf = self.folder.join(path);
        let writing = BundleError::io(&to, "write");
        let mut file = File::create(&to).map_err(&writing)?;
        file.write_all(bytes).and_then(|()| file.set_modified(written)).map_err(writing)
    }
}

/// The tables of a key, however they are written.
fn tables(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => {
            tables.iter_mut().map(|table| table as &mut dyn TableLike).collect()
        }
        Item::Value(Value::Array(values)) => values
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        Item::None | Item::Value(_) | Item::Table(_) => Vec::new(),
    }
}

/// Another text in the place of a value, with the comments around it.
fn set(item: &mut Item, text: &str) {
    if let Some(value) = item.as_value_mut() {
        let decor = value.decor().clone();
        *value = Value::from(text);
        *value.decor_mut() = decor;
    }
}
