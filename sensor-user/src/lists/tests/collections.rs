//! Categories in folders and archives.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::super::source::{MEMBER_BYTES_MAX, MEMBERS_MAX};
use super::super::{Format, Reason, guess};
use super::{Read, read_at};

/// Members of an archive: path, kind, and text or what a link points to.
type Members<'a> = &'a [(&'a str, EntryType, &'a str)];

const COLLECTION: Members<'_> = &[
    ("blacklists/README", EntryType::Regular, "made up"),
    ("blacklists/", EntryType::Directory, ""),
    ("blacklists/games/domains", EntryType::Regular, "a.example\n192.0.2.1\n"),
    ("blacklists/games/urls", EntryType::Regular, "b.example/page\nc.example\n"),
    ("blacklists/games/expressions", EntryType::Regular, "ga[mn]e\n"),
    ("blacklists/games/usage", EntryType::Regular, "black\ngames\n"),
    ("blacklists/games/domains.diff", EntryType::Regular, "+z.example\n"),
    ("blacklists/play", EntryType::Symlink, "games"),
    ("./blacklists/press/domains", EntryType::Regular, "d.example\n"),
];

/// A tar archive; headers are written as they are, so that they may be wrong.
fn archive(members: Members<'_>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in members {
        builder.append(&header(path, *kind, text), content(*kind, text)).unwrap();
    }
    builder.into_inner().unwrap()
}

fn content(kind: EntryType, text: &str) -> &[u8] {
    if kind.is_symlink() || kind.is_hard_link() { b"" } else { text.as_bytes() }
}

fn header(path: &str, kind: EntryType, text: &str) -> Header {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content(kind, text).len() as u64);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name_literal(text).unwrap();
    }
    header.set_cksum();
    header
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn read(archive: &[u8], member: Option<&str>) -> Result<Read, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, archive).unwrap();
    let shown = folder.path().display().to_string() + "/";
    read_at(&path, Format::Ut1, member).map_err(|error| error.to_string().replace(&shown, ""))
}

fn refusal(members: Members<'_>, member: Option<&str>) -> String {
    read(&archive(members), member).err().unwrap()
}

fn files(read: &Read) -> Vec<String> {
    let files = read.report.files.iter().map(|file| file.file.to_string_lossy().into_owned());
    files.map(|file| file.rsplit('/').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// What is read of the category `games`, wherever it is.
fn check_games(read: &Read) {
    assert_eq!(read.names, [("a.example".to_owned(), 1)]);
    let mut found = files(read);
    found.sort();
    assert_eq!(found, ["domains games", "expressions games", "urls games", "usage games"]);
    let total = read.report.total();
    for (reason, count) in [
        (Reason::Name, 1),
        (Reason::Address, 1),
        (Reason::Url, 2),
        (Reason::Expression, 1),
        (Reason::Setting, 2),
    ] {
        assert_eq!(total.of(reason), count, "{}", reason.name());
    }
    assert_eq!(total.lines, 7);
    assert_eq!(read.report.member.as_deref(), Some("games"));
}

#[test]
fn a_category_is_read_from_an_archive() {
    let plain = archive(COLLECTION);
    for archive in [&plain, &gzip(&plain)] {
        check_games(&read(archive, Some("games")).unwrap());
    }
    let press = read(&plain, Some("press")).unwrap();
    assert_eq!(press.names, [("d.example".to_owned(), 1)]);
    let alone = archive(&COLLECTION[2..6]);
    check_games(&read(&alone, None).unwrap());
}

#[test]
fn a_category_is_read_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (path, kind, text) in COLLECTION {
        let path = folder.path().join(path);
        if *kind == EntryType::Regular {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_urls = path.ends_with("urls");
            let text = text.as_bytes().to_vec();
            fs::write(path, if is_urls { gzip(&text) } else { text }).unwrap();
        }
    }
    let collection = folder.path().join("blacklists");
    symlink("games", collection.join("play")).unwrap();
    let read = |path: &Path, member| {
        let error = |error: super::ListError| error.to_string();
        read_at(path, Format::Ut1, member).map_err(error)
    };
    check_games(&read(&collection, Some("games")).unwrap());
    check_games(&read(&collection.join("games"), None).unwrap());
    assert_eq!(guess(&collection).unwrap(), Some(Format::Ut1));
    assert_eq!(read(&collection, Some("play")).unwrap().names.len(), 1);
    let refused = |path: &Path, member, expected: &str| {
        let error = read(path, member).err().unwrap();
        assert!(error.ends_with(expected), "{error}");
    };
    refused(
        &collection,
        None,
        ": holds several categories: choose one by `member`: games, play, press",
    );
    refused(
        &collection,
        Some("gamble"),
        ": has no category `gamble`: write one of games, play, press",
    );
    for name in ["../games", "", ".", "..", "a/b", "/etc"] {
        refused(
            &collection,
            Some(name),
            &format!("`{name}` is no category: write the name of one folder"),
        );
    }
    fs::create_dir(folder.path().join("empty")).unwrap();
    let none = ": holds no category: a category is a folder with a file `domains` or `urls`";
    refused(&folder.path().join("empty"), None, none);
    refused(&collection.join("README"), None, none);
}

#[test]
fn archives_without_the_category_say_what_they_have() {
    let several = "list: holds several categories: choose one by `member`: games, press";
    assert_eq!(refusal(COLLECTION, None), several);
    assert_eq!(
        refusal(COLLECTION, Some("gamble")),
        "list: has no category `gamble`: write one of games, press"
    );
    assert_eq!(
        refusal(&COLLECTION[..2], None),
        "list: holds no category: a category is a folder with a file `domains` or `urls`"
    );
    assert_eq!(
        refusal(COLLECTION, Some("play")),
        "list: member `blacklists/play` is a link to `games`, and links are not followed: \
            write the category it leads to"
    );
}

#[test]
fn members_that_lead_elsewhere_refuse_the_archive() {
    let games = ("games/domains", EntryType::Regular, "a.example\n");
    for (path, kind, text, expected) in [
        ("../games/domains", EntryType::Regular, "x", "member `../games/domains` leads out of"),
        ("games/../../x", EntryType::Regular, "x", "member `games/../../x` leads out of"),
        ("/etc/passwd", EntryType::Regular, "x", "member `/etc/passwd` leads out of"),
        (
            "games/urls",
            EntryType::Symlink,
            "/etc/passwd",
            "`games/urls` is a link to `/etc/passwd`",
        ),
        ("games/urls", EntryType::Link, "../x", "member `games/urls` is a link to `../x`"),
        ("games/x", EntryType::Char, "", "member `games/x` is neither file, folder nor link"),
        ("x/fifo", EntryType::Fifo, "", "member `x/fifo` is neither file, folder nor link"),
        ("a\u{1b}/../x", EntryType::Regular, "", "member `a\\u{1b}/../x` leads out of"),
        ("games/domains", EntryType::Regular, "x.example", "member `games/domains` is there twice"),
        ("x/games/urls", EntryType::Regular, "y", "member `x/games/urls` is there twice"),
    ] {
        let error = refusal(&[games, (path, kind, text)], Some("games"));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn long_paths_are_followed_as_far_as_they_may_be() {
    let long = format!("{}/games/domains\0", "x".repeat(200));
    let pax = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        format!("{}{rest}", rest.len() + 2)
    };
    let path = pax("path", "other/games/domains");
    let member = ("cut", EntryType::Regular, "a.example\n");
    for (kind, text) in [(EntryType::GNULongName, &long), (EntryType::XHeader, &path)] {
        let found = read(&archive(&[("x", kind, text), member]), Some("games")).unwrap();
        assert_eq!(found.names.len(), 1, "{kind:?}");
    }
    let (away, size) = (pax("path", "../../x/domains"), pax("size", "999999999"));
    let huge = "x".repeat(5_000);
    for (kind, text, expected) in [
        (EntryType::XHeader, &away, "leads out of the archive"),
        (EntryType::XHeader, &size, "has more than 268435456 bytes"),
        (EntryType::XHeader, &huge, "a path or attributes of more than 4096 bytes"),
        (EntryType::GNULongName, &huge, "a path or attributes of more than 4096 bytes"),
    ] {
        let error = refusal(&[("x", kind, text), member], Some("games"));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn archives_are_bounded() {
    let many = vec![("x/y", EntryType::Regular, ""); MEMBERS_MAX + 1];
    let error = refusal(&many, Some("games"));
    assert!(error.contains("has more than 4096 members"), "{error}");
    let mut large = header("games/domains", EntryType::Regular, "");
    large.set_size(MEMBER_BYTES_MAX + 1);
    large.set_cksum();
    let error = read(large.as_bytes(), Some("games")).err().unwrap();
    assert!(error.contains("member `games/domains` has more than 268435456 bytes"), "{error}");
    let whole = archive(COLLECTION);
    for cut in [600, 1500, 2100] {
        assert!(read(&whole[..cut], Some("games")).is_err(), "cut at {cut}");
    }
    let mut packed = gzip(&whole);
    assert!(read(&packed[..packed.len() - 1], Some("games")).is_err(), "cut in its trailer");
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    let error = read(&packed, Some("games")).err().unwrap();
    assert!(error.contains("checksum"), "{error}");
}
