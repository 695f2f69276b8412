//! A bundle as bytes: a tar archive, packed by gzip, in which nothing depends on when or where it was made.
//!
//! Who reads one trusts nobody, be the signature right: members are those that the manifest has, in its order, files
//! of the sizes it says, with its digests, under paths that lead nowhere.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::disk;
use super::error::{BundleError, MemberFault};
use super::manifest::{FORMAT, Head, LISTS, MANIFEST, MEMBERS_MAX, Manifest, is_member_path};
use crate::policy::shown;

/// Bytes of all members: as many names as a policy holds, and as much again.
pub(super) const BUNDLE_BYTES_MAX: u64 = 1 << 30;

/// Bytes of the manifest: a thousand lists have 150 KiB.
pub(super) const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Bytes behind the last member: tar pads its end with zeros.
const PADDING_BYTES_MAX: u64 = 64 << 10;

/// Mode of files in a bundle and in the folder it is unpacked to.
const FILE_MODE: u32 = 0o644;

/// A bundle to read. One that is applied is read from a copy, and told of by the name that people know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) told: &'a Path,
}

/// Packs a folder's files, the manifest first.
pub(super) fn pack(folder: &Path, manifest: &Manifest, into: &Path) -> Result<(), BundleError> {
    let writing = BundleError::io(into, "write");
    let file = File::create(into).map_err(&writing)?;
    let packed = GzEncoder::new(BufWriter::new(file), Compression::default());
    let mut archive = Builder::new(packed);
    let members = manifest.members.iter().map(|member| &*member.path);
    for path in [MANIFEST].into_iter().chain(members) {
        let from = folder.join(path);
        let reading = BundleError::io(&from, "read");
        let file = File::open(&from).map_err(&reading)?;
        let metadata = file.metadata().map_err(&reading)?;
        let written = metadata.modified().ok();
        let written = written.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(path).map_err(&writing)?;
        header.set_size(metadata.len());
        header.set_mode(FILE_MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(written.unwrap_or_default().as_secs());
        header.set_cksum();
        archive.append(&header, BufReader::new(file)).map_err(&writing)?;
    }
    let written = archive.into_inner().and_then(GzEncoder::finish);
    let file = written.and_then(|file| file.into_inner().map_err(io::Error::from));
    file.and_then(|file| file.sync_all()).map_err(writing)
}

/// Unpacks a bundle into an empty folder. What was written before an error is the caller's to remove.
pub(super) fn unpack(source: Source<'_>, into: &Path) -> Result<Manifest, BundleError> {
    let Source { file, told: bundle } = source;
    let file = File::open(file).map_err(BundleError::io(bundle, "read"))?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(file)));
    let broken = |error: io::Error| BundleError::broken(bundle, error.to_string());
    let mut entries = archive.entries().map_err(broken)?.raw(true);
    let mut next = || entries.next().transpose().map_err(broken);
    let unpacking = Unpacking { bundle, into };

    let Some(mut entry) = next()? else {
        return Err(BundleError::broken(bundle, "it is empty"));
    };
    let manifest = unpacking.manifest(&mut entry)?;
    fs::create_dir(into.join(LISTS)).map_err(BundleError::io(into, "create lists in"))?;
    for member in &manifest.members {
        let Some(mut entry) = next()? else {
            return Err(BundleError::member(bundle, &member.path, MemberFault::Missing));
        };
        unpacking.member(&mut entry, &member.path, member.bytes, &member.sha256)?;
    }
    if let Some(entry) = next()? {
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        return Err(BundleError::member(bundle, &path, MemberFault::Unexpected));
    }
    // To the very end, where gzip has its checksum; and nothing behind it.
    let mut packed = archive.into_inner();
    let padding = io::copy(&mut packed.by_ref().take(PADDING_BYTES_MAX), &mut io::sink());
    let padding = padding.map_err(broken)?;
    let behind = packed.get_mut().read(&mut [0]).map_err(broken)?;
    if padding == PADDING_BYTES_MAX || behind > 0 {
        return Err(BundleError::broken(bundle, "something follows its end"));
    }
    disk::sync(&into.join(LISTS))?;
    disk::sync(into)?;
    Ok(manifest)
}

/// Reads what a bundle says of itself, and unpacks nothing.
pub(super) fn manifest(source: Source<'_>) -> Result<Manifest, BundleError> {
    let Source { file, told: bundle } = source;
    let file = File::open(file).map_err(BundleError::io(bundle, "read"))?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(file)));
    let broken = |error: io::Error| BundleError::broken(bundle, error.to_string());
    let first = archive.entries().map_err(broken)?.raw(true).next().transpose().map_err(broken)?;
    let mut first = first.ok_or_else(|| BundleError::broken(bundle, "it is empty"))?;
    let (manifest, _) = Unpacking { bundle, into: Path::new("") }.read_manifest(&mut first)?;
    Ok(manifest)
}

struct Unpacking<'a> {
    bundle: &'a Path,
    into: &'a Path,
}

impl Unpacking<'_> {
    fn manifest(&self, entry: &mut Entry<'_, impl io::Read>) -> Result<Manifest, BundleError> {
        let (manifest, bytes) = self.read_manifest(entry)?;
        self.write(&entry.header().clone(), MANIFEST, &mut &*bytes)?;
        Ok(manifest)
    }

    fn read_manifest(
        &self,
        entry: &mut Entry<'_, impl io::Read>,
    ) -> Result<(Manifest, Vec<u8>), BundleError> {
        let bundle = self.bundle;
        self.check(entry, MANIFEST)?;
        if entry.size() > MANIFEST_BYTES_MAX {
            return Err(BundleError::member(bundle, MANIFEST, MemberFault::Manifest));
        }
        let mut bytes = Vec::new();
        entry
            .read_to_end(&mut bytes)
            .map_err(|error| BundleError::broken(bundle, error.to_string()))?;
        let no_manifest = |error: serde_json::Error| {
            BundleError::broken(bundle, format!("its manifest: {}", shown(&error.to_string())))
        };
        let head: Head = serde_json::from_slice(&bytes).map_err(no_manifest)?;
        if head.format != FORMAT {
            return Err(BundleError::Format { path: bundle.to_owned(), found: head.format });
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(no_manifest)?;
        if manifest.members.len() > MEMBERS_MAX {
            return Err(BundleError::broken(bundle, "it has too many members"));
        }
        let mut bytes_of_all: u64 = 0;
        for member in &manifest.members {
            if !is_member_path(&member.path) {
                return Err(self.leads_out(&member.path));
            }
            bytes_of_all = bytes_of_all.saturating_add(member.bytes);
        }
        if bytes_of_all > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge(bundle.to_owned()));
        }
        Ok((manifest, bytes))
    }

    fn member(
        &self,
        entry: &mut Entry<'_, impl io::Read>,
        path: &str,
        bytes: u64,
        sha256: &str,
    ) -> Result<(), BundleError> {
        let fail = |fault| Err(BundleError::member(self.bundle, path, fault));
        self.check(entry, path)?;
        if entry.size() != bytes {
            return fail(MemberFault::Size);
        }
        let header = entry.header().clone();
        let (found, digest) = self.write(&header, path, entry)?;
        if found != bytes {
            return fail(MemberFault::Size);
        }
        if digest != sha256 {
            return fail(MemberFault::Digest);
        }
        Ok(())
    }

    /// Whether an entry is a file of this path.
    fn check(&self, entry: &Entry<'_, impl io::Read>, expected: &str) -> Result<(), BundleError> {
        let path = entry.path_bytes();
        let path = String::from_utf8_lossy(&path);
        if !is_member_path(&path) {
            return Err(self.leads_out(&path));
        }
        if entry.header().entry_type() != EntryType::Regular {
            return Err(BundleError::MemberKind {
                path: self.bundle.to_owned(),
                member: shown(&path),
            });
        }
        if path != expected {
            return Err(BundleError::member(self.bundle, &path, MemberFault::Unexpected));
        }
        Ok(())
    }

    fn leads_out(&self, member: &str) -> BundleError {
        BundleError::MemberPath { path: self.bundle.to_owned(), member: shown(member) }
    }

    /// Writes a new file, with the time the archive has for it: a list without a date is as old as that.
    fn write(
        &self,
        header: &Header,
        path: &str,
        bytes: &mut impl io::Read,
    ) -> Result<(u64, String), BundleError> {
        let to = self.into.join(path);
        let writing = BundleError::io(&to, "unpack");
        let mut file = File::create_new(&to).map_err(&writing)?;
        let copied = disk::copy(bytes, &mut file).map_err(&writing)?;
        let seconds = Duration::from_secs(header.mtime().unwrap_or_default());
        if let Some(time) = SystemTime::UNIX_EPOCH.checked_add(seconds) {
            file.set_modified(time).map_err(&writing)?;
        }
        file.sync_all().map_err(writing)?;
        Ok(copied)
    }
}
